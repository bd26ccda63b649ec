"""What a volume will do in a given world, and why: the rules, read from the sources of what opens it (pure).

::

    0  something decides that the rules do not hold               → NOT_PREDICTED
    1  the firmware or shim rejects the image                      → REFUSED
    2  a key file opens it, or enough pins hold                    → AUTO
       a pin holds by a PIN that a person types                    → PASSPHRASE_FALLBACK
    3  it asks, and there is a passphrase                          → PASSPHRASE_FALLBACK
    4  it does not ask, or asks for what nobody has                → LOCKED

Whether a leaf holds is said by its kind (`Leaf.failure_cause`), whether it is asked at all by what opens volumes by it
(`Opener`), whether the guest asks a person by `_does_not_ask`. Where the stacks differ:

- initramfs-tools asks no token of systemd-cryptenroll, and does not know `headless`. On dracut clevis does nothing but
  answer the prompt, so a headless volume never opens by it.
- a late network still opens both: on dracut clevis tries for ever; on initramfs-tools it has the network configured
  once, for up to 265 s (configure_networking: 2+3+4+6+9+16+25+36+64+100), and asks no pin before. A prompt
  was expected. Seen with clevis 20 and initramfs-tools 0.148: a cable plugged in at the prompt, and root open 17 s
  later.
- initramfs-tools answers its prompts by a clevis token that leads to no keyslot, until they are used up (clevis#524).

A cell of the truth table that was booted and differs is a bug found, or a rule corrected here with the reason beside
it.

Sources: systemd 257 cryptsetup.c and tpm2-util.c; clevis 20 clevis-decrypt-tpm2, clevis-decrypt-tang, decrypt-sss.c,
clevis-luks-askpass and local-top/clevis; tang 15; cryptsetup 2.7.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.policy.pins import Leaf, Pin, PinFailureCause, bindings, evaluate, leaves
from harness.policy.policy import Volume
from harness.policy.world import Header, Network, Stack, World
from harness.unlock import Unlock


@dataclass(frozen=True)
class Prediction:
    """What a boot should show.

    Attributes:
        unlock: What the volume does.
        failed_pins: Names of the leaves that are asked and say that they failed. A leaf that hangs says nothing, and
            one that is no longer needed may be killed before it says anything (decrypt-sss.c).
        reason: One sentence. It names each of them, and each leaf that hangs or is never asked.
    """

    unlock: Unlock
    failed_pins: frozenset[str]
    reason: str


_Causes = Mapping[Leaf, PinFailureCause]


def predict(volume: Volume, world: World, stack: Stack) -> Prediction:
    """What the volume does when its machine is switched on in this world."""
    if certain := _whatever_the_pins_do(volume, world, stack):
        return certain
    if volume.pins is None:
        return _shut(volume, world, stack, frozenset(), "no pin guards it")
    if world.header is Header.TOKEN_REMOVED or (world.header is Header.KEYSLOT_WIPED and stack is Stack.DR):
        return _shut(volume, world, stack, frozenset(), f"{world.header}, so no pin is asked")
    return _asked(volume, volume.pins, world, stack)


def _whatever_the_pins_do(volume: Volume, world: World, stack: Stack) -> Prediction | None:
    """The prediction where they do not matter."""
    if world.image_refused:
        return Prediction(Unlock.REFUSED, frozenset(), "the firmware does not start the boot image")
    if world.header is Header.BOTH_ZEROED:
        return Prediction(
            Unlock.LOCKED, frozenset(), "both copies of the LUKS header are gone, and the keyslots with them"
        )
    if volume.unpredictable:
        return Prediction(Unlock.NOT_PREDICTED, frozenset(), volume.unpredictable)
    return _by_key_file(volume, world, stack) if volume.key_file else None


def _by_key_file(volume: Volume, world: World, stack: Stack) -> Prediction:
    """It opens as soon as what the key lies on is open, by whatever that was opened."""
    if volume.key_on is None:
        return Prediction(Unlock.AUTO, frozenset(), "a key file that the guest has opens it")
    name, before = volume.key_on.name, predict(volume.key_on, world, stack)
    if before.unlock in (Unlock.AUTO, Unlock.PASSPHRASE_FALLBACK):
        return Prediction(Unlock.AUTO, frozenset(), f"a key file opens it, once {name} is open, on which that lies")
    return Prediction(before.unlock, frozenset(), f"its key file lies on {name}: {before.reason}")


def _asked(volume: Volume, pins: Pin, world: World, stack: Stack) -> Prediction:
    """The prediction when the pins are asked."""
    causes = _causes(volume, pins, world, stack)
    answering = [leaf for leaf in leaves(pins) if leaf not in causes]
    # Two leaves may go by one name: every TPM pin is called tpm2 unless it is told otherwise.
    failed = frozenset(leaf.name for leaf, cause in causes.items() if cause.reported)
    failed -= {leaf.name for leaf in answering}
    said = "; ".join(f"{leaf.name} does not answer: {cause.why}" for leaf, cause in causes.items())
    opening = [leaf.name for leaf in answering if not leaf.opener.answers_prompts]
    if _asks_pin(volume, pins, world, stack, causes):
        if not (world.pin_typed and world.pin_right):
            return Prediction(Unlock.LOCKED, failed, _sentence("it asks for the PIN, and waits for it for ever", said))
        if opening:
            why = f"it asks for the PIN, and {opening[0]} answers to it"
            return Prediction(Unlock.PASSPHRASE_FALLBACK, failed, _sentence(why, said))
    if not opening and any(cause.ends for cause in causes.values()):
        why = "systemd-cryptsetup gives up, and asks for no passphrase"
        return Prediction(Unlock.LOCKED, failed, _sentence(why, said))
    if not evaluate(pins, lambda leaf: leaf not in causes):
        return _shut(volume, world, stack, failed, said)
    if world.header is Header.KEYSLOT_WIPED:
        why = "clevis answers every prompt with a passphrase whose keyslot is gone, until none is left (clevis#524)"
        return Prediction(Unlock.LOCKED, failed, _sentence(why, said))
    names = " and ".join(dict.fromkeys(leaf.name for leaf in answering))
    early = evaluate(pins, lambda leaf: leaf not in causes and not leaf.needs_network)
    late = world.network is Network.LATE_DHCP and not early
    when = ", once the network is up" if late else ""
    return Prediction(Unlock.AUTO, failed, _sentence(f"{names} answer{'' if ' and ' in names else 's'}{when}", said))


def _asks_pin(volume: Volume, pins: Pin, world: World, stack: Stack, causes: _Causes) -> bool:
    """Whether a token's PIN is asked for: systemd does so before the prompt that clevis could answer."""
    own = [leaf for leaf in leaves(pins) if not leaf.opener.answers_prompts]
    if stack is Stack.IT or volume.headless:
        return False
    return any(leaf.prompts(world) for leaf in own) and all(leaf.prompts(world) or leaf in causes for leaf in own)


