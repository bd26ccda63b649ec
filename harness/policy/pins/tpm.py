"""What the kinds that a TPM answers for have in common (pure).

Sources: TPM 2.0 Library; TCG PC Client Platform Firmware Profile, 3.3.4.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from harness.errors import UsageError
from harness.policy.capabilities import ALL_PCRS, Capabilities, ExecutionPath
from harness.policy.pins.kind import Leaf, PinFailureCause, ServiceId
from harness.policy.world import TpmState, World

TPM = ServiceId("tpm", "tpm")
"""The TPM of the machine."""

REPORTED_AS = "tpm2"
"""What the events of a boot call a leaf that it answers for."""

_UNUSABLE = {
    TpmState.ABSENT: "there is no TPM",
    TpmState.VERSION_1_2: "the TPM is a 1.2",
    TpmState.ANOTHER: "another TPM cannot load what this one sealed",
    TpmState.CLEARED: "the TPM was cleared, and its storage seed with it",
}


class TpmLeaf(Leaf):
    """A leaf whose key the machine's TPM has sealed.

    Attributes:
        pcr_ids: PCRs that the seal is bound to.
    """

    pcr_ids: tuple[int, ...]

    @property
    def service(self) -> ServiceId:
        """The TPM."""
        return TPM

    @property
    def bound_pcrs(self) -> frozenset[int]:
        """Those that it names."""
        return frozenset(self.pcr_ids)


def pcrs(said: Any) -> tuple[int, ...]:
    """PCRs that a header names, in order.

    Raises:
        UsageError: They are none.
    """
    try:
        found = tuple(sorted(map(int, said)))
    except (TypeError, ValueError) as error:
        raise UsageError("a token of the header names PCRs that are none", str(error)) from error
    if wrong := set(found) - ALL_PCRS:
        raise UsageError(f"a token of the header names a PCR that is none: a TPM has no PCR {min(wrong)}")
    return found


def warnings(bound: frozenset[int]) -> Iterator[tuple[str, str]]:
    """What the owner should hear of a seal that is bound to these PCRs."""
    if not bound:
        yield (
            "its TPM seal is bound to no PCR: any system started on this machine can unseal it",
            "clevis-encrypt-tpm2(1), pcr_ids; clevis#331, #335; test_stolen_foreign_os",
        )
    if 7 in bound and bound <= {0, 1, 2, 3, 7}:
        yield (
            "PCR 7 tells by whose key the boot image was let in: under a vendor's keys every distribution's medium has "
            "the same value; only keys of your own make it yours",
            "TCG PC Client Platform Firmware Profile, 3.3.4.8; bootc#476; test_stolen_foreign_os_under_secure_boot",
        )
        yield (
            "an update of db or dbx changes PCR 7: have the passphrase at hand before you install one",
            "clevis#536; fwupd#7939",
        )


def described(pcr_ids: Iterable[int], bank: str) -> str:
    """What a seal is bound to, in words."""
    ids = ", ".join(map(str, pcr_ids))
    return f"to PCR {ids} ({bank})" if ids else "to no PCR"


def unusable(tpm: TpmState) -> PinFailureCause | None:
    """Why a TPM loads nothing that was sealed before."""
    return PinFailureCause(_UNUSABLE[tpm]) if tpm in _UNUSABLE else None


POWER_CUTS = 3
"""What locks the TPM out, if what a pin authorizes is not noDA: so many power cuts, each after a use of it.

A start after which no TPM2_Shutdown came counts as a failed try of what had been used (TPM 2.0 Library, Part 1, 19.8);
libtpms, like many chips, allows three (TPM_PT_MAX_AUTH_FAIL).
"""


def locked_out(world: World) -> bool:
    """Whether the TPM refuses every authorization of an object that is not noDA, this pin being asked at each boot."""
    return world.tpm is TpmState.LOCKED_OUT or world.power_cuts >= POWER_CUTS


def power_cut_warning(what: str) -> tuple[str, str]:
    """What the owner should hear of a pin whose use is not noDA.

    Args:
        what: It authorizes.
    """
    return (
        f"{POWER_CUTS} power cuts lock the TPM out, as {what}: the boot after them asks, and "
        "`tpm2_dictionarylockout --clear-lockout` repairs it",
        "TPM 2.0 Library, Part 1, 19.8; clevis#333; systemd#30330; scenarios/test_power_cuts.py",
    )


def pcrs_changed(bound: Iterable[int], world: World) -> PinFailureCause | None:
    """Why a seal that is bound to these PCRs does not open."""
    changed = sorted(world.changed_pcrs.intersection(bound))
    if not changed:
        return None
    numbers = " and ".join(map(str, changed))
    return PinFailureCause(f"PCRs {numbers} have changed" if len(changed) > 1 else f"PCR {numbers} has changed")


def extraction(bound: frozenset[int], capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
    """Whether an attacker makes the TPM unseal, and how, or what they lack.

    Args:
        bound: PCRs that may not change.
        capabilities: Of the attacker, who knows the PIN if one is wanted.
        measured: PCRs that the boot extends once the volume is open.
    """
    if capabilities.tpm_state:
        return True, "all that the TPM keeps was copied"
    if not capabilities.machine:
        return False, "the attacker does not have the TPM"
    paths = (path for path in ExecutionPath if path in capabilities.paths or path is ExecutionPath.OWN_OS)
    path = next((path for path in paths if path.kept(measured) >= bound), None)
    return (True, path.value[0]) if path else (False, "the attacker's code changes what it is bound to")
