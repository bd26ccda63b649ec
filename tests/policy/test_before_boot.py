"""What is told of a file before any machine is switched on, the disks that it names, and what no boot here shows."""

import json
import textwrap
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.policy.butane import read_policy
from harness.policy.disks import DevicePlace, place_of
from harness.policy.ignition import render
from harness.policy.notes import not_exercised
from harness.policy.policy import Policy

VERSION = "variant: fcos\nversion: 1.6.0\n"
OWN = "is one of the system's own partitions: 1 BIOS-BOOT, 2 EFI-SYSTEM, 3 boot, 4 root"


def read(folder: Path, storage: str, more: str = "") -> Policy:
    path = folder / "mine.bu"
    path.write_text(f"{VERSION}storage:\n{textwrap.indent(textwrap.dedent(storage).strip(), '  ')}\n{more}")
    return read_policy(path)


def disk(device: str, *partitions: str, more: str = "") -> str:
    return f"disks: [{{device: {device}, partitions: [{', '.join(partitions)}]{more}}}]\n"


def luks(device: str, more: str = "") -> str:
    return f"luks: [{{name: a, device: {device}{more}}}]\n"


def by_label(label: str) -> str:
    return luks(f"/dev/disk/by-partlabel/{label}")


THUMBPRINT = "dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI"
HTTPS = luks("/dev/vdb", f", clevis: {{tang: [{{url: 'https://a', thumbprint: {THUMBPRINT}}}]}}")
D = {"compression": "", "source": "data:,d"}
WIPED = ", wipe_volume: true"
UUID = "0fc63daf-8483-4772-8e79-3d69d8477de4"
CA = "ignition: {{security: {{tls: {{certificate_authorities: [{{{}}}]}}}}}}\n"


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        (by_label("var"), "storage.luks[0].device: storage.disks makes no partition of this label"),
        (
            disk("/dev/vda", "{label: b}", "{label: c}") + by_label("a"),
            "storage.luks[0].device: storage.disks makes no partition of this label; it makes b, c",
        ),
        (
            disk("/dev/vda", "{label: b, number: 5, should_exist: false}"),
            "storage.disks[0].partitions[0].label: cannot",
        ),
        (
            "filesystems: [{device: /dev/mapper/none, format: xfs}]",
            "storage.filesystems[0].device: storage.luks has no volume of this name",
        ),
        (
            "luks: [" + ", ".join(f"{{name: v{n}, device: /dev/disk/by-id/ata-{n}}}" for n in range(26)) + "]",
            "storage: names 26 disks; a machine here has 25 beside the system's",
        ),
        (by_label("EFI-SYSTEM"), f"storage.luks[0].device: {OWN}"),
        (luks("/dev/vda2"), f"storage.luks[0].device: {OWN}"),
        (luks("/dev/vda7"), "storage.luks[0].device: storage.disks makes no such partition"),
        (disk("/dev/vda", "{label: b}") + luks("/dev/vda6"), "storage.luks[0].device: storage.disks makes no such"),
        (
            luks("/dev/vda"),
            "storage.luks[0].device: is the whole disk that the machine starts from, the system with it",
        ),
        (luks("/dev/disk/by-id/coreos-boot-disk"), "storage.luks[0].device: is the whole disk that the machine starts"),
        (luks("/dev/md/data"), "storage.luks[0].device: storage.raid makes no such array"),
        (by_label("root"), "storage.luks[0].wipe_volume: is missing: the partition has the system's file system"),
        (luks("/dev/vda4"), "storage.luks[0].wipe_volume: is missing"),
        (disk("/dev/vda", "{label: a b}") + by_label("a b"), "storage.luks[0].device: is called a\\x20b there"),
        (
            disk("/dev/sdb", "{label: b}") + luks("/dev/sdb"),
            "storage.luks[0].device: has partitions, and cannot be taken as a whole",
        ),
        (
            "filesystems: [{device: /dev/vda9, format: xfs}]",
            "storage.filesystems[0].device: storage.disks makes no such",
        ),
        (
            disk("/dev/vda", "{label: b}", more=", wipe_table: true"),
            "storage.disks[0].wipe_table: would take the system away: this is the disk that the machine starts",
        ),
        (disk("/dev/vda", "{number: 2, label: b}"), f"storage.disks[0].partitions[0]: {OWN}"),
        (disk("/dev/vda", "{number: 5, start_mib: 9}"), "storage.disks[0].partitions[0].start_mib: starts inside the"),
        (disk("/dev/vda", "{number: 4, size_mib: 500}"), "storage.disks[0].partitions[0].size_mib: the system's root"),
        (disk("/dev/vda", "{label: b, size_mib: 9000000}"), "storage.disks[0].partitions: needs a disk of 8.6 TiB"),
        (disk("/dev/disk/by-path/pci-1", "{label: b}"), "storage.disks[0].device: no disk that a machine can have"),
        (luks("/dev/vdb", ", key_file: {inline: ''}"), "storage.luks[0].key_file: the key is empty"),
        (luks("/dev/vdb", ", key_file: {source: 'data:,'}"), "storage.luks[0].key_file: the key is empty"),
        ("luks: [{name: a b, device: /dev/vdb}]", "storage.luks[0].name: a name under /dev/mapper has no blank"),
        ('luks: [{name: "a\\nb", device: /dev/vdb}]', "storage.luks[0].name: a name under /dev/mapper has no blank"),
        (disk("/dev/vda", '{label: "a\\nb"}'), "storage.disks[0].partitions[0].label: a name has no newline"),
        (
            luks("/dev/vdb", f", key_file: {{source: 'data:,a', verification: {{hash: sha256-{'0' * 64}}}}}"),
            "storage.luks[0].key_file.verification.hash: is not the hash of the contents: Ignition would stop",
        ),
        (
            luks("/dev/vdb", f", key_file: {{inline: a, verification: {{hash: sha512-{'0' * 128}}}}}"),
            "storage.luks[0].key_file.verification.hash: is not the hash of the contents: Ignition would stop",
        ),
    ],
)
def test_mistakes(tmp_path: Path, storage: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, storage)
    assert caught.value.what.partition(": ")[2].startswith(message)


