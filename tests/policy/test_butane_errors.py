"""Butane files that are wrong: each mistake is told with file, line and key.

The wrong lines carry the mark ``# <--``.
"""

import os
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.policy.butane import read_policy, understand

MARK = "# <--"


def lines_of(text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), start=1) if MARK in line]


def fails(folder: Path, text: str, *messages: str) -> UsageError:
    """The error of a file; `messages` are told, in order, for the marked lines."""
    path = folder / "bad.bu"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        understand(path)
    told = str(caught.value)
    marked = lines_of(text)
    assert len(marked) == len(messages), told
    for line, message in zip(marked, messages, strict=True):
        assert f"bad.bu:{line}: {message}" in told
    assert told.count("bad.bu:") == len(messages), told
    return caught.value


def fcos(body: str, version: str = "1.6.0") -> str:
    return f"variant: fcos\nversion: {version}\n{body.strip()}\n"


def luks(*lines: str, version: str = "1.6.0") -> str:
    body = "\n".join(f"      {line}" for line in lines)
    return fcos(f"storage:\n  luks:\n    - name: var\n      device: /dev/vda\n{body}", version)


def custom(pin: str, config: str) -> str:
    return luks("clevis:", "  custom:", f"    pin: {pin}", f"    config: '{config}' {MARK}")


def partitions(*lines: str) -> str:
    body = "\n".join(f"        - {line}" for line in lines)
    return fcos(f"storage:\n  disks:\n    - device: /dev/vda\n      partitions:\n{body}")


def section(kind: str, *lines: str, version: str = "1.6.0") -> str:
    outer, _, inner = kind.partition(".")
    body = "\n".join(f"    - {line}" for line in lines)
    return fcos(f"{outer}:\n  {inner}:\n{body}", version)


# --- the file as a whole


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the policy file .*none\.bu"):
        read_policy(tmp_path / "none.bu")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "bad.bu").write_bytes(b"variant: \xff")
    with pytest.raises(UsageError, match=r"cannot read the policy file"):
        read_policy(tmp_path / "bad.bu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variant: fcos\nversion: [1.6.0 # <--", "not YAML: did not find expected ',' or ']'"),
        (
            "variant: fcos\nversion: 1.6.0\nstorage:\n\tluks: # <--",
            "not YAML: found character that cannot start any token",
        ),
        ("variant: fcos\nversion: 1.6.0\n--- # <--\nvariant: fcos", "not YAML: a second document begins here"),
        ("variant: fcos\nversion: *unknown # <--", "not YAML: found undefined alias 'unknown'"),
        ("variant: fcos\nversion: 1.6.0 \x00 # <--", "not YAML: control characters are not allowed (character 0)"),
        ("# <--", "expected a Butane file, which begins with variant and version"),
        ("- variant # <--", "expected a Butane file, which begins with variant and version"),
        ("version: 1.6.0 # <--", "variant: missing; write variant: fcos"),
        ("variant: fcos # <--", "version: missing; write version: 1.7.0"),
        ("version: 1.6.0 # <--\nvariant: flatcar", "version: '1.6.0' is not one of flatcar 1.0.0, 1.1.0 and 1.2.0-exp"),
        ("variant: fcos\nversion: 1.6 # <--", "version: '1.6' is not one of fcos 1.0.0 to 1.7.0; write version: 1.6.0"),
        ("variant: fcos\nversion: 1.8.0 # <--", "version: '1.8.0' is not one of fcos 1.0.0 to 1.7.0"),
        ("variant: fcos\nversion: 2.0.0 # <--", "version: '2.0.0' is not one of fcos 1.0.0 to 1.7.0"),
    ],
)
def test_the_head_of_the_file(tmp_path: Path, text: str, message: str) -> None:
    fails(tmp_path, text, message)


def test_several_mistakes_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    error = fails(
        tmp_path,
        luks("wipe_volume: maybe # <--", "labl: x # <--"),
        "storage.luks[0].wipe_volume: expected true or false, found 'maybe'",
        "storage.luks[0].labl: unknown key; did you mean label?",
    )
    assert error.what == "bad.bu has 2 mistakes"
    assert "    labl: x # <--" in error.detail


def test_one_mistake_shows_its_line(tmp_path: Path) -> None:
    error = fails(tmp_path, luks("labl: x # <--"), "storage.luks[0].labl: unknown key; did you mean label?")
    assert error.what.startswith("bad.bu:7: storage.luks[0].labl")
    assert error.detail == "    labl: x # <--"


