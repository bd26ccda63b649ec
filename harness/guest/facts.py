"""What the running guest knows about its boot, asked through its shell."""

from harness.errors import RigError
from harness.guest.luks import LuksHeader, parse_luks_dump
from harness.guest.ssh import Shell


def read_pcrs(shell: Shell) -> dict[int, str]:
    """PCR values (sha256, lower-case hex) by index; empty without a TPM.

    Source: Linux, Documentation/ABI/stable/sysfs-class-tpm.
    """
    text = shell.run("cd /sys/class/tpm/tpm0/pcr-sha256 2>/dev/null && grep -H . *", check=False)
    return parse_pcrs(text)


def parse_pcrs(text: str) -> dict[int, str]:
    """Read lines ``INDEX:VALUE``."""
    pairs = (line.partition(":") for line in text.splitlines())
    return dict(sorted((int(index), value.strip().lower()) for index, _, value in pairs if index.isdigit() and value))


def read_canary(shell: Shell, path: str) -> str | None:
    """The canary, or None when it is not there to be read."""
    text = shell.run(f"cat -- '{path}' 2>/dev/null", check=False).strip()
    return text or None


def read_journal(shell: Shell) -> str:
    """The journal of this boot, with the kernel's and the initrd's messages, seconds from the kernel's start."""
    return shell.run("journalctl --boot --no-pager --quiet --output=short-monotonic", timeout=120.0)


def read_luks_header(shell: Shell, device: str) -> LuksHeader:
    """Keyslots and tokens of a device.

    Raises:
        RigError: It is no LUKS2 device.
    """
    return parse_luks_dump(shell.run(f"cryptsetup luksDump --dump-json-metadata -- '{device}'"))


def backing_device(shell: Shell, mapping: str) -> str:
    """The device that an open volume lies on.

    Raises:
        RigError: The volume is not open.
    """
    status = shell.run(f"cryptsetup status -- '{mapping}'", check=False)
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "device":
            return value.strip()
    raise RigError(f"/dev/mapper/{mapping} is not an open LUKS volume", status)


def read_clevis_bindings(shell: Shell, device: str) -> str:
    """What ``clevis luks list`` says: one line ``SLOT: PIN 'CONFIG'`` for each binding."""
    return shell.run(f"clevis luks list -d '{device}'").strip()
