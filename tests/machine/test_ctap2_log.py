"""What a security key answered, in words, and whether it gave its secret away."""

import pytest

from harness.machine.ctap2_log import NO_CREDENTIALS, OK, CtapExchange

SECRET = "getAssertion with hmac-secret"


@pytest.mark.parametrize(
    ("status", "told"), [(OK, "success"), (NO_CREDENTIALS, "no credentials"), (0x7F, "0x7f"), (0x2, "0x2")]
)
def test_an_answer_is_told_in_words_or_by_its_number(status: int, told: str) -> None:
    assert str(CtapExchange("getAssertion", status)) == f"getAssertion => {told}"


@pytest.mark.parametrize(
    ("command", "status", "gave"),
    [(SECRET, OK, True), (SECRET, NO_CREDENTIALS, False), ("getAssertion", OK, False), ("getInfo", OK, False)],
)
def test_a_secret_is_given_by_a_success_of_what_asks_for_it(command: str, status: int, gave: bool) -> None:
    assert CtapExchange(command, status).gave_secret is gave
