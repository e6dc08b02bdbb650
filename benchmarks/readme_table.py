"""Write the benchmark tables of README.md and docs/results from benchmarks/results/*.json and its folders.

python benchmarks/readme_table.py    mean and standard deviation over the seeds, beside hardware and versions

README.md holds the one table that matters, every method on every system; the pages in docs/results hold all.
"""

from __future__ import annotations

import json
import re
from typing import Any

from result_tables import DETAILS, PUBLISHED_TASKS, RESULTS, ROOT, Result, Table, published, read, table

from physinv.comparison.records import read_records, summarise
from physinv.methods import method_names
from physinv.reports.tables import COLUMNS, best, number
from physinv.reports.verdict import verdict

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def main() -> None:
    compared = summaries()
    crps, *others = methods(compared, "{}.md")
    every = read("systems")
    main_tables = [*others, *([systems(every)] if every else []), *flows()]
    details = [make(result) for name, make in DETAILS if (result := read(name))]
    (short, *_) = methods(compared, "benchmarks/results/{}/table.md")
    fill("README.md", [short.body, f"{short.made}."])
    fill("docs/results/index.md", [crps.section(), words(compared), *(table.section() for table in main_tables)])
    tasks = [(title, read(f"published-{name}")) for name, title in PUBLISHED_TASKS]
    fill("docs/results/published.md", [published(title, found).section() for title, found in tasks if found])
    fill("docs/results/details.md", [table.section() for table in details])


def fill(page: str, parts: list[str]) -> None:
    """Replace what stands between the markers of ``page``."""
    path = ROOT / page
    text = f"{BEGIN}\n" + "\n\n".join(parts) + f"\n{END}"
    path.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: text, path.read_text("utf-8"), flags=re.DOTALL), "utf-8")


SYSTEMS = ("heat", "quadratic", "double-well", "particles", "burgers", "navier-stokes")


Found = dict[str, Any]

SHOWN = {  # figure -> title, and how to read it
    "crps": ("CRPS", "Lower is better; in bold the best and what is level with it"),
    "coverage_90": ("Coverage of the 90 % interval", "0.9 is right; in bold what is level with it"),
    "total_seconds": ("Seconds of training and sampling", "Of the whole test set"),
}


def summaries() -> Found:
    """What was found on each system that has results."""
    folders = {name: RESULTS / name for name in SYSTEMS if (RESULTS / name / "cells.jsonl").exists()}
    return {name: summarise(read_records(folder)) for name, folder in folders.items()}


def methods(found: Found, link: str) -> list[Table]:
    """Every method on every system: error, coverage and time; ``link`` leads to all metrics of the system ``{}``."""
    named = {c.name: c for c in COLUMNS}
    order = [m for m in method_names() if any(own.get(m) for own in found.values())]
    heads = [f"[{name}]({link.format(name)})" for name in found]
    parts = []
    for key, (title, reading) in SHOWN.items():
        column = named[key]
        winners = {name: best(column, own) if key != "total_seconds" else set() for name, own in found.items()}
        lines = [f"| {' | '.join(['method', *heads])} |", "|:--|" + "--:|" * len(found)]
        for method in order:
            cells = []
            for name, own in found.items():
                text = number(own.get(method, {}).get(key), column)
                cells.append(f"**{text}**" if method in winners[name] else text)
            lines.append(f"| {method} | {' | '.join(cells)} |")
        parts.append(Table(title, f"{reading} ({made(list(found))})", "\n".join(lines)))
    return parts


def made(names: list[str]) -> str:
    """Hardware, versions and seeds of the cells without study, and what each system has for training."""
    cells = [r for name in names for r in read_records(RESULTS / name) if r.study is None and r.error is None]
    origin = sorted({f"{r.origin['device']}: {r.origin['hardware']}; {versions_of(r.origin)}" for r in cells})
    seeds = ", ".join(map(str, sorted({r.seed for r in cells})))
    budgets = {name: json.loads((RESULTS / name / "recipe.json").read_text("utf-8"))["budget"] for name in names}
    trained = ", ".join(f"{name} {seconds:g} s" for name, seconds in budgets.items())
    return f"{' and '.join(origin)}; seeds {seeds}; training: {trained}"


def versions_of(origin: Any) -> str:
    """Those of physinv and torch."""
    found = dict(re.findall(r"(physinv|torch)\W+([\w.+]+)", origin["versions"]))
    return f"physinv {found['physinv']}, torch {found['torch']}"


def words(found: Found) -> str:
    """What the reports conclude about error, and about error against compute."""
    said = []
    for name, own in found.items():
        lines = [s for s in verdict(own) if "CRPS" in s or "one seed" in s or "other observations" in s]
        text = " ".join(line for line in lines if "exact" not in line)
        said.append(f"- [{name}]({name}.md): {text}")
    return "## In the words of the reports\n\n" + "\n".join(said)


def systems(result: Result) -> Table:
    names = list(dict.fromkeys(k.partition(": ")[0] for k in result["figures"]))
    columns = ["CRPS", "CRPS, linear", "CRPS, exact", "coverage of 90 %", "spread over skill", "seconds to generate"]
    f = result["figures"]
    rows = {n: [f"{n}: {c}" if f"{n}: {c}" in f else "" for c in [*columns, "seconds of training"]] for n in names}
    chosen: dict[str, str] = result.get("methods", {})  # what the default method took
    rows = {f"{n}: {chosen[n]}" if n in chosen else n: keys for n, keys in rows.items()}
    title = "Every recipe, beside the linear estimate (LMMSE) and the exact posterior"
    told = {k: v for k, v in result.items() if k != "budget_seconds"}  # each row has its own
    return table(told, title, [*columns, "seconds of training"], rows)


FLOWS = {"Burgers": "burgers", "Kuramoto-Sivashinsky": "kuramoto-sivashinsky", "Navier-Stokes": "navier-stokes"}


def flows() -> list[Table]:
    """The figures of the nonlinear flows that have results, one column each."""
    found = {title: result for title, name in FLOWS.items() if (result := read(f"nonlinear-{name}"))}
    if not found:
        return []
    heads = [f"{title}, seeds {', '.join(map(str, result['seeds']))}" for title, result in found.items()]
    keys = dict.fromkeys(key for result in found.values() for key in result["figures"])
    figures = {f"{title}: {key}": v for title, result in found.items() for key, v in result["figures"].items()}
    rows = {k: [f"{t}: {k}" if k in r["figures"] else "" for t, r in found.items()] for k in keys}
    first = {**next(iter(found.values())), "figures": figures}
    title = "Small steps of the score model alone beside a regression network of the same size and training time"
    return [table(first, title, heads, rows)]


if __name__ == "__main__":
    main()
