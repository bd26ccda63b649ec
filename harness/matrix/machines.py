"""The machines of the truth table: which policies each carries, on which image, and under which conditions.

There are two racks, so that two machines can be judged side by side: a rack's Tang servers have one address each, so
its own boots take turns. What cannot share a machine has one of its own: a PIN's prompt names no volume, a volume that
never asks ends the boot, and a machine has one root.
"""

from dataclasses import dataclass

from harness.errors import UsageError
from harness.lab.policies import bare_root, named_policy
from harness.matrix.conditions import CONDITIONS, MAINTENANCE, OF_HSMS, OF_POWER, OF_ROOTS, OF_TOKENS, all_conditions
from harness.matrix.rack import PolicyRow, rack, rack_in_initrd
from harness.paths import POLICIES
from harness.policy.by_hand import BY_HAND
from harness.policy.enrolment import BASE
from harness.policy.policy import Policy


@dataclass(frozen=True)
class TableMachine:
    """A machine of the table.

    Attributes:
        name: Of the machine; of one that carries a single policy, that policy's.
        image: A folder of images/.
        policies: The rows that it stands for. Each has a small volume of its own, which the system opens, or, on an
            image whose root is encrypted, the initrd beside root. A single one that is made by hand has ``/var``, or
            the encrypted root.
        columns: The conditions that make sense for it.
    """

    name: str
    image: str
    policies: tuple[PolicyRow, ...]
    columns: tuple[str, ...]

    @property
    def policy(self) -> Policy:
        """What it is installed with.

        Raises:
            UsageError: A policy cannot be read, or the image is not there.
        """
        if len(self.policies) == 1 and (enrolment := self.policies[0].enrolment):
            return named_policy(enrolment, self.image)
        root = bare_root(self.image)
        return rack_in_initrd(self.name, root, self.policies) if root else rack(self.name, self.policies)


def _files(*names: str) -> tuple[PolicyRow, ...]:
    return tuple(PolicyRow(name, POLICIES / f"{name}.bu") for name in names)


def _by_hand(*names: str) -> tuple[PolicyRow, ...]:
    return tuple(PolicyRow(name, POLICIES / f"{BY_HAND[name].base}.bu", BY_HAND[name]) for name in names)


_BY_BUTANE = _files(
    "tpm2",
    "tpm2-pcr7",
    "tang",
    "tpm2-and-tang",
    "tpm2-or-tang",
    "tpm2-tang-no-threshold",
    "two-tangs-or",
    "two-of-three-tangs",
    "tpm2-and-one-of-two-tangs",
)
_IN_SYSTEM = (
    *_by_hand(
        "tpm2-pcr1-7",
        "tpm2-pcr0",
        "two-bindings",
        "cryptenroll",
        "cryptenroll-pcr7",
        "cryptenroll-pcr0-7",
        "cryptenroll-pcr12",
        "passphrase-alone",
    ),
    PolicyRow("key-file", POLICIES / f"{BASE}.bu"),
)
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
_IN_INITRD = tuple(row for row in (*_BY_BUTANE, *_IN_SYSTEM) if row.name not in _NOT_BESIDE_A_ROOT)

_NETWORK = ("present", "tpm-absent", "without tang", "late-link")
_TPM_STATES = ("tpm-absent", "tpm-replaced", "tpm-cleared", "tpm-locked-out", "tpm-owner-auth")
_UPDATES = ("kernel-updated", "initrd-rebuilt")
_BY_ANOTHER = "signed-by-another"
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
_OF_VOLUMES = tuple(
    condition.name for condition in all_conditions() if condition not in (*OF_ROOTS, *OF_TOKENS, *OF_HSMS, *OF_POWER)
)
# Servers in subsets, or changed, are for the thresholds about them.
_OF_SINGLE_PINS = tuple(each.name for each in (*CONDITIONS, *MAINTENANCE, *OF_POWER) if each.name not in _OF_SERVERS)


def _alone(name: str, image: str, *columns: str) -> TableMachine:
    return TableMachine(name, image, _by_hand(name), columns)


MACHINES: tuple[TableMachine, ...] = (
    TableMachine("by-butane", "debian-13", _BY_BUTANE, _OF_VOLUMES),
    TableMachine("by-hand", "debian-13", _IN_SYSTEM, _OF_SINGLE_PINS),
    TableMachine(
        "in-dracut",
        "debian-13-root",
        _IN_INITRD,
        tuple(name for name in _OF_VOLUMES if name not in _NOT_IN_INITRD),
    ),
    TableMachine(
        "in-initramfs",
        "debian-13-initramfs",
        _IN_INITRD,
        tuple(name for name in _OF_VOLUMES if name not in _NOT_IN_INITRAMFS),
    ),
    _alone("cryptenroll-pin", "debian-13", "present", *_TPM_STATES, "key-enrolled", "power-cuts"),
    _alone("no-fallback-slot", "debian-13", "present", "tpm-absent", "key-enrolled"),
    _alone("headless", "debian-13", "present", "tpm-absent", "key-enrolled"),
    _alone("fido2", "debian-13-tokens", "present", "tpm-absent", "key-removed", "key-replaced"),
    _alone("fido2-pin", "debian-13-tokens", "present", "key-removed", "key-replaced", "pin-wrong", "pin-blocked"),
    _alone(
        "pkcs11", "debian-13-tokens", "present", "tpm-absent", "soft-token-removed", "soft-token-replaced", "pin-wrong"
    ),
    _alone("hsm", "debian-13-tokens", "present", "hsm-stopped", "hsm-silent", "hsm-replaced", "pin-wrong"),
    _alone("pkcs11-in-tpm", "debian-13-keys", "present", "tpm-absent", "tpm-replaced", "power-cuts"),
    _alone("root-tpm2-and-tang", "debian-13-root", *_NETWORK, "no-link"),
    _alone("root-tpm2-or-tang", "debian-13-root", *_NETWORK, "no-link-held"),
    _alone("root-pcr7", "debian-13-root", "present", "key-enrolled", *_UPDATES),
    _alone("root-pcr11", "debian-13-root", "present", *_UPDATES),
    _alone("root-signed-pcr11", "debian-13-root", "present", "tpm-absent", "key-enrolled", *_UPDATES, _BY_ANOTHER),
    _alone("root-pcr15", "debian-13-root", "present", "tpm-absent", "kernel-updated"),
    _alone("root-pcrlock", "debian-13-root", "present", "key-enrolled", "kernel-updated"),
    _alone("root-recovery-key", "debian-13-root", "present", "tpm-absent", "key-enrolled"),
    _alone("root-tpm2-and-tang", "debian-13-initramfs", *_NETWORK, "no-link"),
    _alone("root-tpm2-or-tang", "debian-13-initramfs", *_NETWORK, "no-link-held"),
    _alone("root-tpm12", "debian-13-tpm12", "present", "tpm-absent", "tpm-replaced"),
)
"""In the order of the table."""


def machine_names() -> tuple[str, ...]:
    """The names of all machines, each once."""
    return tuple(dict.fromkeys(machine.name for machine in MACHINES))


def table_machine(name: str) -> TableMachine:
    """The machine of that name; of those that two images have, the first.

    Raises:
        UsageError: There is none.
    """
    found = next((machine for machine in MACHINES if machine.name == name), None)
    if found is None:
        raise UsageError(f"the truth table has no machine {name!r}", f"there is: {', '.join(machine_names())}")
    return found
