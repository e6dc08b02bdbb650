"""The `physinv` command, for a shell and for Python: ``main(["generate", "heat"])``."""

from __future__ import annotations

__all__ = ["main"]

import sys

from physinv.cli.terminal.stopping import Stopped, heard
from physinv.cli.terminal.streams import stand_in


def main(argv: list[str] | None = None) -> None:
    """Run the `physinv` command.

    Args:
        argv: Words of the command line after `physinv`; None: those of this process.

    Raises:
        SystemExit: With an exit code other than 0 (see :func:`physinv.cli.app.main`).
    """
    stand_in()
    try:
        with heard():  # already while the command line itself is imported
            from physinv.cli.app import main as run

            run(argv)
    except Stopped as stop:
        print(f"physinv: {stop}", file=sys.stderr)
        sys.exit(stop.code)
