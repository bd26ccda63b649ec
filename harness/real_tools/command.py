"""``unlock-lab try``: a policy tried by the guest's own tools against real TPMs and real Tang, without a machine."""

import argparse
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from rich.console import Console

from harness.defaults import IMAGE
from harness.errors import RigError, UsageError
from harness.explain.situations import can_be_done
from harness.host.scratch import scratch, scratch_root
from harness.images import guest_image
from harness.matrix.condition import Condition
from harness.matrix.conditions import CONDITIONS, MAINTENANCE, OF_POWER, subsets
from harness.matrix.machines import MACHINES
from harness.policy.butane import read_policy
from harness.policy.pins import bindings, changed, leaves
from harness.policy.pins.systemd import CRYPTENROLL
from harness.policy.policy import Volume
from harness.progress import Progress
from harness.real_tools.parts import Parts, parts_among
from harness.real_tools.show import Line, show
from harness.real_tools.tree import guest_tree
from harness.real_tools.trial import ONLY_A_BOOT, seal, try_under
from harness.real_tools.worlds import opens

_UNLOCKS_SINCE = 256
"""Of systemd, when systemd-cryptenroll learned ``--unlock-tpm2-device=`` (its NEWS)."""

_SHOWN = ("clevis", "jose", "cryptsetup-bin", "systemd", "tpm2-tools", "curl")


def main(argv: Sequence[str]) -> int:
    """Run the command; the status is 1 when the tools and the rules differ somewhere."""
    arguments = _parser().parse_args(argv)
    progress, started = Progress(), time.monotonic()
    volumes = list(_of_files(arguments.files)) if arguments.files else list(_of_table())
    _require_known(arguments.only, volumes)
    scratch_root()  # told now, and not after the minutes that an image takes
    images = dict.fromkeys(arguments.image or [IMAGE])
    found: list[Line] = []
    versions: dict[str, str] = {}
    for image in images:
        known = guest_image(image, progress).versions
        versions[image] = ", ".join(f"{name} {known[name]}" for name in _SHOWN if name in known)
        able = [volume for volume in volumes if _can_be_opened(volume, known)]
        if left := [volume.name for volume in volumes if volume not in able]:
            progress.say(f"{image}: not tried, since its systemd-cryptenroll opens nothing by a TPM: {', '.join(left)}")
        found += try_volumes(able, image, progress, arguments.only)
    show(found, versions, Console(markup=False, emoji=False), time.monotonic() - started)
    return 0 if all(line.agrees for line in found) else 1


def _can_be_opened(volume: Volume, versions: Mapping[str, str]) -> bool:
    """Whether these tools can be asked without a device, as the kernel would show one."""
    major = re.match(r"\d+", versions.get("systemd", ""))
    asked = any(leaf.opener is CRYPTENROLL for leaf in volume.leaves)
    return not asked or (major is not None and int(major[0]) >= _UNLOCKS_SINCE)


def try_volumes(volumes: Sequence[Volume], image: str, progress: Progress, only: Sequence[str] = ()) -> list[Line]:
    """Seal volumes and try each under the conditions that can be told here.

    Args:
        volumes: Those that `can_be_sealed`.
        image: Whose tools: a folder of images/.
        progress: Says what is under way.
        only: Names of conditions; all that make sense unless some are named.

    Returns:
        The cells; where a tool failed that must not, a cell without a verdict says so.

    Raises:
        HostError: Something that it takes is missing on this host.
    """
    if not volumes:
        return []
    workers = max(1, min(os.cpu_count() or 1, len(volumes)))
    over = threading.Event()
    with guest_tree(image, progress) as tree, ThreadPoolExecutor(workers) as pool:
        shares = [volumes[start::workers] for start in range(workers)]
        quiet = Progress(progress.stream, several=True)
        running = [pool.submit(_try_share, tree, image, share, quiet, only=only, over=over) for share in shares]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            over.set()  # Ctrl-C, or what one of them lacks: the others end with the cell that they are at
        found = [line for share in running for line in share.result()]
    order = [volume.name for volume in volumes]
    return sorted(found, key=lambda line: order.index(line.volume))


def _try_share(
    tree: Path, image: str, volumes: Sequence[Volume], progress: Progress, *, only: Sequence[str], over: threading.Event
) -> list[Line]:
    """What one shell tries until it is over: its TPM, header and servers are its own."""
    found: list[Line] = []
    names = tuple(dict.fromkeys(server for volume in volumes for server in volume.tang_servers))
    banks = frozenset({"sha256"}).union(*(leaf.pcr_banks for volume in volumes for leaf in volume.leaves))
    with parts_among(tree, names, progress, sorted(banks)) as parts:
        for volume in takewhile(lambda _: not over.is_set(), volumes):
            with progress.step(volume.name):
                found += takewhile(lambda _: not over.is_set(), _tried(parts, image, volume, only))
    return found


