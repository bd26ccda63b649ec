"""A controller host that is a real machine: its disk, its TPM, and the segment on which the hosts of a site are.

The share lies on the machine's unencrypted root, and the guest's own tools protect and decrypt it; shares go from guest
to guest over the segment. What puts them together, and asks the Control Tower, is the harness.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from harness.edge.protection import Decision, ProtectWithTpm, decide
from harness.edge.store import ShareStore, Unreadable, functions, in_guest
from harness.errors import RigError
from harness.lab.powered import Powered
from harness.lab.sealed import Sealed
from harness.machine.spec import Tpm

_FOLDER = "/etc/edge-enforcer"
_NETWORK = "10.77.0."
_SECONDS = 120.0


def with_own_tpm(sealed: Sealed) -> Sealed:
    """The same machine with a TPM that is no copy: copies of one sealed machine have one TPM between them."""
    assert sealed.machine.tpm
    own = Tpm(sealed.folder / "own-tpm", banks=sealed.machine.tpm.banks)
    return replace(sealed, machine=replace(sealed.machine, tpm=own))


@dataclass(frozen=True)
class ControllerMachine:
    """A controller host whose machine is on.

    Attributes:
        on: The machine.
        number: Of the host in its site, from 1.
        site: What its site is called, as one machine may play a host of several.
    """

    on: Powered
    number: int = 1
    site: str = "site"

    @property
    def store(self) -> ShareStore:
        """Its share, on its disk."""
        return ShareStore(in_guest(self.on.shell), f"{_FOLDER}/{self.site}")

    @property
    def address(self) -> str:
        """Its address on the segment."""
        return f"{_NETWORK}{self.number}"

    def give(self, share: str, setting: ProtectWithTpm) -> Decision:
        """Hand it its share at the first time; what it decided, and said."""
        decision = decide(setting, self.store.probe(setting), operational=False)
        if decision.form:
            self.store.write(decision, share)
        return decision

    def join(self) -> None:
        """Be on the segment, and give its share to whoever asks there."""
        script = "\n".join(["set -euo pipefail", functions(), shlex.join(["read_share", self.store.folder])])
        self._run("join", self._mac, self.address, script)

    def unplug(self) -> None:
        """Its cable to the segment is out."""
        self._run("unplug", self._mac)

    def gather(self, peers: Iterable["ControllerMachine"]) -> tuple[str, ...]:
        """The shares that it has in its hands: its own, and those of the peers that answer."""
        own = self.store.read()
        found = [] if isinstance(own, Unreadable) else [own]
        for peer in peers:
            status, said = self._attempt("ask", peer.address)
            found += [said] if status == 0 and said else []
        return tuple(found)

    @property
    def _mac(self) -> str:
        return self.on.rig.machine.cards[0].mac

    def _run(self, function: str, *arguments: str) -> None:
        status, said = self._attempt(function, *arguments)
        if status:
            raise RigError(f"{function} on controller {self.number} ended with status {status}", said[-1500:])

    def _attempt(self, function: str, *arguments: str) -> tuple[int, str]:
        script = "\n".join(["set -euo pipefail", _functions(), shlex.join([function, *arguments])])
        return in_guest(self.on.shell).attempt(script, _SECONDS)


@cache
def _functions() -> str:
    return (resources.files("harness.edge") / "machine.sh").read_text()
