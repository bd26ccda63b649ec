"""What a volume will do in a given world, and why: the rules, read from the sources of what opens it (pure).

::

    1  the firmware or shim rejects the image                      → REFUSED
    2  a key file opens it, or enough pins hold                    → AUTO
       a pin holds by a PIN that a person types                    → PASSPHRASE_FALLBACK
    3  it asks, and there is a passphrase                          → PASSPHRASE_FALLBACK
    4  it does not ask, or asks for what nobody has                → LOCKED

Whether a leaf holds is said by `_tpm2`, `_cryptenroll` and `_tang`, whether it asks by `_does_not_ask`. Where the
stacks differ:

- initramfs-tools asks no token of systemd-cryptenroll, and does not know `headless`. On dracut clevis does nothing but
  answer the prompt, so a headless volume never opens by it.
- a late network still opens both: on dracut clevis tries for ever; on initramfs-tools it has the network configured
  once, for up to 265 s (configure_networking: 2+3+4+6+9+16+25+36+64+100), and asks no pin before. The catalogue has it
  ask; seen with clevis 20 and initramfs-tools 0.148: a cable plugged in at the prompt, and root open 17 s later.
- initramfs-tools answers its prompts by a clevis token that leads to no keyslot, until they are used up (clevis#524).

A cell of the truth table that was booted and differs is a bug found, or a rule corrected here with the reason beside
it.

Sources: systemd 257 cryptsetup.c and tpm2-util.c; clevis 20 clevis-decrypt-tpm2, clevis-decrypt-tang, decrypt-sss.c,
clevis-luks-askpass and local-top/clevis; tang 15; cryptsetup 2.7.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.policy.pins import CryptenrollPin, Leaf, Pin, Sss, TangPin, Tpm2Pin, Volume, bindings, leaves
from harness.policy.world import Header, Network, Server, Stack, TpmState, World
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


@dataclass(frozen=True)
class PinFailureCause:
    """Why a leaf does not hold.

    Attributes:
        why: In a few words.
        heard: Whether anybody says so during the boot.
    """

    why: str
    heard: bool = True


_STALLED = PinFailureCause("its server never answers", heard=False)

_Causes = Mapping[Leaf, PinFailureCause]


def predict(volume: Volume, world: World, stack: Stack) -> Prediction:
    """What the volume does when its machine is switched on in this world."""
    if world.image_refused:
        return Prediction(Unlock.REFUSED, frozenset(), "the firmware does not start the boot image")
    if world.header is Header.BOTH_ZEROED:
        return Prediction(
            Unlock.LOCKED, frozenset(), "both copies of the LUKS header are gone, and the keyslots with them"
        )
    if volume.key_file:
        return Prediction(Unlock.AUTO, frozenset(), "a key file that the guest has opens it")
    if volume.pins is None:
        return _shut(volume, world, stack, frozenset(), "no pin guards it")
    if world.header is Header.TOKEN_REMOVED or (world.header is Header.KEYSLOT_WIPED and stack is Stack.DR):
        return _shut(volume, world, stack, frozenset(), f"{world.header}, so no pin is asked")
    return _asked(volume, volume.pins, world, stack)


def _asked(volume: Volume, pins: Pin, world: World, stack: Stack) -> Prediction:
    """The prediction when the pins are asked."""
    troubles = _causes(volume, pins, world, stack)
    answering = [leaf for leaf in leaves(pins) if leaf not in troubles]
    # Two leaves may go by one name: every TPM pin is called tpm2 unless it is told otherwise.
    failed = frozenset(leaf.name for leaf, trouble in troubles.items() if trouble.heard)
    failed -= {leaf.name for leaf in answering}
    said = "; ".join(f"{leaf.name} does not answer: {trouble.why}" for leaf, trouble in troubles.items())
    if _asks_pin(volume, pins, world, stack, troubles):
        if not world.pin_typed:
            return Prediction(Unlock.LOCKED, failed, _sentence("it asks for the PIN, and waits for it for ever", said))
        if opening := [leaf.name for leaf in answering if isinstance(leaf, CryptenrollPin)]:
            why = f"it asks for the PIN, and {opening[0]} answers to it"
            return Prediction(Unlock.PASSPHRASE_FALLBACK, failed, _sentence(why, said))
    if not _holds(pins, troubles):
        return _shut(volume, world, stack, failed, said)
    if world.header is Header.KEYSLOT_WIPED:
        why = "clevis answers every prompt with a passphrase whose keyslot is gone, until none is left (clevis#524)"
        return Prediction(Unlock.LOCKED, failed, _sentence(why, said))
    names = " and ".join(dict.fromkeys(leaf.name for leaf in answering))
    late = world.network is Network.LATE_DHCP and not _holds(
        pins, {**troubles, **dict.fromkeys(_tangs(pins), _STALLED)}
    )
    when = ", once the network is up" if late else ""
    return Prediction(Unlock.AUTO, failed, _sentence(f"{names} answer{'' if ' and ' in names else 's'}{when}", said))


def _asks_pin(volume: Volume, pins: Pin, world: World, stack: Stack, troubles: _Causes) -> bool:
    """Whether the TPM's PIN is asked for: systemd does so before the prompt that clevis could answer."""
    own = [leaf for leaf in leaves(pins) if isinstance(leaf, CryptenrollPin)]
    if stack is Stack.IT or volume.headless or _no_tpm(world.tpm):
        return False
    return any(leaf.asks_pin for leaf in own) and all(leaf.asks_pin or leaf in troubles for leaf in own)


