"""All that a scenario imports; what an attack needs besides is in `harness.api.attack`.

The fixtures are `sealed`, `machines`, `tang`, `tangs`, `hsm`, `verifier`, `keylime` and `attacker`; the marks
are `policy`, `image` and `attack`. Four of the names are modules: `faults` changes the hardware of one boot
(``sealed.boot(faults.tpm_removed)``); `events` is what a boot says while it is watched (``sealed.boot(meanwhile=…)``);
`maintenance` is what an owner does to a machine in use (``sealed.maintained(maintenance.rebound)``); `truth_table` is
the table of policies and conditions.
"""

from harness.attestation.verdict import Refusal
from harness.deadline import Deadline
from harness.errors import RigError, UsageError
from harness.guest import events
from harness.guest.outcome import Outcome, Unlock
from harness.guest.plan import OFFLINE_SECONDS
from harness.lab import faults
from harness.lab.faults import Fault, FaultContext
from harness.lab.machines import Machines
from harness.lab.powered import Powered
from harness.lab.rescue import Rescue
from harness.lab.sealed import Sealed
from harness.machine.spec import Machine
from harness.matrix import truth_table
from harness.policy import maintenance
from harness.policy.enrolment import Enrolment
from harness.policy.new_volume import NewVolume
from harness.policy.pins import (
    CryptenrollPin,
    Fido2Pin,
    HsmPin,
    Parsec,
    ParsecProvider,
    Pin,
    Pkcs11Pin,
    Sss,
    TangPin,
    Tpm2Pin,
    Tpm12Pin,
)
from harness.policy.pins.systemd_fido2 import FIDO2_PIN
from harness.policy.pins.systemd_pkcs11 import PKCS11_PIN
from harness.policy.pins.systemd_tpm2 import TPM_PIN
from harness.services.hsm import Hsm
from harness.services.keylime import Keylime
from harness.services.tang import Tang
from harness.services.verifier import Verifier

__all__ = [
    "FIDO2_PIN",
    "OFFLINE_SECONDS",
    "PKCS11_PIN",
    "TPM_PIN",
    "CryptenrollPin",
    "Deadline",
    "Enrolment",
    "Fault",
    "FaultContext",
    "Fido2Pin",
    "Hsm",
    "HsmPin",
    "Keylime",
    "Machine",
    "Machines",
    "NewVolume",
    "Outcome",
    "Parsec",
    "ParsecProvider",
    "Pin",
    "Pkcs11Pin",
    "Powered",
    "Refusal",
    "Rescue",
    "RigError",
    "Sealed",
    "Sss",
    "Tang",
    "TangPin",
    "Tpm2Pin",
    "Tpm12Pin",
    "Unlock",
    "UsageError",
    "Verifier",
    "events",
    "faults",
    "maintenance",
    "truth_table",
]
