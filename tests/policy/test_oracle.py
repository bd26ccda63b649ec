"""The oracle: what each rule says, and what must hold whatever the policy and the world."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.policy.oracle import Prediction, predict
from harness.policy.pins import CryptenrollPin, Leaf, Pin, Sss, TangPin, Tpm2Pin, holds, leaves
from harness.policy.pins.placeholders import placeholder
from harness.policy.policy import Volume
from harness.policy.world import Header, Network, Server, Stack, TpmState, World
from harness.unlock import Unlock

A, P, E, B = Unlock.AUTO, Unlock.PASSPHRASE_FALLBACK, Unlock.LOCKED, Unlock.REFUSED
DR, IT = Stack.DR, Stack.IT
CONTROL = World()
TPM, TPM7, S7 = Tpm2Pin(), Tpm2Pin((7,), name="tpm2-7"), CryptenrollPin((7,), name="enrolled")
S11 = CryptenrollPin(initrd_pcr_ids=(11,))
SP, PIN = CryptenrollPin(signed_pcr_ids=(11,)), CryptenrollPin((7,), asks_pin=True)
TANG, TWO, THREE = (TangPin(name, placeholder("URL", name)) for name in ("tang", "two", "three"))


def either(*pins: Pin) -> Sss:
    return Sss(1, pins)


def both(*pins: Pin) -> Sss:
    return Sss(len(pins), pins)


def separate(*pins: Pin) -> Sss:
    return Sss(1, pins, separate=True)


def volume(
    pins: Pin | None, passphrase: str | None = "secret", *, key_file: bool = False, headless: bool = False
) -> Volume:
    return Volume("var", "/dev/vda4", pins, passphrase, "/var", key_file, headless)


def say(
    pins: Pin | None,
    world: World = CONTROL,
    stack: Stack = DR,
    *,
    key_file: bool = False,
    headless: bool = False,
) -> Prediction:
    return predict(volume(pins, key_file=key_file, headless=headless), world, stack)


def servers(**states: Server) -> World:
    return World(servers=states)


# The rules, one by one.


@pytest.mark.parametrize("stack", Stack)
@pytest.mark.parametrize("pins", [TPM, TPM7, TANG, both(TPM, TANG), either(TPM, TANG), Sss(2, (TANG, TWO, THREE))])
def test_the_control_opens_by_itself(pins: Pin, stack: Stack) -> None:
    names = {leaf.name for leaf in leaves(pins)}
    said = say(pins, World(), stack)
    assert (said.unlock, said.failed_pins) == (A, frozenset())
    assert all(name in said.reason for name in names)


@pytest.mark.parametrize(
    ("tpm", "clevis", "enrolled", "by_pin"),
    [
        (TpmState.PRESENT, A, A, P),
        (TpmState.ABSENT, P, P, P),
        (TpmState.ANOTHER, P, P, P),
        (TpmState.CLEARED, P, P, P),
        (TpmState.VERSION_1_2, P, P, P),
        (TpmState.LOCKED_OUT, P, A, P),
        (TpmState.OWNER_AUTH_SET, P, A, P),
    ],
)
def test_what_a_tpm_decides(tpm: TpmState, clevis: Unlock, enrolled: Unlock, by_pin: Unlock) -> None:
    world = World(tpm=tpm)
    assert [say(pin, world).unlock for pin in (TPM, S7, PIN)] == [clevis, enrolled, by_pin]
    for pin, unlock in ((TPM, clevis), (S7, enrolled)):
        assert say(pin, world).failed_pins == (set() if unlock is A else {pin.name})
    # Locked out, the PIN opens nothing; otherwise with the TPM there it does.
    opens = tpm in (TpmState.PRESENT, TpmState.OWNER_AUTH_SET)
    assert say(PIN, world).failed_pins == (set() if opens else {"tpm2"})


@pytest.mark.parametrize(
    ("pin", "changed", "unlock", "why"),
    [
        (TPM, {0, 7}, A, ""),
        (TPM7, {0}, A, ""),
        (TPM7, {0, 7}, P, "PCR 7 has changed"),
        (Tpm2Pin((1, 7)), {1, 7}, P, "PCRs 1 and 7 have changed"),
        (S7, {7}, P, "PCR 7 has changed"),
        (SP, {7, 11}, A, ""),
        (S11, {7}, A, ""),
        (S11, {4, 11}, P, "PCR 11 has changed"),
    ],
)
def test_bound_pcrs(pin: Pin, changed: set[int], unlock: Unlock, why: str) -> None:
    said = say(pin, World(changed_pcrs=frozenset(changed)))
    assert said.unlock is unlock
    assert why in said.reason


def test_policies_over_pcrs_need_what_vouches_for_them() -> None:
    assert "signature" in say(SP, World(signature_valid=False)).reason
    assert say(SP, World(signature_valid=False)).failed_pins == {"tpm2"}
    assert say(SP, World(pcrlock_valid=False)).unlock is A
    lock = CryptenrollPin(pcrlock=True)
    assert [say(lock, World(pcrlock_valid=valid)).unlock for valid in (True, False)] == [A, P]


def test_pcr_11_enrolled_in_the_running_system_never_matches() -> None:
    assert say(CryptenrollPin((11,))).unlock is P


@pytest.mark.parametrize(
    ("state", "unlock", "failed"),
    [
        (Server.UP, A, frozenset()),
        (Server.ROTATED, A, frozenset()),
        (Server.REFUSED, P, frozenset({"tang"})),
        (Server.SILENT, P, frozenset({"tang"})),
        (Server.STALLED, P, frozenset()),
        (Server.KEY_DELETED, P, frozenset({"tang"})),
        (Server.IMPOSTER, P, frozenset({"tang"})),
    ],
)
@pytest.mark.parametrize("stack", Stack)
def test_what_a_tang_server_decides(state: Server, unlock: Unlock, failed: frozenset[str], stack: Stack) -> None:
    said = say(TANG, servers(tang=state), stack)
    assert (said.unlock, said.failed_pins) == (unlock, failed)
    assert say(TWO, servers(tang=state), stack).unlock is A


def test_no_link_and_late_dhcp() -> None:
    no_link, late = World(network=Network.NO_LINK), World(network=Network.LATE_DHCP)
    assert [say(either(TPM, TANG), no_link, stack).unlock for stack in Stack] == [A, A]
    assert [say(both(TPM, TANG), no_link, stack).unlock for stack in Stack] == [P, P]
    assert [say(TANG, late, stack).unlock for stack in Stack] == [A, A]
    assert [say(either(TPM, TANG), late, stack).unlock for stack in Stack] == [A, A]
    assert "once the network is up" in say(TANG, late).reason
    assert "once the network is up" not in say(either(TPM, TANG), late).reason


def test_initramfs_tools_asks_no_token_of_systemd() -> None:
    assert say(S7, World(), IT) == Prediction(
        P,
        frozenset(),
        "it asks for the passphrase; enrolled does not answer: initramfs-tools asks no token of systemd-cryptenroll",
    )


def test_a_pin_is_asked_for_before_a_passphrase_that_clevis_could_answer() -> None:
    assert say(PIN).unlock is P
    assert say(PIN).failed_pins == frozenset()
    assert "tpm2 answers" in say(PIN).reason
    untyped = World(pin_typed=False)
    assert say(PIN, untyped).unlock is E
    assert say(separate(PIN, TANG), untyped).unlock is E
    assert say(separate(PIN, TANG)).unlock is P
    assert say(separate(PIN, S7), untyped).unlock is A
    assert say(separate(PIN, TANG), replace(untyped, tpm=TpmState.ABSENT)).unlock is A
    assert say(separate(PIN, TANG), untyped, IT).unlock is A
    changed = say(PIN, World(changed_pcrs=frozenset({7})))
    assert (changed.unlock, changed.failed_pins) == (P, frozenset({"tpm2"}))


def test_separate_bindings_are_asked_in_turn() -> None:
    stalled = servers(tang=Server.STALLED)
    assert say(either(TANG, TWO), stalled).unlock is A
    assert say(separate(TWO, TANG), stalled).unlock is A
    starved = say(separate(TANG, TWO, THREE), stalled)
    assert (starved.unlock, starved.failed_pins) == (P, frozenset())
    assert "two does not answer: a binding before it hangs" in starved.reason
    assert "tpm2 does not answer" not in say(separate(both(TPM, TANG), TWO), stalled).reason, "it answered, in vain"
    assert say(separate(TANG, TWO), servers(tang=Server.REFUSED)).unlock is A
    assert say(separate(TANG, TWO), servers(tang=Server.SILENT)).unlock is A
    assert say(separate(TANG, S7), stalled).unlock is A
    assert say(separate(either(TANG, TPM), TWO), stalled).unlock is A
    opened = say(separate(TWO, TANG, THREE), stalled)
    assert "a binding before it hangs" not in opened.reason, "the first one opened it, so none waits for the second"


def test_leaves_of_one_name_do_not_answer_for_each_other() -> None:
    said = say(separate(CryptenrollPin((7,)), CryptenrollPin((0,))), World(changed_pcrs=frozenset({7})))
    assert (said.unlock, said.failed_pins) == (A, frozenset())
    assert say(both(Tpm2Pin((7,)), Tpm2Pin((0,))), World(changed_pcrs=frozenset({7}))).unlock is P


def test_the_passphrase_alone() -> None:
    assert [say(None, World(), stack).unlock for stack in Stack] == [P, P]
    assert say(None).reason == "it asks for the passphrase; no pin guards it"


def test_headless() -> None:
    """Clevis answers the prompt, so without one a headless volume opens by tokens of systemd alone."""
    assert [say(None, stack=stack, headless=True).unlock for stack in (DR, IT)] == [E, P]
    assert [say(TANG, stack=stack, headless=True).unlock for stack in (DR, IT)] == [E, A]
    assert say(S7, headless=True).unlock is A
    assert say(S7, World(tpm=TpmState.ABSENT), headless=True).unlock is E
    assert say(PIN, headless=True).unlock is E
    assert "headless" in say(PIN, headless=True).reason


def test_a_key_file_opens_whatever_the_pins_do() -> None:
    assert say(None, key_file=True).unlock is A
    assert say(None, World(header=Header.KEYSLOT_WIPED), key_file=True).unlock is A
    assert say(TANG, World(header=Header.KEYSLOT_WIPED), key_file=True).unlock is A
    assert say(TPM, World(tpm=TpmState.ABSENT), key_file=True).failed_pins == frozenset()
    assert say(None, World(header=Header.BOTH_ZEROED), key_file=True).unlock is E


def test_an_image_that_is_refused_decides_before_all_else() -> None:
    for pins in (None, TPM, both(TPM, TANG)):
        assert say(pins, World(image_refused=True, header=Header.BOTH_ZEROED), key_file=True).unlock is B


@pytest.mark.parametrize(
    ("header", "stack", "unlock"),
    [
        (Header.TOKEN_REMOVED, DR, P),
        (Header.TOKEN_REMOVED, IT, P),
        (Header.KEYSLOT_WIPED, DR, P),
        (Header.KEYSLOT_WIPED, IT, E),
        (Header.PRIMARY_ZEROED, DR, A),
        (Header.PRIMARY_ZEROED, IT, A),
        (Header.BOTH_ZEROED, DR, E),
        (Header.BOTH_ZEROED, IT, E),
    ],
)
def test_the_header(header: Header, stack: Stack, unlock: Unlock) -> None:
    assert say(both(TPM, TANG), World(header=header), stack).unlock is unlock


def test_an_unbound_token_of_clevis_burns_the_prompts_only_when_its_pins_answer() -> None:
    """clevis#524."""
    wiped = World(header=Header.KEYSLOT_WIPED, servers={"tang": Server.REFUSED})
    said = say(TANG, wiped, IT)
    assert (said.unlock, said.failed_pins) == (P, frozenset({"tang"}))


