"""Keys in a TPM 2.0 beside the disk's, without a machine: tpm2-pkcs11, for SSH and for a LUKS volume."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from key_box import KeyBox, key_tools
from ssh_server import ssh_server

pytestmark = [pytest.mark.real, pytest.mark.slow]

PIN, WRONG = "1234", "0000"
MAKE = f"""
rm -rf $lab/store; mkdir $lab/store
ptool init
ptool addtoken --pid=1 --label=ssh --userpin={PIN} --sopin=5678
ptool addkey --algorithm=ecc256 --label=ssh --userpin={PIN}
ptool addkey --algorithm=rsa2048 --label=ssh --key-label=disk --userpin={PIN}
"""


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyBox]:
    with key_tools() as opened:
        yield opened


@pytest.fixture(scope="module")
def made(keys: KeyBox) -> tuple[Path, str]:
    """A TPM with a token's keys below it, and the public key for SSH."""
    state = keys.new_tpm("made")
    with keys.on(state):
        keys.run(MAKE, 300.0)
        public = keys.run("ssh-keygen -D $library")
    return state, next(line for line in public.splitlines() if line.startswith("ecdsa-"))


def login(keys: KeyBox, state: Path, public: str, *pins: str, cut: bool = False) -> list[tuple[bool, str]]:
    """Whether each PIN in turn logs in, with the TPM on for all of them, and what ssh said."""
    said = []
    with ssh_server(keys.box.shared / "ssh", public), keys.on(state, cut=cut):
        for pin in pins:
            said.append(keys.attempt(f"ssh_by $library {pin}")[1])
            keys.attempt("flush")
    return [("logged in" in text, text) for text in said]


def opened(found: list[tuple[bool, str]]) -> list[bool]:
    return [logged_in for logged_in, _ in found]


def test_the_key_logs_in_after_each_orderly_power_cycle(keys: KeyBox, made: tuple[Path, str]) -> None:
    state, public = keys.copied(made[0], "cycles"), made[1]
    assert [opened(login(keys, state, public, PIN)) for _ in range(4)] == [[True]] * 4


def test_a_cloned_store_is_nothing_without_the_tpm(keys: KeyBox, made: tuple[Path, str]) -> None:
    """Another TPM refuses it; so does the same once cleared; with the TPM's state cloned, too, it logs in."""
    cleared = keys.copied(made[0], "cleared")
    with keys.on(cleared):
        keys.run("tpm2_clear -c lockout")
    assert opened(login(keys, keys.new_tpm("another"), made[1], PIN)) == [False]
    assert opened(login(keys, cleared, made[1], PIN)) == [False]
    assert opened(login(keys, keys.copied(made[0], "clone"), made[1], PIN)) == [True]


def test_without_a_tpm_there_is_no_key(keys: KeyBox, made: tuple[Path, str]) -> None:
    with ssh_server(keys.box.shared / "ssh", made[1]):
        status, said = keys.attempt(f"ssh_by $library {PIN}")
    assert status != 0
    assert "logged in" not in said


def test_three_wrong_pins_lock_the_right_one_out_until_the_owner_helps(keys: KeyBox, made: tuple[Path, str]) -> None:
    state = keys.copied(made[0], "guessed")
    guessed = login(keys, state, made[1], WRONG, WRONG, WRONG, PIN)
    assert opened(guessed) == [False] * 4
    assert "locked" in guessed[3][1]
    with keys.on(state):
        keys.run("tpm2_dictionarylockout --clear-lockout")
    assert opened(login(keys, state, made[1], PIN)) == [True]


def test_three_power_cuts_lock_the_right_pin_out(keys: KeyBox, made: tuple[Path, str]) -> None:
    """Nobody guesses: the PIN is right each time, and the power is cut afterwards."""
    state = keys.copied(made[0], "cuts")
    assert [opened(login(keys, state, made[1], PIN, cut=True)) for _ in range(3)] == [[True]] * 3
    locked = login(keys, state, made[1], PIN)
    assert opened(locked) == [False]
    assert "locked" in locked[0][1]


VOLUME = """
truncate -s 32M $lab/volume
printf pw | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $lab/volume -
"""
NEW_VOLUME = f"""
{VOLUME}
PASSWORD=pw PIN={PIN} systemd-cryptenroll --pkcs11-token-uri='pkcs11:token=ssh;object=disk;type=public' $lab/volume
flush
"""


def opens_by_token(keys: KeyBox, state: Path, pin: str) -> bool:
    with keys.on(state):
        script = (
            f"printf {pin} | cryptsetup open --test-passphrase --token-only --token-type systemd-pkcs11 $lab/volume"
        )
        return keys.attempt(script)[0] == 0


def test_a_luks_volume_opens_by_its_pkcs11_token_in_the_tpm(keys: KeyBox, made: tuple[Path, str]) -> None:
    """Enrolled as any PKCS#11 token: the PIN opens it, another PIN or another TPM does not."""
    state = keys.copied(made[0], "volume")
    with keys.on(state):
        keys.run(NEW_VOLUME, 120.0)
    assert opens_by_token(keys, state, PIN)
    assert not opens_by_token(keys, keys.copied(state, "volume-wrong"), WRONG)
    assert not opens_by_token(keys, keys.new_tpm("volume-another"), PIN)
    assert opens_by_token(keys, state, PIN)


SEAL = f"""
{VOLUME}
PASSWORD=pw systemd-cryptenroll --tpm2-device=swtpm:path=$lab/tpm --tpm2-pcrs=7 $lab/volume
"""
UNSEAL = "systemd-cryptenroll --unlock-tpm2-device=swtpm:path=$lab/tpm --recovery-key $lab/volume"
SRK = "0x81000001"
"""Where systemd keeps its storage root key: TCG TPM v2.0 Provisioning Guidance, 7.8."""


@pytest.mark.parametrize("who_came_first", ["systemd", "tpm2-pkcs11"])
def test_a_store_that_came_first_is_where_systemd_has_its_srk(keys: KeyBox, who_came_first: str) -> None:
    """tpm2_ptool persists its primary key at that handle if it is free, and systemd then seals below it, unasked.

    That key is not noDA. So three power cuts shut a seal without a PIN, too, which they do not where systemd came
    first. Seen with tpm2-pkcs11 1.9.1 and systemd 257.13.
    """
    state = keys.new_tpm(f"first-{who_came_first}")
    store = "rm -rf $lab/other; mkdir $lab/other; TPM2_PKCS11_STORE=$lab/other ptool init; flush"
    steps = [SEAL, store] if who_came_first == "systemd" else [store, SEAL]
    with keys.on(state):
        keys.run(steps[0], 120.0)
        assert SRK in keys.run("tpm2_getcap handles-persistent")
        keys.run(steps[1], 120.0)
        noda = "noda" in keys.run(f"tpm2_readpublic -c {SRK} | grep value: | head -n 2 | tail -n 1")
    opened_after = []
    for _ in range(4):
        with keys.on(state, cut=True):
            opened_after.append(keys.attempt(UNSEAL)[0] == 0)
    assert noda is (who_came_first == "systemd")
    assert opened_after == [True, True, True, noda]