# --- keys and types


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (fcos("storag: {} # <--"), "storag: unknown key; did you mean storage?"),
        (luks("wipeVolume: true # <--"), "storage.luks[0].wipeVolume: unknown key; did you mean wipe_volume?"),
        (luks("zzz: true # <--"), "storage.luks[0].zzz: unknown key; known here: cex, clevis, device"),
        (fcos("? [a, b]\n: c").replace("? [a, b]", "? [a, b] # <--"), "a list: unknown key; known here"),
        (
            luks("wipe_volume: true", "wipe_volume: true # <--"),
            "storage.luks[0].wipe_volume: this key is there twice, ",
        ),
        (luks("bogus: true # <--", "wipe_volume: 'yes'").replace("'yes'", "yes"), "storage.luks[0].bogus: unknown key"),
        (luks("clevis: # <--"), "storage.luks[0].clevis: has no value; give it one or take the key out"),
        (luks("options: [--a, ~] # <--"), "storage.luks[0].options[1]: has no value; give it one or take the item out"),
        (fcos("storage: [] # <--"), "storage: expected a mapping, found a list"),
        (fcos("storage: {luks: {}} # <--"), "storage.luks: expected a list, found a mapping"),
        (luks("options: --a # <--"), "storage.luks[0].options: expected a list, found '--a'"),
        (luks("label: [a] # <--"), "storage.luks[0].label: expected text, found a list"),
        (luks("label: !secret a # <--"), "storage.luks[0].label: expected text, found the tag !secret"),
        (
            luks("wipe_volume: 'true' # <--"),
            "storage.luks[0].wipe_volume: expected true or false, found the text 'true'",
        ),
        (luks("wipe_volume: 1 # <--"), "storage.luks[0].wipe_volume: expected true or false, found '1'"),
        (
            luks("clevis: {tpm2: true, threshold: '1'} # <--"),
            "storage.luks[0].clevis.threshold: expected a whole number, found the text '1'",
        ),
        (
            luks("clevis: {tpm2: true, threshold: 1.0} # <--"),
            "storage.luks[0].clevis.threshold: expected a whole number, found '1.0'",
        ),
        (
            luks("clevis: {tpm2: " + "t" * 60 + "} # <--"),
            "storage.luks[0].clevis.tpm2: expected true or false, found 'ttt",
        ),
        (section("storage.luks", "device: /dev/vda # <--"), "storage.luks[0]: name is missing"),
        (section("storage.luks", "{name: '', device: /dev/vda} # <--"), "storage.luks[0].name: is empty"),
        (
            fcos("storage: {luks: [{<<: 5, name: a, device: /dev/vda}]} # <--"),
            "storage.luks[0].<<: unknown key; known here",
        ),
        (
            fcos("storage: {luks: [&a {<<: *a, name: a, device: /dev/vda}]} # <--"),
            "storage.luks[0].<<: unknown key; known here",
        ),
        (fcos("storage: &a {luks: *a} # <--"), "storage.luks: expected a list, found a mapping"),
    ],
)
def test_keys_and_types(tmp_path: Path, text: str, message: str) -> None:
    fails(tmp_path, text, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            luks("wipe_volume: true", version="1.1.0").replace("  luks:", "  luks: # <--"),
            "storage.luks: came with Butane fcos 1.2.0; this file is Butane fcos 1.1.0",
        ),
        (
            fcos("kernel_arguments: {should_exist: [a]} # <--", "1.3.0"),
            "kernel_arguments: came with Butane fcos 1.4.0; this file is Butane fcos 1.3.0",
        ),
        (
            section("storage.files", "{path: /a, contents: {local: a}} # <--", version="1.0.0"),
            "storage.files[0].contents.local: came with Butane fcos 1.1.0; this file is Butane fcos 1.0.0",
        ),
        (
            section("systemd.units", "{name: a.timer, contents_local: a} # <--", version="1.4.0"),
            "systemd.units[0].contents_local: came with Butane fcos 1.5.0; this file is Butane fcos 1.4.0",
        ),
        (
            luks("discard: true # <--", version="1.4.0"),
            "storage.luks[0].discard: came with Butane fcos 1.5.0; this file is Butane fcos 1.4.0",
        ),
        (luks("open_options: [] # <--", version="1.2.0"), "storage.luks[0].open_options: came with Butane fcos 1.5.0"),
        (
            luks("clevis: {tang: [{url: '@TANG_URL@', advertisement: '{}'}]} # <--", version="1.4.0"),
            "storage.luks[0].clevis.tang[0].advertisement: came with Butane fcos 1.5.0",
        ),
        (luks("cex: {enabled: true} # <--", version="1.5.0"), "storage.luks[0].cex: came with Butane fcos 1.6.0"),
        (
            fcos("ignition: {config: {merge: [{source: ''}]}} # <--"),
            "ignition.config.merge[0]: needs inline, local or source",
        ),
        (
            fcos("grub: {} # <--", "1.0.0").replace("fcos", "flatcar"),
            "grub: Butane flatcar 1.0.0 has no such key",
        ),
        (
            luks("clevis: {tpm2: true} # <--", version="1.1.0").replace("fcos", "flatcar"),
            "storage.luks[0].clevis: Butane flatcar 1.1.0 has no such key",
        ),
        (
            fcos("storage: # <--\n  luks: []", "1.0.0")
            .replace("fcos", "fiot")
            .replace(" # <--", "")
            .replace("[]", "[] # <--"),
            "storage.luks: Butane fiot 1.0.0 has no such key; variant: fcos has it",
        ),
        (
            section("storage.filesystems", "{device: /dev/vda, format: none} # <--", version="1.3.0"),
            "storage.filesystems[0].format: none came with Ignition spec 3.3.0; this file is Butane fcos 1.3.0",
        ),
        (
            section("storage.filesystems", "{device: /a, format: swap, with_mount_unit: true} # <--", version="1.3.0"),
            "storage.filesystems[0].with_mount_unit: for swap it came with Butane fcos 1.4.0; this file is",
        ),
    ],
)
def test_what_the_version_or_the_guest_does_not_have(tmp_path: Path, text: str, message: str) -> None:
    fails(tmp_path, text, message)