@pytest.mark.parametrize(
    ("pins", "world", "stack", "asks"),
    [
        (None, World(), DR, False),
        (S7, World(tpm=TpmState.ABSENT), DR, False),
        (S7, World(header=Header.TOKEN_REMOVED), DR, True),
        (S7, World(header=Header.KEYSLOT_WIPED), DR, False),
        (TPM, World(tpm=TpmState.ABSENT), DR, True),
        (TPM, World(header=Header.KEYSLOT_WIPED), DR, False),
        (separate(S7, TANG), World(tpm=TpmState.ABSENT, network=Network.NO_LINK), DR, True),
        (TPM, World(tpm=TpmState.ABSENT), IT, True),
    ],
)
def test_without_a_passphrase_it_stays_shut(pins: Pin | None, world: World, stack: Stack, asks: bool) -> None:
    """Clevis's keyslots count as passphrase slots, so there is a prompt that nobody can answer."""
    said = predict(volume(pins, None), world, stack)
    assert said.unlock is E
    assert said.reason.startswith("it asks for a passphrase that nobody has" if asks else "it does not ask")


# Truth tables: every subset of the leaves that hold.

TABLES = {
    "tpm2 & tang": both(TPM, TANG),
    "tpm2 | tang": either(TPM, TANG),
    "1 of 2": either(TANG, TWO),
    "2 of 3": Sss(2, (TANG, TWO, THREE)),
    "tpm2 & (tang | two)": both(TPM, either(TANG, TWO)),
    "tpm2 | (tang & two)": either(TPM, both(TANG, TWO)),
}


