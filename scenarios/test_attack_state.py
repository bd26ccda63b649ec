"""Two volumes that the TPM opens, one beside the other: who replaces the one that is trusted reads the other.

STATE holds what the machine does with itself, EPHEMERAL what it works with; the system is in neither, and the thief
cannot change it. So it is in Talos, whose system lies in the signed image. Here it is an encrypted root, with a unit
that runs what lies in STATE; that root is bound to PCR 7 alone, and would fall to `test_rootfs_confusion`, but this
thief leaves it as it is. There are several EPHEMERALs, each bound in another way, so that one start of the machine
judges all of them.

`TALOS` seals as Talos does: to the raw PCR 7 and to PCR 11 by a signature that is good in one phase alone, which its
running system measures before it opens STATE, and ends once all volumes are mounted.
"""

import re
import shlex
from collections.abc import Iterable
from dataclasses import replace

import pytest

from harness.api import CryptenrollPin, Deadline, Enrolment, NewVolume, Rescue, Sealed, Tpm2Pin, Unlock
from harness.api.attack import QUICK_PBKDF, Attacker, Grant

STATE = NewVolume("state", "/srv", (CryptenrollPin((7,), measures=True),), after="systemd-pcrmachine.service")
PCR_7 = NewVolume("pcr7", "/home", (CryptenrollPin((7,)),))
PCR_11 = NewVolume("pcr11", "/opt", (CryptenrollPin((7,), initrd_pcr_ids=(11,), further_phases=("leave-initrd",)),))
PCR_15 = NewVolume("pcr15", "/mnt", (CryptenrollPin((7, 15)),), after="systemd-cryptsetup@state.service")
KEY_IN_STATE = NewVolume("keyinstate", "/media", key_file="/srv/ephemeral.key")

UNIT = """[Unit]
DefaultDependencies=no
Requires=srv.mount
After=srv.mount
[Service]
ExecStart=/bin/sh /srv/configure
[Install]
WantedBy=multi-user.target
"""
UNITS = "/etc/systemd/system"
RUN_STATE = (
    f"printf %s {shlex.quote(UNIT)} > {UNITS}/configure.service",
    "echo 'echo as its owner wants it' > /srv/configure",
    "systemctl enable configure.service",
)


def machine(name: str, root: CryptenrollPin | Tpm2Pin, *ephemerals: NewVolume) -> Enrolment:
    """A machine whose TPM opens its root and STATE, and which runs what STATE says."""
    return Enrolment(name, (root,), volumes=(STATE, *ephemerals), commands=RUN_STATE)


UKI = machine("state-and-ephemeral", CryptenrollPin((7,)), PCR_7, PCR_11, PCR_15, KEY_IN_STATE)
GRUB = machine("state-and-ephemeral-grub", Tpm2Pin((7,), "sha256"), PCR_7, PCR_15, KEY_IN_STATE)

TALOS_STATE = replace(STATE, pins=(CryptenrollPin((7,), signed_pcr_ids=(11,), measures=True),))
SIGNED = NewVolume("signed", "/home", (CryptenrollPin((7,), signed_pcr_ids=(11,)),))
SIGNED_PCR_15 = replace(PCR_15, pins=(CryptenrollPin((7, 15), signed_pcr_ids=(11,)),))
ANY_PHASE = NewVolume("anyphase", "/opt", (CryptenrollPin((7,)),))
PHASE = """[Unit]
DefaultDependencies=no
{order}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/systemd/systemd-pcrextend --graceful {phase}
[Install]
WantedBy=sysinit.target
"""
EPHEMERALS = (SIGNED, SIGNED_PCR_15, KEY_IN_STATE, ANY_PHASE)


def measured(phase: str, *, after: str = "", before: Iterable[NewVolume] = ()) -> str:
    """The command that has each boot measure a phase, after a unit and before volumes are opened."""
    opening = "".join(f" systemd-cryptsetup@{volume.name}.service" for volume in before)
    unit = PHASE.format(phase=phase, order=f"After={after}\nBefore=sysinit.target{opening}")
    return f"printf %s {shlex.quote(unit)} > {UNITS}/{phase}.service"


SIGN = (
    "(. /usr/lib/unlock-lab/take-apart; sections=(); for name in *; do sections+=(--$name=$name); done;"
    " /usr/lib/systemd/systemd-measure sign ${sections[@]} --bank=sha256"
    " --phase=enter-initrd:leave-initrd:enter-machined --private-key=/etc/systemd/tpm2-pcr-private-key.pem"
    " --public-key=/etc/systemd/tpm2-pcr-public-key.pem > /etc/systemd/tpm2-pcr-signature.json)"
)
"""What Talos has in its UKI lies in /etc here: ukify 257 signs for the phases of systemd alone."""

