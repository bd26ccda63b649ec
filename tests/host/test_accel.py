"""The choice between KVM and emulation, with small programs in QEMU's place, and once for real."""

from pathlib import Path

import pytest
from machines import named_firmware

from harness.errors import UsageError
from harness.host import accel
from harness.host.accel import choose_accel, probe_kvm
from harness.host.session import find_emulator


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "code.fd"
    path.write_bytes(b"firmware")
    return path


def emulator(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "qemu"
    path.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\n{script}\n")
    path.chmod(0o755)
    return path


def test_firmware_that_speaks_means_kvm_works(tmp_path: Path, firmware: Path) -> None:
    qemu = emulator(tmp_path, "echo 'BdsDxe: starting Boot0001'; exec sleep 60")
    assert probe_kvm(qemu, firmware, None) == ""


def test_an_internal_error_is_the_reason_and_ends_the_probe_at_once(tmp_path: Path, firmware: Path) -> None:
    qemu = emulator(tmp_path, "echo 'KVM internal error. Suberror: 1'; echo 'extra data'; exec sleep 60")
    assert probe_kvm(qemu, firmware, None) == "KVM internal error. Suberror: 1"


def test_what_qemu_said_last_is_the_reason(tmp_path: Path, firmware: Path) -> None:
    qemu = emulator(tmp_path, "echo 'qemu: could not open kvm: Permission denied' >&2; exit 1")
    assert probe_kvm(qemu, firmware, None) == "qemu: could not open kvm: Permission denied"


def test_silence_ends_at_the_deadline(tmp_path: Path, firmware: Path) -> None:
    qemu = emulator(tmp_path, "exec sleep 60")
    assert probe_kvm(qemu, firmware, None, seconds=0.2) == "firmware did not reach its boot manager in 0 s"


def test_an_end_without_a_word(tmp_path: Path, firmware: Path) -> None:
    assert probe_kvm(emulator(tmp_path, "exit 1"), firmware, None) == "QEMU ended without a word"


@pytest.fixture
def has_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accel, "_DEVICE", tmp_path)


@pytest.mark.usefixtures("has_kvm")
def test_the_probe_is_made_once_for_each_qemu(tmp_path: Path, firmware: Path) -> None:
    qemu = emulator(tmp_path, "echo BdsDxe; exec sleep 60")
    for version in ("10.0.2", "10.0.2", "10.0.3"):
        assert choose_accel("auto", qemu, version, firmware, None).name == "kvm"
    assert (tmp_path / "runs").read_text().count("run") == 2


@pytest.mark.usefixtures("has_kvm")
def test_a_broken_kvm_is_emulation_and_says_why(tmp_path: Path, firmware: Path) -> None:
    chosen = choose_accel("auto", emulator(tmp_path, "echo 'failed to set MSR 0x10a'; exit 1"), "1", firmware, None)
    assert chosen.name == "tcg"
    assert "failed to set MSR 0x10a" in chosen.reason


@pytest.mark.usefixtures("has_kvm")
@pytest.mark.parametrize("wanted", ["kvm", "tcg"])
def test_what_is_asked_for_is_not_probed(tmp_path: Path, firmware: Path, wanted: str) -> None:
    assert choose_accel(wanted, emulator(tmp_path, "exit 1"), "1", firmware, None).name == wanted
    assert not (tmp_path / "runs").exists()


def test_no_device_is_emulation(tmp_path: Path, firmware: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "_DEVICE", tmp_path / "absent")
    assert choose_accel("auto", emulator(tmp_path, "exit 1"), "1", firmware, None).name == "tcg"


def test_another_word_is_refused(tmp_path: Path, firmware: Path) -> None:
    with pytest.raises(UsageError, match="no accelerator 'hvf'"):
        choose_accel("hvf", tmp_path, "1", firmware, None)


@pytest.mark.real
def test_the_real_probe_comes_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this host has, an answer comes, with a reason."""
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path))
    qemu, version, _ = find_emulator()
    chosen = choose_accel("auto", qemu, version, named_firmware("trixie-plain").code, None)
    assert chosen.name in {"kvm", "tcg"}
    assert chosen.reason
