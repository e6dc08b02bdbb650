"""The `physinv` command, for a shell and for Python: ``main(["generate", "heat"])``."""

from __future__ import annotations

__all__ = ["main"]

import sys

from physinv.cli.terminal.streams import keep_modules_whole, stand_in


def main(argv: list[str] | None = None) -> None:
    """Run the `physinv` command.

    Args:
        argv: Words of the command line after `physinv`; None: those of this process.

    Raises:
        SystemExit: With an exit code other than 0 (see :func:`physinv.cli.app.main`).
    """
    keep_modules_whole()  # before anything else is imported
    stand_in()
    from physinv.cli.terminal.stopping import Stopped, heard

    try:
        with heard():  # already while the command line itself is imported
            from physinv.cli.app import main as run

            run(argv)
    except Stopped as stop:
        print(f"physinv: {stop}", file=sys.stderr)
        sys.exit(stop.code)
