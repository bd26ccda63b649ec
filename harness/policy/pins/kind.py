"""What a pin kind says of itself: the questions that the rest of the laboratory asks (pure).

A *binding* is anything that can be sealed into a LUKS header, a *leaf* one that answers or fails by itself. Each kind
is one module of this package, and nothing outside of it tests which kind a pin is; it asks the pin::

    how it is written in a Butane file    `Binding.read`, `Binding.read_section`
    how it is bound, renewed, removed     `Binding.opener` is the tool; `clevis_config` or `enroll` is what it is told
    when it holds, and why not            `Leaf.failure_cause`, `Leaf.prompts`     asked by `harness.policy.oracle`
    what an attacker needs                `Leaf.extraction`                        asked by `harness.policy.extract`
    what shows that it failed, answered   `Leaf.failures`, `Leaf.answers`          read into `harness.guest.table`
    what it talks to                      `Leaf.service`, whose log is a witness   asked by `harness.guest`
    what its owner should know            `Leaf.described`, `Leaf.warnings`        asked by `harness.explain`
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import UsageError
from harness.policy.capabilities import Capabilities
from harness.policy.pins.reading import Place
from harness.policy.world import Stack, World

if TYPE_CHECKING:
    from harness.policy.pins.sss import Pin


@dataclass(frozen=True)
class ServiceId:
    """Which service a pin talks to while the guest boots. Pins that name the same one share its answers.

    Attributes:
        kind: Such as ``tang``.
        name: Which one of that kind.
        provided: Whether it is a server that the harness runs for the guest.
    """

    kind: str
    name: str
    provided: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class PinFailureCause:
    """Why a leaf does not hold.

    Attributes:
        why: In a few words.
        reported: Whether the guest says so during the boot.
        hangs: Whether it never ends, so that what is asked after it never has its turn.
        ends: Whether what asks it gives the volume up for it, so that no passphrase is asked for.
    """

    why: str
    reported: bool = True
    hangs: bool = False
    ends: bool = False


@dataclass(frozen=True)
class Message:
    """What a guest says of a pin.

    Attributes:
        pattern: A regular expression; its groups ``reason`` and ``url`` become fields of the event.
        final: Whether another try in this boot cannot end otherwise.
    """

    pattern: str
    final: bool = False


class Opener(ABC):
    """The tool that binds pins to a volume, and what opens the volume by them at boot.

    Attributes:
        name: Of the tool.
        refusal: What `unlock` says once it has tried what is bound, and nothing of it opens the volume: a regular
            expression. Whatever else ends it, nothing was refused.
        reported_as: What the events of a boot call a pin of this tool where no message names its kind.
        failures: What a guest says when any pin of its failed; a group ``pin`` names the kind.
        stacks: The initrds in which it runs.
        answers_prompts: Whether all that it does under systemd is to answer the prompt for the passphrase. Its bindings
            then have their turns one after the other.
        token_type: How the type of its tokens in a LUKS2 header begins, where systemd-cryptsetup opens by their
            keyslots and shows no prompt; "" where it does not.
        claims_keyslots: Whether systemd knows its keyslots, and does not take them for a passphrase's
            (check_registered_passwords in cryptsetup.c).
    """

    name: ClassVar[str]
    refusal: ClassVar[str]
    reported_as: ClassVar[str] = ""
    failures: ClassVar[tuple[Message, ...]] = ()
    stacks: ClassVar[frozenset[Stack]] = frozenset(Stack)
    answers_prompts: ClassVar[bool] = False
    claims_keyslots: ClassVar[bool] = False
    token_type: ClassVar[str] = ""

    # Lines for root's shell in the guest. They expect what `harness.policy.enrolment.volume_env` sets: $device and
    # $PASSWORD.

    def bind(self, pin: "Binding") -> Iterator[str]:
        """The lines that bind a pin.

        Raises:
            UsageError: The tool has no such pin.
        """
        return pin.enroll()

    @abstractmethod
    def renew(self, pins: Sequence["Binding"]) -> Iterator[str]:
        """The lines that bind anew all pins that the tool has bound to a volume."""

    @abstractmethod
    def remove(self, pins: Sequence["Binding"]) -> Iterator[str]:
        """The lines that remove all pins that the tool has bound to a volume, with their keyslots."""

    @abstractmethod
    def unlock(self, device: str, mapping: str, pins: Sequence["Binding"], typed: str) -> str:
        """The command that opens a volume by its bindings.

        Args:
            device: What the volume lies on, for the shell.
            mapping: What it is to be called, for the shell.
            pins: The leaves that the tool has bound to it; none when that is not known.
            typed: What a person would type where a leaf wants a PIN, or "".
        """


class Binding(ABC):
    """Anything that can be bound to a LUKS header, in a keyslot of its own.

    Attributes:
        opener: What binds it, and opens a volume by it.
        clevis_name: What clevis and Ignition call it, or "".
        clevis_keys: What its configuration may hold there.
        slot_type: What systemd-cryptenroll calls its keyslots, or "".
        crypttab_device: The option of crypttab(5) that has systemd ask it, or "".
    """

    opener: ClassVar[Opener]
    clevis_name: ClassVar[str] = ""
    clevis_keys: ClassVar[tuple[str, ...]] = ()
    slot_type: ClassVar[str] = ""
    crypttab_device: ClassVar[str] = ""

    @property
    def crypttab_options(self) -> tuple[str, ...]:
        """Further options of crypttab(5) that it wants."""
        return ()

    @property
    def typed(self) -> str | None:
        """What a person types when it asks for its PIN, or None where it asks for none."""
        return None

    def clevis_config(self) -> dict[str, Any]:
        """Its configuration, as clevis takes it.

        Raises:
            UsageError: It is no pin of clevis.
        """
        raise UsageError(f"clevis has no such pin: {self}")

    def enroll(self, *further: str) -> Iterator[str]:
        """The lines of systemd-cryptenroll(1) for it, or of another tool that has one way to enroll it.

        Args:
            *further: Further arguments.

        Raises:
            UsageError: It is no token of systemd-cryptenroll, or it cannot be enrolled like that.
        """
        raise UsageError(f"systemd-cryptenroll has no such token: {self}")

    @classmethod
    def read(cls, place: Place, config: dict[str, Any], read_pin: "ReadPin") -> "Pin | None":
        """Read clevis's configuration of such a pin; mistakes go to the place.

        Args:
            place: Where it stands.
            config: Its configuration, with no key but `clevis_keys`.
            read_pin: Reads one that stands inside of it.
        """
        raise UsageError(f"clevis has no such pin: {cls.__name__}")

    @classmethod
    def read_section(cls, place: Place, value: Any) -> "list[Leaf]":
        """Read its key of a ``clevis`` section without ``custom``; mistakes go to the place.

        Args:
            place: Where the section stands.
            value: Of the key.
        """
        return []


ReadPin = Callable[[str, Any, Place], "Pin | None"]
"""Reads the configuration of a pin, given clevis's name of its kind, at a place."""


