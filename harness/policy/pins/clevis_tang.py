"""A key that a Tang server helps clevis to recover (pure).

Sources: clevis-encrypt-tang(1); clevis 20 clevis-decrypt-tang; tang 15.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.policy import urls
from harness.policy.capabilities import Capabilities
from harness.policy.pins.clevis import CLEVIS
from harness.policy.pins.kind import Leaf, Message, Opener, PinFailureCause, ReadPin, ServiceId
from harness.policy.pins.placeholders import GATEWAY, PLACEHOLDER, placeholder, placeholder_server
from harness.policy.pins.reading import Place
from harness.policy.world import Network, Server, World

TANG = "tang"
"""The kind of service that answers."""

_URL = re.compile(r"https?://[A-Za-z0-9._~:/?\[\]@%=+,-]+")
"""What can stand in a Tang URL: clevis hands it to a shell and to curl."""

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{27}|[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{64}|[A-Za-z0-9_-]{86}")
"""Base64url of a SHA-1, SHA-256, SHA-384 or SHA-512 digest (RFC 7638, section 3)."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_GUEST_NETWORK = ipaddress.ip_network("10.0.2.0/24")
_ADVERTISED = "its advertisement is that of another server"

_RESERVED = ("passphrase",)
"""What opens a volume by hand is called so in an outcome."""

_FAILURES = {
    Server.REFUSED: PinFailureCause("its server refuses connections"),
    Server.SILENT: PinFailureCause("its server is silent"),
    Server.STALLED: PinFailureCause("its server never answers", reported=False, hangs=True),
    Server.KEY_DELETED: PinFailureCause("its server has lost the key"),
    Server.IMPOSTER: PinFailureCause("an imposter has other keys"),
}


@dataclass(frozen=True)
class TangPin(Leaf):
    """clevis-encrypt-tang(1).

    Attributes:
        server: The name of the harness's own server: of a placeholder ``tang`` or what it names, of a literal URL that
            the harness can run a server at ``tang-example-com-7500``; else the URL.
        url: As the guest will see it, or a placeholder.
        thumbprint: Of the signing key (RFC 7638), or a placeholder.
    """

    server: str
    url: str
    thumbprint: str | None = None

    opener: ClassVar[Opener] = CLEVIS
    clevis_name: ClassVar[str] = "tang"
    header_type: ClassVar[str] = "tang"
    clevis_keys: ClassVar[tuple[str, ...]] = ("url", "thp", "adv")
    reported_as: ClassVar[str] = "tang"
    needs_network: ClassVar[bool] = True
    failures: ClassVar[tuple[Message, ...]] = (
        Message(r"(?P<reason>Error communicating with server (?P<url>\S+))"),
        Message(r"(?P<reason>Received invalid server reply!)"),
        Message(r"(?P<reason>JWE header validation of 'clevis\.tang\.adv' failed.*)", final=True),
        Message(r"(?P<reason>JWE missing required 'clevis\.tang\.\w+'.*)", final=True),
    )

    @property
    def name(self) -> str:
        """What failed pins are called in an outcome."""
        return self.server

    @property
    def service(self) -> ServiceId:
        """Its server; one at a place where the harness can run none is the user's own."""
        return ServiceId(TANG, self.server, self.server != self.url)

    @property
    def address(self) -> str:
        """Its URL, if that is literal."""
        return "" if placeholder_server(self.url, "URL") else self.url

    @property
    def not_run(self) -> str:
        """Why no server can be at its URL, in the network of a guest."""
        return "" if self.service.provided else why_not_run(self.url) or _ADVERTISED

    @property
    def unpredictable(self) -> str:
        """What a server does that the harness does not run is not known."""
        foreign = self.address and not self.service.provided
        return f"{self.address} is no server of this laboratory" if foreign else ""

    @property
    def own_keys(self) -> Mapping[tuple[str, str], str]:
        """The key of the harness's own server, in place of that of the user's."""
        literal = self.address and self.thumbprint and not placeholder_server(self.thumbprint, "THUMBPRINT")
        if not literal or not self.service.provided:
            return {}
        return {(self.url, str(self.thumbprint)): placeholder("THUMBPRINT", self.server)}

    @property
    def described(self) -> str:
        """Which server."""
        return f"Tang server {self.server}" + ("" if self.service.provided else " (not one of the laboratory's)")

    def warnings(self) -> Iterator[tuple[str, str]]:
        """That the initrd must find a server that goes by a name, and trust one behind https."""
        parts = urls.parse(self.address)
        if parts.scheme == "https":
            yield (
                "its Tang server is behind https, and clevis asks it by curl: the initrd must have its CA among the "
                "system's, to which ignition.security.tls adds none",
                "clevis#175",
            )
        host = parts.hostname or ""
        if host and not urls.is_ip(host):
            yield (
                f"its Tang server goes by the name {host}: the initrd must resolve it, and a name in .local it cannot",
                "clevis#148",
            )

    def renamed(self, service: str) -> "TangPin":
        """The same with another server."""
        return TangPin(service, service)

    def anywhere(self) -> "TangPin":
        """The same with placeholders."""
        if not self.service.provided:
            return self
        return TangPin(self.server, placeholder("URL", self.server), placeholder("THUMBPRINT", self.server))

    def clevis_config(self) -> dict[str, Any]:
        """URL and thumbprint."""
        return {"url": self.url, "thp": self.thumbprint}

    @classmethod
    def read(cls, place: Place, config: dict[str, Any], read_pin: ReadPin) -> "TangPin | None":
        """URL and thumbprint, of which the latter may be left to the harness."""
        if "url" not in config:
            place.wrong("url is missing")
            return None
        for key in ("url", "thp"):
            if not isinstance(config.get(key, ""), str):
                place.wrong("expected a string", key)
                return None
        return _pin(place, config, "thp")

    @classmethod
    def of_header(cls, config: Mapping[str, Any], crypttab: Collection[str]) -> "TangPin":
        """The URL, after whose host and port it is called."""
        url = str(config.get("url", ""))
        return cls(urls.parse(url).netloc or url, url)

    @classmethod
    def read_section(cls, place: Place, value: Any) -> list[Leaf]:
        """A list of servers."""
        times = Counter(tang["url"] for tang in value)
        pins: list[Leaf] = []
        for index, tang in enumerate(value):
            here = Place(place.document, (*place.path, "tang", index))
            pins.append(_pin(here, tang, "thumbprint"))
            if times[tang["url"]] > 1:
                here.wrong("Ignition takes each url only once", "url")
        return pins

    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """clevis-decrypt-tang needs a direct 200 from whoever holds the private key, advertised or hidden."""
        if world.network is Network.NO_LINK:
            return PinFailureCause("the network has no link")
        return _FAILURES.get(world.servers.get(self.server, Server.UP))

    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """By whoever reaches the server, or has its keys."""
        if self.server in capabilities.tang_keys:
            return True, "the attacker has the server's keys"
        if capabilities.network:
            return True, "the attacker reaches the server"
        return False, "the attacker is kept from the server"


