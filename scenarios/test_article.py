"""What seed 001's article has a person type on a machine with a TPM 2.0, typed in a running guest."""

import pytest

from harness.api import Sealed

VOLUME = "/dev/disk/by-partlabel/by-hand"
PARTITION = (
    "sgdisk --new=0:0:+32M --change-name=0:by-hand /dev/nvme0n1 && partx --update /dev/nvme0n1 && udevadm settle"
)
NEW = f"printf pw | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {VOLUME} -"


@pytest.mark.policy("tpm2-by-both-tools")
def test_the_commands_of_the_article_do_what_it_says(sealed: Sealed) -> None:
    """The TPM is found, a volume is enrolled, attached by hand, bound by clevis and unlocked by it.

    Owners type what such articles say, on systems that are years younger: each line still does what it is there for.
    `tests/real_tools/test_article.py` runs those that need no device-mapper, with what undoes them. Source: seed 001,
    "Checking support" to "Clevis"; systemd-cryptenroll(1), systemd-cryptsetup(8), clevis-luks-unlock(1).
    """
    with sealed.powered() as on:
        run = on.shell.run
        assert run("cat /sys/class/tpm/tpm0/tpm_version_major").strip() == "2"
        assert "tpm" in run("journalctl -k --grep=tpm --no-pager")
        run("exec 3<>/dev/tpm0; ! (exec 4<>/dev/tpm0) 2>/dev/null")  # one client at a time, unlike /dev/tpmrm0
        device = run("systemd-cryptenroll --tpm2-device=list | awk '/tpmrm/ {print $1}'").strip()
        assert device == "/dev/tpmrm0"
        run(PARTITION)
        run(NEW)
        run(f"PASSWORD=pw systemd-cryptenroll --tpm2-device={device} --tpm2-pcrs=0,7 {VOLUME}", 120.0)
        run(f"/usr/lib/systemd/systemd-cryptsetup attach by-hand {VOLUME} - tpm2-device={device},headless=yes", 120.0)
        assert "active" in run("cryptsetup status by-hand")
        run("/usr/lib/systemd/systemd-cryptsetup detach by-hand")
        run(NEW)
        run(f"printf pw | clevis luks bind -y -k - -d {VOLUME} tpm2 '{{}}'", 300.0)
        run(f"clevis luks unlock -d {VOLUME} -n by-clevis", 300.0)
        assert "active" in run("cryptsetup status by-clevis")
