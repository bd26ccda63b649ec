"""Attacks on the exchange with Tang: on the wire, with a server in its place, and with its keys."""

import json
import re
import shlex

import pytest

from harness.api import Powered, Sealed, Tang, Unlock
from harness.api.attack import Attacker, Grant, find_secret, tang_exchange


@pytest.mark.homelab
@pytest.mark.parametrize(
    "guard", [pytest.param(name, marks=pytest.mark.policy(name)) for name in ("tang", "tpm2-and-tang")]
)
@pytest.mark.attack(Grant.NETWORK)
def test_tang_capture_shows_no_key(guard: str, sealed: Sealed, attacker: Attacker) -> None:
    """A whole unlock is recorded between the machine and Tang: no key is in it, in no encoding that we know.

    Searched for: clevis's passphrase, the volume key, the point K that the binding is sealed to, its content key, and
    the secret of the blinding. What is known to be there is found by the same search: the blinded point that clevis
    sent. The owner gets all of them from clevis itself, on the open machine, in an exchange that is recorded too.

    Seen with Tang alone: two exchanges, 1,484 bytes in all, the boot's and the owner's, with none of the keys in them;
    none either where a TPM must answer, too.

    Granted: the wire between machine and Tang. Resisted. Cure: none needed, plain HTTP suffices: clevis blinds its
    point anew each time. Source: seed 000; tang(8), "Recovery"; McCallum-Relyea exchange.
    """
    with sealed.powered() as machine:
        assert machine.outcome.unlock is Unlock.AUTO
        keys, blinded_point = watched_exchange(machine, sealed)
    wire = b"".join(call.sent + call.received for call in attacker.intercept().connections)
    sealed.context.recorder.keep({"wire.http": wire})
    assert find_secret(wire, blinded_point), "the search does not even find what is there"
    found = {name: place for name, key in keys.items() if (place := find_secret(wire, key))}
    attacker.submit(volume_key=keys["volume key"] if "volume key" in found else None, evidence="wire.http")
    assert not found


