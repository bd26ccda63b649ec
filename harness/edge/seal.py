"""What opens a site: seal key, site key, token and shares, by real cryptography.

Encryption to the site key is a sealed box (X25519, XSalsa20-Poly1305; PyNaCl), sharing is SLIP-39 (shamir-mnemonic).
Both are the extra ``edge``: ``pip install 'unlock-lab[edge]'``.

Source: seed 002, "Prerequisite" and the procedure after a restart, in its order.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics

from harness.edge.tower import ControlTower

_KEY_BYTES = 32
_QUICK = 0
"""SLIP-39 has the shares encrypted by a passphrase, which is empty here: nothing is gained by a slow derivation."""


def majority(hosts: int) -> int:
    """How many shares of a site's are needed."""
    return hosts // 2 + 1


@dataclass(frozen=True)
class Founded:
    """A site when it was set up.

    Attributes:
        shares: One for each controller host: words of SLIP-39.
        site_key: The private half, which never leaves the site.
        local_unseal: ``allow-local-unseal``: the shares are of the encrypted seal key itself, and no tower is asked.
        seal_key: What opens the strongbox. A host forgets it when it is restarted.
    """

    shares: tuple[str, ...]
    site_key: bytes
    local_unseal: bool
    seal_key: bytes


def found_site(hosts: int, tower: ControlTower, *, local_unseal: bool = False) -> Founded:
    """Set a site up.

    Args:
        hosts: How many controller hosts it has.
        tower: Keeps its seal key, encrypted.
        local_unseal: ``allow-local-unseal``.
    """
    seal_key, token, site_key = secrets.token_bytes(_KEY_BYTES), secrets.token_bytes(_KEY_BYTES), PrivateKey.generate()
    box = SealedBox(site_key.public_key)
    tower.store(token, box.encrypt(seal_key))
    split = box.encrypt(seal_key if local_unseal else token)
    (shares,) = generate_mnemonics(1, [(majority(hosts), hosts)], split, iteration_exponent=_QUICK)
    return Founded(tuple(shares), bytes(site_key), local_unseal, seal_key)


def recover(shares: Iterable[str], site_key: bytes, *, local_unseal: bool, tower: ControlTower) -> bytes | None:
    """The seal key, from what is there after a restart; None where that does not suffice.

    Args:
        shares: Those that were gathered.
        site_key: The private half.
        local_unseal: ``allow-local-unseal``.
        tower: Is asked, unless it is so.
    """
    box = SealedBox(PrivateKey(site_key))
    try:
        gathered = list(shares)
        needed = Share.from_mnemonic(gathered[0]).member_threshold if gathered else 1
        found: bytes = box.decrypt(combine_mnemonics(gathered[:needed]))  # it takes just so many
        if local_unseal:
            return found
        kept = tower.fetch(found)
        return bytes(box.decrypt(kept)) if kept else None
    except (MnemonicError, CryptoError):
        return None
