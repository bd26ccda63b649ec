"""The kinds of services that pins ask, and how the laboratory comes by servers of each: a new kind is an entry here."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.network.namespace import Endpoint
from harness.paths import IMAGES
from harness.policy.pins import TANG
from harness.policy.pins.systemd_hsm import KIND as HSM
from harness.policy.pins.systemd_pkcs11 import LABEL, PKCS11_PIN
from harness.progress import Progress
from harness.services.held import Held
from harness.services.hsm import serve_hsm
from harness.services.hsm_token import HsmToken
from harness.services.proxied import Asked
from harness.services.tang import make_keys, serve_tang
from harness.services.tang_keys import TangKeys

H = TypeVar("H", bound=Held)


@dataclass(frozen=True)
class ServiceKind(Generic[H]):
    """How servers of one kind are made and run.

    Attributes:
        shelf: Where the cache keeps what they hold.
        inputs: What decides that, beside the policy and the server's name, for `harness.cache.digest`.
        new: Makes what a server holds.
        load: Reads from a folder what `harness.services.held.save` wrote there.
        serve: Runs a server of a name that holds this, at an endpoint of the guests' networks.
    """

    shelf: str
    inputs: tuple[object, ...]
    new: Callable[[Progress], H]
    load: Callable[[Path], H]
    serve: Callable[[str, H, Endpoint, Progress], AbstractContextManager[Asked[Any]]]


KINDS: Mapping[str, ServiceKind[Any]] = {
    TANG: ServiceKind("tang-keys", (IMAGES / "tang",), make_keys, TangKeys.load, serve_tang),
    HSM: ServiceKind(
        "hsm-tokens", (LABEL, PKCS11_PIN), lambda _: HsmToken.new(LABEL, PKCS11_PIN), HsmToken.load, serve_hsm
    ),
}
"""By `harness.policy.pins.ServiceId.kind`."""
