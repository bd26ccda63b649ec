"""A single value's text as the value that a key expects: by the rules of YAML, and by those of JSON."""

from base64 import b64encode

import pytest

from harness.policy.nodes import Scalar as ScalarNode
from harness.policy.scalars import of_json, of_yaml, wrong_value
from harness.policy.schema import Scalar

BINARY = "tag:yaml.org,2002:binary"
TEXTS = (Scalar.TEXT, Scalar.BYTES)


def plain(text: str, tag: str = "") -> ScalarNode:
    return ScalarNode(1, text, plain=True, tag=tag)


def quoted(text: str, tag: str = "") -> ScalarNode:
    return ScalarNode(1, text, plain=False, tag=tag)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("tag", ["", "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:int"])
def test_any_scalar_of_yaml_is_a_text(kind: Scalar, tag: str) -> None:
    assert of_yaml(plain("1_0", tag), kind) == of_yaml(quoted("1_0", tag), kind) == "1_0"


@pytest.mark.parametrize("kind", [*TEXTS, Scalar.FLAG, Scalar.NUMBER])
def test_a_scalar_under_a_tag_of_another_kind_is_none_of_them(kind: Scalar) -> None:
    assert of_yaml(plain("1", "tag:yaml.org,2002:map"), kind) is None
    assert of_yaml(plain("true", "!mine"), kind) is None


@pytest.mark.parametrize("kind", TEXTS)
def test_what_is_binary_is_a_text_of_those_bytes(kind: Scalar) -> None:
    assert of_yaml(quoted(b64encode(b"hi\xff").decode(), BINARY), kind) == "hi\udcff"
    assert of_yaml(quoted(" aG\n k=\t", BINARY), kind) == "hi"
    for wrong in ("a", "aGk", "aG!k=", "é"):
        assert of_yaml(quoted(wrong, BINARY), kind) is None


@pytest.mark.parametrize("kind", [Scalar.FLAG, Scalar.NUMBER])
def test_what_is_binary_is_no_flag_and_no_number(kind: Scalar) -> None:
    assert of_yaml(plain("1111", BINARY), kind) is None
    assert of_yaml(plain("true", BINARY), kind) is None


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        *((text, True) for text in ("true", "True", "TRUE", "y", "Y", "yes", "on")),
        *((text, False) for text in ("false", "False", "FALSE", "n", "N", "no", "off")),
        *((text, None) for text in ("YES", "On", "1", "", "~")),
    ],
)
def test_the_flags_of_yaml(text: str, flag: bool | None) -> None:
    assert of_yaml(plain(text), Scalar.FLAG) is flag
    assert of_yaml(quoted(text), Scalar.FLAG) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("+5", 5),
        ("-5", -5),
        ("1_000", 1000),
        ("0b101", 5),
        ("-0B1", -1),
        ("0o17", 15),
        ("0O17", 15),
        ("017", 15),
        ("+017", 15),
        ("-017", -15),
        ("00", 0),
        ("0x1F", 31),
        ("-0Xf", -15),
        ("9" * 80, 10**80 - 1),
        ("9" * 81, 2**64),
        ("018", None),
        ("0x", None),
        ("1.0", None),
        ("- 1", None),
        ("one", None),
        ("", None),
    ],
)
def test_the_whole_numbers_of_yaml(text: str, number: int | None) -> None:
    assert of_yaml(plain(text), Scalar.NUMBER) == number
    assert of_yaml(quoted(text), Scalar.NUMBER) is None


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_of_json_stands_in_quotes(kind: Scalar) -> None:
    assert of_json(quoted("12"), kind) == "12"
    assert of_json(plain("12"), kind) is None


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("false", False), ("True", None), ("yes", None)])
def test_the_flags_of_json(text: str, flag: bool | None) -> None:
    assert of_json(plain(text), Scalar.FLAG) is flag
    assert of_json(quoted(text), Scalar.FLAG) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-12", -12),
        ("9" * 20, 10**20 - 1),
        ("9" * 21, 2**64),
        ("+1", None),
        ("01", None),
        ("1e2", None),
        ("1_0", None),
    ],
)
def test_the_whole_numbers_of_json(text: str, number: int | None) -> None:
    assert of_json(plain(text), Scalar.NUMBER) == number
    assert of_json(quoted(text), Scalar.NUMBER) is None


@pytest.mark.parametrize("number", [2**63, -(2**63), 2**64])
def test_a_number_of_more_than_64_bits_cannot_stand_anywhere(number: int) -> None:
    assert wrong_value(number, Scalar.NUMBER) == "expected a whole number of at most 64 bits"


@pytest.mark.parametrize("value", [2**63 - 1, 1 - 2**63, 0, True])
def test_other_numbers_and_flags_can(value: int) -> None:
    assert wrong_value(value, Scalar.NUMBER) == ""


def test_a_text_holds_no_nul_and_no_bytes_that_are_none() -> None:
    assert wrong_value("a\0b", Scalar.TEXT) == "holds a NUL character"
    assert wrong_value("a\udcffb", Scalar.TEXT) == "holds bytes that are no UTF-8 text"
    assert wrong_value("aéb", Scalar.TEXT) == ""
    assert wrong_value("a\0b\udcff", Scalar.BYTES) == ""
