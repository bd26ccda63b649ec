"""The traffic on a TPM's bus in words, by Wireshark's dissector (tshark(1)).

Names, sessions and response codes leave this module, never a parameter: those can be keys and unsealed secrets. The
sessions tell whether a parameter was encrypted on its way (TCG TPM 2.0 Library, Part 1, 19): ``decrypt`` for the
command's first, ``encrypt`` for the response's first.
"""

from collections.abc import Sequence

from harness import process
from harness.errors import RigError
from harness.machine.tpm_proxy import BusExchange
from harness.temporary import temporary_folder

_SECONDS = 60.0
_PORT = "2321"  # of TPM simulators, by which tshark knows the protocol
_FIELDS = ("tpm.auth_attribs_decrypt", "tpm.auth_attribs_encrypt", "_ws.col.Info")


def summarize(exchanges: Sequence[BusExchange]) -> str:
    """One line for each exchange: direction, command, how its sessions encrypt, response.

    Raises:
        HostError: tshark or text2pcap is missing, or failed.
    """
    if not exchanges:
        return ""
    packets = _dissected("".join(_dump("I", e.command) + _dump("O", e.response) for e in exchanges))
    if len(packets) != 2 * len(exchanges):
        raise RigError(f"tshark saw {len(packets)} packets in {len(exchanges)} commands and their responses")
    pairs = zip(exchanges, packets[::2], packets[1::2], strict=True)
    return "".join(f"{e.direction:8}{_request(command)} -> {_response(response)}\n" for e, command, response in pairs)


def _dissected(dump: str) -> list[list[str]]:
    with temporary_folder() as name:
        capture = name / "bus.pcap"
        ports = f"50000,{_PORT}"
        process.run(["text2pcap", "-q", "-D", "-T", ports, "-", capture], timeout=_SECONDS, stdin=dump)
        fields = [word for field in _FIELDS for word in ("-e", field)]
        text = process.run(["tshark", "-n", "-r", capture, "-T", "fields", *fields], timeout=_SECONDS)
    return [line.split("\t") for line in text.splitlines()]


def _dump(direction: str, message: bytes) -> str:
    return f"{direction}\n0000 {message.hex(' ')}\n"


def _request(packet: list[str]) -> str:
    decrypt, encrypt, info = packet
    sessions = f" sessions decrypt={decrypt} encrypt={encrypt}" if decrypt else ""
    return info.partition("Command ")[2].partition(", len(")[0] + sessions


def _response(packet: list[str]) -> str:
    return packet[2].partition("Response Code ")[2].partition(", len(")[0].partition("[")[0]
