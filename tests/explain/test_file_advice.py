"""What `explain` says of a file beyond its volumes."""

from pathlib import Path

from harness.explain.advice import advice
from harness.policy.butane import read_policy

FILES = Path(__file__).parent.parent / "policy" / "corpus" / "files"


def test_what_the_guest_cannot_have_and_what_no_boot_shows_come_first() -> None:
    first, second, *_ = advice(read_policy(FILES / "containers-tang.bu"))
    assert first.text.startswith("the laboratory cannot install it: containers-tang.bu:31: storage.filesystems[0].form")
    assert second.text.startswith(
        "not exercised here: the user core; the server at http://192.168.77.3:8080: it is the"
    )


def test_a_file_with_nothing_beside_its_volumes_has_neither() -> None:
    texts = [each.text for each in advice(read_policy(FILES / "by-number.bu"))]
    assert not [text for text in texts if text.startswith(("the laboratory cannot", "not exercised"))]


def test_a_file_that_encrypts_nothing_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.bu"
    path.write_text("variant: fcos\nversion: 1.6.0\n")
    (only,) = advice(read_policy(path))
    assert only.text == "it encrypts nothing: it has no storage.luks and no boot_device.luks"
