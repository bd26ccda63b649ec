"""Policies, worlds and attackers for Hypothesis to draw: nested thresholds, several bindings, PCR sets, PINs."""

from dataclasses import dataclass

from hypothesis import strategies as st

from harness.policy.capabilities import Capabilities
from harness.policy.pins import CryptenrollPin, Pin, Sss, TangPin, Tpm2Pin, leaves
from harness.policy.pins.placeholders import placeholder
from harness.policy.pins.systemd_tpm2 import TPM_PIN
from harness.policy.policy import Volume
from harness.policy.world import Network, Server, TpmState, World

SERVERS = ("tang", "two", "three")
_PCRS = (0, 2, 4, 7, 9, 12, 14)
_STATES = (Server.UP, Server.UP, Server.REFUSED, Server.ROTATED, Server.KEY_DELETED, Server.IMPOSTER)
_TPMS = (TpmState.PRESENT, TpmState.PRESENT, TpmState.PRESENT, TpmState.ABSENT, TpmState.ANOTHER, TpmState.CLEARED)
_RARE = (TpmState.OWNER_AUTH_SET, TpmState.LOCKED_OUT)


@dataclass(frozen=True)
class Drawn:
    """A volume, and what it is put through."""

    volume: Volume
    worlds: tuple[World, ...]
    attackers: tuple[Capabilities, ...]


_pcrs = st.lists(st.sampled_from(_PCRS), max_size=3, unique=True).map(lambda ids: tuple(sorted(ids)))
_tpm2 = _pcrs.map(lambda ids: Tpm2Pin(ids, "sha256" if ids else None))
_tang = st.sampled_from(SERVERS).map(
    lambda name: TangPin(name, placeholder("URL", name), placeholder("THUMBPRINT", name))
)


def _joined(children: st.SearchStrategy[Pin]) -> st.SearchStrategy[Pin]:
    return st.lists(children, min_size=1, max_size=3).flatmap(
        lambda pins: st.integers(1, len(pins)).map(lambda threshold: Sss(threshold, tuple(pins)))
    )


def _one_at_the_tpm(pin: Pin) -> bool:
    """Pins of a threshold are asked at once, and no resource manager keeps two at the TPM apart (seen: 0x1cb)."""
    return sum(isinstance(leaf, Tpm2Pin) for leaf in leaves(pin)) <= 1


_clevis: st.SearchStrategy[Pin] = st.recursive(st.one_of(_tpm2, _tang), _joined, max_leaves=5).filter(_one_at_the_tpm)
_systemd: st.SearchStrategy[Pin] = st.builds(lambda ids, pin: CryptenrollPin(ids, asks_pin=pin), _pcrs, st.booleans())
_one = st.one_of(_clevis, _clevis, _clevis, _systemd)


def _bound(pins: list[Pin]) -> Pin:
    return pins[0] if len(pins) == 1 else Sss(1, tuple(pins), separate=True)


def _one_of_systemd(pins: list[Pin]) -> bool:
    return sum(isinstance(pin, CryptenrollPin) for pin in pins) <= 1


_bindings = st.lists(_one, min_size=1, max_size=3).filter(_one_of_systemd).map(_bound)


def volume_of(pins: Pin) -> Volume:
    """On a device of its own, with a passphrase."""
    typed = next((leaf.typed for leaf in leaves(pins) if leaf.typed), None)
    assert typed in (None, TPM_PIN)
    return Volume("var", "/dev/vda1", pins, "passphrase", "/var", tpm_pin=typed)


def _worlds(volume: Volume) -> st.SearchStrategy[World]:
    bound = [pcr for leaf in leaves(volume.pins) for pcr in leaf.bound_pcrs or ()] if volume.pins else []
    changed = st.frozensets(st.sampled_from(sorted({*bound, 5})), max_size=2)
    states = st.fixed_dictionaries({name: st.sampled_from(_STATES) for name in volume.tang_servers})
    return st.builds(
        lambda tpm, pcrs, servers, network, typed: World(
            tpm=tpm, changed_pcrs=pcrs, servers=servers, network=network, pin_typed=typed
        ),
        st.one_of(st.sampled_from(_TPMS), st.sampled_from(_TPMS), st.sampled_from(_RARE)),
        st.one_of(st.just(frozenset()), changed),
        states,
        st.sampled_from((Network.UP,) * 7 + (Network.NO_LINK,)),
        st.sampled_from((True, True, False)) if volume.tpm_pin else st.just(True),
    )


def _attackers(volume: Volume) -> st.SearchStrategy[Capabilities]:
    names = volume.tang_servers
    keys = st.frozensets(st.sampled_from(names)) if names else st.just(frozenset[str]())
    return st.builds(
        lambda state, network, held, pin: Capabilities(
            disk=True, tpm_state=state, network=network, tang_keys=held, pin=pin
        ),
        *(st.booleans(), st.sampled_from((False, False, True)), keys, st.booleans()),
    )


def _key(world: World) -> object:
    return world.tpm, world.changed_pcrs, tuple(sorted(world.servers.items())), world.network, world.pin_typed


def drawn(worlds: int, attackers: int) -> st.SearchStrategy[Drawn]:
    """A volume with up to so many worlds and attackers, each once; every policy has the control among its worlds."""

    def around(volume: Volume) -> st.SearchStrategy[Drawn]:
        return st.builds(
            lambda found, thieves: Drawn(volume, (World(), *found), tuple(thieves)),
            st.lists(_worlds(volume), min_size=worlds // 2, max_size=worlds - 1, unique_by=_key),
            st.lists(_attackers(volume), min_size=1, max_size=attackers, unique=True),
        )

    return _bindings.map(volume_of).flatmap(around)