def watched_exchange(machine: Powered, sealed: Sealed) -> tuple[dict[str, bytes], bytes]:
    """Have clevis unseal its passphrase once more, watched by its own shell: its keys, and the point that it sends."""
    shell = machine.shell
    device = machine.device("var")
    unseal = f"clevis luks pass -d {device} -s {machine.outcome.keyslot}"
    passphrase = shell.run(f"env SHELLOPTS=xtrace BASH_XTRACEFD=9 {unseal} 9>/run/trace", 120).encode()
    trace = shell.read_file("/run/trace").decode()
    words = [
        (name, json.loads(value)) for name, value in re.findall(r"^\++ (eph|xfr|jwk)='(.*)'$", trace, re.MULTILINE)
    ]
    said = {name: key for name, key in words if "crv" in key}  # clevis-decrypt-tpm2 calls a key jwk, too
    dump = f"cryptsetup luksDump -q --dump-volume-key --volume-key-file /run/key --key-file - {device} >&2"
    shell.run(dump, 120, stdin=sealed.passphrase.encode())
    point = tang_exchange.x_of(said["jwk"])
    keys = {
        "passphrase": passphrase,
        "volume key": shell.read_file("/run/key"),
        "K": point,
        "content key": tang_exchange.content_key(point),
        "blinding": tang_exchange.decoded(said["eph"]["d"]),
    }
    return keys, tang_exchange.x_of(said["xfr"])


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.NETWORK, Grant.DISK)
def test_tang_replay_opens_nothing(sealed: Sealed, attacker: Attacker) -> None:
    """A recorded reply is played to a later boot, and a recorded request to Tang: neither is of use.

    The old reply answers an old blinding: the machine asks for its passphrase. Tang answers the old request as it did
    before, with the same point, out of which K is not to be had without the secret of the blinding; as a control, with
    Tang's own keys the same computation does open the binding.

    Granted: the wire, and a copy of the disk. Resisted. Cure: none needed. Source: tang(8), "Recovery".
    """
    tang = attacker.intercept()
    assert sealed.boot().unlock is Unlock.AUTO
    recorded = next(call for call in tang.connections if call.sent.startswith(b"POST /rec/"))
    tang.tamper(lambda _: recorded.received)
    replayed = sealed.boot(label="old reply")
    assert replayed.unlock is Unlock.PASSPHRASE_FALLBACK
    tang.tamper(None)

    again = tang_exchange.replay(attacker.connect(tang), recorded.sent)
    assert json.loads(tang_exchange.body(again)) == json.loads(tang_exchange.body(recorded.received))
    binding = attacker.header("var").tokens[0].jwe
    points = [json.loads(tang_exchange.body(message)) for message in (again, recorded.sent)]
    points.append(tang_exchange.header(binding)["epk"])
    assert not any(tang_exchange.unseal(binding, tang_exchange.x_of(point)) for point in points)
    assert tang_exchange.unseal(binding, tang_exchange.recover(tang.keys, binding)), (
        "the computation opens nothing at all"
    )
    attacker.submit(None)


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.NETWORK)
def test_tang_imposter_opens_nothing_and_is_not_bound_to(sealed: Sealed, attacker: Attacker) -> None:
    """Another server answers in Tang's place: the machine asks for its passphrase, and nobody is bound to the imposter.

    At bind time the owner's thumbprint refuses it, also when it signs an advertisement of its own and serves it under
    the thumbprint of the genuine one; before it came, the same command bound.

    Granted: Tang's place in the network. Resisted. Cure: state the thumbprint (``thp``) when binding, and do not say
    ``-y``: see the next one. Source: clevis-encrypt-tang(1), ``thp``; tang(8).
    """
    tang = attacker.intercept()
    genuine = tang.thumbprint
    with sealed.powered() as machine:
        assert machine.outcome.unlock is Unlock.AUTO
        assert bind(machine, sealed, tang, genuine)[0]
        tang.replace_keys()
        assert tang.thumbprint != genuine
        refused = bind(machine, sealed, tang, genuine)
        own = machine.shell.run(f"curl -sf {tang.url}/adv").encode()
        tang.tamper(lambda _: tang_exchange.reply_with(own))
        caught = bind(machine, sealed, tang, genuine)
        tang.tamper(None)
    assert not refused[0]
    assert "Unable to fetch advertisement" in refused[1]
    assert not caught[0]
    assert f"Trusted JWK '{genuine}' did not sign the advertisement!" in caught[1]
    outcome = sealed.boot(label="imposter")
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tang"}
    attacker.submit(None, evidence=outcome.evidence)


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.NETWORK, Grant.DISK)
def test_tang_imposter_is_bound_to_by_an_owner_who_says_yes(sealed: Sealed, attacker: Attacker) -> None:
    """The owner states the thumbprint and says ``-y``: the imposter's advertisement is taken, and opens the disk.

    With ``-y`` clevis asks for the advertisement by the thumbprint and then checks only that it is signed by whatever
    keys are in it. ``clevis luks regen`` and ``clevis luks edit`` always say ``-y``.

    Granted: Tang's place in the network while the owner binds, later a copy of the disk. Seen with clevis 20: bound,
    where the thumbprint was expected to refuse. Cure: bind without ``-y``, as in the one before, or by an
    advertisement fetched beforehand (``adv``). Source: clevis-encrypt-tang, "Check advertisement trust".
    """
    tang = attacker.intercept()
    genuine = tang.thumbprint
    with sealed.powered() as machine:
        tang.replace_keys()
        own = machine.shell.run(f"curl -sf {tang.url}/adv").encode()
        tang.tamper(lambda _: tang_exchange.reply_with(own))
        done, said = bind(machine, sealed, tang, genuine, "-y")
        tang.tamper(None)
    assert done, said
    assert attacker.boot(disk=attacker.disk()).canary == sealed.canary