@pytest.mark.parametrize(
    ("pin", "message"),
    [
        (
            "{url: 'http://tang.example/$(reboot)', thumbprint: %s}",
            ".url: a Tang url has no blanks, quotes and other signs",
        ),
        ("{url: 'http://tang.example/ a', thumbprint: %s}", ".url: a Tang url has no blanks"),
        ("{url: 'http://', thumbprint: %s}", ".url: expected an http or https url or a placeholder"),
        (
            "{url: 'http://tang.example', thumbprint: REPLACE-THIS-WITH-YOUR-TANG-THUMBPRINT}",
            ".thumbprint: no thumbprint",
        ),
        ("{url: 'http://tang.example', thumbprint: 'a b'}", ".thumbprint: no thumbprint"),
        ("{url: '@TANG_URL:passphrase@'}", ".url: a server cannot be called passphrase"),
    ],
)
def test_mistakes_in_a_tang_pin(tmp_path: Path, pin: str, message: str) -> None:
    pin = pin.replace("%s", THUMBPRINT)
    with pytest.raises(UsageError) as caught:
        read(tmp_path, luks("/dev/vdb", f", clevis: {{tang: [{pin}]}}"))
    assert f"storage.luks[0].clevis.tang[0]{message}" in caught.value.what


def test_digits_of_another_script_are_no_digits(tmp_path: Path) -> None:
    config = """'{"pcr_ids": "\u0667"}'"""
    with pytest.raises(UsageError, match="expected PCRs from 0 to 23"):
        read(tmp_path, luks("/dev/vdb", f", clevis: {{custom: {{pin: tpm2, config: {config}}}}}"))


@pytest.mark.parametrize(
    ("storage", "nodes"),
    [
        ("files: []", ["/dev/nvme0n1"]),
        (disk("/dev/vda", "{label: a}") + by_label("a"), ["/dev/vda"]),
        (disk("/dev/sda", "{label: a}") + by_label("a"), ["/dev/sda"]),
        (disk("/dev/disk/by-id/coreos-boot-disk", "{label: a}"), ["/dev/nvme0n1"]),
        (luks("/dev/sdd"), ["/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd"]),
        (luks("/dev/nvme1n1"), ["/dev/nvme0n1", "/dev/nvme1n1"]),
        (luks("/dev/disk/by-id/virtio-spare"), ["/dev/vda", "/dev/vdb"]),
        (disk("/dev/nvme0n1", "{label: a}") + luks("/dev/sda"), ["/dev/nvme0n1", "/dev/sda"]),
        (disk("/dev/disk/by-id/coreos-boot-disk", "{label: a}") + luks("/dev/vdb"), ["/dev/vda", "/dev/vdb"]),
    ],
)
def test_the_disks_that_a_file_names(tmp_path: Path, storage: str, nodes: list[str]) -> None:
    policy = read(tmp_path, storage)
    assert [wanted.node for wanted in policy.disks] == nodes
    assert policy.disk == nodes[0]


