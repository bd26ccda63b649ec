"""The commands of seed 001's article on TPM 2.0 that need no machine; `scenarios/test_article.py` has those that do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from key_box import KeyBox, key_tools

pytestmark = pytest.mark.real

NEW = (
    "truncate -s 32M $lab/volume; printf pw | "
    "cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $lab/volume -"
)
TPM = "swtpm:path=$lab/tpm"
OPENS = f"systemd-cryptenroll --unlock-tpm2-device={TPM} --recovery-key $lab/volume"
"""systemd's way to try a token without device-mapper: it enrolls a recovery key by it."""


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyBox]:
    with key_tools("debian-13") as opened:
        yield opened


@pytest.fixture(scope="module")
def tpm(keys: KeyBox) -> Path:
    return keys.new_tpm("tpm")


def enrolled(keys: KeyBox) -> None:
    keys.run(f"{NEW}; PASSWORD=pw systemd-cryptenroll --tpm2-device={TPM} --tpm2-pcrs=0,7 $lab/volume")


def test_cryptenroll_binds_to_pcrs_0_and_7(keys: KeyBox, tpm: Path) -> None:
    """``systemd-cryptenroll --tpm2-pcrs=0,7``: it opens until either is another; other PCRs do not matter."""
    with keys.on(tpm):
        enrolled(keys)
        assert keys.attempt(OPENS)[0] == 0
    for pcr, opens in ((0, False), (7, False), (4, True)):
        with keys.on(tpm, pcr):
            assert (keys.attempt(OPENS)[0] == 0) is opens


def test_cryptenroll_wants_luks2(keys: KeyBox, tpm: Path) -> None:
    """ "A LUKS2 device": a volume of LUKS1 is refused."""
    with keys.on(tpm):
        keys.run(NEW.replace("luksFormat", "luksFormat --type luks1"))
        status, said = keys.attempt(f"PASSWORD=pw systemd-cryptenroll --tpm2-device={TPM} $lab/volume")
    assert status != 0
    assert "LUKS2" in said


@pytest.mark.parametrize("what", ["1", "tpm2"])
def test_wipe_slot_by_number_or_by_kind_takes_key_and_token(keys: KeyBox, tpm: Path, what: str) -> None:
    """``systemd-cryptenroll --wipe-slot=1`` and ``--wipe-slot=tpm2``; the passphrase stays."""
    with keys.on(tpm):
        enrolled(keys)
        before = keys.run("cryptsetup luksDump $lab/volume")
        keys.run(f"systemd-cryptenroll $lab/volume --wipe-slot={what}")
        after = keys.run("cryptsetup luksDump $lab/volume")
        assert keys.attempt(OPENS)[0] != 0
        keys.run("printf pw | cryptsetup open --test-passphrase --key-file - $lab/volume")
    assert "systemd-tpm2" in before
    assert "systemd-tpm2" not in after
    assert "  1: luks2" in before
    assert "  1: luks2" not in after


def bound(keys: KeyBox, config: str) -> None:
    keys.run(f"{NEW}; printf pw | clevis luks bind -y -k - -d $lab/volume tpm2 '{config}'; flush", 120.0)


def test_clevis_without_parameters_opens_by_the_same_tpm_alone(keys: KeyBox, tpm: Path) -> None:
    """``clevis luks bind tpm2 '{}'``: "even with no parameters", another TPM does not open it."""
    with keys.on(tpm):
        bound(keys, "{}")
    opens = {}
    for name, state, pcrs in (("same", tpm, (7,)), ("another", keys.new_tpm("another"), ())):
        with keys.on(state, *pcrs):
            opens[name] = keys.attempt("clevis luks pass -d $lab/volume -s 1")[0] == 0
    assert opens == {"same": True, "another": False}


def test_clevis_binds_to_pcrs_1_and_7_and_binds_anew(keys: KeyBox, tpm: Path) -> None:
    """``'{"pcr_ids":"1,7"}'``, ``cryptsetup luksDump``, ``clevis luks regen -s``: other PCRs, a new pin, open again."""
    passes = "clevis luks pass -d $lab/volume -s 1"
    with keys.on(tpm):
        bound(keys, '{"pcr_ids":"1,7"}')
        dump = keys.run("cryptsetup luksDump $lab/volume")
        assert keys.attempt(f"{passes}; status=$?; flush; exit $status")[0] == 0
    with keys.on(tpm, 1):
        assert keys.attempt(f"{passes}; status=$?; flush; exit $status")[0] != 0
        keys.run("printf 'pw\\n' | clevis luks regen -q -d $lab/volume -s 1; flush", 120.0)
        assert keys.attempt(passes)[0] == 0
    assert "0: clevis" in dump
    assert "Keyslot:    1" in dump


def test_clevis_unbind_takes_the_binding_away(keys: KeyBox, tpm: Path) -> None:
    """``clevis luks unbind -s``."""
    with keys.on(tpm):
        bound(keys, "{}")
        assert keys.run("clevis luks list -d $lab/volume").startswith("1: tpm2")
        keys.run("clevis luks unbind -f -d $lab/volume -s 1")
        assert not keys.run("clevis luks list -d $lab/volume").strip()
        assert keys.attempt("clevis luks pass -d $lab/volume -s 1")[0] != 0


def test_clevis_takes_pcrs_of_the_bank_sha1_unless_told_otherwise(keys: KeyBox) -> None:
    """``'{"pcr_ids":"1,7"}'`` as it stands is refused by a TPM without that bank."""
    with keys.on(keys.new_tpm("sha256-alone", ("sha256",))):
        keys.run(NEW)
        bind = "printf pw | clevis luks bind -y -k - -d $lab/volume tpm2"
        assert keys.attempt(f"""{bind} '{{"pcr_ids":"1,7"}}'""")[0] != 0
        keys.run(f"""flush; {bind} '{{"pcr_bank":"sha256","pcr_ids":"1,7"}}'""", 120.0)
