"""Tang servers in every state that a world can ask for, all of them running: a state costs no container's restart."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.network.connection import Mode
from harness.network.namespace import Endpoint
from harness.policy.world import Server
from harness.progress import Progress
from harness.services.tang import Tang, serve_tang

_NETWORK = "10.0.9."
"""Where the servers are for the tools: addresses of the namespace's own."""

_PORT = 80


@dataclass(frozen=True)
class Servers:
    """The servers that bindings name, and what stands in for them.

    Attributes:
        tangs: By name, answering.
        rotated: By the same names: what each is once its keys were rotated.
        other: One with other keys: an imposter, or one whose old keys are deleted.
    """

    tangs: Mapping[str, Tang]
    rotated: Mapping[str, Tang]
    other: Tang | None

    @contextmanager
    def being(self, states: Mapping[str, Server]) -> Iterator[None]:
        """Let those that are named be in these states for the length of the block: what is asked finds them so."""
        try:
            for name, state in states.items():
                proxy = self.tangs[name].proxy
                proxy.upstream = self._in_state(name, state).server.address
                proxy.mode = Mode.REFUSE if state is Server.REFUSED else Mode.OPEN
            yield
        finally:
            for name in states:
                tang = self.tangs[name]
                tang.proxy.upstream = tang.server.address
                tang.proxy.mode = Mode.OPEN

    def _in_state(self, name: str, state: Server) -> Tang:
        match state:
            case Server.UP | Server.REFUSED:
                return self.tangs[name]
            case Server.ROTATED:
                return self.rotated[name]
            case Server.KEY_DELETED | Server.IMPOSTER:
                assert self.other
                return self.other
        raise AssertionError(f"no server is {state} here: that takes time, which only a boot has")


@contextmanager
def running_servers(names: Sequence[str], progress: Progress) -> Iterator[Servers]:
    """Run servers of these names, and what stands in for them, for the length of the block.

    Raises:
        HostError: No Docker, or no image.
        RigError: One did not come up.
    """
    with ExitStack() as stack:
        tangs, rotated = {}, {}
        for number, name in enumerate(names, 1):
            place = Endpoint(_PORT, f"{_NETWORK}{number}")
            tangs[name] = stack.enter_context(serve_tang(name, None, place, progress))
            rotated[name] = stack.enter_context(serve_tang(f"{name}-rotated", tangs[name].keys, place, progress))
            rotated[name].rotate_keys()
        nowhere = Endpoint(_PORT, f"{_NETWORK}0")
        other = stack.enter_context(serve_tang("other", None, nowhere, progress)) if names else None
        yield Servers(tangs, rotated, other)
