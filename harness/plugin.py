"""The pytest plugin: options, fixtures and reports.

It is registered as an entry point, so that a scenario file in any folder can use it. The fixtures are `sealed`,
`machines`, `tang`, `tangs`, `hsm`, `verifier`, `keylime` and `attacker`; a test names its policy with
``@pytest.mark.policy("name")`` (a Butane file ``name.bu`` beside the test, in a folder ``policies`` beside it, or in
scenarios/policies) and, where it is not the default one, its image with ``@pytest.mark.image("debian-13")``. An attack
names what its attacker has: ``@pytest.mark.attack(Grant.DISK)``.

It is loaded by every pytest of its environment, also of people who collect no scenario. So the rooms that do the work
are imported by the fixture or the hook that needs them.
"""
# ruff: noqa: PLC0415

import json
import os
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import fixtures
from harness.campaign.repeat import lines as tally_lines
from harness.campaign.repeat import run_id, tallies
from harness.campaign.schedule import COLLECTED, installs_itself, parse_shard
from harness.defaults import ACCELERATORS, HYPERVISORS, IMAGE, count
from harness.errors import HarnessError
from harness.fixtures import INSTALLED, RECORDER, TERMINAL
from harness.host.slots import slot_count, waited

if TYPE_CHECKING:
    from harness.campaign.status import Status
    from harness.evidence.record import Failure
    from harness.lab.recorder import EvidenceRecorder

