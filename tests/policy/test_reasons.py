"""The sentences by which the oracle and the attacker's rules say why: they stand in reports and in `explain`."""

from dataclasses import replace

import pytest

from harness.policy.capabilities import Capabilities
from harness.policy.extract import Extraction, extract
from harness.policy.oracle import Prediction, predict
from harness.policy.pins import CryptenrollPin, Fido2Pin, Pin, Pkcs11Pin, Sss, TangPin, Tpm2Pin
from harness.policy.policy import Volume
from harness.policy.world import Header, Network, Server, Stack, TokenState, TpmState, World
from harness.unlock import Unlock

A, P, E, B = Unlock.AUTO, Unlock.PASSPHRASE_FALLBACK, Unlock.LOCKED, Unlock.REFUSED
DR, IT = Stack.DR, Stack.IT
TPM, TANG, TWO = Tpm2Pin(), TangPin("tang", "@TANG_URL@"), TangPin("two", "@TANG_URL:two@")
ENROLLED, PIN = CryptenrollPin((7,), name="enrolled"), CryptenrollPin((7,), asks_pin=True, name="by PIN")
BOTH, EITHER = Sss(2, (TPM, TANG)), Sss(1, (TPM, TANG))
PLAIN = Volume("var", "/dev/vda4", None, "secret", "/var")
NO_PASSPHRASE = replace(PLAIN, passphrase=None)
HEADLESS = replace(PLAIN, headless=True)
ABSENT = World(tpm=TpmState.ABSENT)
REFUSED = World(servers={"tang": Server.REFUSED})


def separate(*pins: Pin) -> Sss:
    return Sss(1, pins, separate=True)


def bound(volume: Volume, pins: Pin) -> Volume:
    return replace(volume, pins=pins)


@pytest.mark.parametrize(
    "case",
    [
        (PLAIN, World(image_refused=True), DR, B, set(), "the firmware does not start the boot image"),
        (
            *(PLAIN, World(header=Header.BOTH_ZEROED), DR, E, set()),
            "both copies of the LUKS header are gone, and the keyslots with them",
        ),
        (replace(PLAIN, key_file=True), World(), DR, A, set(), "a key file that the guest has opens it"),
        (PLAIN, World(), DR, P, set(), "it asks for the passphrase; no pin guards it"),
        (NO_PASSPHRASE, World(), IT, E, set(), "it asks for a passphrase that nobody has; no pin guards it"),
        (
            *(NO_PASSPHRASE, World(), DR, E, set()),
            "it does not ask: no keyslot takes a passphrase; no pin guards it",
        ),
        (HEADLESS, World(), DR, E, set(), "it never asks: headless; no pin guards it"),
        (
            *(bound(PLAIN, TPM), World(header=Header.TOKEN_REMOVED), IT, P, set()),
            "it asks for the passphrase; token removed, so no pin is asked",
        ),
        (bound(PLAIN, TPM), World(), DR, A, set(), "tpm2 answers"),
        (bound(PLAIN, BOTH), World(), DR, A, set(), "tpm2 and tang answer"),
        (
            *(bound(PLAIN, BOTH), World(network=Network.LATE_DHCP), DR, A, set()),
            "tpm2 and tang answer, once the network is up",
        ),
        (
            *(bound(PLAIN, EITHER), ABSENT, DR, A, {"tpm2"}),
            "tang answers; tpm2 does not answer: there is no TPM",
        ),
        (
            *(bound(PLAIN, BOTH), replace(ABSENT, network=Network.NO_LINK), DR, P, {"tpm2", "tang"}),
            "it asks for the passphrase; tpm2 does not answer: there is no TPM; "
            "tang does not answer: the network has no link",
        ),
        (
            *(bound(PLAIN, PIN), World(pin_typed=False), DR, E, set()),
            "it asks for the PIN, and waits for it for ever; by PIN does not answer: nobody types its PIN",
        ),
        (
            *(bound(PLAIN, Pkcs11Pin()), World(token=TokenState.PIN_BLOCKED), DR, E, {"pkcs11"}),
            "systemd-cryptsetup gives up, and asks for no passphrase; pkcs11 does not answer: its PIN is blocked",
        ),
        (
            *(bound(PLAIN, PIN), World(pin_right=False), DR, E, {"by PIN"}),
            "it asks for the PIN, and waits for it for ever; by PIN does not answer: what is typed is not its PIN",
        ),
        (
            *(bound(PLAIN, separate(PIN, TANG)), REFUSED, DR, P, {"tang"}),
            "it asks for the PIN, and by PIN answers to it; tang does not answer: its server refuses connections",
        ),
        (
            *(bound(PLAIN, EITHER), replace(ABSENT, header=Header.KEYSLOT_WIPED), IT, E, {"tpm2"}),
            "clevis answers every prompt with a passphrase whose keyslot is gone, until none is left (clevis#524); "
            "tpm2 does not answer: there is no TPM",
        ),
        (
            *(bound(HEADLESS, separate(TANG, ENROLLED)), ABSENT, DR, E, {"enrolled"}),
            "it never asks: headless; tang does not answer: clevis answers the prompt, and there is none; "
            "enrolled does not answer: there is no TPM",
        ),
    ],
)
def test_why_a_volume_does_what_it_does(case: tuple[Volume, World, Stack, Unlock, set[str], str]) -> None:
    volume, world, stack, unlock, failed, reason = case
    assert predict(volume, world, stack) == Prediction(unlock, frozenset(failed), reason)


def test_two_leaves_of_one_name_are_named_once() -> None:
    assert predict(bound(PLAIN, Sss(2, (TPM, replace(TPM, pcr_ids=(7,))))), World(), DR).reason == "tpm2 answers"


def test_a_late_network_is_waited_for_only_by_what_needs_it() -> None:
    late = replace(ABSENT, network=Network.LATE_DHCP)
    assert predict(bound(PLAIN, EITHER), late, DR).reason.startswith("tang answers, once the network is up; ")
    assert predict(bound(PLAIN, TPM), replace(late, tpm=TpmState.PRESENT), DR).reason == "tpm2 answers"


HEADER = Capabilities(disk=True)


@pytest.mark.parametrize(
    ("volume", "capabilities", "extracted", "reason"),
    [
        (
            *(bound(PLAIN, BOTH), Capabilities(ram=True), True),
            "the volume key is in the machine's memory while the volume is open",
        ),
        (
            *(PLAIN, Capabilities(old_secret=True), True),
            "the old header takes the revoked secret, and the volume key is still the same",
        ),
        (replace(PLAIN, key_file=True), HEADER, True, "a key file lies on the disk in the clear"),
        (replace(PLAIN, key_file=True), Capabilities(machine=True), True, "a key file lies on the disk in the clear"),
        (bound(PLAIN, TANG), Capabilities(network=True), False, "the attacker has no copy of the LUKS header"),
        (PLAIN, HEADER, False, "no pin guards it, and the attacker does not know the passphrase"),
        (
            *(bound(PLAIN, Sss(3, (TPM, TANG, Fido2Pin()))), replace(HEADER, network=True), False),
            "tpm2 does not answer: the attacker does not have the TPM; "
            "fido2 does not answer: the attacker does not have the security key",
        ),
        (
            *(bound(PLAIN, EITHER), Capabilities(machine=True, network=True), True),
            "tpm2 answers: a live system; tang answers: the attacker reaches the server",
        ),
    ],
)
def test_why_an_attacker_gets_it_or_not(
    volume: Volume, capabilities: Capabilities, extracted: bool, reason: str
) -> None:
    assert extract(volume, capabilities) == Extraction(extracted, reason)
