"""A real TPM on a socket, for the guest's own tools: swtpm on a folder of state, with something in every PCR."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import new, sha1
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from harness.attestation.structures import BANKS
from harness.errors import RigError
from harness.machine.spec import TpmVersion
from harness.machine.tpm import listening_tpm
from harness.machine.tpm_bus import BusInterceptor, code, extend_1_2, pcr_extend, shutdown
from harness.machine.tpm_proxy import read_message
from harness.real_tools.relay import intercepted

SOCKET = "tpm"
"""Of the TPM, in the folder that the toolbox shares."""

_BEHIND = f"{SOCKET}.chip"
"""Where it is itself when an interceptor is on its bus."""

_START_SECONDS = 60.0
_PCRS = range(16)


@contextmanager
def running_tpm(
    state: Path,
    shared: Path,
    changed_pcrs: Iterable[int] = (),
    *,
    empty_pcrs: Iterable[int] = (),
    interceptor: BusInterceptor | None = None,
    version: TpmVersion = TpmVersion.TPM_2_0,
    orderly: bool = True,
) -> Iterator[None]:
    """Run swtpm for the length of the block, started up and with something in every PCR.

    Args:
        state: Its folder.
        shared: Where its socket goes.
        changed_pcrs: Those that hold something else than they do without this.
        empty_pcrs: Those that nothing has extended yet.
        interceptor: What is on its bus.
        version: What it is; the state must be of that version.
        orderly: Whether TPM2_Shutdown comes at the end; it does not before a power cut.

    Raises:
        HostError: swtpm is missing.
        RigError: It did not start, did not end, or failed meanwhile.
    """
    chip = shared / (_BEHIND if interceptor else SOCKET)
    with listening_tpm(state, chip, version):
        _measure(chip, version, sorted(set(_PCRS) - set(empty_pcrs)), frozenset(changed_pcrs))
        with ExitStack() as bus:
            if interceptor:
                bus.enter_context(intercepted(shared / SOCKET, chip, _connected, interceptor))
            yield
        if orderly and version is TpmVersion.TPM_2_0:
            with _connected(chip) as tpm:
                tpm.sendall(shutdown())
                answer = read_message(tpm)
            if not answer or code(answer):
                raise RigError(
                    f"swtpm did not shut its TPM down: {answer.hex() or 'it hung up'}",
                    "a TPM that could not write its state has failed, and says so to whatever it is asked",
                    "is the disk of the folder for temporary files full?",
                )


def _measure(where: Path, version: TpmVersion, pcrs: Iterable[int], changed: frozenset[int]) -> None:
    """Extend each PCR, as a firmware does, and those that changed once more."""
    with _connected(where) as tpm:
        for pcr in pcrs:
            for what in (f"PCR {pcr}", *([f"another PCR {pcr}"] if pcr in changed else [])):
                tpm.sendall(_extend(version, pcr, what.encode()))
                answer = read_message(tpm)
                if not answer or code(answer):
                    raise RigError(f"swtpm did not extend PCR {pcr}")


def _extend(version: TpmVersion, pcr: int, value: bytes) -> bytes:
    """The command that extends a PCR in each bank; one that the TPM does not have is passed over (Part 3, 22.2)."""
    if version is TpmVersion.TPM_1_2:
        return extend_1_2(pcr, sha1(value).digest())
    return pcr_extend(pcr, [(bank, new(bank, value).hexdigest()) for bank in BANKS.values()])


def _connected(where: Path) -> socket.socket:
    try:
        return Retrying(
            retry=retry_if_exception_type(OSError), stop=stop_after_delay(_START_SECONDS), wait=wait_fixed(0.02)
        )(_connect, where)
    except RetryError as error:
        why = str(error.last_attempt.exception())
        raise RigError(f"swtpm did not answer at {where.name} within {_START_SECONDS:.0f} s", why) from error


def _connect(where: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_START_SECONDS)
        connection.connect(str(where))
    except OSError:
        connection.close()
        raise
    return connection
