"""What the shell among a guest's tools said, told apart from what others say on the same stream."""

import pytest

from harness.real_tools.toolbox import between

ANSWER = b"m begins\nOPENED\n\nm 0\n"


@pytest.mark.parametrize(
    "said",
    [
        ANSWER,
        b"Loading jwk to TPM2 failed!\n" + ANSWER,
        ANSWER + b"Loading jwk to TPM2 failed!\n",
        b"m ends\n" + ANSWER + b"m 1 and more\n",
    ],
)
def test_what_was_left_running_changes_no_answer(said: bytes) -> None:
    assert between("m", said) == (0, "OPENED\n")


def test_an_answer_is_whole_or_none() -> None:
    assert [between("m", ANSWER[:end]) for end in range(len(ANSWER))] == [None] * len(ANSWER)


def test_a_status_and_no_words() -> None:
    assert between("m", b"m begins\n\nm 127\n") == (127, "")
