"""What the running guest knows about its boot, asked through its shell.

An emulated guest takes half a second for each command that it is sent, so what is asked of every boot is one command.
"""

import binascii
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from uuid import uuid4

from harness.errors import RigError
from harness.guest.ssh import Shell
from harness.luks2.metadata import LuksHeader, parse_luks_dump

_PCRS = "cd /sys/class/tpm/tpm0/pcr-sha256 2>/dev/null && grep -H . *"  # Documentation/ABI/stable/sysfs-class-tpm


_EVENT_LOG = "base64 -w0 /sys/kernel/security/tpm0/binary_bios_measurements 2>/dev/null"
"""The firmware's log of what it measured: Documentation/security/tpm/tpm_event_log.rst."""


@dataclass(frozen=True)
class Facts:
    """What a guest that is up says.

    Attributes:
        open: The volumes that are open, by name.
        pcrs: PCR values (sha256, lower-case hex) by index; empty without a TPM.
        canaries: The canaries that could be read, by the name of the volume.
        headers: Keyslots and tokens of the open volumes, by name.
        event_log: The firmware's log of what it measured, as bytes; empty without a TPM.
    """

    open: frozenset[str]
    pcrs: Mapping[int, str]
    canaries: Mapping[str, str]
    headers: Mapping[str, LuksHeader]
    event_log: bytes = b""


def read_facts(shell: Shell, canaries: Mapping[str, str | None]) -> Facts:
    """Ask a guest about itself and about its volumes.

    Args:
        shell: Root in the guest.
        canaries: Where the canary of each volume lies, if it is mounted, by the name of the volume.

    Raises:
        RigError: An open volume is no LUKS2 device, or something was not answered.
    """
    questions = {"pcrs": _PCRS, "event log": _EVENT_LOG}
    for volume, path in canaries.items():
        dump = 'cryptsetup luksDump --dump-json-metadata -- "$device"'
        questions[f"header of {volume}"] = f'device=$({_device(volume)}); echo "$device"; test -z "$device" || {dump}'
        if path:
            questions[f"canary of {volume}"] = f"cat -- {shlex.quote(path)} 2>/dev/null"
    said = _ask(shell, questions)
    read = {volume: said[f"canary of {volume}"].strip() for volume, path in canaries.items() if path}
    found = {volume: said[f"header of {volume}"].partition("\n") for volume in canaries}
    headers = {volume: header for volume, (device, _, header) in found.items() if device}
    return Facts(
        frozenset(headers),
        parse_pcrs(said["pcrs"]),
        {volume: text for volume, text in read.items() if text},
        {volume: parse_luks_dump(header) for volume, header in headers.items()},
        _decoded(said["event log"]),
    )


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.strip(), strict_mode=True)
    except binascii.Error as error:
        raise RigError("the guest did not give its event log whole", str(error)) from error


def parse_pcrs(text: str) -> dict[int, str]:
    """Read lines ``INDEX:VALUE``."""
    found = re.findall(r"^([0-9]{1,2}):([0-9A-Fa-f]+)$", text, re.MULTILINE)
    return dict(sorted((int(index), value.lower()) for index, value in found))


def canary_path(mount_point: str) -> str:
    """Where the canary of a volume lies in the guest."""
    return str(PurePosixPath(mount_point) / "unlock-lab-canary")


def read_canary(shell: Shell, path: str) -> str | None:
    """The canary, or None when it is not there to be read."""
    text = shell.run(f"cat -- {shlex.quote(path)} 2>/dev/null", check=False).strip()
    return text or None


def backing_device(shell: Shell, mapping: str) -> str:
    """The device that an open volume lies on.

    Raises:
        RigError: The volume is not open.
    """
    device = shell.run(_device(mapping)).strip()
    if not device:
        raise RigError(f"/dev/mapper/{mapping} is not an open volume")
    return device


def _device(mapping: str) -> str:
    """A command that prints what a mapping lies on (sysfs: a block device's ``slaves``); cryptsetup would be slow."""
    node = f"/sys/class/block/$(basename $(readlink -f /dev/mapper/{shlex.quote(mapping)}))/slaves"
    return f"for slave in $(ls {node} 2>/dev/null); do echo /dev/$slave; done"


def _ask(shell: Shell, questions: Mapping[str, str]) -> dict[str, str]:
    """What each command prints, by its name. One that fails has printed what it has printed.

    Raises:
        RigError: One was not run.
    """
    mark = uuid4().hex
    script = "; ".join(f"echo {mark}; ({command})" for command in questions.values())
    _, *answers = shell.run(f"{script}; true").split(mark)
    try:
        return dict(zip(questions, map(str.lstrip, answers), strict=True))
    except ValueError as error:
        told = f"{len(answers)} of {len(questions)} answers"
        raise RigError("the guest did not answer all that it was asked about itself", told) from error
