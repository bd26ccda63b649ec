"""Where a guest finds the servers of its policy.

A literal URL of the policy is taken at its word: the server is at that address and port of the guest's own network, and
a name is known to the guest, from the initrd on. What the policy leaves open is at the gateway, one port after the
other.
"""

from base64 import b64encode
from collections.abc import Iterable
from itertools import count

from harness.network.namespace import Endpoint
from harness.policy import urls
from harness.policy.pins import ServiceId
from harness.policy.pins.placeholders import GATEWAY
from harness.policy.policy import Policy

FIRST_PORT = 8080
"""Where a guest finds the first server whose place its policy leaves open; each has a network of its own."""

_NAMED = "192.0.2."
"""The network in which servers are that go by a name: TEST-NET-1, RFC 5737."""

_NEWLINE = r"\n"
"""In a line of tmpfiles.d(5)."""

_HOSTS = ("127.0.0.1 localhost", "127.0.1.1 unlock-lab")
"""What stands in /etc/hosts of the images anyway."""


def places_of(policy: Policy) -> dict[ServiceId, Endpoint]:
    """Where each of the services is that the harness runs for a policy."""
    fixed, numbers = {}, count(1)
    hosts: dict[str, str] = {}
    for service in policy.provided:
        parts = urls.parse(policy.address_of(service))
        if parts.hostname and urls.is_ip(parts.hostname):
            fixed[service] = Endpoint(parts.port or 80, parts.hostname)
        elif parts.hostname:
            address = hosts.setdefault(parts.hostname, f"{_NAMED}{next(numbers)}")
            fixed[service] = Endpoint(parts.port or 80, address, parts.hostname)
    taken = {each.port for each in fixed.values() if each.address == GATEWAY}
    free = (port for port in count(FIRST_PORT) if port not in taken)
    return {service: fixed.get(service) or Endpoint(next(free)) for service in policy.provided}


def smbios_names(places: Iterable[Endpoint]) -> tuple[str, ...]:
    """SMBIOS type 11 strings by which a guest knows the names of these places; none if they have none.

    systemd takes a credential from them, which systemd-tmpfiles carries out in the initrd and in the system
    (systemd.system-credentials(7), ``tmpfiles.extra``). The initrd has no nsswitch.conf, and would ask DNS first.
    """
    known = sorted({(each.address, each.name) for each in places if each.name})
    if not known:
        return ()
    hosts = [*_HOSTS, *(f"{address} {name}" for address, name in known)]
    text = "".join(
        f"{verb} {path} 0644 root root - {''.join(f'{line}{_NEWLINE}' for line in lines)}\n"
        for verb, path, lines in (("f+", "/etc/hosts", hosts), ("f", "/etc/nsswitch.conf", ["hosts: files dns"]))
    )
    return (f"io.systemd.credential.binary:tmpfiles.extra={b64encode(text.encode()).decode()}",)
