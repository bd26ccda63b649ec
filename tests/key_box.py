"""The guest's tools with a TPM for keys: a toolbox of the image `debian-13-keys`, and TPMs to put under it."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.host.scratch import scratch
from harness.machine import tpm as tpms
from harness.machine.spec import Tpm, TpmVersion
from harness.paths import PACKAGE
from harness.progress import Progress
from harness.real_tools.toolbox import Toolbox, tool_functions, toolbox
from harness.real_tools.tpm import running_tpm
from harness.real_tools.tree import guest_tree

IMAGE = "debian-13-keys"
_FUNCTIONS = "\n".join([tool_functions(), (PACKAGE / "real_tools" / "keys.sh").read_text()])


@dataclass(frozen=True)
class KeyBox:
    """A toolbox, and a folder for the states of TPMs.

    Attributes:
        box: The guest's tools.
        folder: Where states lie.
        version: Of its TPMs.
    """

    box: Toolbox
    folder: Path
    version: TpmVersion = TpmVersion.TPM_2_0

    def new_tpm(self, name: str, banks: tuple[str, ...] = ("sha1", "sha256")) -> Path:
        """A TPM that nobody has used."""
        tpm = Tpm(self.folder / name, self.version, banks)
        tpms.manufacture(tpm)
        return tpm.state

    def copied(self, state: Path, name: str) -> Path:
        """A clone of a TPM that is off."""
        return Path(shutil.copytree(state, self.folder / name, ignore=shutil.ignore_patterns(".lock")))

    @contextmanager
    def on(self, state: Path, *changed_pcrs: int, cut: bool = False) -> Iterator[None]:
        """A TPM that is on for the block; at its end the power is cut, or it is told before."""
        with running_tpm(state, self.box.shared, changed_pcrs, version=self.version, orderly=not cut):
            yield

    def attempt(self, script: str, timeout: float = 120.0) -> tuple[int, str]:
        """Run lines of bash with the functions of tools.sh and keys.sh; returns their status and what they said."""
        return self.box.attempt(f"{_FUNCTIONS}\n{script}", timeout)

    def run(self, script: str, timeout: float = 120.0) -> str:
        """The same of lines that must succeed."""
        return self.box.run(f"{_FUNCTIONS}\n{script}", timeout)


@contextmanager
def key_tools(image: str = IMAGE, version: TpmVersion = TpmVersion.TPM_2_0) -> Iterator[KeyBox]:
    """Open such a toolbox for the block. Needs the guest image: minutes where the cache does not have it."""
    with ExitStack() as stack:
        tree = stack.enter_context(guest_tree(image, Progress()))
        box = stack.enter_context(toolbox(tree, stack.enter_context(scratch(None)), {}))
        yield KeyBox(box, stack.enter_context(scratch(None)), version)
