"""Debian's Ignition of 2022 and the present one: what each makes of the same file."""

import pytest

from harness.api import Machines, Unlock


@pytest.mark.policy("today")
def test_two_ignitions_bind_alike_and_the_newer_does_what_newer_specs_say(machines: Machines) -> None:
    """Keyslots and bindings are the same, and both open; discards go through only where Ignition knows `discard`.

    What differs is what `harness.policy.fit` takes out for the older. Source: Ignition, docs/release-notes.md, 2.15.0
    (spec 3.4.0: ``luks.discard``, ``luks.openOptions``).
    """
    bound, tables = [], []
    for image in ("debian-13", "debian-13-ignition"):
        sealed = machines.sealed("today", image=image)
        header = sealed.header("var")
        assert header.keyslots == ((0, "pbkdf2"), (1, "pbkdf2"))
        assert [(token.type, token.keyslots) for token in header.tokens] == [("clevis", (1,))]
        with sealed.powered() as on:
            assert on.outcome.unlock is Unlock.AUTO
            assert on.outcome.unlocked_by == {"tpm2", "tang"}
            bound.append(on.shell.run("clevis luks list -d /dev/disk/by-partlabel/var"))
            tables.append(on.shell.run("dmsetup table var"))
    older, newer = tables
    assert bound[0] == bound[1]
    assert "allow_discards" not in older
    assert "allow_discards" in newer
    assert "no_read_workqueue" in newer
