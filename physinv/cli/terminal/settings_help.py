"""The help of `physinv train`, with a table of the settings: their defaults and what they mean."""

from __future__ import annotations

__all__ = ["SettingsHelp"]

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperCommand


class SettingsHelp(TyperCommand):
    """A verb that takes training settings by ``--set``, and lists them in its help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, then the settings.

        Args:
            ctx: The context of the command.
            formatter: Where plain help is written.
        """
        from physinv.config.settings import Settings

        super().format_help(ctx, formatter)
        table = Table(title="Settings: --set NAME=VALUE", title_justify="left", box=None, padding=(0, 2))
        for heading in ("name", "default", "meaning"):
            table.add_column(heading, overflow="fold")
        for name, field in Settings.model_fields.items():
            default = "" if field.default in ("", ()) else str(field.default)
            table.add_row(name, escape(default), escape(field.description or ""))
        Console(highlight=False, emoji=False).print(table)
