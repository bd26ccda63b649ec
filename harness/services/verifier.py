"""A verifier as a scenario sees it: nodes attest to it, and Tang refuses those that it does not trust.

A node registers its TPM and gives a quote (`harness.attestation`), each time anew; ``attest.sh`` does so in a guest.
The first good quote admits it: that TPM and those PCRs are what is expected of it from then on. Once it is refused, the
services that are guarded refuse it, too, by its name and wherever it stands, until a good quote ends that quarantine.

Over HTTP, bodies in JSON with bytes in base64, refusals with status 403::

    POST /NODE/register  {certificate, ek, ak}             {credential}
    POST /NODE/activate  {secret}                          {nonce, pcrs}      for tpm2_quote(1)
    POST /NODE/quote     {message, signature, values}      {}
"""

import base64
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.x509 import Certificate

from harness.attestation.credential import SEED_BYTES, make_credential
from harness.attestation.verdict import (
    BANK,
    PCRS,
    Evidence,
    Identity,
    Refusal,
    RefusedError,
    Registration,
    Verdict,
    examine,
    judge,
)
from harness.network.connection import Mode
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint
from harness.network.serving import serving
from harness.services.service import Service, quarantine

PLACE = Endpoint(8881)
"""The port of Keylime's verifier."""

AGENT = Path(__file__).parents[1] / "attestation" / "attest.sh"
"""What a guest runs."""

_SECRET_BYTES = 32
_NONCE_BYTES = 20
_LARGEST = 2**20


@dataclass
class _Node:
    """What the verifier knows of a machine."""

    identity: Identity | None = None
    secret: bytes | None = None
    nonce: bytes | None = None
    ek: bytes | None = None
    expected: Mapping[int, str] | None = None
    resets: int = 0
    verdicts: list[Verdict] = field(default_factory=list)


