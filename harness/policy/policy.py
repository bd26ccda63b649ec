"""A policy: the encrypted volumes of a machine, and how each is opened. Pure data.

`harness.policy.butane` reads one from a file, `harness.policy.enrolment` adds what an owner does by hand.
"""

from dataclasses import dataclass
from typing import Any

from harness.policy.disks import WantedDisk
from harness.policy.needs import Need
from harness.policy.pins import TANG, Leaf, Pin, ServiceId, leaves


@dataclass(frozen=True)
class Volume:
    """One encrypted volume of a policy.

    Attributes:
        name: Of the mapping under /dev/mapper.
        device: What it is made on, as the policy names it.
        pins: The tree that unlocks it by itself, or None.
        passphrase: What opens it by hand, or None when the policy leaves no keyslot that can be typed.
        mount_point: Where its file system is mounted, or None.
        key_file: Whether the guest itself holds a key that opens it.
        headless: Whether the guest never asks (``headless=`` of crypttab(5)).
        tpm_pin: What a person types at the prompt for the TPM's PIN, or None where none is asked for.
        untypable: Why there is no passphrase, when there is none.
        unpredictable: Why the rules say nothing about it, or nothing.
        key_on: The encrypted volume that the guest's own key lies on, or None where it lies in the clear.
    """

    name: str
    device: str
    pins: Pin | None
    passphrase: str | None
    mount_point: str | None
    key_file: bool = False
    headless: bool = False
    tpm_pin: str | None = None
    untypable: str = ""
    unpredictable: str = ""
    key_on: "Volume | None" = None

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every leaf of its pins, in the order in which they were written."""
        return tuple(leaves(self.pins))

    @property
    def services(self) -> tuple[ServiceId, ...]:
        """The services that its pins ask, the user's own among them, in order, each once."""
        return tuple(dict.fromkeys(leaf.service for leaf in self.leaves if leaf.service))

    @property
    def tang_servers(self) -> tuple[str, ...]:
        """Names of the Tang servers among these."""
        return tuple(service.name for service in self.services if service.kind == TANG)


@dataclass(frozen=True)
class Policy:
    """An encryption config that can be installed.

    Attributes:
        name: File name without its ending.
        config: The Ignition config as a JSON-able value, still with the Tang placeholders.
        volumes: In the order in which they are opened.
        disk: The device node of the disk with the system (``/dev/nvme0n1``, ``/dev/vda``, ``/dev/sda``): it decides
            the bus.
        kernel_arguments: Those that should exist.
        source: The file's text, for the evidence.
        enrolment: Lines for root's shell in the installed guest, one boot later, still with the Tang placeholders: what
            an owner does by hand (`harness.policy.enrolment`).
        disks: Those that the machine must have, the one with the system first; none where an image decides.
        notes: What the file asks for that no boot of any guest shows, one phrase each (`harness.policy.notes`).
        obstacles: Why the laboratory's guest cannot have what the file says, each with file, line and key.
        needs: What the image must offer for it, beside Ignition.
    """

    name: str
    config: dict[str, Any]
    volumes: tuple[Volume, ...]
    disk: str
    kernel_arguments: tuple[str, ...]
    source: str
    enrolment: tuple[str, ...] = ()
    disks: tuple[WantedDisk, ...] = ()
    notes: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    needs: frozenset[Need] = frozenset()

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every leaf of every volume, in order."""
        return tuple(leaf for volume in self.volumes for leaf in volume.leaves)

    @property
    def provided(self) -> tuple[ServiceId, ...]:
        """The services that the harness must run for the guest, in order, each once."""
        return tuple(dict.fromkeys(leaf.service for leaf in self.leaves if leaf.service and leaf.service.provided))

    @property
    def pcr_banks(self) -> tuple[str, ...]:
        """The banks that the machine's TPM must have; sha256 is what everything else in the guest takes."""
        return tuple(sorted({"sha256"}.union(*(leaf.pcr_banks for leaf in self.leaves))))

    @property
    def own_keys(self) -> dict[tuple[str, str], str]:
        """Placeholders of the harness's own keys, by URL and thumbprint of the servers in whose place it runs some."""
        return {pair: own for leaf in self.leaves for pair, own in leaf.own_keys.items()}

    @property
    def tpm_version(self) -> str:
        """The specification that the machine's TPM must follow: ``2.0``, but for a policy about a 1.2."""
        return next((leaf.tpm_version for leaf in self.leaves if leaf.tpm_version), "2.0")

    @property
    def tang_servers(self) -> tuple[str, ...]:
        """Names of the Tang servers that the harness must run, in order, each once."""
        return tuple(service.name for service in self.provided if service.kind == TANG)

    def address_of(self, service: ServiceId) -> str:
        """The URL at which the policy puts a service of the harness, or nothing when any place will do."""
        return next((leaf.address for leaf in self.leaves if leaf.service == service and leaf.address), "")
