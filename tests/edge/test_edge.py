"""The model of the Edge Enforcer's document: every cell of its tables, every step of a host, all subsets of a site."""

from collections.abc import Mapping
from itertools import combinations, product

import pytest

from harness.edge.host import (
    REFUSED_UNWRAP,
    STEPS,
    Event,
    Host,
    Phase,
    Restarted,
    TimedOut,
    Unsealed,
    Unwrapped,
    WritesShare,
    step,
)
from harness.edge.protection import DEFERRING, USING_PARSEC, Alert, Decision, Form, Found, ProtectWithTpm, decide
from harness.edge.seal import found_site, majority, recover
from harness.edge.tower import ControlTower
from harness.errors import UsageError

NEVER, BEST, REQUIRE = ProtectWithTpm.NEVER, ProtectWithTpm.BEST_EFFORT, ProtectWithTpm.REQUIRE
PARSEC = Found(Form.PARSEC)
TPM = Found(Form.TPM2_TOOLS, "0x81000003")
NOTHING = Found(None, reason="there is no TPM")
USING_TPM = "Using tpm2-tools to protect host (handle 0x81000003)."

CELLS: Mapping[tuple[ProtectWithTpm, Found, bool], Decision] = {
    # Never: whatever there is.
    (NEVER, PARSEC, False): Decision(Form.PLAIN),
    (NEVER, PARSEC, True): Decision(Form.PLAIN),
    (NEVER, TPM, False): Decision(Form.PLAIN),
    (NEVER, TPM, True): Decision(Form.PLAIN),
    (NEVER, NOTHING, False): Decision(Form.PLAIN),
    (NEVER, NOTHING, True): Decision(Form.PLAIN),
    # Best effort: what there is, or in clear, and nothing is said of that.
    (BEST, PARSEC, False): Decision(Form.PARSEC, log=USING_PARSEC),
    (BEST, PARSEC, True): Decision(Form.PARSEC, log=USING_PARSEC),
    (BEST, TPM, False): Decision(Form.TPM2_TOOLS, "0x81000003", USING_TPM),
    (BEST, TPM, True): Decision(Form.TPM2_TOOLS, "0x81000003", USING_TPM),
    (BEST, NOTHING, False): Decision(Form.PLAIN),
    (BEST, NOTHING, True): Decision(Form.PLAIN),
    # Require: a new host waits, a running one falls back and raises the alert.
    (REQUIRE, PARSEC, False): Decision(Form.PARSEC, log=USING_PARSEC),
    (REQUIRE, PARSEC, True): Decision(Form.PARSEC, log=USING_PARSEC),
    (REQUIRE, TPM, False): Decision(Form.TPM2_TOOLS, "0x81000003", USING_TPM),
    (REQUIRE, TPM, True): Decision(Form.TPM2_TOOLS, "0x81000003", USING_TPM),
    (REQUIRE, NOTHING, False): Decision(None, log=DEFERRING),
    (REQUIRE, NOTHING, True): Decision(Form.PLAIN, alert="there is no TPM"),
}


def test_the_table_has_every_cell() -> None:
    assert CELLS.keys() == set(product(ProtectWithTpm, (PARSEC, TPM, NOTHING), (False, True)))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}-{cell[1].form}-{cell[2]}")
def test_where_a_share_is_stored_and_what_is_said(cell: tuple[ProtectWithTpm, Found, bool]) -> None:
    setting, found, operational = cell
    decision = decide(setting, found, operational=operational)
    assert decision == CELLS[cell]


def lived(*events: Event, setting: ProtectWithTpm = BEST) -> Host:
    host = Host("h06", setting)
    for event in events:
        host = step(host, event)
    return host


def test_a_new_host_under_require_waits_and_says_so_each_time_until_it_has_a_tpm() -> None:
    waiting = lived(WritesShare(NOTHING), WritesShare(NOTHING), Restarted(readable=False), setting=REQUIRE)
    assert (waiting.phase, waiting.form, waiting.log) == (Phase.NEW, None, (DEFERRING, DEFERRING))
    assert waiting.alerts == ()
    ready = step(waiting, WritesShare(TPM))
    assert (ready.phase, ready.protected_with_tpm, ready.log[-1]) == (Phase.OPERATIONAL, True, USING_TPM)


def test_a_running_host_falls_back_with_an_alert_and_is_protected_again_by_its_next_write() -> None:
    fallen = lived(WritesShare(TPM), WritesShare(NOTHING, REQUIRE))
    assert (fallen.phase, fallen.protected_with_tpm) == (Phase.OPERATIONAL, False)
    [alert] = fallen.alerts
    assert alert == Alert("h06", "there is no TPM")
    assert (alert.name, alert.severity, alert.kind, alert.topic) == (
        "tpm-protection-unavailable", "major", "security", "system:alerts",
    )  # fmt: skip
    assert step(fallen, WritesShare(TPM)).protected_with_tpm


