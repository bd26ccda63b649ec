"""One volume, sealed by the guest's own tools into a header in a file, and tried under conditions of the truth table.

A condition does here what it does to a machine: its verbs are done to the servers, its maintenance is run by the tools,
its world says which TPM there is and which PCRs changed. What a condition does to firmware, network or time needs a
boot, and is left out (`ONLY_A_BOOT`).
"""

import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import RigError
from harness.lab.owner import owner_functions
from harness.machine import storage
from harness.matrix.condition import Condition
from harness.policy.enrolment import volume_env
from harness.policy.ignition import fill_placeholders
from harness.policy.pins import TANG, ServiceId, bindings
from harness.policy.policy import Volume
from harness.policy.world import Network, Server, TpmState, World
from harness.real_tools.parts import Parts
from harness.real_tools.toolbox import SHARED, Toolbox, tool_functions
from harness.real_tools.tpm import SOCKET, running_tpm
from harness.services.tang import Tang, addresses

ONLY_A_BOOT: Mapping[str, str] = {
    "tpm-1.2": "the tools of the guest speak to a 1.2 through its kernel",
    "tang-silent": "it takes two minutes until the connection fails",
    "late-link": "there is no prompt here, and so nothing after it",
    "secure-boot-on": "there is no firmware here",
    "machine-id": "nothing here is bound to it but by the initrd",
}
"""Conditions that only a boot can tell about, and why."""

_TCTI = f"swtpm:path={SHARED}/{SOCKET}"
_MIB = 32
"""Of the header's file: LUKS2 takes 16 (LUKS2 On-Disk Format Specification, 2.4)."""

_FORMAT = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000 --luks2-metadata-size 256k"
"""The default, 16 KiB for tokens and keyslots, is too small for three bindings of thresholds in thresholds: "Unable to
update metadata" (seen, cryptsetup 2.7).
"""

_END_LEFTOVERS = "kill -KILL -1"
"""clevis's sss ends the pins that it needs no more, but not what these have started: that would speak to the next TPM,
and flush what others have loaded there (seen: 0x910). All but the shell itself: it is the first process here.
"""

_SEAL_SECONDS = 600.0
_OPEN_SECONDS = 300.0
"""Half a second of a processor, which a host with other work may take a minute to give (seen)."""

_WRONG_PIN = "0000"
"""For a person who does not know it: nobody can be waited for here."""


@dataclass(frozen=True)
class Sealed:
    """A volume that was sealed, with the TPM that did it.

    Attributes:
        volume: The policy's, lying on a file.
        header: The file.
        tpm: The folder of the TPM's state.
    """

    volume: Volume
    header: Path
    tpm: Path


@dataclass(frozen=True)
class Trial:
    """What became of one cell.

    Attributes:
        opened: Whether some binding gave a key that opens the volume.
        said: What the tools said.
        seconds: How long it took.
    """

    opened: bool
    said: str
    seconds: float


def seal(parts: Parts, volume: Volume, folder: Path) -> Sealed:
    """Format a header and bind its pins, as an owner does by hand.

    Args:
        parts: The guest's tools, and the servers that the pins name.
        volume: Which, with a passphrase.
        folder: For what is made; belongs to this volume.

    Raises:
        UsageError: It has no passphrase, or a pin that no tool binds.
        RigError: A tool failed.
    """
    box, state = parts.box, folder / "tpm"
    _copy_tpm(parts.tpm, state)
    inside = replace(volume, device=f"{SHARED}/volume")
    bind = [line for pin in bindings(volume.pins) for line in pin.opener.bind(pin)]
    with _tpm_of(box, state):
        box.run(
            "\n".join([*formatted(inside), _by_owner([*volume_env(inside), *bind], parts.servers.tangs)]),
            _SEAL_SECONDS,
        )
    header = folder / "header"
    shutil.move(box.shared / "volume", header)
    return Sealed(inside, header, state)


def formatted(volume: Volume) -> tuple[str, str]:
    """The lines that make a header with the passphrase of a volume, where it lies."""
    said = f"printf %s {shlex.quote(volume.passphrase or '')}"
    return (
        f"truncate -s {_MIB}M {volume.device}",
        f"{said} | cryptsetup luksFormat -q {_FORMAT} {volume.device} -",
    )


def try_under(parts: Parts, sealed: Sealed, condition: Condition, folder: Path) -> Trial:
    """Try a sealed volume under a condition; neither it nor its TPM is changed.

    Args:
        parts: The guest's tools, and the servers; afterwards they are as they were.
        sealed: What to try.
        condition: None of `ONLY_A_BOOT`.
        folder: Empty, for this trial alone.
    """
    tangs = {name: parts.servers.tangs[name] for name in sealed.volume.tang_servers}
    world = condition.world_of(sealed.volume.services)
    if not (condition.maintenance or condition.before or condition.power_cuts):
        return try_in(parts, sealed, world, folder)
    started, state = time.monotonic(), folder / "tpm"
    with _restored(tangs):
        if condition.before:
            for tang in tangs.values():
                condition.before(tang)
        if condition.maintenance:
            sealed = maintained(parts, sealed, condition, folder / "maintained")
        condition.apply({ServiceId(TANG, name): tang for name, tang in tangs.items()})
        shutil.copyfile(sealed.header, parts.box.shared / "volume")
        _copy_tpm(sealed.tpm, state)
        for _ in range(condition.power_cuts):
            with _tpm_of(parts.box, state, orderly=False):
                parts.box.attempt(_script(sealed.volume, world), _OPEN_SECONDS)
        world = replace(world, changed_pcrs=world.changed_pcrs | condition.under_changes)
        return _asked(parts.box, sealed.volume, state, world, started)


