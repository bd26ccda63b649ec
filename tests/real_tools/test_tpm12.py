"""A TPM 1.2 under TrouSerS and tpm-tools, without a machine: what unseals, what does not, and an SSH key in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from key_box import KeyBox, key_tools
from ssh_server import ssh_server

from harness.machine.spec import TpmVersion

pytestmark = [pytest.mark.real, pytest.mark.slow]

UNSEAL = "with_tcsd tpm_unsealdata -z -i $lab/sealed -o /tmp/unsealed; status=$?; cat /tmp/unsealed; exit $status"
OTHER_PCRS, NO_SRK, DECRYPT_ERROR, DISABLED, NO_DAEMON, KEY_NOT_FOUND = 24, 18, 33, 7, 17, 32
"""The low bytes of TPM_WRONGPCRVAL, TPM_NOSRK, TPM_DECRYPT_ERROR and TPM_DISABLED; of two errors of TrouSerS."""
PUT_AWAY, BACK = "mv $lab/tcsd/system.data $lab/kept", "mv $lab/kept $lab/tcsd/system.data"


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyBox]:
    with key_tools(version=TpmVersion.TPM_1_2) as opened:
        yield opened


@pytest.fixture(scope="module")
def owned(keys: KeyBox) -> Path:
    """A TPM with an owner, by which a secret was sealed to PCRs 4, 8 and 9, and an SSH key was made."""
    state = keys.new_tpm("owned")
    with keys.on(state):
        assert "TPM 1.2 Version Info" in keys.run("with_tcsd tpm_version")
        assert "tpm_selftest succeeded" in keys.run("with_tcsd tpm_selftest -l info")
        keys.run("with_tcsd tpm_takeownership -y -z")
        keys.run("echo secret > /tmp/secret; with_tcsd tpm_sealdata -z -i /tmp/secret -o $lab/sealed -p 4 -p 8 -p 9")
        keys.run("mkdir -p $lab/.simple-tpm-pk11; HOME=$lab with_tcsd stpm-keygen -o $lab/.simple-tpm-pk11/my.key")
        keys.run("echo key my.key > $lab/.simple-tpm-pk11/config")
    return state


def unsealed(keys: KeyBox, state: Path, *changed_pcrs: int) -> tuple[int, bool]:
    """The status of tpm_unsealdata, and whether the secret came out."""
    with keys.on(state, *changed_pcrs):
        status, said = keys.attempt(f"rm -f /tmp/unsealed; {UNSEAL}")
    return status, "secret" in said


def test_the_same_tpm_in_the_same_state_unseals(keys: KeyBox, owned: Path) -> None:
    """Each time is a power cycle. A copy of the state is as good as the TPM."""
    assert unsealed(keys, keys.copied(owned, "same")) == (0, True)
    assert unsealed(keys, keys.copied(owned, "same-other-pcr"), 7) == (0, True)


@pytest.mark.parametrize("pcr", [4, 8, 9])
def test_other_pcrs_do_not(keys: KeyBox, owned: Path, pcr: int) -> None:
    assert unsealed(keys, keys.copied(owned, f"pcr{pcr}"), pcr) == (OTHER_PCRS, False)


def test_another_tpm_does_not_with_or_without_an_owner(keys: KeyBox, owned: Path) -> None:
    another = keys.new_tpm("another")
    assert unsealed(keys, another) == (NO_SRK, False)
    with keys.on(another):
        keys.run(f"{PUT_AWAY}; with_tcsd tpm_takeownership -y -z; {BACK}")
    assert unsealed(keys, another) == (DECRYPT_ERROR, False)


def test_a_cleared_tpm_does_not(keys: KeyBox, owned: Path) -> None:
    cleared = keys.copied(owned, "cleared")
    with keys.on(cleared):
        keys.run("with_tcsd tpm_clear -z")
    assert unsealed(keys, cleared) == (DISABLED, False)


def test_it_takes_the_daemon_and_what_the_daemon_keeps(keys: KeyBox, owned: Path) -> None:
    """/var/lib/tpm/system.data holds the public half of the storage root key, and must travel with the seal."""
    copy = keys.copied(owned, "no-daemon")
    with keys.on(copy):
        assert keys.attempt("tpm_unsealdata -z -i $lab/sealed -o /tmp/unsealed")[0] == NO_DAEMON
        lost = keys.attempt(f"{PUT_AWAY}; ({UNSEAL}); status=$?; {BACK}; exit $status")
    assert lost[0] == KEY_NOT_FOUND


def test_an_ssh_key_of_simple_tpm_pk11_logs_in_by_its_tpm_alone(keys: KeyBox, owned: Path) -> None:
    """The key's file cloned to another TPM is refused, with the TPM's state it logs in: there is no passphrase."""
    states = {name: keys.copied(owned, f"ssh-{name}") for name in ("own", "clone")}
    states["another"] = keys.new_tpm("ssh-another")
    with keys.on(states["own"]):
        public = keys.run("HOME=$lab with_tcsd ssh-keygen -D $library12")
    line = next(line for line in public.splitlines() if line.startswith("ssh-rsa "))
    said = {}
    with ssh_server(keys.box.shared / "ssh", line):
        for name, state in states.items():
            with keys.on(state):
                said[name] = keys.attempt("HOME=$lab with_tcsd ssh_by $library12")
    assert {name for name, (_, text) in said.items() if "logged in" in text} == {"own", "clone"}
    assert "Permission denied" in said["another"][1]
