"""What kind of file a text is, which keys and which spec that means, and what is said of one that is none."""

import pytest

from harness.policy.nodes import compose
from harness.policy.variants import NEWEST, NotAPolicyError, Variant, camel, snake, variant_of

FCOS = "fcos 1.0.0 to 1.7.0"
FLATCAR = "flatcar 1.0.0, 1.1.0 and 1.2.0-experimental"
SPECS = "3.0.0 to 3.6.0"


def of(text: str) -> Variant:
    return variant_of(compose(text))


@pytest.mark.parametrize(
    ("key", "spelled"),
    [
        ("size_mib", "sizeMiB"),
        ("wipe_partition_entry", "wipePartitionEntry"),
        ("name", "name"),
        ("ssh_authorized_keys", "sshAuthorizedKeys"),
        ("tpm2", "tpm2"),
        ("a_mib_b", "aMibB"),
    ],
)
def test_a_key_is_spelled_as_ignition_does_and_back(key: str, spelled: str) -> None:
    assert camel(key) == spelled
    assert snake(spelled) == key


@pytest.mark.parametrize(("minor", "spec"), list(enumerate((0, 1, 2, 2, 3, 4, 5, 6))))
def test_butane_for_fedora_coreos(minor: int, spec: int) -> None:
    found = of(f"variant: fcos\nversion: 1.{minor}.0\n")
    assert found == Variant(f"Butane fcos 1.{minor}.0", minor, spec)
    assert (found.is_flatcar, found.is_ignition) == (False, False)


@pytest.mark.parametrize(
    ("variant", "version", "keys", "spec", "lacks"),
    [
        ("flatcar", "1.0.0", 4, 3, {"boot_device", "grub", "storage.luks.clevis"}),
        ("flatcar", "1.1.0", 5, 4, {"boot_device", "grub", "storage.luks.clevis"}),
        ("flatcar", "1.2.0-experimental", 7, 6, {"boot_device", "grub", "cex"}),
        (
            *("fiot", "1.0.0", 5, 4),
            {"kernel_arguments", "storage.disks", "storage.filesystems", "storage.luks", "storage.raid"}
            | {"boot_device", "grub"},
        ),
    ],
)
def test_butane_for_others(variant: str, version: str, keys: int, spec: int, lacks: set[str]) -> None:
    found = of(f"variant: {variant}\nversion: {version}\n")
    assert found == Variant(f"Butane {variant} {version}", keys, spec, frozenset(lacks))
    assert found.is_flatcar is (variant == "flatcar")


@pytest.mark.parametrize(("spec", "keys"), [(0, 0), (1, 1), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)])
def test_an_ignition_config_has_the_keys_of_the_last_butane_of_its_spec(spec: int, keys: int) -> None:
    found = of(f'{{"ignition": {{"version": "3.{spec}.0"}}}}')
    assert (found.title, found.keys, found.spec, found.is_ignition) == (f"Ignition 3.{spec}.0", keys, spec, True)
    assert {"inline", "local", "trees", "with_mount_unit", "boot_device", "grub"} <= found.lacks


IGNITION = "ignition.version"
SHORT = "'" + "x" * 37 + "...'"
NOT_READ = (
    "{}, which is not read here; to test its disks and pins, copy "
    "ignition, storage, boot_device and systemd into a file with variant: fcos"
)
POD = "this is 'Pod' of Kubernetes, neither a Butane file nor an Ignition config"


