"""The files that a machine opens: there before it is turned on, and its user's."""

import shutil
from dataclasses import replace
from pathlib import Path

from harness.errors import UsageError
from harness.host.user import chown_to
from harness.machine.ctap2 import manufacture as manufacture_key
from harness.machine.spec import Machine
from harness.machine.tpm import manufacture


def require_files(machine: Machine) -> None:
    """See that there is what a machine needs and nobody makes.

    Raises:
        UsageError: A file is missing.
    """
    needed = [machine.firmware.code, *(disk.path for disk in machine.disks), *(path for _, path in machine.fw_cfg)]
    needed += [] if machine.nvram.exists() else [machine.firmware.nvram_template, machine.nvram.parent]
    for path in needed:
        if not path.exists():
            raise UsageError(f"the machine {machine.name!r} needs {path}, which does not exist")


def put_in_place(machine: Machine, folder: Path, user: str | None) -> Machine:
    """Make what is missing, and let the user that runs the machine have all that it opens.

    Args:
        machine: As it is to be.
        folder: For copies of the files that it is given by fw_cfg.
        user: Who runs it; the caller when None.

    Returns:
        The machine with the files that it is to open.
    """
    if not machine.nvram.exists():
        shutil.copyfile(machine.firmware.nvram_template, machine.nvram)
        machine.nvram.chmod(0o600)
    if machine.tpm:
        if not machine.tpm.state.exists():
            manufacture(machine.tpm)
        chown_to(machine.tpm.state, user)
    if machine.security_key and not machine.security_key.state.exists():
        manufacture_key(machine.security_key.state, machine.security_key.pin)
    for path in (machine.nvram, *(disk.path for disk in machine.disks)):
        chown_to(path, user)
    fw_cfg = []
    for number, (name, path) in enumerate(machine.fw_cfg):
        copy = folder / f"fw_cfg{number}"
        shutil.copyfile(path, copy)
        chown_to(copy, user)
        fw_cfg.append((name, copy))
    return replace(machine, fw_cfg=tuple(fw_cfg))