def test_a_disk_by_its_serial_and_the_room_that_partitions_need(tmp_path: Path) -> None:
    spare = "{device: /dev/disk/by-id/virtio-spare, partitions: [{label: a, size_mib: 500}, {label: b}]}"
    own = "{device: /dev/vda, partitions: [{number: 4, label: root, size_mib: 8192}, {label: c, size_mib: 65536}]}"
    boot, second = read(tmp_path, f"disks: [{own}, {spare}]").disks
    assert (boot.serial, second.serial) == ("", "spare")
    assert boot.mib == 1218 + (8192 - 1024) + 65536 + 1
    assert second.mib == 1 + 500 + 4096 + 1


def test_a_disk_of_other_hardware_is_the_machines_own(tmp_path: Path) -> None:
    text = disk("/dev/disk/by-id/ata-Some_Disk_1", "{label: root, number: 4}", "{label: b, number: 5}")
    policy = read(tmp_path, text + luks("/dev/disk/by-id/ata-Some_Disk_1-part5") + "raid: []")
    (found,) = policy.volumes
    assert found.device == "/dev/nvme0n1p5"
    assert not_exercised(policy) == ("/dev/disk/by-id/ata-Some_Disk_1 is /dev/nvme0n1 here",)
    rendered = json.loads(render(policy, {}))["storage"]
    assert rendered["disks"][0]["device"] == "/dev/nvme0n1"
    assert rendered["luks"][0]["device"] == "/dev/nvme0n1p5"
    assert policy.config["storage"]["disks"][0]["device"].endswith("ata-Some_Disk_1")


@pytest.mark.parametrize(
    ("config", "banks"),
    [
        ("{}", ("sha256",)),
        ('{"pcr_ids": "7"}', ("sha1", "sha256")),
        ('{"pcr_ids": "7", "pcr_bank": "sha1"}', ("sha1", "sha256")),
        ('{"pcr_ids": "7", "pcr_bank": "sha256"}', ("sha256",)),
        ('{"pcr_ids": "7", "pcr_bank": "sha384"}', ("sha256", "sha384")),
    ],
)
def test_the_tpm_has_the_banks_that_a_policy_needs(tmp_path: Path, config: str, banks: tuple[str, ...]) -> None:
    policy = read(tmp_path, luks("/dev/vdb", f", clevis: {{custom: {{pin: tpm2, config: '{config}'}}}}"))
    assert policy.pcr_banks == banks


def test_of_a_seal_to_a_digest_of_the_file_nothing_is_predicted(tmp_path: Path) -> None:
    """clevis seals to what it says, and in no PCR need that be (clevis-encrypt-tpm2(1), pcr_digest)."""
    config = """'{"pcr_ids": "7", "pcr_digest": "AAAA", "key": "rsa"}'"""
    (volume,) = read(tmp_path, luks("/dev/vdb", f", clevis: {{custom: {{pin: tpm2, config: {config}}}}}")).volumes
    assert "pcr_digest" in volume.unpredictable
    assert volume.pins and volume.pins.clevis_config() == {"pcr_ids": "7", "key": "rsa", "pcr_digest": "AAAA"}


def test_a_bank_that_no_tpm_here_has(tmp_path: Path) -> None:
    config = """'{"pcr_ids": "7", "pcr_bank": "sm3_256"}'"""
    with pytest.raises(UsageError, match="'sm3_256' is not a PCR bank"):
        read(tmp_path, luks("/dev/vdb", f", clevis: {{custom: {{pin: tpm2, config: {config}}}}}"))


