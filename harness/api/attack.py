"""What the scenario of an attack imports besides `harness.api`.

An attack names its grants (``@pytest.mark.attack(Grant.DISK)``) and works through the fixture `attacker`. Five of the
names are modules: `luks_forgery` forges LUKS headers, `tang_exchange` speaks to a Tang server, `nvram` edits UEFI
variables, `uki` unified kernel images, and `softhsm` reads a PKCS#11 token in files.
"""

from harness.attack import luks_forgery, softhsm, tang_exchange, uki
from harness.attack.attacker import Attacker, AttackResult, ConsoleSession
from harness.attack.bus import BusSniffer, MeasurementSpoofer, ResetAndReplay
from harness.attack.grants import Grant, capabilities
from harness.attack.initrd import with_file
from harness.attack.memory import aes256_keys, clevis_passphrases, xts_keys
from harness.attack.secret_search import canary_in, find_secret
from harness.guest.console import ConsoleShell
from harness.luks2.metadata import LuksHeader
from harness.machine import nvram
from harness.machine.esp import BOOT_IMAGE, sign_boot_images, signed
from harness.machine.files import BOOT, ESP, files, rewrite
from harness.machine.partition import read_partition, write_partition
from harness.machine.signing import new_signing_key
from harness.machine.spec import Disk, Tpm
from harness.machine.tpm_log import TpmExchange
from harness.policy.extract import extract
from harness.policy.new_volume import QUICK_PBKDF

__all__ = [
    "BOOT",
    "BOOT_IMAGE",
    "ESP",
    "QUICK_PBKDF",
    "AttackResult",
    "Attacker",
    "BusSniffer",
    "ConsoleSession",
    "ConsoleShell",
    "Disk",
    "Grant",
    "LuksHeader",
    "MeasurementSpoofer",
    "ResetAndReplay",
    "Tpm",
    "TpmExchange",
    "aes256_keys",
    "canary_in",
    "capabilities",
    "clevis_passphrases",
    "extract",
    "files",
    "find_secret",
    "luks_forgery",
    "new_signing_key",
    "nvram",
    "read_partition",
    "rewrite",
    "sign_boot_images",
    "signed",
    "softhsm",
    "tang_exchange",
    "uki",
    "with_file",
    "write_partition",
    "xts_keys",
]
