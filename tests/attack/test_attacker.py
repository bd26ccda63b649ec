"""The attacker without a machine: what they may take, and what counts as success."""

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.attack.attacker import Attacker
from harness.attack.grants import Grant, mark_line
from harness.errors import RigError, UsageError
from harness.evidence.record import Boot
from harness.guest.outcome import Outcome, Unlock
from harness.lab.faults import FaultContext
from harness.lab.power import ScenarioContext
from harness.lab.recorder import EvidenceRecorder
from harness.lab.request import BootRequest
from harness.luks2.header import HEADER_BYTES
from harness.machine.disk import blank
from harness.machine.partition import read_disk, read_partition
from harness.machine.spec import Disk, Firmware, Machine, Tpm
from harness.machine.tpm_bus import pass_on
from harness.progress import Progress


class Site:
    """Stands in for a Tang server."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.keys = "its keys"

    def answers_only(self, *sites: str, refusing: bool = False) -> None:
        self.calls.append((sites, refusing))

    def replace_keys(self, keys: Any) -> None:
        self.calls.append((keys,))


@pytest.fixture
def victim(tmp_path: Path) -> Any:
    """A victim with files, and no machine behind them."""
    folder = tmp_path / "victim"
    (folder / "tpm").mkdir(parents=True)
    (folder / "tpm" / "state").write_text("seeds")
    (folder / "nvram.fd").write_text("variables")
    firmware = Firmware("trixie", folder / "code.fd", folder / "vars.fd", secure_boot=True)
    disk = Disk(blank(folder / "disk.qcow2", 1 << 20))
    tangs = {"tang": Site()}
    return SimpleNamespace(
        machine=Machine("victim", firmware, folder / "nvram.fd", (disk,), Tpm(folder / "tpm")),
        folder=folder,
        tangs=tangs,
        canaries={"var": "the secret"},
        policy=SimpleNamespace(name="tang", config={}, disks=(), volumes=(SimpleNamespace(name="var"),)),
        header=lambda _: SimpleNamespace(vouches_for=lambda key: key == b"the key"),
        context=SimpleNamespace(
            recorder=EvidenceRecorder.open(tmp_path / "artifacts", "t.py::test", ""),
            asked=tangs,
            services=tuple(tangs.values()),
        ),
    )


def attack(victim: Any) -> Any:
    return victim.context.recorder.write()["attack"]


@pytest.mark.parametrize(
    ("take", "grant"),
    [
        (Attacker.disk, Grant.DISK),
        (Attacker.tpm, Grant.TPM_STATE),
        (Attacker.nvram, Grant.NVRAM),
        (Attacker.tang_keys, Grant.TANG_KEYS),
    ],
)
def test_what_was_not_granted_cannot_be_taken(victim: Any, take: Any, grant: Grant) -> None:
    with pytest.raises(UsageError, match=f"needs {grant}") as caught:
        take(Attacker.of(victim, set(Grant) - {grant, Grant.MACHINE}))
    assert f"Grant.{grant.name}" in caught.value.hint
    assert take(Attacker.of(victim, [grant]))


@pytest.mark.parametrize(
    ("reach", "grant"),
    [
        (lambda attacker: attacker.intercept(), Grant.NETWORK),
        (lambda attacker: attacker.memory(None).__enter__(), Grant.RAM),
        (lambda attacker: attacker.console(disk=None, smbios=["own"]).__enter__(), Grant.SMBIOS),
    ],
)
def test_what_was_not_granted_is_out_of_reach(victim: Any, reach: Any, grant: Grant) -> None:
    with pytest.raises(UsageError, match=f"needs {grant}"):
        reach(Attacker.of(victim, set(Grant) - {grant}))


def test_memory_is_read_from_the_dump(victim: Any, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(b"what was in memory")
    machine: Any = SimpleNamespace(rig=SimpleNamespace(dump_memory=lambda: tmp_path / "dump"))
    with Attacker.of(victim, [Grant.RAM]).memory(machine) as memory:
        assert memory.find(b"memory") == 12


def test_the_attackers_own_tang_answers_the_attacker_alone(victim: Any) -> None:
    attacker = Attacker.of(victim, [Grant.TANG_KEYS])
    attacker.run_tang(attacker.tang_keys())
    refused, replaced, answers = victim.tangs["tang"].calls
    assert refused == (("home",), True)
    assert replaced == ("its keys",)
    assert answers[0] != ("home",)


def test_who_has_the_machine_has_what_is_in_it(victim: Any) -> None:
    attacker = Attacker.of(victim, [Grant.MACHINE])
    assert attacker.disk().path != victim.machine.disks[0].path
    assert (attacker.tpm().state / "state").read_text() == "seeds"
    assert attacker.nvram().read_text() == "variables"
    with pytest.raises(UsageError, match="tang-keys"):
        attacker.tang_keys()


def test_the_mark_is_written_as_a_scenario_writes_it() -> None:
    assert mark_line([Grant.NETWORK, Grant.DISK]) == "@pytest.mark.attack(Grant.DISK, Grant.NETWORK)"


def test_tang_refuses_who_is_not_in_the_network(victim: Any) -> None:
    Attacker.of(victim, [Grant.DISK])
    assert victim.tangs["tang"].calls == [(("home",), True)]


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> list[Machine]:
    """Every boot reads the canary that the machine's memory size, in MiB, stands for."""
    machines: list[Machine] = []

    def boot(context: ScenarioContext, machine: Machine, request: BootRequest) -> Outcome:
        assert request.typing == (), "an attacker who learned nothing types nothing"
        machines.append(machine)
        canary = {2048: None, 1: "a guess", 2: "the secret"}[machine.memory_mib]
        evidence = context.recorder.new_boot()
        outcome = Outcome(Unlock.LOCKED, "", canary=canary, evidence=context.recorder.folder / evidence)
        context.recorder.record(Boot(outcome, request.label, machine.name, evidence), {"console.log": "said"})
        return outcome

    monkeypatch.setattr("harness.attack.attacker.boot", boot)
    return machines


