"""A token of systemd-cryptenroll whose key a FIDO2 security key derives (hmac-secret) (pure).

Sources: systemd-cryptenroll(1), crypttab(5); systemd 257 cryptsetup.c and libfido2-util.c; CTAP 2.1, 12.5.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.errors import UsageError
from harness.policy.capabilities import Capabilities
from harness.policy.pins.kind import Message, PinFailureCause, ServiceId
from harness.policy.pins.systemd import SecurityToken, security_token_cause
from harness.policy.world import World

FIDO2_PIN = "135790"
"""The PIN of the security key. It is no secret here."""

SECURITY_KEY = ServiceId("fido2", "security key")
"""The security key at the machine."""


@dataclass(frozen=True)
class Fido2Pin(SecurityToken):
    """A FIDO2 token of systemd-cryptenroll(1); the security key is always touched.

    Attributes:
        asks_pin: Whether a person must type the key's PIN (``--fido2-with-client-pin=``).
        name: What failed pins are called in an outcome.
    """

    asks_pin: bool = False
    name: str = "fido2"

    slot_type: ClassVar[str] = "fido2"
    header_type: ClassVar[str] = "systemd-fido2"
    crypttab_device: ClassVar[str] = "fido2-device=auto"
    reported_as: ClassVar[str] = "fido2"
    failures: ClassVar[tuple[Message, ...]] = (
        Message(r"(?P<reason>Wrong security token; needed credentials not present on token\.)"),
        Message(r"(?P<reason>PIN of security token incorrect\.)"),
        Message(r"(?P<reason>PIN of security token is blocked, please remove/reinsert token\.)", final=True),
        Message(r"(?P<reason>Token action timeout\..*)"),
    )

    @classmethod
    def of_header(cls, config: Mapping[str, Any], crypttab: Collection[str]) -> "Fido2Pin":
        """Whether it wants a PIN. What its header leaves open is wanted if the key wants it (cryptsetup-fido2.c)."""
        if config.get("fido2-up-required", True) or config.get("fido2-uv-required"):
            raise UsageError("a FIDO2 security key that a person must touch: whether it is touched is not predicted")
        return cls(asks_pin=bool(config.get("fido2-clientPin-required", True)))

    @property
    def service(self) -> ServiceId:
        """The security key."""
        return SECURITY_KEY

    @property
    def typed(self) -> str | None:
        """The PIN, if it wants one."""
        return FIDO2_PIN if self.asks_pin else None

    @property
    def described(self) -> str:
        """What it is, and whether a person must know something."""
        return f"FIDO2 security key{', with its PIN' if self.asks_pin else ''}"

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What the security key alone is worth, or what wrong PINs cost."""
        if self.asks_pin:
            yield (
                "three wrong PINs block the security key until it is plugged in anew, and systemd then asks for no "
                "passphrase in that boot",
                "CTAP 2.1, 6.5.6; systemd 257, cryptsetup.c; "
                "test_three_wrong_pins_block_the_security_key_and_cost_the_prompt_for_the_passphrase",
            )
        else:
            yield (
                "it asks for no PIN: whoever takes the machine with its security key opens it",
                "test_stolen_machine_with_its_security_key",
            )

    def enroll(self, *further: str) -> Iterator[str]:
        """``systemd-cryptenroll --fido2-device=auto``; the PIN comes from a credential, or it would be asked for."""
        with_pin = "yes" if self.asks_pin else "no"
        options = [
            *further,
            "--fido2-device=auto",
            f"--fido2-with-client-pin={with_pin}",
            "--fido2-with-user-presence=no",
        ]
        before = f"with_fido2_pin {FIDO2_PIN} " if self.asks_pin else ""
        yield f'{before}systemd-cryptenroll {" ".join(options)} "$device"'

    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """It answers to whoever plugs it in, and types its PIN if it wants one."""
        return security_token_cause(world, asks_pin=self.asks_pin, headless=headless)

    def prompts(self, world: World) -> bool:
        """With a PIN, also when no key is there: the PIN is wanted before one is looked for (luks2-fido2.c)."""
        return self.asks_pin

    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """By whoever has the key, and its PIN if it wants one. Nothing of it is in the machine."""
        if not capabilities.tokens:
            return False, "the attacker does not have the security key"
        if self.asks_pin and not capabilities.pin:
            return False, "the attacker does not know the PIN"
        return True, "the attacker has the security key"
