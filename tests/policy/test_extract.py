"""What an attacker gets out: each attack on each pin, and what must hold whatever the policy and capabilities."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.policy.capabilities import MEASURED, Capabilities, ExecutionPath
from harness.policy.extract import extract
from harness.policy.pins import CryptenrollPin, Pin, Sss, TangPin, Tpm2Pin, holds, leaves
from harness.policy.pins.placeholders import placeholder
from harness.policy.policy import Volume

C, C7, C8, C9 = (Tpm2Pin(ids) for ids in ((), (7,), (8,), (9,)))
S7, S4, S9, S12, S15 = (CryptenrollPin(ids, measures=15 in ids) for ids in ((7,), (4,), (9,), (12,), (15,)))
LOCK_7_11 = CryptenrollPin(initrd_pcr_ids=(7, 11), pcrlock=True)
S0 = CryptenrollPin(initrd_pcr_ids=(15,), measures=True)
SP, PIN, LOCK = CryptenrollPin(signed_pcr_ids=(11,)), CryptenrollPin((7,), asks_pin=True), CryptenrollPin(pcrlock=True)
T, TWO = TangPin("tang", placeholder("URL", "tang")), TangPin("two", placeholder("URL", "two"))
BOTH, EITHER = Sss(2, (C, T)), Sss(1, (C, T))

CLONE = Capabilities(disk=True, network=True)
THIEF = Capabilities(machine=True)
STATE = Capabilities(disk=True, tpm_state=True)


def gets(pins: Pin | None, capabilities: Capabilities, *, measured: frozenset[int] = MEASURED) -> bool:
    return extract(volume(pins), capabilities, measured=measured).extracted


def volume(pins: Pin | None) -> Volume:
    return Volume("var", "/dev/vda4", pins, "secret", "/var")


def by(*paths: ExecutionPath) -> Capabilities:
    return Capabilities(machine=True, paths=frozenset(paths))


@pytest.mark.parametrize(
    ("scenario", "capabilities", "extracted", "resists"),
    [
        ("disk-clone", CLONE, [T, EITHER], [C, BOTH, S7]),
        ("disk-clone elsewhere", Capabilities(disk=True), [], [T, C, EITHER, None]),
        ("tang-keys-stolen", Capabilities(disk=True, tang_keys=frozenset({"tang"})), [T], [BOTH, TWO]),
        ("stolen-server-offsite", THIEF, [C, EITHER], [T, BOTH, C7]),
        ("stolen server at home", replace(THIEF, network=True), [C, T, BOTH], [C7, S7]),
        ("stolen-foreign-os, same signer", by(ExecutionPath.SAME_SIGNER), [C, C7, S7], [S4, SP, PIN]),
        ("cmdline-edit", by(ExecutionPath.COMMAND_LINE), [C7, S7], [C8]),
        ("initrd-replaced", by(ExecutionPath.INITRD), [C7, S7], [C9, S9]),
        (
            "smbios-cmdline",
            by(ExecutionPath.STUB_COMMAND_LINE),
            [S7, S4, SP, Tpm2Pin((1,)), LOCK_7_11],
            [S12, C9, LOCK],
        ),
        ("smbios-credential", by(ExecutionPath.CREDENTIAL), [S7, SP, Tpm2Pin((1,)), LOCK, LOCK_7_11], [PIN]),
        ("late-unseal", by(ExecutionPath.RUNNING_ROOT), [C7, S7], [SP]),
        ("rootfs-confusion", by(ExecutionPath.ROGUE_ROOT), [C7, S7, S12], [SP, PIN, S15, S0, LOCK]),
        ("initramfs-shell", by(ExecutionPath.INITRAMFS_SHELL), [C7, S7, SP, S15, LOCK], [PIN]),
        ("pcr-reset-replay", by(ExecutionPath.PCR_RESET), [C7, SP, S15], [PIN, T]),
        ("tpm-state-clone", STATE, [C7, S7, SP], [PIN, BOTH]),
        ("tpm-bus-sniff", Capabilities(disk=True, tpm_bus=True), [C, C7], [S7, BOTH]),
        ("the PIN known", replace(by(ExecutionPath.SAME_SIGNER), pin=True), [PIN], [S4]),
        ("ram-dump", Capabilities(ram=True), [PIN, BOTH, None], []),
        ("header-rollback", Capabilities(old_secret=True), [PIN, BOTH, None], []),
        ("nothing", Capabilities(network=True, pin=True, tpm_bus=True), [], [C, T, None]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_each_attack_gets(
    scenario: str, capabilities: Capabilities, extracted: list[Pin | None], resists: list[Pin | None]
) -> None:
    assert [pins for pins in extracted if not gets(pins, capabilities)] == [], scenario
    assert [pins for pins in resists if gets(pins, capabilities)] == [], scenario


def test_pcr_15_protects_nothing_where_no_volume_key_is_measured() -> None:
    assert not gets(S15, by(ExecutionPath.ROGUE_ROOT))
    assert gets(S15, by(ExecutionPath.ROGUE_ROOT), measured=frozenset({11}))
    assert not gets(SP, by(ExecutionPath.ROGUE_ROOT), measured=frozenset({11}))
    assert gets(SP, by(ExecutionPath.ROGUE_ROOT), measured=frozenset())


def test_a_key_file_is_taken_with_the_disk() -> None:
    guest_has_it = replace(volume(BOTH), key_file=True)
    assert extract(guest_has_it, Capabilities(disk=True)).extracted
    assert not extract(guest_has_it, Capabilities(network=True)).extracted


def test_the_reason_says_how_or_what_is_missing() -> None:
    assert extract(volume(EITHER), THIEF).reason == "tpm2 answers: a live system"
    assert extract(volume(BOTH), CLONE).reason == "tpm2 does not answer: the attacker does not have the TPM"
    assert "the attacker is kept from the server" in extract(volume(T), THIEF).reason
    assert "the attacker's code changes what it is bound to" in extract(volume(C7), THIEF).reason


leaf: st.SearchStrategy[Pin] = st.sampled_from((C, C7, C8, S7, S4, S15, SP, PIN, LOCK, T, TWO))
trees: st.SearchStrategy[Pin] = st.recursive(
    leaf,
    lambda children: st.lists(children, min_size=1, max_size=3).flatmap(
        lambda pins: st.integers(1, len(pins)).map(lambda threshold: Sss(threshold, tuple(pins)))
    ),
    max_leaves=6,
)
flags = [each.name for each in fields(Capabilities) if each.type is bool or each.type == "bool"]
capabilities = st.builds(
    Capabilities,
    **{name: st.booleans() for name in flags},
    paths=st.frozensets(st.sampled_from(ExecutionPath)),
    tang_keys=st.frozensets(st.sampled_from(("tang", "two"))),
)


def joined(some: Capabilities, more: Capabilities) -> Capabilities:
    return Capabilities(
        **{each.name: getattr(some, each.name) | getattr(more, each.name) for each in fields(Capabilities)}
    )


measured_pcrs = st.frozensets(st.sampled_from(sorted(MEASURED)))


@given(st.one_of(st.none(), trees), capabilities, capabilities, measured_pcrs)
def test_more_abilities_never_turn_extraction_into_resistance(
    pins: Pin | None, some: Capabilities, more: Capabilities, measured: frozenset[int]
) -> None:
    assert gets(pins, some, measured=measured) <= gets(pins, joined(some, more), measured=measured)


@given(trees, capabilities, measured_pcrs)
def test_a_boot_that_is_measured_never_gives_more_away(pins: Pin, some: Capabilities, measured: frozenset[int]) -> None:
    assert gets(pins, some) <= gets(pins, some, measured=measured) <= gets(pins, some, measured=frozenset())


@given(trees, capabilities, measured_pcrs)
def test_a_higher_threshold_never_gives_more_away(pins: Pin, some: Capabilities, measured: frozenset[int]) -> None:
    if isinstance(pins, Sss) and pins.threshold < len(pins.pins):
        higher = replace(pins, threshold=pins.threshold + 1)
        assert gets(higher, some, measured=measured) <= gets(pins, some, measured=measured)


@given(trees, capabilities)
def test_it_is_the_policy_evaluated_with_the_leaves_that_the_attacker_has(pins: Pin, some: Capabilities) -> None:
    """Leaf by leaf, then the tree: what `holds` says of them, when no two go by one name."""
    some = replace(some, ram=False, old_secret=False)
    names = [each.name for each in leaves(pins)]
    if len(set(names)) == len(names):
        answering = frozenset(each.name for each in leaves(pins) if gets(each, some))
        assert gets(pins, some) == holds(pins, answering)


@given(st.one_of(st.none(), trees), capabilities)
def test_there_is_always_a_reason(pins: Pin | None, some: Capabilities) -> None:
    assert extract(volume(pins), some).reason


def test_a_key_file_on_an_encrypted_root_is_worth_what_root_is() -> None:
    root = Volume("root", "/dev/b", Tpm2Pin(), None, "/")
    data = Volume("a", "/dev/a", None, "secret", "/a", key_file=True, key_on=root)
    assert not extract(data, Capabilities(disk=True)).extracted
    assert extract(data, Capabilities(disk=True, tpm_state=True)).extracted
    assert extract(replace(data, key_on=None), Capabilities(disk=True)).extracted