def _shut(volume: Volume, world: World, stack: Stack, failed: frozenset[str], why: str) -> Prediction:
    """The prediction when nothing opens it by itself."""
    if mute := _does_not_ask(volume, world, stack):
        return Prediction(Unlock.LOCKED, failed, _sentence(mute, why))
    if volume.passphrase is None:
        return Prediction(Unlock.LOCKED, failed, _sentence("it asks for a passphrase that nobody has", why))
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
    return header is Header.TOKEN_REMOVED or not all(isinstance(leaf, CryptenrollPin) for leaf in leaves(volume.pins))


def _holds(pin: Pin, troubles: _Causes) -> bool:
    """Like `pins.holds`, by the leaf and not by its name."""
    if isinstance(pin, Sss):
        return sum(_holds(child, troubles) for child in pin.pins) >= pin.threshold
    return pin not in troubles


def _causes(volume: Volume, pins: Pin, world: World, stack: Stack) -> _Causes:
    """The leaves that do not hold, and why."""
    found = {leaf: trouble for leaf in leaves(pins) if (trouble := _cause(leaf, volume, world, stack))}
    for binding in _starved(pins, found):
        for leaf in leaves(binding):
            found.setdefault(leaf, PinFailureCause("a binding before it hangs", heard=False))
    return found


def _starved(pins: Pin, troubles: _Causes) -> Iterable[Pin]:
    """Bindings that never have their turn: clevis asks one after the other, systemd asks its own before the prompt.

    The catalogue has a silent server starve them, too. But where packets vanish, a connection fails in the end: seen
    with clevis 20 on dracut, "Error communicating with server" after 84 s, and the next volume's turn.
    """
    turns = [pin for pin in bindings(pins) if not isinstance(pin, CryptenrollPin)]
    for turn, pin in enumerate(turns, 1):
        if _holds(pin, troubles):
            break
        if any(troubles.get(leaf) is _STALLED for leaf in leaves(pin)):
            return turns[turn:]
    return ()


def _cause(leaf: Leaf, volume: Volume, world: World, stack: Stack) -> PinFailureCause | None:
    if volume.headless and stack is Stack.DR and not isinstance(leaf, CryptenrollPin):
        return PinFailureCause("clevis answers the prompt, and there is none", heard=False)
    match leaf:
        case Tpm2Pin():
            return _tpm2(leaf, world)
        case CryptenrollPin():
            return _cryptenroll(leaf, volume, world, stack)
        case TangPin():
            return _tang(leaf, world)


