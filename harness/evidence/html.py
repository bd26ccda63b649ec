"""What every page that the harness writes has in common: all that it shows is text, and its links are relative."""

import os
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from harness.plain import plain


@cache
def template(package: str, name: str) -> Template:
    """A template of a package. Values are plain text (`harness.plain`) and escaped; an unknown one is an error."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # What is already markup was made from values that came through here.
        finalize=lambda value: plain(value) if type(value) is str else value,
    )
    return environment.get_template(name)


def href(path: Path, base: Path) -> str:
    """A link to a file from a page in the folder `base`."""
    # "./" first: a name with a colon would else be read as a scheme (RFC 3986, 4.2).
    return "./" + quote(os.fsencode(os.path.relpath(path, base)))
