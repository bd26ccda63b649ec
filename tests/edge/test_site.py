"""Controller hosts with the guest's own tpm2-tools and a real TPM each: the whole table, without a machine."""

from collections.abc import Callable, Iterator
from itertools import combinations

import pytest

from harness.edge.faults import without_encrypt_decrypt
from harness.edge.host import REFUSED_UNWRAP, Phase
from harness.edge.protection import DEFERRING, HANDLES, Form, ProtectWithTpm, using_tpm2_tools
from harness.edge.site import EdgeBench, EdgeHost, edge_bench
from harness.edge.store import Tools, Unreadable

pytestmark = pytest.mark.real

NEVER, BEST, REQUIRE = ProtectWithTpm.NEVER, ProtectWithTpm.BEST_EFFORT, ProtectWithTpm.REQUIRE

Fault = Callable[[EdgeHost], None]


def has_no_command(host: EdgeHost) -> None:
    host.interceptor = without_encrypt_decrypt


FAULTS: dict[str, Fault] = {
    "ok": lambda host: None,
    "absent": EdgeHost.remove_tpm,
    "foreign": EdgeHost.replace_tpm,
    "handle taken": lambda host: host.occupy_handles(1),
    "two handles taken": lambda host: host.occupy_handles(2),
    "all handles taken": lambda host: host.occupy_handles(4),
    "no EncryptDecrypt2": has_no_command,
    "locked out": EdgeHost.lock_out_tpm,
}

HANDLE = {
    "ok": HANDLES[0],
    "foreign": HANDLES[0],
    "handle taken": HANDLES[1],
    "two handles taken": HANDLES[2],
    "locked out": HANDLES[0],
}
"""Where the key of a new host is, for those that have a TPM that can be used."""

READS = {"ok", "all handles taken", "two handles taken", "handle taken", "locked out"}
"""Where a host that was protected reads its share after a restart: its key is where it was."""


@pytest.fixture(scope="module")
def bench() -> Iterator[EdgeBench]:
    with edge_bench() as made:
        yield made


@pytest.mark.parametrize("setting", ProtectWithTpm)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_new_host(bench: EdgeBench, setting: ProtectWithTpm, fault: str) -> None:
    """What stands in each cell for a host that is added: setting × what is wrong with its TPM."""
    single = bench.site(1, setting)
    [host] = single.hosts
    FAULTS[fault](host)
    single.set_up()
    seen = host.host
    if setting is NEVER or (setting is BEST and fault not in HANDLE):
        assert (seen.phase, seen.form, seen.log, seen.alerts) == (Phase.OPERATIONAL, Form.PLAIN, (), ())
    elif fault in HANDLE:
        assert (seen.phase, seen.form, seen.handle) == (Phase.OPERATIONAL, Form.TPM2_TOOLS, HANDLE[fault])
        assert seen.log == (using_tpm2_tools(HANDLE[fault]),)
    else:
        assert (seen.phase, seen.form, seen.log, seen.alerts) == (Phase.NEW, None, (DEFERRING,), ())
        return
    assert single.restart()


@pytest.mark.parametrize("setting", ProtectWithTpm)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_running_host(bench: EdgeBench, setting: ProtectWithTpm, fault: str) -> None:
    """And for one that was operational with a sound TPM: the restart, and the next write where it is still running."""
    single = bench.site(1, setting)
    [host] = single.hosts
    single.set_up()
    assert single.restart()
    FAULTS[fault](host)
    host.write()
    usable = fault in READS or fault == "foreign"
    assert host.host.protected_with_tpm is (setting is not NEVER and usable)
    assert len(host.host.alerts) == (setting is REQUIRE and not usable)
    assert single.restart()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_protected_host_that_was_off_meanwhile(bench: EdgeBench, fault: str) -> None:
    """Its TPM changes while it is off: it reads its share where its own key still is, and nowhere else."""
    single = bench.site(1, REQUIRE)
    [host] = single.hosts
    single.set_up()
    FAULTS[fault](host)
    assert single.restart() is (fault in READS)
    assert host.host.phase is (Phase.OPERATIONAL if fault in READS else Phase.UNREADABLE)


def test_all_subsets_of_three_hosts_with_a_tpm_each(bench: EdgeBench) -> None:
    """Unsealed if and only if a majority is up, each share decrypted by the TPM of its own host."""
    site = bench.site(3, REQUIRE)
    site.set_up()
    assert all(host.host.protected_with_tpm for host in site.hosts)
    for count in range(4):
        for up in combinations(site.hosts, count):
            assert site.restart(up) is (count >= 2)


