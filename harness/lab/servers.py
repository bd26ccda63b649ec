"""The servers that a policy's machines need: what makes each the one that was bound to, and their life."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from harness.cache import build_once, digest
from harness.lab.laboratory import Laboratory
from harness.network.namespace import Endpoint
from harness.paths import IMAGES
from harness.policy.pins.systemd_hsm import HSM_PORT
from harness.policy.pins.systemd_hsm import KIND as HSM_KIND
from harness.policy.pins.systemd_pkcs11 import LABEL, PKCS11_PIN
from harness.policy.policy import Policy
from harness.services.hsm import Hsm, serve_hsm
from harness.services.hsm_token import HsmToken
from harness.services.tang import Tang, make_keys, serve_tang
from harness.services.tang_keys import TangKeys


def tang_keys(lab: Laboratory, policy: Policy) -> dict[str, TangKeys]:
    """The keys of a policy's Tang servers, made once for each policy and server: an input like any other."""

    def keys(server: str) -> TangKeys:
        made = digest(policy.name, server, IMAGES / "tang")
        return TangKeys.load(
            build_once("tang-keys", made, lambda folder: make_keys(lab.progress).save(folder), progress=lab.progress)
        )

    return {server: keys(server) for server in policy.tang_servers}


def hsm_tokens(lab: Laboratory, policy: Policy) -> dict[str, HsmToken]:
    """The tokens of a policy's HSMs, made once for each policy and HSM."""

    def token(name: str) -> HsmToken:
        made = digest(policy.name, name, LABEL, PKCS11_PIN)
        return HsmToken.load(
            build_once(
                "hsm-tokens",
                made,
                lambda folder: HsmToken.new(LABEL, PKCS11_PIN).save(folder),
                progress=lab.progress,
            )
        )

    return {service.name: token(service.name) for service in policy.provided if service.kind == HSM_KIND}


@contextmanager
def served(lab: Laboratory, places: Mapping[str, Endpoint], keys: Mapping[str, TangKeys]) -> Iterator[dict[str, Tang]]:
    """The Tang servers of a machine, running."""
    with ExitStack() as stack:
        yield {
            server: stack.enter_context(serve_tang(server, held, places[server], lab.progress))
            for server, held in keys.items()
        }


@contextmanager
def served_hsms(lab: Laboratory, tokens: Mapping[str, HsmToken]) -> Iterator[dict[str, Hsm]]:
    """The HSMs of a machine, running."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(serve_hsm(name, token, Endpoint(HSM_PORT), lab.progress))
            for name, token in tokens.items()
        }