def test_the_attackers_own_machine_is_new_and_stands_elsewhere(victim: Any, booted: list[Machine]) -> None:
    attacker = Attacker.of(victim, [Grant.DISK])
    attacker.boot(disk=attacker.disk())
    (machine,) = booted
    assert machine.tpm and not machine.tpm.state.exists()
    assert not machine.nvram.exists()
    assert machine.site != victim.machine.site


def test_the_stolen_machine_has_the_victims_tpm_and_variables(victim: Any, booted: list[Machine]) -> None:
    attacker = Attacker.of(victim, [Grant.MACHINE, Grant.NETWORK])
    attacker.boot(disk=attacker.disk())
    (machine,) = booted
    assert machine.tpm and (machine.tpm.state / "state").read_text() == "seeds"
    assert machine.tpm.state != victim.machine.tpm.state
    assert machine.nvram.read_text() == "variables"
    assert machine.site == victim.machine.site


@pytest.mark.parametrize("what", ["disk", "tpm", "nvram"])
def test_the_victims_own_files_are_no_way_round_the_grants(victim: Any, booted: list[Machine], what: str) -> None:
    attacker = Attacker.of(victim, [Grant.DISK])
    own = victim.machine
    theirs = {"disk": own.disks[0], "tpm": own.tpm, "nvram": own.nvram}
    taken: dict[str, Any] = {"disk": attacker.disk(), what: theirs[what]}
    with pytest.raises(UsageError, match="victim's own"):
        attacker.boot(**taken)
    assert not booted


@pytest.mark.parametrize(("memory", "extracted"), [(2048, False), (1, False), (2, True)])
def test_a_boot_succeeds_iff_it_reads_the_canary(
    victim: Any, booted: list[Machine], memory: int, extracted: bool
) -> None:
    victim.machine = replace(victim.machine, memory_mib=memory)
    attacker = Attacker.of(victim, [Grant.DISK])
    attacker.boot(disk=attacker.disk())
    assert attack(victim) == {
        "grants": ["disk"],
        "extracted": extracted,
        "tries": [
            {"guard": "tang", "grants": ["disk"], "extracted": extracted, "evidence": "boot-1", "control": False}
        ],
    }


@pytest.mark.parametrize(
    ("printed", "extracted"),
    [
        ({}, False),
        ({"canary": "a guess"}, False),
        ({"canary": "the secret"}, True),
        ({"volume_key": b"a guess"}, False),
        ({"volume_key": b"the key"}, True),
    ],
)
def test_an_attack_succeeds_iff_it_prints_the_canary_or_the_key(victim: Any, printed: Any, extracted: bool) -> None:
    attacker = Attacker.of(victim, [Grant.RAM])
    assert attacker.submit(**printed, evidence="attacker-shell.log").extracted is extracted
    assert [attempt["evidence"] for attempt in attack(victim)["tries"]] == ["attacker-shell.log"]


def test_one_success_among_many_tries_is_a_success(victim: Any) -> None:
    attacker = Attacker.of(victim, [])
    for canary in (None, "the secret", None):
        attacker.submit(canary=canary)
    assert attack(victim)["extracted"] is True