def why_not_run(url: str) -> str:
    """Why the harness can run no server at a literal URL, in the network of a guest, or nothing."""
    parts = urls.parse(url)
    host = parts.hostname
    if parts.scheme != "http":
        return "no guest trusts a certificate of the laboratory"
    if "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
        return "the laboratory serves http://HOST:PORT, without a path, alone"
    if host and urls.is_ip(host):
        return _not_at_address(host)
    return "" if host and _NAME.fullmatch(host) else "that is no name of a host"


def _not_at_address(host: str) -> str:
    address = ipaddress.ip_address(host)
    if address.version != 4:
        return "a guest's network is IPv4"
    if host != GATEWAY and address in _GUEST_NETWORK:
        return f"of that network a guest reaches {GATEWAY} alone"
    odd = address.is_loopback or address.is_multicast or address.is_unspecified or address.is_reserved
    return "no other machine is at such an address" if odd else ""


def _named(url: str) -> str:
    """What the harness calls its server at a literal URL."""
    name = "-".join(re.findall(r"[a-z0-9]+", url.lower().removeprefix("http://")))
    return name if name.startswith("tang") else f"tang-{name}"


def _wrong_url(url: str) -> str:
    """What is wrong with a URL that is no placeholder, or nothing."""
    parts = urls.parse(url)
    if PLACEHOLDER.search(url):
        return "a placeholder is the whole url: @TANG_URL@ or @TANG_URL:name@"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"expected an http or https url or a placeholder, found {url!r}"
    fits = _URL.fullmatch(url)
    return "" if fits else f"a Tang url has no blanks, quotes and other signs of a shell; found {url!r}"


def _not_a_thumbprint(text: str) -> str:
    odd = re.search(r"[^A-Za-z0-9_-]", text)
    has = repr(odd[0]) if odd else f"{len(text)} characters"
    return (
        f"no thumbprint, since it has {has}: that is the base64url of a SHA-256 (43 characters) or a SHA-1 (27) of the "
        "signing key, by RFC 7638, as tang-show-keys prints it"
    )


def _pin(place: Place, tang: dict[str, Any], thumbprint_key: str) -> TangPin:
    """A Tang pin; a thumbprint that was left to the harness is written into `tang`."""
    url, thumbprint = tang["url"], tang.get(thumbprint_key)
    url_server = placeholder_server(url, "URL")
    key_server = placeholder_server(thumbprint, "THUMBPRINT") if thumbprint else None
    if url_server is None and (wrong := _wrong_url(url)):
        place.wrong(wrong, "url")
    if thumbprint and PLACEHOLDER.search(thumbprint) and key_server is None:
        whole = "@TANG_THUMBPRINT@ or @TANG_THUMBPRINT:name@"
        place.wrong(f"a placeholder is the whole thumbprint: {whole}", thumbprint_key)
    elif url_server is not None and thumbprint is None:
        tang[thumbprint_key] = thumbprint = placeholder("THUMBPRINT", url_server)
    elif url_server is not None and key_server != url_server:
        place.wrong(
            f"must be {placeholder('THUMBPRINT', url_server)} beside {url}: the harness makes that key", thumbprint_key
        )
    elif not thumbprint and "adv" not in tang:
        question = "clevis would ask whether to trust the server, and Ignition cannot answer"
        place.wrong(f"{thumbprint_key} is missing: {question}", thumbprint_key)
    elif key_server and not url_server and (why := why_not_run(url)):
        place.wrong(f"the harness runs no server there: {why}; write @TANG_URL@", "url")
    elif thumbprint and not key_server and not _THUMBPRINT.fullmatch(thumbprint):
        place.wrong(_not_a_thumbprint(thumbprint), thumbprint_key)
    own = "" if why_not_run(url) or {"adv", "advertisement"} & tang.keys() else _named(url)
    server = url_server or key_server or own or url
    if server.startswith("tpm2") or server in _RESERVED:
        place.wrong(f"a server cannot be called {server}: outcomes name another pin like that", "url")
    return TangPin(server, url, thumbprint)
