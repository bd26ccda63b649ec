"""``unlock-lab prove``: boot what `unlock-lab explain` says of a Butane file, and show both side by side.

What was booted is kept in the folder of artifacts, by the hash of all that went in: a run that was cut off, or is
repeated, goes on where it was. The status is 0 when every boot and every attack was as the rules say.
"""

import argparse
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from harness.campaign import durations
from harness.campaign.durations import Durations, Installed
from harness.campaign.schedule import Costs
from harness.defaults import ACCELERATORS, HYPERVISORS, add_artifacts
from harness.errors import ControlError, HarnessError
from harness.evidence import record, report
from harness.evidence.artifacts import claimed_root
from harness.explain.answer import Answer
from harness.explain.command import explained_policy
from harness.host.scratch import scratch_root
from harness.images.recipe import guest_recipe
from harness.lab import laboratory
from harness.lab.install import SealedEntry, sealed_machine
from harness.lab.laboratory import Laboratory
from harness.lab.policies import image_for, require_installable
from harness.matrix.conditions import all_conditions, subsets
from harness.matrix.run import MachinePlan, boot_columns, booted, left_to_boot
from harness.policy.butane import read_policy
from harness.policy.policy import Policy
from harness.progress import Progress
from harness.prove.attacks import AttackLine, Staged, known, play, staged, told
from harness.prove.plan import CONTROL, Step, plan
from harness.prove.show import Line, lines_of, never_opens, show
from harness.real_tools.command import can_be_sealed, try_volumes
from harness.real_tools.trial import ONLY_A_BOOT

_WIDTH = 80
"""In columns, of what is announced."""


def main(argv: Sequence[str]) -> int:
    """Run the command; the status is 0 when every boot and every attack was as the rules say."""
    arguments = _parser().parse_args(argv)
    progress = Progress()
    scratch_root()  # what cannot be written to is told now, and not after the minutes that an image takes
    if not arguments.plan:
        claimed_root(arguments.artifacts)
    return max(_prove(file, arguments, progress) for file in arguments.files)


def _prove(file: Path, arguments: argparse.Namespace, progress: Progress) -> int:
    policy = read_policy(file)
    image = arguments.image or image_for(policy)
    require_installable(policy, guest_recipe(image))
    answer = explained_policy(policy, image)
    differing = frozenset[str]() if arguments.no_try else _differing(policy, image, progress)
    steps = plan(answer, _power_ons(policy), differing, ONLY_A_BOOT)
    attacks = () if arguments.no_attacks else tuple(staged(policy))
    progress.say(
        announced(answer, steps, attacks, durations.expected(durations.of_this_host(), durations.of_another_host()))
    )
    if arguments.plan:
        return 0
    machine = MachinePlan(
        policy,
        tuple(step.condition for step in steps if step.boots),
        image,
        guest_recipe(image).stack,
        arguments.artifacts,
        arguments.accel,
        of_a_file=True,
    )
    options = laboratory.Options(accel=arguments.accel, hypervisor=arguments.hypervisor)
    page = arguments.artifacts / report.PAGE
    with laboratory.prepared(options) as lab:
        try:
            found, attacked = _booted(machine, steps, attacks, answer, lab)
        except ControlError as error:
            status = never_opens(answer, error, record.load(Path(error.evidence)), Console(markup=False, emoji=False))
        else:
            status = show(answer, found, attacked, Console(markup=False, emoji=False))
    report.write(arguments.artifacts, page)
    progress.say(f"each boot and its logs: {page}")
    return status


def _booted(
    machine: MachinePlan, steps: Sequence[Step], attacks: Sequence[Staged], answer: Answer, lab: Laboratory
) -> tuple[list[Line], list[AttackLine]]:
    """Install, and boot what is not known yet.

    Raises:
        ControlError: It does not open by itself.
        HarnessError: It could not be installed.
    """
    entry = sealed_machine(lab, machine.image, machine.policy, machine.artifacts)
    measured = Installed(entry.install_seconds, entry.folder.name)
    durations.remember(Durations(installations={machine.policy.name: measured}))
    if before := kept(machine, attacks, entry):
        lab.progress.say(before)
    boot_columns(machine, lab, entry)
    attacked: list[AttackLine] = []
    for number, attack in enumerate(attacks, 1):
        with lab.progress.step(f"{machine.policy.name}: attack {attack.name} ({number} of {len(attacks)})"):
            document = play(attack, lab, entry, machine.artifacts)
        attacked += told(attack, document, machine.policy, answer.volumes)
    rows = [machine.row(volume) for volume in machine.policy.volumes]
    return list(lines_of(answer, steps, rows, booted(machine))), attacked


