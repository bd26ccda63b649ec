"""Butane files that are right: what they become, and that the real butane says the same."""

import gzip
import json
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from harness.policy import urls
from harness.policy.butane import read_policy, understand
from harness.policy.ignition import render
from harness.policy.pins import Sss, TangPin, Tpm2Pin
from harness.policy.pins.placeholders import TangAddress

POLICIES = sorted((Path(__file__).parents[2] / "scenarios" / "policies").glob("*.bu"))
SERVERS = {
    name: TangAddress(f"http://{place}", "dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI")
    for name, place in (
        ("tang", "10.0.2.2:1234"),
        ("two", "10.0.2.2:5678"),
        ("three", "10.0.2.2"),
        ("tang-attic-example", "tang.attic.example"),
    )
}

OLDEST = """
variant: fcos
version: 1.0.0
ignition:
  timeouts: {http_response_headers: 10, http_total: 20}
  security:
    tls:
      certificate_authorities:
        - source: https://example.com/ca.pem
          verification: {hash: sha512-%s}
storage:
  disks:
    - device: /dev/vda
      wipe_table: yes
      partitions:
        - label: one
          number: 1
          start_mib: 1
          size_mib: 0x10
          type_guid: 0FC63DAF-8483-4772-8E79-3D69D8477DE4
          guid: 0fc63daf-8483-4772-8e79-3d69d8477de5
          wipe_partition_entry: true
          should_exist: True
        - label: two
          number: 2
          start_mib: 17
          size_mib: 1_000
  filesystems:
    - {device: /dev/disk/by-partlabel/one, format: ext4, path: /var/one, label: one, options: [-q, -q]}
  directories:
    - {path: /etc/a, mode: 0755, user: {name: root}, group: {id: 0}}
  files:
    - path: /etc/a/file
      mode: 0o640
      contents:
        inline: "# text: 100%% & <tags>\\n"
    - path: /etc/a/sourced
      overwrite: true
      contents: {source: "data:;base64,H4sIAAAAAAACAwMAAAAAAAAAAAA=", compression: gzip}
      append:
        - inline: more
  links:
    - {path: /etc/soft, target: a/file, overwrite: false}
    - {path: /etc/hard, target: /etc/a/file, hard: true}
systemd:
  units:
    - name: one.service
      enabled: false
      mask: true
      contents: |
        [Service]
        Type=oneshot
        ExecStart=/bin/true
      dropins:
        - name: 10-more.conf
          contents: "[Service]\\nUser=nobody\\n"
passwd:
  groups:
    - {name: people, gid: 1500, system: false, password_hash: "*"}
  users:
    - name: core
      uid: 1001
      gecos: One Two
      home_dir: /var/home/core
      shell: /bin/bash
      groups: [wheel, sudo]
      primary_group: people
      no_create_home: false
      no_log_init: true
      no_user_group: true
      system: false
      password_hash: $y$j9T$x
      ssh_authorized_keys: ["ssh-ed25519 AAAA me"]
""" % ("0" * 128)

