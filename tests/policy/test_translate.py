"""From the values of a file to a config, step by step (tests/policy/test_corpus.py has whole files)."""

import gzip
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from policy.documents import mistakes

from harness.policy import urls
from harness.policy.document import Document
from harness.policy.translate import translate
from harness.policy.variants import NEWEST, Variant

IGNITION = Variant("Ignition 3.4.0", 6, 4, is_ignition=True)
HEAD = {"ignition": {"version": "3.6.0"}}


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A folder with a policy file in it, and another beside that folder."""
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def document(folder: Path, data: dict[str, Any], variant: Variant = NEWEST, text: str = "") -> Document:
    return Document(folder / "mine.bu", text, variant, data)


def config(folder: Path, **data: Any) -> dict[str, Any]:
    """The config of a file that is right, which stays as it is; without its ignition section."""
    before = json.dumps(data)
    found = document(folder, data)
    made = translate(found)
    assert (json.dumps(data), mistakes(found)) == (before, [])
    assert made.pop("ignition") == HEAD["ignition"]
    return made


def refused(folder: Path, **data: Any) -> list[str]:
    """The mistakes of a file that cannot be taken in, with the folder's name left out."""
    found = document(folder, data)
    translate(found)
    return [each.replace(f"{folder.resolve()}/", "") for each in mistakes(found)]


def resource(contents: bytes, **more: Any) -> dict[str, Any]:
    source, compression = urls.encode(contents)
    return {"source": source, "compression": compression, **more}


# --- the whole


def test_an_ignition_config_stays_as_it_is_but_for_what_has_no_value(folder: Path) -> None:
    text = '\ufeff{"ignition": {"version": "3.4.0", "a": null}, "b": [1, {"c": null, "d": [null, {}]}], "e": null}'
    found = document(folder, {"other": 1}, IGNITION, text)
    assert translate(found) == {"ignition": {"version": "3.4.0"}, "b": [1, {"d": [None, {}]}]}


def test_an_ignition_config_with_mistakes_is_translated_as_far_as_it_goes(folder: Path) -> None:
    found = document(folder, {"passwd": {"users": [{"name": "a"}]}}, IGNITION, "not JSON")
    found.mistake((), "something")
    assert translate(found) == {"ignition": {"version": "3.4.0"}, "passwd": {"users": [{"name": "a"}]}}


def test_keys_are_spelled_as_ignition_does_and_what_says_nothing_is_left_out(folder: Path) -> None:
    assert config(folder) == {}
    made = config(
        folder,
        kernel_arguments={"should_exist": ["a"], "should_not_exist": []},
        storage={
            "disks": [{"device": "/dev/vda", "wipe_table": False, "partitions": [{"size_mib": 0, "label": ""}]}],
            "raid": [],
            "luks": [{"name": "a", "clevis": {}, "open_options": ["b_c"]}],
        },
    )
    assert made == {
        "kernelArguments": {"shouldExist": ["a"]},
        "storage": {
            "disks": [{"device": "/dev/vda", "wipeTable": False, "partitions": [{"sizeMiB": 0, "label": ""}]}],
            "luks": [{"name": "a", "openOptions": ["b_c"]}],
        },
    }


def test_the_spec_is_that_of_the_variant_and_the_rest_of_its_section_stays(folder: Path) -> None:
    found = document(folder, {"ignition": {"timeouts": {"http_total": 5}}}, Variant("Butane fcos 1.4.0", 4, 3))
    assert translate(found) == {"ignition": {"version": "3.3.0", "timeouts": {"httpTotal": 5}}}


def test_what_the_file_says_goes_over_what_is_generated(folder: Path) -> None:
    disks = [{"device": "/dev/vda", "partitions": [{"label": "root-1", "size_mib": 9}]}]
    other = {"device": "/dev/vdc", "format": "xfs"}
    own = {"device": "/dev/mapper/root", "format": "ext4", "path": "/var", "with_mount_unit": True}
    made = config(
        folder,
        boot_device={"luks": {"tpm2": True}, "mirror": {"devices": ["/dev/vda", "/dev/vdb"]}},
        grub={"users": [{"name": "a", "password_hash": "b"}]},
        storage={
            "disks": disks,
            "filesystems": [own, other],
            "files": [{"path": "/boot/grub2/user.cfg", "mode": 0o600}],
        },
        systemd={"units": [{"name": "var.mount", "enabled": False}]},
    )
    storage = made["storage"]
    assert set(made) == {"storage", "systemd"}
    assert [part for part in storage["disks"][0]["partitions"] if part["label"] == "root-1"] == [
        {"label": "root-1", "sizeMiB": 9}
    ]
    assert [volume["device"] for volume in storage["luks"]] == ["/dev/md/md-root"]
    (root,) = (found for found in storage["filesystems"] if found["device"] == "/dev/mapper/root")
    assert root == {
        **{"device": "/dev/mapper/root", "format": "ext4", "path": "/var"},
        **{"label": "root", "wipeFilesystem": True},
    }
    assert "/dev/disk/by-label/boot" in [found["device"] for found in storage["filesystems"]]
    (file,) = storage["files"]
    assert (file["path"], file["mode"], len(file["append"])) == ("/boot/grub2/user.cfg", 0o600, 1)
    (unit,) = made["systemd"]["units"]
    assert (unit["name"], unit["enabled"]) == ("var.mount", False)
    assert unit["contents"].startswith("# Generated by Butane\n")


