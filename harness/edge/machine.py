"""A controller host that is a real machine: its disk, its TPM, and the segment on which the hosts of a site are.

::

    segment, tower = machines.segment(), ControlTower()
    site = found_site(3, tower)
    with sealed.powered(on_site(segment, 1)) as on:
        host = ControllerMachine(on, 1)
        host.give(site, ProtectWithTpm.REQUIRE)
        host.serve()
        seal_key = host.unseal([…], tower)

Share and site key lie on the machine's unencrypted root; the guest's own tools protect and decrypt the share, and
shares go from guest to guest over the segment. What puts them together, and asks the Control Tower, is the harness.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from harness.edge.protection import Decision, ProtectWithTpm, decide
from harness.edge.seal import Founded, recover
from harness.edge.store import ShareStore, Unreadable, functions, in_guest
from harness.edge.tower import ControlTower
from harness.errors import RigError
from harness.lab.faults import Fault, FaultContext, on_segment, smbios_cmdline
from harness.lab.powered import Powered
from harness.lab.sealed import Sealed
from harness.machine.domain_xml import FIRST_CARD_SLOT
from harness.machine.spec import Machine, Tpm
from harness.network.segment import Segment

_FOLDER = "/etc/edge-enforcer"
_NETWORK, _NETMASK = "10.77.0.", "255.255.255.0"
_SECONDS = 120.0
_HOME_CARD = "enp1s0"
_SEGMENT_CARD = f"enp0s{FIRST_CARD_SLOT}"
"""What udev calls the cards, after their places on the PCI bus (systemd.net-naming-scheme(7))."""


def with_own_tpm(sealed: Sealed) -> Sealed:
    """The same machine with a TPM that is no copy: copies of one sealed machine have one TPM between them."""
    assert sealed.machine.tpm
    own = Tpm(sealed.folder / "own-tpm", banks=sealed.machine.tpm.banks)
    return replace(sealed, machine=replace(sealed.machine, tpm=own))


def on_site(segment: Segment, number: int) -> Fault:
    """A machine on the segment of its site, with its address there from the start (dracut.cmdline(7), ``ip=``).

    There is no DHCP on a segment: a card that waited for it would hold up the boot by systemd-networkd-wait-online's
    two minutes, in the initrd and in the system. With an address for one card, systemd-network-generator leaves out
    what ``ip=dhcp`` says of all, so the other card is named, too.

    Args:
        segment: Of the site.
        number: Of the host, from 1.
    """
    address = f"ip={_address(number)}:::{_NETMASK}::{_SEGMENT_CARD}:none"
    joined, addressed = on_segment(segment), smbios_cmdline(f"ip={_HOME_CARD}:dhcp {address}")

    def fault(machine: Machine, context: FaultContext) -> Machine:
        return addressed(joined(machine, context), context)

    return fault


def _address(number: int) -> str:
    return f"{_NETWORK}{number}"


@dataclass(frozen=True, repr=False)
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

    def give(self, site: Founded, setting: ProtectWithTpm) -> Decision:
        """Hand it its share at the first time, and the site key; what it decided, and said."""
        decision = decide(setting, self.store.probe(setting), operational=False)
        if decision.form:
            self.store.write(decision, site.shares[self.number - 1])
        self.on.shell.write_file(self._site_key, site.site_key)
        return decision

    def serve(self) -> None:
        """Give its share to whoever asks on the segment."""
        self._run("serve", "\n".join(["set -euo pipefail", functions(), shlex.join(["read_share", self.store.folder])]))

    def unplug(self) -> None:
        """It is off the segment."""
        self._run("unplug", _SEGMENT_CARD)

    def gather(self, peers: Iterable["ControllerMachine"] = ()) -> tuple[str, ...]:
        """The shares that it has in its hands: its own, if it reads it, and those of the peers that answer."""
        own = self.store.read()
        found = [] if isinstance(own, Unreadable) else [own]
        for peer in peers:
            status, said = self._attempt("ask", _address(peer.number))
            found += [said] if status == 0 and said else []
        return tuple(found)

    def unseal(self, shares: Iterable[str], tower: ControlTower) -> bytes | None:
        """The seal key, by shares that it gathered, the site key on its disk, and the Control Tower; None without."""
        return recover(shares, self.on.shell.read_file(self._site_key), local_unseal=False, tower=tower)

    @property
    def _site_key(self) -> str:
        return f"{self.store.folder}/site-key"

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
