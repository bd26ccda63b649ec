"""Pins: one module for each kind, and the trees that thresholds make of them (pure).

The words are clevis's (clevis(1)): a *pin* is one way to get at a share of the key, `sss` is the pin that joins others
under a *threshold*, a *binding* is a pin that was sealed into a LUKS header. A token of systemd-cryptenroll(1) is a
binding too.

kind            what a pin says of itself: the questions that everything else asks
clevis          the tool of `clevis_tpm2`, `clevis_tang` and `sss`
systemd         the tool of the tokens: `systemd_tpm2`, `systemd_pkcs11`, `systemd_hsm`,
                `systemd_fido2`
parsec          a key file that the Parsec service decrypts, and the unit that has it do so
tpm12           a TPM 1.2, and tpm-tools, which seals by it
sss             thresholds, and the one evaluation of a tree
tpm             what the kinds that a TPM answers for share
placeholders    what a policy file writes for a server that the harness makes
reading         where a pin stands in a policy file

A new kind is a module here, and an entry in `KINDS`.
"""

from harness.policy.pins.clevis import CLEVIS
from harness.policy.pins.clevis_tang import TANG, TangPin
from harness.policy.pins.clevis_tpm2 import Tpm2Pin
from harness.policy.pins.kind import Binding, Leaf, Opener, PinFailureCause, ServiceId
from harness.policy.pins.parsec import PARSEC_KEY, Parsec, ParsecProvider
from harness.policy.pins.sss import Pin, Sss, bindings, changed, evaluate, holds, leaves, subtrees, with_threshold
from harness.policy.pins.systemd import CRYPTENROLL
from harness.policy.pins.systemd_fido2 import Fido2Pin
from harness.policy.pins.systemd_hsm import HsmPin
from harness.policy.pins.systemd_pkcs11 import Pkcs11Pin
from harness.policy.pins.systemd_tpm2 import CryptenrollPin
from harness.policy.pins.tpm12 import TPM_TOOLS, Tpm12Pin

__all__ = [
    "KINDS",
    "OPENERS",
    "TANG",
    "Binding",
    "CryptenrollPin",
    "Fido2Pin",
    "HsmPin",
    "Leaf",
    "Opener",
    "Parsec",
    "ParsecProvider",
    "Pin",
    "PinFailureCause",
    "Pkcs11Pin",
    "ServiceId",
    "Sss",
    "TangPin",
    "Tpm2Pin",
    "Tpm12Pin",
    "bindings",
    "changed",
    "evaluate",
    "holds",
    "leaves",
    "subtrees",
    "with_threshold",
]

KINDS: tuple[type[Leaf], ...] = (TangPin, Tpm2Pin, CryptenrollPin, Pkcs11Pin, HsmPin, Fido2Pin, Parsec, Tpm12Pin)
"""Every kind of leaf."""

OPENERS: tuple[Opener, ...] = (CLEVIS, CRYPTENROLL, PARSEC_KEY, TPM_TOOLS)
"""The tools that bind them."""