def without(missing: set[str]) -> World:
    states = {name: Server.REFUSED for name in missing if name != "tpm2"}
    return World(tpm=TpmState.ABSENT if "tpm2" in missing else TpmState.PRESENT, servers=states)


@pytest.mark.parametrize("stack", Stack)
@pytest.mark.parametrize("pins", TABLES.values(), ids=TABLES)
def test_truth_table(pins: Pin, stack: Stack) -> None:
    names = [leaf.name for leaf in leaves(pins)]
    subsets = list(chain.from_iterable(combinations(names, size) for size in range(len(names) + 1)))
    assert len(subsets) == 2 ** len(names)
    for available in map(frozenset, subsets):
        said = say(pins, without(set(names) - available), stack)
        assert said.unlock is (A if holds(pins, available) else P), available
        assert said.failed_pins == set(names) - available


# What must hold whatever the policy and the world.

clevis_leaf: st.SearchStrategy[Pin] = st.sampled_from((TPM, TPM7, TANG, TWO, THREE))


def thresholds(children: st.SearchStrategy[Pin]) -> st.SearchStrategy[Pin]:
    return st.lists(children, min_size=1, max_size=4).flatmap(
        lambda pins: st.integers(1, len(pins)).map(lambda threshold: Sss(threshold, tuple(pins)))
    )