_DOCUMENT = "unlock_lab"
"""The attribute of a report that carries a test's document, also from an xdist worker to the terminal."""
_ASSERTED = (AssertionError, pytest.fail.Exception)
"""What an assertion raises that does not hold; the second by `pytest.raises`."""
_STATUS: "pytest.StashKey[Status]" = pytest.StashKey()
_WAITED = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Keep the real standard error, before capturing takes it: progress and the live console go there."""
    early_config.stash[TERMINAL] = os.fdopen(os.dup(2), "w", errors="replace")
    try:
        return (yield)
    finally:
        early_config.add_cleanup(early_config.stash[TERMINAL].close)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the laboratory."""
    group = parser.getgroup("unlock-lab", "automatic disk unlock")
    group.addoption("--lab-image", default=IMAGE, help="guest image, a folder of images/ (default: %(default)s)")
    group.addoption("--lab-artifacts", default="artifacts", help="where the evidence goes (default: %(default)s)")
    group.addoption("--lab-console", action="store_true", help="show the consoles of the machines live")
    group.addoption(
        "--lab-keep", action="store_true", help="leave the last machine of each test running; says how to attach"
    )
    group.addoption(
        "--lab-accel", default="auto", choices=ACCELERATORS, help="KVM or emulation (default: KVM where it works)"
    )
    group.addoption(
        "--lab-hypervisor",
        default="libvirt",
        choices=HYPERVISORS,
        help="what runs the machines: libvirt, or QEMU without it (default: %(default)s)",
    )
    group.addoption("--lab-libvirt-uri", help="another libvirt of this host than the harness picks")
    group.addoption(
        "--lab-shard", metavar="K/N", type=parse_shard, help="run the K-th of N parts that take about equally long"
    )
    group.addoption(
        "--lab-repeat", metavar="N", type=count, default=1, help="run each scenario N times, and count the outcomes"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks and the fixtures, and tell how the campaign goes."""
    config.pluginmanager.register(fixtures, "unlock-lab-fixtures")
    config.addinivalue_line("markers", "policy(name or Enrolment): what the machine is installed with")
    config.addinivalue_line("markers", "image(name): the guest image, a folder of images/")
    config.addinivalue_line("markers", "attack(*grants): an attack, and all that the attacker is granted (Grant)")
    config.addinivalue_line("markers", "core: a scenario of the core, which every submission runs")
    if not hasattr(config, "workerinput"):
        # As with other options that name a file: from where pytest was called, wherever its rootdir is.
        config.option.lab_artifacts = str(Path(config.invocation_params.dir, config.getoption("--lab-artifacts")))
        from harness.campaign.status import Status

        workers = len(config.getoption("tx", None) or ["one"])
        config.stash[_STATUS] = Status(config, lambda: min(workers, _slots()))
        config.pluginmanager.register(config.stash[_STATUS], "unlock-lab-status")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: as many workers as machines may run at once."""
    return _slots()


def _slots() -> int:
    """How many machines may run at once; what is wrong with that ends pytest without a traceback."""
    try:
        return slot_count()
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Give out scenarios by the machine that they start from, unless the user wants another way (``--dist``)."""
    if config.getoption("dist") != "load":
        return None
    from harness.campaign.workers import MachineScheduling  # only where xdist is

    return MachineScheduling(config, log, config.stash[_STATUS].machines)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each scenario as often as was asked for."""
    times = metafunc.config.getoption("--lab-repeat")
    if times > 1 and not {"sealed", "machines"}.isdisjoint(metafunc.fixturenames):
        metafunc.fixturenames.append("repetition")
        metafunc.parametrize("repetition", range(1, times + 1), indirect=True, ids=run_id)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    """Group the scenarios by machine and put them in order; when all else is deselected, keep one shard."""
    shard = config.getoption("--lab-shard")
    if not shard and not any(
        item.get_closest_marker("policy") or installs_itself(getattr(item, "fixturenames", ())) for item in items
    ):
        return (yield)
    from harness.campaign import collection

    collection.arrange(config, items, fixtures.policy_of)
    result = yield
    if shard:
        collection.keep_shard(config, items, *shard)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the process that gives out the scenarios about their machines, from a worker of xdist."""
    if path := getattr(session.config, "workerinput", {}).get(COLLECTED):
        from harness.campaign.status import JOBS, send

        if jobs := session.config.stash.get(JOBS, []):
            send(Path(path), jobs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Note how long a scenario waits for slots, which is not what it takes."""
    before = waited()
    try:
        return (yield)
    finally:
        item.stash[_WAITED] = waited() - before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say the reason first; show an error of the rig as an error, not as a failed assertion."""
    report = yield
    recorder = item.stash.get(RECORDER, None)
    error = call.excinfo.value if call.excinfo else None
    if recorder is None and not isinstance(error, HarnessError):
        return report
    from harness.campaign.status import INSTALLATION, WAITED
    from harness.evidence.record import junit_properties

    if isinstance(error, HarnessError):
        _tell_error(report, error, recorder)
    elif recorder and call.excinfo and isinstance(error, _ASSERTED) and report.when == "call":
        _tell_failure(report, call.excinfo, item, recorder)
    if recorder:
        _note_result(recorder, call.when, error)
    if call.when == "setup" and (installed := item.stash.get(INSTALLED, None)):
        setattr(report, INSTALLATION, installed)
    if call.when == "call":
        setattr(report, WAITED, item.stash.get(_WAITED, 0.0))
    if recorder and call.when == "teardown":
        document = recorder.write()
        report.user_properties += junit_properties(document["boots"])
        # Plain values: xdist carries no others from a worker to the terminal.
        setattr(report, _DOCUMENT, json.loads(json.dumps(document)))
    return report


def _tell_error(report: pytest.TestReport, error: HarnessError, recorder: "EvidenceRecorder | None") -> None:
    from harness.evidence import terminal
    from harness.evidence.record import Problem

    own = recorder.folder if recorder else None
    problem = Problem.of(error)
    report.longrepr = terminal.rig_error_text(
        replace(problem, detail=recorder.without_secrets(problem.detail)) if recorder else problem,
        recorder.boots if recorder else (),
        console=recorder.console_tail() if recorder else (),
        evidence=Path(error.evidence) if error.evidence else own,
    )
    if report.when == "call":
        # pytest, and its JUnit XML, count what breaks in set-up as an error and not as a failure.
        report.when = "setup"


def _tell_failure(
    report: pytest.TestReport,
    excinfo: pytest.ExceptionInfo[BaseException],
    item: pytest.Item,
    recorder: "EvidenceRecorder",
) -> None:
    from harness.evidence import terminal

    failure = _failure(excinfo, item)
    recorder.failure = replace(failure, reason=recorder.without_secrets(failure.reason))
    report.longrepr = terminal.failure_text(
        recorder.failure, recorder.boots, console=recorder.console_tail(), evidence=recorder.folder
    )


def _note_result(recorder: "EvidenceRecorder", phase: str, error: BaseException | None) -> None:
    """Write down what a phase of a test came to: the first error stays, and one beside a failure is none of its own."""
    from harness.evidence.record import Problem, Result

    if error is None:
        if phase == "call":
            recorder.result = Result.PASSED
        return
    if isinstance(error, pytest.skip.Exception) and not (recorder.failure or recorder.error):
        recorder.result, recorder.error = Result.SKIPPED, Problem.of(error)
        return
    first = None if recorder.result is Result.SKIPPED else recorder.error
    recorder.result = Result.FAILED if recorder.failure else Result.ERROR
    recorder.error = first or (None if recorder.failure else Problem.of(error))


def _failure(excinfo: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> "Failure":
    """The assertion as the scenario's author wrote it, with the line of the scenario that it stands in."""
    from harness.evidence.record import Failure

    entries = [entry for entry in excinfo.traceback if Path(entry.path) == item.path]
    entry = entries[-1] if entries else excinfo.traceback[-1]
    place = Path(entry.path)
    shown = place.relative_to(item.config.rootpath) if place.is_relative_to(item.config.rootpath) else place
    text = str(entry.statement).strip()
    return Failure(str(excinfo.value), f"{shown}:{entry.lineno + 1}", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of scenarios with what was seen."""
    documents = [
        document
        for reports in terminalreporter.stats.values()
        for report in reports
        if (document := getattr(report, _DOCUMENT, None))
    ]
    if documents:
        from harness.evidence import terminal

        terminalreporter.section("what the disks did")
        writer = config.get_terminal_writer()
        terminalreporter.write_line(terminal.summary(documents, width=writer.fullwidth, color=writer.hasmarkup))
    if repeated := tallies(documents):
        terminalreporter.section("how often")
        for tally in repeated:
            for line in tally_lines(tally):
                terminalreporter.write_line(line)
