"""What a policy file says of its volumes, servers and disks, once it is right."""

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.policy.butane import clevis_path, read_policy, understand
from harness.policy.document import Document
from harness.policy.needs import Need
from harness.policy.pins import ServiceId, Sss, TangPin, Tpm2Pin
from harness.policy.policy import Policy
from harness.policy.variants import NEWEST

HEAD = "variant: fcos\nversion: 1.6.0\n"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "mine.bu"


def read(file: Path, text: str) -> Policy:
    file.write_text(HEAD + text)
    return read_policy(file)


def told(file: Path, text: str) -> list[str]:
    """The mistakes of a file, each with its line."""
    with pytest.raises(UsageError) as caught:
        read(file, text)
    lines = str(caught.value).splitlines()
    return [line.removeprefix("mine.bu:") for line in lines if line.startswith("mine.bu:")]


def volumes(*said: str) -> str:
    return "storage:\n  luks:\n" + "".join(f"  - {{{each}}}\n" for each in said)


def test_a_volume_and_how_it_is_opened(file: Path) -> None:
    one, two, three, four = read(
        file,
        volumes(
            "name: a, device: /dev/vdb, key_file: {inline: secret}",
            "name: b, device: /dev/vdc, clevis: {tpm2: true}",
            "name: c, device: /dev/vdd, clevis: {tpm2: true}, key_file: {inline: 'x y'}",
            "name: d, device: /dev/vde",
        )
        + "  filesystems:\n  - {device: /dev/mapper/b, format: xfs, path: /var/b}\n"
        + "  - {device: /dev/mapper/c, format: swap}\n  - {device: /dev/disk/by-id/dm-name-a, format: xfs, path: /a}\n",
    ).volumes
    assert (one.name, one.device, one.pins, one.passphrase, one.mount_point) == ("a", "/dev/vdb", None, "secret", "/a")
    assert (one.key_file, one.untypable, one.unpredictable, one.key_on) == (True, "", "", None)
    assert (two.pins, two.passphrase, two.mount_point, two.key_file) == (Sss(1, (Tpm2Pin(),)), None, "/var/b", False)
    assert two.untypable == "the file gives no key, so Ignition makes one that nobody knows"
    assert (three.passphrase, three.mount_point, three.key_file) == ("x y", None, False)
    assert (four.passphrase, four.pins, four.key_file) == (None, None, True)


ROOT = "name: r, device: /dev/disk/by-partlabel/root, wipe_volume: true"
AS_ROOT = "  filesystems:\n  - {device: /dev/mapper/r, format: xfs, label: root, wipe_filesystem: true}\n"


def test_a_key_that_lies_on_an_encrypted_root(file: Path) -> None:
    root, data, bound = read(
        file,
        volumes(
            f"{ROOT}, clevis: {{tpm2: true}}",
            "name: d, device: /dev/vdb",
            "name: b, device: /dev/vdc, clevis: {tpm2: true}",
        )
        + AS_ROOT,
    ).volumes
    assert (root.mount_point, root.key_file, root.key_on) == ("/", False, None)
    assert (data.key_file, data.key_on) == (True, root)
    assert (bound.key_file, bound.key_on) == (False, None)
    (alone,) = read(file, volumes(ROOT + ", key_file: {inline: a}") + AS_ROOT).volumes
    assert (alone.mount_point, alone.key_file, alone.key_on) == ("/", False, None)


def test_a_policy_and_its_machine(file: Path) -> None:
    text = (
        "# mine\nkernel_arguments: {should_exist: [ip=10.0.0.1::::a:b:none, quiet]}\npasswd: {users: [{name: web}]}\n"
        + volumes("name: a, device: /dev/sda5", "name: b, device: /dev/disk/by-id/ata-X")
        + "  disks: [{device: /dev/sda, partitions: [{number: 5}]}]\n"
    )
    found = read(file, text)
    assert (found.name, found.source, found.disk) == ("mine", HEAD + text, "/dev/sda")
    assert found.kernel_arguments == ("ip=dhcp", "quiet")
    assert [(disk.node, disk.name) for disk in found.disks] == [
        ("/dev/sda", "/dev/sda"),
        ("/dev/sdb", "/dev/disk/by-id/ata-X"),
    ]
    assert [volume.device for volume in found.volumes] == ["/dev/sda5", "/dev/sdb"]
    assert found.notes == ("the user web",)
    assert (found.obstacles, found.needs) == ((), frozenset({Need.SCSI}))
    assert found.config["storage"]["luks"][1]["device"] == "/dev/disk/by-id/ata-X"


