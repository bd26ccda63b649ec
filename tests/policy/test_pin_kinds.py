"""What each pin kind says of itself, to the letter: shells, reports and people take it as it is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.policy.capabilities import PCRLOCK_PCRS, Capabilities, ExecutionPath
from harness.policy.document import Document
from harness.policy.pins import (
    CryptenrollPin,
    Fido2Pin,
    HsmPin,
    Leaf,
    Parsec,
    ParsecProvider,
    Pin,
    PinFailureCause,
    Pkcs11Pin,
    ServiceId,
    Sss,
    TangPin,
    Tpm2Pin,
    Tpm12Pin,
    bindings,
    changed,
    evaluate,
    subtrees,
    with_threshold,
)
from harness.policy.pins.clevis import CLEVIS
from harness.policy.pins.parsec import PARSEC_KEY
from harness.policy.pins.reading import Place
from harness.policy.pins.systemd import CRYPTENROLL
from harness.policy.pins.tpm import TPM
from harness.policy.pins.tpm12 import TPM_TOOLS
from harness.policy.world import Network, Server, TokenState, TpmState, World

TANG = TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")
OWN = TangPin("http://tang.local:7500", "http://tang.local:7500", "x" * 43)
WITH_PIN = CryptenrollPin((7,), asks_pin=True)
SIGNED = CryptenrollPin(signed_pcr_ids=(11, 12))
IN_TPM = Pkcs11Pin(in_tpm=True)
IN_FILES = Parsec(ParsecProvider.MBED_CRYPTO)


@pytest.mark.parametrize(
    ("leaf", "described"),
    [
        (Tpm2Pin(), "TPM, sealed by clevis to no PCR"),
        (Tpm2Pin((1, 7)), "TPM, sealed by clevis to PCR 1, 7 (sha1, the default of clevis)"),
        (Tpm2Pin((7,), "sha256"), "TPM, sealed by clevis to PCR 7 (sha256)"),
        (TANG, "Tang server tang"),
        (OWN, "Tang server http://tang.local:7500 (not one of the laboratory's)"),
        (CryptenrollPin(), "TPM, sealed by systemd-cryptenroll to no PCR"),
        (CryptenrollPin((0,), (11,)), "TPM, sealed by systemd-cryptenroll to PCR 0, 11 (sha256)"),
        (WITH_PIN, "TPM, sealed by systemd-cryptenroll to PCR 7 (sha256), with a PIN"),
        (SIGNED, "TPM, sealed by systemd-cryptenroll to a signature over PCR 11, 12"),
        (
            CryptenrollPin((7,), signed_pcr_ids=(11,)),
            "TPM, sealed by systemd-cryptenroll to PCR 7 (sha256) and to a signature over PCR 11",
        ),
        (CryptenrollPin(pcrlock=True), "TPM, sealed by systemd-cryptenroll under a pcrlock policy"),
        (Fido2Pin(), "FIDO2 security key"),
        (Fido2Pin(asks_pin=True), "FIDO2 security key, with its PIN"),
        (Pkcs11Pin(), "PKCS#11 token, with its PIN"),
        (IN_TPM, "PKCS#11 token in the TPM, with its PIN"),
        (HsmPin(), "PKCS#11 token of an HSM on the network, with its PIN"),
        (Parsec(), "key of Parsec, kept in the TPM, to no PCR"),
        (IN_FILES, "key of Parsec, kept in files beside it"),
        (Tpm12Pin((4, 8)), "TPM 1.2, sealed by tpm_sealdata to PCR 4, 8 (sha1)"),
    ],
)
def test_what_it_is(leaf: Leaf, described: str) -> None:
    assert leaf.described == described


NO_PCR = (
    "its TPM seal is bound to no PCR: any system started on this machine can unseal it",
    "clevis-encrypt-tpm2(1), pcr_ids; clevis#331, #335; test_stolen_foreign_os",
)
VENDOR = (
    "PCR 7 tells by whose key the boot image was let in: under a vendor's keys every distribution's medium has "
    "the same value; only keys of your own make it yours",
    "TCG PC Client Platform Firmware Profile, 3.3.4.8; bootc#476; test_stolen_foreign_os_under_secure_boot",
)
DBX = (
    "an update of db or dbx changes PCR 7: have the passphrase at hand before you install one",
    "clevis#536; fwupd#7939",
)
NO_BANK = (
    "it names no pcr_bank: clevis 20 takes sha1, and a TPM without that bank refuses the binding; "
    "clevis 24 takes the first bank that the TPM has",
    "clevis-encrypt-tpm2(1), pcr_bank; clevis#300, #329, #490; docs/explanation/levels.md",
)
SHA1 = (
    "its PCRs are those of the bank sha1: a TPM without that bank refuses the binding",
    "clevis-encrypt-tpm2(1), pcr_bank; clevis#300, #329",
)


def cuts(what: str) -> tuple[str, str]:
    return (
        f"3 power cuts lock the TPM out, as {what}: the boot after them asks, and "
        "`tpm2_dictionarylockout --clear-lockout` repairs it",
        "TPM 2.0 Library, Part 1, 19.8; clevis#333; systemd#30330; scenarios/test_power_cuts.py",
    )


NAMED = (
    "its Tang server goes by the name tang.local: the initrd must resolve it, and a name in .local it cannot",
    "clevis#148",
)
SAME_NAME = (
    "a token of the same name with another key keeps the volume shut: systemd takes it for the right one, and then "
    "asks for no passphrase",
    "systemd 257, cryptsetup.c; test_another_hsm_at_its_address_costs_the_prompt_for_the_passphrase",
)
CLEVIS_CUTS = cuts("the parent of what clevis sealed is not noDA")


@pytest.mark.parametrize(
    ("leaf", "warnings"),
    [
        (Tpm2Pin(), [NO_PCR, CLEVIS_CUTS]),
        (Tpm2Pin((7,), "sha256"), [VENDOR, DBX, CLEVIS_CUTS]),
        (Tpm2Pin((0, 1, 2, 3, 7), "sha1"), [VENDOR, DBX, CLEVIS_CUTS, SHA1]),
        (Tpm2Pin((4, 7)), [CLEVIS_CUTS, NO_BANK]),
        (Tpm2Pin((0,), "sha256"), [CLEVIS_CUTS]),
        (CryptenrollPin((0, 2)), []),
        (WITH_PIN, [VENDOR, DBX, cuts("what a PIN guards is not noDA")]),
        (TANG, []),
        (TangPin("tang", "http://10.0.2.2:80", "@TANG_THUMBPRINT@"), []),
        (TangPin("tang", "http://[fe80::1]:80", "@TANG_THUMBPRINT@"), []),
        (OWN, [NAMED]),
        (
            TangPin("https://192.0.2.1", "https://192.0.2.1", "@TANG_THUMBPRINT@"),
            [
                (
                    "its Tang server is behind https, and clevis asks it by curl: the initrd must have its CA among "
                    "the system's, to which ignition.security.tls adds none",
                    "clevis#175",
                )
            ],
        ),
        (
            TangPin("https://tang.local", "https://tang.local"),
            [
                (
                    "its Tang server is behind https, and clevis asks it by curl: the initrd must have its CA among "
                    "the system's, to which ignition.security.tls adds none",
                    "clevis#175",
                ),
                NAMED,
            ],
        ),
        (
            Fido2Pin(),
            [
                (
                    "it asks for no PIN: whoever takes the machine with its security key opens it",
                    "test_stolen_machine_with_its_security_key",
                )
            ],
        ),
        (
            Fido2Pin(asks_pin=True),
            [
                (
                    "three wrong PINs block the security key until it is plugged in anew, and systemd then asks for no "
                    "passphrase in that boot",
                    "CTAP 2.1, 6.5.6; systemd 257, cryptsetup.c; "
                    "test_three_wrong_pins_block_the_security_key_and_cost_the_prompt_for_the_passphrase",
                )
            ],
        ),
        (IN_TPM, [SAME_NAME]),
        (
            Pkcs11Pin(),
            [
                SAME_NAME,
                (
                    "the token's files are on the disk, and count no wrong PINs: whoever has the disk can try them all",
                    "SoftHSM 2.6.1, SecureDataManager.cpp; test_a_token_in_files_is_as_good_as_its_pin",
                ),
            ],
        ),
        (
            HsmPin(),
            [
                SAME_NAME,
                (
                    "the PIN of the HSM and the key that it gives go over the network in the clear",
                    "p11-kit(8), remote; put TLS or SSH in place of plain TCP",
                ),
                (
                    "an HSM that is silent keeps the prompt for the passphrase away for minutes: systemd looks three "
                    "times, and token-timeout= ends no connection under way; connect-timeout= of socat does",
                    "systemd 257, cryptsetup.c; truth table, hsm-silent; socat(1)",
                ),
            ],
        ),
        (Parsec(), [NO_PCR, cuts("Parsec's keys are not noDA")]),
        (
            IN_FILES,
            [
                (
                    "its key lies in clear on the disk that it is to protect (Parsec's provider Mbed Crypto)",
                    "seed 002 has it for tests; tests/real_tools/test_parsec.py",
                )
            ],
        ),
        (Tpm12Pin(), [NO_PCR]),
        (Tpm12Pin((7,)), [VENDOR, DBX]),
    ],
)
def test_what_its_owner_should_know(leaf: Leaf, warnings: list[tuple[str, str]]) -> None:
    assert list(leaf.warnings()) == warnings


@pytest.mark.parametrize(
    ("leaf", "pcrs", "banks"),
    [
        (Tpm2Pin(), frozenset(), frozenset()),
        (Tpm2Pin((7,)), {7}, {"sha1"}),
        (Tpm2Pin((7,), "sha256"), {7}, {"sha256"}),
        (CryptenrollPin((7,), (15,), (11,)), {7, 11, 15}, frozenset()),
        (CryptenrollPin(pcrlock=True), PCRLOCK_PCRS, frozenset()),
        (CryptenrollPin((4,), (7, 11), pcrlock=True), {4, 7, 11}, frozenset()),
        (WITH_PIN, {7}, frozenset()),
        *((leaf, None, frozenset()) for leaf in (TANG, Fido2Pin(), Pkcs11Pin())),
    ],
)
def test_the_pcrs_and_banks_that_it_needs(leaf: Leaf, pcrs: frozenset[int] | None, banks: frozenset[str]) -> None:
    assert (leaf.bound_pcrs, leaf.pcr_banks) == (pcrs, banks)


def test_what_it_talks_to() -> None:
    assert [leaf.service for leaf in (Tpm2Pin(), WITH_PIN, TANG, Fido2Pin(), Pkcs11Pin())] == [
        *(TPM, TPM),
        ServiceId("tang", "tang"),
        ServiceId("fido2", "security key"),
        None,
    ]
    assert [leaf.needs_network for leaf in (Tpm2Pin(), TANG, Fido2Pin())] == [False, True, False]


@pytest.mark.parametrize(
    ("leaf", "needs_machine"),
    [
        *((leaf, False) for leaf in (Tpm2Pin((7,)), TANG, WITH_PIN)),
        *((leaf, True) for leaf in (SIGNED, CryptenrollPin(initrd_pcr_ids=(11,)), CryptenrollPin(pcrlock=True))),
        *((leaf, True) for leaf in (Fido2Pin(), Pkcs11Pin(), HsmPin())),
    ],
)
def test_only_a_boot_measures_its_initrd_and_only_a_machine_has_devices(leaf: Leaf, needs_machine: bool) -> None:
    assert leaf.needs_machine is needs_machine


@pytest.mark.parametrize(
    ("leaf", "typed", "options"),
    [
        *((leaf, None, ()) for leaf in (Tpm2Pin((7,)), TANG, CryptenrollPin((7,)), Fido2Pin())),
        (replace(WITH_PIN, measures=True), "2580", ("tpm2-measure-pcr=yes",)),
        (Fido2Pin(asks_pin=True), "135790", ()),
        (Pkcs11Pin(), "24680", ()),
    ],
)
def test_what_a_person_types_and_crypttab_says(leaf: Leaf, typed: str | None, options: tuple[str, ...]) -> None:
    assert (leaf.typed, leaf.crypttab_options) == (typed, options)


def cause(leaf: Leaf, world: World, *, headless: bool = False) -> PinFailureCause | None:
    return leaf.failure_cause(world, headless=headless)


UNTYPED = World(pin_typed=False)


@pytest.mark.parametrize(
    ("leaf", "world", "why"),
    [
        (
            Tpm2Pin(),
            World(tpm=TpmState.OWNER_AUTH_SET),
            "owner authorization is set, so its primary key cannot be made",
        ),
        (Tpm2Pin(), World(tpm=TpmState.ABSENT), "there is no TPM"),
        (Tpm2Pin(), World(tpm=TpmState.VERSION_1_2), "the TPM is a 1.2"),
        (Tpm2Pin(), World(tpm=TpmState.ANOTHER), "another TPM cannot load what this one sealed"),
        (CryptenrollPin(), World(tpm=TpmState.CLEARED), "the TPM was cleared, and its storage seed with it"),
        *(
            (Tpm2Pin(), world, "the TPM is locked out, and the parent of what clevis sealed is not noDA")
            for world in (World(tpm=TpmState.LOCKED_OUT), World(power_cuts=3), World(power_cuts=4))
        ),
        (CryptenrollPin((7,)), World(changed_pcrs=frozenset({7})), "PCR 7 has changed"),
        (
            CryptenrollPin((7,), (11,)),
            World(changed_pcrs=frozenset({4, 7, 11})),
            "PCRs 7 and 11 have changed",
        ),
        (
            CryptenrollPin((11,)),
            World(),
            "PCR 11 was enrolled in the running system, a later phase than the initrd's (systemd-pcrphase.service(8))",
        ),
        (SIGNED, World(signature_valid=False), "no signature vouches for the present PCR 11"),
        (
            CryptenrollPin(pcrlock=True),
            World(pcrlock_valid=False),
            "the pcrlock policy is missing, or does not allow the present PCRs",
        ),
        *(
            (WITH_PIN, world, "the TPM is locked out, so it takes no PIN")
            for world in (World(tpm=TpmState.LOCKED_OUT), World(power_cuts=3))
        ),
        (IN_TPM, World(tpm=TpmState.ABSENT), "there is no TPM"),
        (TANG, World(network=Network.NO_LINK), "the network has no link"),
        (TANG, World(servers={"tang": Server.REFUSED}), "its server refuses connections"),
        (TANG, World(servers={"tang": Server.SILENT}), "its server is silent"),
        (TANG, World(servers={"tang": Server.KEY_DELETED}), "its server has lost the key"),
        (TANG, World(servers={"tang": Server.IMPOSTER}), "an imposter has other keys"),
        *(
            (token, World(token=TokenState.ABSENT), "there is no security token, and systemd waits for one in vain")
            for token in (Fido2Pin(), Pkcs11Pin())
        ),
        (Fido2Pin(), World(token=TokenState.ANOTHER), "another security token does not have the key"),
        (Fido2Pin(asks_pin=True), World(pin_right=False), "what is typed is not its PIN"),
        (HsmPin(), World(servers={"hsm": Server.REFUSED}), "the HSM is refused, and systemd waits for a token in vain"),
        (HsmPin(), World(servers={"hsm": Server.SILENT}), "the HSM is silent, and systemd waits for a token in vain"),
        (HsmPin(), World(network=Network.NO_LINK), "there is no network, and systemd waits for a token in vain"),
        (HsmPin(), World(pin_right=False), "what is typed is not its PIN"),
        (Parsec(), World(tpm=TpmState.OWNER_AUTH_SET), "Parsec does not know the owner's authorization"),
        (Parsec(), World(tpm=TpmState.CLEARED), "the TPM was cleared, and its storage seed with it"),
        *(
            (Parsec(), world, "the TPM is locked out, and Parsec's keys are not noDA")
            for world in (World(tpm=TpmState.LOCKED_OUT), World(power_cuts=3))
        ),
        *(
            (Tpm12Pin(), World(tpm=tpm), "another TPM cannot load what this one sealed")
            for tpm in (TpmState.ANOTHER, TpmState.VERSION_1_2)
        ),
        (Tpm12Pin(), World(tpm=TpmState.ABSENT), "there is no TPM"),
        (Tpm12Pin((4,)), World(changed_pcrs=frozenset({4})), "PCR 4 has changed"),
    ],
)
def test_why_it_does_not_hold_and_says_so(leaf: Leaf, world: World, why: str) -> None:
    assert cause(leaf, world) == PinFailureCause(why, reported=True, hangs=False)


@pytest.mark.parametrize(
    ("leaf", "world", "why", "reported"),
    [
        (Fido2Pin(asks_pin=True), World(token=TokenState.PIN_BLOCKED), "its PIN is blocked", True),
        (Pkcs11Pin(), World(token=TokenState.PIN_BLOCKED), "its PIN is blocked", True),
        (IN_TPM, World(tpm=TpmState.ANOTHER), "another TPM cannot load what this one sealed", True),
        (IN_TPM, World(tpm=TpmState.CLEARED), "the TPM was cleared, and its storage seed with it", True),
        *(
            (IN_TPM, world, "the TPM is locked out, so it takes no PIN", True)
            for world in (World(tpm=TpmState.LOCKED_OUT), World(power_cuts=3))
        ),
        (Pkcs11Pin(), World(token=TokenState.ANOTHER), "another key decrypts to something else", False),
        (HsmPin(), World(servers={"hsm": Server.IMPOSTER}), "another key decrypts to something else", False),
    ],
)
def test_what_ends_systemd_cryptsetup(leaf: Leaf, world: World, why: str, reported: bool) -> None:
    assert cause(leaf, world) == PinFailureCause(why, reported=reported, ends=True)


@pytest.mark.parametrize(
    ("leaf", "world"),
    [
        *((leaf, World()) for leaf in (Tpm2Pin((7,)), WITH_PIN, SIGNED, TANG, Fido2Pin(asks_pin=True), Pkcs11Pin())),
        *((IN_TPM, world) for world in (World(), World(power_cuts=2))),
        *((Pkcs11Pin(), World(tpm=tpm)) for tpm in (TpmState.ABSENT, TpmState.LOCKED_OUT)),
        (Tpm2Pin(), World(power_cuts=2)),
        (WITH_PIN, World(power_cuts=2)),
        (CryptenrollPin((7,)), World(power_cuts=3)),
        (CryptenrollPin((7,)), World(tpm=TpmState.LOCKED_OUT)),
        (CryptenrollPin((7,)), World(signature_valid=False, pcrlock_valid=False, pin_typed=False)),
        (CryptenrollPin(initrd_pcr_ids=(11,)), World()),
        (SIGNED, World(changed_pcrs=frozenset({11}))),
        (TANG, World(servers={"two": Server.REFUSED}, network=Network.LATE_DHCP)),
        (Fido2Pin(), World(token=TokenState.PIN_BLOCKED, pin_typed=False)),
        *((HsmPin(), world) for world in (World(), World(servers={"tang": Server.REFUSED}, tpm=TpmState.ABSENT))),
        *((Parsec(), world) for world in (World(power_cuts=2), World(changed_pcrs=frozenset({7})))),
        *((IN_FILES, World(tpm=tpm)) for tpm in (TpmState.ABSENT, TpmState.OWNER_AUTH_SET, TpmState.LOCKED_OUT)),
        (Tpm12Pin((4,)), World(changed_pcrs=frozenset({7}), power_cuts=3)),
    ],
)
def test_when_it_holds(leaf: Leaf, world: World) -> None:
    assert cause(leaf, world) is None


@pytest.mark.parametrize("leaf", [WITH_PIN, Fido2Pin(asks_pin=True), Pkcs11Pin(), HsmPin()])
def test_a_pin_that_nobody_types(leaf: Leaf) -> None:
    assert cause(leaf, UNTYPED) == PinFailureCause("nobody types its PIN", reported=False)
    assert cause(leaf, UNTYPED, headless=True) == PinFailureCause("nobody is asked for its PIN: headless")


def test_a_server_that_stalls_keeps_clevis_for_ever() -> None:
    stalled = World(servers={"tang": Server.STALLED})
    assert cause(TANG, stalled) == PinFailureCause("its server never answers", reported=False, hangs=True)


@pytest.mark.parametrize(
    ("leaf", "world", "asks"),
    [
        (WITH_PIN, World(), True),
        (WITH_PIN, World(tpm=TpmState.LOCKED_OUT, token=TokenState.ABSENT), True),
        (WITH_PIN, World(tpm=TpmState.ANOTHER), False),
        (CryptenrollPin((7,)), World(), False),
        (Fido2Pin(), World(), False),
        (Fido2Pin(asks_pin=True), World(tpm=TpmState.ABSENT), True),
        (Fido2Pin(asks_pin=True), World(token=TokenState.PIN_BLOCKED), True),
        *((Fido2Pin(asks_pin=True), World(token=token), True) for token in (TokenState.ANOTHER, TokenState.ABSENT)),
        (Pkcs11Pin(), World(token=TokenState.ANOTHER), True),
        (Pkcs11Pin(), World(token=TokenState.ABSENT), False),
        (Pkcs11Pin(), World(tpm=TpmState.ABSENT), True),
        (IN_TPM, World(), True),
        (IN_TPM, World(tpm=TpmState.ABSENT), False),
        (TANG, World(), False),
        *((HsmPin(), World(servers={"hsm": server}), True) for server in (Server.UP, Server.IMPOSTER)),
        (HsmPin(), World(), True),
        (HsmPin(), World(servers={"hsm": Server.REFUSED}), False),
        (HsmPin(), World(network=Network.NO_LINK), False),
    ],
)
def test_when_it_asks_for_its_pin(leaf: Leaf, world: World, asks: bool) -> None:
    assert leaf.prompts(world) is asks


CHANGED = "the attacker's code changes what it is bound to"
NOTHING, THIEF = Capabilities(), Capabilities(machine=True)
INITRD = replace(THIEF, paths=frozenset({ExecutionPath.INITRD}))


@pytest.mark.parametrize(
    ("leaf", "capabilities", "extracted", "how"),
    [
        (Tpm2Pin((7,)), Capabilities(tpm_bus=True), True, "it is read on the bus"),
        (Tpm2Pin((7,)), Capabilities(tpm_state=True), True, "all that the TPM keeps was copied"),
        (CryptenrollPin((7,)), Capabilities(tpm_bus=True), False, "the attacker does not have the TPM"),
        (Tpm2Pin(), THIEF, True, "a live system"),
        (Tpm2Pin((7,)), THIEF, False, CHANGED),
        (Tpm2Pin((7,)), INITRD, True, "another initrd, which the boot loader does not verify"),
        (Tpm2Pin((9,)), INITRD, False, CHANGED),
        (WITH_PIN, Capabilities(tpm_state=True), False, "the attacker does not know the PIN"),
        (WITH_PIN, Capabilities(tpm_state=True, pin=True), True, "all that the TPM keeps was copied"),
        (TANG, Capabilities(tang_keys=frozenset({"tang"})), True, "the attacker has the server's keys"),
        (TANG, Capabilities(tang_keys=frozenset({"two"})), False, "the attacker is kept from the server"),
        (TANG, Capabilities(network=True), True, "the attacker reaches the server"),
        (Fido2Pin(), NOTHING, False, "the attacker does not have the security key"),
        (HsmPin(), Capabilities(machine=True, pin=True), False, "the attacker does not reach the HSM"),
        (HsmPin(), Capabilities(network=True), False, "the attacker does not know the PIN"),
        (HsmPin(), Capabilities(network=True, pin=True), True, "the attacker reaches the HSM, and knows the PIN"),
        (Fido2Pin(), Capabilities(tokens=True), True, "the attacker has the security key"),
        (Fido2Pin(asks_pin=True), Capabilities(tokens=True), False, "the attacker does not know the PIN"),
        (Fido2Pin(asks_pin=True), Capabilities(tokens=True, pin=True), True, "the attacker has the security key"),
        (Pkcs11Pin(), Capabilities(tokens=True), False, "the attacker does not know the PIN"),
        (
            Pkcs11Pin(),
            Capabilities(pin=True),
            True,
            "the token's files are on the disk, and the attacker knows the PIN",
        ),
        (IN_TPM, Capabilities(disk=True, pin=True), False, "the attacker does not have the TPM"),
        *(
            (IN_TPM, with_tpm, True, "the token's files are on the disk, and the attacker knows the PIN")
            for with_tpm in (Capabilities(machine=True, pin=True), Capabilities(tpm_state=True, pin=True))
        ),
        (IN_FILES, NOTHING, True, "Parsec's key is in files on the disk"),
        (Parsec(), Capabilities(tpm_bus=True), False, "the attacker does not have the TPM"),
        (Parsec(), THIEF, True, "a live system"),
        (Tpm12Pin((4,)), Capabilities(tpm_bus=True), True, "it is read on the bus"),
        (Tpm12Pin((4,)), THIEF, False, "the attacker's code changes what it is bound to"),
        *(
            (leaf, replace(THIEF, paths=frozenset({ExecutionPath.ROGUE_ROOT})), False, CHANGED)
            for leaf in (Tpm12Pin((11,)), Tpm2Pin((15,)))
        ),
    ],
)
def test_what_an_attacker_needs(leaf: Leaf, capabilities: Capabilities, extracted: bool, how: str) -> None:
    assert leaf.extraction(capabilities, frozenset({11, 15})) == (extracted, how)


def test_another_server_and_another_name() -> None:
    assert TANG.renamed("two") == TangPin("two", "two")
    assert Tpm2Pin().renamed("two") == Tpm2Pin(), "a TPM has no name of its own"
    assert Tpm2Pin((1, 7)).distinct().name == "tpm2-pcr1+7"
    assert Tpm2Pin().distinct() == Tpm2Pin()
    assert TANG.distinct() is TANG
    assert (TANG.address, OWN.address, Tpm2Pin().address) == ("", "http://tang.local:7500", "")


# The lines for root's shell.


@pytest.mark.parametrize(
    ("pin", "lines"),
    [
        (
            Tpm2Pin((1, 7), "sha256"),
            [
                'printf %s "$PASSWORD" | clevis luks bind -y -k - -d "$device" tpm2 '
                """'{"pcr_bank": "sha256", "pcr_ids": "1,7"}'"""
            ],
        ),
        (
            CryptenrollPin((0, 7)),
            ['systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs=0+7 --tpm2-public-key= "$device"'],
        ),
        (
            replace(WITH_PIN, signed_pcr_ids=(11, 12)),
            [
                "NEWPIN=2580 systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs=7 "
                "--tpm2-public-key=/etc/systemd/tpm2-pcr-public-key.pem --tpm2-public-key-pcrs=11+12 "
                '--tpm2-with-pin=yes "$device"'
            ],
        ),
        (
            CryptenrollPin(initrd_pcr_ids=(7, 11), pcrlock=True),
            [
                "pcrlock_policy 7 11",
                "systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs= --tpm2-public-key= "
                '--tpm2-pcrlock=/var/lib/systemd/pcrlock.json "$device"',
            ],
        ),
        (
            CryptenrollPin(initrd_pcr_ids=(11, 15)),
            [
                "systemd-cryptenroll --tpm2-device=auto "
                f"--tpm2-pcrs=11:sha256=$(/usr/lib/unlock-lab/pcr-11)+15:sha256={'0' * 64} "
                '--tpm2-public-key= "$device"',
            ],
        ),
        (
            CryptenrollPin(initrd_pcr_ids=(11, 15), further_phases=("leave-initrd", "sysinit")),
            [
                "pcr11=$(/usr/lib/unlock-lab/pcr-11)",
                'pcr11=$(extended_pcr "$pcr11" leave-initrd sysinit)',
                f"systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs=11:sha256=$pcr11+15:sha256={'0' * 64} "
                '--tpm2-public-key= "$device"',
            ],
        ),
        (
            Fido2Pin(),
            [
                "systemd-cryptenroll --fido2-device=auto --fido2-with-client-pin=no --fido2-with-user-presence=no "
                '"$device"'
            ],
        ),
        (
            Fido2Pin(asks_pin=True),
            [
                "with_fido2_pin 135790 systemd-cryptenroll --fido2-device=auto "
                '--fido2-with-client-pin=yes --fido2-with-user-presence=no "$device"',
            ],
        ),
        (
            HsmPin(),
            [
                "remote_pkcs11 10.0.2.2 5696",
                "PIN=24680 systemd-cryptenroll --pkcs11-token-uri='pkcs11:token=lab;object=disk;type=public' "
                '"$device"',
            ],
        ),
        (Parsec(), ['/usr/lib/unlock-lab/parsec-key bind "$device" tpm']),
        (IN_FILES, ['/usr/lib/unlock-lab/parsec-key bind "$device" mbed-crypto']),
        (Tpm12Pin((4, 8)), ['/usr/lib/unlock-lab/seal-tpm12 "$device" 4 8']),
        (
            Pkcs11Pin(),
            [
                "soft_token lab disk 24680",
                "PIN=24680 systemd-cryptenroll --pkcs11-token-uri='pkcs11:token=lab;object=disk;type=public' "
                '"$device"',
            ],
        ),
        (
            IN_TPM,
            [
                "[[ -e /etc/tpm2_pkcs11 ]] || { mkdir -m 700 /etc/tpm2_pkcs11"
                " && tpm2_ptool init --path=/etc/tpm2_pkcs11"
                " && tpm2_ptool addtoken --pid=1 --sopin=24680 --label=lab --userpin=24680 --path=/etc/tpm2_pkcs11"
                " && tpm2_ptool addkey --algorithm=rsa2048 --key-label=disk"
                " --label=lab --userpin=24680 --path=/etc/tpm2_pkcs11; }",
                "PIN=24680 systemd-cryptenroll --pkcs11-token-uri='pkcs11:token=lab;object=disk;type=public' "
                '"$device"',
            ],
        ),
    ],
)
def test_how_it_is_bound(pin: Leaf, lines: list[str]) -> None:
    assert list(pin.opener.bind(pin)) == lines


def test_pcrs_that_nothing_predicts_cannot_be_bound_to() -> None:
    with pytest.raises(UsageError) as caught:
        list(CryptenrollPin(initrd_pcr_ids=(11, 4)).enroll())
    assert caught.value.what == "nothing predicts what the initrd will find in PCR 4"
    assert caught.value.detail == "give it in pcr_ids"


def test_a_pin_is_bound_by_its_own_tool_alone() -> None:
    with pytest.raises(UsageError, match=r"^systemd-cryptenroll has no such token: Tpm2Pin\("):
        list(Tpm2Pin().enroll())
    with pytest.raises(UsageError, match=r"^clevis has no such pin: Fido2Pin\("):
        Fido2Pin().clevis_config()
    with pytest.raises(UsageError, match=r"^clevis has no such pin: Fido2Pin$"):
        Fido2Pin.read(Place(Document(Path("a.bu"), ""), ()), {}, lambda *_: None)


def test_how_bindings_are_renewed_edited_and_removed() -> None:
    two = [Tpm2Pin(), TANG]
    assert list(CLEVIS.renew(two)) == ['each_binding 2 clevis luks regen -q -d "$device"']
    assert list(CLEVIS.remove(two)) == ['each_binding 2 clevis luks unbind -f -d "$device"']
    assert list(CLEVIS.edit(Tpm2Pin((7,)))) == [
        """each_binding 1 clevis luks edit -d "$device" -c '{"pcr_ids": "7"}'"""
    ]
    tokens = [Fido2Pin(), Pkcs11Pin(), Fido2Pin(name="spare")]
    assert list(CRYPTENROLL.remove(tokens)) == [
        f'systemd-cryptenroll --wipe-slot={slot} "$device"' for slot in ("fido2", "pkcs11")
    ]
    [enrolled] = CRYPTENROLL.renew([CryptenrollPin((7,))])
    assert enrolled.startswith("systemd-cryptenroll --wipe-slot=tpm2 --tpm2-device=auto ")
    assert " --wipe-slot=pkcs11 --pkcs11-token-uri=" in list(CRYPTENROLL.renew([Pkcs11Pin()]))[-1]
    parsec = "/usr/lib/unlock-lab/parsec-key"
    assert list(PARSEC_KEY.remove([Parsec()])) == [f'{parsec} remove "$device"']
    assert list(PARSEC_KEY.renew([Parsec()])) == [f'{parsec} remove "$device"', f'{parsec} bind "$device" tpm']
    assert list(TPM_TOOLS.renew([Tpm12Pin((4,))])) == ['/usr/lib/unlock-lab/seal-tpm12 "$device" 4']
    assert list(TPM_TOOLS.remove([Tpm12Pin()])) == [
        'printf %s "$PASSWORD" | cryptsetup luksKillSlot -q --key-file - "$device" 1'
    ]


def test_how_a_volume_is_opened_by_its_bindings_alone() -> None:
    assert CLEVIS.unlock("/dev/a", "var", [TANG], "") == "clevis luks unlock -d /dev/a -n var"
    attach = "systemd-cryptsetup attach var /dev/a none"
    assert CRYPTENROLL.unlock("/dev/a", "var", [], "") == f"{attach} tpm2-device=auto,headless=yes"
    assert (
        CRYPTENROLL.unlock("/dev/a", "var", [Fido2Pin(), Pkcs11Pin(), Fido2Pin()], "24680")
        == f"PIN=24680 {attach} fido2-device=auto,pkcs11-uri=auto,headless=yes"
    )
    assert PARSEC_KEY.unlock("/dev/a", "var", [Parsec()], "") == (
        "/usr/lib/unlock-lab/parsec-key decrypt var "
        "&& cryptsetup open --key-file /run/cryptsetup-keys.d/var.key /dev/a var"
    )
    assert TPM_TOOLS.unlock("/dev/a", "root", [Tpm12Pin()], "") == (
        "CRYPTTAB_NAME=root /usr/lib/unlock-lab/tpm12-key < /dev/null | cryptsetup open --key-file - /dev/a root"
    )


# Trees.


def test_an_sss_is_written_by_the_kinds_of_its_pins() -> None:
    tree = Sss(2, (Tpm2Pin((7,)), TANG, Tpm2Pin()))
    assert json.dumps(tree.clevis_config()) == json.dumps(
        {
            "t": 2,
            "pins": {
                "tpm2": [{"pcr_ids": "7"}, {}],
                "tang": [{"url": "@TANG_URL@", "thp": "@TANG_THUMBPRINT@"}],
            },
        }
    )


def test_the_bindings_of_a_volume() -> None:
    joined, separate = Sss(1, (Tpm2Pin(), TANG)), Sss(1, (Tpm2Pin(), TANG), separate=True)
    assert bindings(None) == ()
    assert bindings(TANG) == (TANG,)
    assert bindings(joined) == (joined,), "one token, whose pins are asked together"
    assert bindings(separate) == (Tpm2Pin(), TANG)


def test_a_tree_with_another_threshold_or_other_leaves() -> None:
    inner = Sss(1, (TANG,))
    tree: Pin = Sss(2, (Tpm2Pin(), inner))
    assert with_threshold(tree, lambda top: top.threshold - 1) == Sss(1, (Tpm2Pin(), inner))
    assert with_threshold(TANG, lambda top: 1) is TANG
    assert changed(tree, lambda leaf: leaf.renamed("two")) == Sss(2, (Tpm2Pin(), Sss(1, (TangPin("two", "two"),))))
    assert list(subtrees(tree)) == [tree, Tpm2Pin(), inner, TANG]


def test_a_threshold_is_reached_when_just_so_many_answer() -> None:
    tree = Sss(2, (Tpm2Pin(), TANG, Pkcs11Pin()))
    assert evaluate(tree, lambda leaf: leaf.name in ("tang", "tpm2"))
    assert not evaluate(tree, lambda leaf: leaf.name == "tang")
