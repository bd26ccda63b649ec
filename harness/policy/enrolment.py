"""What an owner does in the installed guest: bind with clevis, enroll with systemd-cryptenroll, edit crypttab (pure).

Butane says nothing of systemd-cryptenroll, of two bindings on one volume, or of a seal that is made when the machine
has booted as it always will. So such a policy is a Butane file and an `Enrolment`, whose commands root runs in the
guest one boot after the installation::

    Enrolment("cryptenroll-pcr7", pins=(CryptenrollPin((7,)),))

Sources: systemd-cryptenroll(1), crypttab(5), clevis-luks-bind(1).
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness.errors import UsageError
from harness.policy.new_volume import QUICK_PBKDF, NewVolume, creation_commands
from harness.policy.pins import CryptenrollPin, Pin, Policy, Sss, TangPin, Tpm2Pin, Volume, leaves

BASE = "passphrase"
"""The Butane file of scenarios/policies that an enrolment starts from unless it names another."""

TPM_PIN = "2580"
"""What is typed where the TPM asks for a PIN. It is no secret here."""

RECOVERY_KEY = "-".join(["cbdefghi", "jklnrtuv"] * 4)
"""As systemd-cryptenroll(1) makes them, of modhex letters, but known beforehand. It is no secret here."""

_RECOVERY_KEYSLOT = 7

_IN_INITRD = {11: "$(/usr/lib/unlock-lab/pcr-11)", 15: "0" * 64}
"""Values in hex, for the shell: what systemd-measure(1) foretells; what nobody has extended yet."""


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
        tpm_pin=_tpm_pin(enrolment.pins),
    )
    lines = tuple(_lines(old, enrolment))
    for new in enrolment.volumes:
        lines += tuple(creation_commands(new, base.disk, _bound(_volume(new), new.pins), _options(new.pins)))
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


def _tpm_pin(pins: Sequence[Pin]) -> str | None:
    return TPM_PIN if any(isinstance(pin, CryptenrollPin) and pin.asks_pin for pin in pins) else None


def _volume(new: NewVolume) -> Volume:
    device, key_file = new.device, new.key_file is not None
    pins = _tree(new.pins)
    return Volume(new.name, device, pins, new.passphrase, new.mount_point, key_file, tpm_pin=_tpm_pin(new.pins))


def _lines(volume: Volume, enrolment: Enrolment) -> Iterator[str]:
    options = [*enrolment.options, *_options(enrolment.pins)]
    yield from _bound(volume, enrolment.pins)
    if enrolment.recovery_key:
        yield from _recovery_key()
    if not enrolment.keeps_passphrase:
        yield 'systemd-cryptenroll --wipe-slot=password "$device"'
    if volume.mount_point == "/":
        yield from _kernel_arguments(volume, enrolment.pins, list(dict.fromkeys(options)))
        return
    yield _crypttab(volume.name, enrolment.keeps_key_file, list(dict.fromkeys(options)))
    if not enrolment.keeps_key_file:
        yield f"rm -f /etc/luks/{shlex.quote(volume.name)}"


def _options(pins: Sequence[Pin]) -> list[str]:
    """The options of crypttab(5) that tokens of systemd-cryptenroll want."""
    own = [pin for pin in pins if isinstance(pin, CryptenrollPin)]
    measures = any(pin.measures for pin in own)
    return [*(["tpm2-device=auto"] if own else []), *(["tpm2-measure-pcr=yes"] if measures else [])]


def _bound(volume: Volume, pins: Sequence[Pin]) -> Iterator[str]:
    yield from volume_env(volume)
    for pin in pins:
        yield from cryptenroll(pin) if isinstance(pin, CryptenrollPin) else _clevis(pin)


def volume_env(volume: Volume) -> Iterator[str]:
    """The lines that set ``$device`` and ``$PASSWORD`` for those that follow.

    Raises:
        UsageError: It has no passphrase, without which nothing can be bound to it.
    """
    if volume.passphrase is None:
        raise UsageError(f"the volume {volume.name} has no passphrase, so its bindings cannot be changed")
    yield f"device=$(readlink -f {shlex.quote(volume.device)})"
    yield f"export PASSWORD={shlex.quote(volume.passphrase)}"


def cryptenroll(pin: CryptenrollPin, *further: str) -> Iterator[str]:
    """The lines of systemd-cryptenroll(1) for a token.

    They expect what `known` sets.

    Args:
        pin: What is enrolled.
        *further: Further arguments, such as ``--wipe-slot=tpm2``: it takes away what was enrolled before.
    """
    pcrs = [str(index) for index in pin.pcr_ids]
    if pin.pcrlock:
        yield from _pcrlock(pin.initrd_pcr_ids)
    elif unknown := sorted(set(pin.initrd_pcr_ids) - _IN_INITRD.keys()):
        raise UsageError(f"nobody foretells what the initrd will find in PCR {unknown[0]}", "give it in pcr_ids")
    else:
        foretold = _IN_INITRD
        if pin.further_phases:
            yield f"pcr11={_IN_INITRD[11]}"
            yield from map(_extend_pcr_11, pin.further_phases)
            foretold = {**_IN_INITRD, 11: "$pcr11"}
        pcrs += [f"{index}:sha256={foretold[index]}" for index in pin.initrd_pcr_ids]
    arguments = [*further, "--tpm2-device=auto", f"--tpm2-pcrs={'+'.join(pcrs)}"]
    if pin.signed_pcr_ids:
        arguments += [
            "--tpm2-public-key=/etc/systemd/tpm2-pcr-public-key.pem",
            f"--tpm2-public-key-pcrs={'+'.join(map(str, pin.signed_pcr_ids))}",
        ]
    else:
        arguments.append("--tpm2-public-key=")
    arguments += ["--tpm2-pcrlock=/var/lib/systemd/pcrlock.json"] if pin.pcrlock else []
    arguments += ["--tpm2-with-pin=yes"] if pin.asks_pin else []
    new_pin = f"NEWPIN={TPM_PIN} " if pin.asks_pin else ""
    yield f'{new_pin}systemd-cryptenroll {" ".join(arguments)} "$device"'


def _extend_pcr_11(phase: str) -> str:
    """Reckon on: a phase extends it by the hash of its name (systemd-pcrphase.service(8); TPM 2.0 Library, 1, 17.2)."""
    digest = f"$(printf %s {phase} | sha256sum | cut -c -64)"
    both = f"$(printf %s $pcr11{digest} | sed 's/../\\\\x&/g')"
    return f'pcr11=$(printf "{both}" | sha256sum | cut -c -64)'


def _pcrlock(pcr_ids: Sequence[int]) -> Iterator[str]:
    """Foretell PCRs and put the policy where the initrd finds it: a credential on the ESP (systemd-pcrlock(8))."""
    tool = "SYSTEMD_RELAX_ESP_CHECKS=1 /usr/lib/systemd/systemd-pcrlock"
    yield "mkdir -p /efi && mount -t vfat /dev/disk/by-partlabel/EFI-SYSTEM /efi"
    yield f"{tool} lock-secureboot-policy"
    yield f"{tool} lock-uki --pcrlock=/var/lib/pcrlock.d/650-uki.pcrlock.d/first.pcrlock /efi/EFI/BOOT/BOOTX64.EFI"
    yield f"{tool} make-policy {' '.join(f'--pcr={index}' for index in pcr_ids)}"
    yield "umount /efi"


def _recovery_key() -> Iterator[str]:
    """What ``systemd-cryptenroll --recovery-key`` does, but with a key that is known: a keyslot, and a token for it."""
    add = f"cryptsetup luksAddKey {QUICK_PBKDF} --new-key-slot {_RECOVERY_KEYSLOT} -d -"
    yield f'printf %s "$PASSWORD" | {add} "$device" <(printf %s {RECOVERY_KEY})'
    token = json.dumps({"type": "systemd-recovery", "keyslots": [str(_RECOVERY_KEYSLOT)]})
    yield f'echo {shlex.quote(token)} | cryptsetup token import "$device"'


def _clevis(pin: Pin) -> Iterator[str]:
    name, config = clevis_config(pin)
    command = shlex.join([name, json.dumps(config)])
    yield f'printf %s "$PASSWORD" | clevis luks bind -y -k - -d "$device" {command}'


def clevis_config(pin: Pin) -> tuple[str, dict[str, object]]:
    """A pin's name and its configuration, as clevis-encrypt-sss(1), -tang(1) and -tpm2(1) take it.

    Raises:
        UsageError: It is no pin of clevis.
    """
    match pin:
        case Tpm2Pin():
            bound = {"pcr_ids": ",".join(map(str, pin.pcr_ids))} if pin.pcr_ids else {}
            bank = {"pcr_bank": pin.pcr_bank or "sha256"} if pin.pcr_ids else {}
            return "tpm2", {**bank, **bound}
        case TangPin():
            return "tang", {"url": pin.url, "thp": pin.thumbprint}
        case Sss():
            children: dict[str, list[object]] = {}
            for name, config in map(clevis_config, pin.pins):
                children.setdefault(name, []).append(config)
            return "sss", {"t": pin.threshold, "pins": children}
    raise UsageError(f"clevis has no such pin: {pin}")


def _kernel_arguments(volume: Volume, pins: Sequence[Pin], options: list[str]) -> Iterator[str]:
    """What the initrd has to know: it cannot be told by the crypttab of a root that is not open yet.

    initramfs-tools asks for no argument. Source: systemd-cryptsetup-generator(8); dracut.cmdline(7).
    """
    arguments = ["ip=dhcp", "rd.neednet=1"] if any(_needs_network(pin) for pin in pins) else []
    if options:
        arguments.append(f"rd.luks.options={volume.device.rpartition('/')[2]}={','.join(['luks', *options])}")
    if arguments:
        tool = "/usr/lib/unlock-lab/kernel-arguments"
        yield f"if [ -x {tool} ]; then {tool} {shlex.join(arguments)}; fi"


def _needs_network(pin: Pin) -> bool:
    return any(isinstance(leaf, TangPin) for leaf in leaves(pin))


def _crypttab(name: str, keeps_key_file: bool, options: list[str]) -> str:
    """Edit the volume's line of /etc/crypttab, which Ignition wrote: name, device, key, options."""
    key = "$3" if keeps_key_file else '"none"'
    added = "".join(f",{option}" for option in options)
    program = f'$1 == "{name}" {{ $3 = {key}; $4 = $4 "{added}" }} {{ print }}'
    return f"awk {shlex.quote(program)} /etc/crypttab > /etc/crypttab.new && mv /etc/crypttab.new /etc/crypttab"
