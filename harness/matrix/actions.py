"""What is done in columns of the truth table: to servers and cables, and by an owner in the guest."""

from harness.guest.events import Event, PromptShown
from harness.lab.request import Meanwhile
from harness.machine.rig import Rig
from harness.policy.maintenance import MaintenanceResult, MaintenanceTask
from harness.policy.pins import TANG, Pin, ServiceId, TangPin, changed, with_threshold
from harness.policy.pins.placeholders import placeholder
from harness.services.tang import Tang


def delete_keys(tang: Tang) -> None:
    """Make new keys, and delete those that bindings name."""
    tang.rotate_keys()
    tang.delete_old_keys()


def link_at_the_prompt() -> Meanwhile:
    """The cable is plugged in only after the prompt for a passphrase."""
    done: list[Event] = []

    def plug_in(rig: Rig, event: Event) -> None:
        if isinstance(event, PromptShown) and not done:
            done.append(event)
            rig.set_link(True)

    return plug_in


def each_volume(command: str) -> MaintenanceTask:
    """A command for each volume that a pin guards, with ``{device}`` in it."""
    return lambda volumes: MaintenanceResult(
        tuple(volumes), tuple(command.format(device=volume.device) for volume in volumes if volume.pins)
    )


def once(*commands: str) -> MaintenanceTask:
    """Commands for the machine, whatever its volumes are."""
    return lambda volumes: MaintenanceResult(tuple(volumes), commands)


def other_threshold(pins: Pin) -> Pin:
    """Where one pin was enough all are wanted, and where more were wanted one is enough."""
    return with_threshold(pins, lambda tree: len(tree.pins) if tree.threshold == 1 else 1)


def by_another(pins: Pin) -> Pin:
    """The server called two in place of the one called tang."""
    two = TangPin("two", placeholder("URL", "two"), placeholder("THUMBPRINT", "two"))
    return changed(pins, lambda leaf: two if leaf.service == ServiceId(TANG, "tang") else leaf)


LOCK_OUT = (
    "cd /run",
    "tpm2_dictionarylockout -s -n 1 -t 3600 -l 3600",
    "tpm2_createprimary -Q -C o -c parent",
    "echo bait | tpm2_create -Q -C parent -i - -p right -u bait.pub -r bait.priv",
    "tpm2_load -Q -C parent -u bait.pub -r bait.priv -c bait",
    "! tpm2_unseal -c bait -p wrong",
    "tpm2_getcap properties-variable | grep 'inLockout: *1'",
)
"""One wrong authorization is allowed, and one is made: TPM 2.0 Library, part 1, 19.8."""
