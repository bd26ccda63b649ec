"""What an attacker gets out of a volume: the policy, evaluated with the leaves that they can make answer (pure).

Some capabilities need no pin: reading the memory of a machine whose volume is open, holding an old header and the
secret that was revoked since, or finding the key file on the disk. Otherwise it takes the header and enough leaves:

- a Tang leaf, when they reach the server or has its keys;
- a TPM leaf, when they have all that the TPM keeps, or the machine and an `ExecutionPath` that runs their code there
  and leaves the PCRs that the leaf is bound to as they were. A PIN they must know besides;
- a TPM leaf of clevis also when they listen to the bus, since clevis asks for no encrypted session (CVE-2026-0714).

Sources: oddlama, "Bypassing disk encryption on systems with automatic TPM2 unlock"; TCG PC Client Platform Firmware
Profile, 3.3.4; systemd-stub(7), systemd-pcrphase.service(8), systemd-pcrlock(8); GRUB manual, "Measured boot".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from harness.policy.pins import CryptenrollPin, Leaf, Pin, Sss, TangPin, Tpm2Pin, Volume, leaves

_ALL = frozenset(range(24))

MEASURED = frozenset({11, 15})
"""PCRs into which a boot may put what comes after the unlock: under systemd-stub the end of the initrd, and the key of
the volume that was opened, if crypttab says ``tpm2-measure-pcr=yes``. Under GRUB neither (systemd-pcrphase.service(8)).
"""

_PCRLOCK = frozenset({0, 1, 2, 3, 4, 5, 7, 11, 12, 13, 14, 15})
"""PCRs that a pcrlock policy covers unless it is told otherwise (systemd-pcrlock(8), ``--pcr=``)."""


class ExecutionPath(Enum):
    """How own code comes to run on the victim's machine, in words, and the PCRs that it leaves as they were."""

    OWN_OS = "a live system", frozenset[int]()
    SAME_SIGNER = "another image that the firmware accepts", frozenset({0, 1, 2, 3, 7})
    """One by the same signer; with Secure Boot off, any."""
    COMMAND_LINE = "GRUB's menu", _ALL - {8}
    INITRD = "another initrd, which the boot loader does not verify", _ALL - {9}
    STUB_COMMAND_LINE = "another command line for systemd-stub", _ALL - {9, 10, 12}
    """By SMBIOS (``io.systemd.stub.kernel-cmdline-extra``), which OVMF measures into no PCR, other firmware into PCR 1.
    The stub measures what it adds into PCR 12, the kernel all of it into PCR 9, and IMA that into PCR 10 (seen).
    """
    CREDENTIAL = "a credential by SMBIOS", _ALL
    """``io.systemd.credential:systemd.extra-unit``, which firmware that measures these tables measures into PCR 1; OVMF
    does not (seen).
    """
    INITRAMFS_SHELL = "a shell in the victim's initrd", _ALL
    """Such as opens when the disk cannot be found (CVE-2016-4484)."""
    PCR_RESET = "a reset of the TPM and the victim's event log replayed", _ALL
    ROGUE_ROOT = "a look-alike of the root", _ALL
    """The victim's own initrd opens it, and starts what is on it."""
    RUNNING_ROOT = "root in the running system", _ALL

    def kept(self, measured: frozenset[int]) -> frozenset[int]:
        """PCRs that are as they were when the volume was opened.

        Args:
            measured: Those that the boot extends after that.
        """
        kept: frozenset[int] = self.value[1]
        return kept - measured if self in (ExecutionPath.ROGUE_ROOT, ExecutionPath.RUNNING_ROOT) else kept


@dataclass(frozen=True)
class Capabilities:
    """What an attacker can do.

    Attributes:
        disk: He has a copy of the disk.
        machine: He has the machine, disk and TPM included, and decides what it boots.
        tpm_state: They have a copy of all that the TPM keeps; in their own TPM they bring the PCRs to any value.
        ways: How they run own code on the machine, besides `ExecutionPath.OWN_OS`, which comes with it.
        tpm_bus: He listens between processor and TPM while the victim unlocks.
        network: He reaches every Tang server.
        tang_keys: Servers whose keys they have, by name.
        pin: He knows the TPM's PIN.
        ram: He reads the memory of the machine while the volume is open.
        old_secret: He has the header from before a secret was revoked, and that secret.
    """

    disk: bool = False
    machine: bool = False
    tpm_state: bool = False
    ways: frozenset[ExecutionPath] = frozenset()
    tpm_bus: bool = False
    network: bool = False
    tang_keys: frozenset[str] = frozenset()
    pin: bool = False
    ram: bool = False
    old_secret: bool = False


