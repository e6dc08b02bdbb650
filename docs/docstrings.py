"""Turn what docstrings of physinv look like into reStructuredText: formulas, tables of words, absolute values.

A reader of the code sees an indented formula, an aligned list of words and ``|x|``; reStructuredText wants ``::``
before the first, list items for the second, and takes the bars of the third for a substitution.
"""

from __future__ import annotations

__all__ = ["to_rst"]

import re

_SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Examples?|References|Notes?|Warnings?):$")
_ENTRY = re.compile(r"(``[^`]+``)\s{2,}(\S.*)$")
_RULER = re.compile(r"=+( +=+)+$")
_LIST = re.compile(r"([*-]|\d+\.|#\.)\s")


def to_rst(lines: list[str]) -> list[str]:
    """Return the docstring with literal blocks and lists marked as such.

    Sections of Google style are left to napoleon, except for absolute values.

    Args:
        lines: Lines of the docstring, without the indentation of its code.

    Example:
        >>> to_rst(["A formula:", "", "    x = |y|", "", "``a``  first", "``b``  second"])
        ['A formula:', '', '::', '', '    x = |y|', '', '', '', '* ``a``: first', '* ``b``: second', '']
    """
    out: list[str] = []
    section, i = False, 0
    while i < len(lines):
        line = lines[i]
        if line and not line[0].isspace():
            section = bool(_SECTION.match(line))
        block = _indented(lines, i)
        if _RULER.match(line.strip()):  # a table of reStructuredText: as it stands
            end = i + 1
            while end < len(lines) and lines[end].strip():
                end += 1
            out += lines[i:end]
            i = end
        elif block and (_before(out).endswith("::") or not (section or line.strip().startswith(">>>"))):
            before = _before(out)
            if before.endswith("::"):  # marked by its author
                out += block
            elif out and not out[-1] and not _LIST.match(before) and not before.startswith(".. "):
                out += ["::", "", *block, ""]
            else:
                out += map(_bars, block)
            i += len(block)
        elif not section and _ENTRY.match(line):
            items, i = _entries(lines, i)
            out += ["", *map(_bars, items), ""]
        else:
            out.append(line if line.strip().startswith((">>>", "...")) else _bars(line))
            i += 1
    return out


def _indented(lines: list[str], start: int) -> list[str]:
    """The indented lines from ``start`` on, blank ones between them included."""
    end = start
    while end < len(lines) and (not lines[end] or lines[end][0].isspace()):
        end += 1
    block = lines[start:end]
    while block and not block[-1].strip():
        block.pop()
    return block if block and block[0].strip() else []


def _entries(lines: list[str], start: int) -> tuple[list[str], int]:
    """List items out of aligned lines "``word``  meaning" with their continuations, and where they end."""
    items: list[str] = []
    i = start
    while i < len(lines) and lines[i]:
        match = _ENTRY.match(lines[i])
        if match:
            items.append(f"* {match[1]}: {match[2]}")
        elif lines[i][0].isspace():
            items[-1] += " " + lines[i].strip()
        else:
            break
        i += 1
    return items, i


def _before(out: list[str]) -> str:
    """The last line that is not blank."""
    return next((line for line in reversed(out) if line.strip()), "")


def _bars(line: str) -> str:
    """The line with ``|`` outside of literals escaped."""
    parts = re.split(r"(``.*?``)", line)
    return "".join(part if part.startswith("``") else re.sub(r"(?<!\\)\|", r"\\|", part) for part in parts)
