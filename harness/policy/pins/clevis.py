"""How clevis binds pins, and opens volumes by them (pure).

Under systemd clevis does nothing but answer the prompt for the passphrase, one volume and one binding after the other
(clevis-luks-askpass); in initramfs-tools it writes to the prompt's FIFO (local-top/clevis).

Sources: clevis-luks-bind(1), clevis-luks-regen(1), clevis-luks-edit(1), clevis-luks-unbind(1), clevis-luks-unlock(1).
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import ClassVar

from harness.policy.pins.kind import Binding, Message, Opener


class Clevis(Opener):
    """clevis(1)."""

    name: ClassVar[str] = "clevis"
    refusal: ClassVar[str] = r"\S+ could not be opened\."
    failures: ClassVar[tuple[Message, ...]] = (
        Message(r"(?P<reason>Unable to locate pin '(?P<pin>\w+)'!)", final=True),
    )
    answers_prompts: ClassVar[bool] = True

    def bind(self, pin: Binding) -> Iterator[str]:
        """``clevis luks bind`` by the passphrase."""
        command = shlex.join([pin.clevis_name, json.dumps(pin.clevis_config())])
        yield f'printf %s "$PASSWORD" | clevis luks bind -y -k - -d "$device" {command}'

    def renew(self, pins: Sequence[Binding]) -> Iterator[str]:
        """``clevis luks regen``: by the old binding, or by the passphrase where that does not open any more."""
        yield f'each_binding {len(pins)} clevis luks regen -q -d "$device"'

    def edit(self, pin: Binding) -> Iterator[str]:
        """``clevis luks edit`` of the volume's only binding into another one of the same kind."""
        config = shlex.quote(json.dumps(pin.clevis_config()))
        yield f'each_binding 1 clevis luks edit -d "$device" -c {config}'

    def remove(self, pins: Sequence[Binding]) -> Iterator[str]:
        """``clevis luks unbind``."""
        yield f'each_binding {len(pins)} clevis luks unbind -f -d "$device"'

    def unlock(self, device: str, mapping: str, pins: Sequence[Binding], typed: str) -> str:
        """``clevis luks unlock``."""
        return f"clevis luks unlock -d {device} -n {mapping}"


CLEVIS = Clevis()
