"""The verifier by itself: the real agent on real TPMs, honest and lying, and which of them Tang refuses for it."""

import http.client
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attesting import attest, bench

from harness.attestation.verdict import Refusal
from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.network.connection import HOME, Client
from harness.network.fault_proxy import FaultProxy
from harness.real_tools.toolbox import SHARED, Toolbox
from harness.real_tools.tpm import running_tpm
from harness.services.verifier import AGENT, Verifier, serve_verifier


def edited(old: str, new: str) -> str:
    text = AGENT.read_text()
    assert text.count(old) == 1, old
    return text.replace(old, new)


QUOTE = "tpm2_quote -Q -c ak.ctx"
AK = "tpm2_createak -Q -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak"
UNRESTRICTED = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
LIES: dict[Refusal, Callable[[], str]] = {
    Refusal.NONCE: lambda: edited('-q "$nonce"', "-q 00"),
    Refusal.VALUES: lambda: edited("ask quote", "head -c 448 /dev/zero >values; ask quote"),
    Refusal.SELECTION: lambda: edited('-l "$pcrs"', "-l sha256:7"),
    Refusal.MALFORMED: lambda: edited("ask register", "echo >ek; ask register"),
    Refusal.NOT_ACTIVATED: lambda: edited("ask activate", "echo guessed >secret; ask activate"),
    Refusal.NO_ATTESTATION_KEY: lambda: edited(
        AK,
        f"tpm2_createprimary -Q -C e -g sha256 -G ecc:ecdsa-sha256 -a '{UNRESTRICTED}' -c ak.ctx"
        " && tpm2_readpublic -Q -c ak.ctx -o ak",
    ),
}


@pytest.fixture(scope="module")
def ready() -> Iterator[tuple[Toolbox, Verifier]]:
    with bench() as both:
        yield both


def new_tpm(box: Toolbox, name: str) -> Path:
    state = box.shared / name
    tpms.manufacture(Tpm(state))
    return state


def verdict(box: Toolbox, verifier: Verifier, node: str, agent: str = "") -> Refusal | None:
    """Have the agent attest; what the verifier thinks of it, or that it gave no quote."""
    before = len(verifier.verdicts(node))
    attest(box, verifier, node, agent)
    given = verifier.verdicts(node)[before:]
    return (given[-1] if given else verifier.miss(node)).refusal


@pytest.mark.real
def test_every_lie_is_refused_with_its_reason(ready: tuple[Toolbox, Verifier]) -> None:
    box, verifier = ready
    with running_tpm(new_tpm(box, "tpm-a"), box.shared):
        assert verdict(box, verifier, "a") is None
        assert {wanted: verdict(box, verifier, "a", lie()) for wanted, lie in LIES.items()} == {x: x for x in LIES}
        assert verdict(box, verifier, "a") is None, "a good quote ends it"


@pytest.mark.real
def test_an_old_quote_is_refused_even_by_the_same_key(ready: tuple[Toolbox, Verifier]) -> None:
    box, verifier = ready
    again = edited(AK, "true").replace(QUOTE, "true")
    with running_tpm(new_tpm(box, "tpm-b"), box.shared):
        assert verdict(box, verifier, "b") is None
        assert verdict(box, verifier, "b", again) is Refusal.NONCE


@pytest.mark.real
def test_another_machine_s_quote_another_tpm_and_none_are_refused(ready: tuple[Toolbox, Verifier]) -> None:
    box, verifier = ready
    with running_tpm(new_tpm(box, "tpm-c"), box.shared):
        assert verdict(box, verifier, "c") is None
    with running_tpm(new_tpm(box, "tpm-d"), box.shared):
        assert verdict(box, verifier, "d") is None
        theirs = " && ".join(f"cp {SHARED}/c/{name} {name}" for name in ("message", "signature", "values"))
        assert verdict(box, verifier, "d", edited("ask quote", f"{theirs}; ask quote")) is Refusal.SIGNATURE
        assert verdict(box, verifier, "c") is Refusal.ANOTHER_TPM
    assert verdict(box, verifier, "c") is Refusal.NO_QUOTE


@pytest.mark.real
def test_what_else_was_measured_is_named_and_a_copy_of_an_older_tpm_is_found(
    ready: tuple[Toolbox, Verifier],
) -> None:
    box, verifier = ready
    state, older = new_tpm(box, "tpm-e"), box.shared / "tpm-e-older"
    with running_tpm(state, box.shared):
        assert verdict(box, verifier, "e") is None
    shutil.copytree(state, older, ignore=shutil.ignore_patterns(".lock"))
    with running_tpm(state, box.shared, (9, 12)):
        assert verdict(box, verifier, "e") is Refusal.PCRS
    assert verifier.verdicts("e")[-1].differing.keys() == {9, 12}
    with running_tpm(state, box.shared):
        assert verdict(box, verifier, "e") is None
    with running_tpm(older, box.shared):
        assert verdict(box, verifier, "e") is Refusal.RESET_COUNT


@pytest.mark.real
def test_a_tpm_of_a_foreign_authority_is_refused(
    ready: tuple[Toolbox, Verifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, verifier = ready
    with scratch(None) as cache:
        monkeypatch.setenv("UNLOCK_LAB_CACHE", str(cache))
        state = new_tpm(box, "tpm-f")
    with running_tpm(state, box.shared):
        assert verdict(box, verifier, "f") is Refusal.FOREIGN_EK


def answered(proxy: FaultProxy, machine: str) -> bool:
    try:
        proxy.connect(Client(machine, "once"), HOME).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_length_that_is_no_number_is_answered_and_breaks_nothing() -> None:
    with serve_verifier("verifier", (), ()) as verifier:
        assert verifier.proxy.upstream
        connection = http.client.HTTPConnection(*verifier.proxy.upstream, timeout=10)
        connection.request("POST", "/node/quote", headers={"Content-Length": "much"})
        assert connection.getresponse().status == 400
        connection.close()


def test_a_node_that_misses_its_quote_is_refused_by_tang_and_the_others_are_not() -> None:
    with serve_verifier("tang", (), ()) as tang, serve_verifier("verifier", (), (tang,)) as verifier:
        assert answered(tang.proxy, "node")
        verifier.miss("node")
        assert not answered(tang.proxy, "node")
        assert answered(tang.proxy, "other")
        assert "node: it gave no quote" in verifier.raw_log


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/node/quote", b"{}"),
        ("/node/register", b"{}"),
        ("/node/register", b"not JSON"),
        ("/node/register", b"[]"),
        ("/node/register", b'{"ek": 1}'),
        ("/node/register", b'{"ek": "not base64"}'),
        ("/node/no-such-verb", b"{}"),
        ("/", b""),
    ],
)
def test_what_is_no_request_is_answered_and_is_no_verdict(path: str, body: bytes) -> None:
    with serve_verifier("verifier", (), ()) as verifier:
        assert verifier.proxy.upstream
        connection = http.client.HTTPConnection(*verifier.proxy.upstream, timeout=10)
        connection.request("POST", path, body)
        response = connection.getresponse()
        said = response.read()
        connection.close()
        refused = path.endswith("quote")
        assert response.status == (403 if refused else 400), said
        assert bool(verifier.verdicts("node")) is refused
