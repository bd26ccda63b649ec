"""A single value's text as the value that a key expects (pure).

By YAML's rules, as gopkg.in/yaml.v3 has them, or by JSON's.
"""

import base64
import binascii
import re

from harness.policy.nodes import Scalar as ScalarNode
from harness.policy.schema import Scalar

_TRUE = {"true", "True", "TRUE", "y", "Y", "yes", "on"}
_FALSE = {"false", "False", "FALSE", "n", "N", "no", "off"}
_WHOLE = re.compile(r"[-+]?(0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|[1-9][0-9]*|0)")
SCALAR_TAGS = {"", "!"} | {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value")
}
"""Tags of single values that a file may give; no tag among them."""

_BINARY = "tag:yaml.org,2002:binary"
_TEXTS = (Scalar.TEXT, Scalar.BYTES)
_TOO_LARGE = 2**64


def of_yaml(node: ScalarNode, kind: Scalar) -> str | int | bool | None:
    """The value of a scalar of YAML, or None when it is of another kind."""
    if kind in _TEXTS and node.tag == _BINARY:
        return _binary(node.text)
    if node.tag not in SCALAR_TAGS:
        return None
    if kind in _TEXTS:
        return node.text
    if kind is Scalar.FLAG:
        return node.text in _TRUE if node.plain and node.text in _TRUE | _FALSE else None
    digits = node.text.replace("_", "")
    if not node.plain or not _WHOLE.fullmatch(digits):
        return None
    return _whole(digits) if len(digits) <= 80 else _TOO_LARGE


def of_json(node: ScalarNode, kind: Scalar) -> str | int | bool | None:
    """The value of a scalar of JSON, or None when it is of another kind."""
    if kind in _TEXTS:
        return None if node.plain else node.text
    if kind is Scalar.FLAG:
        return node.text == "true" if node.plain and node.text in ("true", "false") else None
    if not node.plain or not re.fullmatch(r"-?(0|[1-9][0-9]*)", node.text):
        return None
    return int(node.text) if len(node.text) <= 20 else _TOO_LARGE


def wrong_value(value: str | int | bool, kind: Scalar) -> str:
    """Why a value cannot stand in a config or on a command line, or nothing."""
    if isinstance(value, int):
        return "" if abs(value) < 2**63 else "expected a whole number of at most 64 bits"
    if kind is Scalar.BYTES:
        return ""
    if "\0" in value:
        return "holds a NUL character"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds bytes that are no UTF-8 text"
    return ""


def _binary(text: str) -> str | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode(errors="surrogateescape")
    except (binascii.Error, ValueError):
        return None


def _whole(text: str) -> int:
    # strconv.ParseInt with base 0, as yaml.v3 calls it: a leading zero means octal.
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if re.fullmatch(r"0[0-7]+", digits):
        return sign * int(digits, 8)
    return sign * int(digits, 0)