def bind(machine: Powered, sealed: Sealed, tang: Tang, thumbprint: str, option: str = "") -> tuple[bool, str]:
    """Bind the open volume to a Tang of that thumbprint; says whether that was done, and what clevis said."""
    config = shlex.quote(json.dumps({"url": tang.url, "thp": thumbprint}))
    device = machine.device("var")
    said = machine.shell.run(
        f"clevis luks bind {option} -k - -d {device} tang {config} 2>&1; echo status $?",
        120,
        stdin=sealed.passphrase.encode(),
    )
    return said.rstrip().endswith("status 0"), said


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.NETWORK)
def test_tang_forged_reply_opens_nothing(sealed: Sealed, attacker: Attacker) -> None:
    """A man in the middle answers with another point: the machine asks for its passphrase.

    Granted: the wire. Resisted. Cure: none needed, the wrong point gives a wrong K. Source: clevis-decrypt-tang.
    """
    attacker.intercept().tamper(tang_exchange.forged)
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.canary == sealed.canary
    attacker.submit(None, evidence=outcome.evidence)


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.NETWORK)
def test_tang_redirect_is_not_followed(sealed: Sealed, attacker: Attacker) -> None:
    """A man in the middle sends the machine to another address (302): it does not go there, it asks instead.

    Granted: the wire. Resisted. Cure: none needed, clevis's curl follows no redirects. Source: clevis-decrypt-tang.
    """
    tang = attacker.intercept()
    elsewhere = f"{tang.url}/elsewhere"
    found = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode()
    tang.tamper(lambda _: found)
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert any(call.received == found for call in tang.connections)
    assert not any(b"/elsewhere" in call.sent for call in tang.connections)
    attacker.submit(None, evidence=outcome.evidence)


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.NETWORK)
def test_tang_tarpit_leaves_the_prompt_usable(sealed: Sealed, attacker: Attacker) -> None:
    """A server in Tang's place accepts connections and never answers: the machine stays shut until a person types.

    An attack on availability. clevis has no time limit, so it hangs and never tries again; the prompt must not hang.
    Granted: Tang's place in the network. Cure: the passphrase. Source: clevis-decrypt-tang; clevis#472.
    """
    tang = attacker.intercept()
    tang.stall()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.canary == sealed.canary
    assert tang.unanswered
    attacker.submit(None, evidence=outcome.evidence)


@pytest.mark.core
@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.DISK, Grant.TANG_KEYS)
def test_tang_keys_stolen_open_the_disk_when_tang_alone_guards_it(sealed: Sealed, attacker: Attacker) -> None:
    """With Tang's keys the attacker runs their own Tang, far from the victim's network: the clone opens there.

    They could do without a server, too: a binding is a JWE for Tang's exchange key, and `tang_exchange.unseal` opens it
    with that key alone. Seen: Ignition wraps a single Tang in a threshold of one, which changes nothing of this.

    Granted: a copy of the disk, and of Tang's keys; not the network. Extracted. Cure: a TPM beside Tang (below); after
    such a theft, new keys, new bindings and a new volume key. Source: tang(8), "Security considerations".
    """
    attacker.run_tang(attacker.tang_keys())
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.AUTO
    assert loot.canary == sealed.canary


@pytest.mark.core
@pytest.mark.policy("tpm2-and-tang")
@pytest.mark.attack(Grant.DISK, Grant.TANG_KEYS)
def test_tang_keys_stolen_are_not_enough_without_the_tpm(sealed: Sealed, attacker: Attacker) -> None:
    """The same theft from a machine whose TPM holds the other share: Tang's half is there, the clone stays shut.

    Granted: a copy of the disk, and of Tang's keys. Resisted, and this is the cure. Source: clevis-encrypt-sss(1).
    """
    attacker.run_tang(attacker.tang_keys())
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.LOCKED
    assert loot.failed_pins == {"tpm2"}
    assert loot.canary is None
    assert sealed.tangs["tang"].recoveries, "the attacker's Tang was not asked, so this showed nothing"
