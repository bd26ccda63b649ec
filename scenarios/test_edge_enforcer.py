"""Avassa's Edge Enforcer (seed 002), a model of its document: real machines as controller hosts, each with its TPM.

There is no public code, so what these scenarios show is what the document promises if it is built as written: the
guests' own tpm2-tools protect and decrypt the shares; the harness puts them together and plays the Control Tower.
`tests/edge` has every cell of the tables, with a real TPM for each host.
"""

from collections.abc import Iterable

from harness.api import Machines, Powered, faults
from harness.api.edge import (
    ControllerMachine,
    ControlTower,
    ProtectWithTpm,
    Unreadable,
    found_site,
)

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


def _hosts(on: Powered, sites: Iterable[str]) -> dict[str, ControllerMachine]:
    return {name: ControllerMachine(on, site=name) for name in sites}