def _tpm2(pin: Tpm2Pin, world: World) -> PinFailureCause | None:
    """clevis-decrypt-tpm2 makes the primary key anew, for which it needs the owner.

    The catalogue has lockout not matter, since what clevis seals is noDA. But tpm2_createprimary(1) makes the key above
    without noDA, so a TPM in lockout takes no authorization of that key: seen with clevis 20 and tpm2-tools 5.7,
    Esys_Load(0x921), and a prompt. systemd's SRK is noDA, and its seals open.
    """
    if world.tpm is TpmState.OWNER_AUTH_SET:
        return PinFailureCause("owner authorization is set, so its primary key cannot be made")
    if world.tpm is TpmState.LOCKED_OUT:
        return PinFailureCause("the TPM is locked out, and the parent of what clevis sealed is not noDA")
    return _no_tpm(world.tpm) or _other_pcrs(pin.pcr_ids, world)


def _cryptenroll(pin: CryptenrollPin, volume: Volume, world: World, stack: Stack) -> PinFailureCause | None:
    """systemd-cryptsetup loads the sealed key under the stored SRK, so the owner is not asked."""
    if stack is Stack.IT:
        return PinFailureCause("initramfs-tools asks no token of systemd-cryptenroll", heard=False)
    return (
        _no_tpm(world.tpm)
        or _other_pcrs((*pin.pcr_ids, *pin.initrd_pcr_ids), world)
        or next((PinFailureCause(why) for why in _policy_causes(pin, world)), None)
        or (_pin_cause(volume, world) if pin.asks_pin else None)
    )


def _policy_causes(pin: CryptenrollPin, world: World) -> Iterator[str]:
    if 11 in pin.pcr_ids:
        yield "PCR 11 was enrolled in the running system, a later phase than the initrd's (systemd-pcrphase.service(8))"
    if pin.signed_pcr_ids and not world.signature_valid:
        yield "no signature vouches for the present PCR 11"
    if pin.pcrlock and not world.pcrlock_valid:
        yield "the pcrlock policy is missing, or does not allow the present PCRs"


def _pin_cause(volume: Volume, world: World) -> PinFailureCause | None:
    if volume.headless:
        return PinFailureCause("nobody is asked for its PIN: headless")
    if not world.pin_typed:
        return PinFailureCause("nobody types its PIN", heard=False)
    return PinFailureCause("the TPM is locked out, so it takes no PIN") if world.tpm is TpmState.LOCKED_OUT else None


def _no_tpm(tpm: TpmState) -> PinFailureCause | None:
    whys = {
        TpmState.ABSENT: "there is no TPM",
        TpmState.VERSION_1_2: "the TPM is a 1.2",
        TpmState.ANOTHER: "another TPM cannot load what this one sealed",
        TpmState.CLEARED: "the TPM was cleared, and its storage seed with it",
    }
    return PinFailureCause(whys[tpm]) if tpm in whys else None


def _other_pcrs(bound: Iterable[int], world: World) -> PinFailureCause | None:
    changed = sorted(world.changed_pcrs.intersection(bound))
    if not changed:
        return None
    numbers = " and ".join(map(str, changed))
    return PinFailureCause(f"PCRs {numbers} have changed" if len(changed) > 1 else f"PCR {numbers} has changed")


def _tang(pin: TangPin, world: World) -> PinFailureCause | None:
    """clevis-decrypt-tang needs a direct 200 from whoever holds the private key, advertised or hidden."""
    if world.network is Network.NO_LINK:
        return PinFailureCause("the network has no link")
    return {
        Server.UP: None,
        Server.ROTATED: None,
        Server.REFUSED: PinFailureCause("its server refuses connections"),
        Server.SILENT: PinFailureCause("its server is silent"),
        Server.STALLED: _STALLED,
        Server.KEY_DELETED: PinFailureCause("its server has lost the key"),
        Server.IMPOSTER: PinFailureCause("an imposter has other keys"),
    }[world.servers.get(pin.server, Server.UP)]


def _tangs(pins: Pin) -> Iterator[TangPin]:
    return (leaf for leaf in leaves(pins) if isinstance(leaf, TangPin))


def _sentence(*parts: str) -> str:
    return "; ".join(filter(None, parts))