def maintained(parts: Parts, sealed: Sealed, condition: Condition, folder: Path) -> Sealed:
    """What the maintenance of a condition makes of a copy of a sealed volume and of its TPM.

    Args:
        parts: The guest's tools, and the servers.
        sealed: Stays as it is.
        condition: One with maintenance.
        folder: For the copy; made here.

    Raises:
        RigError: A command of the maintenance failed.
    """
    assert condition.maintenance
    folder.mkdir()
    header, state = folder / "header", folder / "tpm"
    shutil.copyfile(sealed.header, parts.box.shared / "volume")
    _copy_tpm(sealed.tpm, state)
    with _tpm_of(parts.box, state, condition.under_changes):
        lines = condition.maintenance([sealed.volume]).commands
        parts.box.run(_by_owner(lines, parts.servers.tangs), _SEAL_SECONDS)
    shutil.move(parts.box.shared / "volume", header)
    return replace(sealed, header=header, tpm=state)


def try_in(parts: Parts, sealed: Sealed, world: World, folder: Path) -> Trial:
    """Try a sealed volume in a world; neither it nor its TPM is changed.

    Args:
        parts: The guest's tools, and the servers; afterwards they are as they were.
        sealed: What to try; its TPM is the one that `TpmState.PRESENT` means, and each state that it was brought into.
        world: What is told of it: the TPM, its PCRs, the servers, the network, whether the PIN is typed.
        folder: Empty, for this trial alone.
    """
    started, state = time.monotonic(), folder / "tpm"
    shutil.copyfile(sealed.header, parts.box.shared / "volume")
    _copy_tpm(parts.another if world.tpm is TpmState.ANOTHER else sealed.tpm, state)
    states: dict[str, Server] = {name: world.servers.get(name, Server.UP) for name in sealed.volume.tang_servers}
    if world.network is Network.NO_LINK:
        states = dict.fromkeys(states, Server.REFUSED)
    with parts.servers.being(states):
        return _asked(parts.box, sealed.volume, state, world, started)


def _asked(box: Toolbox, volume: Volume, state: Path, world: World, started: float) -> Trial:
    with _tpm_of(box, None if world.tpm is TpmState.ABSENT else state, world.changed_pcrs):
        status, said = box.attempt(_script(volume, world), _OPEN_SECONDS)
    if lost := storage.lost((box.shared, state.parent), disk_errors=0):
        raise RigError(lost)
    return Trial(status == 0 and "OPENED" in said, said.strip(), time.monotonic() - started)


@contextmanager
def _tpm_of(
    box: Toolbox, state: Path | None, changed_pcrs: Iterable[int] = (), *, orderly: bool = True
) -> Iterator[None]:
    """`running_tpm`, or no TPM, for what the toolbox does in the block and leaves running there."""
    with running_tpm(state, box.shared, changed_pcrs, orderly=orderly) if state else nullcontext():
        yield
        box.attempt(_END_LEFTOVERS)


def _script(volume: Volume, world: World) -> str:
    typed = volume.tpm_pin and (volume.tpm_pin if world.pin_typed else _WRONG_PIN)
    pin = [f"export PIN={shlex.quote(typed)}"] if typed else []
    return "\n".join(["set -u", *_with_tpm(), *pin, f"try_bindings {SHARED}/volume"])


def _by_owner(lines: Iterable[str], tangs: Mapping[str, Tang]) -> str:
    """What an owner runs as root, with the TPM where it is here: systemd's tools look for a device by themselves."""
    here = (line.replace("--tpm2-device=auto", f"--tpm2-device={_TCTI}") for line in lines)
    filled = fill_placeholders(list(here), addresses(tangs.values()))
    return "\n".join([owner_functions(), *_with_tpm(), *(f"{line}\nflush" for line in filled)])


def _with_tpm() -> tuple[str, ...]:
    return tool_functions(), f"export TPM2TOOLS_TCTI={_TCTI}"


def _copy_tpm(state: Path, to: Path) -> None:
    shutil.copytree(state, to, ignore=shutil.ignore_patterns(".lock"))


@contextmanager
def _restored(tangs: Mapping[str, Tang]) -> Iterator[None]:
    keys = {name: tang.keys for name, tang in tangs.items()}
    try:
        yield
    finally:
        for name, tang in tangs.items():
            tang.start()
            if tang.keys != keys[name]:
                tang.replace_keys(keys[name])
            tang.answer()