PHASES = (
    measured("enter-machined", before=(TALOS_STATE, *EPHEMERALS)),
    measured("start-the-world", after="local-fs.target"),
    "systemctl enable enter-machined.service start-the-world.service",
    SIGN,
)
TALOS = Enrolment(
    "talos",
    (CryptenrollPin((7,)),),
    volumes=(TALOS_STATE, *EPHEMERALS),
    commands=(*RUN_STATE, *PHASES),
)
"""The machine config of the seed is `state` and `keyinstate`: the TPM opens STATE, a static key in it EPHEMERAL."""

TELL = """exec > /dev/ttyS0
volumes="{volumes}"
for second in $(seq 120); do
    unsettled=
    for volume in $volumes; do
        mountpoint -q ${{volume#*:}} || grep -qs "disk.*${{volume%:*}}" /run/systemd/ask-password/ask.* || unsettled=yes
    done
    [ "$unsettled" ] || break
    sleep 1
done
echo; echo here it begins
for volume in $volumes; do
    echo "${{volume%:*}}: $(cat ${{volume#*:}}/unlock-lab-canary || echo it asks for a passphrase)."
done
echo here it ends
"""
"""What the thief's STATE has the machine do: wait until each volume is open or asks for a passphrase, then tell."""


def replace_state(system: Rescue, *ephemerals: NewVolume) -> None:
    """Put the thief's STATE in the place of the machine's; its TPM opens that, as the token asks for nothing."""
    device = system.device(STATE.name)
    system.run(f"cryptsetup luksFormat -q {QUICK_PBKDF} {device} -", stdin=b"thief")
    system.run(f"PASSWORD=thief systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs= --tpm2-public-key= {device}", 120)
    system.run(f"cryptsetup open --key-file - {device} state", stdin=b"thief")
    system.run("mkfs.ext4 -q /dev/mapper/state && mkdir /run/state && mount /dev/mapper/state /run/state")
    volumes = " ".join(f"{each.name}:{each.mount_point}" for each in ephemerals)
    system.shell.write_file("/run/state/configure", TELL.format(volumes=volumes).encode())
    system.run("umount /run/state && cryptsetup close state && sync")


@pytest.mark.parametrize(
    ("boot", "victim", "falls"),
    [
        pytest.param(boot, victim, falls, marks=[pytest.mark.policy(victim), pytest.mark.image(image)], id=boot)
        for boot, victim, image, falls in (
            ("uki", UKI, "debian-13-root", {"pcr7", "pcr11"}),
            ("grub", GRUB, "debian-13-initramfs", {"pcr7", "pcr15"}),
            ("talos", TALOS, "debian-13-root", {"signed", "anyphase"}),
        )
    ],
)
@pytest.mark.attack(Grant.MACHINE)
def test_state_partition_swap(attacker: Attacker, boot: str, victim: Enrolment, falls: set[str]) -> None:
    """The thief replaces STATE, keeps EPHEMERAL, and lets the machine boot: it opens both and obeys that STATE.

    No PCR tells one STATE from another: not the keys of Secure Boot (7), not the image and its phases (11). Nor does
    the owner's signature over PCR 11, which vouches for the image and the phase, whoever's STATE it meets there.

    Granted: the machine. Extracted: what is bound to PCR 7 and to PCR 11, signed or not. Cures: EPHEMERAL's key is kept
    in STATE, and is gone with it (the workaround of the issue); or STATE's volume key is measured into PCR 15
    (``tpm2-measure-pcr=yes``) before EPHEMERAL, bound to PCR 15, is asked for. Under GRUB that second cure is none:
    systemd measures nothing unless systemd-stub measured the kernel. Seen: PCR 15 stays empty, everything opens as it
    should and as it should not, and only the debug log says "Kernel stub did not measure kernel image into the expected
    PCR, skipping userspace measurement, too."
    Source: seed 004; talos#8972, #11435; crypttab(5), ``tpm2-measure-pcr=``.
    """
    disk, ephemerals = attacker.disk(), victim.volumes[1:]
    with attacker.boot_live_system(disk=disk) as system:
        replace_state(system, *ephemerals)
    with attacker.console(disk=disk) as console:
        said = console.wait_for(r"(?s)here it begins.*here it ends", Deadline.after(300))
    told = dict(re.findall(r"(\w+): ([0-9a-f]{32}|it asks for a passphrase)\.", said))
    assert told.keys() == {volume.name for volume in ephemerals}
    loot = {
        name: attacker.submit(canary, volume=name, guard=f"{name}-{boot}", evidence=console.evidence)
        for name, canary in told.items()
    }
    assert {name for name, printed in loot.items() if printed.extracted} == falls


