"""Text of others, shown to people: it does nothing to a terminal (pure)."""

import re

# ECMA-48: control sequences (CSI … final byte), strings (OSC, DCS, APC, PM up to BEL or ST), two-byte escapes.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Text that moves no cursor, colours nothing and reorders nothing; its lines without trailing blanks."""
    unescaped = _ESCAPES.sub("", text.replace("\r\n", "\n")).replace("\r", "\n")
    return "\n".join(_CONTROLS.sub("", line).rstrip() for line in unescaped.split("\n"))
