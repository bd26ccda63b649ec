"""What each witness beside the guest says about a boot, as it stands in proofs and failures."""

import pytest

from harness.guest.witness import ExternalEvidence, hold_time, security_key_testimony, tpm_testimony
from harness.machine.ctap2_log import CtapExchange
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins.systemd_fido2 import SECURITY_KEY
from harness.policy.pins.tpm import TPM
from harness.services import log

UNSEALED, OTHER_PCRS = TpmExchange("Unseal", 0x15E, 0), TpmExchange("Unseal", 0x15E, 0x99D)


def test_a_guest_is_given_as_long_to_answer_as_it_took_to_ask() -> None:
    assert [hold_time(25.0, prompt) for prompt in (9.0, 60.0)] == [25.0, 60.0]


def test_a_tpm_that_unsealed_twice_and_refused_in_between() -> None:
    said = (UNSEALED, OTHER_PCRS, TpmExchange("Load", 0x157, 0x1DF), OTHER_PCRS, UNSEALED)
    assert tpm_testimony(said) == log.Testimony(
        answers=2,
        proof="tpm: 2 × TPM2_Unseal succeeded",
        failures=(("Unseal -> 0x99d", "tpm"), ("Load -> 0x1df", "tpm")),
        concerns_all=False,
        shown_by="the TPM shows",
        title="TPM",
        lacking="with no TPM2_Unseal that succeeded",
    )


@pytest.mark.parametrize("code", [0x902, 0x903, 0x908, 0x90A, 0x922])
def test_a_tpm_that_wants_to_be_asked_later_has_refused_nothing(code: int) -> None:
    assert tpm_testimony((TpmExchange("Load", 0x157, code),)).failures == ()


def test_other_commands_of_a_tpm_are_neither_answers_nor_failures() -> None:
    said = tpm_testimony((TpmExchange("PCR_Read", 0x17E, 0), TpmExchange("NV_Read", 0x14E, 0x18B)))
    assert (said.answers, said.failures) == (0, ())


def test_nobody_listened_to_the_tpm() -> None:
    assert tpm_testimony(None).lacking == "and nobody listened to the TPM"
    assert tpm_testimony(()).lacking == "with no TPM2_Unseal that succeeded"
    assert tpm_testimony(None).answers == 0
    assert tpm_testimony(()).proof == "tpm: 0 × TPM2_Unseal succeeded"


def test_a_security_key_that_gave_its_secret_once_and_refused_twice() -> None:
    refused = CtapExchange("getAssertion with hmac-secret", 0x2E)
    said = (CtapExchange("getInfo", 0), refused, CtapExchange("getAssertion with hmac-secret", 0), refused)
    assert security_key_testimony(said) == log.Testimony(
        answers=1,
        proof="security key: 1 × getAssertion with hmac-secret",
        failures=((str(refused), "security key"),),
        concerns_all=False,
        shown_by="the security key shows",
        title="FIDO2",
        lacking="with no secret that the security key gave",
    )


def test_the_tpm_and_each_service_testify() -> None:
    key = security_key_testimony(())
    said = ExternalEvidence({SECURITY_KEY: key}, (UNSEALED,))
    assert said.testimonies == {SECURITY_KEY: key, TPM: tpm_testimony((UNSEALED,))}
