"""UEFI variables: what an edit writes, and that real firmware takes it and measures it."""

import struct
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from machines import BOOT_MANAGER, SETTLED, bare_machine, named_firmware, read_until, this_host

from harness.errors import UsageError
from harness.machine import nvram
from harness.machine.rig import power_on
from harness.machine.signing import new_signing_key
from harness.machine.tpm_log import replay_pcrs

BLOCK = 0x1000
KEY = new_signing_key("test")


def template() -> bytes:
    """An empty store as edk2's OVMF has it: EFI_FIRMWARE_VOLUME_HEADER, then VARIABLE_STORE_HEADER (PI 1.8, vol. 3)."""
    size = 66 * BLOCK
    nvdata = uuid.UUID("fff12b8d-7696-4c8b-a985-2747075b4f50").bytes_le
    header = (
        bytes(16)
        + nvdata
        + struct.pack("<Q4sLHHHBBLLLL", 84 * BLOCK, b"_FVH", 0x4FEFF, 72, 0, 0, 0, 2, 84, BLOCK, 0, 0)
    )
    auth = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le
    store = auth + struct.pack("<LBBHL", size - 72, 0x5A, 0xFE, 0, 0)
    return (header + store).ljust(84 * BLOCK, b"\xff")


def secure_boot_is_on(store: bytes) -> bool:
    """Whether firmware that has Secure Boot will enforce it: a platform key is enrolled and the switch is not off."""
    found = nvram.variables(store)
    return bool(found.get("PK")) and found.get("SecureBootEnable", b"\1") == b"\1"


def test_an_empty_store_has_no_variables() -> None:
    assert dict(nvram.variables(template())) == {}
    assert not secure_boot_is_on(template())


def test_secure_boot_goes_on_and_off() -> None:
    on = nvram.enable_secure_boot(template(), KEY.certificate)
    assert {"PK", "KEK", "db", "dbx", "SecureBootEnable"} <= set(nvram.variables(on))
    assert secure_boot_is_on(on)
    off = nvram.disable_secure_boot(on)
    assert not secure_boot_is_on(off)
    assert nvram.variables(off)["PK"] == nvram.variables(on)["PK"]


def test_the_keys_given_are_the_keys_enrolled() -> None:
    owner, signer = new_signing_key("owner"), new_signing_key("signer")
    found = nvram.variables(nvram.enable_secure_boot(template(), owner.certificate, [signer.certificate]))
    for name, key in (("PK", owner), ("KEK", owner), ("db", signer)):
        certificate = x509.load_pem_x509_certificate(key.certificate)
        assert certificate.public_bytes(serialization.Encoding.DER) in found[name]
    assert x509.load_pem_x509_certificate(owner.certificate).public_bytes(serialization.Encoding.DER) not in found["db"]


def test_enrolling_into_db_adds_and_does_not_enforce() -> None:
    once = nvram.enroll_db(template(), KEY.certificate)
    twice = nvram.enroll_db(once, new_signing_key("more").certificate)
    assert nvram.variables(twice)["db"].startswith(nvram.variables(once)["db"])
    assert len(nvram.variables(twice)["db"]) > len(nvram.variables(once)["db"])
    assert not secure_boot_is_on(twice)


def test_a_revoked_hash_is_in_dbx() -> None:
    assert b"x" * 32 in nvram.variables(nvram.update_dbx(template(), b"x" * 32))["dbx"]


def test_boot_entries_and_their_order() -> None:
    two = nvram.add_boot_entry(nvram.add_boot_entry(template(), "first"), "second")
    assert nvram.variables(two)["BootOrder"] == struct.pack("<2H", 0, 1)
    assert "second".encode("utf-16le") in nvram.variables(two)["Boot0001"]


def test_a_file_is_started_once_with_arguments() -> None:
    held = nvram.variables(nvram.boot_once(nvram.add_boot_entry(template()), r"\EFI\a.efi", "init=/bin/sh"))
    assert held["BootNext"] == b"\1\0"
    assert held["Boot0001"].endswith("init=/bin/sh\0".encode("utf-16-le"))
    assert r"\EFI\a.efi".encode("utf-16-le") in held["Boot0001"]


def test_an_edit_leaves_what_it_is_given_alone_and_keeps_the_size() -> None:
    before = template()
    after = nvram.enroll_db(before, KEY.certificate)
    assert before == template() != after
    assert len(after) == len(before)


@pytest.mark.parametrize("rubbish", [b"", b"\xff" * 100_000, template()[:100]])
def test_rubbish_is_refused(rubbish: bytes) -> None:
    with pytest.raises(UsageError, match="no NVRAM file"):
        nvram.variables(rubbish)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        nvram.add_boot_entry(template(), "x" * 66 * BLOCK)


def measured(
    tmp_path: Path, edits: dict[str, Callable[[bytes], bytes] | None], build: str = "trixie"
) -> dict[str, dict[int, str]]:
    """The PCRs that the firmware arrives at, by what was done to the NVRAM of one machine."""
    host = this_host()
    found = {}
    with bare_machine(host, build) as machine:
        with power_on(machine, host, tmp_path / "first") as rig:
            read_until(rig, BOOT_MANAGER)
        for name, edit in edits.items():
            changed = machine.nvram.with_name(f"{name}.fd")
            changed.write_bytes((edit or bytes)(machine.nvram.read_bytes()))
            with power_on(replace(machine, nvram=changed), host, tmp_path / name) as rig:
                read_until(rig, BOOT_MANAGER)
                found[name] = replay_pcrs(rig.tpm_exchanges())
    return found


@pytest.mark.real
@pytest.mark.slow
def test_firmware_measures_each_edit_into_its_pcr(tmp_path: Path) -> None:
    """The control is the same machine booted with no edit: PCRs must not move by themselves."""
    pcrs = measured(
        tmp_path,
        {
            "control": None,
            "again": None,
            "db": lambda found: nvram.enroll_db(found, KEY.certificate),
            "dbx": lambda found: nvram.update_dbx(found, bytes(range(32))),
            "secure-boot": lambda found: nvram.enable_secure_boot(found, KEY.certificate),
            "boot-entry": nvram.add_boot_entry,
        },
    )

    def moved(name: str) -> set[int]:
        return {pcr for pcr in SETTLED if pcrs[name][pcr] != pcrs["control"][pcr]}

    assert moved("again") == set()
    assert moved("db") == {7}
    assert moved("dbx") == {7}
    assert moved("secure-boot") == {7}
    assert moved("boot-entry") == {1}


@pytest.mark.real
@pytest.mark.slow
def test_another_build_of_the_firmware_is_another_pcr_0(tmp_path: Path) -> None:
    host = this_host()
    with bare_machine(host, "trixie") as machine:
        pcrs = []
        for build in ("trixie", "bookworm"):
            with power_on(replace(machine, firmware=named_firmware(build)), host, tmp_path / build) as rig:
                read_until(rig, BOOT_MANAGER)
                pcrs.append(replay_pcrs(rig.tpm_exchanges()))
    assert pcrs[0][0] != pcrs[1][0]
    assert pcrs[0][7] == pcrs[1][7]
