"""What the tools should do in a world, by the rules, and an attacker as a world (pure)."""

from collections.abc import Iterable

from harness.policy.capabilities import Capabilities
from harness.policy.pins import evaluate
from harness.policy.policy import Volume
from harness.policy.world import Header, Server, TpmState, World


def opens(volume: Volume, world: World) -> bool:
    """Whether some binding yields a key, be it by itself or by a PIN that is typed.

    A boot may do less with the same key: wait for a PIN that nobody types, or never ask (`harness.policy.oracle`).
    """
    if volume.pins is None or world.header in (Header.TOKEN_REMOVED, Header.KEYSLOT_WIPED, Header.BOTH_ZEROED):
        return False
    return evaluate(volume.pins, lambda leaf: leaf.failure_cause(world, headless=False) is None)


def world_of(attacker: Capabilities, servers: Iterable[str]) -> World:
    """Where an attacker who holds parts alone tries a volume: what they lack of it, they have of their own.

    Args:
        attacker: The TPM's state, a place in the network, keys of servers, the PIN.
        servers: Those that the volume's pins name.
    """
    answering = {name: attacker.network or name in attacker.tang_keys for name in servers}
    return World(
        tpm=TpmState.PRESENT if attacker.tpm_state else TpmState.ANOTHER,
        servers={name: Server.UP if answers else Server.REFUSED for name, answers in answering.items()},
        pin_typed=attacker.pin,
    )