# --- disks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            section("storage.disks", "device: /dev/vda", "device: /dev/vda # <--"),
            "storage.disks[1].device: the disk '/dev/vda' is there twice, first on line 5",
        ),
        (
            partitions("{number: 4, label: a}", "{number: 4, label: b} # <--"),
            "storage.disks[0].partitions[1].number: the number 4 is there twice, first on line 7",
        ),
        (
            partitions("{number: 4, label: a}", "{number: 5, label: a} # <--"),
            "storage.disks[0].partitions[1].label: the label 'a' is there twice, first on line 7",
        ),
        (
            partitions("{number: 1, start_mib: 1, size_mib: 9}", "{number: 2, start_mib: 9, size_mib: 0} # <--"),
            "storage.disks[0].partitions[1]: overlaps an earlier partition",
        ),
        (
            partitions("{number: 1, start_mib: 9, size_mib: 1}", "{number: 2, start_mib: 1, size_mib: 9} # <--"),
            "storage.disks[0].partitions[1]: overlaps an earlier partition",
        ),
        (
            partitions("{number: 1, should_exist: false} # <--", "label: a"),
            "storage.disks[0].partitions[0]: should_exist: false needs a number on every partition",
        ),
        (partitions("size_mib: 5 # <--"), "storage.disks[0].partitions[0]: a partition needs a number or a label"),
        (partitions("number: 129 # <--"), "storage.disks[0].partitions[0].number: a partition number is 1 to 128"),
        (partitions("{number: 1, size_mib: -1} # <--"), "storage.disks[0].partitions[0].size_mib: cannot be negative"),
        (
            partitions("{number: 1, should_exist: false, size_mib: 0} # <--"),
            "storage.disks[0].partitions[0].size_mib: cannot stand beside should_exist: false",
        ),
        (partitions("label: a:b # <--"), "storage.disks[0].partitions[0].label: a partition label has at most 36"),
        (partitions(f"label: {'x' * 37} # <--"), "storage.disks[0].partitions[0].label: a partition label has at most"),
        (partitions("{number: 1, guid: 12} # <--"), "storage.disks[0].partitions[0].guid: '12' is not of the form"),
    ],
)
def test_disks(tmp_path: Path, text: str, message: str) -> None:
    fails(tmp_path, text, message)


def test_partitions_that_touch_do_not_overlap(tmp_path: Path) -> None:
    path = tmp_path / "good.bu"
    path.write_text(partitions("{number: 1, start_mib: 1, size_mib: 8}", "{number: 2, start_mib: 9, size_mib: 1}"))
    assert understand(path).config["storage"]["disks"]


def test_what_is_just_within_the_limits(tmp_path: Path) -> None:
    text = f"""
variant: fcos
version: 1.4.0
storage:
  disks:
    - device: /dev/vdb
      partitions: [{{number: 128, label: {"p" * 36}}}, {{number: 1}}, {{number: 2}}, {{number: 3}}]
  luks: [{{name: a, device: /dev/vdb1, label: {"l" * 47}}}]
  filesystems:
    - {{device: /dev/mapper/a, format: xfs, label: {"x" * 12}, path: /srv, with_mount_unit: true}}
    - {{device: /dev/vdb2, format: none}}
    - {{device: /dev/vdb3, format: swap, with_mount_unit: true}}
"""
    path = tmp_path / "good.bu"
    path.write_text(text)
    assert read_policy(path).volumes[0].mount_point == "/srv"


