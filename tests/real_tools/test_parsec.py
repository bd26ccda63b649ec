"""Parsec without a machine: Debian's service among the guest's files, with a real TPM on a socket, by both configs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.edge.protection import USING_PARSEC, Form, ProtectWithTpm, decide
from harness.edge.seal import found_site
from harness.edge.store import ShareStore, Unreadable
from harness.edge.tower import ControlTower
from harness.host.scratch import scratch
from harness.images.recipe import guest_recipe
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm
from harness.policy.pins.tpm import POWER_CUTS
from harness.progress import Progress
from harness.real_tools.toolbox import SHARED, Toolbox, toolbox
from harness.real_tools.tpm import SOCKET, running_tpm
from harness.real_tools.tree import guest_tree

pytestmark = [pytest.mark.real, pytest.mark.slow]

IMAGE = "debian-13-parsec"
BY_TCP = "\n".join(
    f"setsid systemd-socket-activate -l 127.0.0.1:{port} /usr/lib/systemd/systemd-socket-proxyd {SHARED}/{name} "
    "</dev/null >/dev/null 2>&1 &"
    for port, name in ((2321, SOCKET), (2322, f"{SOCKET}.ctrl"))
)
"""Parsec's library (tss-esapi 7) knows swtpm by host and port alone; the tools know the socket."""

SECRET = "what opens the volume"
STARTED = "for try in $(seq 100); do grep -q 'Parsec is ready' log && break; kill -0 $pid || exit 1; sleep 0.1; done"


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    with guest_tree(IMAGE, Progress()) as found:
        yield found


@pytest.fixture(scope="module")
def box(tree: Path) -> Iterator[Toolbox]:
    with scratch(None) as shared, toolbox(tree, shared, {}) as opened:
        opened.run(BY_TCP)
        yield opened


def set_up(box: Toolbox, name: str, provider: str, *, as_written: bool = False) -> Path:
    """A folder for Parsec, with the image's configuration in which the TPM is on a socket.

    Args:
        box: The tools.
        name: Of the folder.
        provider: Whose configuration.
        as_written: Whether without the line that the document's does not have.
    """
    folder = box.shared / name
    folder.mkdir()
    config = guest_recipe(IMAGE).files()[f"root/etc/parsec/{provider}.toml"].read_text()
    for here, there in (
        ("device:/dev/tpmrm0", "swtpm:host=127.0.0.1,port=2321"),
        ("/etc/parsec/", f"{SHARED}/{name}/"),
    ):
        config = config.replace(here, there)
    if as_written:
        config = config.replace('owner_hierarchy_auth = ""\n', "")
    (folder / "config.toml").write_text(config)
    return folder


@contextmanager
def parsec(box: Toolbox, folder: Path) -> Iterator[tuple[bool, str]]:
    """The service, started in that folder; whether it got ready, and what it said until then."""
    inside = f"{SHARED}/{folder.name}"
    status, said = box.attempt(
        f"mkdir -p /run/parsec; cd {inside}; rm -f log; parsec -c config.toml > log 2>&1 & pid=$!\n"
        f"cd {inside}; echo $pid > pid; touch log; {STARTED}; cat log; grep -q 'Parsec is ready' log"
    )
    try:
        yield status == 0, said if status == 0 else (folder / "log").read_text()
    finally:
        box.attempt(f"kill $(cat {inside}/pid); while kill -0 $(cat {inside}/pid); do sleep 0.05; done", 20)


def encrypt(box: Toolbox, folder: Path) -> None:
    box.run(
        f"parsec-tool create-rsa-key --key-name disk; "
        f"parsec-tool encrypt --key-name disk {SECRET!r} 2> /dev/null > {SHARED}/{folder.name}/secret"
    )


def decrypts(box: Toolbox, folder: Path) -> bool:
    status, said = box.attempt(
        f'parsec-tool decrypt --key-name disk "$(cat {SHARED}/{folder.name}/secret)" 2> /dev/null'
    )
    return status == 0 and said.strip() == SECRET


@pytest.fixture
def new_tpm() -> Iterator[Path]:
    with scratch(None) as folder:
        tpms.manufacture(Tpm(folder / "tpm"))
        yield folder / "tpm"


def test_the_documents_config_for_the_tpm_lacks_a_line(box: Toolbox, new_tpm: Path) -> None:
    """Seed 002's file as it stands is refused; the image's has one line more, and no other."""
    as_written = set_up(box, "as-written", "tpm", as_written=True)
    with_it = set_up(box, "with-it", "tpm")
    with running_tpm(new_tpm, box.shared):
        with parsec(box, as_written) as (ready, said):
            assert not ready
            assert "missing field `owner_hierarchy_auth`" in said
        with parsec(box, with_it) as (ready, said):
            assert ready, said
            assert "Creating a TPM Provider." in said
    assert len((with_it / "config.toml").read_text().splitlines()) == 1 + len(
        (as_written / "config.toml").read_text().splitlines()
    )


def test_mbed_cryptos_keys_go_with_the_disk(box: Toolbox) -> None:
    """A restart, and then a copy of the folder: both decrypt. Nothing of it is in the hardware."""
    folder = set_up(box, "files", "mbed-crypto")
    with parsec(box, folder) as (ready, said):
        assert ready, said
        assert "Creating a Mbed Crypto Provider." in said
        encrypt(box, folder)
        assert decrypts(box, folder)
    with parsec(box, folder):
        assert decrypts(box, folder)
    copy = box.shared / "copy"
    box.run(f"cp -a {SHARED}/files {SHARED}/copy")
    with parsec(box, copy):
        assert decrypts(box, copy)


