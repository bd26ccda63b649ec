"""Two opinions on each file: ours, and what the real Butane or ignition-validate said of it (`make corpus`).

Where the real ones take a file, we make the same config of it, or a reason for refusing it stands in `STRICTER`; where
they refuse it, we do.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from policy.corpus import opinions

from harness.errors import UsageError
from harness.policy import urls
from harness.policy.butane import Understood, understand
from harness.policy.merge import elsewhere

SAID: dict[str, dict[str, Any]] = json.loads(opinions.OPINIONS.read_text())
TEXTS = dict(opinions.texts())

STRICTER = {
    r"unknown key; |came with (Butane|a later spec)|has no such key": "they warn of an unused key and drop it; what it "
    "was to do would not be tested, and nobody would know",
    r"expected a whole number, found '\d+\.0'": "they take the fraction off; a mode or a size with one is a slip",
    r"no method: it needs tpm2|no pin: it needs": "they make nothing of it: what its owner thinks is encrypted is not",
    r"a partition number is 1 to 128|cannot be negative": "they leave it to sgdisk, which fails in the first boot",
    r"a threshold of \d+ can never be reached": "they leave it to clevis, which fails in the first boot",
    r"is not a pin that Ignition takes": "spec 3.4.0 takes any; the guest's clevis has no other, and binding fails",
    r"not JSON: the key \w+ is there twice": "clevis would take the last one alone",
    r"thp is missing: clevis would ask": "they do not look into a custom pin; clevis would ask a person",
    r"expected an http or https url or a placeholder": "they do not look into a custom pin; curl would fail",
    r"once merged: storage.luks\[\d\].device: the device": "each config alone is right; the first boot fails",
    r"is not the hash of the contents": "they do not compare; Ignition stops in the first boot",
    r"target is missing": "Butane fcos 1.0.0 took a link to nowhere, and Ignition makes one",
}
"""What we refuse and they take: our mistake, and why it is one."""

VERSION_ALONE = {
    "flatcar-tang.bu": "the experimental spec after 3.6.0: no Ignition that is released takes it, so the newest stands",
}
"""Files of which only the spec's number differs."""


def plain(value: Any) -> Any:
    """A config with its data URLs unpacked: two packers give different bytes for the same contents."""
    if isinstance(value, dict):
        if str(value.get("source", "")).startswith("data:"):
            data = urls.decode(value["source"])
            packed = value.get("compression") == "gzip"
            value = {**value, "source": urls.unpack(data) if packed else data, "compression": None}
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def number_aside(config: Any) -> Any:
    return {**config, "ignition": {**config["ignition"], "version": None}}


def stops(said: dict[str, Any]) -> bool:
    """Whether Ignition stops at the configs that a file names; those that would be fetched aside."""
    return said["rendered"] is None and not any("would be fetched" in message for message in said["rendering"])


def bare(config: Any) -> Any:
    """A config without what says nothing, and without the configs that are merged in it."""

    def said(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {key: said(item) for key, item in value.items()}
            return {key: item for key, item in inner.items() if item not in ({}, [], None)}
        return [said(item) for item in value] if isinstance(value, list) else value

    return said(plain({**config, "ignition": {**config["ignition"], "config": None}}))


def ours(folder: Path, name: str) -> tuple[Understood | None, list[str]]:
    """What we make of a file, or None, and our mistakes."""
    path = folder / (name if name.endswith((".bu", ".ign")) else "generated.bu")
    path.write_text(TEXTS[name])
    try:
        return understand(path), []
    except UsageError as error:
        return None, re.findall(rf"^{re.escape(path.name)}:\d+: (.*)$", str(error), re.MULTILINE) or [str(error)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the corpus's files name."""
    folder = tmp_path_factory.mktemp("corpus") / "files"
    shutil.copytree(opinions.FILES, folder)
    return folder


def test_every_file_has_an_opinion_about_the_text_that_it_has() -> None:
    assert {name: opinions.digest(text) for name, text in TEXTS.items()} == {
        name: s["of"] for name, s in SAID.items()
    }, "run `make corpus` where Go's module proxy answers"


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_means_what_the_real_ones_say_that_it_means(folder: Path, name: str) -> None:
    understood, mistakes = ours(folder, name)
    theirs = SAID[name]["config"]
    if theirs is None or ("rendered" in SAID[name] and stops(SAID[name])):
        assert understood is None, SAID[name]["said"]
    elif understood is None:
        unexplained = [mistake for mistake in mistakes if not any(re.search(known, mistake) for known in STRICTER)]
        assert unexplained == []
    elif name in VERSION_ALONE:
        assert plain(number_aside(understood.translated)) == plain(number_aside(theirs))
    else:
        assert plain(understood.translated) == plain(theirs)


@pytest.mark.parametrize("name", [name for name, said in SAID.items() if "rendered" in said])
def test_what_a_file_names_is_merged_as_ignition_merges_it(folder: Path, name: str) -> None:
    understood, mistakes = ours(folder, name)
    if stops(SAID[name]):
        assert understood is None, SAID[name]["rendering"]
    elif understood is None:
        assert [mistake for mistake in mistakes if not any(re.search(known, mistake) for known in STRICTER)] == []
    elif SAID[name]["rendered"] is None:
        assert elsewhere(understood.config)
    else:
        assert bare(number_aside(understood.config)) == bare(number_aside(SAID[name]["rendered"]))


def test_every_reason_for_being_stricter_is_used(folder: Path) -> None:
    told = [mistake for name in TEXTS if SAID[name]["config"] is not None for mistake in ours(folder, name)[1]]
    assert [known for known in STRICTER if not any(re.search(known, mistake) for mistake in told)] == []
