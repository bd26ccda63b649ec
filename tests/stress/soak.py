"""The same three boots many times: a control, a fallback, an attack that is resisted. `make soak BOOTS=200`.

It prints the outcomes with an interval, the errors of the rig by their cause, and how long boots took. The status is 1
when a verdict was wrong, or when the rig failed in a hundredth of the boots or more.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from harness.campaign.repeat import lines, tallies

REPOSITORY = Path(__file__).resolve().parents[2]
SCENARIOS = (
    "scenarios/test_control.py::test_control_unlocks_with_nothing_typed",
    "scenarios/test_tang.py::test_tang_down_asks_for_the_passphrase",
    "scenarios/test_attack_disk.py::test_disk_clone_stays_shut_without_the_tpm",
)
MOST_RIG_ERRORS = 0.01


def main() -> int:
    """Run the campaign; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boots", type=int, default=200, help="of all three together, at the least (%(default)s)")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/soak"))
    arguments = parser.parse_args()
    each = -(-arguments.boots // len(SCENARIOS))
    pytest = [str(Path(sys.executable).parent / "pytest"), "-q", "-n", "auto", f"--lab-repeat={each}"]
    subprocess.run([*pytest, f"--lab-artifacts={arguments.artifacts}", *SCENARIOS], cwd=REPOSITORY, check=False)
    documents = [json.loads(path.read_text()) for path in sorted(arguments.artifacts.glob("*/outcome.json"))]
    return report([document for document in documents if "::" in str(document["test"])])


def report(documents: list[dict[str, Any]]) -> int:
    """Print what became of the runs; returns the exit status."""
    for tally in tallies(documents):
        print(*lines(tally), sep="\n")
    boots = [boot for document in documents for boot in document["boots"]]
    errors = Counter(str(document["error"]["what"]) for document in documents if document.get("error"))
    ends = [boot["seconds"]["end"] for boot in boots if boot.get("seconds", {}).get("end")]
    wrong = sum(document["result"] == "failed" for document in documents)
    print(f"{len(boots)} boots, {wrong} wrong verdicts, {errors.total()} errors of the rig")
    print(*(f"{count:>5} {what}" for what, count in errors.most_common()), sep="\n")
    if len(ends) > 1:
        print(f"to the end of a boot: median {statistics.median(ends):.1f} s, {min(ends):.1f} to {max(ends):.1f} s")
    return 1 if wrong or not boots or errors.total() >= max(1, MOST_RIG_ERRORS * len(boots)) else 0


if __name__ == "__main__":
    sys.exit(main())
