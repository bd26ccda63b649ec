"""What `explain` says of a file beyond its volumes."""

from pathlib import Path

import pytest

from harness.explain.advice import advice
from harness.policy.butane import read_policy

FILES = Path(__file__).parent.parent / "policy" / "corpus" / "files"


def test_what_the_guest_cannot_have_comes_first_and_what_no_boot_shows_last() -> None:
    first, *_, last = advice(read_policy(FILES / "containers-tang.bu"))
    assert first.text.startswith("the laboratory cannot install it: containers-tang.bu:31: storage.filesystems[0].form")
    assert last.text.startswith("not exercised here: the user core; the server at http://192.168.77.3:8080: it is the")


def test_a_file_with_nothing_beside_its_volumes_has_neither() -> None:
    texts = [each.text for each in advice(read_policy(FILES / "by-number.bu"))]
    assert not [text for text in texts if text.startswith(("the laboratory cannot", "not exercised"))]


def test_a_file_that_encrypts_nothing_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.bu"
    path.write_text("variant: fcos\nversion: 1.6.0\n")
    (only,) = advice(read_policy(path))
    assert only.text == "it encrypts nothing: it has no storage.luks and no boot_device.luks"


CUSTOM = """variant: fcos
version: 1.6.0
storage:
  luks:
    - name: data
      device: /dev/vdb
      clevis: {custom: {pin: tang, needs_network: NEEDS, config: '{"url": "@TANG_URL@"}'}}
  filesystems:
    - {device: /dev/mapper/data, format: xfs, path: /var/data, with_mount_unit: true, mount_options: [OPTION]}
kernel_arguments: {should_exist: [ARGUMENT]}
"""


@pytest.mark.parametrize(
    ("needs", "option", "argument", "warned"),
    [
        ("false", "noatime", "quiet", {"does not say needs_network", "var-data.mount does not say _netdev"}),
        ("true", "noatime", "quiet", {"var-data.mount does not say _netdev"}),
        ("true", "_netdev", "quiet", set()),
        ("false", "noatime", "rd.neednet=1", set()),
    ],
)
def test_what_needs_the_network_later_must_say_so(
    tmp_path: Path, needs: str, option: str, argument: str, warned: set[str]
) -> None:
    """Butane and Ignition say it of `tang`, and of a custom pin only what the file says."""
    path = tmp_path / "mine.bu"
    path.write_text(CUSTOM.replace("NEEDS", needs).replace("OPTION", option).replace("ARGUMENT", argument))
    texts = [each.text for each in advice(read_policy(path)) if "network is up" in each.text]
    assert len(texts) == len(warned)
    assert all(any(want in text for text in texts) for want in warned)


def test_what_butane_writes_for_tang_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.bu"
    text = CUSTOM.replace('{custom: {pin: tang, needs_network: NEEDS, config: \'{"url": "@TANG_URL@"}\'}}', "TANG")
    text = (
        text.replace("TANG", '{tang: [{url: "@TANG_URL@"}]}').replace("OPTION", "noatime").replace("ARGUMENT", "quiet")
    )
    path.write_text(text)
    assert not [each for each in advice(read_policy(path)) if "network is up" in each.text]


KEYS = """{"ignition": {"version": "3.3.0"}, "storage": {
    "luks": [
        {"name": "written", "device": "/dev/vdb", "keyFile": {"source": "data:,0123"}, "clevis": {"tpm2": true}},
        {"name": "random", "device": "/dev/vdc", "clevis": {"tpm2": true}}
    ]}}"""


def test_a_key_that_stands_in_an_ignition_config_is_told_of_the_volume_that_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "mine.ign"
    path.write_text(KEYS)
    assert [each.volume for each in advice(read_policy(path)) if "its key stands in this file" in each.text] == [
        "written"
    ]
