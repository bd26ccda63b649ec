"""The tree of pins: what holds when, and the names and ports of the servers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.policy.document import Document
from harness.policy.pins import Pin, ServiceId, Sss, TangPin, Tpm2Pin, holds, leaves
from harness.policy.pins.placeholders import placeholder, placeholder_server
from harness.policy.pins.reading import Place
from harness.policy.policy import Policy, Volume

NAMES = ("tpm2", "tpm2-pcr7", "tang", "two", "three")

leaf = st.sampled_from(NAMES).map(
    lambda name: Tpm2Pin(name=name) if name.startswith("tpm2") else TangPin(name, placeholder("URL", name))
)


def thresholds(children: st.SearchStrategy[Pin]) -> st.SearchStrategy[Pin]:
    return st.lists(children, min_size=1, max_size=4).flatmap(
        lambda pins: st.integers(1, len(pins)).map(lambda threshold: Sss(threshold, tuple(pins)))
    )


trees: st.SearchStrategy[Pin] = st.recursive(leaf, thresholds, max_leaves=8)
available = st.frozensets(st.sampled_from(NAMES))


@given(trees, available, available)
def test_more_pins_never_turn_an_unlock_into_a_lock(tree: Pin, some: frozenset[str], more: frozenset[str]) -> None:
    assert holds(tree, some) <= holds(tree, some | more)


@given(trees)
def test_all_pins_open_and_none_does_not(tree: Pin) -> None:
    assert holds(tree, frozenset(pin.name for pin in leaves(tree)))
    assert not holds(tree, frozenset())


@given(trees, available)
def test_only_the_names_of_its_leaves_matter(tree: Pin, some: frozenset[str]) -> None:
    own = frozenset(pin.name for pin in leaves(tree))
    assert holds(tree, some) == holds(tree, some & own)


@given(st.lists(leaf, min_size=1, max_size=4, unique_by=lambda pin: pin.name), available)
def test_a_threshold_counts(pins: list[Pin], some: frozenset[str]) -> None:
    answering = sum(1 for pin in pins if isinstance(pin, Tpm2Pin | TangPin) and pin.name in some)
    for threshold in range(1, len(pins) + 1):
        assert holds(Sss(threshold, tuple(pins)), some) == (answering >= threshold)


def test_leaves_come_in_the_order_they_were_written() -> None:
    tree = Sss(1, (TangPin("two", "@TANG_URL:two@"), Sss(1, (Tpm2Pin(), TangPin("tang", "@TANG_URL@")))))
    assert [pin.name for pin in leaves(tree)] == ["two", "tpm2", "tang"]


@pytest.mark.parametrize(
    ("text", "what", "server"),
    [
        ("@TANG_URL@", "URL", "tang"),
        ("@TANG_URL:two@", "URL", "two"),
        ("@TANG_THUMBPRINT:two-2@", "THUMBPRINT", "two-2"),
        ("@TANG_THUMBPRINT@", "URL", None),
        ("@TANG_URL@/x", "URL", None),
        ("@TANG_URL:Two@", "URL", None),
        ("http://10.0.2.2:1234", "URL", None),
    ],
)
def test_placeholders(text: str, what: str, server: str | None) -> None:
    assert placeholder_server(text, what) == server
    if server:
        assert placeholder(what, server) == text


@pytest.mark.parametrize(
    ("pin", "provided", "address"),
    [
        (TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@"), True, ""),
        (TangPin("tang", "http://10.0.2.2:1234", "@TANG_THUMBPRINT@"), True, "http://10.0.2.2:1234"),
        (TangPin("tang", "http://10.0.2.2", "@TANG_THUMBPRINT@"), True, "http://10.0.2.2"),
        (TangPin("http://tang.example:7500", "http://tang.example:7500", "x"), False, "http://tang.example:7500"),
        (TangPin("tang-example", "http://tang.example", "x"), True, "http://tang.example"),
    ],
)
def test_which_servers_the_harness_provides(pin: TangPin, provided: bool, address: str) -> None:
    assert (pin.service.provided, pin.address, pin.name) == (provided, address, pin.server)


def test_a_mistake_may_be_that_of_a_whole_section() -> None:
    document = Document(Path("a.bu"), "")
    Place(document, ("storage", "luks", 0)).wrong("no pin")
    with pytest.raises(UsageError, match=r"^a\.bu:1: storage\.luks\[0\]: no pin$"):
        document.check()


def test_the_servers_of_a_policy_come_once_and_without_the_users_own() -> None:
    literal = TangPin("http://tang.example", "http://tang.example", "x")
    fixed = TangPin("fixed", "http://10.0.2.2:7500", "@TANG_THUMBPRINT:fixed@")
    tang, two = TangPin("tang", "@TANG_URL@"), TangPin("two", "@TANG_URL:two@")
    volumes = tuple(
        Volume(name, f"/dev/{name}", pins, None, None)
        for name, pins in (("a", Sss(1, (two, literal, fixed))), ("b", None), ("c", Sss(1, (tang, two))))
    )
    policy = Policy("p", {}, volumes, "/dev/vda", (), "")
    assert policy.tang_servers == ("two", "fixed", "tang")
    places = [policy.address_of(ServiceId("tang", name)) for name in ("two", "fixed", "none")]
    assert places == ["", "http://10.0.2.2:7500", ""]


def test_a_server_at_a_literal_place_can_be_at_any() -> None:
    literal, own = TangPin("tang-a", "http://a", "x" * 43), TangPin("https://a", "https://a", "x" * 43)
    assert literal.anywhere() == TangPin("tang-a", "@TANG_URL:tang-a@", "@TANG_THUMBPRINT:tang-a@")
    assert own.anywhere() == own
    assert Tpm2Pin().anywhere() == Tpm2Pin()
