"""What stays on this host between runs: ``unlock-lab images`` shows and makes it, ``clean`` removes it."""

import argparse
import os
import select
import shutil
import signal
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from harness import cache
from harness.errors import HostError, RigError
from harness.host.docker import docker_call, docker_client, start_daemon
from harness.host.hostwide import users
from harness.host.scratch import remove_orphaned
from harness.host.slots import slot_count
from harness.images import firmware, guest_image
from harness.images.recipe import guest_names, guest_recipe
from harness.machine.hypervisor import process_of
from harness.ownership import claimed_run_dir
from harness.paths import IMAGES, cache_dir
from harness.progress import Progress
from harness.services.container import OWNER_LABEL, remove_if_there
from harness.services.hsm_server import REPOSITORY as HSM
from harness.services.keylime_server import REPOSITORY as KEYLIME
from harness.services.service_image import IMAGE_USE
from harness.services.tang_image import REPOSITORY as TANG
from harness.services.tang_image import tang_image
from harness.temporary import KEEP

_OFF_SECONDS = 30.0


def images(argv: Sequence[str]) -> int:
    """List the images that images/ describes and what the cache holds, or build those that it does not."""
    parser = argparse.ArgumentParser(prog="unlock-lab images", description=images.__doc__)
    parser.add_argument("action", nargs="?", choices=("list", "build"), default="list")
    parser.add_argument("names", nargs="*", metavar="NAME", help="guest images to build (default: all)")
    options = parser.parse_args(argv)
    if options.action == "build":
        build(options.names or guest_names())
        return 0
    for what, names in (("guests", guest_names()), ("firmware", firmware_names())):
        words = textwrap.TextWrapper(initial_indent=f"{what:<10}", subsequent_indent=" " * 10, break_on_hyphens=False)
        print(words.fill(" ".join(names)))
    print(f"cache     {cache_dir()}")
    for kind in sorted(path for path in cache_dir().glob("*") if path.is_dir()):
        entries = [path for path in kind.iterdir() if path.is_dir() and not path.name.startswith(".")]
        print(f"  {kind.name:<14}{len(entries):>4}{cache.disk_use(kind) / 1e6:>9.0f} MB")
    return 0


def build(guests: Sequence[str]) -> None:
    """Make all that scenarios start from and the cache does not have, the small things first.

    Raises:
        HarnessError: There is no such image, a recipe is wrong, a tool is missing, or the mirror is not reachable.
    """
    progress = Progress()
    for name in guests:
        guest_recipe(name)
    slot_count()  # what is wrong with these, or with Docker, is told before anything is made
    with docker_client() as client:
        for name in firmware_names():
            firmware(name, progress)
        tang_image(client, progress)
    for name in guests:
        progress.say(f"{name}: {guest_image(name, progress).folder}")


def firmware_names() -> list[str]:
    """The builds that images/ovmf pins."""
    return list(yaml.safe_load((IMAGES / "ovmf" / "recipe.yaml").read_text()))


def clean(argv: Sequence[str]) -> int:
    """Remove what dead runs left behind and machines that --lab-keep left on; never what a live run uses."""
    parser = argparse.ArgumentParser(prog="unlock-lab clean", description=clean.__doc__)
    parser.add_argument("--cache", action="store_true", help="also the cache: images and installed machines")
    options = parser.parse_args(argv)
    progress = Progress()
    for folder in list(kept_folders()):
        progress.say(f"turning off a machine that was kept: {folder}")
        turn_off(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            progress.say(f"{folder} is still written to: what is left of it goes with the next `clean`")
    remove_orphaned()
    remove_containers(progress)
    for part in cache.remove_abandoned():
        progress.say(f"removed {part}")
    if options.cache:
        remove_cache(progress)
    return 0


def kept_folders() -> Iterator[Path]:
    """Folders of machines that ``--lab-keep`` left on."""
    yield from (path.parent for path in (claimed_run_dir() / "m").glob(f"*/{KEEP}"))


def turn_off(folder: Path) -> None:
    """End the QEMU of a machine that was kept, whatever its hypervisor; its swtpm ends with it.

    Raises:
        HostError: It does not end, or is another user's.
    """
    name = (folder / KEEP).read_text()
    pid = process_of(name) if name else None
    if pid is None:
        return
    try:
        with os.fdopen(os.pidfd_open(pid), "rb") as qemu:
            if process_of(name) == pid:
                signal.pidfd_send_signal(qemu.fileno(), signal.SIGTERM)
            if not select.select([qemu], [], [], _OFF_SECONDS)[0]:
                raise HostError(f"QEMU (process {pid}) did not end within {_OFF_SECONDS:.0f} s", name, f"kill -9 {pid}")
    except ProcessLookupError:
        return  # it has just ended
    except PermissionError as error:
        raise HostError(f"QEMU (process {pid}) is another user's", str(error), f"sudo kill {pid}") from error


def remove_containers(progress: Progress) -> None:
    """Remove containers whose owner is dead. They end by themselves, unless the owner died while it made them."""
    # Without a daemon there are no containers.
    with suppress(HostError), docker_client() as client, docker_call("remove the containers of dead runs"):
        for container in client.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True):
            if not Path("/proc", container.labels[OWNER_LABEL]).exists():
                progress.say(f"removing the container {container.name}")
                remove_if_there(container)


def remove_cache(progress: Progress) -> None:
    """Remove the cache, and the services' images from Docker.

    Raises:
        UsageError: The cache is not ours, or a run is using it.
    """
    progress.say(f"removing {cache_dir()}")
    for left in cache.remove():
        progress.say(f"{left} stays: it is not ours")
    if others := users(IMAGE_USE):
        whose = ", ".join(f"process {pid}" for pid in others)
        progress.say(f"the services' images stay: {whose} of this host may need them")
        return
    with suppress(HostError), docker_client() as client:
        for image in (image for repository in (TANG, HSM, KEYLIME) for image in client.images.list(repository)):
            try:
                # Without force: Docker keeps the image of a container that is there.
                with docker_call(f"remove the image {image.short_id}"):
                    image.remove()
            except RigError as error:
                progress.say(f"the image {image.short_id} stays: {error.detail}")


def start(argv: Sequence[str]) -> int:
    """Start what must run and does not: the Docker daemon. Only root can."""
    argparse.ArgumentParser(prog="unlock-lab start", description=start.__doc__).parse_args(argv)
    start_daemon(Progress())
    return 0
