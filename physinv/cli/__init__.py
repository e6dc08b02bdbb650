"""The `physinv` command, for a shell and for Python: ``main(["generate", "heat"])``."""

from __future__ import annotations

__all__ = ["main"]

import sys


def main(argv: list[str] | None = None) -> None:
    """Run the `physinv` command.

    Args:
        argv: Words of the command line after `physinv`; None: those of this process.

    Raises:
        SystemExit: With an exit code other than 0 (see :func:`physinv.cli.app.main`).
    """
    try:
        from physinv.cli.app import main as run
    except KeyboardInterrupt:  # before the command line is there to say so itself
        print("physinv: interrupted: nothing was begun.", file=sys.stderr)
        sys.exit(130)
    run(argv)
