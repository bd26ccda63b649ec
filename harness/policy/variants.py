"""What a policy file may be: Butane by variant and version, or Ignition by its spec (pure).

A `Variant` says of one kind of file which keys it has, counted in Butane fcos versions, and which Ignition spec its
output follows. Sources: coreos/butane 0.29, config/config.go and the schema.go and translate.go of each version.
"""

import re
from dataclasses import dataclass

from harness.policy.nodes import Mapping, Node, Scalar

NEWEST_SPEC = 6
"""The newest stable Ignition spec is 3.6.0."""

_FCOS_SPECS = (0, 1, 2, 2, 3, 4, 5, 6)
"""The minor version of the Ignition 3 spec that Butane fcos 1.0.0, 1.1.0, … translate to."""

_SUGAR = frozenset(
    (
        "inline",
        "local",
        "contents_local",
        "ssh_authorized_keys_local",
        "trees",
        "with_mount_unit",
        "boot_device",
        "grub",
    )
)
_FCOS_ONLY = frozenset(("boot_device", "grub"))
_CLEVIS = frozenset(("storage.luks.clevis",))
_NOT_ON_FIOT = frozenset(
    ("kernel_arguments", "storage.disks", "storage.filesystems", "storage.luks", "storage.raid", *_FCOS_ONLY)
)


@dataclass(frozen=True)
class Variant:
    """One kind of file.

    Attributes:
        title: As it is called in messages: ``Butane fcos 1.5.0``.
        keys: The minor version of Butane fcos whose keys it has.
        spec: The minor version of the Ignition 3 spec of its output.
        lacks: Keys that it does not have nevertheless: by their path without indices, or by their name anywhere.
        is_ignition: Whether it is an Ignition config: JSON, keys in camel case.
    """

    title: str
    keys: int
    spec: int
    lacks: frozenset[str] = frozenset()
    is_ignition: bool = False

    @property
    def is_flatcar(self) -> bool:
        """Whether it is for Flatcar."""
        return "flatcar" in self.title


NEWEST = Variant(f"Butane fcos 1.{len(_FCOS_SPECS) - 1}.0", len(_FCOS_SPECS) - 1, NEWEST_SPEC)

_FIXED = {
    ("flatcar", "1.0.0"): Variant("Butane flatcar 1.0.0", 4, 3, _FCOS_ONLY | _CLEVIS),
    ("flatcar", "1.1.0"): Variant("Butane flatcar 1.1.0", 5, 4, _FCOS_ONLY | _CLEVIS),
    # Flatcar has clevis since its 1.2.0, which has no final form yet; its output is the spec that comes after 3.6.0.
    ("flatcar", "1.2.0-experimental"): Variant("Butane flatcar 1.2.0-experimental", 7, 6, _FCOS_ONLY | {"cex"}),
    ("fiot", "1.0.0"): Variant("Butane fiot 1.0.0", 5, 4, _NOT_ON_FIOT),
}
_VERSIONS = {
    "fcos": f"1.0.0 to 1.{len(_FCOS_SPECS) - 1}.0",
    "flatcar": "1.0.0, 1.1.0 and 1.2.0-experimental",
    "fiot": "1.0.0",
}


