"""Public files and reports, rewritten small: what each gives. Each stands for a kind (corpus/files)."""

from pathlib import Path

import pytest
from policy.corpus import cases

from harness.errors import UsageError
from harness.policy.butane import read_policy
from harness.policy.notes import not_exercised

FILES = Path(__file__).parent / "corpus" / "files"

BTRFS = "the guest has neither tools nor a module for btrfs"
RUN = "write @TANG_URL@ in its place, and the laboratory runs it"
NO_KEY = "the file gives no key, so Ignition makes one that nobody knows"

MISTAKES = {
    "block-key.bu": "storage.luks[0].clevis.custom.config: not JSON: the key tang is there twice",
    "flatcar-tang.bu": "storage.luks[0].wipe_volume: is missing: the partition has the system's file system",
    "installimage.bu": "not YAML: could not find expected ':'",
    "machineconfig.bu": "kind: this is a MachineConfig of OpenShift; what stands in its spec.config is",
    "no-method.bu": "boot_device.luks: no method: it needs tpm2: true or tang",
    "remote-key.bu": "storage.luks[0].device: storage.disks makes no partition of this label; it makes root, var",
    "sss-tpm-tangs.bu": "pins.tang[1].url: expected an http or https url or a placeholder, found 'two.attic",
    "worker-storage.bu": "variant: openshift is Butane for a cluster of OpenShift, which is not read here",
}
"""Files that are wrong, or no policy, and one sentence of what is said."""

TAKEN: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "block-key-adapted.bu": (("/dev/vda",), ("var /var: its key ends in a newline, which is part of it",), ()),
    "by-number.bu": (("/dev/nvme0n1",), ("var /var",), ()),
    "containers-tang.bu": (
        ("/dev/sda",),
        (f"pods /var/lib/containers: {NO_KEY}",),
        (BTRFS,),
    ),
    "containers-tang-adapted.bu": (("/dev/vda",), (f"pods /var/lib/containers: {NO_KEY}",), (BTRFS,)),
    "data-behind-tang.bu": (("/dev/nvme0n1",), ("data /var/lib/data",), ()),
    "discard-root.bu": (("/dev/vda",), (f"root /: {NO_KEY}",), ()),
    "discard-root-adapted.bu": (("/dev/vda",), (f"root /: {NO_KEY}",), ()),
    "enrol-unit.bu": (("/dev/vda",), ("data /var/lib/data: enrol.service has cryptenroll in it",), ()),
    "groups.bu": (("/dev/vda",), ("var /var",), ()),
    "home-server.bu": (
        ("/dev/nvme0n1",),
        (f"root /: {NO_KEY}", "hoard /var/mnt/hoard: its key is bytes that are no text, which no keyboard types"),
        (),
    ),
    "home-server-adapted.bu": (("/dev/vda",), (f"root /: {NO_KEY}", "hoard /var/mnt/hoard"), ()),
    "laptop-mdns.bu": (
        ("/dev/nvme0n1",),
        ("root /",),
        (),
    ),
    "mirror-tang.bu": (
        ("/dev/sda", "/dev/sdb"),
        (f"root /: {NO_KEY}", f"var /var: {NO_KEY}"),
        (),
    ),
    "second-disk.ign": (("/dev/vda", "/dev/vdb"), (f"sparecrypt /mnt/spare: {NO_KEY}",), ()),
    "tpm-sha1-bank.bu": (("/dev/vda",), (f"var /var: {NO_KEY}",), ()),
    "var-literal-gateway.bu": (
        ("/dev/nvme0n1",),
        (f"var /var: {NO_KEY}",),
        (),
    ),
    "var-no-neednet.bu": (("/dev/nvme0n1",), ("var /var",), ()),
    "whole-disks.bu": (
        ("/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd"),
        (
            "by-key /var/lib/by_key",
            f"by-tpm /var/lib/by_tpm: {NO_KEY}",
            "by-tang /var/lib/by_tang: https://tang.attic.example is no server of this laboratory",
        ),
        (f"no guest reaches https://tang.attic.example: no guest trusts a certificate of the laboratory; {RUN}",),
    ),
}
"""Files that are right: the machine's disks; each volume, where it is mounted, and why nothing is predicted or typed
for it; what the guest cannot have."""


@pytest.mark.parametrize(("name", "sentence"), MISTAKES.items())
def test_a_file_that_is_wrong(name: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_policy(FILES / name)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", TAKEN)
def test_a_file_that_is_right(name: str) -> None:
    disks, volumes, obstacles = TAKEN[name]
    policy = read_policy(FILES / name)
    assert tuple(disk.node for disk in policy.disks) == disks
    assert len(policy.volumes) == len(volumes)
    for volume, expected in zip(policy.volumes, volumes, strict=True):
        why = volume.unpredictable or volume.untypable
        said = f"{volume.name} {volume.mount_point}" + (f": {why}" if why else "")
        assert said.startswith(expected)
        assert bool(why) is (": " in expected)
    assert len(policy.obstacles) == len(obstacles)
    for obstacle, expected in zip(policy.obstacles, obstacles, strict=True):
        assert obstacle.endswith(expected)


def test_every_case_is_in_the_table() -> None:
    own = {"disks-and-trees", "root-by-boot-device", "root-on-arm-mirror", "root-of-s390x", "binary-and-numbers"}
    own |= {path.stem for path in FILES.glob("ignition-*.ign")}
    cases = {path.name for path in FILES.iterdir() if path.suffix in (".bu", ".ign") and path.stem not in own}
    assert cases == set(MISTAKES) | set(TAKEN)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("discard-root.bu", "discard, openOptions of root (the guest's Ignition takes spec 3.3.0 at most)"),
        ("groups.bu", "made for it: the groups wheel, docker, which the guest does not have"),
        ("home-server.bu", "the quadlet web.pod"),
        (
            "laptop-mdns.bu",
            "the name in http://keys.local:7500: an initrd asks no mDNS; here /etc/hosts has it",
        ),
        ("mirror-tang.bu", "kernel arguments that shall not exist (the guest starts with its own)"),
    ],
)
def test_what_is_taken_and_said(name: str, note: str) -> None:
    assert note in not_exercised(read_policy(FILES / name))


def test_the_page_of_cases_says_what_each_gives() -> None:
    again = "`PYTHONPATH=tests python -m policy.corpus.cases` writes it anew"
    assert cases.PAGE.read_text() == cases.page(), again
    assert set(cases.SOURCES) == {name.partition(".")[0] for name in (*MISTAKES, *TAKEN)}
