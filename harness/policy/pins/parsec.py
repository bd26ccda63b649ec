"""A key that Parsec decrypts before systemd-cryptsetup asks for it (pure).

What opens the volume lies on the disk, encrypted by an RSA key that the Parsec service of the guest keeps: in a TPM, or
with the provider Mbed Crypto in files. A unit has it decrypted and puts it where systemd-cryptsetup looks for a key
file; where Parsec does not decrypt it, there is none, and the passphrase is asked for. The image: ``debian-13-parsec``.

Sources: seed 002 (Avassa, "Using a TPM or an HSM"); parsec-service 1.4.1, parsec-tool 0.7.0; crypttab(5).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from harness.policy.capabilities import Capabilities
from harness.policy.pins import tpm
from harness.policy.pins.kind import Binding, Leaf, Message, Opener, PinFailureCause, ServiceId
from harness.policy.world import Stack, TpmState, World

_TOOL = "/usr/lib/unlock-lab/parsec-key"
"""Of the image."""


class ParsecProvider(StrEnum):
    """What keeps Parsec's keys."""

    TPM = "tpm"
    MBED_CRYPTO = "mbed-crypto"
    """A library, with its keys in files, which the document has for tests."""


class ParsecKey(Opener):
    """The unit that has Parsec decrypt a key file."""

    name: ClassVar[str] = "parsec-key"
    refusal: ClassVar[str] = r"there is no key for \S+|Parsec did not decrypt the key of \S+|No key available"
    stacks: ClassVar[frozenset[Stack]] = frozenset({Stack.DR})
    token_type: ClassVar[str] = "unlock-lab-parsec"

    def renew(self, pins: Sequence[Binding]) -> Iterator[str]:
        """Remove it, and bind anew."""
        yield from self.remove(pins)
        for pin in pins:
            yield from self.bind(pin)

    def remove(self, pins: Sequence[Binding]) -> Iterator[str]:
        """Remove keyslot and key."""
        yield f'{_TOOL} remove "$device"'

    def unlock(self, device: str, mapping: str, pins: Sequence[Binding], typed: str) -> str:
        """By the key that Parsec decrypts."""
        key = f"/run/cryptsetup-keys.d/{mapping}.key"
        return f"{_TOOL} decrypt {mapping} && cryptsetup open --key-file {key} {device} {mapping}"


PARSEC_KEY = ParsecKey()


@dataclass(frozen=True)
class Parsec(Leaf):
    """A key file that Parsec decrypts.

    Attributes:
        provider: What keeps Parsec's key.
        name: What failed pins are called in an outcome.
    """

    provider: ParsecProvider = ParsecProvider.TPM
    name: str = "parsec"

    opener: ClassVar[Opener] = PARSEC_KEY
    reported_as: ClassVar[str] = "parsec"
    failures: ClassVar[tuple[Message, ...]] = (
        Message(r"(?P<reason>Parsec does not run, so there is no key for \S+)", final=True),
        Message(r"(?P<reason>Parsec did not decrypt the key of \S+)", final=True),
    )
    answers: ClassVar[tuple[Message, ...]] = (Message(r"Parsec decrypted the key of \S+"),)

    @property
    def service(self) -> ServiceId | None:
        """None: it is in the guest itself. A TPM decrypts with the key; there is no Unseal to be counted."""
        return None

    @property
    def described(self) -> str:
        """What it is, and what keeps its key."""
        kept = {ParsecProvider.TPM: "in the TPM, to no PCR", ParsecProvider.MBED_CRYPTO: "in files beside it"}
        return f"key of Parsec, kept {kept[self.provider]}"

    def enroll(self, *further: str) -> Iterator[str]:
        """Have the tool of the image do it."""
        yield " ".join([_TOOL, "bind", '"$device"', self.provider, *further])

    def warnings(self) -> Iterator[tuple[str, str]]:
        """That files protect nothing, and that a TPM lets any system have it."""
        if self.provider is ParsecProvider.MBED_CRYPTO:
            where = "seed 002 has it for tests; tests/real_tools/test_parsec.py"
            yield "its key lies in clear on the disk that it is to protect (Parsec's provider Mbed Crypto)", where
        else:
            yield from tpm.warnings(frozenset())
            yield tpm.power_cut_warning("Parsec's keys are not noDA")

    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """With a TPM it wants that TPM; Parsec does not even start where there is none, or another."""
        if self.provider is ParsecProvider.MBED_CRYPTO:
            return None
        if world.tpm is TpmState.OWNER_AUTH_SET:
            return PinFailureCause("Parsec does not know the owner's authorization")
        if unusable := tpm.unusable(world.tpm):
            return unusable
        return (
            PinFailureCause("the TPM is locked out, and Parsec's keys are not noDA") if tpm.locked_out(world) else None
        )

    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """With files by the disk alone; with a TPM by whoever runs own code beside it."""
        if self.provider is ParsecProvider.MBED_CRYPTO:
            return True, "Parsec's key is in files on the disk"
        return tpm.extraction(frozenset(), capabilities, measured)
