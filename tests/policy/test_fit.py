"""A config fitted to the guest: what is taken out of it, what is made for it, and that each is said."""

import json
from typing import Any

import pytest

from harness.policy.fit import fit, in_own_network

SPEC = 3
BY_ID = "/dev/disk/by-id/ata-A"
DHCP = "(a guest is in the laboratory's network, by DHCP)"


def fitted(spec: int = SPEC, **config: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What `fit` makes of a config, without its ignition section, and what it says; the config itself stays."""
    before = json.dumps({"ignition": {"version": "3.0.0"}, **config})
    given = json.loads(before)
    found = fit(given, spec)
    assert json.dumps(given) == before
    assert found.config.pop("ignition")["version"] == "3.0.0"
    return found.config, found.notes


@pytest.mark.parametrize(
    ("version", "spec", "fits"), [("3.5.0", 3, "3.3.0"), ("3.2.0", 3, "3.2.0"), ("3.4.0", 6, None)]
)
def test_a_spec_that_the_guest_does_not_take_becomes_its_own(version: str, spec: int, fits: str | None) -> None:
    found = fit({"ignition": {"version": version}}, spec)
    assert (found.config, found.notes) == ({"ignition": {"version": fits or version}}, ())


def test_disks_are_named_as_the_machine_has_them() -> None:
    storage = {
        "disks": [{"device": BY_ID, "partitions": [{"label": "root"}]}],
        "luks": [{"name": "a", "device": f"{BY_ID}-part5"}, {"name": "b", "device": "/dev/vdb"}, {"name": "c"}],
        "filesystems": [{"device": f"{BY_ID}-part6"}],
        "raid": [{"name": "r", "devices": [f"{BY_ID}-part7", f"{BY_ID}-part8"]}, {"name": "empty"}],
    }
    config, notes = fitted(storage=storage)
    assert config["storage"] == {
        "disks": [{"device": "/dev/vda", "partitions": [{"label": "root"}]}],
        "luks": [{"name": "a", "device": "/dev/vda5"}, {"name": "b", "device": "/dev/vdb"}, {"name": "c"}],
        "filesystems": [{"device": "/dev/vda6"}],
        "raid": [{"name": "r", "devices": ["/dev/vda7", "/dev/vda8"]}, {"name": "empty", "devices": []}],
    }
    assert notes == (f"{BY_ID} is /dev/vda here",)


def test_flatcars_root_is_called_as_the_guest_knows_one() -> None:
    other = {"device": "/dev/vdb", "format": "xfs", "label": "data", "wipeFilesystem": True}
    root = {"device": "/dev/vda4", "format": "ext4", "label": "ROOT", "wipeFilesystem": True}
    config, notes = fitted(storage={"filesystems": [other, root]})
    assert config["storage"]["filesystems"] == [other, {**root, "label": "root"}]
    assert notes == ("ROOT is root here, and the system is moved into it, which on Flatcar lies in /usr",)
    for untouched in ([other], [{**root, "label": "root"}], []):
        assert fitted(storage={"filesystems": untouched}) == ({"storage": {"filesystems": untouched}}, ())


LATER = {"discard": True, "openOptions": ["--perf-same_cpu_crypt"], "cex": {"enabled": True}}
TANG = {"url": "http://a", "thumbprint": "t", "advertisement": "{}"}


@pytest.mark.parametrize(
    ("spec", "keys", "said"),
    [
        (3, (), "discard, openOptions, advertisement, cex"),
        (4, ("discard", "openOptions"), "cex"),
        (5, tuple(LATER), ""),
    ],
)
def test_keys_that_came_with_a_later_spec_are_taken_out(spec: int, keys: tuple[str, ...], said: str) -> None:
    plain: dict[str, Any] = {"name": "b", "device": "/dev/vdc", "discard": [], "openOptions": None}
    luks = {"name": "a", "device": "/dev/vdb", **LATER, "clevis": {"tang": [TANG, TANG]}}
    config, notes = fitted(spec, storage={"luks": [luks, plain]})
    left, other = config["storage"]["luks"]
    server = TANG if spec > 3 else {"url": "http://a", "thumbprint": "t"}
    assert left == {
        "name": "a",
        "device": "/dev/vdb",
        **{key: LATER[key] for key in keys},
        "clevis": {"tang": [server, server]},
    }
    assert other == (plain if spec > 3 else {"name": "b", "device": "/dev/vdc"})
    assert notes == ((f"{said} of a (the guest's Ignition takes spec 3.{spec}.0 at most)",) if said else ())


BOOT = {"device": "/dev/disk/by-label/boot", "format": "ext4", "path": "/boot"}
GRUB = {"path": "/boot/grub2/user.cfg"}


def test_the_settings_of_grub_are_taken_out() -> None:
    note = ("grub.users (the guest is started without GRUB)",)
    assert fitted(storage={"files": [GRUB], "filesystems": [BOOT]}) == ({"storage": {}}, note)
    file, filesystem = {"path": "/etc/a"}, {"device": "/dev/vdb"}
    assert fitted(storage={"files": [GRUB, file], "filesystems": [filesystem, BOOT]}) == (
        {"storage": {"files": [file], "filesystems": [filesystem]}},
        note,
    )
    assert fitted(storage={"files": [GRUB, file]}) == ({"storage": {"files": [file]}}, note)
    untouched: dict[str, Any] = {"storage": {"files": [file], "filesystems": [BOOT]}}
    assert fitted(**untouched) == (untouched, ())


HTTPS = {"source": "https://a/b", "verification": {"hash": "sha256-0"}}
HERE = {"source": "data:,a", "compression": ""}


def fetched(count: int) -> str:
    """What is said of files of that number that would be fetched."""
    (note,) = fitted(storage={"files": [{"path": f"/{number}", "contents": HTTPS} for number in range(count)]})[1]
    return note


def test_what_would_be_fetched_is_empty() -> None:
    files = [
        {"path": "/here", "contents": HERE},
        {"path": "/a", "contents": HTTPS, "append": [HERE, HTTPS]},
        {"path": "/b", "append": [HTTPS]},
        {"path": "/none"},
    ]
    config, notes = fitted(storage={"files": files})
    nothing = {"source": "data:,"}
    assert config["storage"]["files"] == [
        {"path": "/here", "contents": HERE},
        {"path": "/a", "contents": nothing, "append": [HERE, nothing]},
        {"path": "/b", "append": [nothing]},
        {"path": "/none"},
    ]
    assert notes == ("what is fetched into /a, /b (no guest reaches it: empty here)",)
    assert fetched(5) == "what is fetched into /0, /1, /2, /3, /4 (no guest reaches it: empty here)"
    assert fetched(6) == "what is fetched into /0, /1, /2, /3, /4, … (no guest reaches it: empty here)"


@pytest.mark.parametrize(
    ("given", "left", "gone"),
    [
        ([HERE], [HERE], ()),
        ([HTTPS, HERE], [HERE], ("https://a/b",)),
        ([HTTPS, {"source": "http://c"}], None, ("https://a/b", "http://c")),
        ([], [], ()),
    ],
)
def test_certificate_authorities_that_would_be_fetched_are_taken_out(
    given: list[Any], left: list[Any] | None, gone: tuple[str, ...]
) -> None:
    found = fit({"ignition": {"version": "3.3.0", "security": {"tls": {"certificateAuthorities": given}}}}, SPEC)
    security = {} if left is None else {"security": {"tls": {"certificateAuthorities": left}}}
    assert found.config == {"ignition": {"version": "3.3.0", **security}}
    assert found.notes == tuple(f"the certificate authority {source} (no guest reaches it)" for source in gone)


@pytest.mark.parametrize(
    ("arguments", "kept", "gone"),
    [
        ((), (), ""),
        (("quiet", "ip=dhcp", "rd.neednet=1"), ("quiet", "ip=dhcp", "rd.neednet=1"), ""),
        (("ip=on", "ip=any", "ip=single-dhcp", "ip=either6"), ("ip=on", "ip=any", "ip=single-dhcp", "ip=either6"), ""),
        (("a", "ip=10.0.0.2::::h:eno1:none", "b"), ("a", "ip=dhcp", "b"), "ip=10.0.0.2::::h:eno1:none"),
        (("ip=eno1:dhcp", "ip=eno2:dhcp", "a"), ("ip=dhcp", "a"), "ip=eno1:dhcp, ip=eno2:dhcp"),
        *(
            ((f"{word}=x", "b"), ("b",), f"{word}=x")
            for word in (
                *("nameserver", "rd.route", "vlan", "bond", "team", "bridge", "bootdev", "ifname"),
            )
        ),
    ],
)  # fmt: skip
def test_a_guest_gets_its_address_from_the_laboratory(
    arguments: tuple[str, ...], kept: tuple[str, ...], gone: str
) -> None:
    assert in_own_network(arguments) == kept
    given: dict[str, Any] = {"kernelArguments": {"shouldExist": list(arguments), "shouldNotExist": ["ip=1"]}}
    found, notes = fitted(**given)
    assert found == {"kernelArguments": {"shouldExist": list(kept), "shouldNotExist": ["ip=1"]}}
    assert notes == ((f"{gone} {DHCP}",) if gone else ())


def test_kernel_arguments_are_not_made_up() -> None:
    assert fitted(kernelArguments={"shouldNotExist": ["a"]}) == ({"kernelArguments": {"shouldNotExist": ["a"]}}, ())


@pytest.mark.parametrize(
    ("passwd", "storage", "users", "groups"),
    [
        # The owner of a file, a folder or a link; one that Debian has, or the file makes, is there.
        ({}, {"files": [{"path": "/a", "user": {"name": "core"}}]}, ["core"], []),
        ({}, {"directories": [{"path": "/a", "user": {"name": "core"}, "group": {"name": "core"}}]}, ["core"], []),
        ({}, {"links": [{"path": "/a", "group": {"name": "core"}}]}, [], ["core"]),
        ({}, {"files": [{"path": "/a", "user": {"name": "root"}, "group": {"name": "adm"}}]}, [], []),
        ({}, {"files": [{"path": "/a", "user": {"id": 1000}, "group": {"id": 1000}}, {"path": "/b"}]}, [], []),
        ({"users": [{"name": "web"}]}, {"files": [{"path": "/a", "user": {"name": "web"}}]}, [], []),
        ({"groups": [{"name": "web"}]}, {"files": [{"path": "/a", "group": {"name": "web"}}]}, [], []),
        ({"users": [{"name": "web"}]}, {"files": [{"path": "/a", "group": {"name": "web"}}]}, [], []),
        (
            {},
            {
                "files": [{"path": "/a", "user": {"name": "b"}}, {"path": "/b", "user": {"name": "a"}}],
                "links": [{"path": "/c", "user": {"name": "b"}}],
            },
            ["b", "a"],
            [],
        ),
        # What a user is to be in.
        ({"users": [{"name": "core", "groups": ["wheel", "sudo", "docker"]}]}, {}, [], ["wheel", "docker"]),
        ({"users": [{"name": "core", "primaryGroup": "people"}]}, {}, [], ["people"]),
        ({"users": [{"name": "a", "groups": ["b"]}, {"name": "b", "groups": ["a"]}]}, {}, [], []),
        ({"users": [{"name": "a", "groups": ["b"]}, {"name": "b", "noUserGroup": True}]}, {}, [], ["b"]),
    ],
)
def test_users_and_groups_that_fedora_coreos_has_are_made(
    passwd: dict[str, Any], storage: dict[str, Any], users: list[str], groups: list[str]
) -> None:
    config, notes = fitted(passwd=passwd, storage=storage)
    made = {"users": users, "groups": groups}
    assert config["passwd"] == passwd | {
        kind: [*passwd.get(kind, []), *({"name": name} for name in found)] for kind, found in made.items() if found
    }
    assert notes == tuple(
        f"made for it: the {kind if len(found) > 1 else kind[:-1]} {', '.join(found)}, which the guest does not have"
        for kind, found in made.items()
        if found
    )


def test_no_user_is_made_where_none_is_missing() -> None:
    assert fitted() == ({}, ())
    config, _ = fitted(storage={"files": [{"path": "/a", "user": {"name": "core"}}]})
    assert config["passwd"] == {"users": [{"name": "core"}]}
