"""One volume, sealed by the guest's own tools into a header in a file, and tried under conditions of the truth table.

A condition does here what it does to a machine: its verbs are done to the servers, its maintenance is run by the tools,
its world says which TPM there is and which PCRs changed. What a condition does to firmware, network or time needs a
boot, and is left untold (`UNTOLD`).
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.matrix.condition import Condition
from harness.policy.enrolment import volume_env
from harness.policy.ignition import fill_placeholders
from harness.policy.pins import bindings, leaves
from harness.policy.policy import Volume
from harness.policy.world import Network, TpmState
from harness.real_tools.toolbox import SHARED, Toolbox
from harness.real_tools.tpm import SOCKET, running_tpm
from harness.services.tang import Tang, addresses

UNTOLD: Mapping[str, str] = {
    "tpm-1.2": "the tools of the guest speak to a 1.2 through its kernel",
    "tang-silent": "it takes two minutes until the connection fails",
    "late-link": "there is no prompt here, and so nothing after it",
    "secure-boot-on": "there is no firmware here",
    "machine-id": "nothing here is bound to it but by the initrd",
    "firmware-renewed": "the maintenance is done under another firmware",
    "firmware-renewed-early": "the maintenance is done before another firmware comes",
}
"""Conditions that only a boot can tell about, and why."""

_TCTI = f"swtpm:path={SHARED}/{SOCKET}"
_MIB = 32
"""Of the header's file: LUKS2 takes 16 (LUKS2 On-Disk Format Specification, 2.4)."""

_FLUSH = "for what in -t -s -l; do tpm2_flushcontext $what >/dev/null 2>&1 || true; done"
"""What the kernel's resource manager does for each program that ends (tpm2_flushcontext(1))."""

_SEAL_SECONDS = 120.0
_OPEN_SECONDS = 60.0

_TRY = r"""
set -u
export TPM2TOOLS_TCTI={tcti}
volume={volume}
{pin}
for slot in $(clevis luks list -d "$volume" 2>/dev/null | cut -d: -f1); do
    if clevis luks pass -d "$volume" -s "$slot" >/tmp/found && test -s /tmp/found; then
        cryptsetup open --test-passphrase --key-slot "$slot" --key-file /tmp/found "$volume" && echo OPENED && exit 0
    fi
    {flush}
done
if cryptsetup luksDump "$volume" | grep -q systemd-tpm2; then
    systemd-cryptenroll --unlock-tpm2-device={tcti} --recovery-key "$volume" >/dev/null && echo OPENED && exit 0
fi
exit 1
"""
"""Each binding in turn, as at boot; that a token of systemd unlocks is shown by enrolling a recovery key with it."""


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


def seal(box: Toolbox, volume: Volume, tangs: Mapping[str, Tang], folder: Path) -> Sealed:
    """Format a header and bind its pins, as an owner does by hand.

    Args:
        box: The guest's tools.
        volume: Which, with a passphrase.
        tangs: The servers that its pins name.
        folder: For what is made; belongs to this volume.

    Raises:
        UsageError: It has no passphrase, or a pin that no tool binds.
        RigError: A tool failed.
    """
    state = folder / "tpm"
    tpms.manufacture(Tpm(state))
    inside = replace(volume, device=f"{SHARED}/volume")
    bind = [line for pin in bindings(volume.pins) for line in (*pin.opener.bind(pin), _FLUSH)]
    lines = [*volume_env(inside), *(_by_socket(line) for line in fill_placeholders(bind, addresses(tangs)))]
    with running_tpm(state, box.shared):
        box.run(
            f"export TPM2TOOLS_TCTI={_TCTI}\ntruncate -s {_MIB}M {inside.device}\n"
            f"printf %s {volume.passphrase!r} | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "
            f"{inside.device} -\n" + "\n".join(lines),
            _SEAL_SECONDS,
        )
    header = folder / "header"
    shutil.move(box.shared / "volume", header)
    return Sealed(inside, header, state)


def try_under(box: Toolbox, sealed: Sealed, condition: Condition, tangs: Mapping[str, Tang], folder: Path) -> Trial:
    """Try a sealed volume under a condition; neither it nor its TPM is changed.

    Args:
        box: The guest's tools.
        sealed: What to try.
        condition: None of `UNTOLD`.
        tangs: Its servers; afterwards they are as they were.
        folder: Empty, for this trial alone.
    """
    started = time.monotonic()
    volume, state = box.shared / "volume", folder / "tpm"
    shutil.copyfile(sealed.header, volume)
    shutil.copytree(sealed.tpm, state, ignore=shutil.ignore_patterns(".lock"))
    with ExitStack() as stack:
        stack.enter_context(_restored(tangs))
        if condition.before:
            for tang in tangs.values():
                condition.before(tang)
        if condition.maintenance:
            with running_tpm(state, box.shared):
                _maintain(box, sealed, condition, tangs)
        condition.apply(tangs)
        if condition.world.network is Network.NO_LINK:
            for tang in tangs.values():
                tang.stop()
        if condition.world.tpm is TpmState.ANOTHER:
            shutil.rmtree(state)
            tpms.manufacture(Tpm(state))
        for _ in range(condition.power_cuts):
            with running_tpm(state, box.shared, orderly=False):
                box.attempt(_script(sealed.volume), _OPEN_SECONDS)
        if condition.world.tpm is not TpmState.ABSENT:
            stack.enter_context(running_tpm(state, box.shared, condition.world.changed_pcrs))
        status, said = box.attempt(_script(sealed.volume), _OPEN_SECONDS)
    return Trial(status == 0 and "OPENED" in said, said.strip(), time.monotonic() - started)


def _script(volume: Volume) -> str:
    pin = f"export PIN={volume.tpm_pin}" if volume.tpm_pin else ""
    filled = _TRY.replace("{tcti}", _TCTI).replace("{volume}", f"{SHARED}/volume").replace("{flush}", _FLUSH)
    return filled.replace("{pin}", pin)


def _maintain(box: Toolbox, sealed: Sealed, condition: Condition, tangs: Mapping[str, Tang]) -> None:
    assert condition.maintenance
    commands = condition.maintenance([sealed.volume]).commands
    lines = [
        line for each in fill_placeholders(list(commands), addresses(tangs)) for line in (_by_socket(each), _FLUSH)
    ]
    box.run("\n".join([f"export TPM2TOOLS_TCTI={_TCTI}", *lines]), _SEAL_SECONDS)


def _by_socket(line: str) -> str:
    """A line of the owner's, with the TPM where it is here: systemd's tools look for a device by themselves."""
    return line.replace("--tpm2-device=auto", f"--tpm2-device={_TCTI}")


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


def servers_of(volume: Volume) -> tuple[str, ...]:
    """The servers that the pins of a volume name, each once."""
    found = (leaf.service for leaf in (leaves(volume.pins) if volume.pins else ()))
    return tuple(dict.fromkeys(service.name for service in found if service and service.kind == "tang"))
