"""A key sealed by clevis to the machine's TPM 2.0 (pure).

Sources: clevis-encrypt-tpm2(1); clevis 20 clevis-decrypt-tpm2.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness.attestation.structures import BANKS
from harness.policy.capabilities import Capabilities
from harness.policy.pins import tpm
from harness.policy.pins.clevis import CLEVIS
from harness.policy.pins.kind import Leaf, Message, Opener, PinFailureCause, ReadPin
from harness.policy.pins.reading import Place
from harness.policy.world import TpmState, World

_LAST_PCR = 23
_OPTIONS = ("hash", "key", "pcr_digest")
"""Handed to clevis as they are: the algorithms are those of tpm2_createprimary(1)."""
_POLICY_HASH = "sha256"
"""Of the session in which clevis 20 asks for what is bound to PCRs (tpm2_unseal(1), ``-p pcr:``)."""


@dataclass(frozen=True)
class Tpm2Pin(tpm.TpmLeaf):
    """clevis-encrypt-tpm2(1).

    Attributes:
        pcr_ids: PCRs that the seal is bound to; none means any state of the same TPM.
        pcr_bank: The bank of those PCRs; clevis's own default is used when it is None.
        name: What failed pins are called in an outcome.
        options: What else its configuration says, as it is written there: ``hash`` and ``key`` of the primary key,
            ``pcr_digest``.
    """

    pcr_ids: tuple[int, ...] = ()
    pcr_bank: str | None = None
    name: str = "tpm2"
    options: tuple[tuple[str, str], ...] = ()

    opener: ClassVar[Opener] = CLEVIS
    clevis_name: ClassVar[str] = "tpm2"
    header_type: ClassVar[str] = "tpm2"
    clevis_keys: ClassVar[tuple[str, ...]] = ("hash", "key", "pcr_bank", "pcr_ids", "pcr_digest")
    reported_as: ClassVar[str] = tpm.REPORTED_AS
    failures: ClassVar[tuple[Message, ...]] = (
        Message(r"(?P<reason>A TPM2 device with the in-kernel resource manager is needed!)"),
        Message(r"(?P<reason>The /dev/tpmrm\d device must be readable and writable!)"),
        Message(r"(?P<reason>Creating TPM2 primary key failed!)"),
        Message(r"(?P<reason>Loading jwk to TPM2 failed!)"),
        Message(r"(?P<reason>Unsealing jwk from TPM failed!)"),
        Message(r"(?P<reason>The tpm2 pin requires a tpm2-tools version.*)", final=True),
    )

    @property
    def pcr_banks(self) -> frozenset[str]:
        """That of its PCRs; sha1 is the default of clevis 20."""
        return frozenset({self.pcr_bank or "sha1"}) if self.pcr_ids else frozenset()

    @property
    def unpredictable(self) -> str:
        """A digest is that of a boot which is still to come, or not."""
        if not self.pcr_ids or "pcr_digest" not in dict(self.options):
            return ""
        return "its TPM seal is to a pcr_digest of the file's own, and which boot has that is not known"

    @property
    def described(self) -> str:
        """By which tool it is sealed, and to what."""
        further = "".join(f", {name} {value}" for name, value in self.options)
        bank = self.pcr_bank or "sha1, the default of clevis"
        return f"TPM, sealed by clevis {tpm.described(self.pcr_ids, bank)}{further}"

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What a TPM's seal is worth, what power cuts do to it, and the bank that clevis takes."""
        yield from tpm.warnings(self.bound_pcrs)
        yield tpm.power_cut_warning("the parent of what clevis sealed is not noDA")
        if self.pcr_ids and self.pcr_bank is None:
            yield (
                "it names no pcr_bank: clevis 20 takes sha1, and a TPM without that bank refuses the binding; "
                "clevis 24 takes the first bank that the TPM has",
                "clevis-encrypt-tpm2(1), pcr_bank; clevis#300, #329, #490; docs/explanation/levels.md",
            )
        if self._hash_never_asked_under:
            yield (
                f"clevis 20 seals it to PCRs under the hash {self._hash_never_asked_under} and asks under "
                f"{_POLICY_HASH}: it never opens; with clevis 24 it does",
                "clevis 20, clevis-decrypt-tpm2; docs/explanation/levels.md",
            )
        if self.pcr_ids and self.pcr_bank == "sha1":
            yield (
                "its PCRs are those of the bank sha1: a TPM without that bank refuses the binding",
                "clevis-encrypt-tpm2(1), pcr_bank; clevis#300, #329",
            )

    @property
    def _hash_never_asked_under(self) -> str:
        """The hash under which clevis 20 seals to PCRs, if it does not ask under the same."""
        name = dict(self.options).get("hash", _POLICY_HASH)
        return name if self.pcr_ids and name != _POLICY_HASH else ""

    def distinct(self) -> "Tpm2Pin":
        """Called after the PCRs that it is bound to, if there are any."""
        return replace(self, name=f"tpm2-pcr{'+'.join(map(str, self.pcr_ids))}") if self.pcr_ids else self

    def clevis_config(self) -> dict[str, Any]:
        """Bank and PCRs, if it is bound to any, and what else was written."""
        if not self.pcr_ids:
            return dict(self.options)
        bank = {"pcr_bank": self.pcr_bank} if self.pcr_bank else {}
        return {**bank, "pcr_ids": ",".join(map(str, self.pcr_ids)), **dict(self.options)}

    @classmethod
    def read(cls, place: Place, config: dict[str, Any], read_pin: ReadPin) -> "Tpm2Pin | None":
        """Bank and PCRs; clevis fails on anything else, rather than to seal without a PCR policy."""
        bank, said = config.get("pcr_bank"), config.get("pcr_ids")
        if bank is not None and bank not in BANKS.values():
            place.wrong(f"{bank!r} is not a PCR bank: {', '.join(BANKS.values())}", "pcr_bank")
            return None
        ids = said.split(",") if isinstance(said, str) else said if isinstance(said, list) else []
        texts = [str(item).strip() for item in ids]
        fits = "pcr_ids" not in config or isinstance(said, str | list)
        if not fits or not all(re.fullmatch(r"[0-9]{1,2}", text) and int(text) <= _LAST_PCR for text in texts if said):
            place.wrong(f'expected PCRs from 0 to {_LAST_PCR} as "1,7" or [1, 7], found {json.dumps(said)}', "pcr_ids")
            return None
        for key in _OPTIONS:
            if not isinstance(config.get(key, ""), str):
                place.wrong("expected a string", key)
                return None
        options = tuple((key, config[key]) for key in _OPTIONS if key in config)
        return cls(tuple(int(text) for text in texts if text), bank, options=options)

    @classmethod
    def of_header(cls, config: Mapping[str, Any], crypttab: Collection[str]) -> "Tpm2Pin":
        """Bank and PCRs; the bank is clevis's default where it was left out."""
        ids = tpm.pcrs(re.findall(r"[0-9]+", str(config.get("pcr_ids"))))
        return cls(ids, str(config.get("pcr_bank", "sha1")) if ids else None)

    @classmethod
    def read_section(cls, place: Place, value: Any) -> list[Leaf]:
        """``tpm2: true``."""
        return [cls()] if value else []

    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """clevis-decrypt-tpm2 makes the primary key anew, for which it needs the owner.

        Lockout should not matter, since what clevis seals is noDA. But tpm2_createprimary(1) makes the key above it
        without noDA, so a TPM in lockout takes no authorization of that key: seen with clevis 20 and tpm2-tools
        5.7, Esys_Load(0x921), and a prompt. systemd's SRK is noDA, and its seals open. For the same reason three power
        cuts lock clevis out: each boot authorizes that key (clevis#333).

        Another hash than sha256 was expected to change nothing. Seen with clevis 19 and 20: what is bound to PCRs, too,
        is sealed and never unsealed, Esys_Unseal(0x99D). clevis 24 asks in a session of the same hash.
        """
        if world.tpm is TpmState.OWNER_AUTH_SET:
            return PinFailureCause("owner authorization is set, so its primary key cannot be made")
        if unusable := tpm.unusable(world.tpm):
            return unusable
        if tpm.locked_out(world):
            return PinFailureCause("the TPM is locked out, and the parent of what clevis sealed is not noDA")
        if self._hash_never_asked_under:
            return PinFailureCause(
                f"it is sealed under {self._hash_never_asked_under}, and asked for under {_POLICY_HASH}"
            )
        return tpm.pcrs_changed(self.pcr_ids, world)

    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """Also on the bus: clevis asks for no encrypted session (CVE-2026-0714)."""
        if capabilities.tpm_bus:
            return True, "it is read on the bus"
        return tpm.extraction(self.bound_pcrs, capabilities, measured)
