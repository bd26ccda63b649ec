"""Attacks on the bus between a machine and its TPM: a `BusInterceptor` for each (pure).

::

    sniffer = BusSniffer()
    sealed.boot(attacker.on_the_bus(sniffer))
    sniffer.unsealed        # what the TPM returned, as it stood on the bus

Each is made for one power-on, or for several in a row, and keeps what it saw until the scenario is over.
"""

from collections.abc import Iterable

from harness.machine.tpm_bus import (
    PCR_EXTEND,
    STARTUP,
    UNSEAL,
    TpmTransport,
    code,
    encrypts_response,
    pcr_extend,
    startup,
    success_response,
    unsealed,
)
from harness.machine.tpm_log import TpmExchange, decode


class BusSniffer:
    """Listens, and changes nothing."""

    def __init__(self) -> None:
        self._heard: list[tuple[bytes, bytes]] = []

    def __call__(self, command: bytes, tpm: TpmTransport) -> bytes:
        """Pass it on."""
        response = tpm.ask(command)
        self._heard.append((command, response))
        return response

    @property
    def unsealed(self) -> tuple[bytes, ...]:
        """What each TPM2_Unseal brought, as it stood on the bus: the secret, or the cipher text of it."""
        brought = (unsealed(command, response) for command, response in self._heard)
        return tuple(data for data in brought if data is not None)

    @property
    def encrypted(self) -> bool:
        """Whether each TPM2_Unseal was asked for under a session that encrypts what it brings."""
        return all(encrypts_response(command) for command, _ in self._heard if code(command) == UNSEAL)

    @property
    def extends(self) -> tuple[TpmExchange, ...]:
        """What the PCRs were extended with from the last start of the TPM to the first unsealing: a good boot's log."""
        log: list[TpmExchange] = []
        succeeded = (exchange for exchange in self._heard if not code(exchange[1]))
        for command, response in succeeded:
            if code(command) == STARTUP:
                log.clear()
            elif code(command) == UNSEAL:
                break
            elif code(command) == PCR_EXTEND:
                log.append(decode(command, response))
        return tuple(log)


class ResetAndReplay:
    """Pulls the TPM's reset pin once it is told to, and plays the log of a good boot to it; till then it passes on."""

    def __init__(self, log: Iterable[TpmExchange]) -> None:
        self._log = tuple(log)
        self._armed = False

    def arm(self) -> None:
        """Do it before the next command."""
        self._armed = True

    def __call__(self, command: bytes, tpm: TpmTransport) -> bytes:
        """Pass it on, to a TPM that thinks that it saw a good boot."""
        if self._armed:
            self._armed = False
            tpm.reset()
            tpm.ask(startup())
            _play(self._log, tpm)
        return tpm.ask(command)


class MeasurementSpoofer:
    """Plays the log of a good boot to the TPM when it starts, and keeps from it what is really booted."""

    def __init__(self, log: Iterable[TpmExchange]) -> None:
        self._log = tuple(log)

    def __call__(self, command: bytes, tpm: TpmTransport) -> bytes:
        """Tell the machine that its measurements were taken."""
        if code(command) == PCR_EXTEND:
            return success_response()
        response = tpm.ask(command)
        if code(command) == STARTUP and not code(response):  # Linux tries it once more, and is refused
            _play(self._log, tpm)
        return response


def _play(log: Iterable[TpmExchange], tpm: TpmTransport) -> None:
    for exchange in log:
        assert exchange.pcr is not None
        tpm.ask(pcr_extend(exchange.pcr, exchange.digests))
