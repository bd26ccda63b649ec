"""What is left of a console's bytes: lines, without control sequences, kernel lines taken out (ECMA-48, section 5)."""

import pytest

from harness.guest.text import LineReader, Text


def whole(*chunks: bytes, interleaved: bool = True) -> list[str]:
    reader = LineReader(interleaved=interleaved)
    return [text.text for chunk in chunks for text in reader.feed(chunk) if text.whole]


@pytest.mark.parametrize(
    "sequence",
    [
        *("\x1b[m", "\x1b[0;1;39m", "\x1b[1@", "\x1b[2~", "\x1b[3X", "\x1b[4h", "\x1b[?25F", "\x1b[K"),
        *("\x1b]0;title\x07", "\x1b]0;title\x1b\\", "\x1bPq\x1b\\", "\x1bXq\x1b\\", "\x1b^q\x1b\\", "\x1b_q\x1b\\"),
        "\x1b]0;title\x1b[1m",  # a string that another sequence ends
        *(f"\x1b{sign}B" for sign in "()*+#%"),
        *("\x1b=", "\x1bc", "\x1bx", "\x1b7"),
        *("\x1b[1\x1b[1m", "\x00", "\x07", "\x1f"),
    ],
    ids=repr,
)
def test_control_sequences_and_characters_are_taken_out(sequence: str) -> None:
    assert whole(f"one{sequence}two\n".encode()) == ["onetwo"]


@pytest.mark.parametrize("sequence", ["\x1b[2;1H", "\x1b[2;1f"])
def test_a_cursor_that_is_put_elsewhere_ends_the_line(sequence: str) -> None:
    assert whole(f"one{sequence}two\n".encode()) == ["one", "two"]


@pytest.mark.parametrize("torn", ["\x1b", "\x1b[1;", "\x1b]0;title", "\x1bPq", "\x1b("])
def test_no_control_sequence_spans_lines(torn: str) -> None:
    assert whole(f"one{torn}\ntwo\n".encode()) == ["one", "two"]


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        ("one\r\n", ["one"]),
        ("one\r\r\n", ["one"]),
        ("one\rtwo\n", ["one", "two"]),
        ("one\n\rtwo\n", ["one", "two"]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("\n\r\n\n", []),
        ("one\ttwo ~\n", ["one\ttwo ~"]),
        ("DCIX  \r\nDCIX\r\n", ["DCIX  ", "DCIX"]),
        ("one", []),
    ],
)
def test_lines_end_where_a_terminal_ends_them(said: str, lines: list[str]) -> None:
    assert whole(said.encode()) == lines


def test_a_character_may_come_in_pieces_and_may_be_none() -> None:
    assert whole(b"caf\xc3", b"\xa9\n") == ["café"]
    assert whole(b"a\xff\n") == ["a\ufffd"]


def test_a_line_has_8192_characters_at_the_most() -> None:
    assert [len(line) for line in whole(b"x" * 8192 + b"\n" + b"y" * 8193 + b"\n")] == [8192, 8192, 1]
    assert whole(b"words " * 1366 + b"\n") == [("words " * 1366)[:8192], "rds "]


CUT = b"Please enter pas[    2.948528] scsi: x\nsphrase for disk var:\n"


def test_a_kernel_line_is_taken_out_of_the_line_that_it_cut() -> None:
    assert whole(CUT) == ["[    2.948528] scsi: x", "Please enter passphrase for disk var:"]
    assert whole(CUT.replace(b"\n", b"\r\r\n")) == whole(CUT), "a terminal may end lines like that"
    assert whole(CUT, interleaved=False) == CUT.decode().splitlines(), "journald writes each message at once"
    assert whole(b"[    2.948528] one\n[    2.948529] two\n") == ["[    2.948528] one", "[    2.948529] two"]


def test_what_may_be_a_prompt_is_told_before_its_line_ends() -> None:
    reader = LineReader(interleaved=True)
    assert list(reader.feed(b"for var: x")) == [
        Text("for var:", whole=False),
        Text("for var: ", whole=False),
    ]
    assert list(reader.feed(b"\n")) == [Text("for var: x", whole=True)]
    assert list(LineReader(interleaved=False).feed(b"for var: ")) == []
    kernel = LineReader(interleaved=True).feed(b"[    2.948528] usb: ")
    assert not [text for text in kernel if "usb" in text.text], "the kernel does not ask"
