"""Devices that are plugged in while a machine is on, as libvirt's XML. Pure.

They are none of the domain's own XML (`domain_xml`), which decides what a sealed machine is.
"""

import xml.etree.ElementTree as ET

from harness.machine.spec import Disk

_NODE = "vdz"  # what libvirt calls it; the guest names disks as it finds them


def hot_disk_xml(disk: Disk) -> str:
    """A virtio disk, for libvirt to put into the root port that it leaves free."""
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
    ET.SubElement(element, "source", file=str(disk.path))
    ET.SubElement(element, "target", dev=_NODE, bus="virtio")
    ET.SubElement(element, "serial").text = disk.serial
    return ET.tostring(element, encoding="unicode")
