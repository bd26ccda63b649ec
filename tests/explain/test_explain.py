"""`unlock-lab explain`: what it says of the project's own policies, and of files that name their servers otherwise."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from harness import explain
from harness.defaults import IMAGE
from harness.errors import UsageError
from harness.explain import command
from harness.explain.advice import advice
from harness.explain.attackers import ATTACKERS, with_tang_keys
from harness.explain.situations import SCENARIOS, situations
from harness.matrix.conditions import all_conditions
from harness.paths import PACKAGE, POLICIES
from harness.policy.butane import read_policy
from harness.unlock import Unlock

FILES = sorted(POLICIES.glob("*.bu"))
SCHEMA = json.loads((Path(explain.__file__).parent / "explain.schema.json").read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_the_document_is_as_the_schema_says_and_no_boot_contradicts_it(file: Path) -> None:
    document = [command.explained(file, "debian-13").document()]
    jsonschema.validate(json.loads(json.dumps(document)), SCHEMA)
    lines = [line for volume in document[0]["volumes"] for line in (*volume["conditions"], *volume["attackers"])]
    assert [line for line in lines if line["recorded"]["contradicted"]] == []


@pytest.mark.parametrize(
    "scenario", [*SCENARIOS.values(), *(kind.scenario for kind in (*ATTACKERS, with_tang_keys(frozenset())))]
)
def test_each_scenario_that_is_named_is_there(scenario: str) -> None:
    file, _, function = scenario.partition("::")
    tree = ast.parse((PACKAGE.parent / "scenarios" / file).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_condition_that_has_a_scenario_is_one() -> None:
    assert SCENARIOS.keys() <= {condition.name for condition in all_conditions()}


@pytest.mark.parametrize(("policy", "asked"), [("tang", False), ("two-of-three-tangs", True)])
def test_no_binding_is_made_to_a_server_that_nobody_knows(policy: str, asked: bool) -> None:
    """`rebound` makes every binding to the server called tang one to the server called two."""
    found = [each.name for each in situations(read_policy(POLICIES / f"{policy}.bu"), root=False)]
    assert ("rebound" in found) is asked


def renamed(tmp_path: Path) -> Path:
    """Two of three Tang servers, by names that no list has."""
    text = (POLICIES / "two-of-three-tangs.bu").read_text()
    names = {"three": "oslo", "two": "rome"}
    text = re.sub(r"@TANG_(URL|THUMBPRINT):(\w+)@", lambda found: f"@TANG_{found[1]}:{names[found[2]]}@", text)
    text = re.sub(r"@TANG_(URL|THUMBPRINT)@", r"@TANG_\1:paris@", text)
    path = tmp_path / "mine.bu"
    path.write_text(text)
    return path


def test_a_strangers_names_find_the_boots_of_their_like(tmp_path: Path) -> None:
    ours = command.explained(POLICIES / "two-of-three-tangs.bu", "debian-13").volumes[0].conditions
    theirs = command.explained(renamed(tmp_path), "debian-13").volumes[0].conditions
    ours_of = {line.condition: line for line in ours}
    assert ours_of["without two"].recorded.confirmed > 0
    theirs_of = {line.condition: line for line in theirs}
    assert theirs_of["without rome"].recorded == ours_of["without two"].recorded
    assert theirs_of["without rome"].unlock is ours_of["without two"].unlock
    assert theirs_of["without paris+oslo"].recorded == ours_of["without tang+three"].recorded


def test_no_boot_is_claimed_for_a_shape_that_was_never_booted(tmp_path: Path) -> None:
    path = tmp_path / "mine.bu"
    path.write_text((POLICIES / "two-of-three-tangs.bu").read_text().replace("threshold: 2", "threshold: 3"))
    said = command.explained(path, "debian-13").volumes[0].conditions
    assert {line.recorded.confirmed for line in said} == {0}


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("tpm2-tang-no-threshold", "the threshold is 1"),
        ("tpm2-or-tang", "the threshold is 1"),
        ("tpm2", "bound to no PCR"),
        ("tpm2-pcr7", "PCR 7 tells by whose key"),
        ("seed-000", "stays in a keyslot beside clevis's"),
        ("passphrase", "lies in the clear under /etc/luks"),
    ],
)
def test_what_an_owner_must_hear_comes_first_with_its_source(policy: str, text: str) -> None:
    found = [each for each in advice(read_policy(POLICIES / f"{policy}.bu")) if text in each.text]
    assert found and all(each.source for each in found)


@pytest.mark.parametrize(("policy", "text"), [("tpm2-and-tang", "the threshold is 1"), ("tang", "bound to no PCR")])
def test_nothing_is_warned_of_that_is_not_so(policy: str, text: str) -> None:
    assert not [each for each in advice(read_policy(POLICIES / f"{policy}.bu")) if text in each.text]


def test_where_the_tpm_alone_opens_nothing_no_threshold_is_warned_of(tmp_path: Path) -> None:
    """Of two groups of which both must answer, one may well be a TPM or a server."""
    path = tmp_path / "mine.bu"
    text = (POLICIES / "tpm2-and-tang.bu").read_text()
    tang = '{"url": "@TANG_URL@"}'
    groups = f'[{{"pins": {{"tang": {tang}, "tpm2": {{}}}}}}, {{"pins": {{"tang": {tang}}}}}]'
    section = f'clevis:\n        custom: {{pin: sss, config: \'{{"t": 2, "pins": {{"sss": {groups}}}}}\'}}\n'
    path.write_text(re.sub(r"clevis:\n(?: {8}.*\n)+", section, text))
    assert not [each for each in advice(read_policy(path)) if "threshold is 1" in each.text]


def test_without_neednet_fedora_coreos_asks_and_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mine.bu"
    path.write_text((POLICIES / "tang.bu").read_text().replace("rd.neednet=1", "quiet"))
    assert any("rd.neednet=1" in each.text for each in advice(read_policy(path)))


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        ("tpm-absent=passphrase-fallback", 0),
        ("var:tpm-absent=passphrase-fallback", 0),
        ("tpm-absent=auto-unlock", 1),
        ("machine-stolen=resisted", 0),
        ("machine-stolen=extracted", 1),
        ("no-such-condition=auto-unlock", 1),
        ("srv:tpm-absent=passphrase-fallback", 1),
    ],
)
def test_the_status_says_whether_it_is_as_expected(
    expected: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(POLICIES / "tpm2-and-tang.bu"), "--json", "--expect", expected]) == status
    assert ("✗" in capsys.readouterr().err) is bool(status)


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("tpm-absnt=locked", "there is no tpm-absnt to ask about, only present, tpm-absent,"),
        ("srv:tpm-absent=locked", "there is no volume srv, only var\n"),
    ],
)
def test_an_expectation_of_what_there_is_not_says_what_there_is(
    expected: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([str(POLICIES / "tpm2-and-tang.bu"), "--expect", expected])
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("text", ["tpm-absent", "tpm-absent=opens", "=auto-unlock", "a:b:c=locked"])
def test_an_expectation_that_is_none_is_told_before_anything_else(text: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        command.expectation(text)


def test_the_page_holds_warnings_tree_conditions_and_attackers(tmp_path: Path) -> None:
    page = tmp_path / ".page.html"
    assert command.main([str(POLICIES / "seed-000.bu"), "--html", str(page)]) == 0
    text = page.read_text()
    for wanted in ("bound to no PCR", "both of", Unlock.PASSPHRASE_FALLBACK.value, "extracted", "resisted"):
        assert wanted in text
    assert "<script" not in text


def test_what_a_page_quotes_is_text_and_in_order() -> None:
    told = command.explained(POLICIES / "tang.bu", IMAGE)
    text = command.page([replace(told, facts=("<script>x\u202ey\x1b[31m",))])
    assert "&lt;script&gt;xy</p>" in text


def test_a_page_takes_the_place_of_its_own_kind_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, arguments = tmp_path / "page.html", [str(POLICIES / "tang.bu"), "--html", str(tmp_path / "page.html")]
    page.write_text("<title>a page of the user's</title>")
    with pytest.raises(UsageError, match=f"{page} is not ours to replace"):
        command.main(arguments)
    assert page.read_text() == "<title>a page of the user's</title>"
    assert not capsys.readouterr().out, "told before the answers"
    page.unlink()
    page.mkdir()
    with pytest.raises(UsageError, match=f"{page} is not ours to replace"):
        command.main(arguments)
    page.rmdir()
    assert command.main(arguments) == command.main(arguments) == 0


def test_of_a_file_without_a_passphrase_nothing_is_asked_that_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.bu"
    text = (POLICIES / "tpm2.bu").read_text()
    path.write_text(re.sub(r"\n +key_file:\n +inline: .*", "", text))
    (volume,) = command.explained(path, "debian-13").volumes
    said = {line.condition: line.unlock for line in volume.conditions}
    assert said["tpm-absent"] is Unlock.LOCKED
    assert not {"regenerated", "threshold-edited"} & said.keys()


@pytest.mark.parametrize(
    "attack", sorted({name for kind in (*ATTACKERS, with_tang_keys(frozenset())) for name in kind.attacks})
)
def test_each_attack_that_is_evidence_is_a_scenario(attack: str) -> None:
    function = f"def test_{attack.replace('-', '_')}("
    assert any(function in file.read_text() for file in (PACKAGE.parent / "scenarios").glob("test_attack_*.py"))


def test_recorded_attacks_are_told_of_the_attacker_with_those_grants() -> None:
    (volume,) = command.explained(POLICIES / "tang.bu", "debian-13").volumes
    recorded = {line.attacker: line.recorded for line in volume.attackers}
    assert recorded["disk-cloned-at-home"].confirmed > 0
    assert recorded["tang-keys-stolen"].confirmed > 0
    assert recorded["bus-sniffer"].confirmed == 0