RECOVERY_KEY = "(?:[cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}"
"""As systemd-cryptenroll(1) makes them: 256 bits in modhex."""


def plant_keys(attacker: Attacker, *volumes: NewVolume) -> dict[str, str]:
    """Have root enrol a recovery key on each volume that the TPM unseals in the running system; those that it got."""
    said = attacker.as_root(
        *(
            f"echo {volume.name}: $(systemd-cryptenroll --unlock-tpm2-device=auto --recovery-key {volume.device}"
            " || echo refused)"
            for volume in volumes
        )
    )
    told = dict(re.findall(rf"^(\w+): ({RECOVERY_KEY}|refused)$", said, re.MULTILINE))
    assert told.keys() == {volume.name for volume in volumes}
    return {name: key for name, key in told.items() if key != "refused"}


@pytest.mark.policy(TALOS)
@pytest.mark.image("debian-13-root")
def test_what_comes_after_the_window_asks(sealed: Sealed) -> None:
    """Phase `enter-machined` opens STATE and EPHEMERAL; where `start-the-world` comes before EPHEMERAL, that one asks.

    The owner of such a machine does nothing wrong: what closes the window waits only for the volumes that it knows of.
    Those before it open as ever, and so does what is bound to PCR 7 alone, which has no window.

    Two volumes that came too late were one too many (seen): a passphrase that is typed for the one is tried on the
    other, twice, which then gave up, and the machine ended in its emergency shell.

    Source: seed 004; talos#13827 (a user volume came after the window), fixed by talos#13833.
    """
    with sealed.powered(orderly=True) as on:
        last = f"srv.mount systemd-cryptsetup@{SIGNED_PCR_15.name}.service"
        on.shell.run(measured("start-the-world", after=last, before=(SIGNED,)))
    early = sealed.boot()
    assert on.outcome.unlock is Unlock.AUTO
    assert on.outcome.volumes["signed"].unlocked_by == on.outcome.volumes["state"].unlocked_by == {"tpm2"}
    assert early.volumes["signed"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert early.volumes["signed"].failed_pins == {"tpm2"}
    assert {early.volumes[name].unlock for name in early.volumes.keys() - {"signed"}} == {Unlock.AUTO}


@pytest.mark.policy(TALOS)
@pytest.mark.image("debian-13-root")
@pytest.mark.attack(Grant.ROOT, Grant.DISK)
def test_root_has_the_tpm_unseal_late(attacker: Attacker) -> None:
    """Root in the running system has the TPM unseal once more, adds a key of its own, and later takes the disk alone.

    A container that broke out needs no passphrase for that: systemd-cryptenroll enrols a recovery key on the word of
    the TPM. It outlives the break-in, a new passphrase, and the TPM itself.

    Granted: root in the running system once, the disk later. Extracted: the volume that is bound to PCR 7, which is
    what it was at boot. Cure: PCR 11 in the phase of the unlock; `start-the-world` has been measured since.
    Source: seed 004; talos, internal/pkg/secureboot/measure; systemd-pcrphase.service(8).
    """
    planted = plant_keys(attacker, ANY_PHASE, SIGNED)
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        loot = {
            name: attacker.submit(
                system.canary(name) if name in planted and system.unlock(name, planted[name]) else None,
                volume=name,
                evidence=system.evidence,
            )
            for name in (ANY_PHASE.name, SIGNED.name)
        }
    assert planted.keys() == {ANY_PHASE.name}
    assert {name for name, printed in loot.items() if printed.extracted} == {ANY_PHASE.name}


@pytest.mark.policy(TALOS)
@pytest.mark.image("debian-13-root")
def test_a_static_key_in_state_follows_state(sealed: Sealed) -> None:
    """The machine config of the seed: the TPM opens STATE, and a static key that lies in STATE opens EPHEMERAL.

    Without the TPM's seal the owner types for STATE, and EPHEMERAL opens by itself behind it: two volumes, one secret.
    So does what is bound to PCR 15: it is STATE's volume key that is measured, whoever gave it. What a thief's STATE
    makes of both is `test_state_partition_swap`.

    Source: seed 004, "Workaround"; crypttab(5), ``tpm2-measure-pcr=``.
    """
    sealed.maintain(f"systemd-cryptenroll --wipe-slot=tpm2 {TALOS_STATE.device}")
    volumes = sealed.boot().volumes
    assert volumes["state"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert volumes["keyinstate"].unlock is volumes["pcr15"].unlock is Unlock.AUTO
    assert volumes["keyinstate"].canary == sealed.canaries["keyinstate"]
