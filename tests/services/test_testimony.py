"""What each service's log says about one boot, as it stands in proofs and failures."""

from harness.services import log
from harness.services.hsm_log import HsmCall, HsmCalls
from harness.services.tang_log import TangCalls, TangRequest


def test_an_hsm_that_decrypted_once_and_refused_twice_and_was_then_out_of_reach() -> None:
    refused, done = HsmCall(2.0, "1", "C_Login", "CKR_PIN_INCORRECT"), HsmCall(3.0, "1", "C_Decrypt", "CKR_OK")
    said = HsmCalls((refused, HsmCall(2.5, "1", "C_GetSlotList", "CKR_OK"), done, refused), unanswered=3)
    assert said.testimony == log.Testimony(
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
    assert HsmCalls((done,), unanswered=0).testimony.failures == ()


def request(method: str, path: str, status: int) -> TangRequest:
    return TangRequest(0.0, method, path, status, None)


def test_a_tang_server_with_all_that_can_go_wrong() -> None:
    requests = (
        *(request("GET", "/adv", 404), request("POST", "/rec/kid", 200), request("POST", "/rec/kid", 200)),
        *(request("POST", "/rec/old", 404), request("POST", "/rec/old", 404)),
    )
    assert TangCalls("two", requests, unanswered=3, tampered=1).testimony == log.Testimony(
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
    assert TangCalls("tang", (request("POST", "/rec/kid", 200),)).testimony.failures == ()


def test_replies_that_were_changed_are_never_more_than_all_of_them() -> None:
    """A changed advertisement counts as tampered, too."""
    assert TangCalls("tang", (request("POST", "/rec/kid", 200),), tampered=2).recoveries == 0
