"""Security tokens: what the oracle and the attacker's rules say of them, and how they are bound."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.capabilities import Capabilities
from harness.policy.enrolment import Enrolment, enrolled
from harness.policy.extract import extract
from harness.policy.maintenance import rebound, unbound
from harness.policy.oracle import predict
from harness.policy.pins import CryptenrollPin, Fido2Pin, HsmPin, Pin, Pkcs11Pin, Sss, TangPin, Tpm2Pin
from harness.policy.pins.systemd_fido2 import FIDO2_PIN
from harness.policy.pins.systemd_pkcs11 import PKCS11_PIN
from harness.policy.policy import Policy, Volume
from harness.policy.world import Stack, TokenState, TpmState, World
from harness.unlock import Unlock

A, P, E = Unlock.AUTO, Unlock.PASSPHRASE_FALLBACK, Unlock.LOCKED
KEY, KEY_WITH_PIN, SOFT = Fido2Pin(), Fido2Pin(asks_pin=True), Pkcs11Pin()
IN_TPM = Pkcs11Pin(in_tpm=True)
THIEF = Capabilities(machine=True, disk=True)


@pytest.fixture(scope="module")
def base() -> Policy:
    return read_policy(POLICIES / "passphrase.bu")


def volume(pins: Pin) -> Volume:
    return Volume("var", "/dev/vda4", pins, "secret", "/var")


def lines(base: Policy, pin: Pin) -> str:
    return "\n".join(enrolled(base, Enrolment("mine", (pin,))).enrolment)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (TokenState.PRESENT, [A, P, P]),
        (TokenState.ABSENT, [P, P, P]),
        (TokenState.ANOTHER, [P, P, E]),
        (TokenState.PIN_BLOCKED, [A, E, E]),
    ],
)
def test_what_a_security_token_decides(token: TokenState, expected: list[Unlock]) -> None:
    said = [predict(volume(pin), World(token=token), Stack.DR) for pin in (KEY, KEY_WITH_PIN, SOFT)]
    assert [each.unlock for each in said] == expected


def test_which_security_tokens_say_that_they_failed() -> None:
    failed = {
        token: [predict(volume(pin), World(token=token), Stack.DR).failed_pins for pin in (KEY, KEY_WITH_PIN, SOFT)]
        for token in (TokenState.PRESENT, TokenState.ABSENT, TokenState.ANOTHER)
    }
    assert failed[TokenState.PRESENT] == [set(), set(), set()]
    assert failed[TokenState.ABSENT] == [{"fido2"}, {"fido2"}, {"pkcs11"}]
    assert failed[TokenState.ANOTHER] == [{"fido2"}, {"fido2"}, set()], "another PKCS#11 key decrypts, too"


@pytest.mark.parametrize(("beside", "expected"), [(Tpm2Pin(), E), (CryptenrollPin((7,)), A)], ids=["clevis", "systemd"])
def test_what_ends_systemd_cryptsetup_costs_the_prompt_that_clevis_answers(beside: Pin, expected: Unlock) -> None:
    """A token of systemd's own that answers opens before that."""
    pins = Sss(1, (SOFT, beside), separate=True)
    assert predict(volume(pins), World(token=TokenState.ANOTHER), Stack.DR).unlock is expected


@pytest.mark.parametrize(
    ("world", "expected", "failed"),
    [
        (World(), P, set()),
        (World(tpm=TpmState.ABSENT), P, {"pkcs11"}),
        (World(tpm=TpmState.ANOTHER), E, {"pkcs11"}),
        (World(tpm=TpmState.CLEARED), E, {"pkcs11"}),
        (World(power_cuts=2), P, set()),
        (World(power_cuts=3), E, {"pkcs11"}),
    ],
)
def test_a_token_in_the_tpm_answers_by_that_tpm_alone(world: World, expected: Unlock, failed: set[str]) -> None:
    """Where it is found and cannot log in, nobody is asked for the passphrase, either."""
    said = predict(volume(IN_TPM), world, Stack.DR)
    assert (said.unlock, set(said.failed_pins)) == (expected, failed)


def test_a_thief_of_the_disk_has_its_files_and_not_its_keys() -> None:
    has = [
        Capabilities(disk=True, pin=True),
        replace(THIEF, pin=True),
        Capabilities(disk=True, pin=True, tpm_state=True),
    ]
    assert [extract(volume(IN_TPM), each).extracted for each in has] == [False, True, True]


