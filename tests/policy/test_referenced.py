"""The configs that a file names: merged as Ignition merges them (test_corpus.py holds that to it), or not read."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from policy.documents import mistakes

from harness.errors import UsageError
from harness.explain.advice import advice
from harness.policy.butane import read_policy
from harness.policy.document import Document
from harness.policy.oracle import predict
from harness.policy.policy import Policy
from harness.policy.referenced import rendered
from harness.policy.variants import NEWEST
from harness.policy.world import Stack, World
from harness.unlock import Unlock

CHILD = {
    "ignition": {"version": "3.4.0"},
    "storage": {
        "luks": [
            {
                "name": "var",
                "device": "/dev/disk/by-partlabel/var",
                "clevis": {"tang": [{"url": "@TANG_URL@", "thumbprint": "@TANG_THUMBPRINT@"}]},
            }
        ],
        "filesystems": [{"device": "/dev/mapper/var", "format": "xfs", "path": "/var"}],
    },
}
DISK = "storage: {disks: [{device: /dev/vda, partitions: [{label: var}]}]}\n"
WITH_VOLUME = DISK.replace(
    "}]}\n", "}], luks: [{name: var, device: /dev/disk/by-partlabel/var, clevis: {tpm2: true}}]}\n"
)


def read(folder: Path, config: str, rest: str = DISK) -> Policy:
    path = folder / "mine.bu"
    path.write_text(f"variant: fcos\nversion: 1.5.0\nignition:\n  config: {config}\n{rest}")
    return read_policy(path)


def told(folder: Path, config: str, rest: str = DISK) -> str:
    with pytest.raises(UsageError) as caught:
        read(folder, config, rest)
    return str(caught.value)


def data_url(text: str) -> str:
    return "data:;base64," + base64.b64encode(gzip.compress(text.encode())).decode()


@pytest.mark.parametrize("how", ["local: child.ign", f"inline: '{json.dumps(CHILD)}'"])
def test_a_volume_of_a_config_that_the_file_holds_is_predicted_as_any_other(tmp_path: Path, how: str) -> None:
    (tmp_path / "child.ign").write_text(json.dumps(CHILD))
    policy = read(tmp_path, f"{{merge: [{{{how}}}]}}")
    (volume,) = policy.volumes
    assert (volume.name, volume.mount_point, policy.tang_servers) == ("var", "/var", ("tang",))
    assert predict(volume, World(), Stack.DR).unlock is Unlock.AUTO
    assert policy.config["ignition"] == {"version": "3.4.0"}
    assert [disk["device"] for disk in policy.config["storage"]["disks"]] == ["/dev/vda"]
    assert [note for note in policy.notes if "it is merged before the boot" in note]


def test_what_the_named_config_says_of_a_volume_counts(tmp_path: Path) -> None:
    (tmp_path / "child.ign").write_text(json.dumps(CHILD))
    (volume,) = read(tmp_path, "{merge: [{local: child.ign}]}", WITH_VOLUME).volumes
    assert [leaf.name for leaf in volume.leaves] == ["tpm2", "tang"]


@pytest.mark.parametrize(("spec", "merged"), [("3.0.0", "3.4.0"), ("3.6.0", "3.6.0")])
def test_the_newest_of_the_specs_is_that_of_the_whole(tmp_path: Path, spec: str, merged: str) -> None:
    (tmp_path / "child.ign").write_text(json.dumps({"ignition": {"version": spec}}))
    assert read(tmp_path, "{merge: [{local: child.ign}]}").config["ignition"]["version"] == merged


def test_a_volume_that_would_be_fetched_is_not_predicted_nor_installed(tmp_path: Path) -> None:
    for config in ("{merge: [{source: 'https://a.example/b.ign'}]}", "{replace: {source: 'https://a.example/b.ign'}}"):
        policy = read(tmp_path, config, WITH_VOLUME)
        (volume,) = policy.volumes
        assert volume.unpredictable.startswith("https://a.example/b.ign was not read")
        (obstacle,) = policy.obstacles
        assert obstacle.startswith(
            "mine.bu:4: ignition.config: no guest reaches https://a.example/b.ign; save that con"
        )


def test_a_file_whose_volumes_would_be_fetched_is_not_said_to_have_none(tmp_path: Path) -> None:
    first = advice(read(tmp_path, "{merge: [{source: 'https://a.example/b.ign'}]}"))[0].text
    assert first.endswith("no boot_device.luks (what https://a.example/b.ign adds was not read)")


def test_replace_leaves_nothing_of_the_file_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "child.ign").write_text(json.dumps({"ignition": {"version": "3.0.0"}}))
    policy = read(tmp_path, "{replace: {local: child.ign}}")
    assert policy.config == {"ignition": {"version": "3.0.0"}}
    assert "storage: Ignition takes what ignition.config.replace names, and not these" in policy.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"ignition": {"version": "3.0.0"},\n"storage": {"luks": []}}',
            "child.ign:2: storage.luks: came with a later",
        ),
        (
            '{"ignition": {"version": "3.2.0"},\n"storge": {}}',
            "child.ign:2: storge: unknown key; did you mean storage?",
        ),
        ("variant: fcos\nversion: 1.5.0\n", "child.ign:1: is Butane fcos 1.5.0; Ignition reads its own form alone"),
        ("variant: [", "child.ign:1: not YAML"),
    ],
)
def test_a_mistake_in_a_named_file_is_told_with_its_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "child.ign").write_text(text)
    assert f"mine.bu:4: ignition.config.merge[0]: {message}" in told(tmp_path, "{merge: [{local: child.ign}]}")


def test_a_mistake_in_what_the_file_itself_holds_is_told_with_its_line_there(tmp_path: Path) -> None:
    inline = '"{\\"ignition\\": {\\"version\\": \\"3.2.0\\"},\\n\\"storge\\": {}}"'
    message = "mine.bu:4: ignition.config.merge[0]: line 2 of it: storge: unknown key"
    assert message in told(tmp_path, f"{{merge: [{{inline: {inline}}}]}}")


def test_what_only_the_merged_config_shows_is_told(tmp_path: Path) -> None:
    child: dict[str, Any] = json.loads(json.dumps(CHILD))
    child["storage"]["luks"][0]["name"] = "other"
    (tmp_path / "child.ign").write_text(json.dumps(child))
    missing = "ignition.config.storage.filesystems[/dev/mapper/var].device: storage.luks has no volume of this name"
    assert f"mine.bu:4: {missing}" in told(tmp_path, "{merge: [{local: child.ign}]}")
    message = "once merged: storage.luks[1].device: the device '/dev/disk/by-partlabel/var' is there twice\n"
    assert message in told(tmp_path, "{merge: [{local: child.ign}]}", WITH_VOLUME)


def test_configs_in_configs_and_what_gzip_makes_of_little_are_bounded(tmp_path: Path) -> None:
    text = json.dumps({"ignition": {"version": "3.2.0"}})
    for _ in range(10):
        source = data_url(text)
        text = json.dumps(
            {"ignition": {"version": "3.2.0", "config": {"merge": [{"source": source, "compression": "gzip"}]}}}
        )
    (tmp_path / "child.ign").write_text(text)
    assert "configs that name configs, more than 3 deep" in told(tmp_path, "{merge: [{local: child.ign}]}")
    large = data_url(text + " " * 5 * 2**20)
    assert "what the file holds has more than 4 MiB" in told(
        tmp_path, f"{{merge: [{{compression: gzip, source: '{large}'}}]}}"
    )
    bomb = data_url(" " * 65 * 2**20)
    assert "has more than 64 MiB unpacked" in told(tmp_path, f"{{merge: [{{compression: gzip, source: '{bomb}'}}]}}")
    files = json.dumps({**CHILD, "storage": {"files": [{"path": f"/{n}"} for n in range(7_000)]}})
    (tmp_path / "files.ign").write_text(files)
    assert "ignition.config.merge[1]: files.ign:1: with it, what the file holds has more than 25,000 keys" in told(
        tmp_path, "{merge: [{local: files.ign}, {local: files.ign}]}"
    )
    many = ", ".join(["{source: 'data:,{}'}"] * 101)
    assert "ignition.config.merge: more than 100 configs" in told(tmp_path, f"{{merge: [{many}]}}")


def test_a_key_without_a_value_is_no_key_in_an_ignition_config(tmp_path: Path) -> None:
    path = tmp_path / "mine.ign"
    path.write_text(
        '{"ignition": {"version": "3.3.0"}, "storage": null, "passwd": {"users": [{"name": "a", "groups": null}]}}'
    )
    assert read_policy(path).config == {"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "a"}]}}


# --- rule by rule


def config(*merged: dict[str, Any], version: str = "3.2.0", **said: Any) -> dict[str, Any]:
    """An Ignition config that names others."""
    named = {"config": {"merge": list(merged)}} if merged else {}
    return {"ignition": {"version": version, **named}, **said}


def held(value: Any, **said: str) -> dict[str, str]:
    """A resource with a text in it, or with a config."""
    text = value if isinstance(value, str) else json.dumps(value)
    return {"source": data_url(text), "compression": "gzip", **said}


def user(name: str, **said: Any) -> dict[str, Any]:
    return {"users": [{"name": name, **said}]}


def made(given: dict[str, Any]) -> tuple[dict[str, Any], Document]:
    """What is made of a config, and the document that got the mistakes and the notes."""
    found = Document(Path("mine.bu"), "", NEWEST, {"ignition": given["ignition"]})
    return rendered(found, given), found


def merged(*resources: dict[str, Any], **said: Any) -> dict[str, Any]:
    """What is made of a config that is right."""
    one, found = made(config(*resources, **said))
    assert mistakes(found) == []
    return one


def wrong(*resources: dict[str, Any], **said: Any) -> list[str]:
    return mistakes(made(config(*resources, **said))[1])


@pytest.mark.parametrize("ignition", [{}, {"config": {}}, {"config": {"merge": []}}])
def test_a_file_that_names_no_config_stays_as_it_is(ignition: dict[str, Any]) -> None:
    one, found = made({"ignition": {"version": "3.4.0", **ignition}, "passwd": user("a")})
    assert one["passwd"] == user("a")
    assert (one["ignition"]["version"], found.notes, mistakes(found)) == ("3.4.0", [], [])


def test_what_is_named_later_goes_over_what_is_named_before() -> None:
    children = [held(config(passwd=user("a", shell=shell))) for shell in ("/one", "/two")]
    assert merged(*children, passwd=user("a", shell="/own", gecos="b")) == {
        "ignition": {"version": "3.2.0"},
        "passwd": user("a", shell="/two", gecos="b"),
    }


def test_what_is_in_the_file_may_be_packed_or_not() -> None:
    assert merged({"source": "data:," + json.dumps(config(passwd=user("a")))})["passwd"] == user("a")
    text = json.dumps(config(passwd=user("a", gecos="é"))).replace("\\u00e9", "\xff")
    plain = base64.b64encode(text.encode("latin-1")).decode()
    assert merged({"source": f"data:;base64,{plain}", "compression": ""})["passwd"] == user("a", gecos="\ufffd")


@pytest.mark.parametrize(("parent", "child", "newest"), [("3.2.0", "3.4.0", "3.4.0"), ("3.4.0", "3.2.0", "3.4.0")])
def test_the_newest_spec_counts(parent: str, child: str, newest: str) -> None:
    assert merged(held(config(version=child)), version=parent)["ignition"] == {"version": newest}


def test_what_would_be_fetched_stays_named() -> None:
    fetched = [{"source": "https://a/b"}, {"source": "http://c"}]
    one = merged(fetched[0], held(config(passwd=user("a"))), fetched[1])
    assert one == {**config(*fetched), "passwd": user("a")}
    replaced = {"ignition": {"version": "3.2.0", "config": {"replace": fetched[0]}}, "passwd": user("a")}
    assert made(replaced)[0] == replaced


def replaced(resource: dict[str, Any], **said: Any) -> tuple[dict[str, Any], Document]:
    return made({"ignition": {"version": "3.2.0", "config": {"replace": resource}}, **said})


def test_a_config_that_replaces_the_file_leaves_nothing_of_it() -> None:
    child = config(version="3.0.0", passwd=user("a"))
    one, found = replaced(held(child, local="child.ign"), passwd=user("b"), storage={})
    assert one == child
    assert found.notes == [
        "passwd, storage: Ignition takes what ignition.config.replace names, and not these",
        "that Ignition reads child.ign in the guest: it is merged before the boot",
    ]
    one, found = replaced(held(child))
    assert (one, found.notes) == (
        child,
        ["that Ignition reads ignition.config.replace in the guest: it is merged before the boot"],
    )


def test_of_a_config_with_mistakes_nothing_is_taken() -> None:
    bad = '{"ignition": {"version": "3.2.0"}, "passwd": {"users": [{}]}}'
    told_of_it = "line 1 of it: passwd.users[0]: name is missing"
    one, found = replaced(held(bad), passwd=user("b"))
    assert one["passwd"] == user("b")
    assert mistakes(found) == [f"ignition.config.replace: {told_of_it}"]
    one, found = made(config(held(bad), held(config(passwd=user("a")))))
    assert one["passwd"] == user("a")
    assert mistakes(found) == [f"ignition.config.merge[0]: {told_of_it}"]


def test_a_named_config_is_checked_by_itself_and_once_merged() -> None:
    twice = {"users": [{"name": "a"}, {"name": "a"}]}
    assert wrong(held(config(passwd=twice), local="c.ign")) == [
        "ignition.config.merge[0]: c.ign:1: passwd.users[1].name: the name 'a' is there twice, first on line 1"
    ]
    volumes = [{"luks": [{"name": name, "device": "/dev/vdb"}]} for name in "ab"]
    assert wrong(held(config(storage=volumes[0])), storage=volumes[1]) == [
        "ignition.config: once merged: storage.luks[1].device: the device '/dev/vdb' is there twice"
    ]


def test_each_mistake_that_merging_makes_is_told() -> None:
    one, two = (
        {"luks": [{"name": f"{name}{letter}", "device": f"/dev/vd{letter}"} for letter in "bc"]} for name in "xy"
    )
    assert len(wrong(held(config(storage=one)), storage=two)) == 2


def test_a_named_config_is_in_ignitions_form() -> None:
    (found,) = wrong(held("variant: fcos\nversion: 1.5.0\n", local="c.bu"))
    assert found == (
        "ignition.config.merge[0]: c.bu:1: is Butane fcos 1.5.0; "
        "Ignition reads its own form alone: give what butane makes of it"
    )


def test_the_notes_of_a_named_config_are_the_files() -> None:
    text = '{"ignition": {"version": "3.2.0"}, "storage": {"files": [{"path": "/a", "mode": null}]}}'
    _, found = made(config(held(text)))
    assert found.notes == [
        "that Ignition reads ignition.config.merge[0] in the guest: it is merged before the boot",
        "storage.files[0].mode has no value, which is the same as no such key",
    ]


def nested(depth: int) -> dict[str, Any]:
    """A config that names one that names one …, so deep, the innermost with a user."""
    found = config(passwd=user("a"))
    for _ in range(depth):
        found = config(held(found))
    return found


def test_configs_name_configs_so_deep() -> None:
    one, found = made(nested(3))
    assert (one, mistakes(found)) == (config(passwd=user("a")), [])
    (mistake,) = mistakes(made(nested(4))[1])
    assert mistake.endswith("ignition.config: configs that name configs, more than 3 deep")


def test_so_many_configs_are_named() -> None:
    child = held(config())
    assert wrong(*[child] * 100) == []
    assert wrong(*[child] * 101) == ["ignition.config.merge: more than 100 configs"]


def test_so_many_bytes_are_held() -> None:
    text = json.dumps(config())
    half = held(text + " " * (2 * 2**20 - len(text)))
    assert wrong(half, half) == []
    over = held(text + " " * (2 * 2**20 + 1 - len(text)))
    assert wrong(half, over, held("{")) == [
        "ignition.config.merge[1]: with it, what the file holds has more than 4 MiB"
    ]


def test_so_many_keys_are_held() -> None:
    def arguments(name: str, count: int) -> dict[str, str]:
        """A config of so many keys, the items of lists counted: three are around them."""
        words = [f"{name}{number}" for number in range(count - 3)]
        return held(config(version="3.3.0", kernelArguments={"shouldExist": words}))

    fits = (arguments("a", 20_000), arguments("b", 5_000))
    assert wrong(*fits) == []
    assert wrong(*fits, held(config())) == [
        "ignition.config.merge[2]: line 1 of it: with it, what the file holds has more than 25,000 keys"
    ]
    assert wrong(arguments("a", 20_000), arguments("b", 5_001), held("{")) == [
        "ignition.config.merge[1]: line 1 of it: with it, what the file holds has more than 25,000 keys"
    ]
