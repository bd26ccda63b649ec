"""What `explain` says of a file beyond its volumes."""

from pathlib import Path

from harness.explain.advice import advice
from harness.policy.butane import read_policy

FILES = Path(__file__).parent.parent / "policy" / "corpus" / "files"


def test_what_the_guest_cannot_have_and_what_no_boot_shows_come_first() -> None:
    first, second, *_ = advice(read_policy(FILES / "home-server-adapted.bu"))
    assert first.text.startswith("the laboratory cannot install it: home-server-adapted.bu:15: storage.luks[0]: an enc")
    assert second.text.startswith(
        "not exercised here: 2 users (core, web); the unit extra-packages.service; the quadlet"
    )


def test_a_file_with_nothing_beside_its_volumes_has_neither() -> None:
    texts = [each.text for each in advice(read_policy(FILES / "by-number.bu"))]
    assert not [text for text in texts if text.startswith(("the laboratory cannot", "not exercised"))]
