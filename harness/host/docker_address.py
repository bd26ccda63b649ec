"""Where the Docker daemon listens. Set-up asks too, so this needs nothing but Python's own library."""

import os
from pathlib import Path

SYSTEM_SOCKET = Path("/var/run/docker.sock")


def docker_address() -> str:
    """The address in DOCKER_HOST, else the system's socket, else the user's own (rootless) if only that is there.

    Source: https://docs.docker.com/engine/security/rootless/tips/, "Client".
    """
    if named := os.environ.get("DOCKER_HOST"):
        return named
    own = rootless_socket()
    return f"unix://{own if own.exists() and not SYSTEM_SOCKET.exists() else SYSTEM_SOCKET}"


def rootless_socket() -> Path:
    """The socket of the user's own daemon, whether there is one or not."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}") / "docker.sock"
