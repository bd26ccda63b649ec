"""What a disk can do at a boot: the word that the oracle's predictions and the judge's outcomes share (pure)."""

from enum import StrEnum


class Unlock(StrEnum):
    """What the disk did."""

    AUTO = "auto-unlock"
    """The boot went through and nothing was typed."""
    PASSPHRASE_FALLBACK = "passphrase-fallback"
    """It asked, and what was typed opened it: our passphrase, once the pins are known to have failed (or the hold time
    was over); or a PIN, for which the TPM or the token then answered (the outcome's `unlocked_by` says which)."""
    LOCKED = "locked"
    """It stayed shut: no prompt came, or none that a passphrase could answer."""
    REFUSED = "refused"
    """The firmware did not start the boot image."""
    NOT_PREDICTED = "not predicted"
    """Of a prediction alone: something decides that the rules do not hold (`Volume.unpredictable`)."""


def agrees(observed: Unlock | None, predicted: Unlock) -> bool:
    """Whether the disk did what was predicted, or anything where nothing was; without a verdict it did not."""
    return observed is not None and predicted in (observed, Unlock.NOT_PREDICTED)