# --- LUKS and clevis


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            section("storage.luks", "{name: a, device: /dev/vda}", "{name: a, device: /dev/vdb} # <--"),
            "storage.luks[1].name: the name 'a' is there twice, first on line 5",
        ),
        (
            section("storage.luks", "{name: a, device: /dev/vda}", "{name: b, device: /dev/vda} # <--"),
            "storage.luks[1].device: the device '/dev/vda' is there twice, first on line 5",
        ),
        (
            section("storage.luks", "{name: a/b, device: /dev/vda} # <--"),
            "storage.luks[0].name: a name under /dev/mapper",
        ),
        (
            section("storage.luks", "{name: a, device: vda} # <--"),
            "storage.luks[0].device: expected an absolute path, ",
        ),
        (
            section("storage.luks", "{name: a, device: /dev//vda} # <--"),
            "storage.luks[0].device: write the path as /dev/vda",
        ),
        (luks(f"label: {'x' * 48} # <--"), "storage.luks[0].label: a LUKS label has at most 47 characters"),
        (luks("uuid: 12 # <--"), "storage.luks[0].uuid: '12' is not of the form"),
        (
            luks("key_file: {inline: a, source: 'data:,a'} # <--"),
            "storage.luks[0].key_file.source: only one of inline, local and source, not inline and source",
        ),
        (luks("clevis: {} # <--"), "storage.luks[0].clevis: no pin: it needs tpm2: true, tang, or custom"),
        (luks("clevis: {tpm2: false, threshold: 1} # <--"), "storage.luks[0].clevis: no pin: it needs tpm2: true"),
        (luks("clevis: {tang: []} # <--"), "storage.luks[0].clevis: no pin: it needs tpm2: true, tang, or custom"),
        (
            luks("clevis: {tpm2: true, threshold: 2} # <--"),
            "storage.luks[0].clevis.threshold: a threshold of 2 can never be reached, 1 pin is listed",
        ),
        (
            luks("clevis: {tpm2: true, tang: [{url: '@TANG_URL@'}], threshold: 3} # <--"),
            "storage.luks[0].clevis.threshold: a threshold of 3 can never be reached, 2 pins are listed",
        ),
        (
            luks("clevis: {tpm2: true, threshold: 0} # <--"),
            "storage.luks[0].clevis.threshold: a threshold is at least 1, not 0",
        ),
        (
            luks("clevis: {tpm2: true, custom: {pin: tpm2, config: '{}'}} # <--"),
            "storage.luks[0].clevis.tpm2: cannot stand beside custom",
        ),
        (
            luks("clevis: {tang: [{url: '@TANG_URL@'}], custom: {pin: tpm2, config: '{}'}} # <--"),
            "storage.luks[0].clevis.tang: cannot stand beside custom",
        ),
        (
            luks("clevis: {threshold: 2, custom: {pin: tpm2, config: '{}'}} # <--"),
            "storage.luks[0].clevis.threshold: cannot stand beside custom",
        ),
        (luks("clevis: {custom: {pin: tpm2}} # <--"), "storage.luks[0].clevis.custom: config is missing"),
        (
            luks("clevis: {tang: [{thumbprint: dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI}]} # <--"),
            "storage.luks[0].clevis.tang[0]: url is missing",
        ),
        (
            luks(
                "clevis: {tang: [{url: tang.example, thumbprint: dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI}]} # <--"
            ),
            "storage.luks[0].clevis.tang[0].url: expected an http or https url or a placeholder, found 'tang.example'",
        ),
        (
            luks("clevis: {tang: [{url: 'http://[', thumbprint: dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI}]} # <--"),
            "storage.luks[0].clevis.tang[0].url: expected an http or https url or a placeholder, found 'http://['",
        ),
        (
            luks("clevis: {tang: [{url: 'http://10.0.2.2:99999', thumbprint: '@TANG_THUMBPRINT@'}]} # <--"),
            "storage.luks[0].clevis.tang[0].url: expected an http or https url or a placeholder, found 'http://10.",
        ),
        (
            luks("clevis: {tang: [{url: 'http://tang.example'}]} # <--"),
            "storage.luks[0].clevis.tang[0].thumbprint: thumbprint is missing: clevis would ask whether to trust",
        ),
        (
            luks("clevis: {tang: [{url: 'http://@TANG_URL@', thumbprint: '@TANG_THUMBPRINT@'}]} # <--"),
            "storage.luks[0].clevis.tang[0].url: a placeholder is the whole url",
        ),
        (
            luks("clevis: {tang: [{url: '@TANG_URL@', thumbprint: 'x@TANG_THUMBPRINT@'}]} # <--"),
            "storage.luks[0].clevis.tang[0].thumbprint: a placeholder is the whole thumbprint",
        ),
        (
            luks("clevis: {tang: [{url: '@TANG_URL:two@', thumbprint: '@TANG_THUMBPRINT@'}]} # <--"),
            "storage.luks[0].clevis.tang[0].thumbprint: must be @TANG_THUMBPRINT:two@ beside @TANG_URL:two@",
        ),
        (
            luks("clevis: {tang: [{url: '@TANG_URL@', thumbprint: literal}]} # <--"),
            "storage.luks[0].clevis.tang[0].thumbprint: must be @TANG_THUMBPRINT@ beside @TANG_URL@",
        ),
        (
            luks("clevis: {tang: [{url: 'http://10.0.2.3', thumbprint: '@TANG_THUMBPRINT@'}]} # <--"),
            "storage.luks[0].clevis.tang[0].url: the harness runs no server there: "
            "of that network a guest reaches 10.0.2.2 alone",
        ),
        (
            luks("clevis: {tang: [{url: 'https://10.0.2.2', thumbprint: '@TANG_THUMBPRINT@'}]} # <--"),
            "storage.luks[0].clevis.tang[0].url: the harness runs no server there: "
            "no guest trusts a certificate of the laboratory",
        ),
        (
            luks("clevis: {tang: [{url: '@TANG_URL:tpm2@'}]} # <--"),
            "storage.luks[0].clevis.tang[0].url: a server cannot be called tpm2: outcomes name another pin",
        ),
    ],
)
def test_luks_and_clevis(tmp_path: Path, text: str, message: str) -> None:
    fails(tmp_path, text, message)