@pytest.mark.parametrize(
    ("storage", "place"),
    [
        (disk("/dev/vda", "{label: v, number: 5}") + luks("/dev/vda5"), DevicePlace(0, 5)),
        (disk("/dev/vda", "{label: v, number: 5}") + by_label("v"), DevicePlace(0, "v")),
        (disk("/dev/vdb", "{label: v}") + by_label("v"), DevicePlace(1, "v")),
        (disk("/dev/vdb", "{label: a b/c}") + luks(r"/dev/disk/by-partlabel/a\x20b\x2fc"), DevicePlace(1, "a b/c")),
        (luks("/dev/sdc"), DevicePlace(2, 0)),
        (disk("/dev/disk/by-id/virtio-spare", "{label: v, number: 1}") + luks("/dev/disk/by-id/virtio-spare-part1"),
         DevicePlace(1, 1)),
        (disk("/dev/disk/by-id/nvme-X_1", "{label: root, number: 4}", "{number: 5}")
         + luks("/dev/disk/by-id/nvme-X_1-part5"), DevicePlace(0, 5)),
    ],
)  # fmt: skip
def test_where_a_volume_lies(tmp_path: Path, storage: str, place: DevicePlace) -> None:
    policy = read(tmp_path, storage)
    assert place_of(policy.volumes[0].device, policy.disks) == place


def test_partitions_without_a_number_get_the_next_that_is_free(tmp_path: Path) -> None:
    parts = disk("/dev/vda", "{label: root, number: 4}", "{label: b}", "{number: 6, label: c}", "{label: d}")
    policy = read(tmp_path, parts + luks("/dev/vda7"))
    assert {number: part["label"] for number, part in policy.disks[0].numbers(boot=True).items()} == {
        4: "root",
        5: "b",
        6: "c",
        7: "d",
    }


@pytest.mark.parametrize(
    ("storage", "more", "obstacle"),
    [
        (
            luks("/dev/disk/by-partlabel/root", WIPED),
            "",
            ":4: storage.luks[0]: root is not moved into it: the first boot keeps the system for a",
        ),
        (luks("/dev/vda4", WIPED), "", ":4: storage.luks[0]: root is not moved into it"),
        (luks("/dev/vdb", ", options: [--type, luks1]"), "", ":4: storage.luks[0].options: a LUKS1 header"),
        (luks("/dev/vg0/data"), "", ":4: storage.luks[0].device: no such device: the laboratory's disks are blank"),
        (luks(f"/dev/disk/by-uuid/{UUID}", f", uuid: {UUID}"), "", ":4: storage.luks[0].device: no such device"),
        ("filesystems: [{device: /dev/disk/by-label/old}]", "", ":4: storage.filesystems[0].device: no such device"),
        (
            "filesystems: [{device: /dev/vda4, format: xfs, label: system, wipe_filesystem: true}]",
            "",
            ":4: storage.filesystems[0]: root is not moved to it",
        ),
        (
            luks("/dev/disk/by-partlabel/root", WIPED)
            + "filesystems: [{device: /dev/mapper/a, format: vfat, label: root, wipe_filesystem: true}]",
            "",
            ":5: storage.filesystems[0].format: the guest's root is one of ext4, xfs",
        ),
        (
            "filesystems: [{device: /dev/vdb, format: xfs, label: root, wipe_filesystem: true}]",
            "",
            ":4: storage.filesystems[0]: root is moved to where it was, or to a mirror by boot_device.mirror",
        ),
        (
            "filesystems: [{device: /dev/vdb, format: btrfs}]",
            "",
            ":4: storage.filesystems[0].format: the guest has neither tools nor a module for btrfs",
        ),
        (luks("/dev/vdb", ", cex: {enabled: true}"), "", ":4: storage.luks[0]: cex needs the crypto card"),
        (luks("/dev/vdb", ", key_file: {source: 'https://a/k'}"), "", ":4: storage.luks[0].key_file: no guest reaches"),
        (HTTPS, "", ":4: storage.luks[0]: no guest reaches https://a: no guest trusts a certificate of the laboratory"),
        (
            HTTPS,
            CA.format("inline: a"),
            ":4: storage.luks[0]: no guest reaches https://a: the file brings its CA's cert",
        ),
        (
            disk("/dev/sdb", "{number: 4, label: root}"),
            "",
            ":4: storage.disks[0].device: the disk with the system is the",
        ),
        (
            disk("/dev/vdb", "{label: b}", "{label: c}")
            + "raid: [{name: d, level: raid0, devices: [/dev/disk/by-partlabel/b, /dev/disk/by-partlabel/c]}]\n"
            + luks("/dev/md/d"),
            "",
            ":5: storage.raid[0].level: the guest makes arrays of the level raid1 alone",
        ),
    ],
)
def test_what_the_guest_cannot_have_is_told_and_explained_all_the_same(
    tmp_path: Path, storage: str, more: str, obstacle: str
) -> None:
    policy = read(tmp_path, storage, more)
    assert any(found.startswith(f"mine.bu{obstacle}") for found in policy.obstacles)