def test_a_server_that_the_laboratory_runs_in_the_place_of_the_users(file: Path) -> None:
    print_of_it = "dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI"
    pin = f"clevis: {{tang: [{{url: 'http://keys.example', thumbprint: {print_of_it}}}]}}"
    notes = read(file, volumes(f"name: a, device: /dev/vdb, {pin}", f"name: b, device: /dev/vdc, {pin}")).notes
    assert notes == (
        f"the server at http://keys.example: it is the laboratory's, which has another key than {print_of_it}",
    )


def test_what_no_machine_could_do_is_told_once_the_rest_is_right(file: Path) -> None:
    assert told(file, volumes("name: a, device: /dev/vda")) == [
        "5: storage.luks[0].device: is the whole disk that the machine starts from, the system with it"
    ]
    (other,) = told(file, volumes("name: a, device: /dev/vda, bogus: 1"))
    assert other.startswith("5: storage.luks[0].bogus: unknown key")


def test_what_a_file_means_does_not_depend_on_the_machine(file: Path) -> None:
    file.write_text(HEAD + volumes("name: a, device: /dev/vda", "name: b, device: /dev/vdb, clevis: {tpm2: true}"))
    found = understand(file)
    assert found.translated == found.config
    assert found.trees == (None, Sss(1, (Tpm2Pin(),)))
    assert found.document.data["storage"]["luks"][0] == {"name": "a", "device": "/dev/vda"}


def test_what_was_not_read_may_make_the_device_that_is_missing(file: Path) -> None:
    text = "ignition: {config: {merge: [{source: 'https://a/b'}]}}\n"
    found = read(file, text + volumes("name: a, device: /dev/disk/by-partlabel/none"))
    assert found.volumes[0].unpredictable.startswith("https://a/b was not read")


# --- where pins stand


def document(**data: Any) -> Document:
    return Document(Path("mine.bu"), "", NEWEST, data)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (
            {"storage": {"luks": [{"name": "b", "clevis": {}}, {"name": "a", "clevis": {}}]}},
            ("storage", "luks", 1, "clevis"),
        ),
        ({"storage": {"luks": [{"name": "a"}]}, "boot_device": {}}, ("boot_device", "luks")),
        ({"storage": {"luks": [{"name": "a"}]}}, ("ignition", "config", "storage.luks[a]", "clevis")),
        ({}, ("ignition", "config", "storage.luks[a]", "clevis")),
    ],
)
def test_where_the_pins_of_a_volume_stand(data: dict[str, Any], path: tuple[str | int, ...]) -> None:
    assert clevis_path(document(**data), "a") == path


def test_a_section_without_pins_is_a_mistake_where_it_stands(file: Path) -> None:
    assert told(file, volumes("name: a, device: /dev/vdb, clevis: {}")) == [
        "5: storage.luks[0].clevis: no pin: it needs tpm2: true, tang, or custom"
    ]


def test_one_server_has_one_address(file: Path) -> None:
    def pin(port: int, name: str = "") -> str:
        return f"{{url: 'http://10.0.2.2:{port}', thumbprint: '@TANG_THUMBPRINT{name}@'}}"

    one = f"name: a, device: /dev/vdb, clevis: {{tang: [{pin(1)}]}}"
    assert told(file, volumes(one, f"name: b, device: /dev/vdc, clevis: {{tang: [{pin(2)}]}}")) == [
        "6: storage.luks[1].clevis: the server tang cannot be at http://10.0.2.2:1 and at http://10.0.2.2:2; "
        "call one @TANG_THUMBPRINT:another@"
    ]
    found = read(file, volumes(one, f"name: b, device: /dev/vdc, clevis: {{tang: [{pin(1)}, {pin(2, ':two')}]}}"))
    assert [found.address_of(service) for service in found.provided] == ["http://10.0.2.2:1", "http://10.0.2.2:2"]
    anywhere = "name: b, device: /dev/vdc, clevis: {tang: [{url: '@TANG_URL@'}]}"
    assert read(file, volumes(one, anywhere)).address_of(ServiceId("tang", "tang")) == "http://10.0.2.2:1"
    assert isinstance(read(file, volumes(anywhere, one)).leaves[0], TangPin)
