"""Recipes, keys and the archive without a machine; building twice gives the same bytes (slow)."""

import hashlib
import io
import os
import re
import select
import signal
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import paramiko
import pytest
from machines import processes_naming, wait_gone

from harness import process
from harness.contents import CONTENTS
from harness.contract import SHELL_PORT
from harness.defaults import IMAGE
from harness.errors import HostError, UsageError
from harness.images import archive, build, firmware, guest_image, guest_key, luks, recipe
from harness.images.keys import key_pair
from harness.images.recipe import firmware_recipe, guest_names, guest_recipe
from harness.paths import IMAGES
from harness.policy.fit import DEFAULT_SPEC
from harness.progress import Progress


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An images/ folder and a cache of the test's own."""
    monkeypatch.setattr(recipe, "IMAGES", tmp_path / "images")
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    archive.archive_state.cache_clear()
    (tmp_path / "images" / "ovmf").mkdir(parents=True)
    return tmp_path / "images"


def write_recipe(folder: Path, text: str, name: str = "toy") -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "recipe.yaml").write_text(text)


GOOD = """
name: toy
suite: trixie
components: [main]
source_date_epoch: 1754697600
root_mib: 512
packages: [systemd]
modules: [xfs]
initrd_modules: [xfs]
cmdline: [console=ttyS0]
stack: dracut
"""


def test_a_folder_of_ones_own_comes_first_and_builds_on_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = guest_names()
    monkeypatch.setenv("UNLOCK_LAB_IMAGES", str(tmp_path))
    write_recipe(tmp_path, "name: mine\nextends: debian-13\npackages: {add: [strace]}\n", "mine")
    write_recipe(tmp_path, GOOD.replace("toy", "debian-12-initramfs"), "debian-12-initramfs")
    assert guest_names() == tuple(sorted((*shipped, "mine")))
    assert "strace" in guest_recipe("mine").packages
    assert guest_recipe("debian-12-initramfs").suite == "trixie"
    with pytest.raises(UsageError, match="there is no guest image 'plan9'"):
        guest_recipe("plan9")


@pytest.mark.parametrize("name", guest_names())
def test_a_shipped_recipe_is_right(name: str) -> None:
    image = guest_recipe(name)
    assert image.folder.name == name
    assert set(image.initrd_modules) <= set(image.modules)
    assert "console=ttyS0" in image.cmdline
    assert not any(word.startswith(("ip=", "rd.neednet", "ignition.")) for word in image.cmdline)


def test_what_is_assumed_of_a_guest_is_declared_by_the_one_that_is_used_by_default() -> None:
    assert guest_recipe(IMAGE).ignition_spec == DEFAULT_SPEC


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("suite: trixie\n", ""), "missing: suite"),
        (GOOD.replace("stack: dracut\n", ""), "missing: stack"),
        (GOOD.replace("stack: dracut", "stack: mkinitcpio"), "stack: there is no 'mkinitcpio'"),
        (GOOD + "ignition: 3.3\n", "ignition: not"),
        (GOOD + "ignition: '4.0.0'\n", "ignition: '4.0.0' is no spec"),
        (GOOD + "sweet: trixie\n", "unknown: sweet"),
        (GOOD.replace("512", "much"), "root_mib: not"),
        (GOOD.replace("[systemd]", "systemd"), "packages: not a list of strings"),
        (GOOD.replace("[systemd]", "[1]"), "packages: not a list of strings"),
        (GOOD.replace("name: toy", "name: other"), "is named 'other'"),
        ("- a\n", "not a mapping"),
        ("a: [\n", "not YAML"),
        ("a: 2024-13-45\n", "not YAML"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_line(folder: Path, text: str, said: str) -> None:
    write_recipe(folder, text)
    with pytest.raises(UsageError) as caught:
        guest_recipe("toy")
    assert said in caught.value.what
    assert "recipe.yaml" in caught.value.what


def test_a_recipe_that_is_no_file_is_told(folder: Path) -> None:
    (folder / "toy" / "recipe.yaml").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"recipe\.yaml cannot be read"):
        guest_names()


EXTENDED = """
name: more
extends: toy
packages: {add: [udev], remove: [systemd]}
cmdline: [quiet]
without: [trim-initrd, root/etc]
"""


@pytest.fixture
def base(folder: Path) -> Path:
    """A recipe to build on, with files."""
    write_recipe(folder, GOOD)
    (folder / "toy/root/etc").mkdir(parents=True)
    for name in ("configure", "trim-initrd", "root/etc/hosts", "root/note"):
        (folder / "toy" / name).write_text(f"toy {name}")
    return folder