def test_a_url_twice(tmp_path: Path) -> None:
    message = "Ignition takes each url only once"
    fails(
        tmp_path,
        luks("clevis:", "  tang:", "    - url: '@TANG_URL@' # <--", "    - url: '@TANG_URL@' # <--"),
        f"storage.luks[0].clevis.tang[0].url: {message}",
        f"storage.luks[0].clevis.tang[1].url: {message}",
    )


def test_a_server_at_two_ports(tmp_path: Path) -> None:
    fails(
        tmp_path,
        luks(
            "clevis: # <--",
            "  tang:",
            "    - {url: 'http://10.0.2.2:1', thumbprint: '@TANG_THUMBPRINT@'}",
            "    - {url: 'http://10.0.2.2:2', thumbprint: '@TANG_THUMBPRINT@'}",
        ),
        "storage.luks[0].clevis: the server tang cannot be at http://10.0.2.2:1 and at http://10.0.2.2:2; call one",
    )


@pytest.mark.parametrize(
    ("pin", "config", "message"),
    [
        ("tpm2", "{", "not JSON: Expecting property name"),
        ("tpm2", '{"pcr_ids": "1", "pcr_ids": "2"}', "not JSON: the key pcr_ids is there twice"),
        ("tang", r'{"url": "\ud800"}', "not JSON: 'utf-8' codec can't encode character"),
        ("tpm2", "[]", "the JSON: the config of a tpm2 pin is an object"),
        ("tpm2", '{"pcr_id": "7"}', "the JSON: unknown key 'pcr_id' of a tpm2 pin; did you mean pcr_ids?"),
        ("tpm2", '{"zzz": 1}', "the JSON: unknown key 'zzz' of a tpm2 pin; known here: hash, key, pcr_bank"),
        ("tpm2", '{"pcr_ids": 7}', 'pcr_ids: expected PCRs from 0 to 23 as "1,7" or [1, 7], found 7'),
        ("tpm2", '{"pcr_ids": null}', "pcr_ids: expected PCRs from 0 to 23"),
        ("tpm2", '{"pcr_ids": "7,24"}', "pcr_ids: expected PCRs from 0 to 23"),
        ("tpm2", '{"pcr_ids": ["x"]}', "pcr_ids: expected PCRs from 0 to 23"),
        ("tpm2", '{"key": 1}', "key: expected a string"),
        ("tpm2", '{"pcr_bank": "sha255"}', "pcr_bank: 'sha255' is not a PCR bank: sha1, sha256"),
        ("tang", "{}", "the JSON: url is missing"),
        ("tang", '{"url": 5}', "url: expected a string"),
        ("tang", '{"url": "http://tang.example"}', "thp: thp is missing: clevis would ask"),
        ("sss", "{}", "the JSON: an sss pin needs pins: an object with at least one pin"),
        ("sss", '{"pins": {"tang": []}}', "the JSON: an sss pin needs pins: an object with at least one pin"),
        ("sss", '{"pins": {"tpm2": []}, "t": "1"}', 't: expected a whole number, found "1"'),
        ("sss", '{"pins": {"tpm2": {}}, "t": true}', "t: expected a whole number, found true"),
        ("sss", '{"pins": {"tpm2": {}}, "t": 2}', "t: a threshold of 2 can never be reached, 1 pin is listed"),
        ("sss", '{"pins": {"sss": {"pins": {"tpm2": {}}, "t": 0}}}', "pins.sss.t: a threshold is at least 1, not 0"),
        ("sss", '{"pins": {"tpm": {}}}', "pins.tpm: 'tpm' is not a pin that Ignition takes; did you mean tpm2?"),
        ("sss", '{"pins": {"tpm2": {}, "tang": [{"url": "@TANG_URL@"}, 5]}}', "pins.tang[1]: the config of a tang pin"),
        (
            "sss",
            '{"pins": {"tang": {"url": "ftp://a", "thp": "dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI"}}}',
            "pins.tang.url: expected an http or https url",
        ),
    ],
)
def test_the_json_of_a_custom_pin(tmp_path: Path, pin: str, config: str, message: str) -> None:
    fails(tmp_path, custom(pin, config), f"storage.luks[0].clevis.custom.config: {message}")