@pytest.mark.parametrize(
    ("key_file", "why"),
    [
        ("{inline: password}", ""),
        ('{inline: "0123"}', ""),
        ("{inline: 0123}", ""),
        ("{inline: |\n    a\n}", "its key ends in a newline, which is part of it and is never typed"),
        ("{inline: !!binary //79}", "its key is bytes that are no text, which no keyboard types"),
        ('{inline: "a\\tb"}', "its key has a control character in it"),
        ("{source: 'https://a/key'}", "its key comes from https://a/key, which was not read"),
    ],
)
def test_why_a_key_cannot_be_typed(tmp_path: Path, key_file: str, why: str) -> None:
    text = luks("/dev/vdb", f", clevis: {{tpm2: true}}, key_file: {key_file}")
    if "|" in key_file:
        text = 'luks: [{name: a, device: /dev/vdb, clevis: {tpm2: true}, key_file: {inline: "a\\n"}}]'
    (volume,) = read(tmp_path, text).volumes
    assert volume.untypable.startswith(why)
    assert (volume.passphrase is None) is bool(why)
    if "0123" in key_file:
        assert volume.passphrase == "0123"


UNIT = "systemd: {{units: [{{name: a.service, contents: '[Service]\n\n      ExecStart={}'}}]}}\n"


@pytest.mark.parametrize(
    ("more", "volume", "why"),
    [
        (UNIT.format("/bin/true"), "", ""),
        (UNIT.format("systemd-cryptenroll /dev/vdb"), "", "a.service has cryptenroll in it"),
        (UNIT.format("rm /etc/luks/a"), "", "a.service has /etc/luks/ in it"),
        ("", ", clevis: {tang: [{url: '@TANG_URL@'}]}", ""),
        (
            "",
            ", clevis: {tang: [{url: 'https://a', thumbprint: " + THUMBPRINT + "}]}",
            "https://a is no server of this laboratory",
        ),
        ("", ", cex: {enabled: true}", "a crypto card decides"),
        ("", ", key_file: {source: 'https://a/key'}", "its key comes from https://a/key, which was not read"),
    ],
)
def test_no_prediction_about_what_decides_by_itself(tmp_path: Path, more: str, volume: str, why: str) -> None:
    (found,) = read(tmp_path, luks("/dev/vdb", volume), more).volumes
    assert found.unpredictable.startswith(why)
    assert bool(found.unpredictable) is bool(why)


def test_what_no_boot_here_shows_is_named(tmp_path: Path) -> None:
    storage = luks("/dev/vdb", ", discard: true, open_options: [--perf-no_read_workqueue]") + (
        "directories: [{path: /var/home/core/.config, user: {name: core}, group: {name: core}}]\n"
        "files: [{path: /etc/containers/systemd/web.container}, {path: /etc/zincati/config.d/a.toml}]\n"
    )
    more = (
        "passwd: {users: [{name: web, groups: [docker]}]}\ngrub: {users: [{name: root, password_hash: x}]}\n"
        "systemd: {units: [{name: a.timer}, {name: b.timer}]}\nkernel_arguments:\n"
    )
    policy = read(tmp_path, storage, more)
    assert "discard, openOptions of a" not in " ".join(not_exercised(policy, 6))
    assert not_exercised(policy) == (
        "the user web",
        "2 units (a.timer, b.timer)",
        "the quadlet web.container",
        "settings of zincati",
        "kernel_arguments has no value, which is the same as no such key",
        "discard, openOptions of a (the guest's Ignition takes spec 3.3.0 at most)",
        "grub.users (the guest is started without GRUB)",
        "made for it: the user core, which the guest does not have",
        "made for it: the group docker, which the guest does not have",
    )


def test_no_file_changes_without_a_note(tmp_path: Path) -> None:
    policy = read(tmp_path, disk("/dev/vda", "{label: a}") + by_label("a"))
    assert (not_exercised(policy), policy.obstacles) == ((), ())


