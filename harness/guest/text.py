"""Bytes of a console become lines, for any chunking (pure).

Three things stand between the bytes and the words: terminal control sequences, carriage returns, and kernel messages.
The kernel writes its lines whole, but at any moment, so one may land in the middle of what a program is printing::

    Please enter pas[    2.948528] scsi 1:0:0:0: CD-ROM QEMU<newline>
    sphrase for disk var: (press TAB for no echo)

Such a line is taken out, given out by itself, and what it cut in two is joined again.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

_STAMP = re.compile(r"\[ *\d+\.\d{6}\](\[ *[TC]\d+\])? ")
"""How printk and journald begin a line; the second part is there with CONFIG_PRINTK_CALLER."""

_LONGEST_STAMP = 64
"""More than any has: the whole line at each of its words would keep the reader long."""

_LONGEST = 8192
_LONGEST_PROMPT = 512
_PROMPT_ENDS = (":", ": ", ") ")
_RUN = re.compile(r"[^\x00-\x1f: ]*[: ]|[^\x00-\x1f: ]+")
"""Characters that need no look each: a word, with what ends it where a prompt may end, too."""
_decoder = codecs.getincrementaldecoder("utf-8")

_KEPT = "\r\n\t"
"""Control characters that are part of the text."""
_STRINGS = "]PX^_"
"""What begins a control string after ESC: OSC, DCS, SOS, PM, APC."""
_CHARSETS = "()*+#%"
"""What one more character follows after ESC (ECMA-35, 13.2.2)."""


@dataclass(frozen=True)
class Text:
    """A piece of text that may be a message.

    Attributes:
        text: Without control sequences and line ends.
        whole: Whether the line has ended. A prompt has no line end: the last 512 characters of unfinished lines are
            given out too, at each colon or space that could end a prompt.
    """

    text: str
    whole: bool


class _Escape(Enum):
    NONE = auto()
    STARTED = auto()
    CHARSET = auto()
    CSI = auto()
    STRING = auto()


class LineReader:
    """Splits one stream into lines.

    Args:
        interleaved: Whether kernel lines may cut into others (a serial console) or not (journald writes each message
            at once).
    """

    def __init__(self, *, interleaved: bool) -> None:
        self._interleaved = interleaved
        self._decoder = _decoder("replace")
        self._escape = _Escape.NONE
        self._line = ""
        self._stamped = False

    def feed(self, data: bytes) -> Iterator[Text]:
        """Give out what these bytes complete. The same bytes in other chunks give the same texts."""
        text, at = self._decoder.decode(data), 0
        while at < len(text):
            if self._escape is _Escape.NONE and (run := _RUN.match(text, at)):
                plain, at = run[0], run.end()
            else:
                plain, at = self._strip(text[at]), at + 1
            if plain:
                yield from self._put(plain)

    def _strip(self, char: str) -> str:
        """What is left of a character when control sequences (ECMA-48, section 5) are taken out."""
        if char == "\x1b":  # Whatever it comes in is over, a control string by ESC \\ too.
            self._escape = _Escape.STARTED
            return ""
        match self._escape:
            case _Escape.NONE:
                return char if char in _KEPT else ""
            case _Escape.STARTED:
                if char == "[":
                    self._escape = _Escape.CSI
                elif char in _STRINGS:
                    self._escape = _Escape.STRING
                else:
                    self._escape = _Escape.CHARSET if char in _CHARSETS else _Escape.NONE
            case _Escape.CSI:
                if "\x40" <= char <= "\x7e":
                    self._escape = _Escape.NONE
                    # The cursor is put elsewhere (CUP, HVP): what follows is another line. OVMF does that.
                    return "\n" if char in "Hf" else ""
            case _Escape.STRING:
                if char == "\a":
                    self._escape = _Escape.NONE
            case _Escape.CHARSET:
                self._escape = _Escape.NONE
        if char == "\n":
            # No sequence spans lines: this one was torn by something else.
            self._escape = _Escape.NONE
            return char
        return ""

    def _put(self, plain: str) -> Iterator[Text]:
        """Take a run of characters, or one by itself: a line end, a carriage return."""
        if plain == "\n":
            yield from self._end_line()
            return
        # After a carriage return by itself, a status line is drawn anew over the old one.
        if self._line.endswith("\r") and plain != "\r":
            yield from self._end_line()
        while plain:
            if len(self._line) >= _LONGEST:
                yield from self._end_line()
            room = _LONGEST - len(self._line)
            self._line, plain = self._line + plain[:room], plain[room:]
        if not self._interleaved:
            return
        self._stamped = self._stamped or bool(_STAMP.search(self._line[-_LONGEST_STAMP:]))
        if not self._stamped and self._line.endswith(_PROMPT_ENDS):  # the kernel asks nothing
            yield Text(self._line[-_LONGEST_PROMPT:], whole=False)

    def _end_line(self) -> Iterator[Text]:
        cut = _STAMP.search(self._line) if self._interleaved else None
        start = cut.start() if cut else 0
        self._line, line = self._line[:start], self._line[start:].rstrip("\r")
        self._stamped = False
        if line:
            yield Text(line, whole=True)