EVERYTHING = r"""
variant: fcos
version: 1.6.0
ignition:
  proxy: {http_proxy: http://p.example, https_proxy: https://p.example, no_proxy: [a, b]}
kernel_arguments:
  should_exist: [ip=dhcp, rd.neednet=1]
  should_not_exist: [quiet]
storage:
  disks:
    - device: /dev/nvme0n1
      partitions:
        - {label: root, number: 4, size_mib: 15000, resize: true}
        - {label: var, number: 5, size_mib: 999}
        - {label: other, number: 6, size_mib: 999}
        - {label: swap, number: 7, size_mib: 999}
        - {label: plain, number: 8, size_mib: 999}
        - {label: none, number: 10}
        - {number: 9, should_exist: false}
  luks:
    - &volume
      name: var
      label: var-luks
      uuid: 0fc63daf-8483-4772-8e79-3d69d8477de5
      device: /dev/disk/by-partlabel/var
      wipe_volume: true
      options: [--cipher, aes, --cipher, aes]
      key_file: {local: files/key}
      clevis:
        tpm2: true
        threshold: 2
        tang:
          - url: "@TANG_URL@"
          - {url: "@TANG_URL:two@", thumbprint: "@TANG_THUMBPRINT:two@"}
          - {url: http://10.0.2.2, thumbprint: "@TANG_THUMBPRINT:three@"}
          - {url: https://tang.example/x, thumbprint: dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI}
    - <<: *volume
      name: other
      label: other
      device: /dev/disk/by-partlabel/other
      clevis:
        custom:
          pin: sss
          needs_network: true
          config: |
            {"t": 2, "pins": {"tang": {"url": "@TANG_URL:two@"},
                              "tpm2": [{"pcr_ids": "0, 7", "pcr_bank": "sha256"}, {"pcr_ids": [4, "8"]}],
                              "sss": {"pins": {"tpm2": {}}}}}
    - name: swap
      device: /dev/disk/by-partlabel/swap
  filesystems:
    - path: /var
      device: /dev/mapper/var
      format: xfs
      wipe_filesystem: true
      label: var
      uuid: 0fc63daf-8483-4772-8e79-3d69d8477de6
      mount_options: [noatime, nosuid, noatime]
      with_mount_unit: true
    - {path: /var/a-b/.c d, device: /dev/disk/by-id/dm-name-other, format: ext4, with_mount_unit: true}
    - {device: /dev/mapper/swap, format: swap, with_mount_unit: true, mount_options: [pri=1]}
    - {device: /dev/disk/by-partlabel/plain, path: /var/plain, format: btrfs, with_mount_unit: true}
    - {device: /dev/disk/by-partlabel/none, format: none, wipe_filesystem: true}
  trees:
    - local: tree
    - {local: /tree/sub, path: /opt}
  files:
    - path: /file
      mode: 0600
      user: {name: core}
    - path: /etc/large
      contents: {local: files/large}
    - path: /etc/packed
      contents: {local: files/packed, compression: gzip}
    - path: /etc/binary
      contents: {local: files/binary}
    - path: /etc/odd
      contents:
        inline: yes
        verification: {hash: sha256-8a798890fe93817163b10b5f7bd2ca4d25d84c52739a645a889c173eee7d9d3d}
    - {path: /etc/empty, contents: {inline: ""}}
    - path: /etc/fetched
      contents:
        source: https://example.com/x
        http_headers: [{name: Accept, value: text/plain}]
  links:
    - {path: /tree-link, target: elsewhere}
systemd:
  units:
    - {name: var.mount, dropins: [{name: a.conf, contents_local: files/unit}]}
    - {name: a.service, contents_local: files/unit, enabled: true}
passwd:
  groups: [{name: old, should_exist: false}]
  users:
    - {name: core, ssh_authorized_keys: [ssh-ed25519 one], ssh_authorized_keys_local: [files/keys]}
    - {name: gone, should_exist: false}
"""

LOCAL_UNIT = "[Unit]\nDescription=local\n[Install]\nWantedBy=multi-user.target\n"

SMALL = """
variant: fcos
version: {version}
storage:
  luks:
    - name: var
      device: /dev/vdb
      key_file: {{inline: secret}}
      clevis:
        custom: {{pin: tang, config: '{{"url": "@TANG_URL@"}}', needs_network: true}}
  filesystems:
    - {{device: /dev/mapper/var, format: xfs, path: /srv, with_mount_unit: true}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the local files that EVERYTHING names."""
    files, tree = tmp_path / "files", tmp_path / "tree"
    files.mkdir()
    (tree / "sub").mkdir(parents=True)
    (files / "key").write_text("local passphrase")
    (files / "large").write_text("the same line again\n" * 200)
    (files / "packed").write_bytes(gzip.compress(b"packed by the user", mtime=0))
    (files / "binary").write_bytes(bytes(range(256)))
    (files / "unit").write_text(LOCAL_UNIT)
    (files / "keys").write_text("ssh-ed25519 two\r\n\nssh-ed25519 three\n")
    (tree / "file").write_text("of the tree")
    (tree / "sub" / "program").write_text("#!/bin/sh\n")
    (tree / "sub" / "program").chmod(0o700)
    (tree / "sub" / "link").symlink_to("program")
    return tmp_path


def write(folder: Path, text: str, name: str = "policy.bu") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text).lstrip())
    return path


