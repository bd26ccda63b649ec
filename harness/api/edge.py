"""What scenarios of the Edge Enforcer's model import besides `harness.api`: `harness.edge` says what it is a model of.

Hosts are machines (`ControllerMachine`), or have none (`edge_bench`). It wants the extra ``edge``.
"""

from harness.edge.faults import without_encrypt_decrypt
from harness.edge.host import Phase
from harness.edge.machine import ControllerMachine, on_site, with_own_tpm
from harness.edge.protection import DEFERRING, USING_PARSEC, Alert, Form, ProtectWithTpm, using_tpm2_tools
from harness.edge.seal import found_site, majority, recover
from harness.edge.site import EdgeBench, EdgeHost, Site, edge_bench
from harness.edge.store import Unreadable
from harness.edge.tower import ControlTower

__all__ = [
    "DEFERRING",
    "USING_PARSEC",
    "Alert",
    "ControlTower",
    "ControllerMachine",
    "EdgeBench",
    "EdgeHost",
    "Form",
    "Phase",
    "ProtectWithTpm",
    "Site",
    "Unreadable",
    "edge_bench",
    "found_site",
    "majority",
    "on_site",
    "recover",
    "using_tpm2_tools",
    "with_own_tpm",
    "without_encrypt_decrypt",
]
