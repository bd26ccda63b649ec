"""Writes the Butane files of this folder that differ in little: ``source.yaml`` holds what they differ in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
DEFAULTS = {"disk": "/dev/nvme0n1", "network": False, "format": "xfs", "size_mib": "0 # 0 = use all remaining space"}


def written() -> Iterator[tuple[Path, str]]:
    """Each file, and the text that it should have."""
    source = yaml.safe_load((HERE / "source.yaml").read_text())
    jinja = Environment(
        loader=FileSystemLoader(HERE), trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    template = jinja.get_template("template.bu.j2")
    for name, policy in source["policies"].items():
        if "volumes" in policy:
            volumes = [_volume(guard, f"/var/lab/{guard}", f"password of {guard}") for guard in policy["volumes"]]
        else:
            volumes = [{**_volume("var", "/var", "password"), "guard": policy.get("guard", name)}]
        text = template.render({**DEFAULTS, **policy}, volumes=volumes, guards=source["guards"])
        yield HERE / f"{name}.bu", text


def _volume(name: str, path: str, passphrase: str) -> dict[str, Any]:
    return {"name": name, "path": path, "passphrase": passphrase, "guard": name}


if __name__ == "__main__":
    for file, content in written():
        file.write_text(content)
