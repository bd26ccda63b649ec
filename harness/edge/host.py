"""The life of a controller host, as a table of states and events (pure).

::

    NEW ──wrote──▶ OPERATIONAL ──restarted, readable──▶ SEALED ──unsealed──▶ OPERATIONAL
     ▲                  │                                  │
     │ unwrapped        └──restarted, unreadable──▶ UNREADABLE ──timed out──▶ REINITIALISED
     └─────────────────────────────────────────────────────────────────────────────┘

`STEPS` is everything that affects it; what is not in it cannot happen, and says so.

Source: seed 002, "Direct TPM 2.0 Support" (another TPM, the reset time-out, ``reallow-site-unwrap``) and "Controlling
TPM Protection per Site".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from harness.edge.protection import Alert, Decision, Form, Found, ProtectWithTpm, decide
from harness.errors import UsageError

REFUSED_UNWRAP = (
    "the site bundle was unwrapped before; on the Control Tower: supctl do system sites NAME reallow-site-unwrap"
)
"""What a host is told that asks once more. The command is the document's."""


class Phase(StrEnum):
    """Where a host is in its life."""

    NEW = "new"
    """It has never been operational: no share is on its disk."""
    OPERATIONAL = "operational"
    SEALED = "sealed"
    """It was restarted and has its own share; the site is not unsealed yet."""
    UNREADABLE = "unreadable"
    """It was restarted and cannot decrypt its own share."""
    REINITIALISED = "reinitialised"
    """The reset time-out is over: what it had is gone, and it asks the Control Tower for its configuration."""


@dataclass(frozen=True)
class Host:
    """A controller host.

    Attributes:
        name: Of the host.
        setting: ``protect-with-tpm`` of its site.
        phase: Where it is in its life.
        form: How its share lies on its disk; None without one.
        handle: Of the TPM's key, where tpm2-tools protect it.
        log: What it said, in order.
        alerts: What it published, in order.
    """

    name: str
    setting: ProtectWithTpm = ProtectWithTpm.BEST_EFFORT
    phase: Phase = Phase.NEW
    form: Form | None = None
    handle: str = ""
    log: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()

    @property
    def protected_with_tpm(self) -> bool:
        """Its leaf ``protected-with-tpm``: as its share lies on the disk, whatever the setting says."""
        return self.form in (Form.PARSEC, Form.TPM2_TOOLS)


@dataclass(frozen=True)
class WritesShare:
    """It is to write its share: at the first time, by a retry, by a changed setting, or by the next write.

    Attributes:
        found: What could protect it.
        setting: That of the site from now on; None as before.
    """

    found: Found
    setting: ProtectWithTpm | None = None


@dataclass(frozen=True)
class Restarted:
    """It was restarted, or the whole site was.

    Attributes:
        readable: Whether it decrypts its own share, and that is the share that it wrote.
    """

    readable: bool


@dataclass(frozen=True)
class Unsealed:
    """Enough shares were there: the site got its seal key."""


@dataclass(frozen=True)
class TimedOut:
    """The reset time-out is over."""


@dataclass(frozen=True)
class Unwrapped:
    """It asked the Control Tower for its site bundle.

    Attributes:
        allowed: Whether the tower gave it.
    """

    allowed: bool


Event = WritesShare | Restarted | Unsealed | TimedOut | Unwrapped


def _writes(host: Host, event: WritesShare) -> Host:
    setting = event.setting or host.setting
    decision = decide(setting, event.found, operational=host.phase is Phase.OPERATIONAL)
    return _told(replace(host, setting=setting), decision)


def _told(host: Host, decision: Decision) -> Host:
    log = (*host.log, decision.log) if decision.log else host.log
    alerts = (*host.alerts, Alert(host.name, decision.alert)) if decision.alert else host.alerts
    if decision.form is None:
        return replace(host, log=log, alerts=alerts)
    return replace(host, phase=Phase.OPERATIONAL, form=decision.form, handle=decision.handle, log=log, alerts=alerts)


def _restarted(host: Host, event: Restarted) -> Host:
    return replace(host, phase=Phase.SEALED if event.readable else Phase.UNREADABLE)


def _still_new(host: Host, _event: Restarted) -> Host:
    return host


def _unsealed(host: Host, _event: Unsealed) -> Host:
    return replace(host, phase=Phase.OPERATIONAL)


def _timed_out(host: Host, _event: TimedOut) -> Host:
    return replace(host, phase=Phase.REINITIALISED, form=None, handle="")


def _unwrapped(host: Host, event: Unwrapped) -> Host:
    return replace(host, phase=Phase.NEW) if event.allowed else replace(host, log=(*host.log, REFUSED_UNWRAP))


STEPS: Mapping[tuple[Phase, type[Event]], Callable[..., Host]] = {
    (Phase.NEW, WritesShare): _writes,
    (Phase.NEW, Restarted): _still_new,
    (Phase.OPERATIONAL, WritesShare): _writes,
    (Phase.OPERATIONAL, Restarted): _restarted,
    (Phase.SEALED, Unsealed): _unsealed,
    (Phase.SEALED, Restarted): _restarted,
    (Phase.UNREADABLE, Restarted): _restarted,
    (Phase.UNREADABLE, TimedOut): _timed_out,
    (Phase.REINITIALISED, Unwrapped): _unwrapped,
    (Phase.REINITIALISED, Restarted): _still_new,
}
"""Everything that affects a host."""


def step(host: Host, event: Event) -> Host:
    """What becomes of a host.

    Raises:
        UsageError: That cannot happen to a host in this phase.
    """
    found = STEPS.get((host.phase, type(event)))
    if found is None:
        raise UsageError(f"host {host.name} is {host.phase}, and so cannot meet {type(event).__name__}")
    return found(host, event)
