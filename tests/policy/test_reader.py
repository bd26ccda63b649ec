"""From a text to values by the schema of its variant, step by step."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.policy.document import Document
from harness.policy.nodes import DEEPEST, MOST_BYTES, MOST_DEVICES, MOST_VALUES
from harness.policy.reader import read_document, read_values

HEAD = "variant: fcos\nversion: 1.6.0\n"
IGNITION = {"ignition": {"version": "3.3.0"}}
KNOWN = "unknown key; known here: boot_device, grub, ignition, kernel_arguments, passwd, storage, systemd"
NUMBER = "storage.files[0].mode: expected a whole number, found"


def values(text: str, head: str = HEAD) -> Document:
    """A file with that text behind its head, which is a policy file."""
    found = Document(Path("mine.bu"), head + text)
    assert read_values(found)
    return found


def told(text: str, head: str = HEAD) -> list[tuple[int, str]]:
    """The mistakes of a file, each with its line behind the head."""
    found = values(text, head)
    return [(line - head.count("\n"), message) for line, message in found.mistakes]


def in_json(**config: Any) -> Document:
    return values(json.dumps(IGNITION | config, indent=0), "")


# --- the file


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    def error(name: str) -> tuple[str, str, str]:
        with pytest.raises(UsageError) as caught:
            read_document(tmp_path / name)
        return caught.value.what.replace(f"{tmp_path}/", ""), caught.value.detail, caught.value.hint

    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"abc\xff")
    assert error("none") == ("cannot read the policy file none", "No such file or directory", "")
    assert error("folder") == ("cannot read the policy file folder", "Is a directory", "")
    assert error("binary") == ("cannot read the policy file binary", "it is no UTF-8 text: byte 3", "")
    (tmp_path / "large").write_bytes(b"#" * (MOST_BYTES + 1))
    assert error("large") == (
        "cannot read the policy file large",
        "it has more than 4 MiB",
        "put what is large into files beside it, and name them with local",
    )


def test_a_file_as_large_as_is_read(tmp_path: Path) -> None:
    (tmp_path / "full.bu").write_text(HEAD + "#" * (MOST_BYTES - len(HEAD)))
    found = read_document(tmp_path / "full.bu")
    assert (found.path, len(found.text), found.data) == (tmp_path / "full.bu", MOST_BYTES, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#cloud-config\n", "mine.bu:1: this is a cloud-config, which cloud-init reads; write what it encrypts"),
        ("a: 1\nb: ]\n", "mine.bu:2: not YAML: "),
        ("\nversion: 1.6.0\n", "mine.bu:1: variant: missing; write variant: fcos"),
        ("- a\n", "mine.bu:1: expected a Butane file, which begins"),
        ("\nvariant: coreos\n", "mine.bu:2: variant: 'coreos' is none of fcos"),
        ('{"ignition": {"version": "3.3.0"},\n}', "mine.bu:2: an Ignition config is JSON, and this is not: "),
        ('{"ignition": {"version": "3.3.0"}, "a": ' + "1" * 5000 + "}", "mine.bu:1: not JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_policy_file_at_all(tmp_path: Path, text: str, message: str) -> None:
    assert not read_values(Document(Path("mine.bu"), text))
    (tmp_path / "mine.bu").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_document(tmp_path / "mine.bu")
    assert caught.value.what.startswith(message)


def test_a_file_whose_version_is_clear_all_the_same_is_read_on(tmp_path: Path) -> None:
    text = "variant: fcos\nversion: 1.5\nsystemd: {units: [{nam: a}]}\n"
    found = values(text, "")
    assert (found.variant.title, list(found.mistakes)[:2]) == (
        "Butane fcos 1.5.0",
        [
            (2, "version: '1.5' is not one of fcos 1.0.0 to 1.7.0; write version: 1.5.0"),
            (3, "systemd.units[0].nam: unknown key; did you mean name?"),
        ],
    )
    (tmp_path / "mine.bu").write_text(text)
    assert not read_document(tmp_path / "mine.bu").sound


def test_a_mark_of_the_byte_order_is_left_out() -> None:
    assert values("", "\ufeff" + json.dumps(IGNITION)).variant.title == "Ignition 3.3.0"


# --- sections and keys


def test_values_stand_under_their_keys_with_their_lines() -> None:
    found = values(
        "storage:\n  files:\n  - path: /a\n    mode: 0644\n    overwrite: yes\n"
        "kernel_arguments:\n  should_exist: [a,\n    b]\n"
    )
    assert found.data == {
        "storage": {"files": [{"path": "/a", "mode": 0o644, "overwrite": True}]},
        "kernel_arguments": {"should_exist": ["a", "b"]},
    }
    file = ("storage", "files", 0)
    assert {path: line - 2 for path, line in found.lines.items()} == {
        ("storage",): 1,
        ("storage", "files"): 2,
        file: 3,
        (*file, "path"): 3,
        (*file, "mode"): 4,
        (*file, "overwrite"): 5,
        ("kernel_arguments",): 6,
        ("kernel_arguments", "should_exist"): 7,
        ("kernel_arguments", "should_exist", 0): 7,
        ("kernel_arguments", "should_exist", 1): 8,
    }


def test_an_ignition_config_has_the_same_values_under_butanes_keys() -> None:
    found = in_json(
        storage={"disks": [{"device": "/dev/vda", "partitions": [{"sizeMiB": 5, "wipePartitionEntry": True}]}]}
    )
    assert found.data == {
        "ignition": {},
        "storage": {"disks": [{"device": "/dev/vda", "partitions": [{"size_mib": 5, "wipe_partition_entry": True}]}]},
    }
    assert found.sound


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("storag: {}\n", [(1, "storag: unknown key; did you mean storage?")]),
        ("storage: {lucks: []}\n", [(1, "storage.lucks: unknown key; did you mean luks?")]),
        ("kernel-arguments: {}\n", [(1, "kernel-arguments: unknown key; did you mean kernel_arguments?")]),
        ("zzz: 1\n", [(1, f"zzz: {KNOWN}")]),
        (f"{'s' * 64}: 1\n", [(1, f"{'s' * 64}: {KNOWN}")]),
        (f"{'s' * 65}: 1\n", [(1, f"{'s' * 65}: unknown key")]),
        ("? [a]\n: 1\n", [(1, f"a list: {KNOWN}")]),
        ("storage: {}\nstorage: {}\nstorage: {}\n", [(2, "storage: this key is there twice, first on line 3")]),
        ("storage: {}\nstorage: {}\nsystem: {}\n",
         [(2, "storage: this key is there twice, first on line 3"), (3, "system: unknown key; did you mean systemd?")]),
        ("storage: 5\n", [(1, "storage: expected a mapping, found '5'")]),
        ("storage:\n  luks: {}\n", [(2, "storage.luks: expected a list, found a mapping")]),
        ("storage:\n  luks:\n  - []\n", [(3, "storage.luks[0]: expected a mapping, found a list")]),
        ("storage:\n  files:\n  - {path: [a]}\n", [(3, "storage.files[0].path: expected text, found a list")]),
        ("storage:\n  files:\n  - {path: /a, mode: x}\n", [(3, f"{NUMBER} 'x'")]),
        ("storage:\n  files:\n  - {path: /a, mode: 'x'}\n", [(3, f"{NUMBER} the text 'x'")]),
        ("storage:\n  files:\n  - {path: /a, mode: !x 1}\n", [(3, f"{NUMBER} the tag !x")]),
        (f"storage:\n  files:\n  - {{path: /a, mode: {'x' * 40}}}\n",
         [(3, f"{NUMBER} '{'x' * 40}'")]),
        (f"storage:\n  files:\n  - {{path: /a, mode: {'x' * 41}}}\n",
         [(3, f"{NUMBER} '{'x' * 37}...'")]),
        ('storage:\n  files:\n  - {path: "/\\0"}\n', [(3, "storage.files[0].path: holds a NUL character")]),
        # What a section needs.
        ("storage:\n  luks:\n  - {device: /a}\n", [(3, "storage.luks[0]: name is missing")]),
        ("storage:\n  luks:\n  - {}\n",
         [(3, "storage.luks[0]: device is missing"), (3, "storage.luks[0]: name is missing")]),
        ("storage:\n  luks:\n  - {device: /a, name: ''}\n", [(3, "storage.luks[0].name: is empty")]),
        ("storage:\n  raid:\n  - {name: a, level: b, devices: []}\n", [(3, "storage.raid[0].devices: is empty")]),
        # What has no value.
        ("storage:\n  luks:\n  - device: /a\n    name:\n",
         [(4, "storage.luks[0].name: has no value; give it one or take the key out")]),
        ("storage:\n  luks:\n  - {device: /a, name: b, label: ~}\n",
         [(3, "storage.luks[0].label: has no value; give it one or take the key out")]),
        ("kernel_arguments:\n  should_exist:\n  - a\n  - null\n",
         [(4, "kernel_arguments.should_exist[1]: has no value; give it one or take the item out")]),
        # What other versions have.
        ("boot_device: {luks: {device: /a}}\n", []),
    ],
)  # fmt: skip
def test_mistakes(text: str, mistakes: list[tuple[int, str]]) -> None:
    assert told(text) == mistakes


@pytest.mark.parametrize(
    ("head", "text", "message"),
    [
        ("variant: fcos\nversion: 1.5.0\n", "boot_device: {luks: {device: /a}}\n",
         "boot_device.luks.device: came with Butane fcos 1.6.0; this file is Butane fcos 1.5.0"),
        ("variant: flatcar\nversion: 1.1.0\n", "grub: {}\n",
         "grub: Butane flatcar 1.1.0 has no such key; variant: fcos has it"),
        ("variant: flatcar\nversion: 1.1.0\n", "storage: {luks: [{name: a, device: /b, clevis: {}}]}\n",
         "storage.luks[0].clevis: Butane flatcar 1.1.0 has no such key; variant: fcos has it"),
        ("variant: flatcar\nversion: 1.2.0-experimental\n", "storage: {luks: [{name: a, device: /b, cex: {}}]}\n",
         "storage.luks[0].cex: Butane flatcar 1.2.0-experimental has no such key; variant: fcos has it"),
    ],
)  # fmt: skip
def test_keys_that_this_kind_of_file_does_not_have(head: str, text: str, message: str) -> None:
    assert told(text, head) == [(1, message)]


def test_what_a_file_does_not_have_is_not_suggested_to_it() -> None:
    (found,) = told("zzz: 1\n", "variant: flatcar\nversion: 1.1.0\n")
    assert found[1] == "zzz: unknown key; known here: ignition, kernel_arguments, passwd, storage, systemd"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"storage": {"luks": [{"name": "a", "device": "/b", "cex": {}}]}},
         "storage.luks[0].cex: came with a later spec than Ignition 3.3.0"),
        ({"storage": {"luks": [{"name": "a", "device": "/b", "wipe_volume": True}]}},
         "storage.luks[0]: wipe_volume: unknown key; did you mean wipeVolume?"),
        ({"storage": {"luks": [{"name": "a", "device": "/b", "wipevolume": True}]}},
         "storage.luks[0]: wipevolume: unknown key; did you mean wipeVolume?"),
        ({"storage": {"trees": []}}, "storage.trees: Ignition 3.3.0 has no such key"),
        ({"storage": {"disks": [{}]}}, "storage.disks[0]: device is missing"),
        ({"storage": {"files": [{"path": 5}]}}, "storage.files[0].path: expected text, found '5'"),
        ({"kernel": 5}, "kernel: unknown key; known here: ignition, kernelArguments, passwd, storage, systemd"),
        ({"storage": {"files": [{"path": "/a", "contents": {"httpHeaders": [{"value": "b"}]}}]}},
         "storage.files[0].contents.httpHeaders[0]: name is missing"),
        ({"<<": {"storage": {}}}, "<<: unknown key; known here: ignition, kernelArguments, passwd, storage, systemd"),
    ],
)  # fmt: skip
def test_mistakes_in_an_ignition_config(config: dict[str, Any], message: str) -> None:
    assert [each for _, each in in_json(**config).mistakes] == [message]


def test_each_unknown_key_of_an_ignition_config_is_told() -> None:
    found = in_json(storage={"a": 1, "b": 2})
    assert [(line, message[:20]) for line, message in found.mistakes] == [
        (6, "storage: a: unknown "),
        (7, "storage: b: unknown "),
    ]


def test_the_head_is_no_key() -> None:
    assert told("storage: {files: [{path: /a, variant: b}]}\n") == [
        (1, "storage.files[0].variant: unknown key; known here: append, contents, group, mode, overwrite, path, user")
    ]


def test_a_key_without_a_value_is_noted_where_it_does_not_matter() -> None:
    found = values("storage:\n  files:\n  - {path: /a, mode: ~}\nsystemd: Null\n")
    assert found.notes == [
        "storage.files[0].mode has no value, which is the same as no such key",
        "systemd has no value, which is the same as no such key",
    ]
    assert (found.data, found.sound) == ({"storage": {"files": [{"path": "/a"}]}}, True)
    assert in_json(kernelArguments=None).notes == ["kernelArguments has no value, which is the same as no such key"]


@pytest.mark.parametrize("text", ["''", '"null"', "nil"])
def test_a_text_is_no_missing_value(text: str) -> None:
    assert values(f"kernel_arguments: {{should_exist: [{text}]}}\n").sound


# --- what is wrong gets a stand-in


def test_what_is_wrong_or_missing_has_a_value_all_the_same() -> None:
    found = values(
        "storage:\n  raid: [{level: [x], devices: 5}]\n  files: [x, null, {path: {}, mode: x, user: y}]\n"
        "kernel_arguments: {should_exist: [[a], b, ~]}\npasswd: x\n"
    )
    assert found.data == {
        "storage": {
            "raid": [{"level": "", "devices": [], "name": ""}],
            "files": [{"path": ""}, {"path": ""}, {"path": "", "user": {}}],
        },
        "kernel_arguments": {"should_exist": ["", "b", ""]},
        "passwd": {},
    }
    assert found.broken(("storage", "raid", 0, "name"))


def test_an_unknown_key_has_no_suggestions_where_many_are_wrong() -> None:
    found = told("storage:\n" + "".join(f"  file{number}: 1\n" for number in range(30)))
    assert found[0][1] == "storage.file0: unknown key; did you mean files?"
    assert found[20][1] == "storage.file20: unknown key; did you mean files?"
    assert found[21][1] == "storage.file21: unknown key"


# --- merge keys and aliases


def test_what_a_mapping_says_itself_goes_before_what_it_merges() -> None:
    found = values(
        "storage:\n  files:\n  - &a {path: /a, mode: 0600}\n  - &b {path: /b, mode: 0700, overwrite: true}\n"
        "  - {<<: [*a, *b], path: /c}\n  - {<<: *a}\n  - {path: /d, !!merge x: *b}\n"
    )
    assert found.data["storage"]["files"][2:] == [
        {"path": "/c", "mode": 0o600, "overwrite": True},
        {"path": "/a", "mode": 0o600},
        {"path": "/d", "mode": 0o700, "overwrite": True},
    ]
    assert found.sound


def test_a_merge_key_in_quotes_is_a_key() -> None:
    assert told("storage: {files: [&a {path: /a}, {'<<': *a, path: /b}]}\n")[0][1].startswith(
        "storage.files[1].<<: unknown key"
    )


@pytest.mark.parametrize("merged", ["5", "[5]", "[*a, 5]"])
def test_what_is_merged_is_a_mapping(merged: str) -> None:
    found = told(f"storage: {{files: [&a {{path: /a}}, {{<<: {merged}, path: /b}}]}}\n")
    assert [message.partition(";")[0] for _, message in found] == ["storage.files[1].<<: unknown key"]


def chain(length: int) -> str:
    mappings = ["&a0 {path: /a}"] + [f"&a{number} {{<<: *a{number - 1}}}" for number in range(1, length)]
    return f"storage: {{files: [{', '.join(mappings)}]}}\n"


def test_merge_keys_are_followed_so_far() -> None:
    assert told(chain(DEEPEST + 1)) == []
    found = Document(Path("mine.bu"), HEAD + chain(DEEPEST + 2))
    assert not read_values(found)
    assert list(found.mistakes) == [(3, f"merge keys chained deeper than {DEEPEST} levels")]


def test_values_are_counted_with_their_aliases() -> None:
    def text(last: int) -> str:
        """480 users of 104 keys and values each, and one of five and its groups; six more are around them."""
        users = [f"&a {{name: a, groups: [{', '.join(['b'] * 99)}]}}", *["*a"] * 479]
        users.append(f"{{name: b, groups: [{', '.join(['b'] * last)}]}}")
        return HEAD + f"passwd:\n  users: [{', '.join(users)}]\n"

    last = MOST_VALUES - 480 * 104 - 5 - 6
    assert read_values(Document(Path("mine.bu"), text(last)))
    found = Document(Path("mine.bu"), text(last + 1))
    assert not read_values(found)
    assert list(found.mistakes) == [(4, "more than 50,000 values, with its aliases and merge keys followed")]


@pytest.mark.parametrize("kind", ["disks", "raid", "luks", "filesystems"])
def test_so_many_devices_are_read(kind: str) -> None:
    item = "{name: a, device: /a, level: b, devices: [c]}"
    found = Document(Path("mine.bu"), HEAD + f"storage: {{{kind}: [{', '.join([item] * (MOST_DEVICES + 1))}]}}\n")
    assert not read_values(found)
    assert list(found.mistakes) == [(3, f"storage.{kind} has 257 items, and 256 are read")]
    assert values(f"storage: {{{kind}: [{', '.join([item] * MOST_DEVICES)}]}}\n")
    assert values(f"kernel_arguments: {{should_exist: [{', '.join(['a'] * (MOST_DEVICES + 1))}]}}\n").sound
