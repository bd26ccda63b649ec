"""Where a guest finds the servers of its policy."""

import base64

from harness.lab.places import places_of, smbios_names
from harness.network.namespace import Endpoint
from harness.policy.pins import HsmPin, Pin, Sss, TangPin
from harness.policy.pins.systemd_hsm import HSM, HSM_PORT
from harness.policy.policy import Policy, Volume


def policy(*pins: Pin) -> Policy:
    return Policy("p", {}, (Volume("a", "/dev/a", Sss(1, pins), None, None),), "/dev/vda", (), "")


def test_servers_are_at_one_port_after_the_other_but_where_the_policy_says() -> None:
    first, second = TangPin("first", "@TANG_URL:first@"), TangPin("second", "@TANG_URL:second@")
    fixed = TangPin("fixed", "http://10.0.2.2:8080", "@TANG_THUMBPRINT:fixed@")
    found = places_of(policy(first, fixed, second))
    expected = {first: Endpoint(8081), fixed: Endpoint(8080), second: Endpoint(8082)}
    assert found == {pin.service: place for pin, place in expected.items()}
    assert smbios_names(found.values()) == ()


def test_an_hsm_is_where_the_guest_is_told_that_it_is() -> None:
    tang = TangPin("tang", "@TANG_URL@")
    assert places_of(policy(tang, HsmPin())) == {tang.service: Endpoint(8080), HSM: Endpoint(HSM_PORT)}


def test_an_address_and_a_name_are_taken_at_their_word() -> None:
    address = TangPin("tang-192-168-77-3-8080", "http://192.168.77.3:8080", "x")
    name, again = TangPin("tang-a-example", "http://a.example", "y"), TangPin("tang-b", "http://a.example:81", "z")
    found = places_of(policy(address, name, again))
    assert list(found.values()) == [
        Endpoint(8080, "192.168.77.3"),
        Endpoint(80, "192.0.2.1", "a.example"),
        Endpoint(81, "192.0.2.1", "a.example"),
    ]
    assert [each.url for each in found.values()] == [pin.url for pin in (address, name, again)]


def test_a_guest_is_told_the_names_by_a_credential() -> None:
    (string,) = smbios_names(
        [Endpoint(80, "192.0.2.1", "a.example"), Endpoint(81, "192.0.2.1", "a.example"), Endpoint(1)]
    )
    credential, _, encoded = string.partition("=")
    assert credential == "io.systemd.credential.binary:tmpfiles.extra"
    assert base64.b64decode(encoded).decode().splitlines() == [
        r"f+ /etc/hosts 0644 root root - 127.0.0.1 localhost\n127.0.1.1 unlock-lab\n192.0.2.1 a.example\n",
        r"f /etc/nsswitch.conf 0644 root root - hosts: files dns\n",
    ]