@pytest.mark.parametrize(
    ("text", "key", "line", "message", "meant"),
    [
        ("", "", 1, "expected a Butane file, which begins with variant and version, or an Ignition config", None),
        ("- a", "", 1, "expected a Butane file, which begins with variant and version, or an Ignition config", None),
        ("a: 1\n", "variant", 1, "missing; write variant: fcos", None),
        ("ignition: 5\n", "variant", 1, "missing; write variant: fcos", None),
        ("ignition: {version: 3.0.0}\nversion: 1\n", "variant", 1, "missing; write variant: fcos", None),
        ("a: 1\nvariant: openshift", "variant", 2,
         NOT_READ.format("openshift is Butane for a cluster of OpenShift"), None),
        ("variant: r4e", "variant", 1, NOT_READ.format("r4e is Butane for RHEL for Edge"), None),
        ("a: 1\nvariant: coreos", "variant", 2, "'coreos' is none of fcos, flatcar, fiot", None),
        ("variant: [fcos]", "variant", 1, "'' is none of fcos, flatcar, fiot", None),
        (f"variant: {'x' * 40}", "variant", 1, f"'{'x' * 40}' is none of fcos, flatcar, fiot", None),
        (f"variant: {'x' * 41}", "variant", 1, f"{SHORT} is none of fcos, flatcar, fiot", None),
        ("a: 1\nvariant: fcos", "version", 1, "missing; write version: 1.7.0", NEWEST.title),
        ("a: 1\nvariant: flatcar", "version", 1, "missing; write version: 1.1.0", "Butane flatcar 1.1.0"),
        ("a: 1\nvariant: fiot", "version", 1, "missing; write version: 1.0.0", "Butane fiot 1.0.0"),
        ("variant: fcos\nversion: 1.5", "version", 2, f"'1.5' is not one of {FCOS}; write version: 1.5.0",
         "Butane fcos 1.5.0"),
        ("variant: flatcar\nversion: 1.0", "version", 2, f"'1.0' is not one of {FLATCAR}; write version: 1.0.0",
         "Butane flatcar 1.0.0"),
        ("variant: fcos\nversion: 1.8.0", "version", 2, f"'1.8.0' is not one of {FCOS}", None),
        ("variant: fcos\nversion: 1.8", "version", 2, f"'1.8' is not one of {FCOS}", None),
        ("variant: fcos\nversion: 1.10.0", "version", 2, f"'1.10.0' is not one of {FCOS}", None),
        ("variant: fiot\nversion: 1.1.0", "version", 2, "'1.1.0' is not one of fiot 1.0.0", None),
        ("variant: fcos\nversion: {}", "version", 2, f"'' is not one of {FCOS}", None),
        (f"variant: fcos\nversion: {'x' * 50}", "version", 2, f"{SHORT} is not one of {FCOS}", None),
        # Ignition
        ('{"a": 1,\n"ignition": {"version": "3.7.0"}}', IGNITION, 2, f"'3.7.0' is none of {SPECS}", None),
        ('{"ignition":\n{"a": 1,\n"version": "4.0.0"}}', IGNITION, 3, f"'4.0.0' is none of {SPECS}", None),
        ('{"ignition":\n{"a": 1}}', IGNITION, 2, f"missing; it is none of {SPECS}", None),
        ('{"ignition": {"version": "3.2"}}', IGNITION, 1, f"'3.2' is none of {SPECS}", None),
        ('{"ignition": {"version": "2.3.0"}}', IGNITION, 1,
         f"'2.3.0' is none of {SPECS}; an older form: convert it with ign-converter", None),
        ('{"ignition": {"version": "1"}}', IGNITION, 1,
         f"'1' is none of {SPECS}; an older form: convert it with ign-converter", None),
        # Kubernetes
        ("apiVersion: v1\nkind: Pod", "kind", 1, POD, None),
        ("\n\nkind: Pod", "kind", 3, POD, None),
        ("\napiVersion: v1\na: 1", "kind", 2,
         "this is an object of Kubernetes, neither a Butane file nor an Ignition config", None),
        ("apiVersion: v1\nkind: MachineConfig", "kind", 2,
         "this is a MachineConfig of OpenShift; what stands in its spec.config is an Ignition config: "
         "save that section as JSON in a file of its own (NAME.ign) and give that file", None),
    ],
)  # fmt: skip
def test_what_is_said_of_a_file_that_is_none(text: str, key: str, line: int, message: str, meant: str | None) -> None:
    with pytest.raises(NotAPolicyError) as caught:
        of(text)
    error = caught.value
    assert (error.key, error.line, error.message, str(error)) == (key, line, message, message)
    assert (error.meant.title if error.meant else None) == meant


def test_a_variant_goes_before_what_else_a_file_may_be() -> None:
    assert of("kind: Pod\nvariant: fcos\nversion: 1.0.0\nignition: {version: 2.0.0}").title == "Butane fcos 1.0.0"
    assert of("{[a]: 1, variant: fcos, version: 1.0.0}").title == "Butane fcos 1.0.0"
