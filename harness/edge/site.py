"""A site whose controller hosts have no machine: each has a disk (a folder), a TPM of its own, and the guest's tools.

::

    with edge_bench() as bench:
        site = bench.site(3, ProtectWithTpm.REQUIRE)
        site.set_up()
        assert site.restart(up=site.hosts[:2])      # a majority
        site.hosts[0].replace_tpm()
        assert not site.restart(up=site.hosts[:2])

What a host does is `harness.edge.host`; what its tools and its TPM do is real.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path

from harness.defaults import IMAGE
from harness.edge.host import Host, Phase, Restarted, TimedOut, Unsealed, Unwrapped, WritesShare, step
from harness.edge.protection import Decision, ProtectWithTpm
from harness.edge.seal import Founded, found_site, recover
from harness.edge.store import ShareStore, Tools, Unreadable, functions
from harness.edge.tower import ControlTower
from harness.errors import RigError, UsageError
from harness.files import numbered_folder
from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.machine.tpm_bus import BusInterceptor
from harness.progress import Progress
from harness.real_tools.toolbox import SHARED, toolbox
from harness.real_tools.tpm import SOCKET, running_tpm
from harness.real_tools.tree import guest_tree

_SECONDS = 120.0


class EdgeHost:
    """A controller host. Its TPM has power only while it does something: each thing it does is a power cycle.

    Attributes:
        host: Where it is in its life, and what it said.
        interceptor: What is on its TPM's bus.
        orderly: Whether it is shut down each time; otherwise its power is cut.
    """

    def __init__(self, host: Host, tools: Tools, folder: Path, tpm: Path, another: Path) -> None:
        self.host = host
        self.interceptor: BusInterceptor | None = None
        self.orderly = True
        self._tools = tools
        self._folder = folder
        self._tpm: Path | None = tpm
        self._removed: Path | None = None
        self._another = another
        self._share: str | None = None

    @property
    def disk(self) -> Path:
        """What is on its disk."""
        return self._folder / "disk"

    @contextmanager
    def on(self) -> Iterator[ShareStore]:
        """Its disk, with its TPM on."""
        with ExitStack() as stack:
            if self._tpm:
                stack.enter_context(
                    running_tpm(self._tpm, self._folder, interceptor=self.interceptor, orderly=self.orderly)
                )
            yield ShareStore(self._tools, f"{self._inside}/disk", self._tcti)

    def give(self, share: str) -> None:
        """Hand it a share, which it stores as its setting has it; a new host may keep it back."""
        self._share = share
        self.write()

    def write(self, setting: ProtectWithTpm | None = None) -> None:
        """It writes its share (again), under another setting where one is given.

        Raises:
            UsageError: It does not know its share.
        """
        if self._share is None:
            raise UsageError(f"host {self.host.name} does not know its share, so it cannot write it")
        with self.on() as store:
            found = store.probe(setting or self.host.setting)
            self.host = step(self.host, WritesShare(found, setting))
            if self.host.phase is Phase.OPERATIONAL:
                store.write(Decision(self.host.form, self.host.handle), self._share)
            if store.form is not self.host.form:
                raise RigError(f"the share of {self.host.name} lies on the disk as {store.form}, not {self.host.form}")

    def restart(self) -> str | None:
        """It forgets what it knew, and reads its share; returns that, if it can."""
        with self.on() as store:
            share = store.read()
        readable = not isinstance(share, Unreadable)
        self.host = step(self.host, Restarted(readable))
        self._share = share if isinstance(share, str) else None
        return self._share

    def unsealed(self) -> None:
        """The site has its seal key again."""
        self.host = step(self.host, Unsealed())

    def time_out(self) -> None:
        """The reset time-out is over: it forgets all that it had."""
        self.host = step(self.host, TimedOut())
        with self.on() as store:
            store.forget()

    def ask_for_bundle(self, tower: ControlTower) -> bool:
        """It asks the Control Tower for its site bundle; whether it got it."""
        allowed = tower.unwrap(self.host.name)
        self.host = step(self.host, Unwrapped(allowed))
        return allowed

    def remove_tpm(self) -> None:
        """Its TPM is gone, or its device."""
        self._tpm, self._removed = None, self._tpm

    def restore_tpm(self) -> None:
        """Its TPM is back."""
        self._tpm, self._removed = self._removed, None

    def replace_tpm(self) -> None:
        """Other hardware, with another TPM; once more, and it is the first one again."""
        self._tpm, self._another = self._another, self._tpm or self._another

    def occupy_handles(self, count: int) -> None:
        """Objects of others have the first so many handles."""
        self._suffer(f"occupy {count}")

    def lock_out_tpm(self) -> None:
        """Its TPM is in dictionary-attack lockout."""
        self._suffer("lock_out")

    def clone_disk(self, to: "EdgeHost") -> None:
        """Another host gets a copy of all that is on its disk, and its place in life."""
        shutil.rmtree(to.disk, ignore_errors=True)
        shutil.copytree(self.disk, to.disk)
        to.host = self.host

    def _suffer(self, line: str) -> None:
        faults = (resources.files("harness.edge") / "faults.sh").read_text()
        tcti = f"export TPM2TOOLS_TCTI={self._tcti}"
        with self.on():
            script = "\n".join(["set -euo pipefail", tcti, functions(), faults, line])
            status, said = self._tools.attempt(script, _SECONDS)
        if status:
            raise RigError(f"{line} ended with status {status}", said)

    @property
    def _inside(self) -> str:
        """Its folder, as the tools see it."""
        return f"{SHARED}/{self._folder.name}"

    @property
    def _tcti(self) -> str:
        return f"swtpm:path={self._inside}/{SOCKET}"


class Site:
    """A site and its Control Tower.

    Attributes:
        hosts: Its controller hosts.
        tower: Its Control Tower.
        local_unseal: ``allow-local-unseal``.
    """

    def __init__(self, hosts: Sequence[EdgeHost], *, local_unseal: bool) -> None:
        self.hosts = tuple(hosts)
        self.tower = ControlTower()
        self.local_unseal = local_unseal
        self._founded: Founded | None = None

    def set_up(self) -> None:
        """Found the site (anew), and hand each host its share."""
        for each in self.hosts:
            self.tower.unwrap(each.host.name)
        self._founded = found_site(len(self.hosts), self.tower, local_unseal=self.local_unseal)
        for each, share in zip(self.hosts, self._founded.shares, strict=True):
            each.give(share)

    def restart(self, up: Sequence[EdgeHost] | None = None) -> bool:
        """The whole site is restarted, and some of its hosts come up; whether it is unsealed then.

        Args:
            up: Those that come up, and reach each other; all of them when None.

        Raises:
            UsageError: It was not set up.
        """
        if self._founded is None:
            raise UsageError("the site was not set up", hint="call set_up()")
        up = self.hosts if up is None else up
        shares = [share for each in up if (share := each.restart())]
        key = recover(shares, self._founded.site_key, local_unseal=self.local_unseal, tower=self.tower)
        if key is None:
            return False
        if key != self._founded.seal_key:
            raise RigError("the site came up with another seal key than it was set up with")
        for each in up:
            if each.host.phase is Phase.SEALED:
                each.unsealed()
        return True


class EdgeBench:
    """Makes sites, as long as its tools are open. Hosts of one site have TPMs of their own; sites share them.

    Args:
        tools: Those of a guest.
        shared: A folder that the tools see as `SHARED`.
        made: For the states of TPMs that were made.
    """

    def __init__(self, tools: Tools, shared: Path, made: Path) -> None:
        self._tools = tools
        self._shared = shared
        self._made = made

    def site(
        self,
        hosts: int,
        setting: ProtectWithTpm = ProtectWithTpm.BEST_EFFORT,
        *,
        local_unseal: bool = False,
    ) -> Site:
        """A site that is not set up yet.

        Args:
            hosts: How many controller hosts it has.
            setting: ``protect-with-tpm``.
            local_unseal: ``allow-local-unseal``.
        """
        return Site([self._host(number, setting) for number in range(1, hosts + 1)], local_unseal=local_unseal)

    def _host(self, number: int, setting: ProtectWithTpm) -> EdgeHost:
        folder = numbered_folder(self._shared, "host")
        tpm, another = (self._tpm(name, folder / name) for name in (f"tpm-{number}", f"other-{number}"))
        return EdgeHost(Host(f"host-{number}", setting), self._tools, folder, tpm, another)

    def _tpm(self, name: str, to: Path) -> Path:
        made = Tpm(self._made / name)
        if not made.state.exists():
            tpms.manufacture(made)
        return tpms.clone(made, to).state


@contextmanager
def edge_bench() -> Iterator[EdgeBench]:
    """Hosts without machines, with the tools of the default image, for the length of the block.

    Raises:
        HostError: The image cannot be had, or this host cannot run its tools.
    """
    with ExitStack() as stack:
        tree = stack.enter_context(guest_tree(IMAGE, Progress()))
        shared, made = stack.enter_context(scratch(None)), stack.enter_context(scratch(None))
        yield EdgeBench(stack.enter_context(toolbox(tree, shared, {})), shared, made)
