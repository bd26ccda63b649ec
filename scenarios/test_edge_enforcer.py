"""Avassa's Edge Enforcer (seed 002), a model of its document: real machines as controller hosts, each with its TPM.

There is no public code, so what these scenarios show is what the document promises if it is built as written: the
guests' own tpm2-tools protect and decrypt the shares, which go from guest to guest over one segment; the harness puts
them together and plays the Control Tower. `tests/edge` has every cell of the tables, with a real TPM for each host.

The machines of one test take one of the host's slots between them (`harness.host.slots`): they boot one after the
other, and those that are up are idle meanwhile.
"""

from collections.abc import Iterable

from harness.api import Machines, Powered, faults
from harness.api.edge import (
    ControllerMachine,
    ControlTower,
    ProtectWithTpm,
    Unreadable,
    found_site,
    on_site,
    using_tpm2_tools,
    with_own_tpm,
)

HANDLE = "0x81000002"
REQUIRE, NEVER = ProtectWithTpm.REQUIRE, ProtectWithTpm.NEVER


def test_a_single_host_needs_its_tpm_for_a_stolen_disk_to_give_nothing(machines: Machines) -> None:
    """A copy of the disk in another machine: the share in clear is the seal key to the thief; under `require` not.

    One machine plays the only host of two sites, and one of three hosts of a third. After a restart each single site
    unseals itself. In another machine the share that the TPM protects is unreadable, and the disk has it nowhere in
    clear (R). The one in clear fetches the seal key from the Control Tower, with the site key that lies beside it, as
    the host itself does (X). One share of three fetches nothing, in clear too (R). Source: seed 002, "works less well
    for single host sites"; "If a single controller host is copied".
    """
    tower = ControlTower()
    sites = {
        "protected": (found_site(1, tower), REQUIRE),
        "in-clear": (found_site(1, tower), NEVER),
        "one-of-three": (found_site(3, tower), NEVER),
    }
    victim = machines.sealed("tang")
    with victim.powered(orderly=True) as on:
        for name, (site, setting) in sites.items():
            ControllerMachine(on, site=name).give(site, setting)
    with victim.powered(orderly=True) as on:
        at_home = {name: host.unseal(host.gather(), tower) for name, host in _hosts(on, sites).items()}
    written = victim.machine.disks[0].path.read_bytes()
    in_clear = {name for name, (site, _) in sites.items() if site.shares[0].encode() in written}
    with victim.powered(faults.tpm_replaced) as on:
        stolen = _hosts(on, sites)
        protected = stolen["protected"].store.read()
        extracted = {name: host.unseal(host.gather(), tower) for name, host in stolen.items()}
    seal_keys = {name: site.seal_key for name, (site, _) in sites.items()}
    assert at_home == seal_keys | {"one-of-three": None}
    assert isinstance(protected, Unreadable)
    assert in_clear == {"in-clear", "one-of-three"}
    assert extracted == {"protected": None, "in-clear": seal_keys["in-clear"], "one-of-three": None}


def test_two_of_three_controllers_unseal_the_site_and_a_copy_of_the_third_in_their_network(machines: Machines) -> None:
    """Three machines with a TPM each: together, behind a partition, and with a copy of the third one's disk.

    Each share is protected by the TPM of its host (`protect-with-tpm: require`). All three unseal the site, and two
    when the third is cut off; the third alone does not. A copy of its disk in another machine cannot read its share,
    and with one other host it has one of three (R). In the site's network with both others on it gathers two, like any
    host that was restarted, and has the seal key (X): the document does not say how a host knows another. Source: seed
    002, "When a site is restarted"; "If a single controller host is copied, or compromised, then access cannot be
    obtained through that host".
    """
    tower, segment = ControlTower(), machines.segment()
    site = found_site(3, tower)
    first, second, third = (with_own_tpm(machines.sealed("tang")) for _ in range(3))
    with first.powered(on_site(segment, 1)) as one, second.powered(on_site(segment, 2)) as two:
        here, there = ControllerMachine(one, 1), ControllerMachine(two, 2)
        with third.powered(on_site(segment, 3), orderly=True) as three:
            away = ControllerMachine(three, 3)
            said = [host.give(site, REQUIRE).log for host in (here, there, away)]
            for host in (here, there, away):
                host.serve()
            together = here.gather([there, away])
            away.unplug()
            majority, minority = here.gather([there, away]), away.gather([here, there])
            unsealed = [here.unseal(together, tower), here.unseal(majority, tower), away.unseal(minority, tower)]
        with third.powered(on_site(segment, 3), faults.tpm_replaced) as elsewhere:
            thief = ControllerMachine(elsewhere, 3)
            own, by_one, by_both = thief.store.read(), thief.gather([here]), thief.gather([here, there])
            extracted = [thief.unseal(by_one, tower), thief.unseal(by_both, tower)]
    assert said == [using_tpm2_tools(HANDLE)] * 3
    assert [len(shares) for shares in (together, majority, minority)] == [3, 2, 1]
    assert unsealed == [site.seal_key, site.seal_key, None]
    assert isinstance(own, Unreadable)
    assert extracted == [None, site.seal_key]


def _hosts(on: Powered, sites: Iterable[str]) -> dict[str, ControllerMachine]:
    return {name: ControllerMachine(on, site=name) for name in sites}