clevis_trees: st.SearchStrategy[Pin] = st.recursive(clevis_leaf, thresholds, max_leaves=6)
bindings = st.one_of(clevis_trees, st.sampled_from((S7, SP, CryptenrollPin((0, 7)))))
trees = st.one_of(clevis_trees, st.lists(bindings, min_size=1, max_size=3).map(lambda pins: separate(*pins)))
any_trees = st.one_of(trees, st.just(PIN), trees.map(lambda pins: separate(PIN, pins)))
states: st.SearchStrategy[Mapping[str, Server]] = st.dictionaries(
    st.sampled_from(("tang", "two", "three")), st.sampled_from(Server)
)
worlds = st.builds(
    World,
    tpm=st.sampled_from(TpmState),
    changed_pcrs=st.frozensets(st.sampled_from((0, 7, 11))),
    servers=states,
    network=st.sampled_from(Network),
    image_refused=st.booleans(),
    header=st.sampled_from(Header),
    signature_valid=st.booleans(),
    pin_typed=st.booleans(),
    pin_right=st.booleans(),
)
volumes = st.builds(
    Volume,
    st.just("var"),
    st.just("/dev/vda4"),
    st.one_of(st.none(), any_trees),
    st.one_of(st.none(), st.just("secret")),
    st.none(),
    st.booleans(),
    st.booleans(),
)
stacks = st.sampled_from(Stack)


def betters(world: World) -> list[World]:
    """Worlds in which one pin more can answer, and no pin less."""
    found = [
        replace(world, tpm=TpmState.PRESENT),
        replace(world, network=Network.UP),
        replace(world, signature_valid=True),
    ]
    found += [replace(world, servers={**world.servers, name: Server.UP}) for name in world.servers]
    return found + [replace(world, changed_pcrs=world.changed_pcrs - {index}) for index in world.changed_pcrs]


@given(trees, worlds, stacks, st.booleans())
def test_more_pins_never_turn_an_unlock_into_a_prompt(pins: Pin, world: World, stack: Stack, headless: bool) -> None:
    """But where a token burns the prompts (clevis#524) and where a PIN is asked for first, which `trees` has not."""
    if say(pins, world, stack, headless=headless).unlock is A:
        for better in betters(world):
            assert say(pins, better, stack, headless=headless).unlock is A


@given(clevis_trees, worlds, stacks)
def test_a_lower_threshold_never_turns_an_unlock_into_a_prompt(pins: Pin, world: World, stack: Stack) -> None:
    if isinstance(pins, Sss) and pins.threshold > 1 and say(pins, world, stack).unlock is A:
        assert say(replace(pins, threshold=pins.threshold - 1), world, stack).unlock is A


