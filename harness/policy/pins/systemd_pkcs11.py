"""A token of systemd-cryptenroll whose key an RSA key in a PKCS#11 token decrypts (pure).

The token is SoftHSM2, in files of the guest's own, or tpm2-pkcs11's, whose keys lie under the machine's TPM.

Sources: systemd-cryptenroll(1), crypttab(5), softhsm2-util(1), pkcs11-tool(1), p11-kit(8); systemd 257 pkcs11-util.c;
tpm2-pkcs11 1.9, docs/PKCS11_TOOL.md.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness.errors import UsageError
from harness.policy.capabilities import Capabilities
from harness.policy.pins import tpm
from harness.policy.pins.kind import Message, PinFailureCause, ServiceId
from harness.policy.pins.systemd import SecurityToken, security_token_cause
from harness.policy.world import TokenState, TpmState, World

PKCS11_PIN = "24680"
"""The PIN of the token. It is no secret here."""

LABEL, KEY = "lab", "disk"
"""What the token and the key in it are called."""

_STORE = "/etc/tpm2_pkcs11"

REMOVE_TOKEN = "no_soft_tokens"
"""The command that removes every token."""

NEW_TOKEN = f"soft_token {LABEL} {KEY} {PKCS11_PIN}"
"""The command that makes a token with a key."""


ANOTHER_KEY = PinFailureCause("another key decrypts to something else", reported=False, ends=True)
"""Of a token with the same label (PKCS #1 v1.5, implicit rejection). systemd takes it for the right token."""


class Pkcs11Token(SecurityToken):
    """A token that systemd asks by PKCS#11, wherever p11-kit finds it; a person must type its PIN."""

    slot_type: ClassVar[str] = "pkcs11"
    crypttab_device: ClassVar[str] = "pkcs11-uri=auto"
    reported_as: ClassVar[str] = "pkcs11"

    @property
    def typed(self) -> str:
        """The PIN."""
        return PKCS11_PIN

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What another token of its name costs."""
        yield (
            "a token of the same name with another key keeps the volume shut: systemd takes it for the right one, and "
            "then asks for no passphrase",
            "systemd 257, cryptsetup.c; test_another_hsm_at_its_address_costs_the_prompt_for_the_passphrase",
        )

    @abstractmethod
    def token(self) -> Iterator[str]:
        """The lines after which p11-kit finds it."""

    def enroll(self, *further: str) -> Iterator[str]:
        """``systemd-cryptenroll --pkcs11-token-uri=``, once there is a token."""
        yield from self.token()
        uri = f"pkcs11:token={LABEL};object={KEY};type=public"
        options = " ".join([*further, f"--pkcs11-token-uri='{uri}'"])
        yield f'PIN={PKCS11_PIN} systemd-cryptenroll {options} "$device"'


@dataclass(frozen=True)
class Pkcs11Pin(Pkcs11Token):
    """A PKCS#11 token of systemd-cryptenroll(1) in the guest.

    Attributes:
        name: What failed pins are called in an outcome.
        in_tpm: Whether it is tpm2-pkcs11's (image `debian-13-keys`) and not SoftHSM2's.
    """

    name: str = "pkcs11"
    in_tpm: bool = False

    header_type: ClassVar[str] = "systemd-pkcs11"
    failures: ClassVar[tuple[Message, ...]] = (
        Message(r"(?P<reason>PIN for token '[^']*' is incorrect, please try again\.)"),
        Message(r"(?P<reason>PIN has been locked, please reset PIN of security token '[^']*'\.)", final=True),
        Message(r"(?P<reason>Failed to log into security token '[^']*': .*)", final=True),
        Message(r"(?P<reason>Failed to decrypt key on security token: .*)", final=True),
        Message(r"(?P<reason>Too many attempts to log into token '[^']*'\.)", final=True),
    )
    answers: ClassVar[tuple[Message, ...]] = (Message(r"Successfully decrypted key with security token\."),)

    @classmethod
    def of_header(cls, config: Mapping[str, Any], crypttab: Collection[str]) -> "Pkcs11Pin":
        """It has the token's URI, which is no place."""
        raise UsageError("a PKCS#11 token, of which the header does not say whether it is a card, files, or elsewhere")

    @property
    def service(self) -> ServiceId | None:
        """None: it is in the guest itself."""
        return None

    @property
    def described(self) -> str:
        """What it is, and that a person must know something."""
        return f"PKCS#11 token{' in the TPM' if self.in_tpm else ''}, with its PIN"

    def warnings(self) -> Iterator[tuple[str, str]]:
        """And that files count no wrong PINs."""
        yield from super().warnings()
        if not self.in_tpm:
            yield (
                "the token's files are on the disk, and count no wrong PINs: whoever has the disk can try them all",
                "SoftHSM 2.6.1, SecureDataManager.cpp; test_a_token_in_files_is_as_good_as_its_pin",
            )

    def token(self) -> Iterator[str]:
        """Make token and key if they are not there."""
        yield f"[[ -e {_STORE} ]] || {{ {' && '.join(_new_token_in_tpm())}; }}" if self.in_tpm else NEW_TOKEN

    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """It answers to whoever types its PIN; in a TPM, to that TPM alone, while it takes any PIN.

        Under another TPM the passphrase was expected to help. But its store is found, so the PIN is asked for; then the
        login fails by an internal error (0x18b, the parent's handle), and systemd-cryptsetup ends: seen with
        tpm2-pkcs11 1.9 and systemd 257.
        """
        if self.in_tpm and (unusable := tpm.unusable(world.tpm)):
            return replace(unusable, ends=world.tpm in (TpmState.ANOTHER, TpmState.CLEARED))
        if self.in_tpm and tpm.locked_out(world):
            return PinFailureCause("the TPM is locked out, so it takes no PIN", ends=True)
        if world.token is TokenState.ANOTHER:
            return ANOTHER_KEY
        return security_token_cause(world, asks_pin=True, headless=headless)

    def prompts(self, world: World) -> bool:
        """If there is a token that has the label: with another key in it, it asks too."""
        return world.token is not TokenState.ABSENT and not (self.in_tpm and world.tpm is TpmState.ABSENT)

    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """Its files are on the disk, so it takes the PIN alone: a SoftHSM keeps nobody from trying them all."""
        if not capabilities.pin:
            return False, "the attacker does not know the PIN"
        if self.in_tpm and not (capabilities.machine or capabilities.tpm_state):
            return False, "the attacker does not have the TPM"
        return True, "the token's files are on the disk, and the attacker knows the PIN"


def _new_token_in_tpm() -> tuple[str, ...]:
    token = f"--label={LABEL} --userpin={PKCS11_PIN} --path={_STORE}"
    return (
        f"mkdir -m 700 {_STORE}",
        f"tpm2_ptool init --path={_STORE}",
        f"tpm2_ptool addtoken --pid=1 --sopin={PKCS11_PIN} {token}",
        f"tpm2_ptool addkey --algorithm=rsa2048 --key-label={KEY} {token}",
    )
