"""The quarantine of seed 003 without a machine: real clevis, real Tang, real TPMs, and the verifier between them."""

from contextlib import ExitStack

import pytest
from attesting import attest, bench

from harness.attestation.verdict import Refusal
from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.matrix.conditions import all_conditions
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.progress import Progress
from harness.real_tools.parts import Parts
from harness.real_tools.servers import running_servers
from harness.real_tools.toolbox import MACHINE
from harness.real_tools.tpm import running_tpm
from harness.real_tools.trial import seal, try_under


@pytest.mark.real
@pytest.mark.slow
def test_what_the_verifier_refuses_clevis_cannot_open_until_a_quote_is_good() -> None:
    volume = read_policy(POLICIES / "tpm2-pcr7-and-tang.bu").volumes[0]
    present = next(condition for condition in all_conditions() if condition.name == "present")
    with ExitStack() as stack:
        servers = stack.enter_context(running_servers(("tang",), Progress()))
        box, verifier = stack.enter_context(bench(*servers.tangs.values()))
        state = stack.enter_context(scratch(None))
        for name in ("tpm", "another"):
            tpms.manufacture(Tpm(state / name))
        parts = Parts(box, servers, state / "tpm", state / "another")
        sealed = seal(parts, volume, state / "sealed")

        def opens() -> bool:
            with scratch(None) as folder:
                return try_under(parts, sealed, present, folder).opened

        def quoted(*changed: int) -> Refusal | None:
            with running_tpm(sealed.tpm, box.shared, changed):
                attest(box, verifier, MACHINE)
            return verifier.verdicts(MACHINE)[-1].refusal

        assert (quoted(), opens()) == (None, True)
        assert (quoted(12), opens()) == (Refusal.PCRS, False), "PCR 7 is what it was: Tang alone is missing"
        assert (quoted(), opens()) == (None, True)