def _of_files(files: Sequence[Path]) -> Iterator[Volume]:
    """What of the files can be tried; of several files, each volume is called after its file, too."""
    for file in files:
        policy = read_policy(file)
        volumes = [_anywhere(volume) for volume in policy.volumes if can_be_sealed(volume)]
        if not volumes:
            raise UsageError(
                f"{file} has no volume that can be tried here",
                "it must have a passphrase, and pins that need no person and no certain phase of the boot, of which no "
                "binding joins two that the TPM answers for",
            )
        for volume in volumes:
            yield replace(volume, name=f"{policy.name}:{volume.name}") if len(files) > 1 else volume


def _anywhere(volume: Volume) -> Volume:
    """The same with its servers where the tools find them: there is no guest whose network could have others."""
    assert volume.pins
    return replace(volume, pins=changed(volume.pins, lambda leaf: leaf.anywhere()))


def _of_table() -> Iterator[Volume]:
    """Every policy of the truth table's machines on this image that can be sealed here, called like its row."""
    for machine in MACHINES:
        if machine.image == IMAGE:
            policy = machine.policy
            for volume in policy.volumes:
                if can_be_sealed(volume):
                    yield replace(volume, name=volume.name if len(policy.volumes) > 1 else policy.name)


def can_be_sealed(volume: Volume) -> bool:
    """Whether its pins can be bound and asked without a boot."""
    by_boot = any(leaf.needs_machine for leaf in volume.leaves)
    known = all(leaf.service is None or leaf.service.kind in ("tang", "tpm") for leaf in volume.leaves)
    # The pins of a binding are asked at once, and no resource manager keeps two at the TPM apart (seen: 0x902).
    in_turn = all(sum(leaf.bound_pcrs is not None for leaf in leaves(pin)) <= 1 for pin in bindings(volume.pins))
    told = known and in_turn and not by_boot and not volume.unpredictable
    return bool(volume.leaves) and volume.passphrase is not None and told


def _require_known(only: Sequence[str], volumes: Sequence[Volume]) -> None:
    """Refuse a condition that would be tried of no volume, before anything is prepared."""
    makes_sense = {condition.name for volume in volumes for condition in _conditions(volume, only)}
    if unknown := sorted(set(only) - makes_sense):
        known = dict.fromkeys(condition.name for volume in volumes for condition in _conditions(volume, ()))
        why = "; ".join(f"{name}: only a boot can tell, {ONLY_A_BOOT[name]}" for name in unknown if name in ONLY_A_BOOT)
        raise UsageError(f"nothing to try under {', '.join(unknown)}", why, f"one of {', '.join(known)}")


def _tried(parts: Parts, image: str, volume: Volume, only: Sequence[str]) -> Iterator[Line]:
    with scratch(None) as own:
        try:
            sealed = seal(parts, volume, own)
        except RigError as error:
            for condition in _conditions(volume, only):
                yield _line(image, volume, condition, opened=None, said=str(error))
            return
        for condition in _conditions(volume, only):
            with scratch(None) as folder:
                try:
                    trial = try_under(parts, sealed, condition, folder)
                except RigError as error:
                    yield _line(image, volume, condition, opened=None, said=str(error))
                    continue
            yield _line(image, volume, condition, opened=trial.opened, said=trial.said, seconds=trial.seconds)


def _line(
    image: str, volume: Volume, condition: Condition, *, opened: bool | None, said: str, seconds: float = 0.0
) -> Line:
    predicted = opens(condition.becomes([volume])[0], condition.world_of(volume.services))
    return Line(volume.name, condition.name, predicted, opened, said, seconds, image)


def _conditions(volume: Volume, only: Sequence[str]) -> Iterator[Condition]:
    servers = volume.tang_servers
    for condition in (*CONDITIONS, *MAINTENANCE, *OF_POWER, *subsets(servers)):
        about_servers = condition.servers or condition.before
        if condition.name in ONLY_A_BOOT or (about_servers and not servers) or (only and condition.name not in only):
            continue
        if can_be_done(condition, [volume]):
            yield condition


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unlock-lab try",
        description="Try policies by the guest's own tools, against real TPMs and real Tang, without a machine.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="policy files (default: the truth table's)")
    parser.add_argument("--only", action="append", default=[], metavar="CONDITION", help="only this condition")
    parser.add_argument(
        "--image",
        action="append",
        metavar="IMAGE",
        help=f"whose tools, a folder of images/; several are shown side by side ({IMAGE})",
    )
    return parser