def kept(machine: MachinePlan, attacks: Sequence[Staged], entry: SealedEntry) -> str:
    """What earlier runs have booted of this already, in words; empty where they have nothing of it."""
    conditions = len(machine.columns) - len(left_to_boot(machine, entry))
    played = sum(known(attack, entry, machine.artifacts) is not None for attack in attacks)
    if not conditions + played:
        return ""
    return (
        f"{machine.policy.name}: {conditions} of {len(machine.columns)} conditions and {played} of {len(attacks)} "
        f"attacks are known from an earlier run, in {machine.artifacts}"
    )


def _power_ons(policy: Policy) -> Mapping[str, int]:
    """How many power-ons each condition takes that can be booted: its maintenance has one, and each power cut.

    The control is told by the installation where all must open by themselves for it to succeed.
    """
    known = (*all_conditions(), *subsets(policy.tang_servers))
    told_already = all(volume.pins and volume.tpm_pin is None for volume in policy.volumes)
    takes = {each.name: 1 + bool(each.maintenance) + each.power_cuts for each in known}
    return takes | {CONTROL: 0 if told_already else 1}


def _differing(policy: Policy, image: str, progress: Progress) -> Collection[str]:
    """Conditions under which the guest's own tools do something else than the rules say; a host may not let them."""
    volumes = [volume for volume in policy.volumes if can_be_sealed(volume)]
    try:
        lines = try_volumes(volumes, image, progress)
    except HarnessError as error:
        progress.say(f"! the guest's tools were not tried before: {error.what}")
        return frozenset()
    if silent := [line for line in lines if line.opened is None]:
        names = ", ".join(dict.fromkeys(line.condition for line in silent))
        progress.say(f"! the guest's tools gave no verdict under {names}: {silent[0].said}")
    return frozenset(line.condition for line in lines if not line.agrees and line.opened is not None)


def announced(answer: Answer, steps: Sequence[Step], attacks: Sequence[Staged], costs: Costs) -> str:
    """What will be booted and how long that takes on this host, in words.

    Args:
        answer: What is proved.
        steps: Its boots, the control among them.
        attacks: A boot each.
        costs: What to expect here.
    """
    told_by = sum(1 + len(step.stands_for) for step in steps)
    boots = sum(step.boots for step in steps)
    installation = costs.installation(answer.policy)
    seconds = (boots + len(attacks)) * costs.scenario("") + installation
    lines = [
        f"{answer.policy}: {boots} boots tell {told_by} conditions ({boots / max(told_by, 1):.2f} a condition), and "
        f"{len(attacks)} for attackers; some {seconds / 60:.0f} min on this host, "
        + (f"{installation / 60:.0f} of them to install it" if installation else "where it is installed already")
    ]
    for step in steps:
        rest = f", which stands for {', '.join(step.stands_for)}" if step.stands_for else ""
        times = f", {step.boots} boots" if step.boots > 1 else ""
        lines.append(f"  {step.condition}{rest}: {step.doubt.words}{times}")
    lines += [f"  {attack.name}: {attack.about}" for attack in attacks]
    wrapper = textwrap.TextWrapper(_WIDTH, subsequent_indent=" " * 4, break_on_hyphens=False)
    return "\n".join(wrapper.fill(line) for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unlock-lab prove",
        description="Boot what `unlock-lab explain` says of a policy file, and show both side by side. "
        "A run that was cut off goes on where it was.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a Butane file or Ignition config")
    parser.add_argument(
        "--image", help="the guest, a folder of images/ (by default debian-13, with its disks' modules)"
    )
    parser.add_argument("--plan", action="store_true", help="say what would be booted, and end")
    parser.add_argument("--no-try", action="store_true", help="do not have the guest's own tools tried before")
    parser.add_argument("--no-attacks", action="store_true", help="play no attackers")
    parser.add_argument("--accel", default="auto", choices=ACCELERATORS, help="KVM or emulation (%(default)s)")
    parser.add_argument("--hypervisor", default="libvirt", choices=HYPERVISORS, help="what runs them (%(default)s)")
    add_artifacts(parser)
    return parser
