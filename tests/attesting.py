"""The agent on TPMs of swtpm, without a machine. ``python tests/attesting.py`` records what tests/attestation needs.

It needs the guest image debian-13.
"""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from harness.attestation.structures import read_quote
from harness.defaults import IMAGE
from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.network.namespace import Endpoint
from harness.progress import Progress
from harness.real_tools.toolbox import SHARED, Toolbox, toolbox
from harness.real_tools.tpm import SOCKET, running_tpm
from harness.real_tools.tree import guest_tree
from harness.services.service import Service
from harness.services.verifier import AGENT, Verifier, serve_verifier

RECORDED = Path(__file__).parent / "attestation" / "recorded.json"
FILES = ("certificate", "ek", "ak", "message", "signature", "values")
PLACE = Endpoint(8881, "10.0.9.200")
"""The gateway of a guest is this host's loopback here."""


@contextmanager
def bench(*guarded: Service) -> Iterator[tuple[Toolbox, Verifier]]:
    """The guest's tools, and a verifier in their reach that trusts the TPMs which are made meanwhile.

    Args:
        *guarded: Services that refuse a machine that it does not trust; they are in reach as well.
    """
    with ExitStack() as stack:
        tree = stack.enter_context(guest_tree(IMAGE, Progress()))
        shared = stack.enter_context(scratch(None))
        tpms.manufacture(Tpm(shared / "first"))
        verifier = stack.enter_context(serve_verifier("verifier", tpms.authorities(), guarded, PLACE))
        yield stack.enter_context(toolbox(tree, shared, [verifier, *guarded])), verifier


def attest(box: Toolbox, verifier: Verifier, node: str, agent: str = "") -> dict[str, bytes]:
    """Run the agent with the TPM that is on; what it had in its folder at the end."""
    (box.shared / "attest.sh").write_text(agent or AGENT.read_text())
    folder = f"{SHARED}/{node}"
    tcti = f"TPM2TOOLS_TCTI=swtpm:path={SHARED}/{SOCKET}"
    box.attempt(f"mkdir -p {folder}; {tcti} bash {SHARED}/attest.sh {verifier.url(node)} {folder}", 60.0)
    return {path.name: path.read_bytes() for path in (box.shared / node).iterdir()}


def record() -> None:
    """Two TPMs of one authority, one of them also after a reset with another PCR 12, and one of a foreign authority."""
    found: dict[str, object] = {}
    with ExitStack() as stack:
        box, verifier = stack.enter_context(bench())
        for node, changed in (("one", ()), ("two", ()), ("one", (12,))):
            state = box.shared / f"tpm-{node}"
            if not state.exists():
                tpms.manufacture(Tpm(state))
            with running_tpm(state, box.shared, changed):
                found["changed" if changed else node] = _kept(attest(box, verifier, node))
        found["authorities"] = [each.public_bytes(Encoding.PEM).decode() for each in tpms.authorities()]
        os.environ["UNLOCK_LAB_CACHE"] = str(stack.enter_context(scratch(None)))
        tpms.manufacture(Tpm(box.shared / "tpm-foreign"))
        with running_tpm(box.shared / "tpm-foreign", box.shared):
            files = attest(box, verifier, "foreign")
        found["foreign"] = {name: base64.b64encode(files[name]).decode() for name in FILES[:3]}
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")


def _kept(files: dict[str, bytes]) -> dict[str, str]:
    nonce = read_quote(files["message"]).nonce
    return {
        name: base64.b64encode(data).decode() for name, data in {**{n: files[n] for n in FILES}, "nonce": nonce}.items()
    }


if __name__ == "__main__":
    record()
