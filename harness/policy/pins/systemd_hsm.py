"""A token of systemd-cryptenroll whose key an HSM on the network decrypts, by ``p11-kit remote`` (pure).

For systemd it is a PKCS#11 token like another: p11-kit fetches it from the network. Nothing of the key is in the guest.

Sources: systemd-cryptenroll(1), crypttab(5), pkcs11.conf(5), p11-kit(8); systemd 257 pkcs11-util.c.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from harness.policy.capabilities import Capabilities
from harness.policy.pins.kind import PinFailureCause, ServiceId
from harness.policy.pins.placeholders import GATEWAY
from harness.policy.pins.systemd import typed_pin_cause
from harness.policy.pins.systemd_pkcs11 import ANOTHER_KEY, Pkcs11Token
from harness.policy.world import Network, Server, World

KIND = "hsm"

HSM = ServiceId(KIND, "hsm", provided=True)
"""The HSM that the harness runs for the guest."""

HSM_PORT = 5696
"""Where the guest finds it, at its gateway."""


@dataclass(frozen=True)
class HsmPin(Pkcs11Token):
    """A PKCS#11 token of systemd-cryptenroll(1) that stands elsewhere on the network.

    What a guest says of it is what it says of `systemd_pkcs11`: for systemd it is one.

    Attributes:
        name: What failed pins are called in an outcome.
    """

    name: str = "hsm"

    needs_network: ClassVar[bool] = True
    carried: ClassVar[bool] = False

    @property
    def service(self) -> ServiceId:
        """The HSM."""
        return HSM

    @property
    def address(self) -> str:
        """Where the guest's p11-kit is told to find it."""
        return f"tcp://{GATEWAY}:{HSM_PORT}"

    @property
    def described(self) -> str:
        """What it is, and that a person must know something."""
        return "PKCS#11 token of an HSM on the network, with its PIN"

    def warnings(self) -> Iterator[tuple[str, str]]:
        """And what goes over the network."""
        yield from super().warnings()
        yield (
            "the PIN of the HSM and the key that it gives go over the network in the clear",
            "p11-kit(8), remote; put TLS or SSH in place of plain TCP",
        )
        yield (
            "an HSM that is silent keeps the prompt for the passphrase away for minutes: systemd looks three times, "
            "and token-timeout= ends no connection under way; connect-timeout= of socat does",
            "systemd 257, cryptsetup.c; truth table, hsm-silent; socat(1)",
        )

    def token(self) -> Iterator[str]:
        """Have p11-kit ask the HSM."""
        yield f"remote_pkcs11 {GATEWAY} {HSM_PORT}"

    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """It answers a client that reaches it and gives its PIN; another HSM has another key."""
        server = world.servers.get(HSM.name, Server.UP)
        if server is Server.IMPOSTER:
            return ANOTHER_KEY
        if server is not Server.UP:
            return PinFailureCause(f"the HSM is {server}, and systemd waits for a token in vain")
        if world.network is Network.NO_LINK:
            return PinFailureCause("there is no network, and systemd waits for a token in vain")
        if headless:
            return PinFailureCause("nobody is asked for its PIN: headless")
        return typed_pin_cause(world)

    def prompts(self, world: World) -> bool:
        """If it is reached: with another key in it, it asks too."""
        reached = world.servers.get(HSM.name, Server.UP) in (Server.UP, Server.IMPOSTER)
        return reached and world.network is not Network.NO_LINK

    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """By whoever reaches it, and knows its PIN."""
        if not capabilities.network:
            return False, "the attacker does not reach the HSM"
        if not capabilities.pin:
            return False, "the attacker does not know the PIN"
        return True, "the attacker reaches the HSM, and knows the PIN"