def test_the_leaf_says_what_lies_on_the_disk_and_not_what_the_setting_says() -> None:
    assert lived(WritesShare(TPM)).protected_with_tpm
    assert not lived(WritesShare(TPM), WritesShare(TPM, NEVER)).protected_with_tpm
    assert not lived(WritesShare(NOTHING), setting=BEST).protected_with_tpm


def test_another_tpm_ends_in_a_new_start_that_the_tower_must_allow() -> None:
    lost = lived(WritesShare(TPM), Restarted(readable=False))
    assert lost.phase is Phase.UNREADABLE
    empty = step(lost, TimedOut())
    assert (empty.phase, empty.form, empty.handle) == (Phase.REINITIALISED, None, "")
    refused = step(empty, Unwrapped(allowed=False))
    assert (refused.phase, refused.log[-1]) == (Phase.REINITIALISED, REFUSED_UNWRAP)
    assert step(step(refused, Unwrapped(allowed=True)), WritesShare(TPM)).phase is Phase.OPERATIONAL


def test_a_tpm_that_comes_back_before_the_time_out_is_in_time() -> None:
    assert (
        lived(WritesShare(TPM), Restarted(readable=False), Restarted(readable=True), Unsealed()).phase
        is Phase.OPERATIONAL
    )


def test_what_is_not_in_the_table_cannot_happen() -> None:
    samples: tuple[Event, ...] = (
        WritesShare(TPM),
        Restarted(readable=True),
        Unsealed(),
        TimedOut(),
        Unwrapped(allowed=True),
    )
    hosts = {
        Phase.NEW: lived(),
        Phase.OPERATIONAL: lived(WritesShare(TPM)),
        Phase.SEALED: lived(WritesShare(TPM), Restarted(readable=True)),
        Phase.UNREADABLE: lived(WritesShare(TPM), Restarted(readable=False)),
        Phase.REINITIALISED: lived(WritesShare(TPM), Restarted(readable=False), TimedOut()),
    }
    assert hosts.keys() == set(Phase)
    for (phase, host), event in product(hosts.items(), samples):
        if (phase, type(event)) in STEPS:
            step(host, event)
        else:
            with pytest.raises(UsageError, match=f"h06 is {phase}, and so cannot meet {type(event).__name__}"):
                step(host, event)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("hosts", [1, 2, 3, 4, 5])
def test_a_site_is_unsealed_if_and_only_if_a_majority_is_up(hosts: int, local: bool) -> None:
    tower = ControlTower()
    site = found_site(hosts, tower, local_unseal=local)
    for count in range(hosts + 1):
        for up in combinations(site.shares, count):
            key = recover(up, site.site_key, local_unseal=local, tower=tower)
            assert key == (site.seal_key if count >= majority(hosts) else None)
    assert majority(hosts) > hosts / 2
    assert majority(hosts) - 1 <= hosts / 2


def test_only_a_local_unseal_does_without_the_tower() -> None:
    for local in (False, True):
        tower = ControlTower()
        site = found_site(3, tower, local_unseal=local)
        tower.online = False
        key = recover(site.shares[:2], site.site_key, local_unseal=local, tower=tower)
        assert key == (site.seal_key if local else None)


def test_the_tower_never_holds_the_seal_key_in_clear_nor_the_token() -> None:
    tower = ControlTower()
    site = found_site(3, tower)
    kept = b"".join(part for entry in tower._kept.items() for part in entry)
    assert site.seal_key not in kept
    assert site.site_key not in kept
    assert tower.fetch(b"no token") is None


def test_shares_without_the_site_key_or_of_another_site_open_nothing() -> None:
    tower = ControlTower()
    site, other = found_site(3, tower), found_site(3, tower)
    assert recover(site.shares, other.site_key, local_unseal=False, tower=tower) is None
    mixed = (site.shares[0], other.shares[1])
    assert recover(mixed, site.site_key, local_unseal=False, tower=tower) is None
    words = site.shares[0].split()
    words[6] = "academic" if words[6] != "academic" else "acid"
    forged = (" ".join(words), site.shares[1])
    assert recover(forged, site.site_key, local_unseal=False, tower=tower) is None


def test_the_tower_gives_a_bundle_once_and_again_when_its_operator_allows_it() -> None:
    tower = ControlTower()
    assert tower.unwrap("h06")
    assert not tower.unwrap("h06")
    tower.reallow_site_unwrap()
    assert tower.unwrap("h06")
    tower.reallow_site_unwrap()
    tower.online = False
    assert not tower.unwrap("h06")
    with pytest.raises(UsageError, match="cannot be reached"):
        found_site(1, tower)
