"""Attestation beside the unlock: PCR 7 and Tang open the disk, a verifier looks at what else was measured.

The policy of seed 003: a threshold of the TPM (PCR 7) and Tang. The verifier keeps a machine that it does not trust
away from Tang.
"""

import pytest

from harness.api import Keylime, Refusal, Sealed, Unlock, Verifier, faults

PCR_12 = faults.smbios_cmdline("unlock-lab.changed=yes")
"""A command line with one more argument: PCR 7 does not see it."""


@pytest.mark.policy("tpm2-pcr7-and-tang")
def test_bad_quote_cuts_the_node_off_from_tang_until_a_good_one(sealed: Sealed, verifier: Verifier) -> None:
    """Something beyond PCR 7 is other than it was: the node is open, fails its attestation, and cannot open again.

    "This isn't bulletproof": the node that fails is open already, and stays so. The quarantine counts from the next
    boot: Tang is there and refuses this machine, so it asks. The owner types, its quote is good again, and from then on
    it opens by itself. It is shut down in order each time: where the power was cut three times after clevis had used
    the TPM, the fourth boot met one that was locked out (seen: Load -> 0x921), and asked for that.

    Whoever is root in the node may have its agent lie, and stay silent: the signature, the nonce and the hash of the
    values are the TPM's, and no quote is no good one. The honest quote at last names what differs; seen: PCRs 9 and 12.

    Source: seed 003 (flatcar#592); clevis-encrypt-sss(1); TPM 2.0 Library, Part 1, 19.8 and 31. More lies, without a
    machine: `tests/services/test_verifier.py`.
    """
    node = sealed.reaching(verifier)
    with node.powered(orderly=True) as first:
        admitted = first.attest(verifier)
    with node.powered(PCR_12, orderly=True) as changed:
        lies = [changed.attest(verifier, lie).refusal for lie in (_wrong_nonce, _forged_values, _silence)]
        honest = changed.attest(verifier)
        still_open = changed.shell.run("cat /var/unlock-lab-canary").strip()
    with node.powered(orderly=True) as quarantined:
        good = quarantined.attest(verifier)
    after = node.boot()
    assert first.outcome.unlock is changed.outcome.unlock is Unlock.AUTO
    assert admitted.trusted
    assert lies == [Refusal.NONCE, Refusal.VALUES, Refusal.NO_QUOTE]
    assert honest.refusal is Refusal.PCRS
    assert 12 in honest.differing
    assert 7 not in honest.differing
    assert still_open == sealed.canary
    assert quarantined.outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert quarantined.outcome.failed_pins == {"tang"}
    assert good.trusted
    assert good.resets > admitted.resets
    assert after.unlock is Unlock.AUTO
    assert after.unlocked_by == {"tang", "tpm2"}


def _wrong_nonce(agent: str) -> str:
    return agent.replace('-q "$nonce"', "-q 00")


def _forged_values(agent: str) -> str:
    return agent.replace("ask quote", "head -c 448 /dev/zero > values; ask quote")


def _silence(_agent: str) -> str:
    return "true"


def take_ownership(password: str) -> str:
    """What the Python agent of Keylime does when it starts (6.6.0, tpm_main.py, ``__take_ownership``)."""
    return f'password={password} && tpm2_changeauth -c o "$password" && tpm2_changeauth -c e "$password"'


RANDOM = "$(head -c 15 /dev/urandom | base64 | tr -dc a-zA-Z0-9)"
"""Where `tpm_ownerpassword` is empty or ``generate``."""


@pytest.mark.policy("tpm2-and-tang")
def test_an_agent_that_takes_ownership_has_clevis_ask(sealed: Sealed) -> None:
    """A random owner password, as Keylime's Python agent sets it: clevis cannot load under its primary key any more.

    Nothing warns: the node is up, and asks at its next boot. An agent that is told the empty password
    (``tpm_ownerpassword = "str:"``) changes nothing, and the node opens.

    Source: seed 003; keylime 6.6.0, tpm_main.py; clevis-decrypt-tpm2, tpm2_createprimary -C o.
    """
    with sealed.powered(orderly=True) as on:
        on.shell.run(take_ownership("str:"))
    with sealed.powered(orderly=True) as told_the_empty_password:
        told_the_empty_password.shell.run(take_ownership(RANDOM))
    owned = sealed.boot()
    assert told_the_empty_password.outcome.unlock is Unlock.AUTO
    assert owned.unlock is Unlock.PASSPHRASE_FALLBACK
    assert owned.failed_pins == {"tpm2"}


@pytest.mark.slow
@pytest.mark.policy("tpm2-pcr7-and-tang")
@pytest.mark.image("debian-13-keylime")
def test_keylime_quarantines_a_node_until_its_quote_is_good(sealed: Sealed, keylime: Keylime) -> None:
    """The same quarantine by Keylime itself: its webhook cuts off the node whose quote its verifier finds invalid.

    The node's owner says which PCRs it is to have each time that it is up: Keylime gives up a node that it does not
    reach, and one whose quote was bad. Its agent is told the empty owner password, and so clevis still opens.

    Source: seed 003; Keylime 7.14.3, verifier, registrar and tenant; 6.6.0, agent.
    """
    node = sealed.reaching(keylime)
    with node.powered(orderly=True) as first, first.attended(keylime) as name:
        expected = {pcr: first.outcome.pcrs[pcr] for pcr in (7, 12)}
        admitted = keylime.admit(name, expected)
    with node.powered(PCR_12, orderly=True) as changed, changed.attended(keylime):
        refused = keylime.admit(name, expected)
        told = keylime.await_revocation(name)
        still_open = changed.shell.run("cat /var/unlock-lab-canary").strip()
    with node.powered(orderly=True) as quarantined, quarantined.attended(keylime):
        good = keylime.admit(name, expected)
    after = node.boot()
    assert first.outcome.unlock is changed.outcome.unlock is Unlock.AUTO
    assert (admitted, refused, good) == (True, False, True)
    assert told.event == "pcr_validation.invalid_pcr_12"
    assert still_open == sealed.canary
    assert quarantined.outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert quarantined.outcome.failed_pins == {"tang"}
    assert after.unlock is Unlock.AUTO
    assert after.unlocked_by == {"tang", "tpm2"}
