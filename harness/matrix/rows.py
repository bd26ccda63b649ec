"""The rows of the truth table: which policies there are, and which racks carry them.

A policy that Butane can say is a file of scenarios/policies; the rest is what an owner does by hand. There are two
racks, so that two machines can be judged side by side: a rack's Tang servers have one address each, so its own boots
take turns. What cannot share a machine has one of its own.
"""

from collections.abc import Mapping
from pathlib import Path

from harness.matrix.conditions import CONDITIONS, MAINTENANCE, OF_ROOTS, all_conditions
from harness.matrix.rack import PolicyRow
from harness.paths import POLICIES
from harness.policy.enrolment import BASE, Enrolment
from harness.policy.pins import CryptenrollPin, Sss, TangPin, Tpm2Pin
from harness.policy.pins.placeholders import placeholder
from harness.policy.world import Stack

_TANG = TangPin("tang", placeholder("URL", "tang"), placeholder("THUMBPRINT", "tang"))


def _file(name: str) -> PolicyRow:
    return PolicyRow(name, POLICIES / f"{name}.bu")


def _by_hand(enrolment: Enrolment) -> PolicyRow:
    return PolicyRow(enrolment.name, POLICIES / f"{enrolment.base}.bu", enrolment)


_TPM2_AND_TANG, _TPM2_OR_TANG = Sss(2, (Tpm2Pin(), _TANG)), Sss(1, (Tpm2Pin(), _TANG))

RACKS: Mapping[str, tuple[PolicyRow, ...]] = {
    "by-butane": (
        _file("tpm2"),
        _file("tpm2-pcr7"),
        _file("tang"),
        _file("tpm2-and-tang"),
        _file("tpm2-or-tang"),
        _file("tpm2-tang-no-threshold"),
        _file("two-tangs-or"),
        _file("two-of-three-tangs"),
        _file("tpm2-and-one-of-two-tangs"),
    ),
    "by-hand": (
        _by_hand(Enrolment("tpm2-pcr1-7", (Tpm2Pin((1, 7)),))),
        _by_hand(Enrolment("tpm2-pcr0", (Tpm2Pin((0,)),))),
        _by_hand(Enrolment("two-bindings", (Tpm2Pin(), _TANG))),
        _by_hand(Enrolment("cryptenroll", (CryptenrollPin(),))),
        _by_hand(Enrolment("cryptenroll-pcr7", (CryptenrollPin((7,)),))),
        _by_hand(Enrolment("cryptenroll-pcr0-7", (CryptenrollPin((0, 7)),))),
        _by_hand(Enrolment("cryptenroll-pcr12", (CryptenrollPin((12,)),))),
        _by_hand(Enrolment("passphrase-alone")),
        PolicyRow("key-file", POLICIES / f"{BASE}.bu"),
    ),
}
"""The policies that share a machine, by the name of the machine."""

_NOT_BESIDE_A_ROOT = {
    "tpm2-tang-no-threshold": "made by hand, it is tpm2-or-tang",
    "tpm2-pcr0": "tpm2-pcr1-7 shows the firmware's PCRs",
    "cryptenroll": "cryptsetup-initramfs asks clevis alone",
    "cryptenroll-pcr7": "cryptsetup-initramfs asks clevis alone",
    "cryptenroll-pcr0-7": "cryptsetup-initramfs asks clevis alone",
    "cryptenroll-pcr12": "cryptsetup-initramfs asks clevis alone",
    "passphrase-alone": "the root is",
    "key-file": "no initrd holds one",
}
IN_INITRD: tuple[PolicyRow, ...] = tuple(
    row for rows in RACKS.values() for row in rows if row.name not in _NOT_BESIDE_A_ROOT
)
"""The policies that share a machine whose initrd opens them all, beside its root."""

INITRDS: Mapping[str, str] = {"in-dracut": "debian-13-root", "in-initramfs": "debian-13-initramfs"}
"""The images of these machines, by the names of the machines."""

ALONE: Mapping[str, Enrolment] = {
    enrolment.name: enrolment
    for enrolment in (
        Enrolment("cryptenroll-pin", (CryptenrollPin((7,), asks_pin=True),)),
        Enrolment("no-fallback-slot", (CryptenrollPin((7,)),), keeps_passphrase=False),
        Enrolment("headless", (CryptenrollPin((7,)),), options=("headless=yes",)),
    )
}
"""Those that need a machine of their own: a PIN's prompt names no volume; one that never asks ends the boot."""

