"""Secrets are taken out of the evidence, however a config encodes them."""

import base64
import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence.scrub import scrubbed_config, scrubbed_document, scrubbed_log
from harness.lab.recorder import EvidenceRecorder
from harness.policy.policy import Policy
from harness.policy.urls import encode

SECRET = 'correct "horse" battery: staple'
SECRETS = {SECRET: "[passphrase of root]", "1234": "[PIN of root]", "0123456789abcdef": "[canary of var]"}


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "url",
    [
        "data:,correct%20%22horse%22%20battery%3A%20staple%0A",
        f"data:;base64,{base64_of(SECRET.encode())}",
        f"data:;base64,{base64_of(gzip.compress(SECRET.encode(), mtime=0))}",
        encode(f"{SECRET}\n".encode())[0],
        encode((SECRET * 100).encode())[0],
    ],
)
def test_a_key_file_of_an_ignition_config_is_taken_out(url: str) -> None:
    config = {"storage": {"luks": [{"name": "root", "keyFile": {"source": url}}, {"keyFile": {"source": "data:,x"}}]}}
    found = json.loads(scrubbed_config(json.dumps(config).encode(), SECRETS))
    assert found["storage"]["luks"] == [
        {"name": "root", "keyFile": {"source": "data:,%5Bpassphrase%20of%20root%5D"}},
        {"keyFile": {"source": "data:,x"}},
    ]


def test_a_key_file_of_a_butane_file_is_taken_out() -> None:
    text = f"key_file:\n  inline: |\n    {SECRET}\npin: 1234\nsource: data:;base64,{base64_of(SECRET.encode())}\n"
    found = scrubbed_config(text.encode(), SECRETS).decode()
    assert SECRET not in found
    assert "1234" not in found
    assert base64_of(SECRET.encode()) not in found
    assert found.count("[passphrase of root]") == 2


def test_a_log_keeps_what_a_short_secret_matches_by_chance() -> None:
    assert scrubbed_log(b"pid 1234 said 0123456789abcdef", SECRETS) == b"pid 1234 said [canary of var]"


def test_a_document_keeps_its_keys_and_identifiers() -> None:
    found = scrubbed_document({"result": SECRET, "error": {"what": f"typed {SECRET}"}, "boots": [SECRET, 1]}, SECRETS)
    assert found == {
        "result": SECRET,
        "error": {"what": "typed [passphrase of root]"},
        "boots": ["[passphrase of root]", 1],
    }


@given(st.text(min_size=6), st.binary(), st.binary())
def test_no_secret_is_left(secret: str, before: bytes, after: bytes) -> None:
    try:
        data = before + secret.encode() + after
    except UnicodeEncodeError:
        return
    left = scrubbed_log(data, {secret: ""})
    assert secret.encode() not in left or secret.encode() in before + after


def test_nothing_that_a_recorder_writes_holds_a_secret(tmp_path: Path) -> None:
    volume = SimpleNamespace(name="root", passphrase=SECRET, tpm_pin="1234")
    policy = cast(
        Any,
        SimpleNamespace(name="mine", notes=(), config={}, volumes=(volume,), source=f"inline: {SECRET}\npin: 1234\n"),
    )
    recorder = EvidenceRecorder.open(tmp_path / "artifacts", "t.py::a", f"It types {SECRET}.")
    recorder.installs(cast(Policy, policy), "debian-13")
    recorder.hide_secrets(cast(Policy, policy), {"root": "0123456789abcdef"})
    log = tmp_path / "log"
    log.write_text("the attacker printed 0123456789abcdef\n")
    recorder.keep({"console.log": log, "config.ign": json.dumps({"source": encode(SECRET.encode())[0]})})
    recorder.write()
    for path in (tmp_path / "artifacts").rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert SECRET not in text, path
            assert "horse" not in text, path
            assert "0123456789abcdef" not in text, path
    assert "[canary of root]" in (recorder.folder / "console.log").read_text()