def own(path: Path) -> dict[str, Any]:
    return understand(path).config


def node(config: dict[str, Any], kind: str, path: str) -> dict[str, Any]:
    (found,) = (item for item in config["storage"][kind] if item.get("path") == path)
    return dict(found)


def contents(config: dict[str, Any], path: str) -> bytes:
    said = node(config, "files", path)["contents"]
    data = urls.decode(said["source"])
    return urls.unpack(data) if said["compression"] == "gzip" else data


# --- what the files become


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_every_policy_of_the_suite_can_be_read_and_rendered(path: Path) -> None:
    policy = read_policy(path)
    assert policy.name == path.stem
    assert policy.source == path.read_text()
    assert policy.source.startswith("# ")
    assert policy.disk == ("/dev/sda" if path.stem.startswith("sda-") else "/dev/nvme0n1")
    assert b"@TANG" not in render(policy, SERVERS)
    if path.stem in ("side-by-side", "tpm-guarded"):
        names = [volume.name for volume in policy.volumes]
        assert [volume.mount_point for volume in policy.volumes] == [f"/var/lab/{name}" for name in names]
        assert [volume.passphrase for volume in policy.volumes] == [f"password of {name}" for name in names]
        return
    (volume,) = policy.volumes
    if path.stem == "data-behind-tang":
        assert (volume.name, volume.mount_point, volume.passphrase) == ("data", "/var/lib/data", "password")
        return
    if path.stem.startswith(("moved-root", "mirrored-root")):
        device = "/dev/md/md-root" if "mirrored" in path.stem else "/dev/disk/by-partlabel/root"
        assert (volume.name, volume.mount_point, volume.device) == ("root", "/", device)
        assert policy.kernel_arguments == ()  # the first boot finds out what the next ones need
        return
    assert (volume.name, volume.mount_point, volume.passphrase) == ("var", "/var", "password")
    assert volume.device == "/dev/disk/by-partlabel/var"
    networked = policy.tang_servers or path.stem == "passphrase"  # a Tang server may be bound to it by hand
    assert policy.kernel_arguments == (("ip=dhcp", "rd.neednet=1") if networked else ())


