"""What the options of the plugin and of the commands offer, and what they are unless said otherwise (pure)."""

import argparse
from pathlib import Path

IMAGE = "debian-13"
"""The guest image."""

ACCELERATORS = ("auto", "kvm", "tcg")
"""``auto`` is KVM where a firmware really boots under it."""

HYPERVISORS = ("libvirt", "qemu")
"""What may run the machines."""

MOST = 9999
"""Of whatever is counted: machines at once, boots, shards."""


def count(text: str) -> int:
    """Read a number of things, for an option.

    Raises:
        argparse.ArgumentTypeError: It is none from 1 to `MOST`.
    """
    if not text.isdecimal() or len(text) > len(str(MOST)) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number from 1 to {MOST}")
    return int(text)


def add_artifacts(parser: argparse.ArgumentParser) -> None:
    """The option ``--artifacts`` of the commands that boot machines."""
    parser.add_argument(
        "--artifacts",
        type=Path,
        default=Path("artifacts"),
        metavar="FOLDER",
        help="where the evidence goes (%(default)s)",
    )