# --- contents


@pytest.mark.parametrize("name", ["Xa", "/Xa", "sub/../Xa"])
def test_a_file_beside_the_policy_file_is_taken_in(folder: Path, name: str) -> None:
    (folder / "Xa").write_bytes(b"\xff\n")
    made = config(folder, storage={"files": [{"path": "/a", "contents": {"local": name}}]})
    assert made["storage"]["files"] == [{"path": "/a", "contents": resource(b"\xff\n")}]


def test_what_stands_in_the_file_is_taken_in(folder: Path) -> None:
    contents = {"inline": "a\udcff"}  # as bytes that are no text stand in a document
    fetched = {"source": "https://a/b"}
    data: dict[str, Any] = {
        "storage": {
            "files": [{"path": "/a", "contents": contents, "append": [{"inline": ""}, fetched]}],
            "luks": [{"name": "a", "key_file": {"inline": "key"}}],
        },
        "ignition": {"config": {"merge": [{"inline": "{}"}]}},
    }
    made = translate(document(folder, data))
    assert made["storage"] == {
        "files": [{"path": "/a", "contents": resource(b"a\xff"), "append": [resource(b""), fetched]}],
        "luks": [{"name": "a", "keyFile": resource(b"key")}],
    }
    assert made["ignition"]["config"] == {"merge": [resource(b"{}")]}


def test_contents_that_the_user_has_packed_are_not_packed_again(folder: Path) -> None:
    packed = gzip.compress(b"a" * 9_999_999, mtime=0)
    assert len(gzip.compress(packed)) < len(packed) // 2
    (folder / "packed").write_bytes(packed)
    (folder / "plain").write_text("a" * 999)
    made = config(
        folder,
        storage={
            "files": [
                {"path": "/a", "contents": {"local": "packed", "compression": "gzip"}},
                {"path": "/b", "contents": {"local": "plain", "compression": ""}},
            ]
        },
    )
    one, two = (file["contents"] for file in made["storage"]["files"])
    assert one == {"source": urls.encode(packed, compressed=True)[0], "compression": "gzip"}
    assert two == {"source": urls.encode(b"a" * 999)[0], "compression": "gzip"}


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_a_hash_is_that_of_the_contents_unpacked(folder: Path, compression: str) -> None:
    (folder / "a").write_bytes(gzip.compress(b"text") if compression else b"text")

    def file(digest: str) -> dict[str, Any]:
        contents = {"local": "a", "compression": compression, "verification": {"hash": digest}}
        return {"files": [{"path": "/a", "contents": contents}]}

    assert config(folder, storage=file(urls.digest(b"text", "sha512")))
    (mistake,) = refused(folder, storage=file(urls.digest(b"other", "sha512")))
    assert mistake.startswith("storage.files[0].contents.verification.hash: is not the hash of the contents")


def test_what_is_said_to_be_packed_and_is_not(folder: Path) -> None:
    (mistake,) = refused(
        folder, storage={"files": [{"path": "/a", "contents": {"inline": "a", "compression": "gzip"}}]}
    )
    assert mistake.startswith("storage.files[0].contents.compression: not gzip: ")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../outside", "'../outside' lies outside the folder of the policy file"),
        ("/../outside", "'/../outside' lies outside the folder of the policy file"),
        ("none", "cannot read none: No such file or directory"),
        ("folder", "cannot read folder: Is a directory"),
        ("large", "cannot read large: it has more than 64 MiB"),
        ("full", ""),
    ],
)
def test_a_local_file_that_cannot_be_taken_in(folder: Path, name: str, why: str) -> None:
    (folder / "folder").mkdir()
    for called, size in (("large", urls.MOST_BYTES + 1), ("full", urls.MOST_BYTES)):
        with (folder / called).open("wb") as file:
            file.truncate(size)
    units = [{"name": "b"}, {"name": "a", "contents_local": name}]
    found = refused(folder, systemd={"units": units})
    assert found == ([f"systemd.units[1].contents_local: {why}"] if why else [])


