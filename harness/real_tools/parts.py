"""The real parts that trials share, made and started once: the guest's tools, two TPMs, the servers."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.defaults import IMAGE
from harness.host.docker import start_daemon
from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.progress import Progress
from harness.real_tools.servers import Servers, running_servers
from harness.real_tools.toolbox import Toolbox, toolbox
from harness.real_tools.tree import guest_tree


@dataclass(frozen=True)
class Parts:
    """What a trial is made of.

    Attributes:
        box: A shell among the guest's files.
        servers: Those that bindings may name.
        tpm: The state of a new TPM: each volume is sealed to a copy of it.
        another: That of another one.
    """

    box: Toolbox
    servers: Servers
    tpm: Path
    another: Path


@contextmanager
def real_parts(servers: Sequence[str], progress: Progress) -> Iterator[Parts]:
    """Have the parts ready, with the tools of the default image, for the length of the block.

    Args:
        servers: Names of the Tang servers; Docker is started if there are any.
        progress: Says what takes long.

    Raises:
        HostError: Something that it takes is missing on this host.
    """
    with guest_tree(IMAGE, progress) as tree, parts_among(tree, servers, progress) as parts:
        yield parts


@contextmanager
def parts_among(
    tree: Path, servers: Sequence[str], progress: Progress, banks: Sequence[str] = ("sha256",)
) -> Iterator[Parts]:
    """The same with a guest's files that are there already, which several may share, and TPMs with these PCR banks."""
    if servers:
        start_daemon(progress)
    with ExitStack() as stack:
        shared, state = (stack.enter_context(scratch(None)) for _ in range(2))
        for name in ("tpm", "another"):
            tpms.manufacture(Tpm(state / name, banks=tuple(banks)))
        running = stack.enter_context(running_servers(servers, progress))
        box = stack.enter_context(toolbox(tree, shared, running.tangs.values()))
        yield Parts(box, running, state / "tpm", state / "another")