@dataclass(frozen=True)
class Extraction:
    """What became of a key.

    Attributes:
        extracted: Whether the attacker has it: X in the catalogue, and R otherwise.
        reason: One sentence. It names each leaf that they make answer, or else each that they cannot.
    """

    extracted: bool
    reason: str


def extract(volume: Volume, capabilities: Capabilities, *, measured: frozenset[int] = MEASURED) -> Extraction:
    """What these capabilities are worth against a volume.

    Args:
        volume: The victim's.
        capabilities: The attacker's.
        measured: Those of `MEASURED` that this boot extends once the volume is open. What is bound to the others
            protects nothing.
    """
    has_disk = capabilities.disk or capabilities.machine
    if shortcut := _shortcut(volume, capabilities, has_disk):
        return Extraction(True, shortcut)
    if not has_disk:
        return Extraction(False, "the attacker has no copy of the LUKS header")
    if volume.pins is None:
        return Extraction(False, "no pin guards it, and the attacker does not know the passphrase")
    return _by_pins(volume.pins, capabilities, measured)


def _shortcut(volume: Volume, capabilities: Capabilities, has_disk: bool) -> str | None:
    """What opens it whatever its pins are, in words."""
    if capabilities.ram:
        return "the volume key is in the machine's memory while the volume is open"
    if capabilities.old_secret:
        return "the old header takes the revoked secret, and the volume key is still the same"
    return "a key file lies on the disk in the clear" if volume.key_file and has_disk else None


def _by_pins(pins: Pin, capabilities: Capabilities, measured: frozenset[int]) -> Extraction:
    how = {
        leaf: _tang(leaf, capabilities) if isinstance(leaf, TangPin) else _tpm(leaf, capabilities, measured)
        for leaf in leaves(pins)
    }
    extracted = _yields(pins, {leaf: answers for leaf, (answers, _) in how.items()})
    verb = "answers" if extracted else "does not answer"
    said = (f"{leaf.name} {verb}: {why}" for leaf, (answers, why) in how.items() if answers is extracted)
    return Extraction(extracted, "; ".join(said))


def _yields(pin: Pin, answers: Mapping[Leaf, bool]) -> bool:
    if isinstance(pin, Sss):
        return sum(_yields(child, answers) for child in pin.pins) >= pin.threshold
    return answers[pin]


def _tang(leaf: TangPin, capabilities: Capabilities) -> tuple[bool, str]:
    """Whether they make it answer, and how, or what they lack."""
    if leaf.server in capabilities.tang_keys:
        return True, "the attacker has the server's keys"
    if capabilities.network:
        return True, "the attacker reaches the server"
    return False, "the attacker is kept from the server"


def _tpm(leaf: Tpm2Pin | CryptenrollPin, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
    """Whether they make it answer, and how, or what they lack."""
    if capabilities.tpm_bus and isinstance(leaf, Tpm2Pin):
        return True, "it is read on the bus"
    if isinstance(leaf, CryptenrollPin) and leaf.asks_pin and not capabilities.pin:
        return False, "the attacker does not know the PIN"
    if capabilities.tpm_state:
        return True, "all that the TPM keeps was copied"
    if not capabilities.machine:
        return False, "the attacker does not have the TPM"
    bound = _bound(leaf)
    ways = (way for way in ExecutionPath if way in capabilities.ways or way is ExecutionPath.OWN_OS)
    way = next((way for way in ways if way.kept(measured) >= bound), None)
    return (True, way.value[0]) if way else (False, "the attacker's code changes what it is bound to")


def _bound(leaf: Tpm2Pin | CryptenrollPin) -> frozenset[int]:
    """PCRs that may not change. A signature allows PCR 11 of one phase of one boot image, and that is not theirs."""
    if isinstance(leaf, Tpm2Pin):
        return frozenset(leaf.pcr_ids)
    named = frozenset((*leaf.pcr_ids, *leaf.initrd_pcr_ids, *leaf.signed_pcr_ids))
    return _PCRLOCK if leaf.pcrlock and not leaf.initrd_pcr_ids else named
