"""A token of systemd-cryptenroll whose key the machine's TPM 2.0 has sealed (pure).

Sources: systemd-cryptenroll(1), systemd-measure(1), systemd-pcrphase.service(8), systemd-pcrlock(8), crypttab(5);
systemd 257 cryptsetup.c, cryptsetup-tokens/luks2_token.c and tpm2-util.c.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.errors import UsageError
from harness.policy.capabilities import PCRLOCK_PCRS, Capabilities
from harness.policy.pins import tpm
from harness.policy.pins.kind import Message, PinFailureCause
from harness.policy.pins.systemd import Token, typed_pin_cause
from harness.policy.world import World

TPM_PIN = "2580"
"""What is typed where the TPM asks for a PIN. It is no secret here."""

_IN_INITRD = {11: "$(/usr/lib/unlock-lab/pcr-11)", 15: "0" * 64}
"""Values in hex, for the shell: what systemd-measure(1) predicts; what nothing has extended yet."""


@dataclass(frozen=True)
class CryptenrollPin(tpm.TpmLeaf, Token):
    """A TPM2 token of systemd-cryptenroll(1), which the owner enrolls in the installed guest.

    Attributes:
        pcr_ids: PCRs whose values at enrolment it is bound to (``--tpm2-pcrs=``).
        initrd_pcr_ids: PCRs that it is bound to as the initrd will find them: 11 and 15, which change before the system
            runs (``--tpm2-pcrs=INDEX:BANK=VALUE``), or those that the pcrlock policy predicts.
        signed_pcr_ids: PCRs that a signature by the owner's key must vouch for (``--tpm2-public-key-pcrs=``).
        asks_pin: Whether a person must type a PIN too (``--tpm2-with-pin=``).
        pcrlock: Whether a pcrlock policy says what may change (``--tpm2-pcrlock=``).
        measures: Whether the volume key is measured into PCR 15 (``tpm2-measure-pcr=`` of crypttab(5)).
        name: What failed pins are called in an outcome.
        further_phases: Those after ``enter-initrd`` that PCR 11 of `initrd_pcr_ids` has seen when it is unsealed
            (systemd-pcrphase.service(8)): of a volume that is opened later than root.
    """

    pcr_ids: tuple[int, ...] = ()
    initrd_pcr_ids: tuple[int, ...] = ()
    signed_pcr_ids: tuple[int, ...] = ()
    asks_pin: bool = False
    pcrlock: bool = False
    measures: bool = False
    name: str = "tpm2"
    further_phases: tuple[str, ...] = ()

    slot_type: ClassVar[str] = "tpm2"
    header_type: ClassVar[str] = "systemd-tpm2"
    crypttab_device: ClassVar[str] = "tpm2-device=auto"
    reported_as: ClassVar[str] = tpm.REPORTED_AS
    failures: ClassVar[tuple[Message, ...]] = (
        Message(r"(?P<reason>Failed to unseal secret using TPM2: .*)"),
        Message(r"(?P<reason>No TPM2 metadata matching the current system state found in LUKS2 header)", final=True),
        Message(r"(?P<reason>No TPM2 hardware discovered and EFI firmware does not see it either)", final=True),
        Message(r"(?P<reason>TPM2 operation failed, falling back to traditional unlocking.*)", final=True),
        Message(r"(?P<reason>TPM2 support not available, falling back.*)", final=True),
        Message(r"(?P<reason>TPM2 PIN unlock failed, falling back.*)", final=True),
        Message(r"(?P<reason>TPM2 device not present for unlocking)"),
    )

    @classmethod
    def of_header(cls, config: Mapping[str, Any], crypttab: Collection[str]) -> "CryptenrollPin":
        """PCRs, signed PCRs, PIN and pcrlock policy (systemd, cryptsetup-tokens/luks2.h)."""
        return cls(
            pcr_ids=tpm.pcrs(config.get("tpm2-pcrs", ())),
            signed_pcr_ids=tpm.pcrs(config.get("tpm2_pubkey_pcrs", ())),
            asks_pin=bool(config.get("tpm2-pin")),
            pcrlock=bool(config.get("tpm2_pcrlock")),
            measures=any(option.startswith("tpm2-measure-pcr=") for option in crypttab),
        )

    @property
    def crypttab_options(self) -> tuple[str, ...]:
        """Whether the volume key is measured."""
        return ("tpm2-measure-pcr=yes",) if self.measures else ()

    @property
    def typed(self) -> str | None:
        """The PIN, if it wants one."""
        return TPM_PIN if self.asks_pin else None

    @property
    def needs_machine(self) -> bool:
        """If it is sealed to what only a boot measures, or vouched for by what a boot image brings."""
        return bool(self.initrd_pcr_ids or self.signed_pcr_ids or self.pcrlock)

    @property
    def bound_pcrs(self) -> frozenset[int]:
        """Those that it names; a pcrlock policy that names none covers most of them."""
        named = frozenset((*self.pcr_ids, *self.initrd_pcr_ids, *self.signed_pcr_ids))
        return PCRLOCK_PCRS if self.pcrlock and not self.initrd_pcr_ids else named

    @property
    def described(self) -> str:
        """By which tool it is sealed, and to what."""
        return f"TPM, sealed by systemd-cryptenroll {self._policy}{', with a PIN' if self.asks_pin else ''}"

    @property
    def _policy(self) -> str:
        if self.pcrlock:
            return "under a pcrlock policy"
        raw = (*self.pcr_ids, *self.initrd_pcr_ids)
        signed = f"to a signature over PCR {', '.join(map(str, self.signed_pcr_ids))}" if self.signed_pcr_ids else ""
        return " and ".join(
            [*([tpm.described(raw, "sha256")] if raw or not signed else []), *([signed] if signed else [])]
        )

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What a TPM's seal is worth, and what power cuts do to a PIN."""
        yield from tpm.warnings(self.bound_pcrs)
        if self.asks_pin:
            yield tpm.power_cut_warning("what a PIN guards is not noDA")

    def enroll(self, *further: str) -> Iterator[str]:
        """``systemd-cryptenroll --tpm2-device=auto``, after the predictions that it needs."""
        pcrs = [str(index) for index in self.pcr_ids]
        if self.pcrlock:
            yield f"pcrlock_policy {' '.join(map(str, self.initrd_pcr_ids))}"
        elif unknown := sorted(set(self.initrd_pcr_ids) - _IN_INITRD.keys()):
            raise UsageError(f"nothing predicts what the initrd will find in PCR {unknown[0]}", "give it in pcr_ids")
        else:
            predicted = _IN_INITRD
            if self.further_phases:
                yield f"pcr11={_IN_INITRD[11]}"
                yield f'pcr11=$(extended_pcr "$pcr11" {" ".join(self.further_phases)})'
                predicted = {**_IN_INITRD, 11: "$pcr11"}
            pcrs += [f"{index}:sha256={predicted[index]}" for index in self.initrd_pcr_ids]
        arguments = [*further, "--tpm2-device=auto", f"--tpm2-pcrs={'+'.join(pcrs)}"]
        if self.signed_pcr_ids:
            arguments += [
                "--tpm2-public-key=/etc/systemd/tpm2-pcr-public-key.pem",
                f"--tpm2-public-key-pcrs={'+'.join(map(str, self.signed_pcr_ids))}",
            ]
        else:
            arguments.append("--tpm2-public-key=")
        arguments += ["--tpm2-pcrlock=/var/lib/systemd/pcrlock.json"] if self.pcrlock else []
        arguments += ["--tpm2-with-pin=yes"] if self.asks_pin else []
        new_pin = f"NEWPIN={TPM_PIN} " if self.asks_pin else ""
        yield f'{new_pin}systemd-cryptenroll {" ".join(arguments)} "$device"'

    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """systemd-cryptsetup loads the sealed key under the stored SRK, so the owner is not asked."""
        return (
            tpm.unusable(world.tpm)
            or tpm.pcrs_changed((*self.pcr_ids, *self.initrd_pcr_ids), world)
            or next((PinFailureCause(why) for why in self._policy_failures(world)), None)
            or (_pin_failure(world, headless) if self.asks_pin else None)
        )

    def _policy_failures(self, world: World) -> Iterator[str]:
        if 11 in self.pcr_ids:
            yield (
                "PCR 11 was enrolled in the running system, a later phase than the initrd's "
                "(systemd-pcrphase.service(8))"
            )
        if self.signed_pcr_ids and not world.signature_valid:
            yield "no signature vouches for the present PCR 11"
        if self.pcrlock and not world.pcrlock_valid:
            yield "the pcrlock policy is missing, or does not allow the present PCRs"

    def prompts(self, world: World) -> bool:
        """With a PIN, and a TPM that can be asked."""
        return self.asks_pin and tpm.unusable(world.tpm) is None

    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """With the PIN, if any. A signature allows PCR 11 of one phase of one boot image: not the attacker's."""
        if self.asks_pin and not capabilities.pin:
            return False, "the attacker does not know the PIN"
        return tpm.extraction(self.bound_pcrs, capabilities, measured)


def _pin_failure(world: World, headless: bool) -> PinFailureCause | None:
    if headless:
        return PinFailureCause("nobody is asked for its PIN: headless")
    locked = PinFailureCause("the TPM is locked out, so it takes no PIN")
    return typed_pin_cause(world) or (locked if tpm.locked_out(world) else None)
