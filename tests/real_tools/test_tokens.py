"""PKCS#11 tokens by the guest's own tools, without a machine: SoftHSM2 in its files, and an HSM on the network.

What is bound is bound by the lines that an owner runs in a guest, what opens is systemd's plugin of libcryptsetup. The
prompts, and what comes after a token that is not there, take a boot: scenarios/test_security_tokens.py, test_hsm.py.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.attack import softhsm
from harness.host.scratch import scratch
from harness.lab.owner import owner_functions
from harness.network.namespace import Endpoint
from harness.policy.enrolment import volume_env
from harness.policy.pins import HsmPin, Pin, Pkcs11Pin, bindings
from harness.policy.pins.placeholders import GATEWAY
from harness.policy.pins.systemd_hsm import HSM_PORT
from harness.policy.pins.systemd_pkcs11 import LABEL, NEW_TOKEN, PKCS11_PIN, REMOVE_TOKEN
from harness.policy.policy import Volume
from harness.progress import Progress
from harness.real_tools.toolbox import Toolbox, toolbox
from harness.real_tools.tree import guest_tree
from harness.services.hsm import Hsm, serve_hsm
from harness.services.hsm_token import HsmToken

pytestmark = [pytest.mark.real, pytest.mark.slow]

PLACE = "10.0.9.1"
VOLUME = "/tmp/volume"
PASSPHRASE = "passphrase"
MODULES = "/usr/share/p11-kit/modules"
SET_UP = f"""
mount -t tmpfs tmpfs /etc/softhsm/tokens
cp -r {MODULES} /tmp/modules
mount --bind /tmp/modules {MODULES}
printf {PASSPHRASE} > /tmp/passphrase
truncate -s 32M {VOLUME}
cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {VOLUME} /tmp/passphrase
"""
OPENED = "Key slot 1 unlocked."


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    with guest_tree("debian-13-tokens", Progress()) as tree:
        yield tree


@pytest.fixture
def hsm() -> Iterator[Hsm]:
    with serve_hsm("hsm", HsmToken.new(LABEL, PKCS11_PIN), Endpoint(HSM_PORT, PLACE), Progress()) as hsm:
        yield hsm


@contextmanager
def enrolled(tree: Path, pin: Pin, *hsms: Hsm) -> Iterator[Toolbox]:
    """The guest's tools, and a volume that a token is enrolled on."""
    volume = Volume("volume", VOLUME, pin, PASSPHRASE, None)
    lines = [*volume_env(volume), *(line for each in bindings(pin) for line in each.opener.bind(each))]
    with ExitStack() as stack:
        shared = stack.enter_context(scratch(None))
        box = stack.enter_context(toolbox(tree, shared, hsms))
        script = "\n".join([SET_UP, owner_functions(), *lines])
        box.run(script.replace(GATEWAY, PLACE).replace("/etc/pkcs11/modules", MODULES), 120.0)
        yield box


def by_token(box: Toolbox, pin: str = PKCS11_PIN) -> str:
    """What is said when the volume is opened by its token and this PIN."""
    _, said = box.attempt(f"printf {pin} | cryptsetup open --test-passphrase --token-only -v {VOLUME}", 60.0)
    return said


def test_a_soft_token_opens_by_its_pin_and_not_by_another(tree: Path) -> None:
    with enrolled(tree, Pkcs11Pin()) as box:
        assert OPENED in by_token(box)
        wrong = by_token(box, "0000")
        assert OPENED not in wrong
        assert f"PIN for token '{LABEL}' is incorrect" in wrong


def test_a_soft_token_that_is_gone_or_another_opens_nothing(tree: Path) -> None:
    """Another one says that it decrypted: so it did, to something else. Those words prove nothing."""
    with enrolled(tree, Pkcs11Pin()) as box:
        box.run(f"{owner_functions()}\n{REMOVE_TOKEN}")
        assert OPENED not in by_token(box)
        box.run(f"{owner_functions()}\n{NEW_TOKEN}", 120.0)
        said = by_token(box)
        assert "Successfully decrypted key with security token." in said
        assert OPENED not in said


def test_the_files_of_a_soft_token_give_the_key_to_who_tries_its_pins(tree: Path) -> None:
    with enrolled(tree, Pkcs11Pin()) as box:
        store = softhsm.Store.of(box.run(f"cd {softhsm.TOKENS}\n{softhsm.LIST_TOKENS}").strip())
        found = softhsm.crack(store, (f"{number:05}" for number in range(24600, 24700)))
        assert found
        key = softhsm.private_key(store, found[1])
        stolen = softhsm.passphrase(key, box.run(f"cryptsetup token export --token-id 0 {VOLUME}"))
        opens = f"printf %s '{stolen}' | cryptsetup open --test-passphrase -v --key-file - {VOLUME}"
        assert OPENED in box.run(opens)
        status, _ = box.attempt(opens.replace(stolen, "another"))
        assert status


def test_an_hsm_on_the_network_opens_and_its_log_says_so(tree: Path, hsm: Hsm) -> None:
    with enrolled(tree, HsmPin(), hsm) as box:
        before = len(hsm.calls)
        assert OPENED in by_token(box)
        assert sum(call.decrypted for call in hsm.calls[before:]) == 1
        assert OPENED not in by_token(box, "0000")
        assert [str(call) for call in hsm.calls if call.refused] == ["C_Login => CKR_PIN_INCORRECT"]


def test_an_hsm_that_is_stopped_or_keeps_to_its_site_opens_nothing(tree: Path, hsm: Hsm) -> None:
    with enrolled(tree, HsmPin(), hsm) as box:
        hsm.stop()
        assert OPENED not in by_token(box)
        hsm.start()
        hsm.answers_only("elsewhere", refusing=True)
        before = len(hsm.calls)
        assert OPENED not in by_token(box)
        assert len(hsm.calls) == before
        hsm.answers_only()
        assert OPENED in by_token(box), "the control: in reach it opens"


def test_an_hsm_with_another_key_decrypts_to_something_else(tree: Path, hsm: Hsm) -> None:
    with enrolled(tree, HsmPin(), hsm) as box:
        hsm.replace_key()
        before = len(hsm.calls)
        assert OPENED not in by_token(box)
        assert any(call.decrypted for call in hsm.calls[before:])