def test_a_disk_that_was_cloned_opens_nothing_unless_it_holds_the_only_share_in_clear(bench: EdgeBench) -> None:
    """One of three: R. The only one, protected: R. The only one in clear: X, by the tower or without it."""
    for hosts, setting, local, opens in (
        (3, NEVER, False, False),
        (1, REQUIRE, False, False),
        (1, NEVER, False, True),
        (1, NEVER, True, True),
        (1, REQUIRE, True, False),
    ):
        site = bench.site(hosts, setting, local_unseal=local)
        site.set_up()
        thief = bench.site(4).hosts[-1]
        site.hosts[0].clone_disk(thief)
        assert site.restart([thief]) is opens


def test_aes_cfb_gives_garbage_for_another_key_and_calls_that_success(bench: EdgeBench) -> None:
    """Another TPM has a key of its own at that handle: without the digest its answer would pass for the share.

    "The system detects that the stored share cannot be decrypted" (seed 002) wants more than the TPM's status.
    """
    site, other = bench.site(1, REQUIRE), bench.site(1, REQUIRE)
    [host], [foreign] = site.hosts, other.hosts
    foreign.replace_tpm()
    site.set_up()
    other.set_up()
    host.clone_disk(foreign)
    with host.on() as store:
        share = store.read(unchecked=True)
        assert share == store.read()
    with foreign.on() as store:
        garbage, checked = store.read(unchecked=True), store.read()
    assert isinstance(garbage, str)
    assert garbage != share
    assert isinstance(checked, Unreadable)
    assert "another key" in checked.reason


def test_other_hardware_starts_anew_once_the_tower_allows_it(bench: EdgeBench) -> None:
    """Unreadable, timed out, refused by the tower, `reallow-site-unwrap`, and protected by the new TPM."""
    site = bench.site(1, REQUIRE)
    [host] = site.hosts
    site.set_up()
    host.replace_tpm()
    assert not site.restart()
    host.time_out()
    assert not host.ask_for_bundle(site.tower)
    assert host.host.log[-1] == REFUSED_UNWRAP
    site.tower.reallow_site_unwrap()
    assert host.ask_for_bundle(site.tower)
    site.set_up()
    assert host.host.protected_with_tpm
    assert site.restart()


class WithUsualAttributes:
    """The tools, but the TPM's key has the attributes that one usually gives."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def attempt(self, script: str, timeout: float) -> tuple[int, str]:
        return self._tools.attempt(script.replace("|noda", ""), timeout)


@pytest.mark.parametrize("noda", [True, False])
def test_power_cuts_lock_the_key_out_unless_it_is_noda(bench: EdgeBench, noda: bool) -> None:
    """Setting up and two restarts are three uses before a cut. Source: TPM 2.0 Library, Part 1, 19.8."""
    site = bench.site(1, REQUIRE)
    [host] = site.hosts
    host._tools = host._tools if noda else WithUsualAttributes(host._tools)
    host.orderly = False
    site.set_up()
    assert [site.restart() for _ in range(3)] == [True, True, noda]


def test_a_flip_to_require_without_a_tpm_raises_the_alert_until_the_next_write_with_one(bench: EdgeBench) -> None:
    """The site stays consistent in clear; `protected-with-tpm` follows what lies on the disk, both times."""
    site = bench.site(1, BEST)
    [host] = site.hosts
    host.remove_tpm()
    site.set_up()
    assert (host.host.form, host.host.alerts) == (Form.PLAIN, ())
    host.write(REQUIRE)
    [alert] = host.host.alerts
    assert (alert.hostname, alert.reason) == ("host-1", "there is no TPM")
    leaf = [host.host.protected_with_tpm]
    host.restore_tpm()
    host.write()
    assert [*leaf, host.host.protected_with_tpm] == [False, True]
    assert site.restart()


def test_a_new_host_waits_for_its_tpm_and_is_protected_then(bench: EdgeBench) -> None:
    site = bench.site(1, REQUIRE)
    [host] = site.hosts
    host.remove_tpm()
    site.set_up()
    host.write()
    assert (host.host.phase, host.host.log) == (Phase.NEW, (DEFERRING, DEFERRING))
    host.restore_tpm()
    host.write()
    assert (host.host.phase, host.host.log[-1]) == (Phase.OPERATIONAL, using_tpm2_tools(HANDLES[0]))
    assert site.restart()