def test_each_mistake_in_the_json_of_one_pin_is_told(tmp_path: Path) -> None:
    config = '{"t": 9, "pins": {"tpm2": {"pcr_ids": "24"}, "tang": {"url": 5}}}'
    path = tmp_path / "bad.bu"
    path.write_text(custom("sss", config))
    with pytest.raises(UsageError, match="has 2 mistakes") as caught:
        understand(path)
    assert "pins.tpm2.pcr_ids: " in caught.value.detail
    assert "pins.tang.url: " in caught.value.detail


@pytest.mark.parametrize(
    ("pin", "hint"),
    [("pkcs11", "known here: sss, tang, tpm2"), ("tpm", "did you mean tpm2?"), ("tang2", "did you mean tang?")],
)
def test_an_unknown_custom_pin(tmp_path: Path, pin: str, hint: str) -> None:
    text = luks("clevis:", "  custom:", f"    pin: {pin} # <--", "    config: '{}'")
    fails(tmp_path, text, f"storage.luks[0].clevis.custom.pin: '{pin}' is not a pin that Ignition takes; {hint}")


def test_thresholds_within_thresholds_end_somewhere(tmp_path: Path) -> None:
    nested = '{"pins": {"sss": ' * 15 + '{"pins": {"tpm2": {}}}' + "}}" * 15
    (tmp_path / "good.bu").write_text(custom("sss", nested))
    assert understand(tmp_path / "good.bu")
    (tmp_path / "bad.bu").write_text(custom("sss", f'{{"pins": {{"sss": {nested}}}}}'))
    with pytest.raises(UsageError, match="thresholds nested deeper than 16 le"):
        understand(tmp_path / "bad.bu")


# --- file systems, files, units, users


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("{device: vda, format: xfs}", ".device: expected an absolute path, found 'vda'"),
        ("{device: /dev/vda, format: ext5}", ".format: 'ext5' is not one of ext4, btrfs, xfs, swap, vfat, none"),
        ("{device: /dev/vda, label: a}", ": format is missing"),
        ("{device: /dev/vda, format: xfs, label: thirteen-long}", ".label: a label of xfs has at most 12 bytes"),
        ("{device: /dev/vda, format: xfs, path: var}", ".path: expected an absolute path, found 'var'"),
        ("{device: /dev/vda, with_mount_unit: true}", ".with_mount_unit: needs a format"),
        ("{device: /dev/vda, format: xfs, with_mount_unit: true}", ".with_mount_unit: needs a path"),
        (
            "{device: /dev/vda, format: xfs, path: /srv, with_mount_unit: true}",
            ".path: must be under /etc or /var beside with_mount_unit, since Butane fcos 1.6.0",
        ),
    ],
)
def test_file_systems(tmp_path: Path, item: str, message: str) -> None:
    fails(tmp_path, section("storage.filesystems", f"{item} # <--"), f"storage.filesystems[0]{message}")


