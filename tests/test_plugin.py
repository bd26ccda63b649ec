"""The plugin in a pytest of its own: what is shown, counted and left behind, with no machine."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

import harness.api.attack
from harness.evidence.report import render
from harness.paths import CHECKOUT

# Pytester forgets what a test imports, and numpy can be loaded once a process: so all that scenarios import is here.
assert harness.api.attack

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from harness.api import Outcome, RigError, Unlock
from harness.evidence.record import Boot, Problem
from harness.lab.power import recorded

class Stub:
    def __init__(self, recorder):
        self.recorder = recorder
        self.name = "stub"

    def boot(self, outcome):
        with recorded(self.recorder, "boot", self) as record:
            (record.folder / "console.log").write_text("the last words of the console\\n")
            if isinstance(outcome, Exception):
                raise outcome
            record.outcome = outcome
        return outcome

@pytest.fixture
def sealed(recorder):
    return Stub(recorder)
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST)
    return pytester


def scenario(body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return (
        "from harness.api import *\nfrom harness.api.attack import *\n\n"
        f'def test_it(sealed):\n    """A sentence."""\n{lines}\n'
    )


def document(pytester: pytest.Pytester) -> dict[str, object]:
    (path,) = pytester.path.glob("artifacts/*/outcome.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


def test_a_passed_scenario_leaves_its_outcome_and_a_row(run: pytest.Pytester) -> None:
    run.makepyfile(scenario('sealed.boot(Outcome(Unlock.AUTO, "the pins answered", unlocked_by=frozenset({"tang"})))'))
    result = run.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*what the disks did*", "*test_it*", "*auto-unlock*by tang*"])
    assert document(run)["result"] == "passed"


def test_a_failed_assertion_shows_the_reason_first_and_no_traceback(run: pytest.Pytester) -> None:
    run.makepyfile(
        scenario(
            'outcome = sealed.boot(Outcome(Unlock.LOCKED, "it stayed shut"))\nassert outcome.unlock is Unlock.AUTO'
        )
    )
    result = run.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*_ test_it _*", "assert*", "*outcome.unlock is Unlock.AUTO", "boot 1*it stayed shut*", "*the last words*"]
    )
    result.stdout.no_fnmatch_line("*harness/lab*")
    failure = document(run)["failure"]
    assert isinstance(failure, dict)
    assert failure["text"] == "assert outcome.unlock is Unlock.AUTO"
    assert failure["source"].endswith(".py:7")


def test_an_exception_that_was_expected_and_did_not_come_is_a_failure_and_no_error(run: pytest.Pytester) -> None:
    body = 'with pytest.raises(OSError):\n    sealed.boot(Outcome(Unlock.AUTO, "it opened"))'
    run.makepyfile("import pytest\n" + scenario(body))
    run.runpytest_inprocess().assert_outcomes(failed=1)
    found = document(run)
    assert (found["result"], found["error"]) == ("failed", None)
    assert isinstance(found["failure"], dict)
    assert found["failure"]["text"] == "with pytest.raises(OSError):"
    assert "DID NOT RAISE" in found["failure"]["reason"]


def test_a_broken_rig_is_an_error_and_not_a_failure(run: pytest.Pytester) -> None:
    run.makepyfile(scenario('sealed.boot(RigError("QEMU died", "its last line", "look at qemu.log"))'))
    result = run.runpytest_inprocess("--junitxml=junit.xml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["RigError: QEMU died", "*its last line*", "*look at qemu.log*"])
    assert document(run)["result"] == "error"
    (suite,) = ET.parse(run.path / "junit.xml").getroot()
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")


def test_a_run_that_is_interrupted_leaves_no_test_that_passed(run: pytest.Pytester) -> None:
    run.makepyfile(scenario('sealed.boot(Outcome(Unlock.AUTO, "yes"))\nraise KeyboardInterrupt'))
    run.runpytest_subprocess()
    assert document(run)["result"] == "unfinished"


def test_a_test_that_fails_while_it_is_taken_down_did_not_pass(run: pytest.Pytester) -> None:
    run.makepyfile(
        "import pytest\n\n@pytest.fixture\ndef broken(sealed):\n    yield\n    raise ValueError('at the end')\n\n"
        "def test_it(sealed, broken):\n    pass\n"
    )
    run.runpytest_inprocess().assert_outcomes(passed=1, errors=1)
    assert document(run)["result"] == "error"


def test_a_scenario_that_skips_itself_is_no_error_and_did_not_pass(run: pytest.Pytester) -> None:
    run.makepyfile(scenario('import pytest\nsealed.boot(Outcome(Unlock.AUTO, "yes"))\npytest.skip("no such device")'))
    result = run.runpytest_inprocess()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["skipped: no verdict*(1)", "1 scenario, 1 boot: 1 skipped"])
    found = document(run)
    assert found["result"] == "skipped"
    assert found["error"] == {"kind": "Skipped", "what": "no such device", "detail": "", "hint": ""}
    assert "no such device" in render(run.path / "artifacts", run.path)


def test_what_breaks_after_a_skip_is_an_error(run: pytest.Pytester) -> None:
    run.makepyfile(
        "import pytest\n\n@pytest.fixture\ndef broken(sealed):\n    yield\n    raise ValueError('at the end')\n\n"
        "def test_it(sealed, broken):\n    pytest.skip('no such device')\n"
    )
    run.runpytest_inprocess().assert_outcomes(skipped=1, errors=1)
    found = document(run)
    assert found["result"] == "error"
    assert isinstance(found["error"], dict)
    assert found["error"]["what"] == "at the end"


def test_the_evidence_of_an_installation_that_failed_is_the_installation_s(run: pytest.Pytester) -> None:
    """The test that needs the machine has none of its own."""
    run.makepyfile(scenario('sealed.boot(RigError("it was not installed", evidence="artifacts/install-x"))'))
    run.runpytest_inprocess().stdout.fnmatch_lines(["*evidence*artifacts/install-x*"])


def test_two_workers_bring_their_outcomes_to_one_table(run: pytest.Pytester) -> None:
    run.makepyfile(
        test_one=scenario('sealed.boot(Outcome(Unlock.AUTO, "yes"))'),
        test_two=scenario('sealed.boot(Outcome(Unlock.REFUSED, "no"))'),
        test_attack=scenario('sealed.recorder.attack_begins({Grant.DISK})\nsealed.boot(Outcome(Unlock.LOCKED, "no"))'),
    )
    result = run.runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines_random(["*auto-unlock*", "*refused*", "*locked*", "3 scenarios, 3 boots: 3 passed"])


def test_junit_has_the_outcome_as_properties(run: pytest.Pytester) -> None:
    run.makepyfile(scenario('sealed.boot(Outcome(Unlock.AUTO, "yes", typed_bytes=0))'))
    run.runpytest_inprocess("--junitxml=junit.xml")
    properties = {node.get("name"): node.get("value") for node in ET.parse(run.path / "junit.xml").iter("property")}
    assert properties["boot-1.unlock"] == "auto-unlock"
    assert not any("{" in (value or "") for value in properties.values())


SECRET = """
from harness.paths import POLICIES
from harness.policy.butane import read_policy
policy = read_policy(POLICIES / "tang.bu")
canary = "-".join(("a", "canary", "of", "this", "test"))
sealed.recorder.hide_secrets(policy, {policy.volumes[0].name: canary})
"""


@pytest.mark.parametrize("end", ["assert canary == 'another'", "sealed.boot(RigError('it died', f'it said {canary}'))"])
def test_what_a_machine_keeps_secret_is_not_told_in_the_terminal_either(run: pytest.Pytester, end: str) -> None:
    run.makepyfile(scenario(SECRET + end))
    result = run.runpytest_inprocess("--junitxml=junit.xml")
    result.stdout.fnmatch_lines(["*[[]canary of var]*"])
    assert "a-canary-of-this-test" not in result.stdout.str() + (run.path / "junit.xml").read_text()


def test_an_unknown_policy_says_where_it_was_looked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        'import pytest\n@pytest.mark.policy("no-such")\ndef test_it(sealed):\n    raise AssertionError("it ran")\n'
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["UsageError: there is no policy 'no-such'", "*looked for*", "hint: write that Butane file*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_scenario_without_a_policy_is_told_how_to_name_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(sealed):\n    pass\n")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["UsageError: *", "*names no policy", "hint: mark it*"])


def test_an_attacker_with_nothing_said_of_grants_is_told_how_to_say_it(run: pytest.Pytester) -> None:
    run.makepyfile("def test_it(sealed, attacker):\n    pass\n")
    result = run.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["UsageError: *what its attacker is granted", "hint: *@pytest.mark.attack(Grant.DISK)"])


def test_attacks_can_be_selected(run: pytest.Pytester) -> None:
    body = scenario('sealed.boot(Outcome(Unlock.AUTO, "yes"))')
    run.makepyfile(test_one=body, test_two=body.replace("def test", "import pytest\n@pytest.mark.attack()\ndef test"))
    run.runpytest_inprocess("-m", "attack").assert_outcomes(passed=1, deselected=1)


def test_a_mark_without_an_argument_ends_no_ones_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import pytest\n@pytest.mark.policy()\ndef test_a(sealed):\n    pass\n"
        '@pytest.mark.policy("tang")\n@pytest.mark.image()\ndef test_b(sealed):\n    pass\n'
        "@pytest.mark.policy()\n@pytest.mark.image()\ndef test_c():\n    pass\n"
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stdout.fnmatch_lines_random(["*names no policy", "*names no image"])


def test_the_evidence_goes_where_pytest_was_called_whatever_its_rootdir(run: pytest.Pytester) -> None:
    other = run.mkdir("elsewhere")
    (other / "pytest.ini").write_text("[pytest]\n")
    (run.path / "conftest.py").rename(other / "conftest.py")
    (other / "test_one.py").write_text(scenario('sealed.boot(Outcome(Unlock.AUTO, "yes"))'))
    run.runpytest_inprocess("elsewhere/test_one.py").assert_outcomes(passed=1)
    assert document(run)["result"] == "passed"


def test_a_cache_of_pytest_that_cannot_be_written_loses_no_verdict(run: pytest.Pytester) -> None:
    """Our own tests take warnings as errors; a scenario of others does not."""
    run.makepyfile(scenario('sealed.boot(Outcome(Unlock.AUTO, "yes"))'))
    (run.path / ".pytest_cache").write_text("a file, where the folder should be")
    assert CHECKOUT
    assert "filterwarnings" not in (CHECKOUT / "pyproject.toml").read_text(), "it would reach scenarios"
    result = run.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*what the disks did*", "*test_it*"])


FOREIGN = """
import pytest