def test_files_may_hold_as_much_as_a_url_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tree").mkdir()
    (folder / "tree" / "large").write_bytes(b"a" * (2**20 + 1))
    asked = {"files": [{"path": "/a", "contents": {"local": "tree/large"}}], "trees": [{"local": "tree"}]}
    assert refused(folder, storage=asked) == []
    monkeypatch.setattr(urls, "MOST_BYTES", 2**20)
    assert refused(folder, storage=asked) == [
        "storage.files[0].contents.local: cannot read tree/large: it has more than 1 MiB",
        "storage.trees[0]: cannot read tree/large: it has more than 1 MiB",
    ]


def test_a_pipe_keeps_nobody_waiting(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    done = threading.Event()
    late = []

    def release() -> None:
        """Open it for whoever waits at it all the same."""
        if not done.wait(20):
            late.append(os.open(folder / "pipe", os.O_WRONLY | os.O_NONBLOCK))

    waiting = threading.Thread(target=release)
    waiting.start()
    found = refused(folder, storage={"files": [{"path": "/a", "contents": {"local": "pipe"}}]})
    done.set()
    waiting.join()
    assert (found, late) == (["storage.files[0].contents.local: cannot read pipe: it is no regular file"], [])


def test_a_link_beside_the_policy_file_may_lead_anywhere(folder: Path) -> None:
    (folder / "link").symlink_to("../outside")
    made = config(folder, storage={"files": [{"path": "/a", "contents": {"local": "link"}}]})
    assert made["storage"]["files"][0]["contents"] == resource(b"secret")


# --- units and keys


def test_units_and_drop_ins_are_taken_in(folder: Path) -> None:
    (folder / "text").write_text("[Unit]")
    (folder / "binary").write_bytes(b"\xff")
    dropins = [{"name": "a.conf", "contents": "own"}, {"name": "b.conf", "contents_local": "text"}]
    units = [{"name": "a.timer"}, {"name": "b.service", "contents_local": "text", "dropins": dropins}]
    assert config(folder, systemd={"units": units}) == {
        "systemd": {
            "units": [
                {"name": "a.timer"},
                {
                    "name": "b.service",
                    "contents": "[Unit]",
                    "dropins": [{"name": "a.conf", "contents": "own"}, {"name": "b.conf", "contents": "[Unit]"}],
                },
            ]
        }
    }
    dropins[1]["contents_local"] = "binary"
    (mistake,) = refused(folder, systemd={"units": units})
    assert mistake == "systemd.units[1].dropins[1].contents_local: 'binary' is not UTF-8 text"


def test_keys_of_users_are_taken_in_line_by_line(folder: Path) -> None:
    (folder / "keys").write_bytes(b"one\r\n\ntwo\nthree")
    (folder / "more").write_text("four\n")
    users = [
        {"name": "a"},
        {"name": "b", "ssh_authorized_keys": ["zero"], "ssh_authorized_keys_local": ["keys", "more"]},
        {"name": "c", "ssh_authorized_keys_local": ["more"]},
    ]
    assert config(folder, passwd={"users": users}) == {
        "passwd": {
            "users": [
                {"name": "a"},
                {"name": "b", "sshAuthorizedKeys": ["zero", "one", "two", "three", "four"]},
                {"name": "c", "sshAuthorizedKeys": ["four"]},
            ]
        }
    }
    (folder / "more").unlink()
    assert refused(folder, passwd={"users": users}) == [
        f"passwd.users[{user}].ssh_authorized_keys_local[{key}]: cannot read more: No such file or directory"
        for user, key in ((1, 1), (2, 0))
    ]


# --- trees


def tree(folder: Path) -> None:
    """``tree`` with a folder, a program, a file and a link in it, named so that their order shows."""
    top = folder / "tree"
    (top / "b" / "c").mkdir(parents=True)
    (top / "a").write_text("text")
    (top / "b" / "program").write_text("#!/bin/sh")
    (top / "b" / "program").chmod(0o601)
    (top / "b" / "c" / "link").symlink_to("../../a")
    (top / "b.d").symlink_to("b")


def test_a_tree_becomes_files_and_links_in_the_order_of_their_names(folder: Path) -> None:
    tree(folder)
    made = config(folder, storage={"trees": [{"local": "tree"}, {"local": "/tree/b/", "path": "/opt/x"}]})
    assert made["storage"] == {
        "files": [
            {"path": "/a", "contents": resource(b"text"), "mode": 0o644},
            {"path": "/b/program", "contents": resource(b"#!/bin/sh"), "mode": 0o755},
            {"path": "/opt/x/program", "contents": resource(b"#!/bin/sh"), "mode": 0o755},
        ],
        "links": [
            {"path": "/b/c/link", "target": "../../a"},
            {"path": "/b.d", "target": "b"},
            {"path": "/opt/x/c/link", "target": "../../a"},
        ],
    }


def test_a_tree_with_modes_and_owners_has_folders_too(folder: Path) -> None:
    tree(folder)
    owners = {"user": {"name": "core"}, "group": {"id": 5}}
    made = config(folder, storage={"trees": [{"local": "tree/b", "file_mode": 0o600, "dir_mode": 0o700, **owners}]})
    assert made["storage"] == {
        "directories": [{"path": "/", "mode": 0o700, **owners}, {"path": "/c", "mode": 0o700, **owners}],
        "files": [{"path": "/program", "contents": resource(b"#!/bin/sh"), "mode": 0o600, **owners}],
        "links": [{"path": "/c/link", "target": "../../a", **owners}],
    }
    only = {"local": "tree/b/c", "path": "/x", "user": {"name": "core"}, "group": {}}
    assert config(folder, storage={"trees": [only]})["storage"]["directories"] == [
        {"path": "/x", "mode": 0o755, "user": {"name": "core"}}
    ]
    moded = config(folder, storage={"trees": [{"local": "tree/b/c", "dir_mode": 0o711}]})
    assert moded["storage"]["directories"] == [{"path": "/", "mode": 0o711}]


def test_a_node_of_the_file_gets_from_a_tree_what_it_lacks(folder: Path) -> None:
    tree(folder)
    made = config(
        folder,
        storage={
            "trees": [{"local": "tree"}],
            "files": [{"path": "/a", "mode": 0o400, "contents": {"verification": {}}}, {"path": "/other"}],
            "links": [{"path": "/b.d", "target": "", "user": {"name": "core"}}],
        },
    )
    assert made["storage"]["files"] == [
        {"path": "/a", "mode": 0o400, "contents": resource(b"text")},
        {"path": "/other"},
        {"path": "/b/program", "contents": resource(b"#!/bin/sh"), "mode": 0o755},
    ]
    assert made["storage"]["links"][0] == {"path": "/b.d", "target": "b", "user": {"name": "core"}}


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ({"files": [{"path": "/a", "contents": {"inline": "b"}}]}, "/a is in storage.files already"),
        ({"links": [{"path": "/b.d", "target": "x"}]}, "/b.d is in storage.links already"),
        ({"directories": [{"path": "/a"}]}, "/a is in storage.directories already"),
        ({"links": [{"path": "/b/program"}]}, "/b/program is in storage.links already"),
        ({"directories": [{"path": "/b"}], "trees": [{"local": "tree", "dir_mode": 0o700}]},
         "/b is in storage.directories already"),
        ({"directories": [{"path": "/b"}]}, ""),
    ],
)  # fmt: skip
def test_a_tree_and_a_node_that_collide(folder: Path, nodes: dict[str, Any], why: str) -> None:
    tree(folder)
    assert refused(folder, storage={"trees": [{"local": "tree"}], **nodes}) == (
        [f"storage.trees[0]: {why}"] if why else []
    )


def test_two_trees_that_collide(folder: Path) -> None:
    tree(folder)
    assert refused(folder, storage={"trees": [{"local": "tree"}, {"local": "tree"}]}) == [
        "storage.trees[1]: /a is in storage.files already"
    ]


def test_a_tree_that_cannot_be_taken_in_leaves_the_others(folder: Path) -> None:
    tree(folder)
    os.mkfifo(folder / "tree" / "pipe")
    (folder / "X-tree").mkdir()
    (folder / "X-tree" / "one").write_text("1")
    trees = [{"local": name} for name in ("../up", "none", "tree/a", "tree", "X-tree", "x" * 300)]
    found = document(folder, {"storage": {"trees": trees}})
    made = translate(found)
    *told, last = [each.replace(f"{folder.resolve()}/", "") for each in mistakes(found)]
    assert told == [
        "storage.trees[0].local: '../up' lies outside the folder of the policy file",
        "storage.trees[1].local: none is not a folder",
        "storage.trees[2].local: tree/a is not a folder",
        "storage.trees[3]: tree/pipe is neither a file, a folder nor a link",
    ]
    assert last.startswith("storage.trees[5]")
    assert "/one" in [file["path"] for file in made["storage"]["files"]]
