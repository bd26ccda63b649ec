"""Files of other tools: one sentence says what each is and what to do with it."""

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.policy.butane import read_policy
from harness.policy.other_forms import other_form

CLOUD_CONFIG = "#cloud-config\nhostname: a\ndisk_setup:\n  /dev/vdb: {table_type: gpt}\n"
FORMS = {
    "cloud-config": (CLOUD_CONFIG, 1, "a cloud-config, which cloud-init reads; write what it encrypts as Butane"),
    "cloud-config template": (f"## template: jinja\n{CLOUD_CONFIG}", 1, "a cloud-config"),
    "autoinstall": (
        "#cloud-config\nautoinstall:\n  version: 1\n  storage: {config: [{type: dm_crypt}]}\n",
        2,
        "an autoinstall file, which Ubuntu's installer reads; its dm_crypt is storage.luks of a Butane file",
    ),
    "kickstart": (
        "# by hand\ntext\nlang en_US\npart / --encrypted --fstype=xfs --passphrase=a\n%post\n"
        'clevis luks bind -f -k- -d /dev/vda3 tang \'{"url": "http://a"}\' <<< a\n%end\n',
        4,
        "a Kickstart file, which Anaconda reads; its part --encrypted is storage.luks of a Butane file",
    ),
    "kickstart of anaconda": ("#version=RHEL9\nreboot\nautopart --encrypted\n", 1, "a Kickstart file"),
    "preseed": (
        "#_preseed_V1\nd-i debian-installer/locale string en_US\nd-i partman-auto/method string crypto\n",
        2,
        "a preseed file, which Debian's installer reads; its partman-crypto is storage.luks",
    ),
    "combustion": (
        "#!/bin/bash\n# combustion: network\nsystemd-cryptenroll --tpm2-device=auto /dev/vda3\n",
        2,
        "a Combustion script, which openSUSE's first boot runs; write what it encrypts as Butane",
    ),
    "talos": (
        "version: v1alpha1\nmachine:\n  systemDiskEncryption:\n    state: {keys: [{slot: 0, tpm: {}}]}\n",
        1,
        "a machine config of Talos; its systemDiskEncryption is storage.luks of a Butane file",
    ),
    "talos volume": (
        "apiVersion: v1alpha1\nkind: VolumeConfig\nname: STATE\nencryption: {}\n---\nversion: v1alpha1\n",
        1,
        "a machine config of Talos",
    ),
    "nixos": (
        '# hardware\n{ config, lib,\n  pkgs, ... }:\n\n{\n  boot.initrd.luks.devices.root.device = "/dev/vda2";\n}\n',
        1,
        "a NixOS configuration; its boot.initrd.luks is storage.luks of a Butane file",
    ),
    "shell script": (
        "#!/usr/bin/env bash\nset -e\ncryptsetup luksFormat /dev/vdb\n",
        1,
        "a script; write what it encr",
    ),
    "ansible": (
        "---\n- name: encrypt\n  hosts: all\n  become: true\n  tasks:\n    - crypttab: {name: a, state: present}\n",
        3,
        "an Ansible playbook; write what it encrypts as Butane",
    ),
    "crypttab": (
        "# <name> <device>\nroot UUID=0fc63daf-8483-4772-8e79-3d69d8477de4 none luks,discard\n",
        2,
        "a crypttab",
    ),
}


@pytest.mark.parametrize(("text", "line", "sentence"), FORMS.values(), ids=FORMS)
def test_it_is_one_sentence_with_file_and_line(tmp_path: Path, text: str, line: int, sentence: str) -> None:
    path = tmp_path / "mine.bu"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_policy(path)
    assert caught.value.what.startswith(f"mine.bu:{line}: this is {sentence}")
    assert caught.value.detail.strip() == text.splitlines()[line - 1].strip()
    assert "variant: fcos" in caught.value.what
    assert not caught.value.what.endswith("…")


@pytest.mark.parametrize("text", [text for text, _, _ in FORMS.values()], ids=FORMS)
def test_the_same_words_in_a_policy_file_are_its_own(text: str) -> None:
    assert other_form(f"{text}\nvariant: fcos\n") is None


def test_a_mark_of_the_byte_order_hides_nothing() -> None:
    told = other_form(f"\ufeff{CLOUD_CONFIG}")
    assert told and told == other_form(CLOUD_CONFIG)


def test_every_file_of_the_corpus_is_none_of_them() -> None:
    folder = Path(__file__).parent / "corpus" / "files"
    assert [
        path.name for path in folder.iterdir() if path.suffix in (".bu", ".ign") and other_form(path.read_text())
    ] == []