def test_a_device_with_two_file_systems(tmp_path: Path) -> None:
    item = "{device: /dev/vda, format: xfs}"
    message = "storage.filesystems[1].device: the device '/dev/vda' is there twice, first on line 5"
    fails(tmp_path, section("storage.filesystems", item, f"{item} # <--"), message)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("{path: etc/a}", ".path: expected an absolute path, found 'etc/a'"),
        ("{path: /etc/a/}", ".path: write the path as /etc/a"),
        ("{path: /a, user: {id: 0, name: root}}", ".user: either id or name, not both"),
        ("{path: /a, mode: 0o10000}", ".mode: 4096 is not a mode: write it in octal, from 0 to 0777"),
        ("{path: /a, mode: -1}", ".mode: -1 is not a mode"),
        ("{path: /a, overwrite: true}", ".overwrite: needs contents with inline, local or source"),
        ("{path: /a, contents: {inline: a, local: b}}", ".contents.local: only one of inline, local and source"),
        ("{path: /a, contents: {inline: a, compression: xz}}", ".contents.compression: 'xz' is not gzip"),
        (
            "{path: /a, contents: {source: 'file:///a'}}",
            ".contents.source: expected a url of http, https, tftp, gs, s3, data, found 'file:///a'\n",
        ),
        ("{path: /a, contents: {source: 'data:x'}}", ".contents.source: not a data URL"),
        ("{path: /a, contents: {source: 'data:;base64,!'}}", ".contents.source: "),
        ("{path: /a, contents: {source: 'data:,a', compression: gzip}}", ".contents.source: not gzip"),
        (
            "{path: /a, contents: {inline: a, verification: {hash: sha256-00}}}",
            ".contents.verification.hash: expected sha512-",
        ),
        ("{path: /a, append: [{inline: a, http_headers: [{name: b}]}]}", ".append[0].http_headers: need a source"),
        (
            "{path: /a, contents: {source: 'http://a', http_headers: [{name: b}, {name: b}]}}",
            ".contents.http_headers[1]: the header 'b' is there twice, first on line 5",
        ),
        ("{path: /a, contents: {inline: a, compression: gzip}}", ".contents.compression: not gzip"),
        ("{path: /a, contents: {local: missing}}", ".contents.local: cannot read "),
        ("{path: /a, contents: {local: ../a}}", ".contents.local: '../a' lies outside the folder of the policy file"),
        ("{path: /a, contents: {inline: see @TANG_URL@}}", ".contents.inline: @TANG_URL@ is filled only in a clevis"),
    ],
)
def test_files(tmp_path: Path, item: str, message: str) -> None:
    fails(tmp_path, section("storage.files", f"{item} # <--"), f"storage.files[0]{message}")


def test_a_hash_without_contents(tmp_path: Path) -> None:
    item = f"{{path: /a, contents: {{verification: {{hash: sha256-{'0' * 64}}}}}}} # <--"
    message = "storage.files[0].contents: a hash needs inline, local or source"
    fails(tmp_path, section("storage.files", item), message)


