"""A key that the machine's TPM 1.2 has sealed, unsealed by a keyscript in the initrd (pure).

Neither clevis nor systemd supports a 1.2 (clevis#462, systemd#22091); TrouSerS does. tpm_sealdata(1) seals, and on
initramfs-tools a keyscript of crypttab(5) starts tcsd(8) and calls tpm_unsealdata(1). The keyslot has no token: header
and seal know nothing of each other. The image `debian-13-tpm12` has a tool for each: `seal-tpm12` and `tpm12-key`.

Sources: crypttab(5) of Debian's cryptsetup-initramfs; tpm-tools 1.3.9; TCG TPM Main 1.2, Part 3, 10.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.contract import HELPERS
from harness.policy.capabilities import Capabilities
from harness.policy.pins import tpm
from harness.policy.pins.kind import Binding, Message, Opener, PinFailureCause
from harness.policy.world import Stack, TpmState, World

_KEYSLOT = 1  # the one that seal-tpm12 takes


class TpmTools(Opener):
    """tpm-tools, and a keyscript."""

    name: ClassVar[str] = "tpm-tools"
    refusal: ClassVar[str] = r"tpm12: unsealing failed: .*|No key available"
    stacks: ClassVar[frozenset[Stack]] = frozenset({Stack.IT})

    def renew(self, pins: Sequence[Binding]) -> Iterator[str]:
        """Enroll again: the one keyslot gets another key."""
        for pin in pins:
            yield from pin.enroll()

    def remove(self, pins: Sequence[Binding]) -> Iterator[str]:
        """Wipe the keyslot, so that what the TPM sealed opens nothing."""
        yield f'printf %s "$PASSWORD" | cryptsetup luksKillSlot -q --key-file - "$device" {_KEYSLOT}'

    def unlock(self, device: str, mapping: str, pins: Sequence[Binding], typed: str) -> str:
        """Have the keyscript print the key; where it would ask for the passphrase, it gets no answer."""
        key = f"CRYPTTAB_NAME={mapping} {HELPERS}/tpm12-key < /dev/null"
        return f"{key} | cryptsetup open --key-file - {device} {mapping}"


TPM_TOOLS = TpmTools()


@dataclass(frozen=True)
class Tpm12Pin(tpm.TpmLeaf):
    """A key sealed by tpm_sealdata(1).

    Attributes:
        pcr_ids: PCRs whose values at the sealing it is bound to. Under shim and GRUB: 4 has both, 8 GRUB's commands and
            the kernel's command line, 9 the files that GRUB read (GNU GRUB manual, "Measuring boot components").
        name: What failed pins are called in an outcome.
    """

    pcr_ids: tuple[int, ...] = ()
    name: str = "tpm12"

    opener: ClassVar[Opener] = TPM_TOOLS
    reported_as: ClassVar[str] = "tpm12"
    tpm_version: ClassVar[str] = "1.2"
    failures: ClassVar[tuple[Message, ...]] = (Message(r"tpm12: (?P<reason>unsealing failed: .*)", final=True),)
    answers: ClassVar[tuple[Message, ...]] = (Message(r"tpm12: the TPM unsealed the key of (?P<about>\S+)"),)

    @property
    def described(self) -> str:
        """By which tool it is sealed, and to what."""
        return f"TPM 1.2, sealed by tpm_sealdata {tpm.described(self.pcr_ids, 'sha1')}"

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What a TPM's seal is worth."""
        return tpm.warnings(self.bound_pcrs)

    def enroll(self, *further: str) -> Iterator[str]:
        """``seal-tpm12``."""
        yield f'{HELPERS}/seal-tpm12 "$device" {" ".join(map(str, self.pcr_ids))}'

    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """The sealed key hangs on the storage root key, which every owner makes anew; its secret is the well-known one.

        A 1.2 in the place of this one counts as another TPM.
        """
        state = TpmState.ANOTHER if world.tpm is TpmState.VERSION_1_2 else world.tpm
        return tpm.unusable(state) or tpm.pcrs_changed(self.pcr_ids, world)

    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """Also on the bus: TPM_Unseal returns what it unsealed in the clear (Pulse Security 2019, on BitLocker)."""
        if capabilities.tpm_bus:
            return True, "it is read on the bus"
        return tpm.extraction(self.bound_pcrs, capabilities, measured)
