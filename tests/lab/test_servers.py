"""The servers of a policy: each holds what was made for it, and is where its guests look for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.lab.servers import held_for, served
from harness.network.namespace import Endpoint
from harness.policy.by_hand import BY_HAND
from harness.policy.pins import ServiceId, leaves
from harness.progress import Progress
from harness.services import kinds
from harness.services.held import save
from harness.services.hsm_token import HsmToken
from harness.services.kinds import KINDS, ServiceKind

ONE, TWO = ServiceId("tang", "one"), ServiceId("tang", "two")
VAULT = ServiceId("vault", "vault")
LAB: Any = SimpleNamespace(progress=Progress())


@dataclass(frozen=True)
class Secret:
    """What a vault holds."""

    number: int

    @property
    def files(self) -> tuple[tuple[str, bytes], ...]:
        return (("number", str(self.number).encode()),)

    @classmethod
    def load(cls, folder: Path) -> "Secret":
        return cls(int((folder / "number").read_text()))


def policy(name: str, *services: ServiceId, at: str = "") -> Any:
    """One whose pins ask these services, of which the first has to be at a place."""
    return SimpleNamespace(name=name, provided=services, address_of=lambda each: at if each == services[0] else "")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Secret]:
    """A third kind of service is an entry of `KINDS`; the secrets that were made so far."""
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    found: list[Secret] = []

    def new(_progress: Progress) -> Secret:
        found.append(Secret(len(found)))
        return found[-1]

    @contextmanager
    def serve(*what: object) -> Iterator[Any]:
        yield what[:-1]

    tangs = ServiceKind("tangs", (), new, Secret.load, serve)
    monkeypatch.setitem(kinds.KINDS, "tang", tangs)
    monkeypatch.setitem(kinds.KINDS, "vault", ServiceKind("vaults", (), new, Secret.load, serve))
    return found


def test_what_a_server_holds_is_made_once_for_each_policy_and_server(made: list[Secret]) -> None:
    first = held_for(LAB, policy("p", ONE, TWO, VAULT))
    assert first == {ONE: Secret(0), TWO: Secret(1), VAULT: Secret(2)}
    assert held_for(LAB, policy("p", VAULT, ONE)) == {VAULT: Secret(2), ONE: Secret(0)}
    assert held_for(LAB, policy("q", ONE)) == {ONE: Secret(3)}
    assert len(made) == 4


@pytest.mark.usefixtures("made")
def test_each_server_is_run_with_what_it_holds_where_its_guests_look_for_it() -> None:
    both = policy("p", TWO, VAULT, at="http://10.0.2.2:7500")
    held = held_for(LAB, both)
    with served(LAB, both, held) as running:
        found: dict[ServiceId, Any] = {**running}
        assert found == {TWO: ("two", Secret(0), Endpoint(7500)), VAULT: ("vault", Secret(1), Endpoint(8080))}


def test_the_laboratory_can_run_every_service_that_it_must_provide() -> None:
    by_hand = (leaf.service for each in BY_HAND.values() for pin in each.pins for leaf in leaves(pin))
    assert {service.kind for service in by_hand if service and service.provided} == set(KINDS)


def test_a_token_is_read_as_it_was_written(tmp_path: Path) -> None:
    token = HsmToken.new("lab", "2468")
    save(token, tmp_path / "token")
    assert HsmToken.load(tmp_path / "token") == token
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "token").iterdir()} == {0o600}