class Verifier:
    """A verifier and the fault proxy before it, a `Service`. `serve_verifier` makes one.

    Attributes:
        name: For messages.
        endpoint: Where a guest finds it.
        proxy: For what the verbs below do not say.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        proxy: FaultProxy,
        authorities: Iterable[Certificate],
        guarded: Iterable[Service],
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self.proxy = proxy
        self._authorities = tuple(authorities)
        self._guarded = tuple(guarded)
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()
        self._log: list[str] = []
        self._failure: Callable[[], str | None] = lambda: None

    def start(self) -> None:
        """Answer."""
        self.proxy.mode = Mode.OPEN

    def stop(self) -> None:
        """Refuse connections; what it knows is kept."""
        self.proxy.mode = Mode.REFUSE

    def failure(self) -> str | None:
        """What is wrong with it or with the proxy."""
        return self.proxy.failure() or self._failure()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer what the proxy lets through, for the length of the block."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        with serving(server, self.name) as self._failure:
            self.proxy.upstream = ("127.0.0.1", server.server_port)
            yield

    @property
    def raw_log(self) -> str:
        """What it was asked and what it thought of it, line by line."""
        return "".join(f"{line}\n" for line in self._log)

    def url(self, node: str) -> str:
        """What a node calls it."""
        return f"{self.endpoint.url}/{node}"

    def verdicts(self, node: str) -> tuple[Verdict, ...]:
        """What it has thought of a node so far; the last one counts."""
        with self._lock:
            return tuple(self._nodes.get(node, _Node()).verdicts)

    def miss(self, node: str) -> Verdict:
        """Refuse a node that gave no quote in the time it had."""
        with self._lock:
            return self._decide(node, Verdict(Refusal.NO_QUOTE))

    def forget(self, node: str) -> None:
        """Forget what is expected of a node, whose owner has changed it: its next good quote admits it anew."""
        with self._lock:
            self._nodes.pop(node, None)

    def answer(self, path: str, body: Mapping[str, bytes]) -> Mapping[str, str]:
        """Answer a request of a node's.

        Args:
            path: ``/NODE/VERB``.
            body: The bytes that it sent, by their names.

        Raises:
            RefusedError: It is not trusted; its quarantine has begun.
            KeyError: Something is missing of the request, or there is no such verb.
        """
        _, node, verb = path.split("/") if path.count("/") == 2 else ("", "", path)
        answers: dict[str, Callable[[str, Mapping[str, bytes]], Mapping[str, str]]] = {
            "register": self._register,
            "activate": self._activate,
            "quote": self._quote,
        }
        with self._lock:
            try:
                return answers[verb](node, body)
            except RefusedError as error:
                self._decide(node, Verdict(error.refusal, error.detail))
                raise

    def _register(self, name: str, body: Mapping[str, bytes]) -> Mapping[str, str]:
        registration = Registration(body["certificate"], body["ek"], body["ak"])
        node = self._nodes.setdefault(name, _Node())
        node.identity = node.secret = node.nonce = None
        identity = examine(registration, self._authorities, datetime.now(UTC))
        if node.ek not in (None, identity.ek.name):
            raise RefusedError(Refusal.ANOTHER_TPM)
        node.secret = secrets.token_bytes(_SECRET_BYTES)
        try:
            credential = make_credential(identity.ek, identity.ak.name, node.secret, secrets.token_bytes(SEED_BYTES))
        except ValueError as error:
            raise RefusedError(Refusal.MALFORMED, str(error)) from error
        node.identity = identity
        self._say(name, f"registered the EK {identity.ek.name.hex()}")
        return {"credential": base64.b64encode(credential).decode()}

    def _activate(self, name: str, body: Mapping[str, bytes]) -> Mapping[str, str]:
        node = self._nodes.setdefault(name, _Node())
        secret, node.secret = node.secret, None
        if secret is None or not secrets.compare_digest(secret, body["secret"]):
            raise RefusedError(Refusal.NOT_ACTIVATED)
        node.nonce = secrets.token_bytes(_NONCE_BYTES)
        self._say(name, "activated its attestation key")
        return {"nonce": node.nonce.hex(), "pcrs": f"{BANK}:{','.join(map(str, PCRS))}"}

    def _quote(self, name: str, body: Mapping[str, bytes]) -> Mapping[str, str]:
        node = self._nodes.setdefault(name, _Node())
        nonce, node.nonce = node.nonce, None
        if nonce is None or node.identity is None:
            raise RefusedError(Refusal.NOT_ACTIVATED)
        evidence = Evidence(body["message"], body["signature"], body["values"])
        verdict = judge(evidence, node.identity.ak, nonce, node.expected, node.resets)
        if verdict.trusted:
            node.ek, node.expected, node.resets = node.identity.ek.name, verdict.pcrs, verdict.resets
        self._decide(name, verdict)
        return {}

    def _decide(self, name: str, verdict: Verdict) -> Verdict:
        """Write the verdict down, and act upon it."""
        self._nodes.setdefault(name, _Node()).verdicts.append(verdict)
        self._say(name, str(verdict))
        quarantine(self._guarded, name, ended=verdict.trusted)
        return verdict

    def _say(self, node: str, what: str) -> None:
        self._log.append(f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z {node}: {what}")


@contextmanager
def serve_verifier(
    name: str, authorities: Iterable[Certificate], guarded: Iterable[Service], endpoint: Endpoint = PLACE
) -> Iterator[Verifier]:
    """Run a verifier behind a fault proxy, answering.

    Args:
        name: For messages.
        authorities: From the one that signs EKs to the root that is trusted.
        guarded: Services that refuse the machines which it does not trust.
        endpoint: Where a guest finds it.

    Raises:
        RigError: On leaving: the fault proxy broke meanwhile.
    """
    with ExitStack() as stack:
        verifier = Verifier(name, endpoint, stack.enter_context(FaultProxy(name)), authorities, guarded)
        stack.enter_context(verifier.listening())
        verifier.start()
        yield verifier


def _handler(verifier: Verifier) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                size = int(self.headers.get("Content-Length", 0))
                body: dict[str, str] = json.loads(self.rfile.read(min(size, _LARGEST)))
                fields = {name: base64.b64decode(value, validate=True) for name, value in body.items()}
                status, answer = HTTPStatus.OK, verifier.answer(self.path, fields)
            except RefusedError as error:
                status, answer = HTTPStatus.FORBIDDEN, {"refused": str(error)}
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
                status, answer = HTTPStatus.BAD_REQUEST, {"wrong": repr(error)}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """What is to be known is in the verifier's own log."""

    return Handler
