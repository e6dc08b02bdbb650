"""The `physinv` command, for a shell and for Python: ``main(["generate", "heat"])``."""

from __future__ import annotations

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Run the `physinv` command.

    Args:
        argv: Words of the command line after `physinv`; None: those of this process.

    Raises:
        SystemExit: With an exit code other than 0 (see :func:`physinv.cli.app.main`).
    """
    from physinv.cli.app import main as run

    run(argv)