def test_a_recipe_builds_on_another_one(base: Path) -> None:
    write_recipe(base, EXTENDED, "more")
    (base / "more/root").mkdir()
    (base / "more/root/note").write_text("more")
    (base / "more/configure").write_text("more")
    more = guest_recipe("more")
    assert (more.name, more.suite, more.root_mib) == ("more", "trixie", 512)
    assert (more.packages, more.modules, more.cmdline) == (("udev",), ("xfs",), ("quiet",))
    files = {name: path.read_text() for name, path in more.files().items() if path.is_file()}
    assert files == {"configure": "more", "configure.base": "toy configure", "root/note": "more"}
    assert guest_names() == ("more", "toy")


def test_a_third_recipe_calls_both_scripts_before_it(base: Path) -> None:
    write_recipe(base, EXTENDED, "more")
    write_recipe(base, "name: most\nextends: more\n", "most")
    for name in ("more", "most"):
        (base / name / "configure").write_text(name)
    files = {name: path.read_text() for name, path in guest_recipe("most").files().items() if path.is_file()}
    assert files["configure"] == "most"
    assert files["configure.base"] == "more"
    assert files["configure.base.base"] == "toy configure"
    assert "trim-initrd" not in files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: more\nextends: plan9\n", "extends: there is no guest image 'plan9'"),
        ("name: more\nextends: more\n", "extends: more → more is a circle"),
        (EXTENDED.replace("remove: [systemd]", "remove: [emacs]"), "packages: remove: not there: emacs"),
        (EXTENDED.replace("add: [udev]", "add: [systemd]"), "packages: add: already there: systemd"),
        (EXTENDED.replace("add: [udev]", "append: [udev]"), "packages: unknown: append"),
        (EXTENDED.replace("add: [udev]", "add: udev"), "packages: add: not a list of strings"),
        (EXTENDED + "modules: all\n", "modules: not a list of strings"),
        (EXTENDED.replace("root/etc]", "root/usr]"), "without: toy has no root/usr"),
        (EXTENDED.replace("name: more\n", ""), "is named 'toy', its folder 'more'"),
        (EXTENDED + "sweet: 1\n", "unknown: sweet"),
        (EXTENDED + "boot_chain: lilo\n", "boot_chain: there is no 'lilo'"),
    ],
)
def test_a_wrong_extension_is_named_with_file_and_key(base: Path, text: str, said: str) -> None:
    write_recipe(base, text, "more")
    with pytest.raises(UsageError) as caught:
        guest_recipe("more")
    assert said in caught.value.what
    assert "more/recipe.yaml" in caught.value.what


def test_a_root_that_is_encrypted_stands_in_both_crypttabs(base: Path) -> None:
    write_recipe(base, EXTENDED + "root_passphrase: secret\ncrypttab: luks,tries=1\n", "more")
    more = guest_recipe("more")
    with tarfile.open(fileobj=io.BytesIO(build.stage(more))) as tar:
        for place in ("root", "initrd"):
            member = tar.extractfile(f"unlock-lab-build/{place}/etc/crypttab")
            assert member
            assert member.read().decode() == f"root UUID={build.luks_uuid(more)} none luks,tries=1\n"


def test_an_unknown_image_is_told_which_there_are(folder: Path) -> None:
    write_recipe(folder, GOOD)
    with pytest.raises(UsageError, match="no guest image 'plan9'") as caught:
        guest_recipe("plan9")
    assert "toy" in caught.value.detail


def test_an_unknown_firmware_is_told_which_there_are() -> None:
    with pytest.raises(UsageError, match="no firmware 'coreboot'") as caught:
        firmware_recipe("coreboot")
    assert "trixie" in caught.value.detail


def test_firmware_that_is_no_mapping(folder: Path) -> None:
    write_recipe(folder, "trixie: 1\n", "ovmf")
    with pytest.raises(UsageError, match="trixie: not a mapping"):
        firmware_recipe("trixie")


def test_keys_are_the_same_for_the_same_name_and_paramiko_reads_them() -> None:
    private, public = key_pair("toy harness")
    assert (private, public) == key_pair("toy harness")
    assert key_pair("toy host")[1] != public
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(private))
    assert f"{key.get_name()} {key.get_base64()}" == public.rsplit(" ", 1)[0].removesuffix(" toy")


def test_the_same_recipe_stages_the_same_bytes(folder: Path) -> None:
    write_recipe(folder, GOOD)
    toy = guest_recipe("toy")
    assert build.stage(toy) == build.stage(toy)
    with tarfile.open(fileobj=io.BytesIO(build.stage(toy))) as tar:
        members = tar.getmembers()
        names = {member.name for member in members}
        assert {f"unlock-lab-build/{name}" for name in ("build", "cmdline", "root/etc/unlock-lab/host_key")} <= names
        assert {member.mtime for member in members} == {toy.source_date_epoch}
        assert {member.uid for member in members} == {0}