def _shut(volume: Volume, world: World, stack: Stack, failed: frozenset[str], why: str) -> Prediction:
    """The prediction when nothing opens it by itself."""
    if mute := _does_not_ask(volume, world, stack):
        return Prediction(Unlock.LOCKED, failed, _sentence(mute, why))
    if volume.passphrase is None:
        what = f"a passphrase, and {volume.untypable}" if volume.untypable else "a passphrase that nobody has"
        return Prediction(Unlock.LOCKED, failed, _sentence(f"it asks for {what}", why))
    return Prediction(Unlock.PASSPHRASE_FALLBACK, failed, _sentence("it asks for the passphrase", why))


def _does_not_ask(volume: Volume, world: World, stack: Stack) -> str | None:
    """Why there is no prompt, if there is none: check_registered_passwords in cryptsetup.c."""
    if stack is Stack.IT:
        return None
    if volume.headless:
        return "it never asks: headless"
    return None if _has_passphrase_slot(volume, world.header) else "it does not ask: no keyslot takes a passphrase"


def _has_passphrase_slot(volume: Volume, header: Header) -> bool:
    """Whether no token of systemd claims some keyslot: so it is with clevis's, and with one that lost its token."""
    if volume.passphrase is not None:
        return True
    if volume.pins is None or header is Header.KEYSLOT_WIPED:
        return False
    return header is Header.TOKEN_REMOVED or not all(leaf.opener.claims_keyslots for leaf in volume.leaves)


def _causes(volume: Volume, pins: Pin, world: World, stack: Stack) -> _Causes:
    """The leaves that do not hold, and why."""
    found = {leaf: cause for leaf in leaves(pins) if (cause := _cause(leaf, volume, world, stack))}
    for binding in _starved(pins, found):
        for leaf in leaves(binding):
            found.setdefault(leaf, PinFailureCause("a binding before it hangs", reported=False))
    return found


def _starved(pins: Pin, causes: _Causes) -> Iterable[Pin]:
    """Bindings that never have their turn: clevis asks one after the other, systemd asks its own before the prompt.

    A silent server was expected to starve them, too. But where packets vanish, a connection fails in the end: seen
    with clevis 20 on dracut, "Error communicating with server" after 84 s, and the next volume's turn.
    """
    turns = [pin for pin in bindings(pins) if pin.opener.answers_prompts]
    for turn, pin in enumerate(turns, 1):
        if evaluate(pin, lambda leaf: leaf not in causes):
            break
        if any(causes[leaf].hangs for leaf in leaves(pin) if leaf in causes):
            return turns[turn:]
    return ()


def _cause(leaf: Leaf, volume: Volume, world: World, stack: Stack) -> PinFailureCause | None:
    opener = leaf.opener
    if volume.headless and stack is Stack.DR and opener.answers_prompts:
        return PinFailureCause(f"{opener.name} answers the prompt, and there is none", reported=False)
    if stack not in opener.stacks:
        return PinFailureCause(f"initramfs-tools asks no token of {opener.name}", reported=False)
    return leaf.failure_cause(world, headless=volume.headless)


def _sentence(*parts: str) -> str:
    return "; ".join(filter(None, parts))
