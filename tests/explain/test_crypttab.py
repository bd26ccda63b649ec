"""What crypttab, fstab and the kernel command line of a machine change in what is foretold of it."""

import json
import shutil
from pathlib import Path

import pytest

from harness.explain import collected, command
from harness.explain.answer import VolumeAnswer
from harness.explain.crypttab import entries, entry_of, with_arguments
from harness.policy.world import Stack
from harness.unlock import Unlock

MACHINE = Path(__file__).parent / "machine"
UUID = "3f1c6a52-0d8e-4d0b-9a51-5d9a8f1b7c11"
ROOT = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MACHINE, tmp_path / "machine"))


def foretold(machine: Path, line: str = "", **files: str) -> VolumeAnswer:
    if line:
        (machine / "crypttab").write_text(line.replace("@", f"UUID={UUID}") + "\n")
    for name, text in files.items():
        (machine / name.replace("_", "-")).write_text(text)
    return next(volume for volume in command.explained_machine(machine).volumes if volume.name != "root")


def warned(machine: Path) -> str:
    return " ".join(each.text for each in command.explained_machine(machine).advice)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("var @ none luks,noauto", "noauto: no boot opens it unless something asks"),
        ("var @ none luks,key-slot=3", "key-slot=3: just one keyslot is tried"),
        ("var @ var.key luks,keyscript=/bin/passdev", "keyscript=/bin/passdev: a script gives its key"),
        ("var @ none try-empty-password", "an empty passphrase is tried"),
        ("var @ none header=/boot/var.img", "its header lies elsewhere"),
        ("var @ /var.key:LABEL=STICK luks", "its key lies on another device, LABEL=STICK"),
        ("var @ /dev/disk/by-id/usb-stick luks", "its key lies on another device, /dev/disk/by-id/usb-stick"),
        ("var @ /etc/keys/var.key x-initrd.attach", "whether the initrd holds that is not known"),
        ("var @ /etc/keys/var.key pkcs11-uri=auto", "is encrypted by a token"),
    ],
)
def test_of_what_no_rule_is_about_nothing_is_predicted(machine: Path, line: str, why: str) -> None:
    volume = foretold(machine, line)
    assert why in volume.withheld
    assert not volume.conditions and not volume.attackers


@pytest.mark.parametrize(
    "line",
    [
        "var @ none luks,_netdev,discard,nofail,tries=1,token-timeout=10,keyfile-timeout=5",
        "var @ none x-systemd.device-timeout=9,no-read-workqueue",
        "var @ - luks,headless=no,tpm2-device=auto",
        f'var UUID="{UUID}"',
        f"var /dev/disk/by-uuid/{UUID}",
        "var /dev/nvme0n1p5",
        "var PARTLABEL=var none",
    ],
)
def test_what_changes_nothing_changes_nothing(machine: Path, line: str) -> None:
    text = (machine / "lsblk.json").read_text().replace('"crypto_LUKS"', '"crypto_LUKS", "partlabel": "var"')
    volume = foretold(machine, line, **{"lsblk.json": text})
    assert volume.name == "var" and not volume.withheld
    assert volume.conditions[0].unlock is Unlock.AUTO


@pytest.mark.parametrize(("value", "asks"), [("headless", False), ("headless=on", False), ("headless=0", True)])
def test_headless_is_what_systemd_takes_for_a_yes(machine: Path, value: str, asks: bool) -> None:
    said = {each.condition: each.unlock for each in foretold(machine, f"var @ none {value}").conditions}
    assert (said["tpm-absent"] is Unlock.PASSPHRASE_FALLBACK) is asks


def test_a_key_of_its_name_is_taken_where_crypttab_names_none(machine: Path) -> None:
    said = foretold(machine, "var @", cryptsetup_keys="other.key\nvar.key\n").conditions
    assert {each.unlock for each in said if each.condition.startswith("tpm-")} == {Unlock.AUTO}


def with_encrypted_root(machine: Path) -> None:
    """Root in LVM in LUKS, as Debian's installer makes it, sealed to the TPM alone."""
    header = json.loads((machine / "luks" / f"{UUID}.json").read_text())
    header["tokens"] = {"0": {"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pcrs": []}}
    (machine / "luks" / f"{ROOT}.json").write_text(json.dumps(header))
    (machine / "luks" / f"{ROOT}.device").write_text("/dev/nvme0n1p3\n")
    devices = json.loads((machine / "lsblk.json").read_text())
    lvm = {"name": "/dev/mapper/vg-root", "type": "lvm", "fstype": "ext4", "mountpoints": ["/"]}
    crypt = {"name": "/dev/mapper/root", "type": "crypt", "fstype": "LVM2_member", "mountpoints": [None]}
    part = {"name": "/dev/nvme0n1p3", "type": "part", "fstype": "crypto_LUKS", "uuid": ROOT}
    devices["blockdevices"].append({**part, "children": [{**crypt, "children": [lvm]}]})
    (machine / "lsblk.json").write_text(json.dumps(devices))
    (machine / "luks" / f"{UUID}.json").write_text(json.dumps({**header, "tokens": {}}))


