"""The HTML page: everything escaped, nothing fetched, and no artefact that can break it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import HostError, UsageError
from harness.evidence import artifacts, command
from harness.evidence.record import Boot, Failure, Problem, Result, Scenario, document
from harness.guest.outcome import Outcome, PinFailure, Seconds, Unlock
from harness.ownership import MARK

EVIL = "</pre></details><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[31m{{ 7*7 }}"
VOID = {"meta", "input"}
OUTCOME = Outcome(
    Unlock.PASSPHRASE_FALLBACK,
    EVIL,
    unlocked_by=frozenset({EVIL}),
    failures=(PinFailure(EVIL, EVIL, EVIL),),
    proofs=(EVIL,),
    prompts=1,
    typed_bytes=13,
    seconds=Seconds(20.0, 30.0, 50.0),
    pcrs={7: "65ca"},
    canary=EVIL,
    volumes={EVIL: Outcome(Unlock.AUTO, EVIL, unlocked_by=frozenset({EVIL}))},
)
BROKEN = Problem("RigError", EVIL, EVIL, EVIL)


@dataclass
class Page(HTMLParser):
    """The elements of a page, and whether they nest."""

    source: str
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    stack: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] != "style":
            self.text += data

    def links(self) -> list[str]:
        return [value for name, value in self.attributes if name == "href"]


def save(root: Path, scenario: Scenario) -> Path:
    folder = artifacts.open_folder(root, scenario.test)
    artifacts.save(folder, {artifacts.CONFIG_BU: "variant: fcos", "odd name?#%: x.log": "x"})
    artifacts.save_versions(folder, {"qemu": EVIL})
    console = f"start\r\n{EVIL}\r\nlab login:"
    for number, _ in enumerate(scenario.boots, 1):
        artifacts.save_boot(
            folder,
            f"boot-{number}",
            {artifacts.CONSOLE: console, artifacts.JOURNAL: f"clevis: {EVIL}\nnoise"},
        )
    artifacts.save_outcome(folder, scenario)
    return folder


def evil(result: Result = Result.FAILED, test: str = f"scenarios/test_x.py::test_x[{EVIL}]") -> Scenario:
    return Scenario(
        test,
        result,
        (Boot(OUTCOME, EVIL, EVIL, "boot-1"), Boot(BROKEN, EVIL, EVIL, "boot-2")),
        title=EVIL,
        policy=EVIL,
        image=EVIL,
        seconds=50.0,
        not_exercised=(EVIL, "the quadlet web.pod"),
        failure=Failure(EVIL, EVIL, EVIL) if result is Result.FAILED else None,
        error=Problem("HostError", EVIL, EVIL, EVIL) if result is Result.ERROR else None,
    )


def page(root: Path) -> Page:
    output = root / "report.html"
    assert command.main([str(root), "-o", str(output)]) == 0
    found = Page(output.read_text())
    assert found.stack == []
    return found


@pytest.mark.parametrize("result", list(Result))
def test_everything_a_guest_can_say_is_escaped(tmp_path: Path, result: Result) -> None:
    save(tmp_path, evil(result))
    found = page(tmp_path)
    assert not {"script", "img", "link", "iframe"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    assert "49" not in re.findall(r"\b49\b", found.text)
    assert "\x1b" not in found.source
    assert found.text.count("<script>alert(1)</script>") > 15


def test_what_no_boot_showed_is_one_paragraph(tmp_path: Path) -> None:
    save(tmp_path, evil())
    assert re.search(r"Not exercised here: .*; the quadlet web\.pod\.", page(tmp_path).text, re.DOTALL)


def test_nothing_is_fetched(tmp_path: Path) -> None:
    save(tmp_path, evil())
    found = page(tmp_path)
    assert not re.search(r"url\(|@import|https?://", found.source)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in found.attributes


def test_links_lead_to_the_evidence_from_wherever_the_page_is(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "artifacts", tmp_path / "pages"
    elsewhere.mkdir()
    save(root, evil())
    assert command.main([str(root), "--output", str(elsewhere / "x.html")]) == 0
    links = Page((elsewhere / "x.html").read_text()).links()
    assert all(link.startswith("./../artifacts/") for link in links)
    files = {(elsewhere / unquote(urlsplit(link).path)).resolve() for link in links}
    assert all(path.is_file() for path in files)
    names = {path.name for path in files}
    assert names == {"console.log", "journal.log", "config.bu", "odd name?#%: x.log", "versions.json", "outcome.json"}


def test_a_boots_time_line_is_to_scale(tmp_path: Path) -> None:
    quick = Boot(Outcome(Unlock.AUTO, "", seconds=Seconds(10.0, None, 25.0)))
    save(tmp_path, Scenario("t.py::slow", Result.PASSED, (Boot(OUTCOME),)))
    save(tmp_path, Scenario("t.py::quick", Result.PASSED, (quick,)))
    found = page(tmp_path)
    widths = [value for name, value in found.attributes if name == "style" and value.startswith("width")]
    assert widths[:4] == ["width:20.000%", "width:30.000%"] * 2
    assert widths[4:7] == ["width:40.000%", "width:20.000%", "width:40.000%"]
    assert "2 scenarios, all as the policy promises" in found.text
    assert "75 seconds of machine time" in found.text


def test_totals_and_order(tmp_path: Path) -> None:
    save(tmp_path, Scenario("t.py::test_good", Result.PASSED, (Boot(OUTCOME),)))
    save(tmp_path, Scenario("t.py::test_bad", Result.FAILED, (Boot(OUTCOME),), failure=Failure("was open")))
    save(tmp_path, Scenario("t.py::test_ill", Result.ERROR, (Boot(BROKEN),)))
    text = page(tmp_path).text
    assert "1 of 3 scenarios passed" in text
    assert text.index("test_bad") < text.index("was open") < text.index("test_ill") < text.index("test_good")
    assert re.search(r"no verdict\s+1", text)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"schema": 1, "te', b"\xff\xfe", b"[]", b'{"schema": 99}', b"[" * 100_000, b'{"schema": NaN}', None],
)
def test_a_corrupt_document_is_a_row_that_says_so(tmp_path: Path, content: bytes | None) -> None:
    folder = save(tmp_path, evil())
    save(tmp_path, Scenario("t.py::test_good", Result.PASSED, (Boot(OUTCOME),)))
    (folder / "outcome.json").unlink()
    if content is not None:
        (folder / "outcome.json").write_bytes(content)
    (folder / "versions.json").write_bytes(b"{")
    found = page(tmp_path)
    assert "1 of 2 scenarios passed" in found.text
    assert re.search(r"unreadable\s+1", found.text)
    assert folder.name in found.text
    assert any("/boot-1/console.log" in link for link in found.links())
    assert "Traceback" not in found.text


@pytest.mark.parametrize("name", ["../.other", "..", ".", "/etc", "boot-1/../..", "a\0b", "\ud800", "n" * 5000, ""])
def test_a_document_cannot_show_another_folder(tmp_path: Path, name: str) -> None:
    artifacts.claimed_root(tmp_path)
    (tmp_path / ".other").mkdir()
    (tmp_path / ".other" / "console.log").write_text("not yours")
    save(tmp_path, Scenario("t.py::test_x", Result.PASSED, (Boot(OUTCOME, evidence=name),)))
    found = page(tmp_path)
    assert "not yours" not in found.text
    assert not [link for link in found.links() if link.endswith("console.log")]


def test_pipes_in_the_place_of_evidence_keep_nobody_waiting(tmp_path: Path) -> None:
    folder = save(tmp_path, evil())
    for path in [*folder.glob("*.json"), *folder.glob("boot-*/*"), folder / "attacker-pcrs.json"]:
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    found = page(tmp_path)
    assert re.search(r"unreadable\s+1", found.text)
    assert "it is no regular file" in found.text


def test_other_things_in_the_folder_do_no_harm(tmp_path: Path) -> None:
    artifacts.claimed_root(tmp_path)
    (tmp_path / "bench.json").write_text("{}")
    (tmp_path / ".test_x.part").mkdir()
    assert "Nothing has run yet" in page(tmp_path).text


def test_an_odd_time_is_left_out(tmp_path: Path) -> None:
    folder = save(tmp_path, Scenario("t.py::test_x", Result.PASSED))
    for started in ("yesterday", "2025-03-01T12:00:00", "2025-03-01T13:00:00+01:00"):
        value = document(Scenario("t.py::test_x", Result.PASSED)) | {"started": started}
        (folder / "outcome.json").write_text(json.dumps(value))
        assert ("2025-03-01 12:00 UTC" in page(tmp_path).text) == (started != "yesterday")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_no_document_can_break_the_page(tmp_path: Path, data: st.DataObject) -> None:
    """Any value at any place of the document: a row, whether or not the schema lets it through."""
    folder = tmp_path / "t"
    (folder / "boot-1").mkdir(parents=True, exist_ok=True)
    value = json.loads(json.dumps(document(evil())))
    place = value
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    (folder / "outcome.json").write_text(json.dumps(value))
    assert page(tmp_path).text


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder") as caught:
        command.main([str(tmp_path / "none")])
    assert "run scenarios first" in caught.value.hint


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be written"):
        command.main([str(tmp_path), "-o", str(tmp_path / "no" / "x.html")])


def test_the_page_goes_beside_the_evidence_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", MARK}
    assert command.main([str(tmp_path)]) == 0, "a page of ours is replaced"


def test_a_good_boot_and_the_attackers_are_laid_side_by_side(tmp_path: Path) -> None:
    folder = save(tmp_path, evil())
    good, bad = {"0": "aa" * 32, "7": "bb" * 32}, {"0": "aa" * 32, "7": "cc" * 32, "9": EVIL}
    for name, values in (("boot-1/pcrs.json", good), ("attacker-pcrs.json", bad)):
        (folder / name).write_text(json.dumps(values))
    (folder / "boot-2" / "pcrs.json").write_text("[1]")
    found = page(tmp_path)
    assert ("class", "attacks pcrs mono") in found.attributes
    assert found.attributes.count(("class", "other")) == 2, "PCR 7 differs, and nobody but the attacker extended PCR 9"
    assert "script" not in found.tags


def test_one_power_on_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    folder = save(tmp_path, evil())
    (folder / "boot-1" / "pcrs.json").write_text('{"0": "aa"}')
    assert ("class", "attacks pcrs mono") not in page(tmp_path).attributes


def test_a_test_that_runs_is_a_row_of_its_own_kind(tmp_path: Path) -> None:
    save(tmp_path, Scenario("t.py::test_runs", Result.UNFINISHED, (Boot(OUTCOME),)))
    save(tmp_path, Scenario("t.py::test_good", Result.PASSED, (Boot(OUTCOME),)))
    found = page(tmp_path)
    assert "1 of 2 scenarios passed" in found.text
    assert re.search(r"unfinished\s+1", found.text)
    assert "under way, or cut off before its end" in found.text
    assert not re.search(r"unreadable\s+1", found.text)


def test_a_page_goes_into_no_folder_of_another_purpose(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0")
    with pytest.raises(UsageError, match=f"{tmp_path} is not ours"):
        command.main([str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["passwd"]


def test_a_page_replaces_no_file_but_a_page(tmp_path: Path) -> None:
    mine = tmp_path / "thesis.html"
    mine.write_text("<!DOCTYPE html><h1>mine</h1>")
    (tmp_path / "root").mkdir()
    with pytest.raises(UsageError, match=f"{mine} is not ours to replace"):
        command.main([str(tmp_path / "root"), "-o", str(mine)])
    assert mine.read_text() == "<!DOCTYPE html><h1>mine</h1>"


def test_an_installation_that_passed_is_no_scenario(tmp_path: Path) -> None:
    save(tmp_path, Scenario("install::tpm2-debian-13", Result.PASSED, (Boot(OUTCOME),)))
    assert "No scenario has run yet" in page(tmp_path).text
    save(tmp_path, Scenario("install::tang-debian-13", Result.ERROR, (Boot(BROKEN),)))
    save(tmp_path, Scenario("t.py::test_good", Result.PASSED, (Boot(OUTCOME),), "``clevis luks edit``: it opens."))
    text = page(tmp_path).text
    assert "1 of 2 scenarios passed" in text
    assert "1 installation, 3 boots" in text
    assert re.search(r"all\s+3", text)
    assert "\nclevis luks edit: it opens." in text


def test_what_comes_with_the_harness_is_read_in_a_locale_that_is_not_utf_8() -> None:
    """Where Python was told to take the locale's encoding, which is ASCII in the locale C."""
    told = "from harness.evidence import record\nfrom harness.host import requirement\n"
    told += "record.schema(), requirement.requirements()"
    subprocess.run(
        [sys.executable, "-c", told],
        env=os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        check=True,
    )