def test_before_any_try_nothing_is_known(victim: Any) -> None:
    Attacker.of(victim, [])
    assert attack(victim) == {"grants": [], "extracted": None, "tries": []}


@pytest.fixture
def partitioned(tmp_path: Path) -> Path:
    """A disk with a GPT of two partitions; the second begins at sector 100 and holds a text."""
    raw = bytearray(HEADER_BYTES + (1 << 20))
    raw[512:520] = b"EFI PART"
    struct.pack_into("<QII", raw, 512 + 72, 2, 128, 128)
    for number, (label, first, size) in enumerate((("root", 50, 25600), ("var", 100, HEADER_BYTES))):
        at = 1024 + 128 * number
        raw[at : at + 16] = b"type of its kind"
        struct.pack_into("<QQ", raw, at + 32, first, first + size // 512 - 1)
        raw[at + 56 : at + 128] = label.encode("utf-16-le").ljust(72, b"\0")
    raw[51200:51204] = b"here"
    (tmp_path / "raw").write_bytes(raw)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", tmp_path / "raw", tmp_path / "disk.qcow2"], check=True
    )
    return tmp_path / "disk.qcow2"


def test_a_partition_is_found_by_its_label_or_its_number(partitioned: Path, tmp_path: Path) -> None:
    assert read_partition(partitioned, "var", 512).startswith(b"here")
    assert read_partition(partitioned, 2, 512).startswith(b"here")
    assert read_partition(partitioned, 0, 1024)[512:].startswith(b"EFI PART")
    with pytest.raises(RigError, match="no partition 3"):
        read_partition(partitioned, 3, 512)
    assert len(read_disk(partitioned, 1024, 2048)) == 2048
    with pytest.raises(RigError, match="no partition home"):
        read_partition(partitioned, "home", 512)
    with pytest.raises(RigError, match="GPT"):
        read_partition(blank(tmp_path / "blank.qcow2", 1 << 20), "var", 512)


def test_a_forged_header_is_on_the_attackers_copy_alone(victim: Any, partitioned: Path) -> None:
    own = partitioned.replace(victim.folder / "disk.qcow2")
    victim.policy.volumes = (SimpleNamespace(name="var", device="/dev/disk/by-partlabel/var", mount_point="/var"),)
    with pytest.raises(UsageError, match="needs disk"):
        Attacker.of(victim, [Grant.NVRAM]).forged("var", lambda header: header)
    disk = Attacker.of(victim, [Grant.DISK]).forged("var", lambda header: header.replace(b"here", b"gone"))
    assert read_partition(disk.path, "var", 512).startswith(b"gone")
    assert read_partition(own, "var", 512).startswith(b"here")


class Desk:
    """Stands in for a system of the attacker's: clevis opens what the site of the only server lets it open."""

    evidence = "attacker-shell.log"

    def __init__(self, victim: Any) -> None:
        self.rig = self
        self.site = ""
        self.canaries = victim.canaries
        self.broken = ""

    def require_working(self) -> None:
        if self.broken:
            raise RigError(self.broken)

    def move_to(self, site: str) -> None:
        self.site = site

    def unlock_by_binding(self, volume: str) -> bool:
        return volume == "tpm2" or self.site == "home"

    def canary(self, volume: str) -> str | None:
        read: dict[str, str | None] = {**self.canaries, "liar": "something else", "unreadable": None}
        return read[volume]

    def close(self, volume: str) -> None:
        pass


def test_the_bindings_of_each_volume_are_tried_from_where_the_attacker_stands(victim: Any) -> None:
    victim.canaries = {"tang": "one", "tpm2": "two", "liar": "three"}
    victim.policy.volumes = tuple(SimpleNamespace(name=name) for name in victim.canaries)
    attacker, desk = Attacker.of(victim, [Grant.DISK, Grant.NETWORK]), Desk(victim)
    assert attacker.try_bindings(desk) == {"tang", "tpm2"}  # type: ignore[arg-type]
    assert attacker.without(Grant.NETWORK).try_bindings(desk) == {"tpm2"}  # type: ignore[arg-type]
    tries = attack(victim)["tries"]
    assert [(attempt["guard"], attempt["extracted"]) for attempt in tries[:3]] == [
        ("tang", True),
        ("tpm2", True),
        ("liar", False),
    ]
    assert [attempt["grants"] for attempt in tries] == 3 * [["disk", "network"]] + 3 * [["disk"]]