@pytest.mark.parametrize("mode", ["0", "0o644", "0600", "420", "0777", "500", "111", "404"])
def test_modes_that_are_meant(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "good.bu"
    path.write_text(section("storage.files", f"{{path: /a, mode: {mode}}}"))
    assert read_policy(path)


@pytest.mark.parametrize(
    ("kind", "mode", "note"),
    [
        ("directories", "755", "is 755 in decimal, which is 01363; was 0755 meant?"),
        ("files", "600", "is 600 in decimal, which is 01130; was 0600 meant?"),
        ("files", "604", "the special bits of"),
        ("directories", "0o4755", "04755, which Ignition drops before spec 3.6.0"),
    ],
)
def test_a_mode_that_looks_wrong_is_noted(tmp_path: Path, kind: str, mode: str, note: str) -> None:
    path = tmp_path / "good.bu"
    path.write_text(section(f"storage.{kind}", f"{{path: /a, mode: {mode}}}"))
    (found,) = understand(path).document.notes
    assert note in found
    assert f"storage.{kind}[0].mode" in found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "files: [{path: /a}]\n  directories: [{path: /a}]",
            "storage.files[0].path: the path '/a' is there twice, first on line 5",
        ),
        (
            "files: [{path: /a/b}]\n  links: [{path: /a, target: /c}]",
            "storage.files[0].path: passes through the link on line 5",
        ),
        (
            "links: [{path: /l, target: ../d, hard: true}]\n  directories: [{path: /d}]",
            "storage.links[0].target: a hard link cannot lead to a directory",
        ),
        ("links: [{path: /l}]\n", "storage.links[0]: target is missing"),
    ],
)
def test_nodes_that_collide(tmp_path: Path, body: str, message: str) -> None:
    first, _, rest = body.partition("\n")
    fails(tmp_path, fcos(f"storage:\n  {first} # <--\n{rest}"), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (section("systemd.units", "name: a # <--"), "systemd.units[0].name: a unit name ends in its type"),
        (
            section("systemd.units", "name: a.timer", "name: a.timer # <--"),
            "systemd.units[1].name: the unit 'a.timer' is",
        ),
        (
            section("systemd.units", "{name: a.timer, contents: a, contents_local: b} # <--"),
            "systemd.units[0].contents_local: either contents or contents_local, not both",
        ),
        (
            section("systemd.units", "{name: a.timer, dropins: [{name: b}]} # <--"),
            "systemd.units[0].dropins[0].name: a drop-in's name ends in .conf",
        ),
        (
            section("systemd.units", "{name: a.timer, dropins: [{name: b.conf}, {name: b.conf}]} # <--"),
            "systemd.units[0].dropins[1].name: the drop-in 'b.conf' is there twice",
        ),
        (section("passwd.users", "name: a", "name: a # <--"), "passwd.users[1].name: the name 'a' is there twice"),
        (section("passwd.groups", "name: a", "name: a # <--"), "passwd.groups[1].name: the name 'a' is there twice"),
        (
            section("passwd.users", "{name: a, ssh_authorized_keys: [k, k]} # <--"),
            "passwd.users[0].ssh_authorized_keys[1]: the entry 'k' is there twice",
        ),
        (
            fcos("kernel_arguments:\n  should_exist: [a]\n  should_not_exist: [a] # <--"),
            "kernel_arguments.should_not_exist[0]: the argument 'a' is there twice, first on line 4",
        ),
        (
            fcos("ignition: {proxy: {http_proxy: p}} # <--"),
            "ignition.proxy.http_proxy: expected an http or https url, ",
        ),
        (
            section("passwd.users", "&a {name: a}", "{<<: {? [b] : c}, name: d} # <--"),
            "passwd.users[1].a list: unknown key",
        ),
        (
            section("systemd.units", "{name: a.timer, contents_local: binary} # <--"),
            "systemd.units[0].contents_local: 'binary' is not UTF-8 text",
        ),
        (
            section("passwd.users", "{name: a, ssh_authorized_keys_local: [missing]} # <--"),
            "passwd.users[0].ssh_authorized_keys_local[0]: cannot read",
        ),
    ],
)
def test_units_users_and_arguments(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    fails(tmp_path, text, message)


# --- trees


@pytest.mark.parametrize(
    ("tree", "more", "message"),
    [
        ("{local: ../up}", "", "storage.trees[0].local: '../up' lies outside the folder of the policy file"),
        ("{local: none}", "", "storage.trees[0].local: "),
        ("{local: tree, path: rel}", "", "storage.trees[0].path: expected an absolute path, found 'rel'"),
        (
            "{local: tree}",
            "files: [{path: /file, contents: {inline: a}}]",
            "storage.trees[0]: /file is in storage.files ",
        ),
        ("{local: tree}", "directories: [{path: /file}]", "storage.trees[0]: /file is in storage.directories already"),
        ("{local: tree}", "links: [{path: /link, target: /a}]", "storage.trees[0]: /link is in storage.links already"),
    ],
)
def test_trees(tmp_path: Path, tree: str, more: str, message: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("a")
    (tmp_path / "tree" / "link").symlink_to("file")
    fails(tmp_path, fcos(f"storage:\n  trees:\n    - {tree} # <--\n  {more}"), message)


def test_a_pipe_in_a_tree(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree" / "pipe")
    fails(tmp_path, fcos("storage:\n  trees:\n    - local: tree # <--"), "storage.trees[0]: ")


@pytest.mark.parametrize("head", ["variant: fcos\nversion: 1.5", "version: 1.1\nvariant: flatcar", "variant: fiot"])
def test_a_version_in_another_form_is_one_mistake_among_the_others(tmp_path: Path, head: str) -> None:
    path = tmp_path / "mine.bu"
    path.write_text(f"{head}\nsystemd: {{units: [{{nam: a.service}}]}}\n")
    with pytest.raises(UsageError) as caught:
        read_policy(path)
    assert "write version: 1." in caught.value.detail
    assert "did you mean name?" in caught.value.detail


def test_an_unknown_key_of_ignition_is_told_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.ign"
    volume = '{"name": "a", "device": "/dev/vdb", "wipe_volume": true}'
    path.write_text(f'{{"ignition": {{"version": "3.2.0"}}, "storage": {{"luks": [{volume}]}}}}')
    with pytest.raises(UsageError, match=r"storage\.luks\[0\]: wipe_volume: unknown key; did you mean wipeVolume\?"):
        read_policy(path)
