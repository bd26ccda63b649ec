"""Keylime itself, without a machine: its servers in their container, its agent among a guest's tools, a real TPM."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.network.namespace import Endpoint
from harness.progress import Progress
from harness.real_tools.toolbox import MACHINE, SHARED, Toolbox, toolbox
from harness.real_tools.tpm import SOCKET, running_tpm
from harness.real_tools.tree import guest_tree
from harness.services.keylime import AGENT_PORT, Keylime, Revocation, serve_keylime
from harness.services.tang import Tang, serve_tang

IMAGE = "debian-13-keylime"
REGISTRAR, TANG = Endpoint(8890, "10.0.9.201"), Endpoint(80, "10.0.9.1")
TCTI = f"TPM2TOOLS_TCTI=swtpm:path={SHARED}/{SOCKET}"
REACHED = f"socat UNIX-LISTEN:{SHARED}/{MACHINE},fork TCP:127.0.0.1:{AGENT_PORT} > /dev/null 2>&1 &"
AGENT = f"""
kill -KILL $(cat /run/agent) || true
{TCTI} /usr/lib/unlock-lab/keylime-agent /run/node /run/keylime > {SHARED}/agent.log 2>&1 &
echo $! > /run/agent
for _ in $(seq 600); do
    kill -0 $(cat /run/agent) || break
    ! grep -q 'Starting Cloud Agent' {SHARED}/agent.log || exit 0
    sleep 0.1
done
tail -n 30 {SHARED}/agent.log
exit 1
"""
PCRS = f"{TCTI} tpm2_pcrread sha256:7,12 | sed -n 's/.*: 0x//p'"
OWNED = f"{TCTI} tpm2_getcap properties-variable | sed -n 's/ *ownerAuthSet: *//p'"


@contextmanager
def node(*, owner_password: str = "str:") -> Iterator[tuple[Toolbox, Keylime, Tang]]:
    """A node whose agent is registered, with a TPM of the harness's authority, Keylime, and the Tang that it guards."""
    with ExitStack() as stack:
        tree = stack.enter_context(guest_tree(IMAGE, Progress()))
        state = stack.enter_context(scratch(None)) / "tpm"
        tpms.manufacture(Tpm(state))
        tang = stack.enter_context(serve_tang("tang", None, TANG, Progress()))
        keylime = stack.enter_context(serve_keylime("keylime", tpms.authorities(), [tang], Progress(), REGISTRAR))
        box = stack.enter_context(toolbox(tree, keylime.nodes, [keylime, tang]))
        stack.enter_context(running_tpm(state, keylime.nodes, empty_pcrs=(16,)))
        box.run(f"printf %s '{keylime.node_file(MACHINE, owner_password=owner_password)}' > /run/node\n{REACHED}")
        box.run(AGENT, 90.0)
        yield box, keylime, tang


def pcrs(box: Toolbox) -> dict[int, str]:
    return dict(zip((7, 12), box.run(PCRS).lower().split(), strict=True))


def tang_answers(box: Toolbox) -> bool:
    status, _ = box.attempt(f"curl -sf --max-time 10 {TANG.url}/adv > /dev/null")
    return status == 0


@pytest.mark.real
@pytest.mark.slow
def test_keylime_asks_for_quotes_and_its_webhook_cuts_a_node_off_until_it_is_good_again() -> None:
    """The AK is activated by the EK, whose certificate is the harness's; then each quote counts."""
    with node() as (box, keylime, tang):
        good = pcrs(box)
        assert keylime.admit(MACHINE, good)
        assert tang_answers(box)
        box.run(f"{TCTI} tpm2_pcrextend 12:sha256={'ab' * 32}")
        keylime.await_verdict(MACHINE, trusted=False)
        keylime.await_revocation(MACHINE)
        assert keylime.revocations[-1] == Revocation(
            "revocation", MACHINE, "pcr_validation.invalid_pcr_12", keylime.revocations[-1].severity
        )
        assert tang.proxy.refused == {MACHINE}
        assert not tang_answers(box)
        assert not keylime.admit(MACHINE, good)
        assert not tang_answers(box)
        assert keylime.admit(MACHINE, pcrs(box)), "its owner says that it may be so"
        assert tang_answers(box)
        assert box.run(OWNED).strip() != "1", '"str:" is the empty password'


@pytest.mark.real
@pytest.mark.slow
def test_the_agent_takes_ownership_with_a_random_password_unless_it_is_told_one() -> None:
    with node(owner_password="") as (box, keylime, _):
        assert box.run(OWNED).strip() == "1"
        assert keylime.admit(MACHINE, pcrs(box))


@pytest.mark.real
@pytest.mark.slow
def test_a_node_that_starts_again_is_registered_only_once_it_was_forgotten() -> None:
    """The agent makes another attestation key each time; to the registrar that is another TPM under the same name."""
    with node() as (box, keylime, _):
        assert keylime.admit(MACHINE, pcrs(box))
        status, said = box.attempt(AGENT, 90.0)
        assert status == 1
        assert "re-registration with different TPM identity is forbidden" in said
        keylime.forget(MACHINE)
        box.run(AGENT, 90.0)
        assert keylime.admit(MACHINE, pcrs(box))