class NotAPolicyError(Exception):
    """Why a file is none that can be read.

    Attributes:
        key: Where it shows, or nothing.
        message: One sentence: what the file is, and what to do.
        line: Of that key, from 1.
        meant: The kind that it is all the same, so that the rest can be looked at, if there is no doubt.
    """

    def __init__(self, key: str, message: str, line: int, meant: Variant | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.line = line
        self.meant = meant


def camel(key: str) -> str:
    """A key of Butane as Ignition spells it: ``size_mib`` is ``sizeMiB``."""
    if key.endswith("_mib"):
        return key.removesuffix("_mib") + "MiB"
    return re.sub(r"_(.)", lambda match: match[1].upper(), key)


def snake(key: str) -> str:
    """A key of Ignition as Butane spells it."""
    return re.sub(r"(MiB|[A-Z])", r"_\1", key).lower()


def variant_of(root: Node | None) -> Variant:
    """Which kind of file this is, by what stands in it.

    Raises:
        NotAPolicyError: It is none that is read; the sentence says what it is and what to do.
    """
    if not isinstance(root, Mapping):
        message = "expected a Butane file, which begins with variant and version, or an Ignition config"
        raise NotAPolicyError("", message, 1)
    head = {key.text: value for key, value in root.pairs if isinstance(key, Scalar)}
    if "variant" in head:
        return _butane(head)
    if head.get("kind") or head.get("apiVersion"):
        raise _machine_config(head)
    section = head.get("ignition")
    if isinstance(section, Mapping) and "version" not in head:
        return _ignition(section)
    raise NotAPolicyError("variant", "missing; write variant: fcos", 1)


def _butane(head: dict[str, Node]) -> Variant:
    variant, line = _text(head["variant"]), head["variant"].line
    if variant in ("openshift", "r4e"):
        names = {"openshift": "a cluster of OpenShift", "r4e": "RHEL for Edge"}
        raise NotAPolicyError(
            "variant",
            f"{variant} is Butane for {names[variant]}, which is not read here; to test its disks and pins, copy "
            f"ignition, storage, boot_device and systemd into a file with variant: fcos",
            line,
        )
    if variant not in _VERSIONS:
        raise NotAPolicyError("variant", f"{_short(variant)} is none of {', '.join(_VERSIONS)}", line)
    if "version" not in head:
        newest = _VERSIONS[variant].split()[-1] if variant != "flatcar" else "1.1.0"
        raise NotAPolicyError("version", f"missing; write version: {newest}", 1, _FIXED.get((variant, newest), NEWEST))
    version, line = _text(head["version"]), head["version"].line
    if found := _known(variant, version):
        return found
    message = f"{_short(version)} is not one of {variant} {_VERSIONS[variant]}"
    meant = _known(variant, f"{version}.0")
    if meant:
        message += f"; write version: {version}.0"
    raise NotAPolicyError("version", message, line, meant)


def _known(variant: str, version: str) -> Variant | None:
    match = re.fullmatch(r"1\.([0-9])\.0", version)
    if variant == "fcos" and match and int(match[1]) < len(_FCOS_SPECS):
        minor = int(match[1])
        return Variant(f"Butane fcos {version}", minor, _FCOS_SPECS[minor])
    return _FIXED.get((variant, version))


def _ignition(section: Mapping) -> Variant:
    found = {key.text: value for key, value in section.pairs if isinstance(key, Scalar)}.get("version")
    version, line = (_text(found), found.line) if found else ("", section.line)
    match = re.fullmatch(r"3\.([0-9])\.0", version)
    if match and int(match[1]) <= NEWEST_SPEC:
        spec = int(match[1])
        keys = len(_FCOS_SPECS) - 1 - _FCOS_SPECS[::-1].index(spec)
        return Variant(f"Ignition {version}", keys, spec, _SUGAR, is_ignition=True)
    hint = "; an older form: convert it with ign-converter" if version.startswith(("1", "2")) else ""
    said = f"{_short(version)} is" if version else "missing; it is"
    raise NotAPolicyError("ignition.version", f"{said} none of 3.0.0 to 3.{NEWEST_SPEC}.0{hint}", line)


def _machine_config(head: dict[str, Node]) -> NotAPolicyError:
    kind = _text(head["kind"]) if "kind" in head else ""
    first = min(value.line for value in head.values())
    if kind != "MachineConfig":
        what = _short(kind) if kind else "an object"
        return NotAPolicyError(
            "kind", f"this is {what} of Kubernetes, neither a Butane file nor an Ignition config", first
        )
    return NotAPolicyError(
        "kind",
        "this is a MachineConfig of OpenShift; what stands in its spec.config is an Ignition config: "
        "save that section as JSON in a file of its own (NAME.ign) and give that file",
        head["kind"].line,
    )


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