ROOTS: Mapping[str, Stack] = {"debian-13-root": Stack.DR, "debian-13-initramfs": Stack.IT}
"""Images whose root is encrypted, and what opens it."""

_BY_CLEVIS = (
    Enrolment("root-tpm2-and-tang", (_TPM2_AND_TANG,)),
    Enrolment("root-tpm2-or-tang", (_TPM2_OR_TANG,)),
)
_BY_SYSTEMD = (
    Enrolment("root-pcr7", (CryptenrollPin((7,)),)),
    Enrolment("root-pcr11", (CryptenrollPin(initrd_pcr_ids=(11,)),)),
    Enrolment("root-signed-pcr11", (CryptenrollPin(signed_pcr_ids=(11,)),)),
    Enrolment("root-pcr15", (CryptenrollPin(initrd_pcr_ids=(15,), measures=True),)),
    Enrolment("root-pcrlock", (CryptenrollPin(initrd_pcr_ids=(7, 11), pcrlock=True),)),
    Enrolment("root-recovery-key", (CryptenrollPin((7,)),), keeps_passphrase=False, recovery_key=True),
)

ON_ROOT: Mapping[str, tuple[Enrolment, ...]] = {
    "debian-13-root": (*_BY_CLEVIS, *_BY_SYSTEMD),
    "debian-13-initramfs": _BY_CLEVIS,
}
"""What is bound to the encrypted root of an image: each policy has a machine of its own."""

_TPM = ("present", "tpm-absent", "tpm-replaced", "tpm-cleared", "tpm-locked-out", "tpm-owner-auth", "key-enrolled")
_NETWORK = ("present", "tpm-absent", "without tang", "late-link")
_UPDATES = ("kernel-updated", "initrd-rebuilt")
_OF_SERVERS = ("threshold-edited", "rebound", "regenerated", "regenerated-late")
_NOT_IN_INITRD = {
    "threshold-edited": "of two bindings, neither is the one to edit",
    "rebound": "of two bindings, neither is the one to edit",
}
_NOT_IN_INITRAMFS = _NOT_IN_INITRD | {
    "cmdline": "GRUB takes no argument from SMBIOS",
    "late-link": "the cable is plugged in at the first prompt, root's, when nobody has asked for the network yet",
    "keyslot-wiped": "the first volume that uses its tries up ends the script that opens those after it",
    "tang-silent": "each volume in turn keeps clevis for the two minutes that curl waits",
}
_OF_VOLUMES = tuple(condition.name for condition in all_conditions() if condition not in OF_ROOTS)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "by-butane": _OF_VOLUMES,
    "by-hand": tuple(each.name for each in (*CONDITIONS, *MAINTENANCE) if each.name not in _OF_SERVERS),
    "in-dracut": tuple(name for name in _OF_VOLUMES if name not in _NOT_IN_INITRD),
    "in-initramfs": tuple(name for name in _OF_VOLUMES if name not in _NOT_IN_INITRAMFS),
    "cryptenroll-pin": _TPM,
    "no-fallback-slot": ("present", "tpm-absent", "key-enrolled"),
    "headless": ("present", "tpm-absent", "key-enrolled"),
    "root-tpm2-and-tang": (*_NETWORK, "no-link"),
    "root-tpm2-or-tang": (*_NETWORK, "no-link-held"),
    "root-pcr7": ("present", "key-enrolled", *_UPDATES),
    "root-pcr11": ("present", *_UPDATES),
    "root-signed-pcr11": ("present", "tpm-absent", "key-enrolled", *_UPDATES, "signed-by-another"),
    "root-pcr15": ("present", "tpm-absent", "kernel-updated"),
    "root-pcrlock": ("present", "key-enrolled", "kernel-updated"),
    "root-recovery-key": ("present", "tpm-absent", "key-enrolled"),
}
"""The columns that make sense for a machine. Servers in subsets, or changed, are for the thresholds about them."""


def own_row(path: Path) -> PolicyRow:
    """A user's own Butane file as a row."""
    return PolicyRow(path.stem, path)
