"""The fixtures of the plugin, those that `harness.plugin` names, and their parts.

The rooms that do the work are imported by the fixture that needs them: `harness.plugin` says why.
"""
# ruff: noqa: PLC0415

import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar, cast

import pytest

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.attack.attacker import Attacker
    from harness.lab.laboratory import Laboratory, Options
    from harness.lab.machines import Machines
    from harness.lab.recorder import EvidenceRecorder
    from harness.lab.sealed import Sealed
    from harness.policy.policy import Policy
    from harness.services.hsm import Hsm
    from harness.services.keylime import Keylime
    from harness.services.tang import Tang
    from harness.services.verifier import Verifier

S = TypeVar("S")

TERMINAL = pytest.StashKey[TextIO]()
"""Of the config: the real standard error."""

RECORDER: "pytest.StashKey[EvidenceRecorder]" = pytest.StashKey()
"""Of a test: its evidence."""

INSTALLED = pytest.StashKey[dict[str, object]]()
"""Of a test: what its machine's installation took."""


@pytest.fixture
def repetition(request: pytest.FixtureRequest) -> int:
    """Which run of the scenario this is, counted from 1."""
    return int(getattr(request, "param", 1))


@pytest.fixture(scope="session")
def laboratory_options(request: pytest.FixtureRequest) -> "Options":
    """The options of this run, for people who want to override them in a conftest."""
    from harness.lab.laboratory import Options

    config = request.config
    return Options(
        accel=config.getoption("--lab-accel"),
        libvirt_uri=config.getoption("--lab-libvirt-uri"),
        console=config.getoption("--lab-console"),
        keep=config.getoption("--lab-keep"),
        hypervisor=config.getoption("--lab-hypervisor"),
        run_id=_run_id(config),
        terminal=config.stash.get(TERMINAL, sys.__stderr__ or sys.stderr),
    )


def _run_id(config: pytest.Config) -> str:
    workerinput = cast(Mapping[str, str], getattr(config, "workerinput", {}))
    return workerinput.get("testrunuid") or uuid.uuid4().hex


@pytest.fixture(scope="session")
def lab(laboratory_options: "Options") -> Iterator["Laboratory"]:
    """The laboratory: this host, prepared. What it lacks is said once, for every test that needs it."""
    from harness.lab.laboratory import prepared

    with prepared(laboratory_options) as ready:
        yield ready


@pytest.fixture
def recorder(request: pytest.FixtureRequest) -> "EvidenceRecorder":
    """The evidence of this test."""
    from harness.lab.recorder import EvidenceRecorder

    opened = EvidenceRecorder.open(
        Path(request.config.rootpath, request.config.getoption("--lab-artifacts")),
        request.node.nodeid,
        (request.node.obj.__doc__ or "").partition("\n")[0],
    )
    request.node.stash[RECORDER] = opened
    return opened


@pytest.fixture
def machines(request: pytest.FixtureRequest, recorder: "EvidenceRecorder", lab: "Laboratory") -> Iterator["Machines"]:
    """Makes any number of machines, each with a policy installed, that can be on at the same time."""
    from harness.lab.machines import Machines

    with Machines(lab, recorder, request.config.getoption("--lab-image"), request.path.parent) as machines:
        yield machines


@pytest.fixture
def sealed(request: pytest.FixtureRequest, recorder: "EvidenceRecorder") -> "Sealed":
    """A machine with the test's policy installed, which has opened by itself once; this test's own copy of it."""
    mark = request.node.get_closest_marker("policy")
    if mark is None or len(mark.args) != 1:
        raise UsageError(
            f"{request.node.nodeid} needs a machine and names no policy",
            hint='mark it: @pytest.mark.policy("tpm2-and-tang")',
        )
    image, policy = image_of(request.node), policy_of(request.node)
    recorder.installs(policy, image)
    # Only now: a mistake in the policy is told before the host is made ready.
    made: Machines = request.getfixturevalue("machines")
    machine = made.sealed(policy, image=image)
    request.node.stash[INSTALLED] = {"seconds": machine.entry.install_seconds, "key": machine.entry.folder.name}
    return machine


def image_of(item: pytest.Item) -> str:
    """The image that a test names, or that of this run.

    Raises:
        UsageError: Its mark names none.
    """
    mark = item.get_closest_marker("image")
    if mark and len(mark.args) != 1:
        raise UsageError(
            f"the mark image of {item.nodeid} names no image", hint='name one: @pytest.mark.image("debian-13")'
        )
    return str(mark.args[0] if mark else item.config.getoption("--lab-image"))


def policy_of(item: pytest.Item) -> "Policy":
    """The policy that a test's mark names.

    Raises:
        UsageError: There is none of that name, or it is wrong.
    """
    from harness.lab.policies import named_policy

    mark = item.get_closest_marker("policy")
    assert mark is not None
    return named_policy(mark.args[0], image_of(item), item.path.parent)


@pytest.fixture
def tangs(sealed: "Sealed") -> Mapping[str, "Tang"]:
    """The Tang servers of the sealed machine, by the name that its policy gives them."""
    return sealed.tangs


@pytest.fixture
def tang(sealed: "Sealed") -> "Tang":
    """The one Tang server of the sealed machine."""
    return _only(sealed.tangs, f"policy {sealed.policy.name} has not just one Tang server", "ask for the fixture tangs")


@pytest.fixture
def hsm(sealed: "Sealed") -> "Hsm":
    """The one HSM of the sealed machine."""
    return _only(sealed.hsms, f"policy {sealed.policy.name} has not just one HSM")


def _only(servers: Mapping[str, S], wrong: str, hint: str = "") -> S:
    if len(servers) != 1:
        raise UsageError(f"{wrong} but {', '.join(servers) or 'none'}", hint=hint)
    return next(iter(servers.values()))


@pytest.fixture
def verifier(sealed: "Sealed", recorder: "EvidenceRecorder") -> Iterator["Verifier"]:
    """A verifier that cuts machines off from the sealed machine's servers; `Sealed.reaching` puts it in reach."""
    from harness.machine.tpm import authorities
    from harness.services.verifier import serve_verifier

    with serve_verifier("verifier", authorities(), sealed.context.asked.values()) as served:
        yield served
        recorder.keep_log(served.name, served.raw_log)


@pytest.fixture
def keylime(sealed: "Sealed", recorder: "EvidenceRecorder") -> Iterator["Keylime"]:
    """Keylime, which cuts machines off from the sealed machine's servers; `Sealed.reaching` puts it in reach."""
    from harness.machine.tpm import authorities
    from harness.services.keylime import serve_keylime

    context = sealed.context
    with serve_keylime("keylime", authorities(), context.asked.values(), context.lab.progress) as served:
        yield served
        recorder.keep_log(served.name, served.raw_log)


@pytest.fixture
def attacker(request: pytest.FixtureRequest, sealed: "Sealed") -> "Attacker":
    """The attacker: knows no passphrase, and has what the test's mark grants."""
    from harness.attack.attacker import Attacker
    from harness.attack.grants import Grant, mark_line

    mark = request.node.get_closest_marker("attack")
    if mark is None:
        raise UsageError(
            "this scenario does not say what its attacker is granted",
            hint=f"mark it; for a disk: {mark_line([Grant.DISK])}",
        )
    return Attacker.of(sealed, mark.args)
