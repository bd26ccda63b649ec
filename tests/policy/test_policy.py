"""What a policy knows of itself: its leaves, its servers, the banks and the TPM that it needs."""

from harness.policy.pins import TANG, Fido2Pin, ServiceId, Sss, TangPin, Tpm2Pin, Tpm12Pin
from harness.policy.pins.placeholders import placeholder
from harness.policy.policy import Policy, Volume


def tang(name: str, url: str | None = None) -> TangPin:
    return TangPin(name, url or placeholder("URL", name), placeholder("THUMBPRINT", name))


A, B, FIXED = tang("a"), tang("b"), tang("fixed", "http://10.0.2.2:7500")
THEIRS = TangPin("https://theirs.example", "https://theirs.example", "x" * 43)
TPM = Tpm2Pin((7,), "sha384")


def volume(*pins: TangPin | Tpm2Pin | Tpm12Pin | Fido2Pin) -> Volume:
    return Volume("v", "/dev/v", Sss(1, pins) if pins else None, None, None)


def policy(*volumes: Volume) -> Policy:
    return Policy("p", {}, volumes, "/dev/vda", (), "")


def test_the_leaves_and_servers_of_a_volume() -> None:
    found = volume(B, TPM, A, THEIRS, B)
    assert found.leaves == (B, TPM, A, THEIRS, B)
    assert found.tang_servers == ("b", "a", "https://theirs.example")
    assert (volume().leaves, volume(TPM, Fido2Pin()).tang_servers) == ((), ())


def test_the_leaves_and_services_of_a_policy() -> None:
    found = policy(volume(), volume(B, TPM), volume(THEIRS, A, B, Fido2Pin()))
    assert found.leaves == (B, TPM, THEIRS, A, B, Fido2Pin())
    assert [service.name for service in found.provided if service.kind == TANG] == ["b", "a"]
    assert ServiceId(TANG, "https://theirs.example") not in found.provided
    assert found.tang_servers == ("b", "a")
    assert len(found.provided) == len(set(found.provided))


def test_where_a_server_has_to_be() -> None:
    found = policy(volume(A), volume(FIXED))
    places = [found.address_of(ServiceId(TANG, name)) for name in ("fixed", "a", "none")]
    assert places == ["http://10.0.2.2:7500", "", ""]


def test_the_banks_and_the_specification_of_the_tpm() -> None:
    assert policy(volume(A)).pcr_banks == ("sha256",)
    assert policy(volume(A), volume(TPM)).pcr_banks == ("sha256", "sha384")
    assert policy(volume(TPM)).tpm_version == "2.0"
    assert policy(volume(TPM), volume(Tpm12Pin((4,)))).tpm_version == "1.2"


def test_the_keys_that_stand_for_those_of_the_users_servers() -> None:
    theirs = TangPin("theirs", "http://theirs.example", "x" * 43)
    assert policy(volume(A)).own_keys == {}
    assert policy(volume(A), volume(theirs)).own_keys == theirs.own_keys != {}
