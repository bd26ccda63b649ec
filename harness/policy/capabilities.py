"""What an attacker can do, and how their code comes to run on the victim's machine (pure).

Sources: oddlama, "Bypassing disk encryption on systems with automatic TPM2 unlock"; TCG PC Client Platform Firmware
Profile, 3.3.4; systemd-stub(7), systemd-pcrphase.service(8), systemd-pcrlock(8); GRUB manual, "Measured boot".
"""

from dataclasses import dataclass
from enum import Enum

ALL_PCRS = frozenset(range(24))

MEASURED = frozenset({11, 15})
"""PCRs into which a boot may put what comes after the unlock: under systemd-stub the end of the initrd, and the key of
the volume that was opened, if crypttab says ``tpm2-measure-pcr=yes``. Under GRUB neither (systemd-pcrphase.service(8)).
"""

PCRLOCK_PCRS = frozenset({0, 1, 2, 3, 4, 5, 7, 11, 12, 13, 14, 15})
"""PCRs that a pcrlock policy covers unless it is told otherwise (systemd-pcrlock(8), ``--pcr=``)."""


class ExecutionPath(Enum):
    """How own code comes to run on the victim's machine, in words, and the PCRs that it leaves as they were."""

    OWN_OS = "a live system", frozenset[int]()
    SAME_SIGNER = "another image that the firmware accepts", frozenset({0, 1, 2, 3, 7})
    """One by the same signer; with Secure Boot off, any."""
    COMMAND_LINE = "GRUB's menu", ALL_PCRS - {8}
    INITRD = "another initrd, which the boot loader does not verify", ALL_PCRS - {9}
    STUB_COMMAND_LINE = "another command line for systemd-stub", ALL_PCRS - {9, 10, 12}
    """By SMBIOS (``io.systemd.stub.kernel-cmdline-extra``), which OVMF measures into no PCR, other firmware into PCR 1.
    The stub measures what it adds into PCR 12, the kernel all of it into PCR 9, and IMA that into PCR 10 (seen).
    """
    CREDENTIAL = "a credential by SMBIOS", ALL_PCRS
    """``io.systemd.credential:systemd.extra-unit``, which firmware that measures these tables measures into PCR 1; OVMF
    does not (seen).
    """
    INITRAMFS_SHELL = "a shell in the victim's initrd", ALL_PCRS
    """Such as opens when the disk cannot be found (CVE-2016-4484)."""
    PCR_RESET = "a reset of the TPM and the victim's event log replayed", ALL_PCRS
    ROGUE_ROOT = "a look-alike of the root", ALL_PCRS
    """The victim's own initrd opens it, and starts what is on it."""
    RUNNING_ROOT = "root in the running system", ALL_PCRS

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
        disk: They have a copy of the disk.
        machine: They have the machine, disk and TPM included, and decide what it boots.
        tpm_state: They have a copy of all that the TPM keeps; in their own TPM they bring the PCRs to any value.
        paths: How they run own code on the machine, besides `ExecutionPath.OWN_OS`, which comes with it.
        tpm_bus: They listen between processor and TPM while the victim unlocks.
        network: They reach every Tang server.
        tang_keys: Servers whose keys they have, by name.
        pin: They know the PIN of the TPM or the token.
        tokens: Whether they have the victim's security tokens.
        ram: They read the memory of the machine while the volume is open.
        old_secret: They have the header from before a secret was revoked, and that secret.
    """

    disk: bool = False
    machine: bool = False
    tpm_state: bool = False
    paths: frozenset[ExecutionPath] = frozenset()
    tpm_bus: bool = False
    network: bool = False
    tang_keys: frozenset[str] = frozenset()
    pin: bool = False
    tokens: bool = False
    ram: bool = False
    old_secret: bool = False
