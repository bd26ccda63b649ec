"""The table of public files and what each gives, as docs/reference/cases.md has it.

``PYTHONPATH=tests python -m policy.corpus.cases`` writes it anew; tests/policy/test_cases.py holds the page to it.
"""

from pathlib import Path

from harness.errors import UsageError
from harness.lab.policies import image_for
from harness.policy.butane import read_policy
from harness.policy.notes import not_exercised
from harness.policy.oracle import predict
from harness.policy.policy import Policy, Volume
from harness.policy.world import Stack, World

FILES = Path(__file__).parent / "files"
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cases.md"

SOURCES = {
    "block-key": "clevis#472",
    "block-key-adapted": "the same, read by YAML",
    "by-number": "a device by its number",
    "containers-tang": "fedora-coreos-tracker#687",
    "containers-tang-adapted": "the same, on virtio and with a server of the laboratory",
    "data-behind-tang": "a data volume behind Tang",
    "discard-root": "fedora-coreos-docs#512",
    "discard-root-adapted": "the same without the keys of spec 3.4",
    "enrol-unit": "flatcar/mantle, tests of the TPM",
    "flatcar-tang": "Flatcar's documentation",
    "groups": "fedora-coreos-tracker#958, installers",
    "home-server": "a generator of home servers",
    "home-server-adapted": "the same with a key that can be typed",
    "installimage": "an installer",
    "laptop-mdns": "an installer for laptops",
    "machineconfig": "public templates",
    "mirror-tang": "fedora-coreos-tracker#958, #1916",
    "no-method": "butane#560",
    "remote-key": "documentation of key_file, with a slip",
    "second-disk": "flatcar/mantle, an Ignition config",
    "sss-tpm-tangs": "clevis#534, #526, #412",
    "tpm-sha1-bank": "clevis-encrypt-tpm2(1); clevis#329, #300",
    "var-literal-gateway": "fedora-coreos-tracker#1409",
    "var-no-neednet": "the same, with a server of the laboratory",
    "whole-disks": "butane, docs/examples.md",
    "worker-storage": "OpenShift's documentation",
}

_HEAD = """# Public files, and what each gives

Files and reports of people who encrypt their machines, rewritten small (structure kept; names, keys and wording
replaced). They are in `tests/policy/corpus/files`, where the tests also hold what real Butane makes of each. This page
is what the reader and the rules say of them; `PYTHONPATH=tests python -m policy.corpus.cases` writes it anew.

| file | after | what it gives |
|---|---|---|
"""


def page() -> str:
    """The page."""
    paths = {path.stem: path for path in FILES.iterdir() if path.stem in SOURCES}
    rows = (f"| `{paths[stem].name}` | {after} | {_gives(paths[stem])} |\n" for stem, after in SOURCES.items())
    return _HEAD + "".join(rows)


def _gives(path: Path) -> str:
    try:
        policy = read_policy(path)
    except UsageError as error:
        told = [line for line in f"{error.what}\n{error.detail}".splitlines() if line.startswith(path.name)]
        return "a mistake: " + "; ".join(_plain(line) for line in told if " mistakes" not in line)
    if policy.obstacles:
        return "told before any boot: " + "; ".join(_plain(each) for each in policy.obstacles)
    told = [f"installs on {image_for(policy)}, {_disks(policy)}", *map(_says, policy.volumes)]
    if notes := not_exercised(policy):
        told.append(f"not exercised: {_plain('; '.join(notes))}")
    return ". ".join(told)


def _disks(policy: Policy) -> str:
    names = [disk.node for disk in policy.disks]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _says(volume: Volume) -> str:
    said = predict(volume, World(), Stack.DR)
    by = f"typed: {volume.passphrase}" if volume.passphrase else f"nothing to type: {_plain(volume.untypable)}"
    return f"{volume.name} ({volume.mount_point or 'not mounted'}): {said.unlock}, {_plain(said.reason)}; {by}"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page())
