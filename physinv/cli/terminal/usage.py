"""One line about words of the command line that cannot be used: the option, its rule, what was given, what to do."""

from __future__ import annotations

__all__ = ["usage_line"]

import contextlib
import re
from typing import Any

_RULES = (  # as parsers of different versions say it, and as every other refusal does
    (r"Input should be a valid integer.*|'.*' is not a valid int(eger)?( range)?\.?", "must be a whole number"),
    (r"Input should be a valid number.*|'.*' is not a valid float( range)?\.?", "must be a number"),
    (r"Input should be greater than or equal to (\S+)", r"must be at least \1"),
    (r"Input should be less than or equal to (\S+)", r"must be at most \1"),
    (r"Input should be (.*?)\.?", r"must be \1"),
    (r"\S+ is not in the range x>=(\S+?)\.?", r"must be at least \1"),
    (r"\S+ is not in the range x<=(\S+?)\.?", r"must be at most \1"),
    (r"\S+ is not in the range (\S+?)<=x<=(\S+?)\.?", r"must be from \1 to \2"),
    (r"\S+ is not in the range x>(\S+?)\.?", r"must be above \1"),
    (r"\S+ is not in the range x<(\S+?)\.?", r"must be below \1"),
    (r"\S+ is not in the range (\S+?)\.?", r"must have \1 for `x`"),
)


def usage_line(error: Exception) -> str:
    """Return what is wrong with an option or an argument, in one line.

    Args:
        error: What the parser of the command line raised, with its ``format_message`` and, of values, ``param``.

    Returns:
        The line, with the name of the option in backticks.

    Example:
        >>> class Wrong(Exception):
        ...     def format_message(self):
        ...         return "Invalid value for '--train': '1e2' is not a valid integer range."
        >>> usage_line(Wrong())
        "`--train` must be a whole number, got '1e2'; write 100."
    """
    text = " ".join(str(error.format_message()).split())  # type: ignore[attr-defined]
    verb = _verb(getattr(error, "ctx", None))
    if not text:  # of a command without words, whose help was printed
        return f"a verb is missing; `{' '.join(['physinv', *verb.split(), '--help'])}` lists them."
    if found := re.fullmatch(r"Invalid value for '([^']+)'(?: / '[^']*')*: (.*)", text):
        name, said = found.groups()
        for pattern, rule in _RULES:
            if whole := re.fullmatch(pattern, said):
                given = _given(error, said)
                return f"`{name}` {whole.expand(rule)}{_got(given)}{_remedy(rule, given)}."
        return f"`{name}`: {said}"
    text = re.sub(r"^No such option: (\S+)", r"there is no option `\1`", text)
    text = re.sub(r"^No such command '([^']*)'", r"there is no verb `\1`", text)
    text = re.sub(r"^Missing (option|argument) '([^']*)'\.?$", r"`\2` is missing", text)
    text = re.sub(r"^Option '([^']*)' requires an argument\.?$", r"`\1` needs a value behind it", text)
    text = re.sub(r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)\.?$", r"there is no place for `\1`", text)
    text = re.sub(r"'(-{1,2}[\w-]+)'", r"`\1`", text)
    if verb and not text.endswith("?"):
        return f"{text.removesuffix('.')}; `physinv {verb} --help` shows what it takes."
    return text


def _verb(context: Any) -> str:
    """The verb that was called, such as "benchmark run", from the parser's contexts: the inner one knows the outer."""
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, context.command.name)
        context = context.parent
    return " ".join(names)


def _given(error: Exception, said: str) -> str | None:
    """The word that was given, from the parser's own error or its text."""
    for cause in (error.__cause__, error.__context__):
        with contextlib.suppress(AttributeError, LookupError, TypeError):
            return str(cause.errors()[0]["input"])  # type: ignore[union-attr]
    quoted = re.match(r"'(.*)' is not|(\S+) is not in the range", said)
    return quoted and (quoted[1] or quoted[2])


def _got(given: str | None) -> str:
    """What was given, short."""
    if given is None:
        return ""
    return f", got {given!r}" if len(given) <= 40 else f", got {given[:40]!r} ..."


def _remedy(rule: str, given: str | None) -> str:
    """The whole number that was meant, where it was written otherwise."""
    if "whole" not in rule or given is None:
        return ""
    try:
        value = float(given)
    except ValueError:
        return ""
    return f"; write {int(value)}" if abs(value) < 2**53 and value == int(value) else ""
