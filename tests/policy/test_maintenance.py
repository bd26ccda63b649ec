"""What an owner does to the volumes of a machine in use: the lines, and what the volumes are then."""

import json
import shlex
import subprocess
from dataclasses import replace

import pytest

from harness.errors import UsageError
from harness.lab.owner import owner_functions
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.maintenance import edited, rebound, unbound
from harness.policy.pins import CryptenrollPin, Pin, Sss, TangPin, Tpm2Pin, bindings
from harness.policy.policy import Volume

VOLUME = read_policy(POLICIES / "tpm2-and-tang.bu").volumes[0]
TWO_BINDINGS = Sss(1, (Tpm2Pin(), CryptenrollPin((7,), asks_pin=True)), separate=True)


def bound(pins: Pin | None) -> Volume:
    return replace(VOLUME, pins=pins)


def one_is_enough(pins: Pin) -> Pin:
    assert isinstance(pins, Sss)
    return replace(pins, threshold=1)


def test_renewing_changes_nothing_that_a_boot_is_judged_by() -> None:
    done = rebound([VOLUME])
    assert done.volumes == (VOLUME,)
    assert done.commands[-1] == 'each_binding 1 clevis luks regen -q -d "$device"'
    assert rebound([bound(None)]).commands == ()


def test_each_binding_by_the_tool_that_made_it() -> None:
    volume = bound(TWO_BINDINGS)
    assert len(bindings(volume.pins)) == 2
    lines = "\n".join(rebound([volume]).commands)
    assert "each_binding 1 clevis luks regen" in lines, "one of the two is clevis's"
    assert "NEWPIN=" in lines
    assert "systemd-cryptenroll --wipe-slot=tpm2 --tpm2-device=auto --tpm2-pcrs=7" in lines
    gone = unbound([volume])
    assert gone.volumes[0].pins is None
    assert gone.commands[-1] == 'systemd-cryptenroll --wipe-slot=tpm2 "$device"'


def test_an_edit_tells_clevis_the_new_configuration() -> None:
    done = edited(one_is_enough)([VOLUME])
    assert done.volumes[0].pins == one_is_enough(VOLUME.pins or Tpm2Pin())
    words = shlex.split(done.commands[-1])
    assert json.loads(words[words.index("-c") + 1])["t"] == 1
    assert edited(lambda pins: pins)([VOLUME]).commands == (), "clevis refuses an edit that changes nothing"


def test_an_edit_leaves_alone_what_is_not_bound() -> None:
    done = edited(one_is_enough)([bound(None), VOLUME])
    assert done.volumes == (bound(None), bound(one_is_enough(VOLUME.pins or Tpm2Pin())))
    assert done.commands == edited(one_is_enough)([VOLUME]).commands


def test_what_clevis_cannot_edit_is_said() -> None:
    with pytest.raises(UsageError, match="of sss into one of tang"):
        edited(lambda _: TangPin("tang", "u", "t"))([VOLUME])
    with pytest.raises(UsageError, match="not just one binding"):
        edited(lambda _: Tpm2Pin((7,)))([bound(TWO_BINDINGS)])
    with pytest.raises(UsageError, match="no passphrase"):
        rebound([replace(VOLUME, passphrase=None)])


@pytest.mark.parametrize(("listed", "status"), [("1: tang", 0), ("1: tang\n2: tang", 1), ("", 1)])
def test_a_binding_that_is_not_there_is_no_success(listed: str, status: int) -> None:
    """A loop over no slots would do nothing and call it done."""
    clevis = f"clevis() {{ test $2 = list && printf %s {shlex.quote(listed)}; test $2 = list || cat > /dev/null; }}"
    script = "\n".join(["set -e", owner_functions(), clevis, *unbound([bound(TangPin("tang", "u", "t"))]).commands])
    done = subprocess.run(["bash", "-c", script.replace("readlink -f", "echo")], capture_output=True, check=False)
    assert (done.returncode != 0) == bool(status), done.stderr


def test_what_regen_would_lose_a_part_of_is_refused() -> None:
    """Of several thresholds in a threshold, clevis before 24 binds the last anew (clevis#505)."""
    one, two = (Sss(1, (TangPin(name, "@TANG_URL@", "@TANG_THUMBPRINT@"), Tpm2Pin())) for name in ("tang", "two"))
    with pytest.raises(UsageError, match="loses a part of what opens var"):
        rebound([Volume("var", "/dev/vda5", Sss(1, (one, two)), "secret", "/var")])
    assert rebound([Volume("var", "/dev/vda5", Sss(1, (one, Tpm2Pin())), "secret", "/var")]).commands
    assert rebound([Volume("var", "/dev/vda5", Sss(1, (one, two), separate=True), "secret", "/var")]).commands
