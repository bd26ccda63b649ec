"""The process of ``unlock-lab``, and of ``python -m harness``, which is the same: `harness.commands`.

Ctrl-C is answered from the first moment on: nothing is imported before.
"""

import sys


def main() -> int:
    """Run the command that this process was started for; returns its exit status, 130 after Ctrl-C."""
    try:
        from harness import commands  # noqa: PLC0415, Ctrl-C may come while it is imported

        return commands.main()
    except KeyboardInterrupt:
        import signal  # noqa: PLC0415

        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one, while Python comes to its end, says nothing
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
