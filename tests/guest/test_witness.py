"""What each witness beside the guest says about a boot, as it stands in proofs and failures."""

import pytest

from harness.guest import witness
from harness.guest.witness import (
    ExternalEvidence,
    TangActivity,
    hold_time,
    hsm_testimony,
    security_key_testimony,
    tpm_testimony,
)
from harness.machine.ctap2_log import CtapExchange
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins import Service
from harness.policy.pins.systemd_fido2 import SECURITY_KEY
from harness.policy.pins.tpm import TPM
from harness.services.hsm_log import HsmCall, HsmCalls
from harness.services.tang_log import TangRequest

UNSEALED, OTHER_PCRS = TpmExchange("Unseal", 0x15E, 0), TpmExchange("Unseal", 0x15E, 0x99D)


def test_a_guest_is_given_as_long_to_answer_as_it_took_to_ask() -> None:
    assert [hold_time(25.0, prompt) for prompt in (9.0, 60.0)] == [25.0, 60.0]


def test_a_tpm_that_unsealed_twice_and_refused_in_between() -> None:
    said = (UNSEALED, OTHER_PCRS, TpmExchange("Load", 0x157, 0x1DF), OTHER_PCRS, UNSEALED)
    assert tpm_testimony(said) == witness.Testimony(
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
    assert security_key_testimony(said) == witness.Testimony(
        answers=1,
        proof="security key: 1 × getAssertion with hmac-secret",
        failures=((str(refused), "security key"),),
        concerns_all=False,
        shown_by="the security key shows",
        title="FIDO2",
        lacking="with no secret that the security key gave",
    )


def test_an_hsm_that_decrypted_once_and_refused_twice_and_was_then_out_of_reach() -> None:
    refused, done = HsmCall(2.0, "1", "C_Login", "CKR_PIN_INCORRECT"), HsmCall(3.0, "1", "C_Decrypt", "CKR_OK")
    said = HsmCalls((refused, HsmCall(2.5, "1", "C_GetSlotList", "CKR_OK"), done, refused), unanswered=3)
    assert hsm_testimony(said) == witness.Testimony(
        answers=1,
        proof="hsm log: 1 × C_Decrypt => CKR_OK",
        failures=(
            ("C_Login => CKR_PIN_INCORRECT", "hsm log"),
            ("3 connections, none answered", "fault proxy"),
        ),
        concerns_all=True,
        shown_by="the HSM's log shows",
        title="HSM",
        lacking="with no decryption in the HSM's log",
        conclusive=False,
    )
    assert hsm_testimony(HsmCalls((done,), unanswered=0)).failures == ()


def request(method: str, path: str, status: int) -> TangRequest:
    return TangRequest(0.0, method, path, status, None)


def test_a_tang_server_with_all_that_can_go_wrong() -> None:
    requests = (
        *(request("GET", "/adv", 404), request("POST", "/rec/kid", 200), request("POST", "/rec/kid", 200)),
        *(request("POST", "/rec/old", 404), request("POST", "/rec/old", 404)),
    )
    assert TangActivity("two", requests, unanswered=3, tampered=1).testimony == witness.Testimony(
        answers=1,
        proof="tang log: two served 1 × POST /rec => 200",
        failures=(
            ("POST /rec/old => 404", "tang log"),
            ("3 connections, none answered", "fault proxy"),
            ("1 replies changed on their way", "fault proxy"),
        ),
        concerns_all=True,
        shown_by="two's log shows",
        title="Tang",
        lacking="with no recovery in Tang's log",
    )


def test_a_tang_server_that_nobody_hindered_has_failed_in_nothing() -> None:
    assert TangActivity("tang", (request("POST", "/rec/kid", 200),)).testimony.failures == ()


def test_replies_that_were_changed_are_never_more_than_all_of_them() -> None:
    """A changed advertisement counts as tampered, too."""
    assert TangActivity("tang", (request("POST", "/rec/kid", 200),), tampered=2).recoveries == 0


def test_each_service_is_asked_by_its_own_witness() -> None:
    key = security_key_testimony(())
    said = ExternalEvidence((TangActivity("tang"), TangActivity("two")), (UNSEALED,), services={SECURITY_KEY: key})
    assert said.testimonies == {
        Service("tang", "tang"): TangActivity("tang").testimony,
        Service("tang", "two"): TangActivity("two").testimony,
        TPM: tpm_testimony((UNSEALED,)),
        SECURITY_KEY: key,
    }
