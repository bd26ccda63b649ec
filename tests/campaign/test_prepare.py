"""Work side by side: what it took, and what becomes of an error."""

import threading

import pytest

from harness.campaign.prepare import require, side_by_side
from harness.errors import HostError
from harness.host.accel import Accel


def test_what_needs_nothing_of_each_other_is_on_at_once() -> None:
    together = threading.Barrier(3, timeout=10)
    took = side_by_side(dict.fromkeys("abc", together.wait))
    assert set(took) == set("abc")
    assert all(0 <= seconds < 10 for seconds in took.values())


def test_an_error_is_raised_when_the_others_have_ended() -> None:
    ended = threading.Event()

    def fails() -> None:
        raise HostError("no mirror")

    with pytest.raises(HostError, match="no mirror"):
        side_by_side({"first": fails, "second": ended.set})
    assert ended.is_set()


def test_a_host_that_was_to_have_kvm_and_has_not_is_told() -> None:
    emulation = Accel("tcg", "this host has no /dev/kvm")
    require("auto", emulation)
    require("tcg", emulation)
    with pytest.raises(HostError, match="under kvm, and here they run under tcg") as caught:
        require("kvm", emulation)
    assert "/dev/kvm" in caught.value.detail