class Leaf(Binding):
    """A pin that answers or fails by itself.

    Attributes:
        reported_as: What the events of a boot call such a leaf.
        failures: What a guest says when such a leaf failed.
        answers: What a guest says when such a leaf answered.
        service: What it talks to, or None for what is in the guest itself.
        needs_network: Whether it can answer only once the guest has an address.
        carried: Whether a person can take what answers away: a security token.
        tpm_version: The specification that the machine's TPM must follow for it, or "" for the usual 2.0.
        header_type: What a LUKS2 header calls it: clevis's name of the pin, or the type of systemd's token; "" where it
            does not tell it from others.
    """

    reported_as: ClassVar[str]
    header_type: ClassVar[str] = ""
    failures: ClassVar[tuple[Message, ...]] = ()
    answers: ClassVar[tuple[Message, ...]] = ()
    needs_network: ClassVar[bool] = False
    carried: ClassVar[bool] = False
    tpm_version: ClassVar[str] = ""

    @classmethod
    def of_header(cls, config: Mapping[str, Any], crypttab: Collection[str]) -> "Leaf":
        """The leaf that a LUKS2 header holds.

        Args:
            config: What clevis or systemd wrote there.
            crypttab: The options of the volume's line of crypttab(5).

        Raises:
            UsageError: Nothing can be predicted of it, and why.
        """
        raise UsageError(f"a header does not tell a {cls.__name__}")

    @property
    @abstractmethod
    def name(self) -> str:
        """What failed pins are called in an outcome."""

    @property
    @abstractmethod
    def service(self) -> ServiceId | None:
        """What it talks to while the guest boots, or None for what is in the guest itself."""

    @property
    def address(self) -> str:
        """The URL at which the policy puts its service, or "" when it puts it nowhere."""
        return ""

    @property
    def not_run(self) -> str:
        """Why the harness cannot run its service in the place that the policy gives it, or nothing."""
        return ""

    @property
    def unpredictable(self) -> str:
        """Why the rules say nothing about a volume that it opens, or nothing."""
        return ""

    @property
    def own_keys(self) -> Mapping[tuple[str, str], str]:
        """Where the harness runs a server in the place of the user's, whose key it does not have: what to write for it.

        By URL and thumbprint, as the policy has them.
        """
        return {}

    @property
    def needs_machine(self) -> bool:
        """Whether it takes a machine that boots to bind it or to ask it, and not just the tools of a guest."""
        return False

    @property
    def bound_pcrs(self) -> frozenset[int] | None:
        """The PCRs that may not change, or None where no TPM answers for it."""
        return None

    @property
    def pcr_banks(self) -> frozenset[str]:
        """The PCR banks that the TPM must have for it."""
        return frozenset()

    @property
    @abstractmethod
    def described(self) -> str:
        """What it is, in a few words."""

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What the owner of a volume should hear of it, each with where it is written or was seen."""
        yield from ()

    def renamed(self, service: str) -> "Leaf":
        """The same with another name for its service, if it has one of its own."""
        return self

    def anywhere(self) -> "Leaf":
        """The same with its service at any place, if the harness runs that at the place that the policy gives it."""
        return self

    def distinct(self) -> "Leaf":
        """The same under the name that it has where another leaf of the tree would go by its usual one."""
        return self

    @abstractmethod
    def failure_cause(self, world: World, *, headless: bool) -> PinFailureCause | None:
        """Why it does not hold in a world, or None when it does.

        Args:
            world: At the boot.
            headless: Whether the guest never asks.
        """

    def prompts(self, world: World) -> bool:
        """Whether it has the guest ask for its PIN, in such a world."""
        return False

    @abstractmethod
    def extraction(self, capabilities: Capabilities, measured: frozenset[int]) -> tuple[bool, str]:
        """Whether an attacker makes it answer, and how, or what they lack.

        Args:
            capabilities: Of the attacker.
            measured: PCRs that the boot extends once the volume is open.
        """