def test_a_changed_input_changes_the_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recipe(folder, GOOD)
    toy = guest_recipe("toy")
    monkeypatch.setattr(archive, "archive_state", lambda suite: "one")
    key = guest_key(toy)
    assert guest_key(toy) == key
    assert guest_key(replace(toy, packages=("udev",))) != key
    assert guest_key(replace(toy, cmdline=("quiet",))) != key
    (folder / "toy" / "configure").write_text("#!/bin/sh\n")
    changed = guest_key(toy)
    assert changed != key
    monkeypatch.setattr(archive, "archive_state", lambda suite: "two")
    assert guest_key(toy) != changed


@pytest.mark.parametrize(("module", "name", "value"), [(build, "BUILD_FORMAT", 1000), (luks, "ITERATIONS", 2000)])
def test_how_an_image_is_built_counts_and_how_a_root_is_encrypted_for_images_that_have_one(
    base: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, value: int
) -> None:
    write_recipe(base, EXTENDED + "root_passphrase: secret\n", "more")
    monkeypatch.setattr(archive, "archive_state", lambda suite: "one")
    before = guest_key(guest_recipe("toy")), guest_key(guest_recipe("more"))
    monkeypatch.setattr(module, name, value)
    after = guest_key(guest_recipe("toy")), guest_key(guest_recipe("more"))
    assert (after[0] == before[0]) is (module is luks)
    assert after[1] != before[1]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror that is a folder."""
    root = tmp_path / "mirror"
    root.mkdir()
    monkeypatch.setenv("UNLOCK_LAB_DEBIAN_MIRROR", root.as_uri())
    return root


def test_archive_state_follows_the_release_and_survives_the_mirror(folder: Path, mirror: Path) -> None:
    release = mirror / "dists" / "toy" / "InRelease"
    with pytest.raises(HostError, match="not reachable") as caught:
        archive.archive_state("toy")
    assert "UNLOCK_LAB_DEBIAN_MIRROR" in caught.value.hint
    release.parent.mkdir(parents=True)
    release.write_text("13.1")
    first = archive.archive_state("toy")
    archive.archive_state.cache_clear()
    release.write_text("13.2")
    second = archive.archive_state("toy")
    assert first != second
    archive.archive_state.cache_clear()
    release.unlink()
    assert archive.archive_state("toy") == second


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a b", "nonsense", "ftp://", "http://[", "http://127.0.0.1:x/"])
def test_a_mirror_that_is_none_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_DEBIAN_MIRROR", url)
    with pytest.raises(HostError, match="is not reachable"):
        archive.fetch("dists/x/InRelease", timeout=5)


def test_a_variable_without_a_value_names_no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_DEBIAN_MIRROR", "")
    assert archive.mirror() == "http://deb.debian.org/debian"


def test_a_pinned_package_must_be_what_was_pinned(mirror: Path) -> None:
    (mirror / "a.deb").write_bytes(b"good")
    good = hashlib.sha256(b"good").hexdigest()
    assert archive.fetch_package("a.deb", good, "recipe.yaml: a") == b"good"
    (mirror / "a.deb").write_bytes(b"bad")
    with pytest.raises(HostError, match="serves something else") as caught:
        archive.fetch_package("a.deb", good, "recipe.yaml: a")
    assert "recipe.yaml: a" in caught.value.detail


def test_a_package_gone_from_the_mirror_names_the_line_to_update(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: str, *, timeout: float) -> bytes:
        raise HostError(f"http://mirror/{path}: 404 Not Found")

    monkeypatch.setattr(archive, "fetch", gone)
    with pytest.raises(HostError, match=r"ovmf_1\.deb is gone") as caught:
        archive.fetch_package("pool/ovmf_1.deb", "0", "images/ovmf/recipe.yaml: trixie")
    assert "images/ovmf/recipe.yaml: trixie" in caught.value.detail
    assert "version and SHA256" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("E: Unable to locate package clevvis", "packages: clevvis is not in trixie"),
        ("Err:1 Could not resolve 'deb.example'", "does not answer"),
        ("E: Release file for http://deb.example/InRelease is expired (invalid since 18d)", "has not been updated"),
        ('E: command failed: chroot "$1" /unlock-lab-build/prepare', "prepare ended with an error"),
    ],
)
def test_a_failed_build_says_what_to_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, hint: str
) -> None:
    def failing(argv: list[str], **rest: object) -> str:
        raise HostError("mmdebstrap failed", said)

    write_recipe(folder, GOOD)
    monkeypatch.setattr("harness.process.run", failing)
    with pytest.raises(HostError, match="building the image toy failed") as caught:
        build.build(guest_recipe("toy"), tmp_path)
    assert hint in caught.value.hint


@pytest.mark.parametrize(("said", "taken"), [("yes", True), ("", False), ("no", False)])
def test_old_lists_are_taken_when_that_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, taken: bool
) -> None:
    told: list[str] = []

    def failing(argv: list[str], **rest: object) -> str:
        told.extend(map(str, argv))
        raise HostError("mmdebstrap failed")

    write_recipe(folder, GOOD)
    monkeypatch.setattr("harness.process.run", failing)
    monkeypatch.setenv("UNLOCK_LAB_DEBIAN_EXPIRED", said)
    with pytest.raises(HostError):
        build.build(guest_recipe("toy"), tmp_path)
    assert any("Check-Valid-Until" in word for word in told) == taken


ENDLESS = """#!/bin/bash
mount -t tmpfs none "$TMPDIR"
touch "$TMPDIR/file"
tail -f "$TMPDIR/file" &
echo "$TMPDIR" > "$1"
wait
"""
BUILD = """
import sys
from pathlib import Path
from harness.images import build, recipe
build.arguments = lambda _: ["mmdebstrap", sys.argv[1]]
build.build(recipe.guest_recipe("debian-13"), Path(sys.argv[1]).parent)
"""


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of processes and mounts are root's to give")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_no_process_mount_or_file(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "mmdebstrap").write_text(ENDLESS)
    (tmp_path / "mmdebstrap").chmod(0o755)
    started = tmp_path / "started"
    os.mkfifo(started)
    heard = os.open(started, os.O_RDWR)
    command = ["env", "--default-signal=INT", sys.executable, "-c", BUILD, str(started)]
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as child:
        told, _, _ = select.select([heard], [], [], 30)
        assert told, "the build did not begin"
        scratch = os.read(heard, 4096).decode().strip()
        os.close(heard)
        assert processes_naming(scratch)
        child.send_signal(how)
    assert wait_gone(lambda: processes_naming(scratch), 10.0) == {}
    assert not Path(scratch).exists()
    assert scratch not in Path("/proc/mounts").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trixie", "trixie-plain", "bookworm"])
def test_firmware_is_fetched_and_unpacked(name: str) -> None:
    image = firmware(name, Progress())
    assert image.code.stat().st_size + image.nvram_template.stat().st_size == 4 << 20
    assert image.version == firmware_recipe(name).version


@pytest.mark.slow
@pytest.mark.parametrize("name", ["debian-13", "debian-13-root", "debian-13-initramfs"])
def test_building_twice_gives_the_same_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another folder, another time, another TMPDIR: the same disk, byte for byte."""
    first = guest_image(name, Progress())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    again = tmp_path / "again"
    again.mkdir(mode=0o755)
    build.build(guest_recipe(name), again)
    # One tells the time, the other is the cache's own.
    for path in set(first.folder.iterdir()) - {first.folder / "dracut.log", first.folder / CONTENTS}:
        assert hashlib.sha256((again / path.name).read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_the_shell_port_is_the_one_the_guest_listens_on() -> None:
    unit = (IMAGES / "debian-13/root/etc/systemd/system/unlock-lab-shell.service").read_text()
    assert f"/dev/virtio-ports/{SHELL_PORT}\n" in unit


def test_a_script_that_prepares_the_system_runs_in_it_before_the_build(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_recipe(folder, GOOD)
    write_recipe(folder, "name: more\nextends: toy\n", "more")
    (folder / "more" / "prepare").write_text("#!/bin/sh\n")
    (tmp_path / "trusted.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    asked: list[list[str]] = []

    def run(command: list[str], **_options: object) -> None:
        asked.append(command)
        raise HostError("mmdebstrap ended with status 1", "go: x@v1: Get y: dial tcp: no route to host")

    monkeypatch.setattr(process, "run", run)
    for name in ("toy", "more"):
        (tmp_path / name).mkdir()
        with pytest.raises(HostError, match=f"building the image {name} failed") as caught:
            build.build(guest_recipe(name), tmp_path / name)
    assert caught.value.hint == "the proxy for Go modules does not answer: name another one in GOPROXY"
    hooks = [
        [word.rpartition("/")[2] for word in command if re.search(r"hook=(upload|chroot \"\$1\" /)", word)]
        for command in asked
    ]
    assert hooks == [["build"], ["host-certificates", "prepare", "build"]]
