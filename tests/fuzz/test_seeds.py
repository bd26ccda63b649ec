"""What the fuzzers were started from and what they found, played again; and a little of the same by Hypothesis."""

import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import forged_boots
import fuzz_targets
import pytest
from fuzz_targets import SECONDS, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.guest.outcome import Outcome, Unlock

SEEDS = Path(__file__).parent / "seeds"

_SYSTEMD = ("tpm2", "fido2", "pkcs11", "recovery")
_FIELDS = st.sampled_from(
    [
        *("url", "thp", "t", "jwe", "pcr_ids", "pcr_bank", "hash", "key", "keyslots", "type", "pin"),
        *("tpm2-pcrs", "tpm2-pin", "tpm2_pcrlock", "tpm2_pubkey_pcrs", "tpm2-pcr-bank", "fido2-up-required"),
    ]
)
"""What clevis and systemd call the fields of their tokens."""


def _protected(pins: object) -> str:
    return urlsafe_b64encode(json.dumps({"clevis": pins}).encode()).decode().rstrip("=")


@pytest.mark.parametrize("target", TARGETS)
def test_no_seed_breaks_a_target_or_keeps_it_long(target: str) -> None:
    seeds = sorted((SEEDS / target).iterdir())
    assert seeds, "every target has something to start from"
    for seed in seeds:
        started = time.process_time()
        TARGETS[target](seed.read_bytes())
        assert time.process_time() - started < SECONDS, seed


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_at_all_break_a_target(target: str) -> None:
    TARGETS[target](b"")


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_break_a_target(target: str) -> None:
    @settings(max_examples=25)
    @given(data=st.binary(max_size=2000))
    def run(data: bytes) -> None:
        TARGETS[target](data)

    run()


@pytest.mark.parametrize("broken", ["parse_luks_header", "parse_luks_dump"])
def test_the_luks_target_reads_what_lies_behind_a_checksum(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    reads, seen = getattr(fuzz_targets, broken), []
    monkeypatch.setattr(fuzz_targets, broken, lambda data: seen.append(reads(data)))
    TARGETS["luks_header"]((SEEDS / "luks_header" / "metadata").read_bytes())
    assert seen, "the metadata came through"


@settings(max_examples=60)
@given(lines=st.lists(st.binary(min_size=4, max_size=4), max_size=100))
def test_no_forged_boot_is_believed(lines: list[bytes]) -> None:
    TARGETS["forged_boot"](b"".join(lines))


def test_the_target_of_forged_boots_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest boot's lines, of which nobody who answers bears out one."""
    monkeypatch.setattr(forged_boots, "judge", lambda *_: Outcome(Unlock.AUTO, "it looks open"))
    with pytest.raises(AssertionError, match="by a guest's word alone"):
        TARGETS["forged_boot"]((SEEDS / "forged_boot" / "honest").read_bytes())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(_FIELDS | st.text(max_size=4), values, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40)
@given(
    kind=st.sampled_from(("tang", "tpm2", "sss", "clevis", *(f"systemd-{name}" for name in _SYSTEMD))),
    config=st.dictionaries(_FIELDS, _JSON, max_size=4),
    nested=st.booleans(),
)
def test_no_field_of_a_token_breaks_the_reader_of_what_was_collected(
    kind: str, config: dict[str, object], nested: bool
) -> None:
    pins: dict[str, object] = {"pin": kind, kind: config}
    if nested:
        pins = {"pin": "sss", "sss": {"t": 1, **config, "jwe": [f"{_protected(pins)}.x"]}}
    of_clevis: dict[str, object] = {"type": "clevis", "jwe": {"protected": _protected(pins)}}
    token: dict[str, object] = {**config, "type": kind} if kind.startswith("systemd") else of_clevis
    metadata = {"keyslots": {"1": {}}, "tokens": {"0": {"keyslots": ["1"], **token}}}
    TARGETS["collected"](json.dumps(metadata).encode())


def test_the_console_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a judge that believes what it sees, a real boot's console alone is a false auto-unlock."""
    monkeypatch.setattr(fuzz_targets, "judge", lambda *_: Outcome(Unlock.AUTO, "it looks open"))
    with pytest.raises(AssertionError, match="false auto-unlock"):
        TARGETS["console"](b"\x80anything")
