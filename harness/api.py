"""All that a scenario imports.

The fixtures are `sealed`, `tang`, `tangs` and `attacker`; the marks `policy`, `image` and `attack`. See README, "Write
your own".
"""

from harness.attack import luks_forgery, tang_exchange
from harness.attack.attacker import Attacker, AttackResult, ConsoleSession
from harness.attack.bus import BusSniffer, MeasurementSpoofer, ResetAndReplay
from harness.attack.grants import Grant
from harness.attack.initrd import with_file
from harness.attack.memory import aes256_keys, clevis_passphrases, xts_keys
from harness.attack.secret_search import find_secret
from harness.attack.uki import section, with_section, without_section
from harness.deadline import Deadline
from harness.guest.console import ConsoleShell
from harness.guest.outcome import Outcome, PinFailure, Seconds, Unlock
from harness.guest.plan import OFFLINE_SECONDS
from harness.lab.faults import (
    Fault,
    FaultContext,
    boot_entry_added,
    db_key_enrolled,
    dbx_updated,
    firmware_swapped,
    moved_offsite,
    network_unplugged,
    secure_boot_enabled,
    secure_boot_owned,
    smbios_cmdline,
    tpm_downgraded_to_1_2,
    tpm_fails,
    tpm_removed,
    tpm_replaced,
    with_memory,
)
from harness.lab.powered import Powered
from harness.lab.rescue import Rescue
from harness.lab.sealed import Sealed
from harness.machine.esp import BOOT_IMAGE, signed
from harness.machine.files import BOOT, ESP, files, rewrite
from harness.machine.nvram import boot_once, enable_secure_boot, new_key
from harness.machine.partition import read_partition, write_partition
from harness.machine.spec import Disk, Machine, Tpm
from harness.policy.enrolment import TPM_PIN, Enrolment
from harness.policy.maintenance import edited, rebound, unbound
from harness.policy.new_volume import QUICK_PBKDF, NewVolume
from harness.policy.pins import CryptenrollPin, Pin, Sss, TangPin, Tpm2Pin
from harness.services.tang import Tang

__all__ = [
    "BOOT",
    "BOOT_IMAGE",
    "ESP",
    "OFFLINE_SECONDS",
    "QUICK_PBKDF",
    "TPM_PIN",
    "AttackResult",
    "Attacker",
    "BusSniffer",
    "ConsoleSession",
    "ConsoleShell",
    "CryptenrollPin",
    "Deadline",
    "Disk",
    "Enrolment",
    "Fault",
    "FaultContext",
    "Grant",
    "Machine",
    "MeasurementSpoofer",
    "NewVolume",
    "Outcome",
    "Pin",
    "PinFailure",
    "Powered",
    "Rescue",
    "ResetAndReplay",
    "Sealed",
    "Seconds",
    "Sss",
    "Tang",
    "TangPin",
    "Tpm",
    "Tpm2Pin",
    "Unlock",
    "aes256_keys",
    "boot_entry_added",
    "boot_once",
    "clevis_passphrases",
    "db_key_enrolled",
    "dbx_updated",
    "edited",
    "enable_secure_boot",
    "files",
    "find_secret",
    "firmware_swapped",
    "luks_forgery",
    "moved_offsite",
    "network_unplugged",
    "new_key",
    "read_partition",
    "rebound",
    "rewrite",
    "section",
    "secure_boot_enabled",
    "secure_boot_owned",
    "signed",
    "smbios_cmdline",
    "tang_exchange",
    "tpm_downgraded_to_1_2",
    "tpm_fails",
    "tpm_removed",
    "tpm_replaced",
    "unbound",
    "with_file",
    "with_memory",
    "with_section",
    "without_section",
    "write_partition",
    "xts_keys",
]