@pytest.fixture
def policies():
    return []

@pytest.mark.policy("tang")
def test_a(policies):
    pass

@pytest.mark.policy(1, retries=2)
def test_b():
    pass

def test_c():
    pass

@pytest.mark.policy("side-by-side")
def test_d():
    pass
"""


@pytest.mark.parametrize("machines", ["0", "9" * 5000, "2"])
def test_a_project_with_marks_of_these_names_is_left_alone(
    machines: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", machines)
    pytester.makepyfile(FOREIGN)
    result = pytester.runpytest_inprocess("-v", "-W", "error")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines([f"*::test_{name} *" for name in "abcd"])
    result.stdout.no_fnmatch_line("*in * machine*")


def test_a_wrong_number_of_machines_is_told_once_there_is_a_scenario(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "0")
    run.makepyfile('import pytest\n\n@pytest.mark.policy("tang")\ndef test_it(sealed):\n    pass\n')
    result = run.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: UNLOCK_LAB_MACHINES: '0' is no number from 1 to 9999", "hint: *"])


def test_workers_of_another_project_need_no_folder_of_ours(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the place of the folder for what is under way lies what is not ours."""
    (pytester.path / f"unlock-lab-tmp-{os.geteuid()}").touch()
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    pytester.makepyfile(FOREIGN)
    pytester.runpytest_subprocess("-n", "1").assert_outcomes(passed=4)


def test_loading_it_imports_no_room_that_does_the_work() -> None:
    """Every pytest of its environment loads it, also where no scenario is."""
    heavy = (
        "libvirt",
        "docker",
        "paramiko",
        "rich",
        "jinja2",
        "yaml",
        "harness.lab",
        "harness.attack",
        "harness.evidence",
    )
    told = f"import sys, harness.plugin; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
