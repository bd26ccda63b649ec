"""What a scenario grants to an attacker. What it does not name cannot be taken: see `AttackerAssets.require` (pure)."""

from collections.abc import Iterable
from enum import StrEnum

from harness.policy.capabilities import Capabilities


class Grant(StrEnum):
    """One thing that an attacker has of the victim's."""

    DISK = "disk"
    """A copy of the disk."""
    NVRAM = "nvram"
    """A copy of the UEFI variables."""
    TPM_STATE = "tpm-state"
    """A copy of all that the TPM keeps, its seeds included. No real TPM gives that away: a virtual one does."""
    MACHINE = "machine"
    """The machine itself, with its TPM and its UEFI variables; the attacker decides what it boots."""
    NETWORK = "network"
    """A place in the victim's network, so that Tang answers the attacker."""
    TANG_KEYS = "tang-keys"
    """A copy of the keys of a Tang server."""
    TPM_BUS = "tpm-bus"
    """The wires between processor and TPM."""
    TOKENS = "tokens"
    """The security tokens that the owner carries."""
    RAM = "ram"
    """The memory of a machine that is on."""
    ROOT = "root"
    """A shell as root in the victim's running system, once."""
    SMBIOS = "smbios"
    """The strings that the platform shows to its firmware, as the owner of a hypervisor sets them."""


def capabilities(grants: Iterable[Grant]) -> Capabilities:
    """What these grants are worth, for the oracle's `extract`: to an attacker who uses them all from a live system."""
    has = frozenset(grants)
    return Capabilities(
        disk=Grant.DISK in has,
        machine=Grant.MACHINE in has,
        tpm_state=Grant.TPM_STATE in has,
        tpm_bus=Grant.TPM_BUS in has,
        network=Grant.NETWORK in has,
        ram=Grant.RAM in has,
        tokens=Grant.TOKENS in has,
    )


def mark_line(grants: Iterable[Grant]) -> str:
    """The mark that grants these, as a scenario writes it."""
    wanted = set(grants)
    return f"@pytest.mark.attack({', '.join(f'Grant.{grant.name}' for grant in Grant if grant in wanted)})"