def test_a_pin_that_nobody_types_is_waited_for() -> None:
    untyped = World(pin_typed=False)
    assert [predict(volume(pin), untyped, Stack.DR).unlock for pin in (KEY, KEY_WITH_PIN, SOFT)] == [A, E, E]
    absent = replace(untyped, token=TokenState.ABSENT)
    said = [predict(volume(pin), absent, Stack.DR).unlock for pin in (KEY, KEY_WITH_PIN, SOFT)]
    assert said == [P, E, P], "that of a FIDO2 key is wanted before one is looked for"


def test_initramfs_tools_asks_neither_and_headless_nobody() -> None:
    assert [predict(volume(pin), World(), Stack.IT).unlock for pin in (KEY, SOFT)] == [P, P]
    silent = [replace(volume(pin), headless=True) for pin in (KEY, SOFT)]
    assert [predict(each, World(), Stack.DR).unlock for each in silent] == [A, E]


@pytest.mark.parametrize(
    ("pin", "extracted"),
    [
        (KEY, [False, False, True, True]),
        (KEY_WITH_PIN, [False, False, False, True]),
        (SOFT, [False, True, False, True]),
    ],
    ids=["key", "key and PIN", "soft token"],
)
def test_what_a_thief_of_disk_and_machine_gets(pin: Pin, extracted: list[bool]) -> None:
    """Without the token, with its PIN, with the token, with both."""
    has = [THIEF, replace(THIEF, pin=True), replace(THIEF, tokens=True), replace(THIEF, pin=True, tokens=True)]
    assert [extract(volume(pin), each).extracted for each in has] == extracted


def test_a_security_key_is_enrolled_without_a_touch(base: Policy) -> None:
    said = lines(base, KEY)
    assert "--fido2-device=auto --fido2-with-client-pin=no --fido2-with-user-presence=no" in said
    assert "fido2-device=auto" in said
    assert enrolled(base, Enrolment("mine", (KEY,))).volumes[0].tpm_pin is None
    said = lines(base, KEY_WITH_PIN)
    assert f"with_fido2_pin {FIDO2_PIN} systemd-cryptenroll --fido2-device=auto --fido2-with-client-pin=yes" in said
    assert enrolled(base, Enrolment("mine", (KEY_WITH_PIN,))).volumes[0].tpm_pin == FIDO2_PIN


def test_a_pkcs11_token_is_made_once_and_enrolled_by_its_pin(base: Policy) -> None:
    said = lines(base, SOFT)
    assert f"soft_token lab disk {PKCS11_PIN}\n" in said
    assert f"PIN={PKCS11_PIN} systemd-cryptenroll --pkcs11-token-uri='pkcs11:token=lab;object=disk;type=public'" in said
    assert "pkcs11-uri=auto" in said


def test_what_systemd_asks_over_the_network_waits_for_it(base: Policy) -> None:
    waits = ["open_after var network-online.target", "systemd-cryptsetup@var.service.wants"]
    assert [wait in lines(base, HsmPin()) for wait in waits] == [True, True]
    assert [wait in lines(base, SOFT) for wait in waits] == [False, False]
    assert [wait in lines(base, TangPin("tang", "URL", "THUMBPRINT")) for wait in waits] == [False, False]


@pytest.mark.parametrize(("pin", "slot"), [(KEY, "fido2"), (SOFT, "pkcs11")])
def test_each_is_renewed_and_removed_by_its_own_type_of_slot(pin: Pin, slot: str) -> None:
    bound = Sss(1, (pin, Tpm2Pin()), separate=True)
    again = "\n".join(rebound([volume(bound)]).commands)
    assert f"--wipe-slot={slot} " in again
    assert "--wipe-slot=tpm2" not in again
    assert "clevis luks regen" in again
    assert f'systemd-cryptenroll --wipe-slot={slot} "$device"' in unbound([volume(bound)]).commands


def test_two_tokens_of_a_type_are_both_renewed() -> None:
    """The second enrolment must not wipe the first."""
    two = Sss(1, (KEY, Fido2Pin(name="spare")), separate=True)
    enrolls = [line for line in rebound([volume(two)]).commands if "--fido2-device" in line]
    assert ["--wipe-slot=fido2" in line for line in enrolls] == [True, False]


def test_policies_say_what_they_need(base: Policy, tmp_path: Path) -> None:
    assert not base.provided
    assert {leaf.service for leaf in enrolled(base, Enrolment("mine", (KEY,))).leaves} == {KEY.service}