@pytest.mark.parametrize(
    ("name", "pins"),
    [
        ("seed-000", Sss(2, (Tpm2Pin(), TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")))),
        ("tpm2-and-tang", Sss(2, (Tpm2Pin(), TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")))),
        ("tpm2-or-tang", Sss(1, (Tpm2Pin(), TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")))),
        ("tang", Sss(1, (TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@"),))),
        ("tpm2", Sss(1, (Tpm2Pin(),))),
        ("tpm2-pcr0", Tpm2Pin((0,), "sha256")),
        ("tpm2-pcr7", Tpm2Pin((7,), "sha256")),
    ],
)
def test_the_policies_of_the_suite_mean_what_they_are_called(name: str, pins: object) -> None:
    (path,) = (path for path in POLICIES if path.stem == name)
    assert read_policy(path).volumes[0].pins == pins


def test_the_seed_is_translated_word_for_word() -> None:
    (path,) = (path for path in POLICIES if path.stem == "seed-000")
    config = own(path)
    assert config == {
        "ignition": {"version": "3.5.0"},
        "kernelArguments": {"shouldExist": ["ip=dhcp", "rd.neednet=1"]},
        "storage": {
            "disks": [
                {
                    "device": "/dev/nvme0n1",
                    "wipeTable": False,
                    "partitions": [
                        {"number": 4, "label": "root", "sizeMiB": 15000, "resize": True},
                        {"number": 5, "label": "var", "sizeMiB": 0},
                    ],
                }
            ],
            "luks": [
                {
                    "name": "var",
                    "device": "/dev/disk/by-partlabel/var",
                    "wipeVolume": True,
                    "keyFile": {"source": "data:,password", "compression": ""},
                    "clevis": {
                        "tpm2": True,
                        "tang": [{"url": "@TANG_URL@", "thumbprint": "@TANG_THUMBPRINT@"}],
                        "threshold": 2,
                    },
                }
            ],
            "filesystems": [
                {
                    "path": "/var",
                    "device": "/dev/mapper/var",
                    "format": "xfs",
                    "wipeFilesystem": True,
                    "label": "var",
                }
            ],
        },
        "systemd": {
            "units": [
                {
                    "name": "var.mount",
                    "enabled": True,
                    "contents": "# Generated by Butane\n"
                    "[Unit]\n"
                    "Requires=systemd-fsck@dev-mapper-var.service\n"
                    "After=systemd-fsck@dev-mapper-var.service\n"
                    "\n"
                    "[Mount]\nWhere=/var\nWhat=/dev/mapper/var\nType=xfs\nOptions=_netdev\n"
                    "\n"
                    "[Install]\nRequiredBy=remote-fs.target",
                }
            ]
        },
    }


def test_a_file_of_every_feature(folder: Path) -> None:
    policy = read_policy(write(folder, EVERYTHING))
    one, two, three = policy.volumes
    assert (one.mount_point, one.passphrase) == ("/var", "local passphrase")
    assert one.pins == Sss(
        2,
        (
            Tpm2Pin(),
            TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@"),
            TangPin("two", "@TANG_URL:two@", "@TANG_THUMBPRINT:two@"),
            TangPin("three", "http://10.0.2.2", "@TANG_THUMBPRINT:three@"),
            TangPin("https://tang.example/x", "https://tang.example/x", "dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI"),
        ),
    )
    assert two.mount_point == "/var/a-b/.c d"
    assert two.pins == Sss(
        2,
        (
            TangPin("two", "@TANG_URL:two@", "@TANG_THUMBPRINT:two@"),
            Tpm2Pin((0, 7), "sha256", name="tpm2-pcr0+7"),
            Tpm2Pin((4, 8), name="tpm2-pcr4+8"),
            Sss(1, (Tpm2Pin(),)),
        ),
    )
    assert (three.pins, three.passphrase, three.mount_point) == (None, None, None)
    assert policy.tang_servers == ("tang", "two", "three")
    assert [policy.address_of(service) for service in policy.provided] == ["", "", "http://10.0.2.2"]


def test_own_translation_of_local_files_trees_and_units(folder: Path) -> None:
    config = own(write(folder, EVERYTHING))
    assert contents(config, "/etc/large") == b"the same line again\n" * 200
    assert node(config, "files", "/etc/large")["contents"]["compression"] == "gzip"
    assert node(config, "files", "/etc/packed")["contents"]["source"].startswith("data:;base64,H4sI")
    assert contents(config, "/etc/packed") == b"packed by the user"
    assert contents(config, "/etc/binary") == bytes(range(256))
    assert contents(config, "/etc/odd") == b"yes"
    assert contents(config, "/file") == b"of the tree"
    assert node(config, "files", "/file")["mode"] == 0o600
    assert node(config, "files", "/sub/program")["mode"] == 0o755
    assert node(config, "links", "/opt/link") == {"path": "/opt/link", "target": "program"}
    units = {unit["name"]: unit for unit in config["systemd"]["units"]}
    assert units["a.service"]["contents"] == LOCAL_UNIT
    assert units["var.mount"]["dropins"] == [{"name": "a.conf", "contents": LOCAL_UNIT}]
    assert "Options=noatime,nosuid,noatime,_netdev\n" in units["var.mount"]["contents"]
    assert "RequiredBy=swap.target" in units[r"dev-mapper-swap.swap"]["contents"]
    assert "RequiredBy=local-fs.target" in units["var-plain.mount"]["contents"]
    # Butane does not look into a custom pin, so what it guards is not remote.
    assert "RequiredBy=local-fs.target" in units[r"var-a\x2db-.c\x20d.mount"]["contents"]
    assert config["passwd"]["users"][0]["sshAuthorizedKeys"] == [
        "ssh-ed25519 one",
        "ssh-ed25519 two",
        "ssh-ed25519 three",
    ]


def test_the_users_own_unit_goes_over_the_generated_one(tmp_path: Path) -> None:
    text = SMALL.format(version="1.5.0") + "systemd: {units: [{name: srv.mount, contents: '[Mount]'}, {name: a.timer}]}"
    units = own(write(tmp_path, text))["systemd"]["units"]
    assert units == [{"name": "srv.mount", "enabled": True, "contents": "[Mount]"}, {"name": "a.timer"}]


@pytest.mark.parametrize(("minor", "spec"), [(2, 2), (3, 2), (4, 3), (5, 4)])
def test_each_version_gives_its_spec_and_the_guest_what_it_takes(tmp_path: Path, minor: int, spec: int) -> None:
    policy = read_policy(write(tmp_path, SMALL.format(version=f"1.{minor}.0")))
    assert policy.config["ignition"] == {"version": f"3.{spec}.0"}
    assert json.loads(render(policy, SERVERS, spec=3))["ignition"]["version"] == f"3.{min(spec, 3)}.0"
    assert policy.volumes[0].pins == TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")
    custom = json.loads(render(policy, SERVERS))["storage"]["luks"][0]["clevis"]["custom"]
    assert json.loads(custom["config"]) == {"url": SERVERS["tang"].url, "thp": SERVERS["tang"].thumbprint}


def test_json_to_which_nothing_is_added_stays_as_it_was_written(tmp_path: Path) -> None:
    written = f'{{"url" :"http://tang.example",  "thp" :"{"x" * 43}"}}'
    text = SMALL.format(version="1.4.0").replace('{"url": "@TANG_URL@"}', written)
    [volume] = read_policy(write(tmp_path, text)).config["storage"]["luks"]
    assert volume["clevis"]["custom"]["config"] == written


def test_two_tpm_pins_are_told_apart_by_their_pcrs(tmp_path: Path) -> None:
    config = '{"pins": {"tpm2": [{"pcr_ids": "0"}, {"pcr_ids": [23]}]}}'
    text = SMALL.format(version="1.4.0").replace("pin: tang", "pin: sss").replace('{"url": "@TANG_URL@"}', config)
    tree = Sss(1, (Tpm2Pin((0,), name="tpm2-pcr0"), Tpm2Pin((23,), name="tpm2-pcr23")))
    assert read_policy(write(tmp_path, text)).volumes[0].pins == tree


def test_a_file_without_disks_or_volumes(tmp_path: Path) -> None:
    policy = read_policy(write(tmp_path, "variant: fcos\nversion: 1.6.0\nstorage: {files: []}\n"))
    assert policy.config == {"ignition": {"version": "3.5.0"}}
    assert (policy.volumes, policy.disk, policy.tang_servers) == ((), "/dev/nvme0n1", ())


@pytest.mark.parametrize(
    ("key_file", "passphrase"),
    [
        ("{inline: password}", "password"),
        ('{inline: "two words"}', "two words"),
        ('{inline: "cannot be typed\\n"}', None),
        ("{source: 'data:,pass%20word'}", "pass word"),
        ("{source: 'data:;base64,cGFzcw=='}", "pass"),
        ("{source: 'data:;base64,H4sIAAAAAAACAytILC4uzy9KAQA/zdjxCAAAAA==', compression: gzip}", None),
        ("{source: 'data:;base64,//79'}", None),
        ("{source: 'https://example.com/key'}", None),
        ("{}", None),
    ],
)
def test_the_passphrase_is_what_can_be_typed(tmp_path: Path, key_file: str, passphrase: str | None) -> None:
    if "gzip" in key_file:
        packed = urls.encode(gzip.compress(b"x" * 40, mtime=0), compressed=True)[0]
        key_file, passphrase = f"{{source: '{packed}', compression: gzip}}", "x" * 40
    text = SMALL.format(version="1.4.0").replace("{inline: secret}", key_file)
    assert read_policy(write(tmp_path, text)).volumes[0].passphrase == passphrase


# --- the real Ignition, where it is


@pytest.mark.parametrize("text", [OLDEST, EVERYTHING, SMALL.format(version="1.5.0")], ids=["old", "all", "small"])
def test_the_guests_ignition_takes_our_output(folder: Path, text: str) -> None:
    command = shutil.which("ignition-validate")
    if not command:
        pytest.skip("no ignition-validate on PATH (Debian: package ignition)")
    config = folder / "config.ign"
    config.write_bytes(render(read_policy(write(folder, text)), SERVERS, spec=3))
    done = subprocess.run([command, str(config)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
