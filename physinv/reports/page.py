"""Parts of the HTML page of a report: the document with style and script, tables that sort, figures, lists."""

from __future__ import annotations

__all__ = ["figure", "listing", "page", "section", "table"]

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

from physinv.comparison.records import Summary, order
from physinv.reports.tables import Column, best, number

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #ffffff; --box: #f6f8fa;
  --line: #d0d7de; --mark: #0072b2; --ours: #e8f2fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4af; --paper: #0f1318; --box: #181e25; --line: #343c46; --mark: #6cb8ec;
    --ours: #14293a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: .5rem 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p, li { max-width: 48rem; }
a { color: var(--mark); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: .75rem 0; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.verdict { background: var(--box); border-left: 4px solid var(--mark); padding: .75rem 1.25rem; margin: 1rem 0; }
.verdict p { margin: .35rem 0; }
.scroll { overflow-x: auto; margin: .75rem 0; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
thead th { background: var(--box); vertical-align: bottom; padding: 0; }
thead th:first-child { background: var(--box); }
thead button { all: unset; box-sizing: border-box; width: 100%; padding: .45rem .5rem; cursor: pointer;
  line-height: 1.3; }
thead button:hover { color: var(--mark); }
thead button:focus-visible { outline: 2px solid var(--mark); outline-offset: -2px; }
thead button span::after { content: " \\2195"; color: var(--soft); }
th[aria-sort=ascending] button span::after { content: " \\2191"; color: var(--mark); }
th[aria-sort=descending] button span::after { content: " \\2193"; color: var(--mark); }
thead small { display: block; font-weight: normal; color: var(--soft); }
tbody th { font-weight: 600; }
tr.ours > * { background: var(--ours); }
tr.exact > * { font-style: italic; color: var(--soft); }
.error { color: var(--soft); font-size: .85em; }
strong { color: var(--mark); }
figure { margin: 1rem 0 1.5rem; }
figure img { display: block; width: auto; max-width: min(100%, 1060px); height: auto; background: #fff;
  border: 1px solid var(--line);  border-radius: 6px; padding: 8px; }
figcaption { margin-top: .5rem; max-width: 48rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: .75rem; overflow-x: auto;
  font-size: .85rem; line-height: 1.4; }
@media (max-width: 600px) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root { --ink: #000; --soft: #444; --paper: #fff; --box: #fff; --line: #999; --mark: #000; --ours: #eee; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  thead button span::after { content: "" !important; }
  .scroll { overflow: visible; border: 0; }
  table { font-size: .62rem; } th, td { padding: .15rem .25rem; } img { max-height: 170mm; object-fit: contain; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
</style>
</head>
<body>
<main>
$body
</main>
<script>
"use strict";
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), row = head.parentElement, body = head.closest("table").tBodies[0];
    const column = [...row.children].indexOf(head);
    const up = head.getAttribute("aria-sort") !== "ascending";
    const key = (tr) => tr.children[column].dataset.value ?? "";
    const order = (a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const gap = column === 0 ? x.localeCompare(y) : Number(x) - Number(y);
      return up ? gap : -gap;
    };
    for (const other of row.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort(order));
  });
}
</script>
</body>
</html>
""")
_TYPES = {".png": "image/png", ".gif": "image/gif"}


def page(title: str, body: str) -> str:
    """Return the whole document, which needs no other file.

    Args:
        title: Title of the document.
        body: HTML of its body.

    Returns:
        HTML.
    """
    return _PAGE.substitute(title=escape(title), body=body)


def section(name: str, title: str, *parts: str) -> str:
    """Return a section with a heading and an anchor.

    Args:
        name: The anchor.
        title: The heading.
        *parts: HTML of its contents; empty ones are left out.

    Returns:
        HTML, empty if all contents are.
    """
    inside = "\n".join(p for p in parts if p)
    return f'<section id="{escape(name)}">\n<h2>{escape(title)}</h2>\n{inside}\n</section>' if inside else ""


def table(
    columns: Sequence[Column], summaries: Mapping[str, Mapping[str, Summary]], about: Mapping[str, str], caption: str
) -> str:
    """Return a table of the columns that have numbers, best in bold; its headings are buttons that sort.

    Args:
        columns: Columns that may be shown.
        summaries: Summaries by method and name.
        about: One line about each method.
        caption: What the table shows.

    Returns:
        HTML, empty if no column has numbers.
    """
    shown = [c for c in columns if any(c.name in own for own in summaries.values())]
    if not shown:
        return ""
    winners = {c.name: best(c, summaries) for c in shown}
    head = _heading("method", "", "Sort by name") + "".join(_heading(c.heading, c.direction, c.about) for c in shown)
    rows = []
    for method in order(summaries):
        if own := summaries[method]:
            name = f'<th scope="row" data-value="{escape(method)}" title="{escape(about.get(method, method))}">'
            cells = "".join(_cell(own.get(c.name), c, method in winners[c.name]) for c in shown)
            look = {"physinv": "ours", "exact": "exact"}.get(method, "other")
            rows.append(f'<tr class="{look}">{name}{escape(method)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>\n</div>\n"
        f'<p class="soft">{escape(caption)}</p>'
    )


def figure(data: bytes, suffix: str, title: str, caption: str) -> str:
    """Return an image inside the page, with its caption.

    Args:
        data: Contents of the image file.
        suffix: ``.png`` or ``.gif``.
        title: Its heading.
        caption: How to read it.

    Returns:
        HTML.
    """
    source = f"data:{_TYPES[suffix]};base64,{base64.b64encode(data).decode()}"
    return (
        f'<figure>\n<h3>{escape(title)}</h3>\n<img src="{source}" alt="{escape(title)}">\n'
        f"<figcaption>{escape(caption)}</figcaption>\n</figure>"
    )


def listing(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of names and their descriptions.

    Args:
        pairs: Names and descriptions; pairs without a description are left out.

    Returns:
        HTML, empty if nothing is left.
    """
    inside = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>\n" for k, v in pairs if v)
    return f"<dl>\n{inside}</dl>" if inside else ""


def _heading(text: str, direction: str, about: str) -> str:
    small = f"<small>{escape(direction)}</small>" if direction else ""
    button = f'<button type="button" title="{escape(about)}"><span>{escape(text)}</span>{small}</button>'
    return f'<th scope="col" aria-sort="none">{button}</th>'


def _cell(summary: Summary | None, column: Column, bold: bool) -> str:
    if summary is None:
        return '<td data-value="">–</td>'
    mean, sign, error = number(summary, column).partition(" ± ")
    text = f"<strong>{mean}</strong>" if bold else mean
    text += f' <span class="error">± {error}</span>' if sign else ""
    return f'<td data-value="{summary.mean!r}">{text}</td>'
