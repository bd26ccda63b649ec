"""The pytest plugin: options, fixtures and reports.

It is registered as an entry point, so that a scenario file in any folder can use it. The fixtures are `sealed`, `tang`,
`tangs` and `attacker`; a test names its policy with ``@pytest.mark.policy("name")`` (a Butane file ``name.bu`` beside
the test, in a folder ``policies`` beside it, or in scenarios/policies) and, where it is not the default one, its image
with ``@pytest.mark.image("debian-13")``. An attack names what its attacker has: ``@pytest.mark.attack(Grant.DISK)``.
"""

import json
import os
import sys
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TextIO, cast

import pytest

from harness.attack.attacker import Attacker
from harness.attack.grants import Grant, mark_line
from harness.errors import HarnessError, UsageError
from harness.evidence import terminal
from harness.evidence.record import Failure, Problem, Result, junit_properties
from harness.host.accel import CHOICES
from harness.lab import laboratory
from harness.lab.install import sealed_machine
from harness.lab.laboratory import Laboratory
from harness.lab.policies import named_policy
from harness.lab.recorder import EvidenceRecorder
from harness.lab.sealed import Sealed
from harness.policy.enrolment import Enrolment
from harness.policy.pins import Policy
from harness.services.tang import Tang

_TERMINAL = pytest.StashKey[TextIO]()
_RECORDER = pytest.StashKey[EvidenceRecorder]()
_DOCUMENT = "unlock_lab"
"""The attribute of a report that carries a test's document, also from an xdist worker to the terminal."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Keep the real standard error, before capturing takes it: progress and the live console go there."""
    early_config.stash[_TERMINAL] = os.fdopen(os.dup(2), "w")
    try:
        return (yield)
    finally:
        early_config.add_cleanup(early_config.stash[_TERMINAL].close)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the laboratory."""
    group = parser.getgroup("unlock-lab", "automatic disk unlock")
    group.addoption("--lab-image", default="debian-13", help="guest image: a folder of images/ (default: %(default)s)")
    group.addoption("--lab-artifacts", default="artifacts", help="where the evidence goes (default: %(default)s)")
    group.addoption("--lab-console", action="store_true", help="show the consoles of the machines live")
    group.addoption(
        "--lab-keep", action="store_true", help="leave the last machine of each test running; says how to attach"
    )
    group.addoption(
        "--lab-accel", default="auto", choices=CHOICES, help="KVM or emulation (default: KVM where it works)"
    )
    group.addoption("--lab-libvirt-uri", help="another libvirt than the harness picks")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks, and keep scenarios of one sealed machine in one xdist worker."""
    config.addinivalue_line("markers", "policy(name or Enrolment): what the machine is installed with")
    config.addinivalue_line("markers", "image(name): the guest image, a folder of images/")
    config.addinivalue_line("markers", "attack(*grants): an attack, and all that the attacker is granted (Grant)")
    config.addinivalue_line("markers", "ci: a scenario of the slice that every submission runs")
    if config.getoption("dist", "no") == "load":
        # One sealed machine has one address of Tang, so its boots take turns anyway.
        config.option.dist = "loadgroup"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the scenarios by the machine that they start from, so that it is installed once."""
    for item in items:
        if name := _machine_name(item):
            item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=_machine_name)


def _machine_name(item: pytest.Item) -> str:
    mark, image = item.get_closest_marker("policy"), item.get_closest_marker("image")
    if mark is None:
        return ""
    name = mark.args[0].name if isinstance(mark.args[0], Enrolment | Policy) else str(mark.args[0])
    return f"{name} on {image.args[0]}" if image else name


@pytest.fixture(scope="session")
def laboratory_options(request: pytest.FixtureRequest) -> laboratory.Options:
    """The options of this run, for people who want to override them in a conftest."""
    config = request.config
    return laboratory.Options(
        accel=config.getoption("--lab-accel"),
        libvirt_uri=config.getoption("--lab-libvirt-uri"),
        console=config.getoption("--lab-console"),
        keep=config.getoption("--lab-keep"),
        run_id=_run_id(config),
        terminal=config.stash.get(_TERMINAL, sys.__stderr__ or sys.stderr),
    )


def _run_id(config: pytest.Config) -> str:
    workerinput = cast(Mapping[str, str], getattr(config, "workerinput", {}))
    return workerinput.get("testrunuid") or uuid.uuid4().hex


@pytest.fixture(scope="session")
def lab(laboratory_options: laboratory.Options) -> Laboratory:
    """The laboratory: this host, prepared. What it lacks is said once, for every test that needs it."""
    return laboratory.prepare(laboratory_options)


@pytest.fixture
def recorder(request: pytest.FixtureRequest) -> EvidenceRecorder:
    """The evidence of this test."""
    book = EvidenceRecorder.open(
        Path(request.config.rootpath, request.config.getoption("--lab-artifacts")),
        request.node.nodeid,
        (request.node.obj.__doc__ or "").partition("\n")[0],
    )
    request.node.stash[_RECORDER] = book
    return book


@pytest.fixture
def sealed(request: pytest.FixtureRequest, recorder: EvidenceRecorder) -> Iterator[Sealed]:
    """A machine with the test's policy installed, which has opened by itself once; this test's own copy of it."""
    mark = request.node.get_closest_marker("policy")
    if mark is None or len(mark.args) != 1:
        raise UsageError(
            f"{request.node.nodeid} needs a machine and names no policy",
            hint='mark it: @pytest.mark.policy("tpm2-and-tang")',
        )
    image_mark = request.node.get_closest_marker("image")
    image = image_mark.args[0] if image_mark else request.config.getoption("--lab-image")
    policy = named_policy(mark.args[0], image, request.path.parent)
    recorder.installs(policy, image)
    # Only now: a mistake in the policy is told before the host is made ready.
    lab: Laboratory = request.getfixturevalue("lab")
    with Sealed.copy_of(sealed_machine(lab, image, policy, recorder.folder.parent), lab, recorder) as machine:
        yield machine


@pytest.fixture
def tangs(sealed: Sealed) -> Mapping[str, Tang]:
    """The Tang servers of the sealed machine, by the name that its policy gives them."""
    return sealed.tangs


@pytest.fixture
def tang(sealed: Sealed) -> Tang:
    """The one Tang server of the sealed machine."""
    if len(sealed.tangs) != 1:
        names = ", ".join(sealed.tangs) or "none"
        raise UsageError(
            f"policy {sealed.policy.name} has not just one Tang server but {names}", hint="ask for the fixture tangs"
        )
    return next(iter(sealed.tangs.values()))


@pytest.fixture
def attacker(request: pytest.FixtureRequest, sealed: Sealed) -> Attacker:
    """The attacker: knows no passphrase, and has what the test's mark grants."""
    mark = request.node.get_closest_marker("attack")
    if mark is None:
        raise UsageError(
            "this scenario does not say what its attacker is granted",
            hint=f"mark it; for a disk: {mark_line([Grant.DISK])}",
        )
    return Attacker.of(sealed, mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say the reason first; show an error of the rig as an error, not as a failed assertion."""
    report = yield
    book = item.stash.get(_RECORDER, None)
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, HarnessError):
        report.longrepr = terminal.rig_error_text(
            error, book.boots if book else (), console=book.console_tail() if book else (), evidence=_path(book)
        )
        if report.when == "call":
            # pytest, and its JUnit XML, count what breaks in set-up as an error and not as a failure.
            report.when = "setup"
    elif book and isinstance(error, AssertionError) and call.excinfo and report.when == "call":
        failure = _failure(call.excinfo, item)
        report.longrepr = terminal.failure_text(failure, book.boots, console=book.console_tail(), evidence=book.folder)
        book.failure = failure
    if book and error is not None:
        book.result = Result.FAILED if book.failure else Result.ERROR
        book.error = book.error or (None if book.failure else Problem.of(error))
    if book and call.when == "teardown":
        document = book.close()
        report.user_properties += junit_properties(book.boots)
        # Plain values: xdist carries no others from a worker to the terminal.
        setattr(report, _DOCUMENT, json.loads(json.dumps(document)))
    return report


def _path(book: EvidenceRecorder | None) -> Path | None:
    return book.folder if book else None


def _failure(excinfo: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> Failure:
    """The assertion as the scenario's author wrote it, with the line of the scenario that it stands in."""
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
        terminalreporter.section("what the disks did")
        writer = config.get_terminal_writer()
        terminalreporter.write_line(terminal.summary(documents, width=writer.fullwidth, color=writer.hasmarkup))
