"""What the options of the plugin and of the commands offer, and what they are unless said otherwise."""

IMAGE = "debian-13"
"""The guest image."""

ACCELERATORS = ("auto", "kvm", "tcg")
"""``auto`` is KVM where a firmware really boots under it."""

HYPERVISORS = ("libvirt", "qemu")
"""What may run the machines."""