@given(volumes, worlds, stacks)
def test_the_reason_names_every_failed_pin(volume: Volume, world: World, stack: Stack) -> None:
    said = predict(volume, world, stack)
    own = {leaf.name for leaf in volume.leaves}
    assert said.failed_pins <= own
    assert all(f"{name} does not answer: " in said.reason for name in said.failed_pins)
    assert said.reason.strip()


@given(volumes, worlds)
def test_initramfs_tools_opens_nothing_that_dracut_does_not(volume: Volume, world: World) -> None:
    """But what is headless, which it does not know, and what dracut asks a PIN for first."""
    pin = volume.pins is not None and any(isinstance(leaf, CryptenrollPin) and leaf.asks_pin for leaf in _all(volume))
    if not volume.headless and not pin and predict(volume, world, IT).unlock is A:
        assert predict(volume, world, DR).unlock is A


@given(volumes, worlds, stacks)
def test_nothing_is_typed_that_nobody_has(volume: Volume, world: World, stack: Stack) -> None:
    unlock = predict(volume, world, stack).unlock
    if unlock is P:
        assert volume.passphrase is not None or (world.pin_typed and world.pin_right and PIN in _all(volume))
    assert (unlock is B) == world.image_refused


@given(volumes, worlds, stacks)
def test_failing_pins_are_not_those_that_opened(volume: Volume, world: World, stack: Stack) -> None:
    """What did not fail suffices wherever it opens by pins, by the plain reading of the tree."""
    said = predict(volume, world, stack)
    if said.unlock is A and volume.pins and not volume.key_file:
        assert holds(volume.pins, frozenset(leaf.name for leaf in _all(volume)) - said.failed_pins)


def _all(volume: Volume) -> list[Leaf]:
    return list(leaves(volume.pins)) if volume.pins else []


def test_no_prediction_where_something_decides_that_the_rules_do_not_hold() -> None:
    volume = Volume("a", "/dev/a", None, None, None, key_file=True, unpredictable="a unit decides")
    said = predict(volume, World(), Stack.DR)
    assert (said.unlock, said.reason) == (Unlock.NOT_PREDICTED, "a unit decides")
    assert predict(volume, World(image_refused=True), Stack.DR).unlock is Unlock.REFUSED


def test_a_passphrase_that_cannot_be_typed_is_said_to_be_so() -> None:
    volume = Volume("a", "/dev/a", Sss(1, (Tpm2Pin(),)), None, "/a", untypable="its key ends in a newline")
    said = predict(volume, World(tpm=TpmState.ABSENT), Stack.DR)
    assert said.unlock is Unlock.LOCKED
    assert said.reason.startswith("it asks for a passphrase, and its key ends in a newline; tpm2 does not answer")


@pytest.mark.parametrize(
    ("root", "world", "does"),
    [
        (Volume("root", "/dev/b", Tpm2Pin(), None, "/"), World(), Unlock.AUTO),
        (Volume("root", "/dev/b", Tpm2Pin(), "secret", "/"), World(tpm=TpmState.ABSENT), Unlock.AUTO),
        (Volume("root", "/dev/b", Tpm2Pin(), None, "/"), World(tpm=TpmState.ABSENT), Unlock.LOCKED),
        (Volume("root", "/dev/b", None, "secret", "/", unpredictable="a unit"), World(), Unlock.NOT_PREDICTED),
    ],
)
def test_a_key_file_on_an_encrypted_root_opens_once_root_is_open(root: Volume, world: World, does: Unlock) -> None:
    said = predict(Volume("a", "/dev/a", None, None, "/a", key_file=True, key_on=root), world, Stack.DR)
    assert said.unlock is does
    assert "root" in said.reason


@pytest.mark.parametrize(
    ("pin", "opens"),
    [
        (Tpm2Pin((7,), options=(("hash", "sha384"),)), False),
        (Tpm2Pin((7,), options=(("hash", "sha256"), ("key", "rsa"))), True),
        (Tpm2Pin((), options=(("hash", "sha1"),)), True),
    ],
)
def test_what_clevis_seals_to_pcrs_under_another_hash_it_never_opens(pin: Tpm2Pin, opens: bool) -> None:
    said = say(pin)
    assert (said.unlock is Unlock.AUTO) is opens
    assert opens or "sealed under sha384" in said.reason
    assert any("it never opens" in text for text, _ in pin.warnings()) is not opens