def test_what_opened_and_cannot_be_read_did_not_resist(victim: Any) -> None:
    victim.canaries = {"unreadable": "one"}
    victim.policy.volumes = (SimpleNamespace(name="unreadable"),)
    with pytest.raises(RigError, match="unreadable opened by its binding, and its canary cannot be read"):
        Attacker.of(victim, [Grant.NETWORK]).try_bindings(Desk(victim))  # type: ignore[arg-type]
    assert attack(victim)["tries"] == []


def test_what_stayed_shut_before_a_server_that_had_died_did_not_resist(victim: Any) -> None:
    desk = Desk(victim)
    desk.broken = "the container of tang has ended by itself"
    with pytest.raises(RigError, match="has ended by itself"):
        Attacker.of(victim, []).try_bindings(desk)  # type: ignore[arg-type]
    assert attack(victim)["tries"] == []


def test_of_a_volume_without_a_canary_nothing_is_said(victim: Any, booted: list[Machine]) -> None:
    """Nothing is mounted there: whether it fell is not seen, so it did not resist either."""
    victim.policy.volumes = (SimpleNamespace(name="var"), SimpleNamespace(name="swap"))
    attacker = Attacker.of(victim, [Grant.DISK, Grant.NETWORK])
    attacker.boot(disk=attacker.disk())
    attacker.try_bindings(Desk(victim))  # type: ignore[arg-type]
    assert [each["guard"] for each in attack(victim)["tries"]] == ["var", "var"]


def test_a_volume_that_there_is_not_does_not_resist(victim: Any) -> None:
    with pytest.raises(UsageError, match="the victim has no volume vra") as caught:
        Attacker.of(victim, []).submit("the secret", volume="vra")
    assert caught.value.detail == "it has: var"
    assert attack(victim)["tries"] == []


def test_the_wires_of_a_tpm_must_be_granted(victim: Any) -> None:
    thief = Attacker.of(victim, [Grant.MACHINE])
    for use in (lambda: thief.on_the_bus(pass_on), lambda: thief.tpm(pass_on)):
        with pytest.raises(UsageError, match="needs tpm-bus"):
            use()
    tapper = Attacker.of(victim, [Grant.MACHINE, Grant.TPM_BUS])
    assert tapper.tpm(pass_on).interceptor is pass_on
    wired = tapper.on_the_bus(pass_on)(victim.machine, FaultContext(victim.folder, Progress()))
    assert wired.tpm
    assert (wired.tpm.interceptor, wired.tpm.state) == (pass_on, victim.machine.tpm.state)
    assert victim.machine.tpm.interceptor is None


@pytest.mark.parametrize("unseals", [True, False])
def test_the_power_is_cut_once_the_tpm_has_unsealed(
    victim: Any, monkeypatch: pytest.MonkeyPatch, unseals: bool
) -> None:
    tap: Any = SimpleNamespace(unsealed=())
    seen: list[str] = []

    @contextmanager
    def power_on(
        machine: Machine, _host: object, folder: Path, _services: object, *, hypervisor: object, keep: bool
    ) -> Iterator[object]:
        assert not keep
        assert machine.tpm
        assert machine.tpm.interceptor is tap
        (folder / "tpm-bus.txt").write_text("passed")
        yield SimpleNamespace(require_working=lambda: seen.append("worked"))
        seen.append("off")

    def watch(_rig: object, _plan: object, *, live: object, on_event: Any) -> None:
        for event in ("kernel", "unsealing", "up"):
            tap.unsealed = (b"key",) if unseals and event != "kernel" else ()
            on_event(event)
            seen.append(event)

    monkeypatch.setattr("harness.lab.power.power_on", power_on)
    monkeypatch.setattr("harness.attack.attacker.watch", watch)
    monkeypatch.setattr("harness.attack.attacker.BootPlan.for_volumes", lambda *_: None)
    victim.context.lab = SimpleNamespace(host=None, hypervisor=None, live=None, progress=Progress())
    victim.context.urls = {}
    thief = Attacker.of(victim, [Grant.TPM_BUS])
    if unseals:
        thief.capture_until_unseal(tap)
        assert seen == ["kernel", "worked", "off"]
        assert (victim.context.recorder.folder / "good-boot-tpm-bus.txt").exists()
    else:
        with pytest.raises(RigError, match="unsealed nothing"):
            thief.capture_until_unseal(tap)
        assert seen == ["kernel", "unsealing", "up"]


def test_a_root_shell_must_be_granted(victim: Any) -> None:
    with pytest.raises(UsageError, match="needs root"):
        Attacker.of(victim, [Grant.DISK]).as_root("id")
