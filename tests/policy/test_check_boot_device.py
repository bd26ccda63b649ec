"""The rules for `boot_device`, each alone."""

from typing import Any

import pytest
from policy.documents import document, mistakes

from harness.policy.check_boot_device import check_boot_device
from harness.policy.variants import NEWEST, Variant

OLDER = {keys: Variant(f"Butane fcos 1.{keys}.0", keys, 4) for keys in (5, 6)}


def noted(section: dict[str, Any], variant: Variant = NEWEST) -> list[str]:
    """The mistakes of a file with this section, without its name."""
    found = document({"boot_device": section}, variant)
    check_boot_device(found)
    assert all(line.startswith("boot_device.") for line in mistakes(found))
    return [line.removeprefix("boot_device.") for line in mistakes(found)]


def test_what_is_not_there_is_fine() -> None:
    found = document({})
    check_boot_device(found)
    assert mistakes(found) == []
    assert noted({}) == []


ALL = "aarch64, ppc64le, x86_64, s390x-eckd, s390x-virt, s390x-zfcp"


@pytest.mark.parametrize("layout", ["aarch64", "ppc64le", "x86_64", "s390x-virt"])
def test_a_layout_is_one_of_some(layout: str) -> None:
    assert noted({"layout": layout}) == []
    assert noted({"layout": f"{layout}x"}) == [f"layout: '{layout}x' is not one of {ALL}"]


def test_the_layouts_of_s390x_came_later() -> None:
    assert noted({"layout": "s390x-virt"}, OLDER[6]) == []
    assert noted({"layout": "s390x-virt"}, OLDER[5]) == ["layout: 's390x-virt' is not one of aarch64, ppc64le, x86_64"]


@pytest.mark.parametrize(
    ("layout", "device", "other"), [("s390x-eckd", "/dev/dasda", "/dev/sda"), ("s390x-zfcp", "/dev/sda", "/dev/dasda")]
)
def test_a_disk_of_s390x_is_named(layout: str, device: str, other: str) -> None:
    needs = [f"layout: {layout} needs luks.device, like {device}"]
    assert noted({"layout": layout}) == needs
    assert noted({"layout": layout, "luks": {"device": other, "tpm2": True}}) == needs
    assert noted({"layout": layout, "luks": {"device": f"{device}1", "tpm2": True}}) == needs
    assert noted({"layout": layout, "luks": {"device": device, "tpm2": True}}) == []
    assert noted({"layout": layout, "luks": {"device": f"/dev/disk{device}", "tpm2": True}}) == []


CEX = {"cex": {"enabled": True}}
SERVER = {"url": "http://tang", "thumbprint": "t"}


def test_a_cryptographic_card_is_of_s390x_and_stands_alone() -> None:
    alone, beside = "luks.cex: is of the s390x architecture alone", "luks.cex: cannot stand beside tang or tpm2"
    assert noted({"layout": "s390x-virt", "luks": CEX}) == []
    assert noted({"luks": CEX}) == noted({"layout": "x86_64", "luks": CEX}) == [alone]
    assert noted({"layout": "s390x-virt", "luks": {**CEX, "tpm2": True}}) == [beside]
    assert noted({"layout": "s390x-virt", "luks": {**CEX, "tang": [SERVER]}}) == [beside]
    assert noted({"layout": "s390x-virt", "luks": {**CEX, "tpm2": False, "tang": []}}) == []


def test_a_volume_has_a_method() -> None:
    none = ["luks: no method: it needs tpm2: true or tang"]
    assert noted({"luks": {"tpm2": True}}) == noted({"luks": {"tang": [SERVER]}}) == noted({"luks": {}}) == []
    assert noted({"luks": {"tpm2": False}}) == noted({"luks": {"tang": [], "threshold": 1}}) == none
    assert noted({"luks": {"cex": {"enabled": False}}}) == noted({"luks": {"cex": {}}}) == none


@pytest.mark.parametrize("advertisement", ["{", "x", "[" * 100_000])
def test_an_advertisement_is_json(advertisement: str) -> None:
    fine = [SERVER, {**SERVER, "advertisement": ""}, {**SERVER, "advertisement": '{"keys": []}'}]
    assert noted({"luks": {"tang": fine}}) == []
    (said,) = noted({"luks": {"tang": [*fine, {**SERVER, "advertisement": advertisement}]}})
    assert said.startswith("luks.tang[3].advertisement: not JSON: ")


TWO = ["/dev/sda", "/dev/sdb"]


def test_a_mirror_has_two_disks_and_a_layout() -> None:
    assert noted({"layout": "x86_64", "mirror": {"devices": TWO}}) == []
    assert noted({"layout": "x86_64", "mirror": {"devices": []}}) == noted({"mirror": {}}) == []
    assert noted({"layout": "x86_64", "mirror": {"devices": TWO[:1]}}) == [
        "mirror.devices: a mirror needs at least two devices"
    ]
    needs = "mirror: needs boot_device.layout beside it, since Butane fcos 1.7.0"
    assert noted({"mirror": {"devices": TWO}}) == [needs]
    assert noted({"mirror": {"devices": TWO}}, OLDER[6]) == noted({"mirror": {"devices": []}}) == []
    assert noted({"layout": "s390x-virt", "mirror": {"devices": TWO}}) == ["layout: there is no mirror on s390x"]


def test_a_disk_is_once_in_a_mirror() -> None:
    assert noted({"layout": "x86_64", "mirror": {"devices": [*TWO, TWO[1], TWO[0]]}}) == [
        "mirror.devices[2]: the device '/dev/sdb' is there twice",
        "mirror.devices[3]: the device '/dev/sda' is there twice",
    ]
