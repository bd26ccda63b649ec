"""What an owner does in the installed guest: bind with clevis, enroll with systemd-cryptenroll, edit crypttab (pure).

Butane says nothing of systemd-cryptenroll, of two bindings on one volume, or of a seal that is made when the machine
has booted as it always will. So such a policy is a Butane file and an `Enrolment`, whose commands root runs in the
guest one boot after the installation::

    Enrolment("cryptenroll-pcr7", pins=(CryptenrollPin((7,)),))

Sources: systemd-cryptenroll(1), crypttab(5), clevis-luks-bind(1).
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness.errors import UsageError
from harness.policy.new_volume import QUICK_PBKDF, NewVolume, creation_commands
from harness.policy.pins import Pin, Sss, leaves
from harness.policy.policy import Policy, Volume

BASE = "passphrase"
"""The Butane file of scenarios/policies that an enrolment starts from unless it names another."""

RECOVERY_KEY = "-".join(["cbdefghi", "jklnrtuv"] * 4)
"""As systemd-cryptenroll(1) makes them, of modhex letters, but known beforehand. It is no secret here."""

_RECOVERY_KEYSLOT = 7


@dataclass(frozen=True)
class Enrolment:
    """A policy that is made by hand.

    Attributes:
        name: Of the policy.
        pins: Each becomes a binding of its own: any one opens the volume.
        base: The Butane file that the machine is installed with. An image with an encrypted root needs none: there the
            first volume is its root.
        keeps_passphrase: Whether its keyslot stays.
        recovery_key: Whether there is a recovery key; then that is what is typed.
        keeps_key_file: Whether the key that Ignition left in the guest stays.
        options: Further options of the volume in crypttab(5).
        volume: Which volume of the base is meant; the first unless it is named.
        volumes: Those that are made besides, in this order.
        commands: What the owner does at the end.
    """

    name: str
    pins: tuple[Pin, ...] = ()
    base: str = BASE
    keeps_passphrase: bool = True
    recovery_key: bool = False
    keeps_key_file: bool = False
    options: tuple[str, ...] = ()
    volume: str | None = None
    volumes: tuple[NewVolume, ...] = ()
    commands: tuple[str, ...] = ()


def root_policy(image: str, passphrase: str, device: str) -> Policy:
    """What an image with an encrypted root is before anything was enrolled: one volume, a passphrase, no pin.

    Args:
        image: Its name.
        passphrase: Of its root.
        device: What its root lies on, by its UUID.
    """
    return Policy(
        name=image,
        config={},
        volumes=(Volume("root", device, None, passphrase, "/"),),
        disk="/dev/nvme0n1",
        kernel_arguments=(),
        source=f"# The encrypted root of the image {image}, which a passphrase opens.\n",
    )


def enrolled(base: Policy, enrolment: Enrolment) -> Policy:
    """The policy that an enrolment makes of its base.

    Raises:
        UsageError: The base has no such volume, or none with a passphrase, or what should be bound cannot be.
    """
    old = next((volume for volume in base.volumes if enrolment.volume in (None, volume.name)), None)
    if old is None or old.passphrase is None:
        raise UsageError(
            f"the policy {base.name} cannot be enrolled upon: its volume {enrolment.volume or ''} has no passphrase",
            hint="give it a luks section with a key_file",
        )
    volume = replace(
        old,
        pins=_tree([*([old.pins] if old.pins else []), *enrolment.pins]),
        passphrase=RECOVERY_KEY if enrolment.recovery_key else old.passphrase if enrolment.keeps_passphrase else None,
        key_file=old.key_file and enrolment.keeps_key_file,
        headless="headless" in enrolment.options or "headless=yes" in enrolment.options,
        tpm_pin=_typed(enrolment.pins),
    )
    lines = tuple(_lines(old, enrolment))
    for new in enrolment.volumes:
        bound = _bound(_volume(new), new.pins)
        lines += tuple(creation_commands(new, base.disk, bound, _devices(new.pins), _options(new.pins)))
        lines += tuple(_after_network(new.name, new.pins))
    lines += enrolment.commands
    return replace(
        base,
        name=enrolment.name,
        volumes=(
            *(volume if each is old else each for each in base.volumes),
            *map(_volume, enrolment.volumes),
        ),
        source="\n".join(
            [base.source, "# and by hand, in the installed guest:", *(f"#   {line}" for line in lines), ""]
        ),
        enrolment=(*base.enrolment, *lines),
    )


def _tree(bindings: Sequence[Pin]) -> Pin | None:
    """Bindings that each open it by themselves, as one pin."""
    return Sss(1, tuple(bindings), separate=True) if len(bindings) > 1 else next(iter(bindings), None)


def _typed(pins: Sequence[Pin]) -> str | None:
    return next((pin.typed for pin in pins if pin.typed), None)


def _volume(new: NewVolume) -> Volume:
    device, key_file = new.device, new.key_file is not None
    pins = _tree(new.pins)
    return Volume(new.name, device, pins, new.passphrase, new.mount_point, key_file, tpm_pin=_typed(new.pins))


def _lines(volume: Volume, enrolment: Enrolment) -> Iterator[str]:
    options = [*enrolment.options, *_devices(enrolment.pins), *_options(enrolment.pins)]
    yield from _bound(volume, enrolment.pins)
    if enrolment.recovery_key:
        yield f"recovery_key {RECOVERY_KEY} {_RECOVERY_KEYSLOT} {QUICK_PBKDF}"
    if not enrolment.keeps_passphrase:
        yield 'systemd-cryptenroll --wipe-slot=password "$device"'
    if volume.mount_point == "/":
        yield from _kernel_arguments(volume, enrolment.pins, list(dict.fromkeys(options)))
        return
    key = "keep" if enrolment.keeps_key_file else "none"
    yield shlex.join(["crypttab", volume.name, key, *dict.fromkeys(options)])
    yield from _after_network(volume.name, enrolment.pins)
    if not enrolment.keeps_key_file:
        yield f"rm -f /etc/luks/{shlex.quote(volume.name)}"


def _devices(pins: Sequence[Pin]) -> list[str]:
    """The options of crypttab(5) that have systemd ask its tokens."""
    return list(dict.fromkeys(pin.crypttab_device for pin in pins if pin.crypttab_device))


def _options(pins: Sequence[Pin]) -> list[str]:
    """Further options of crypttab(5) that pins want."""
    return list(dict.fromkeys(option for pin in pins for option in pin.crypttab_options))


def _bound(volume: Volume, pins: Sequence[Pin]) -> Iterator[str]:
    yield from volume_env(volume)
    for pin in pins:
        yield from pin.opener.bind(pin)


def volume_env(volume: Volume) -> Iterator[str]:
    """The lines that set ``$device`` and ``$PASSWORD`` for those that follow.

    Raises:
        UsageError: It has no passphrase, without which nothing can be bound to it.
    """
    if volume.passphrase is None:
        raise UsageError(f"the volume {volume.name} has no passphrase, so its bindings cannot be changed")
    yield f"device=$(readlink -f {shlex.quote(volume.device)})"
    yield f"export PASSWORD={shlex.quote(volume.passphrase)}"


def _after_network(name: str, pins: Sequence[Pin]) -> Iterator[str]:
    """Have a volume wait for the network, where systemd itself asks over it: that does so once, clevis for ever."""
    if any(leaf.needs_network and not leaf.opener.answers_prompts for pin in pins for leaf in leaves(pin)):
        wants = f"/etc/systemd/system/systemd-cryptsetup@{name}.service.wants"
        yield f"open_after {name} network-online.target"
        yield f"mkdir -p {wants} && ln -s /usr/lib/systemd/system/network-online.target {wants}"


def _kernel_arguments(volume: Volume, pins: Sequence[Pin], options: list[str]) -> Iterator[str]:
    """What the initrd has to know: it cannot be told by the crypttab of a root that is not open yet.

    initramfs-tools asks for no argument. Source: systemd-cryptsetup-generator(8); dracut.cmdline(7).
    """
    arguments = ["ip=dhcp", "rd.neednet=1"] if any(_needs_network(pin) for pin in pins) else []
    if options:
        arguments.append(f"rd.luks.options={volume.device.rpartition('/')[2]}={','.join(['luks', *options])}")
    if arguments:
        yield f"kernel_arguments {shlex.join(arguments)}"


def _needs_network(pin: Pin) -> bool:
    return any(leaf.needs_network for leaf in leaves(pin))
