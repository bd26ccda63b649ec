"""How systemd-cryptenroll binds tokens, and systemd-cryptsetup opens volumes by them (pure).

systemd asks the tokens of a volume before it asks for a passphrase, in the initrd as in the running system;
initramfs-tools asks none. Each type of token is a kind of pin with a module of its own: `Token` is what they share.

Sources: systemd-cryptenroll(1), systemd-cryptsetup(8), crypttab(5); systemd 257 cryptsetup.c.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harness.policy.pins.kind import Binding, Leaf, Message, Opener, PinFailureCause
from harness.policy.world import Stack, TokenState, World


class Cryptenroll(Opener):
    """systemd-cryptenroll(1)."""

    name: ClassVar[str] = "systemd-cryptenroll"
    refusal: ClassVar[str] = r"Password querying disabled via 'headless' option\."
    stacks: ClassVar[frozenset[Stack]] = frozenset({Stack.DR})
    claims_keyslots: ClassVar[bool] = True
    token_type: ClassVar[str] = "systemd-"
    reported_as: ClassVar[str] = "token"
    failures: ClassVar[tuple[Message, ...]] = (
        Message(r"(?P<reason>Timed out waiting for security device)", final=True),
    )

    def renew(self, pins: Sequence[Binding]) -> Iterator[str]:
        """Enroll each token anew, the first of each type in place of those of its type that were enrolled before."""
        seen: set[str] = set()
        for pin in pins:
            yield from pin.enroll(*([] if pin.slot_type in seen else [f"--wipe-slot={pin.slot_type}"]))
            seen.add(pin.slot_type)

    def remove(self, pins: Sequence[Binding]) -> Iterator[str]:
        """Wipe the keyslots of each type of token, and the tokens with them."""
        for slot_type in dict.fromkeys(pin.slot_type for pin in pins):
            yield f'systemd-cryptenroll --wipe-slot={slot_type} "$device"'

    def unlock(self, device: str, mapping: str, pins: Sequence[Binding], typed: str) -> str:
        """``systemd-cryptsetup attach``, which tries the tokens and asks nobody."""
        options = dict.fromkeys(pin.crypttab_device for pin in pins) or ["tpm2-device=auto"]
        environment = f"PIN={typed} " if typed else ""
        return f"{environment}systemd-cryptsetup attach {mapping} {device} none {','.join(options)},headless=yes"


CRYPTENROLL = Cryptenroll()


class Token(Leaf):
    """A token of systemd-cryptenroll in a LUKS2 header."""

    opener: ClassVar[Opener] = CRYPTENROLL


class SecurityToken(Token):
    """A token whose secret is in a device: one that a person carries, or one elsewhere on the network."""

    carried: ClassVar[bool] = True

    @property
    def needs_machine(self) -> bool:
        """Yes: its device is the machine's."""
        return True


def security_token_cause(world: World, *, asks_pin: bool, headless: bool) -> PinFailureCause | None:
    """Why a security token does not answer, be it FIDO2 or PKCS#11.

    systemd waits for one that is not there (``token-timeout=`` of crypttab(5)), says so, and asks for the passphrase.
    Any other failure ends systemd-cryptsetup (cryptsetup.c: only EAGAIN leads to the next means).
    """
    if world.token is TokenState.ABSENT:
        return PinFailureCause("there is no security token, and systemd waits for one in vain")
    if world.token is TokenState.ANOTHER:
        return PinFailureCause("another security token does not have the key")
    if not asks_pin:
        return None
    if headless:
        return PinFailureCause("nobody is asked for its PIN: headless")
    return typed_pin_cause(world) or (
        PinFailureCause("its PIN is blocked", ends=True) if world.token is TokenState.PIN_BLOCKED else None
    )


def typed_pin_cause(world: World) -> PinFailureCause | None:
    """Why a token that asks for its PIN does not answer to what is typed."""
    if not world.pin_typed:
        return PinFailureCause("nobody types its PIN", reported=False)
    return None if world.pin_right else PinFailureCause("what is typed is not its PIN")
