"""The names in the guest contract, which ``images/README.md`` states: what a guest offers, and where. Pure."""

SHELL_PORT = "org.unlock-lab.ssh"
"""The virtio-serial port, ``/dev/virtio-ports/…``, that a guest answers with SSH for root."""

HELPERS = "/usr/lib/unlock-lab"
"""The folder of the programs that a guest has for the harness."""

SECURITY_KEY_PORT = "org.unlock-lab.fido2"
"""The virtio-serial port behind which a FIDO2 security key is, in reports of 64 bytes; the guest makes a HID device of
it.
"""