def test_what_would_be_fetched_is_empty_and_named(tmp_path: Path) -> None:
    more = "  files: [{path: /a, contents: {source: 'https://a/b', verification: {hash: sha256-%s}}, append: %s}]\n"
    append = "[{source: 'https://a/c'}, {inline: d}]"
    ca = CA.format("source: 'http://a/ca'")
    policy = read(tmp_path, luks("/dev/vdb"), more % ("0" * 64, append) + ca)
    assert policy.obstacles == ()
    assert not_exercised(policy) == (
        "what is fetched into /a (no guest reaches it: empty here)",
        "the certificate authority http://a/ca (no guest reaches it)",
    )
    config = json.loads(render(policy, {}))
    (file,) = config["storage"]["files"]
    assert [file["contents"], *file["append"]] == [{"source": "data:,"}, {"source": "data:,"}, D]
    assert "security" not in config["ignition"]


def test_a_certificate_authority_that_is_in_the_file_stays(tmp_path: Path) -> None:
    config = json.loads(render(read(tmp_path, luks("/dev/vdb"), CA.format("inline: d")), {}))
    assert config["ignition"]["security"]["tls"] == {"certificateAuthorities": [D]}


def test_a_guest_is_in_the_laboratorys_network(tmp_path: Path) -> None:
    words = ["rd.neednet=1", "ip=192.0.2.5::192.0.2.1:255.255.255.0:a:eno1:none", "nameserver=192.0.2.1", "quiet"]
    policy = read(tmp_path, luks("/dev/vdb"), f"kernel_arguments: {{should_exist: {json.dumps(words)}}}")
    assert policy.kernel_arguments == ("rd.neednet=1", "ip=dhcp", "quiet")
    assert json.loads(render(policy, {}))["kernelArguments"]["shouldExist"] == ["rd.neednet=1", "ip=dhcp", "quiet"]
    note = f"{words[1]}, {words[2]} (a guest is in the laboratory's network, by DHCP)"
    assert not_exercised(policy) == (note,)


@pytest.mark.parametrize("argument", ["ip=dhcp", "ip=on", "rd.net.timeout.carrier=5"])
def test_what_any_network_takes_stays(tmp_path: Path, argument: str) -> None:
    policy = read(tmp_path, luks("/dev/vdb"), f"kernel_arguments: {{should_exist: ['{argument}']}}")
    assert (policy.kernel_arguments, not_exercised(policy)) == ((argument,), ())


def test_the_first_disk_of_a_mirror_is_the_one_with_the_system(tmp_path: Path) -> None:
    names = [f"/dev/disk/by-id/ata-{letter}" for letter in "AB"]
    path = tmp_path / "mine.bu"
    path.write_text(f"{VERSION}boot_device: {{mirror: {{devices: [{', '.join(names)}]}}, luks: {{tpm2: true}}}}")
    assert [(disk.name, disk.node) for disk in read_policy(path).disks] == [
        (names[0], "/dev/nvme0n1"),
        (names[1], "/dev/nvme1n1"),
    ]


FLATCAR = "variant: flatcar\nversion: 1.1.0\nstorage:\n  luks: [{name: r, device: /dev/disk/by-partlabel/ROOT%s}]\n"


@pytest.mark.parametrize("wiped", ["", ", wipe_filesystem: true"])
def test_flatcars_root_is_a_root_as_its_documentation_has_it(tmp_path: Path, wiped: str) -> None:
    path = tmp_path / "mine.bu"
    root = f"  filesystems: [{{device: /dev/mapper/r, format: ext4, label: ROOT{wiped}}}]\n"
    path.write_text(FLATCAR % WIPED + root)
    policy = read_policy(path)
    assert (policy.obstacles, policy.volumes[0].mount_point) == ((), "/")
    assert place_of(policy.volumes[0].device, policy.disks) == DevicePlace(0, "root")
    storage = json.loads(render(policy, {}))["storage"]
    assert storage["luks"][0]["device"] == "/dev/disk/by-partlabel/root"
    assert storage["filesystems"] == [
        {"device": "/dev/mapper/r", "format": "ext4", "label": "root", "wipeFilesystem": True}
    ]
    assert not_exercised(policy) == (
        "ROOT is root here, and the system is moved into it, which on Flatcar lies in /usr",
    )


def test_flatcars_root_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.bu"
    path.write_text(FLATCAR % WIPED)
    assert "for a file system with label: ROOT and wipe_filesystem: true" in read_policy(path).obstacles[0]


def test_a_partition_of_ones_own_may_be_called_root_as_flatcars(tmp_path: Path) -> None:
    policy = read(tmp_path, disk("/dev/vdb", "{label: ROOT}") + luks("/dev/disk/by-partlabel/ROOT", WIPED))
    assert place_of(policy.volumes[0].device, policy.disks) == DevicePlace(1, "ROOT")
