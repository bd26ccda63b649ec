"""The guest contract: what a guest offers to the harness, whoever built it, and a check of each promise.

An image declares in its recipe what it is (stack, Ignition, encrypted root); what it must then offer is here, and in
words in ``images/README.md``. Nothing else of a guest is known to the harness, its name least of all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.contract import HELPERS, SHELL_PORT
from harness.policy.world import Stack


@dataclass(frozen=True)
class Promise:
    """One thing that a guest offers.

    Attributes:
        name: Of the promise, as ``images/README.md`` has it.
        check: A command for root's bash in a guest that is up: it succeeds where the promise is kept.
        stack: Whose guests promise it; all do where it is None.
        encrypted_root: Whether it is for guests with an encrypted root alone.
    """

    name: str
    check: str
    stack: Stack | None = None
    encrypted_root: bool = False


CONTRACT = (
    Promise("shell", f"test -c /dev/virtio-ports/{SHELL_PORT} && test $(id -u) = 0 && test -n $BASH_VERSION"),
    Promise("login", "systemctl is-active -q serial-getty@ttyS0.service && grep -qw console=ttyS0 /proc/cmdline"),
    Promise(
        "journal",
        "systemd-analyze cat-config systemd/journald.conf | grep -qx ForwardToConsole=yes"
        " && systemd-analyze cat-config systemd/journald.conf | grep -qx TTYPath=/dev/hvc0"
        " && ! systemctl is-active -q serial-getty@hvc0.service",
    ),
    Promise("tools", "type -P awk clevis cryptsetup jq partx sgdisk tpm2_getcap udevadm > /dev/null"),
    Promise("clock", "test $(date +%s) -gt 1700000000"),
    Promise(
        "volume that clevis tries",
        f"systemctl cat clevis-luks-askpass.service | grep -qx Environment=BASH_ENV={HELPERS}/name-device"
        f" && bash -n {HELPERS}/name-device",
        Stack.DR,
    ),
    Promise(
        "volume that clevis tries",
        f"grep -q {HELPERS}/name-volume /etc/initramfs-tools/hooks/unlock-lab && bash -n {HELPERS}/name-volume",
        Stack.IT,
    ),
    Promise(
        "keyslot that opened it",
        "grep -rqxs Environment=SYSTEMD_LOG_LEVEL=debug {/etc,/usr/lib}/systemd/system/systemd-cryptsetup@.service.d",
        Stack.DR,
    ),
    Promise("kernel-arguments", f"test -x {HELPERS}/kernel-arguments", Stack.DR, encrypted_root=True),
    Promise("open-in-initrd", f"test -x {HELPERS}/open-in-initrd", encrypted_root=True),
)


def promises(stack: Stack, *, encrypted_root: bool) -> Iterator[Promise]:
    """What a guest offers that declares this."""
    for promise in CONTRACT:
        if promise.stack in (None, stack) and (encrypted_root or not promise.encrypted_root):
            yield promise


def script(stack: Stack, *, encrypted_root: bool) -> str:
    """A script for root's bash that prints the name of each promise that a guest does not keep, a line each."""
    return "\n".join(
        f"( {promise.check} ) 2> /dev/null || echo '{promise.name}'"
        for promise in promises(stack, encrypted_root=encrypted_root)
    )
