"""The names in the guest contract, which ``images/README.md`` states: what a guest offers, and where. Pure."""

SHELL_PORT = "org.unlock-lab.ssh"
"""The virtio-serial port, ``/dev/virtio-ports/…``, that a guest answers with SSH for root."""

HELPERS = "/usr/lib/unlock-lab"
"""The folder of the programs that a guest has for the harness."""
