"""A McCallum-Relyea client in whole numbers, as clevis is one: for tests of a Tang server without a guest.

With the server's public key S = s·G, a client binds with a random c: it keeps C = c·G, the secret is K = c·S, and c is
forgotten. To recover it blinds C with a random e, has the server multiply: Y = s·(C + e·G), and finds K = Y - e·S.
Source: tang(8), "Recovery"; clevis's src/pins/tang.
"""

import base64
import http.client
import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.network.connection import Client
from harness.services.service import Service
from harness.services.tang_keys import thumbprint

# NIST P-521 (FIPS 186-4, D.1.2.5)
P = 2**521 - 1
G = (
    0x00C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5BD66,
    0x011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD16650,
)

SCALAR_BITS = 128
"""Short for speed: these secrets guard nothing."""

Point = tuple[int, int] | None

TESTER = Client("tester", "test")


def add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(factor: int, point: Point) -> Point:
    total: Point = None
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def decode(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def encode(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(66, "big")).rstrip(b"=").decode()


def from_jwk(jwk: dict[str, str]) -> Point:
    return decode(jwk["x"]), decode(jwk["y"])


def to_jwk(point: Point) -> dict[str, object]:
    assert point is not None
    x, y = point
    return {
        "alg": "ECMR",
        "kty": "EC",
        "crv": "P-521",
        "x": encode(x),
        "y": encode(y),
        "key_ops": ["deriveKey"],
    }


def ask(port: int, method: str, path: str, body: str | None = None, timeout: float = 10.0) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": "application/jwk+json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@dataclass(frozen=True)
class Binding:
    """What a client keeps, and (for the test alone) the secret that it forgets."""

    server_key: dict[str, str]
    client_point: Point
    secret: Point

    @classmethod
    def make(cls, port: int) -> "Binding":
        status, reply = ask(port, "GET", "/adv")
        assert status == 200, reply
        payload = json.loads(reply)["payload"]
        keys = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["keys"]
        [server_key] = [key for key in keys if key["alg"] == "ECMR"]
        c = secrets.randbits(SCALAR_BITS)
        return cls(server_key, multiply(c, G), multiply(c, from_jwk(server_key)))

    def recover(self, port: int, timeout: float = 10.0) -> tuple[int, Point]:
        """The server's status, and the secret found; a server with other keys finds another one."""
        e = secrets.randbits(SCALAR_BITS)
        blinded = add(self.client_point, multiply(e, G))
        path = f"/rec/{thumbprint(self.server_key)}"
        status, reply = ask(port, "POST", path, json.dumps(to_jwk(blinded)), timeout)
        if status != 200:
            return status, None
        x, y = multiply(e, from_jwk(self.server_key)) or (0, 0)
        return status, add(from_jwk(json.loads(reply)), (x, P - y))


def bound_listener() -> socket.socket:
    """A socket such as comes out of a machine's network: bound to a port by its number, and not listening."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = free.getsockname()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(place)
    return listener


@contextmanager
def reachable(service: Service, client: Client = TESTER, site: str = "home") -> Iterator[int]:
    """Serve a service on a port of this host's loopback, as if a machine had it in its network; yields the port."""
    listener = bound_listener()
    with service.proxy.serve(listener, client, site):
        yield listener.getsockname()[1]
