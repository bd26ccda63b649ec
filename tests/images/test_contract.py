"""The guest contract: declared, written down, and kept by the files of each image and by the image when it is up."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from key_box import key_tools
from machines import named_firmware, this_host

from harness.contract import HELPERS, SHELL_PORT
from harness.guest.driver import watch
from harness.guest.plan import BootPlan
from harness.guest.volumes import VolumePlan
from harness.guest.witness import End
from harness.host.scratch import scratch
from harness.images import guest_image
from harness.images.contract import CONTRACT, promises, script
from harness.images.recipe import Recipe, guest_names, guest_recipe
from harness.lab.power import power_off, shell
from harness.machine.disk import overlay
from harness.machine.rig import power_on
from harness.machine.spec import Disk, Machine, Tpm
from harness.paths import IMAGES
from harness.policy.world import Stack
from harness.progress import Progress

GUESTS = [name for name in guest_names() if guest_recipe(name).boot_chain != "bare"]
"""Those that policies are installed on."""


def script_of(recipe: Recipe) -> str:
    return script(recipe.stack, encrypted_root=bool(recipe.root_passphrase))


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_declares_how_a_policy_gets_onto_it(name: str) -> None:
    recipe = guest_recipe(name)
    assert (recipe.ignition_spec is not None) is not bool(recipe.root_passphrase)


@pytest.mark.parametrize("name", GUESTS)
def test_the_files_of_an_image_keep_what_its_recipe_declares(name: str) -> None:
    recipe = guest_recipe(name)
    files = {f"/{path.partition('/')[2]}": file for path, file in recipe.files().items() if path.startswith("root/")}
    unit = files["/etc/systemd/system/unlock-lab-shell.service"].read_text()
    assert f"/dev/virtio-ports/{SHELL_PORT}\n" in unit
    journald = files["/etc/systemd/journald.conf.d/50-unlock-lab.conf"].read_text()
    assert {"ForwardToConsole=yes", "TTYPath=/dev/hvc0"} <= set(journald.splitlines())
    assert {"console=ttyS0", "TERM=dumb"} <= set(recipe.cmdline)
    for promise in promises(recipe.stack, encrypted_root=bool(recipe.root_passphrase)):
        helpers = {word.strip("'") for word in promise.check.split() if word.startswith(f"{HELPERS}/")}
        assert helpers <= files.keys(), f"{name} does not keep: {promise.name}"


def test_each_promise_is_written_down() -> None:
    text = (IMAGES / "README.md").read_text()
    for promise in CONTRACT:
        assert f"\n| {promise.name} | " in text


@pytest.mark.parametrize("stack", Stack)
def test_the_script_names_what_is_not_kept_and_is_bash(stack: Stack) -> None:
    text = script(stack, encrypted_root=True)
    assert subprocess.run(["bash", "-n", "-c", text], check=False).returncode == 0
    one = replace(CONTRACT[0], check="false")
    ran = subprocess.run(
        ["bash", "-c", text.replace(CONTRACT[0].check, one.check)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[0] == CONTRACT[0].name


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in GUESTS if guest_recipe(name).ignition_spec])
def test_the_ignition_of_an_image_takes_the_spec_that_its_recipe_declares_and_no_newer(name: str) -> None:
    declared = guest_recipe(name).ignition_spec or 0
    with key_tools(name) as tools:
        config = '{{"ignition": {{"version": "3.{}.0"}}}}'
        said = [
            tools.attempt(f"ignition-validate - <<< '{config.format(minor)}'") for minor in (declared, declared + 1)
        ]
    assert [status for status, _ in said] == [0, 1]
    assert "unsupported config version" in said[1][1]


@pytest.mark.slow
@pytest.mark.parametrize("name", GUESTS)
def test_an_image_that_is_up_keeps_the_contract(name: str, tmp_path: Path) -> None:
    recipe, image = guest_recipe(name), guest_image(name, Progress())
    root = [VolumePlan("root", image.root_device, None, (image.root_passphrase,))] if image.root_passphrase else []
    with scratch(this_host().user) as folder:
        machine = Machine(
            name=name,
            firmware=named_firmware("trixie-plain"),
            nvram=folder / "nvram.fd",
            disks=(Disk(overlay(image.disk, folder / "disk.qcow2")),),
            tpm=Tpm(folder / "tpm"),
        )
        with power_on(machine, this_host(), tmp_path) as rig:
            seen = watch(rig, BootPlan(tuple(root)))
            assert seen.end is End.UP, seen.why
            with shell(rig, image) as opened:
                assert opened.run(script_of(recipe)).splitlines() == []
                power_off(rig, opened)
