"""Phases of a boot without a boot: systemd's own tools and swtpm, with PCR 11 extended as stub and units extend it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.defaults import IMAGE
from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.progress import Progress
from harness.real_tools.toolbox import SHARED, Toolbox, toolbox
from harness.real_tools.tpm import SOCKET, running_tpm
from harness.real_tools.tree import guest_tree

TCTI = f"swtpm:path={SHARED}/{SOCKET}"
PREPARE = """
head -c 100000 /dev/urandom >/tmp/linux
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out /tmp/key.pem
openssl pkey -in /tmp/key.pem -pubout -out /tmp/key.pub
mkdir -p /run/systemd
/usr/lib/systemd/systemd-measure sign --linux=/tmp/linux --bank=sha256 --private-key=/tmp/key.pem \\
    --public-key=/tmp/key.pub --phase=enter-initrd:leave-initrd:enter-machined >/run/systemd/tpm2-pcr-signature.json
"""
SIGNED = "--tpm2-public-key=/tmp/key.pub --tpm2-public-key-pcrs=11"
VOLUMES = {
    "anyphase": "--tpm2-pcrs=7 --tpm2-public-key=",
    "signed": f"--tpm2-pcrs=7 {SIGNED}",
    "pcr15": f"--tpm2-pcrs=7+15 {SIGNED}",
}
PHASES = ("enter-initrd", "leave-initrd", "enter-machined", "start-the-world")
SAID = ("Failed to unseal", "signature", "TPM policy does not match", "current PCR state")


def measure(box: Toolbox, pcr: int, what: str) -> None:
    box.run(f"TPM2TOOLS_TCTI={TCTI} tpm2_pcrextend {pcr}:sha256=$({what} | sha256sum | cut -c -64)")


def seal(box: Toolbox, volume: str) -> None:
    device = f"{SHARED}/{volume}"
    box.run(
        f"truncate -s 20M {device}; printf pw |"
        f" cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {device} -;"
        f" PASSWORD=pw systemd-cryptenroll --tpm2-device={TCTI} {VOLUMES[volume]} {device}",
        120.0,
    )


def opens(box: Toolbox, volume: str) -> bool:
    """Whether the TPM's word is enough to enrol a recovery key, as root may later, too."""
    status, said = box.attempt(
        f"cp {SHARED}/{volume} /tmp/tried; systemd-cryptenroll --unlock-tpm2-device={TCTI} --recovery-key /tmp/tried"
    )
    assert not status or any(words in said for words in SAID), said
    return not status


@pytest.fixture(scope="module")
def sealed() -> Iterator[tuple[Toolbox, Path]]:
    """Three volumes, and the TPM that they are sealed to while PCR 15 holds the volume key of the owner's STATE."""
    with ExitStack() as stack:
        tree = stack.enter_context(guest_tree(IMAGE, Progress()))
        shared = stack.enter_context(scratch(None))
        box = stack.enter_context(toolbox(tree, shared, []))
        state = stack.enter_context(scratch(None)) / "tpm"
        tpms.manufacture(Tpm(state))
        box.run(PREPARE, 120.0)
        with running_tpm(state, shared, empty_pcrs=(11, 15)):
            measure(box, 15, "printf owner")
            for volume in VOLUMES:
                seal(box, volume)
        yield box, state


def booted(box: Toolbox, state: Path, whose_state: str) -> dict[str, set[str]]:
    """Measure what a boot does, and what opens in each phase; STATE is opened, and measured, in enter-machined."""
    found = {}
    with running_tpm(state, box.shared, empty_pcrs=(11, 15)):
        for section in ("printf '.linux\\0'", "cat /tmp/linux"):
            measure(box, 11, section)
        for phase in PHASES:
            measure(box, 11, f"printf {phase}")
            if phase == "enter-machined":
                measure(box, 15, f"printf {whose_state}")
            found[phase] = {volume for volume in VOLUMES if opens(box, volume)}
    return found


@pytest.mark.real
@pytest.mark.slow
def test_a_signature_for_one_phase_opens_in_that_phase_alone(sealed: tuple[Toolbox, Path]) -> None:
    """Seals of Talos: shut in the initrd, open at enter-machined, and shut at start-the-world, be it early or late."""
    assert booted(*sealed, "owner") == {
        "enter-initrd": {"anyphase"},
        "leave-initrd": {"anyphase"},
        "enter-machined": {"anyphase", "signed", "pcr15"},
        "start-the-world": {"anyphase"},
    }


@pytest.mark.real
@pytest.mark.slow
def test_a_state_of_the_thief_opens_what_does_not_look_at_it(sealed: tuple[Toolbox, Path]) -> None:
    """Seed 004: the signature vouches for image and phase; PCR 15 alone knows whose STATE it is."""
    assert booted(*sealed, "thief")["enter-machined"] == {"anyphase", "signed"}
