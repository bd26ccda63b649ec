"""Which changes install a sealed machine anew, and which do not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.lab import install_key
from harness.lab.install_key import InstallInputs
from harness.machine.spec import Bus, Disk, Firmware, Machine, Tpm, TpmVersion
from harness.policy.ignition import GuestFile
from harness.policy.pins import ServiceId
from harness.policy.pins.systemd_hsm import HSM
from harness.services.hsm_token import HsmToken
from harness.services.tang_keys import TangKeys

Change = Callable[[InstallInputs], InstallInputs]

TANG = ServiceId("tang", "tang")
TOKEN = HsmToken("lab", "2468", b"key")


@pytest.fixture
def inputs(tmp_path: Path) -> InstallInputs:
    firmware = Firmware("trixie", tmp_path / "code.fd", tmp_path / "vars.fd", secure_boot=True)
    firmware.code.write_bytes(b"code")
    firmware.nvram_template.write_bytes(b"variables")
    return InstallInputs(
        image="key of the image",
        config={"ignition": {"version": "3.3.0"}},
        enrolment=("true",),
        machine=Machine("it", firmware, Path("nvram.fd"), (Disk(Path("disk.qcow2")),), Tpm(Path("tpm"))),
        accelerator="tcg",
        qemu=(10, 0, 2),
        held={TANG: TangKeys((("sig.jwk", b"{}"),))},
        disk_bytes=(24 * 2**30,),
        first_boot=("ignition.firstboot", "ip=dhcp"),
        canaries=(GuestFile("/var/canary", "secret", 0o600),),
    )


def of_machine(**changes: object) -> Change:
    return lambda inputs: replace(inputs, machine=replace(inputs.machine, **changes))  # type: ignore[arg-type]


def of_firmware(**changes: object) -> Change:
    return lambda inputs: replace(
        inputs,
        machine=replace(inputs.machine, firmware=replace(inputs.machine.firmware, **changes)),  # type: ignore[arg-type]
    )


MUST: dict[str, Change] = {
    "an HSM": lambda inputs: replace(inputs, held={**inputs.held, HSM: TOKEN}),
    "another key of the HSM": lambda inputs: replace(inputs, held={**inputs.held, HSM: replace(TOKEN, key=b"other")}),
    "another image": lambda inputs: replace(inputs, image="another"),
    "another config": lambda inputs: replace(inputs, config={"ignition": {"version": "3.4.0"}}),
    "an owner who does more by hand": lambda inputs: replace(inputs, enrolment=("true", "true")),
    "a firmware that can enforce Secure Boot, or cannot": of_firmware(secure_boot=False),
    "another accelerator": lambda inputs: replace(inputs, accelerator="kvm"),
    "another QEMU": lambda inputs: replace(inputs, qemu=(10, 0, 3)),
    "more memory": of_machine(memory_mib=4096),
    "more processors": of_machine(vcpus=2),
    "another bus of the disk": of_machine(disks=(Disk(Path("disk.qcow2"), Bus.VIRTIO),)),
    "another serial number of the disk": of_machine(disks=(Disk(Path("disk.qcow2"), serial="lab1"),)),
    "no TPM": of_machine(tpm=None),
    "an older TPM": of_machine(tpm=Tpm(Path("tpm"), TpmVersion.TPM_1_2)),
    "other PCR banks": of_machine(tpm=Tpm(Path("tpm"), banks=("sha1", "sha256"))),
    "another key of Tang": lambda inputs: replace(inputs, held={TANG: TangKeys((("sig.jwk", b"[]"),))}),
    "another name of the server": lambda inputs: replace(inputs, held={replace(TANG, name="two"): inputs.held[TANG]}),
    "a larger disk": lambda inputs: replace(inputs, disk_bytes=(25 * 2**30,)),
    "a second disk": lambda inputs: replace(inputs, disk_bytes=(24 * 2**30, 4 * 2**30)),
    "other arguments of the first boot": lambda inputs: replace(inputs, first_boot=("ignition.firstboot",)),
    "another place of the canary": lambda inputs: replace(inputs, canaries=(GuestFile("/var/bird", "", 0o600),)),
    "another mode of the canary": lambda inputs: replace(inputs, canaries=(GuestFile("/var/canary", "", 0o644),)),
}

MUST_NOT: dict[str, Change] = {
    "another name of the machine": of_machine(name="another"),
    "other places of its files": of_machine(
        nvram=Path("/else/nvram.fd"), disks=(Disk(Path("/else/disk.qcow2")),), tpm=Tpm(Path("/else/tpm"))
    ),
    "another name of the firmware": of_firmware(name="another"),
    "another canary": lambda inputs: replace(inputs, canaries=(GuestFile("/var/canary", "other", 0o600),)),
}


@pytest.mark.parametrize("what", MUST)
def test_it_is_installed_anew_for(inputs: InstallInputs, what: str) -> None:
    assert MUST[what](inputs).key != inputs.key


@pytest.mark.parametrize("what", MUST_NOT)
def test_it_is_not_installed_anew_for(inputs: InstallInputs, what: str) -> None:
    assert MUST_NOT[what](inputs).key == inputs.key


@pytest.mark.parametrize("file", ["code", "nvram_template"])
def test_it_is_installed_anew_for_another_build_of_the_firmware(inputs: InstallInputs, file: str) -> None:
    before = inputs.key
    path: Path = getattr(inputs.machine.firmware, file)
    path.write_bytes(b"another build")
    assert inputs.key != before


def test_the_same_firmware_somewhere_else_is_the_same(inputs: InstallInputs, tmp_path: Path) -> None:
    firmware = inputs.machine.firmware
    moved = firmware.code.rename(tmp_path / "moved.fd")
    before = of_firmware(code=moved)(inputs).key
    moved.rename(firmware.code)
    assert inputs.key == before


@pytest.mark.parametrize(("name", "value"), [("INSTALL_FORMAT", 1000), ("MACHINE_TYPE", "pc")])
def test_it_is_installed_anew_for_another(
    inputs: InstallInputs, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs.key
    monkeypatch.setattr(install_key, name, value)
    assert inputs.key != before
