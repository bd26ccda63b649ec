"""Phases of a boot without a boot: systemd's own tools and swtpm, with PCR 11 extended as stub and units extend it."""

from contextlib import ExitStack

import pytest

from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.progress import Progress
from harness.real_tools.parts import IMAGE
from harness.real_tools.toolbox import SHARED, Toolbox, toolbox
from harness.real_tools.tpm import SOCKET, running_tpm
from harness.real_tools.tree import guest_tree

TCTI, VOLUME = f"swtpm:path={SHARED}/{SOCKET}", f"{SHARED}/volume"
SEAL = f"""
head -c 100000 /dev/urandom >/tmp/linux
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out /tmp/key.pem
openssl pkey -in /tmp/key.pem -pubout -out /tmp/key.pub
mkdir -p /run/systemd
/usr/lib/systemd/systemd-measure sign --linux=/tmp/linux --bank=sha256 --private-key=/tmp/key.pem \\
    --public-key=/tmp/key.pub --phase=enter-initrd:leave-initrd:enter-machined >/run/systemd/tpm2-pcr-signature.json
truncate -s 20M {VOLUME}
printf %s pw | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {VOLUME} -
PASSWORD=pw systemd-cryptenroll --tpm2-device={TCTI} --tpm2-pcrs=7 --tpm2-public-key=/tmp/key.pub \\
    --tpm2-public-key-pcrs=11 {VOLUME}
"""
MEASURE = f"TPM2TOOLS_TCTI={TCTI} tpm2_pcrextend 11:sha256=$(%s | sha256sum | cut -c -64)"
UNSEAL = f"systemd-cryptenroll --unlock-tpm2-device={TCTI} --recovery-key {VOLUME}"


def opens(box: Toolbox) -> bool:
    status, said = box.attempt(UNSEAL)
    assert not status or "Failed to unseal" in said or "signature" in said, said
    return not status


@pytest.mark.real
def test_a_signature_for_one_phase_opens_in_that_phase_alone() -> None:
    """What a boot of debian-13-talos does, tried in seconds: shut in the initrd, open at enter-machined, shut again."""
    with ExitStack() as stack:
        tree = stack.enter_context(guest_tree(IMAGE, Progress()))
        shared = stack.enter_context(scratch(None))
        box = stack.enter_context(toolbox(tree, shared, []))
        state = stack.enter_context(scratch(None)) / "tpm"
        tpms.manufacture(Tpm(state))
        stack.enter_context(running_tpm(state, shared, empty_pcrs=(11,)))
        box.run(SEAL, 120.0)
        for section in ("printf '.linux\\0'", "cat /tmp/linux"):
            box.run(MEASURE % section)
        found = {}
        for phase in ("enter-initrd", "leave-initrd", "enter-machined", "start-the-world"):
            box.run(MEASURE % f"printf {phase}")
            found[phase] = opens(box)
        assert [phase for phase, opened in found.items() if opened] == ["enter-machined"]