def test_a_key_file_on_an_encrypted_root_is_worth_what_root_is(machine: Path) -> None:
    with_encrypted_root(machine)
    volume = foretold(machine, f"var @ /etc/keys/var.key\nroot UUID={ROOT} none")
    assert volume.tree.children[0].text == "a key file on the encrypted volume root"
    said = {each.condition: (each.unlock, each.reason) for each in volume.conditions}
    assert said["tpm-absent"] == (Unlock.AUTO, "a key file opens it, once root is open, on which that lies")
    got = {each.attacker: (each.extracted, each.reason) for each in volume.attackers}
    assert got["disk-stolen"][0] is False and got["disk-stolen"][1].startswith("its key file lies on root: ")
    assert got["machine-stolen"][0] is True


def test_where_root_stays_shut_what_its_key_is_for_stays_shut(machine: Path) -> None:
    with_encrypted_root(machine)
    volume = foretold(machine, f"var @ /etc/keys/var.key\nroot UUID={ROOT} none headless")
    said = {each.condition: each.unlock for each in volume.conditions}
    assert (said["present"], said["tpm-absent"]) == (Unlock.AUTO, Unlock.LOCKED)


def test_a_volume_that_needs_tang_after_the_initrd_wants_netdev(machine: Path) -> None:
    assert "_netdev" not in warned(machine), "crypttab has it"
    (machine / "crypttab").write_text(f"var UUID={UUID} none luks\n")
    assert "neither crypttab nor fstab says _netdev" in warned(machine)
    (machine / "fstab").write_text("# /dev/mapper/var\n/dev/mapper/var /var xfs defaults,_netdev 0 2\n")
    assert "_netdev" not in warned(machine)


@pytest.mark.parametrize("option", ["nofail", "timeout=90"])
def test_what_lets_a_boot_go_on_without_it_is_told(machine: Path, option: str) -> None:
    assert f"crypttab says {option}" not in warned(machine)
    (machine / "crypttab").write_text(f"var UUID={UUID} none _netdev,{option}\n")
    assert f"crypttab says {option}" in warned(machine)


@pytest.mark.parametrize(
    ("generators", "stack"),
    [("update-initramfs\n", Stack.IT), ("dracut\nupdate-initramfs\n", Stack.DR), ("booster\n", Stack.DR)],
)
def test_dracut_with_an_update_initramfs_of_its_own_is_dracut(machine: Path, generators: str, stack: Stack) -> None:
    (machine / "initrd-generator").write_text(generators)
    assert collected.read(machine).stack is stack


@pytest.mark.parametrize(
    ("arguments", "generator", "why"),
    [
        ("root=/dev/mapper/root", "booster", "booster opens it"),
        (f"cryptdevice=UUID={ROOT}:root", "mkinitcpio", "mkinitcpio opens it"),
        ("rd.luks=0", "dracut", "the kernel argument rd.luks=0"),
        (f"rd.luks.key={ROOT}=/key:LABEL=STICK", "dracut", "its key lies on another device, LABEL=STICK"),
        (f"rd.luks.options={ROOT}=key-slot=1", "dracut", "key-slot=1"),
    ],
)
def test_another_initrd_or_the_command_line_may_decide(machine: Path, arguments: str, generator: str, why: str) -> None:
    with_encrypted_root(machine)
    (machine / "cmdline").write_text(f"{arguments}\n")
    (machine / "initrd-generator").write_text(f"{generator}\n")
    root = next(each for each in command.explained_machine(machine).volumes if each.mount_point == "/")
    assert why in root.withheld


def test_the_command_line_names_a_volume_that_crypttab_lacks() -> None:
    entry = with_arguments(None, UUID, ("quiet", f"rd.luks.name={UUID}=cryptroot", "rd.luks.options=tpm2-device=auto"))
    assert entry and (entry.name, entry.options) == ("cryptroot", {"tpm2-device": "auto"})
    assert with_arguments(None, UUID, (f"rd.luks.uuid=luks-{ROOT}",)) is None


def test_a_logical_volume_goes_by_both_of_its_names() -> None:
    assert entry_of(entries("data /dev/vg/my-data\n"), ("/dev/mapper/vg-my--data", "/dev/vg/my-data"))


@pytest.mark.parametrize(
    ("version", "properties", "fact"),
    [
        ("", "", "no TPM"),
        ("1", "", "TPM 1.2"),
        ("2", "  ownerAuthSet:              1\n  inLockout: 0", "the TPM's owner authorization is set"),
        ("2", "  ownerAuthSet: 0\n  inLockout:                 1", "the TPM is in dictionary-attack lockout; "),
    ],
)
def test_a_tpm_that_opens_nothing_as_it_was_found_opens_nothing(
    machine: Path, version: str, properties: str, fact: str
) -> None:
    volume = foretold(machine, tpm_version=version, tpm_properties=f"TPM2_PT_PERMANENT:\n{properties}\n")
    said = {each.condition: each for each in volume.conditions}
    assert said["present"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert said["present"].recorded.confirmed == 0, "no boot in the table began like that"
    assert any(each.startswith(fact) for each in command.explained_machine(machine).facts)


def test_a_tpm_in_order_is_told_as_the_table_has_it(machine: Path) -> None:
    properties = "TPM2_PT_PERMANENT:\n  ownerAuthSet:              0\n  inLockout:                 0\n"
    present = foretold(machine, tpm_properties=properties).conditions[0]
    assert present.unlock is Unlock.AUTO and present.recorded.confirmed > 0


def test_a_header_of_luks1_is_not_passed_over_in_silence(machine: Path) -> None:
    (machine / "luks" / f"{ROOT}.device").write_text("/dev/sdb1\n")
    assert "/dev/sdb1 has no LUKS2 metadata" in " ".join(command.explained_machine(machine).facts)
