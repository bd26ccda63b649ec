"""Butane files that are made, not kept: each snippet in the versions around the one that brought it, and mixtures."""

import random
from collections.abc import Iterator
from urllib.parse import quote

THP = "5cNpZt0aWvE9uKqRj3Ym7LxTbQ1oGdSfHi2Ck8zUe4A"
HASH = "sha256-ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # of "a"
GUID = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def _merging_json(body: str, spec: str = "3.2.0", more: str = "") -> str:
    return f'{{"ignition": {{"version": "{spec}"{more}}}, {body}}}'


def _merging(body: str, spec: str = "3.2.0", merging: str = "") -> str:
    """The section that merges a config of this body, which itself merges one."""
    more = f', "config": {{"merge": [{{"source": "data:,{quote(merging)}"}}]}}' if merging else ""
    return f"ignition: {{config: {{merge: [{{inline: '{_merging_json(body, spec, more)}'}}]}}}}"


SNIPPETS: dict[str, tuple[int, str]] = {
    # disks
    "disk": (
        0,
        "storage: {disks: [{device: /dev/vda, partitions: [{label: a, number: 5, size_mib: 10, start_mib: 2048}]}]}",
    ),
    "disk-guids": (
        0,
        f"storage: {{disks: [{{device: /dev/vda, wipe_table: false, partitions: [{{number: 5, guid: {GUID}, type_guid: {GUID.upper()}}}]}}]}}",
    ),
    "disk-resize": (
        2,
        "storage: {disks: [{device: /dev/vda, partitions: [{label: root, number: 4, size_mib: 9000, resize: true}]}]}",
    ),
    "disk-by-label": (
        0,
        "storage: {disks: [{device: /dev/vda, partitions: [{label: a}, {label: b, wipe_partition_entry: true}]}]}",
    ),
    "disk-twice": (0, "storage: {disks: [{device: /dev/vda}, {device: /dev/vda}]}"),
    "disk-relative": (0, "storage: {disks: [{device: vda}]}"),
    "disk-unnamed": (0, "storage: {disks: [{partitions: []}]}"),
    "partition-nameless": (0, "storage: {disks: [{device: /dev/vda, partitions: [{size_mib: 1}]}]}"),
    "partition-number-twice": (
        0,
        "storage: {disks: [{device: /dev/vda, partitions: [{number: 5, label: a}, {number: 5, label: b}]}]}",
    ),
    "partition-label-twice": (
        0,
        "storage: {disks: [{device: /dev/vda, partitions: [{number: 5, label: a}, {number: 6, label: a}]}]}",
    ),
    "partition-label-colon": (0, "storage: {disks: [{device: /dev/vda, partitions: [{number: 5, label: 'a:b'}]}]}"),
    "partition-label-long": (
        0,
        f"storage: {{disks: [{{device: /dev/vda, partitions: [{{number: 5, label: {'x' * 37}}}]}}]}}",
    ),
    "partition-label-umlauts": (
        0,
        f"storage: {{disks: [{{device: /dev/vda, partitions: [{{number: 5, label: {'ü' * 20}}}]}}]}}",
    ),
    "partition-overlap": (
        0,
        "storage: {disks: [{device: /dev/vda, partitions: [{number: 5, start_mib: 1, size_mib: 9}, {number: 6, start_mib: 9, size_mib: 1}]}]}",
    ),
    "partition-gone": (
        0,
        "storage: {disks: [{device: /dev/vda, partitions: [{number: 5, should_exist: false, wipe_partition_entry: true}]}]}",
    ),
    "partition-gone-labelled": (
        0,
        "storage: {disks: [{device: /dev/vda, partitions: [{number: 5, should_exist: false, label: a}]}]}",
    ),
    "partition-gone-numberless": (
        0,
        "storage: {disks: [{device: /dev/vda, partitions: [{number: 5, should_exist: false}, {label: a}]}]}",
    ),
    "partition-guid-wrong": (0, "storage: {disks: [{device: /dev/vda, partitions: [{number: 5, guid: x}]}]}"),
    "partition-negative": (0, "storage: {disks: [{device: /dev/vda, partitions: [{number: -1, size_mib: -5}]}]}"),
    "partition-of-mirror": (
        3,
        "boot_device: {layout: x86_64, mirror: {devices: [/dev/sda, /dev/sdb]}}\nstorage: {disks: [{device: /dev/sda, partitions: [{label: root-1, size_mib: 9000}]}]}",
    ),
    # raid
    "raid": (
        0,
        "storage: {raid: [{name: data, level: raid1, devices: [/dev/vdb, /dev/vdc], spares: 0, options: [--a, --a]}]}",
    ),
    "raid-level": (0, "storage: {raid: [{name: data, level: raid7, devices: [/dev/vdb]}]}"),
    "raid-spares": (0, "storage: {raid: [{name: data, level: raid0, devices: [/dev/vdb], spares: 1}]}"),
    "raid-devices": (0, "storage: {raid: [{name: data, level: raid1, devices: []}]}"),
    "raid-levelless": (0, "storage: {raid: [{name: data, devices: [/dev/vdb]}]}"),
    # luks
    "luks": (
        2,
        f"storage: {{luks: [{{name: a, label: b, uuid: {GUID}, device: /dev/vdb, wipe_volume: true, options: [-q, -q], key_file: {{inline: a}}, clevis: {{tpm2: true}}}}]}}",
    ),
    "luks-tang": (
        2,
        f"storage: {{luks: [{{name: a, device: /dev/vdb, clevis: {{threshold: 2, tpm2: true, tang: [{{url: http://t.example, thumbprint: {THP}}}]}}}}]}}",
    ),
    "luks-tang-no-thumbprint": (
        2,
        "storage: {luks: [{name: a, device: /dev/vdb, clevis: {tang: [{url: http://t.example}]}}]}",
    ),
    "luks-tang-scheme": (
        2,
        f"storage: {{luks: [{{name: a, device: /dev/vdb, clevis: {{tang: [{{url: t.example, thumbprint: {THP}}}]}}}}]}}",
    ),
    "luks-tang-adv": (
        5,
        f"storage: {{luks: [{{name: a, device: /dev/vdb, clevis: {{tang: [{{url: http://t.example, thumbprint: {THP}, advertisement: '{{}}'}}]}}}}]}}",
    ),
    "luks-tang-adv-no-json": (
        5,
        f"storage: {{luks: [{{name: a, device: /dev/vdb, clevis: {{tang: [{{url: http://t.example, thumbprint: {THP}, advertisement: '{{'}}]}}}}]}}",
    ),
    "luks-custom": (
        2,
        'storage: {luks: [{name: a, device: /dev/vdb, clevis: {custom: {pin: tpm2, config: \'{"pcr_ids": "7"}\', needs_network: false}}}]}',
    ),
    "luks-custom-beside": (
        2,
        "storage: {luks: [{name: a, device: /dev/vdb, clevis: {tpm2: true, custom: {pin: tpm2, config: '{}'}}}]}",
    ),
    "luks-custom-unknown": (
        2,
        "storage: {luks: [{name: a, device: /dev/vdb, clevis: {custom: {pin: yubikey, config: '{}'}}}]}",
    ),
    "luks-custom-half": (2, "storage: {luks: [{name: a, device: /dev/vdb, clevis: {custom: {pin: tpm2}}}]}"),
    "luks-threshold": (2, "storage: {luks: [{name: a, device: /dev/vdb, clevis: {tpm2: true, threshold: 2}}]}"),
    "luks-discard": (5, "storage: {luks: [{name: a, device: /dev/vdb, discard: true, open_options: [--x, --x]}]}"),
    "luks-cex": (6, "storage: {luks: [{name: a, device: /dev/vdb, cex: {enabled: true}}]}"),
    "luks-cex-clevis": (
        6,
        "storage: {luks: [{name: a, device: /dev/vdb, cex: {enabled: true}, clevis: {tpm2: true}}]}",
    ),
    "luks-cex-key": (6, "storage: {luks: [{name: a, device: /dev/vdb, cex: {enabled: true}, key_file: {inline: a}}]}"),
    "luks-slash": (2, "storage: {luks: [{name: a/b, device: /dev/vdb}]}"),
    "luks-nowhere": (2, "storage: {luks: [{name: a}]}"),
    "luks-label-long": (2, f"storage: {{luks: [{{name: a, device: /dev/vdb, label: {'x' * 48}}}]}}"),
    "luks-twice": (2, "storage: {luks: [{name: a, device: /dev/vdb}, {name: a, device: /dev/vdc}]}"),
    "luks-key-remote": (
        2,
        f"storage: {{luks: [{{name: a, device: /dev/vdb, key_file: {{source: 'https://k.example/k', verification: {{hash: {HASH}}}}}}}]}}",
    ),
    "luks-key-scheme": (2, "storage: {luks: [{name: a, device: /dev/vdb, key_file: {source: 'file:///k'}}]}"),
    "luks-key-binary": (2, "storage: {luks: [{name: a, device: /dev/vdb, key_file: {inline: !!binary AP8=}}]}"),
    # boot_device
    "root-tpm": (3, "boot_device: {luks: {tpm2: true}}"),
    "root-tang": (3, f"boot_device: {{luks: {{threshold: 1, tang: [{{url: http://t.example, thumbprint: {THP}}}]}}}}"),
    "root-discard": (5, "boot_device: {luks: {tpm2: true, discard: true}}"),
    "root-device": (6, "boot_device: {luks: {device: /dev/vda}}"),
    "root-nothing": (3, "boot_device: {luks: {threshold: 1}}"),
    "root-layout": (3, "boot_device: {layout: sparc, luks: {tpm2: true}}"),
    "root-ppc": (3, "boot_device: {layout: ppc64le, mirror: {devices: [/dev/sda, /dev/sdb]}, luks: {tpm2: true}}"),
    "root-arm": (3, "boot_device: {layout: aarch64, mirror: {devices: [/dev/sda, /dev/sdb]}}"),
    "root-zfcp": (6, "boot_device: {layout: s390x-zfcp, luks: {device: /dev/sda, tpm2: true}}"),
    "root-eckd-wrong": (6, "boot_device: {layout: s390x-eckd, luks: {device: /dev/sda, tpm2: true}}"),
    "root-cex-x86": (6, "boot_device: {layout: x86_64, luks: {cex: {enabled: true}}}"),
    "mirror-one": (3, "boot_device: {layout: x86_64, mirror: {devices: [/dev/sda]}}"),
    "mirror-no-layout": (3, "boot_device: {mirror: {devices: [/dev/sda, /dev/sdb]}}"),
    "mirror-s390x": (6, "boot_device: {layout: s390x-virt, mirror: {devices: [/dev/sda, /dev/sdb]}}"),
    "grub": (5, "grub: {users: [{name: root, password_hash: x}, {name: other, password_hash: y}]}"),
    "grub-half": (5, "grub: {users: [{name: root}]}"),
    # file systems
    "fs": (
        0,
        f"storage: {{filesystems: [{{device: /dev/vdb, format: ext4, path: /var/a, label: a, uuid: {GUID}, options: [-q, -q], wipe_filesystem: true}}]}}",
    ),
    "fs-unit": (
        1,
        "storage: {filesystems: [{device: /dev/vdb, format: xfs, path: '/var/a b', with_mount_unit: true, mount_options: [a, b]}]}",
    ),
    "fs-unit-elsewhere": (
        1,
        "storage: {filesystems: [{device: /dev/vdb, format: xfs, path: /srv, with_mount_unit: true}]}",
    ),
    "fs-unit-swap": (1, "storage: {filesystems: [{device: /dev/vdb, format: swap, with_mount_unit: true}]}"),
    "fs-unit-formless": (1, "storage: {filesystems: [{device: /dev/vdb, path: /var/a, with_mount_unit: true}]}"),
    "fs-unit-pathless": (1, "storage: {filesystems: [{device: /dev/vdb, format: xfs, with_mount_unit: true}]}"),
    "fs-none": (0, "storage: {filesystems: [{device: /dev/vdb, format: none}]}"),
    "fs-zfs": (0, "storage: {filesystems: [{device: /dev/vdb, format: zfs}]}"),
    "fs-formless": (0, "storage: {filesystems: [{device: /dev/vdb, label: a}]}"),
    "fs-label-long": (0, "storage: {filesystems: [{device: /dev/vdb, format: xfs, label: thirteen-long}]}"),
    "fs-twice": (0, "storage: {filesystems: [{device: /dev/vdb, format: xfs}, {device: /dev/vdb, format: ext4}]}"),
    "fs-remote": (
        2,
        f"storage: {{luks: [{{name: a, device: /dev/vdb, clevis: {{tang: [{{url: http://t.example, thumbprint: {THP}}}]}}}}], filesystems: [{{device: /dev/disk/by-id/dm-name-a, format: xfs, path: /var/a, with_mount_unit: true}}]}}\nsystemd: {{units: [{{name: var-a.mount, enabled: false}}]}}",
    ),
    # files
    "file": (
        0,
        f"storage: {{files: [{{path: /etc/a, mode: 0644, overwrite: true, user: {{id: 0}}, group: {{name: root}}, contents: {{inline: a, verification: {{hash: {HASH}}}}}}}]}}",
    ),
    "file-inline-special": (0, 'storage: {files: [{path: /etc/a, contents: {inline: "ü 100% <&> \\"\'\\n\\t"}}]}'),
    "file-inline-long": (0, f"storage: {{files: [{{path: /etc/a, contents: {{inline: {'ab' * 200}}}}}]}}"),
    "file-inline-empty": (0, "storage: {files: [{path: /etc/a, contents: {inline: ''}}]}"),
    "file-local": (1, "storage: {files: [{path: /etc/a, contents: {local: install.key}}]}"),
    "file-local-missing": (1, "storage: {files: [{path: /etc/a, contents: {local: none}}]}"),
    "file-local-outside": (1, "storage: {files: [{path: /etc/a, contents: {local: ../a}}]}"),
    "file-two-sources": (1, "storage: {files: [{path: /etc/a, contents: {inline: a, local: install.key}}]}"),
    "file-append": (0, "storage: {files: [{path: /etc/a, append: [{inline: a}, {inline: a}]}]}"),
    "file-headers": (
        1,
        "storage: {files: [{path: /etc/a, contents: {source: 'https://a', http_headers: [{name: b, value: c}]}}]}",
    ),
    "file-headers-data": (
        1,
        "storage: {files: [{path: /etc/a, contents: {source: 'data:,a', http_headers: [{name: b, value: c}]}}]}",
    ),
    "file-compression": (0, "storage: {files: [{path: /etc/a, contents: {source: 'data:,a', compression: xz}}]}"),
    "file-hash-short": (
        0,
        "storage: {files: [{path: /etc/a, contents: {inline: a, verification: {hash: sha512-00}}}]}",
    ),
    "file-hash-wrong": (
        0,
        f"storage: {{files: [{{path: /etc/a, contents: {{inline: b, verification: {{hash: {HASH}}}}}}}]}}",
    ),
    "file-hash-alone": (0, f"storage: {{files: [{{path: /etc/a, contents: {{verification: {{hash: {HASH}}}}}}}]}}"),
    "file-arn": (0, "storage: {files: [{path: /etc/a, contents: {source: 'arn:aws:s3:::bucket/key'}}]}"),
    "file-overwrite-nothing": (0, "storage: {files: [{path: /etc/a, overwrite: true}]}"),
    "file-mode-decimal": (0, "storage: {files: [{path: /etc/a, mode: 644}]}"),
    "file-mode-special": (0, "storage: {files: [{path: /etc/a, mode: 04755}]}"),
    "file-mode-wrong": (0, "storage: {files: [{path: /etc/a, mode: 0o10000}]}"),
    "file-twice": (0, "storage: {files: [{path: /etc/a}], directories: [{path: /etc/a}]}"),
    "file-dirty": (0, "storage: {files: [{path: /etc//a}]}"),
    "file-through-link": (0, "storage: {links: [{path: /etc/a, target: /b}], files: [{path: /etc/a/b}]}"),
    "file-owner-both": (0, "storage: {files: [{path: /etc/a, user: {id: 0, name: root}}]}"),
    "link-hard-directory": (0, "storage: {links: [{path: /a, target: /b, hard: true}], directories: [{path: /b}]}"),
    "link-targetless": (0, "storage: {links: [{path: /a}]}"),
    "tree": (1, "storage: {trees: [{local: tree, path: /opt}]}"),
    "tree-owner": (7, "storage: {trees: [{local: tree, user: {name: keeper}, dir_mode: 0700, file_mode: 0600}]}"),
    "tree-over-file": (1, "storage: {trees: [{local: tree}], files: [{path: /etc/os-release, contents: {inline: a}}]}"),
    "tree-onto-file": (1, "storage: {trees: [{local: tree}], files: [{path: /etc/os-release, mode: 0600}]}"),
    "tree-missing": (1, "storage: {trees: [{local: none}]}"),
    # units, users, the rest
    "unit": (
        0,
        'systemd: {units: [{name: a.service, enabled: true, contents: "[Service]\\nExecStart=/bin/true\\n", dropins: [{name: b.conf, contents: "[Unit]\\n"}]}]}',
    ),
    "unit-local": (5, "systemd: {units: [{name: a.service, contents_local: unit.service}]}"),
    "unit-both": (5, "systemd: {units: [{name: a.service, contents: '[Unit]', contents_local: unit.service}]}"),
    "unit-name": (0, "systemd: {units: [{name: a}]}"),
    "unit-garbage": (0, 'systemd: {units: [{name: a.service, contents: "[Service]\\nExecStart\\n"}]}'),
    "unit-continued": (
        0,
        'systemd: {units: [{name: a.service, contents: "# c \\\\\\nmore\\n[Service]\\nExecStart=/bin/true \\\\\\n  a\\n"}]}',
    ),
    "unit-section": (0, 'systemd: {units: [{name: a.service, contents: "[Service] x\\n"}]}'),
    "unit-dropin-name": (0, "systemd: {units: [{name: a.service, dropins: [{name: b}]}]}"),
    "unit-over-file": (
        0,
        "systemd: {units: [{name: a.service, contents: '[Unit]'}]}\nstorage: {files: [{path: /etc/systemd/system/a.service}]}",
    ),
    "user": (
        0,
        "passwd: {users: [{name: a, uid: 1500, groups: [b, c], ssh_authorized_keys: [k], shell: /bin/sh, system: false}], groups: [{name: b, gid: 1}]}",
    ),
    "user-keys-local": (5, "passwd: {users: [{name: a, ssh_authorized_keys_local: [keeper.pub]}]}"),
    "user-twice": (0, "passwd: {users: [{name: a}, {name: a}]}"),
    "user-gone": (2, "passwd: {users: [{name: a, should_exist: false}]}"),
    "kernel-arguments": (4, "kernel_arguments: {should_exist: [a, b], should_not_exist: [c]}"),
    "kernel-arguments-twice": (4, "kernel_arguments: {should_exist: [a], should_not_exist: [a]}"),
    "proxy": (1, "ignition: {proxy: {http_proxy: http://p, https_proxy: http://p, no_proxy: [a]}}"),
    "proxy-wrong": (1, "ignition: {proxy: {http_proxy: p}}"),
    "timeouts": (0, "ignition: {timeouts: {http_total: 1, http_response_headers: 2}}"),
    "certificates": (0, "ignition: {security: {tls: {certificate_authorities: [{source: 'https://c'}]}}}"),
    "config-merge": (0, "ignition: {config: {merge: [{source: 'https://c'}]}}"),
    "config-replace": (0, "ignition: {config: {replace: {source: 'https://c'}}}"),
    "merge-nothing": (0, "ignition: {config: {merge: [{}]}}"),
    "merge-local": (1, "ignition: {config: {merge: [{local: second-disk.ign}, {local: ignition-3.6.ign}]}}"),
    "merge-older": (1, "ignition: {config: {merge: [{local: ignition-2.ign}]}}"),
    "merge-butane": (1, "ignition: {config: {merge: [{local: by-number.bu}]}}"),
    "merge-garbage": (1, "ignition: {config: {merge: [{inline: 'a: ['}]}}"),
    "merge-wrong": (1, _merging('"storage": {"files": [{"path": "a"}]}')),
    "merge-twice": (
        2,
        _merging('"storage": {"luks": [{"name": "b", "device": "/dev/vdb"}]}')
        + "\nstorage: {luks: [{name: a, device: /dev/vdb, clevis: {tpm2: true}}]}",
    ),
    "merge-luks": (
        2,
        _merging(
            '"storage": {"luks": [{"name": "a", "device": "/dev/vdc", "clevis": {"threshold": 1, "tang": [{"url": "http://t.example", '
            f'"thumbprint": "{THP[::-1]}"}}, {{"url": "http://u.example", "thumbprint": "{THP}"}}]}}, "options": ["-q"]}}]}}'
        )
        + "\nstorage: {luks: [{name: a, device: /dev/vdb, options: [-q, -v], label: l, clevis: {tpm2: true, threshold: 2,"
        f" tang: [{{url: http://t.example, thumbprint: {THP}}}]}}}}]}}",
    ),
    "merge-disks": (
        2,
        _merging(
            '"storage": {"disks": [{"device": "/dev/vda", "partitions": [{"number": 5, "label": "b", "sizeMiB": 7}, '
            '{"label": "c", "sizeMiB": 8}, {"label": "d"}]}, {"device": "/dev/vdb", "wipeTable": true}], '
            '"raid": [{"name": "r", "level": "raid1", "devices": ["/dev/vdd", "/dev/vdc"], "options": ["-a"]}], '
            '"filesystems": [{"device": "/dev/vde", "format": "ext4", "mountOptions": ["a"], "options": ["b"]}]}'
        )
        + "\nstorage: {disks: [{device: /dev/vda, wipe_table: false, partitions: [{number: 5, label: a, size_mib: 6}, "
        "{label: c, resize: true}]}], raid: [{name: r, level: raid0, devices: [/dev/vdc], options: [-a]}], "
        "filesystems: [{device: /dev/vde, format: xfs, label: l, mount_options: [a, c], options: [b], path: /p}]}",
    ),
    "merge-nodes": (
        1,
        _merging(
            '"storage": {"links": [{"path": "/a", "target": "/z"}], "directories": [{"path": "/b", "mode": 448}], "files": '
            '[{"path": "/c", "mode": 384, "append": [{"source": "data:,x"}]}, {"path": "/d"}]}'
        )
        + "\nstorage: {files: [{path: /a, mode: 0600}, {path: /b}, {path: /c, mode: 0644, overwrite: true, contents: {inline: c},"
        " append: [{inline: x}]}], directories: [{path: /d}], links: [{path: /e, target: /a}]}",
    ),
    "merge-units": (
        0,
        _merging(
            '"systemd": {"units": [{"name": "a.service", "enabled": false, "dropins": [{"name": "x.conf", "contents": '
            '"[Unit]\\n"}, {"name": "y.conf"}]}, {"name": "b.service", "mask": true}]}, "passwd": {"users": [{"name": "core", '
            '"groups": ["wheel", "docker"], "sshAuthorizedKeys": ["k", "l"], "shell": "/bin/sh"}, {"name": "v"}]}'
        )
        + "\nsystemd: {units: [{name: a.service, enabled: true, contents: '[Service]', dropins: [{name: x.conf}]}]}"
        "\npasswd: {users: [{name: core, groups: [wheel], ssh_authorized_keys: [j, k]}], groups: [{name: docker, gid: 9}]}",
    ),
    "merge-arguments": (
        4,
        _merging('"kernelArguments": {"shouldExist": ["b", "c"], "shouldNotExist": ["a", "d"]}', "3.3.0")
        + "\nkernel_arguments: {should_exist: [a, b], should_not_exist: [c, e]}",
    ),
    "merge-headers": (
        1,
        _merging(
            '"storage": {"files": [{"path": "/a", "contents": {"source": "https://a", "httpHeaders": [{"name": "b"}, '
            '{"name": "c", "value": "z"}]}}]}'
        )
        + "\nstorage: {files: [{path: /a, contents: {source: 'https://a', http_headers: [{name: b, value: x}, "
        "{name: c, value: y}]}}]}",
    ),
    "merge-several": (
        1,
        "ignition: {config: {merge: ["
        + ", ".join(
            f'{{inline: \'{{"ignition": {{"version": "3.{spec}.0"}}, "storage": {{"files": [{{"path": "/{at}", '
            f'"mode": {mode}}}]}}}}\'}}'
            for spec, at, mode in ((0, "a", 1), (1, "b", 2), (0, "a", 3))
        )
        + "]}}\nstorage: {files: [{path: /b, mode: 4}, {path: /c, mode: 5}]}",
    ),
    "merge-deeper": (
        1,
        _merging(
            '"storage": {"files": [{"path": "/a", "mode": 1}]}',
            merging=_merging_json('"storage": {"files": [{"path": "/a", "mode": 2}]}'),
        )
        + "\nstorage: {files: [{path: /a, user: {id: 1}}]}",
    ),
    "merge-authorities": (
        0,
        "ignition: {config: {merge: [{inline: '"
        '{"ignition": {"version": "3.0.0", "security": {"tls": {"certificateAuthorities": [{"source": "https://a.example"}, '
        '{"source": "data:,b"}]}}, "timeouts": {"httpTotal": 3}}}'
        "'}]}, security: {tls: {certificate_authorities: [{source: 'https://a.example'}]}}, timeouts: {http_total: 1, "
        "http_response_headers: 2}}",
    ),
    "replace-local": (1, "ignition: {config: {replace: {local: second-disk.ign}}}\nstorage: {files: [{path: /a}]}"),
    "config-empty": (0, "ignition: {config: {}}"),
    "empty-sections": (0, "storage: {disks: [], files: [], filesystems: []}\nsystemd: {units: []}\npasswd: {}"),
    "null-sections": (0, "storage:\nsystemd:\n  units:\n"),
    "unknown-key": (0, "storage: {files: [{path: /etc/a, contnets: {}}]}"),
    "wrong-type": (0, "storage: {files: {path: /etc/a}}"),
    "flag-as-text": (0, "storage: {disks: [{device: /dev/vda, wipe_table: 'true'}]}"),
    "number-as-text": (0, "storage: {files: [{path: /etc/a, mode: '0644'}]}"),
    "number-with-fraction": (0, "storage: {files: [{path: /etc/a, mode: 420.0}]}"),
    "merge-key": (0, "storage: {files: [&a {path: /etc/a, mode: 0600}, {<<: *a, path: /etc/b}]}"),
}

_FIXED = (("flatcar", "1.1.0"), ("fiot", "1.0.0"))


def files() -> Iterator[tuple[str, str]]:
    """Name and text of every file that is made."""
    for name, (since, body) in SNIPPETS.items():
        minors = sorted({max(since - 1, 0), since, 7})
        for variant, version in (*(("fcos", f"1.{minor}.0") for minor in minors), *_FIXED):
            yield f"{name}, {variant} {version}", _file(variant, version, [body])
    chance = random.Random(14)
    for number in range(60):
        chosen = chance.sample(sorted(SNIPPETS), 3)
        minor = chance.choice((4, 5, 6, 7))
        yield f"mixture {number}: {', '.join(chosen)}", _file("fcos", f"1.{minor}.0", [SNIPPETS[n][1] for n in chosen])


def _file(variant: str, version: str, bodies: list[str]) -> str:
    """A file of snippets; a section that is there twice is left to the first."""
    seen: set[str] = set()
    lines = [f"variant: {variant}", f"version: {version}"]
    for body in bodies:
        for section in body.split("\n"):
            key = section.partition(":")[0]
            if section.startswith(" ") or key not in seen:
                seen.add(key)
                lines.append(section)
    return "\n".join(lines) + "\n"