def test_the_tpms_keys_stay_with_it(box: Toolbox, new_tpm: Path, tmp_path: Path) -> None:
    """A restart decrypts; another TPM and none have Parsec not start; with the first one again it decrypts."""
    folder = set_up(box, "in-tpm", "tpm")
    other = tmp_path / "other"
    tpms.manufacture(Tpm(other))
    with running_tpm(new_tpm, box.shared), parsec(box, folder):
        encrypt(box, folder)
    with running_tpm(new_tpm, box.shared), parsec(box, folder):
        assert decrypts(box, folder)
    with running_tpm(other, box.shared), parsec(box, folder) as (ready, said):
        assert not ready
        assert "Error when verifying the Root Key's Name" in said
    with parsec(box, folder) as (ready, said):
        assert not ready
    with running_tpm(new_tpm, box.shared), parsec(box, folder):
        assert decrypts(box, folder)


def test_a_cleared_tpm_has_parsec_start_only_without_its_database(box: Toolbox, new_tpm: Path) -> None:
    folder = set_up(box, "cleared", "tpm")
    with running_tpm(new_tpm, box.shared):
        with parsec(box, folder):
            encrypt(box, folder)
        box.run(f"TPM2TOOLS_TCTI=swtpm:path={SHARED}/{SOCKET} tpm2_clear -c lockout")
        with parsec(box, folder) as (ready, said):
            assert not ready
            assert "Error when verifying the Root Key's Name" in said
        (folder / "sqlite-key-info-manager.sqlite3").unlink()
        with parsec(box, folder) as (ready, said):
            assert ready, said
            assert not decrypts(box, folder)


def test_three_power_cuts_lock_parsecs_key_out(box: Toolbox, new_tpm: Path) -> None:
    """Its keys are subject to dictionary-attack protection; the owner's command repairs it."""
    folder = set_up(box, "cuts", "tpm")
    with running_tpm(new_tpm, box.shared), parsec(box, folder):
        encrypt(box, folder)
    opened = []
    for _ in range(POWER_CUTS + 1):
        with running_tpm(new_tpm, box.shared, orderly=False), parsec(box, folder):
            opened.append(decrypts(box, folder))
    assert opened == [True] * POWER_CUTS + [False]
    with running_tpm(new_tpm, box.shared):
        box.run(f"TPM2TOOLS_TCTI=swtpm:path={SHARED}/{SOCKET} tpm2_dictionarylockout --clear-lockout")
    with running_tpm(new_tpm, box.shared), parsec(box, folder):
        assert decrypts(box, folder)


def test_a_tpm_that_goes_away_and_comes_back_is_found_by_a_restart_alone(box: Toolbox, new_tpm: Path) -> None:
    """Under the running service it is gone for good: what it is asked for fails, until it is started anew."""
    folder = set_up(box, "away", "tpm")
    with ExitStack() as stack:
        with running_tpm(new_tpm, box.shared):
            stack.enter_context(parsec(box, folder))
            encrypt(box, folder)
            assert decrypts(box, folder)
        assert not decrypts(box, folder)
        with running_tpm(new_tpm, box.shared):
            assert not decrypts(box, folder)
    with running_tpm(new_tpm, box.shared), parsec(box, folder):
        assert decrypts(box, folder)


@pytest.mark.parametrize("provider", ["mbed-crypto", "tpm"])
def test_a_controller_hosts_share_goes_to_parsec_first(box: Toolbox, new_tpm: Path, provider: str) -> None:
    """Both are there and Parsec protects the share; without it the share is unreadable, and the next is tpm2-tools'.

    Source: seed 002, "Parsec takes priority over the direct tpm2-tools path".
    """
    folder = set_up(box, f"edge-{provider}", provider)
    (share,) = found_site(1, ControlTower()).shares
    store = ShareStore(box, f"{SHARED}/disk-{provider}", f"swtpm:path={SHARED}/{SOCKET}")
    with running_tpm(new_tpm, box.shared):
        with parsec(box, folder):
            decision = decide(ProtectWithTpm.REQUIRE, store.probe(ProtectWithTpm.REQUIRE), operational=False)
            assert (decision.form, decision.log) == (Form.PARSEC, USING_PARSEC)
            store.write(decision, share)
            assert store.form is Form.PARSEC
            assert store.read() == share
            assert store.probe(ProtectWithTpm.NEVER).form is None
        assert isinstance(store.read(), Unreadable)
        assert store.probe(ProtectWithTpm.REQUIRE).form is Form.TPM2_TOOLS


def test_debians_unit_names_neither_the_tpms_group_nor_a_folder_for_the_documents_config(box: Toolbox) -> None:
    """Its user is parsec alone, and what is started in / has no place for the database of the config for tests.

    The image adds both lines. Source: parsec-service 1.4.1-3, parsec.service; udev gives /dev/tpmrm0 to the group tss.
    """
    unit = box.run("cat /usr/lib/systemd/system/parsec.service")
    assert "User=parsec" in unit
    assert "SupplementaryGroups" not in unit
    assert "WorkingDirectory" not in unit
    folder = set_up(box, "in-root", "mbed-crypto")
    status, said = box.attempt(f"cd / && timeout 20 parsec -c {SHARED}/{folder.name}/config.toml")
    assert status
    assert "unable to open database file: ./sqlite-key-info-manager.sqlite3" in said
