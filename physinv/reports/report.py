"""The report of a folder of results: one self-contained page, the table in Markdown, figures and an animation."""

from __future__ import annotations

__all__ = ["write_report"]

import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from physinv.comparison.examples import Example, read_examples
from physinv.comparison.records import CellRecord, points, read_records, summarise
from physinv.config.files import write_text
from physinv.methods.registry import describe_method
from physinv.reports import page
from physinv.reports.figures import pictures
from physinv.reports.tables import CALIBRATION, CHECKS, COST, HEADLINE, PHYSICS, failures, markdown
from physinv.reports.verdict import verdict

LARGEST = 3_000_000  # bytes of report.html
_ROOM = 2_900_000 * 3 // 4  # bytes of all images in it, before base64
_SECTIONS = {
    "front": "Error against compute",
    "examples": "Reconstructions",
    "calibration": "Calibration",
    "checks": "Can these be samples?",
    "spectra": "Scale by scale",
    "studies": "Studies",
}
_PARTS = {"results": "Results", "cost": "Cost", **_SECTIONS, "methods": "Methods", "made": "How it was made"}


def write_report(folder: Path) -> list[Path]:
    """Write ``report.html``, ``table.md``, ``figures/`` and ``reconstruction.gif`` into a folder of results.

    The page has all images inside, has at most 3 MB and needs no other file.

    Args:
        folder: Folder with ``cells.jsonl`` and, where they exist, ``recipe.json`` or ``recipe.toml`` and ``examples/``.

    Returns:
        The files written, ``report.html`` last.

    Raises:
        ValueError: If there is nothing to report or a file is damaged.
    """
    from physinv.reports.plots.style import save

    records = read_records(folder)
    if not records:
        raise ValueError(f"`folder` must hold at least one finished cell, got none in {folder}; run the benchmark.")

    # Figures, as files and for the page.
    examples = read_examples(folder)
    drawn, written = folder / "figures", []
    drawn.mkdir(exist_ok=True)
    images: list[Embedded] = []
    for picture in pictures(records, examples):
        for suffix in (".pdf", ".png"):
            save(picture.figure, drawn / f"{picture.name}{suffix}")
            written.append(drawn / f"{picture.name}{suffix}")
        images.append((picture.section, picture.title, picture.caption, ".png", written[-1].read_bytes()))
    if moving := _animation(examples, folder / "reconstruction.gif"):
        written.append(moving)
        caption = "One reconstruction as it runs backward in time from the observation, beside what happened."
        images.append(("examples", "Backward in time", caption, ".gif", moving.read_bytes()))

    # The table and the page.
    text = _page(records, _fitting(images), _recipe(folder))
    for path, content in ((folder / "table.md", markdown(records)), (folder / "report.html", text)):
        write_text(path, content)
        written.append(path)
    return written


Embedded = tuple[str, str, str, str, bytes]
"""Section, title, caption, suffix, content."""


def _page(records: Sequence[CellRecord], images: Iterable[Embedded], recipe: str) -> str:
    """All sections in order; those without content are left out."""
    figures: dict[str, list[str]] = {}
    for name, title, caption, suffix, data in images:
        figures.setdefault(name, []).append(page.figure(data, suffix, title, caption))
    main, about = summarise(records), _about(records)
    ran = {m: own for m, own in main.items() if own}
    system = ", ".join(dict.fromkeys(r.system for r in records))
    seeds = sorted({r.seed for r in records if r.study is None})
    contents = {
        "results": (
            page.table(HEADLINE, ran, about, "Mean ± one standard error over the seeds. " + _RULES),
            page.table(PHYSICS, ran, about, "Single samples and the physics. The best value is rarely 0: see exact."),
            _failed(records),
        ),
        "cost": (page.table(COST, ran, about, "What the methods took, on the same machine. Lower is better."),),
        "calibration": (page.table(CALIBRATION, ran, about, _CALIBRATED),),
        "checks": (page.table(CHECKS, ran, about, _CHECKED),),
        "methods": (page.listing((m, about.get(m, "")) for m in main),),
        "made": (_made(records, seeds), f"<h3>Recipe</h3>\n<pre>{escape(recipe)}</pre>" if recipe else ""),
    }
    parts = {n: page.section(n, t, *contents.get(n, ()), *figures.get(n, ())) for n, t in _PARTS.items()}
    links = "".join(f'<a href="#{n}">{escape(_PARTS[n])}</a>\n' for n, part in parts.items() if part)
    counted = f"{len(ran)} methods, {len(seeds)} seed{'' if len(seeds) == 1 else 's'}"
    counted += f", {len(points(records))} studies" if points(records) else ""
    said = "".join(f"<p>{escape(sentence).replace(' ± ', '&nbsp;±&nbsp;')}</p>\n" for sentence in verdict(main))
    head = (
        f'<header>\n<h1>Who reconstructs {escape(system)} best?</h1>\n<p class="soft">{escape(counted)}</p>\n'
        f'<div class="verdict">\n{said}</div>\n<nav>{links}</nav>\n</header>'
    )
    return page.page(f"{system}: benchmark of physinv", "\n".join([head, *(p for p in parts.values() if p)]))


_RULES = (
    "Bold: the best, and all that are level with it: no further off than the noise of the seeds (the 95 % interval of "
    "the difference, paired over the seeds) and a tenth. The exact posterior is what methods are held against, and "
    "takes no part. Click a heading to sort."
)
_CALIBRATED = (
    "Does the truth fall where the samples say? Coverage, spread / skill have a target; p values are small where "
    "calibration is refuted. Twice a mean of p values over the seeds is a valid p value (Rüschendorf 1982). Bracket: "
    "how far a posterior is from exact in nats per number, where its steps have densities; 0 for exact ones alone."
)

_CHECKED = (
    "What needs no exact posterior: over many observations exact samples are distributed as the truths are, so all "
    "columns have a known target. A sample run forward has to miss the observation as the truth does; it has to stay "
    "where truths are found; it has to be as rough as they are, on every scale, and a classifier must not tell patches "
    "of the two apart (.5 is a guess). Single estimates are no samples, and are left out."
)


def _failed(records: Sequence[CellRecord]) -> str:
    lines = "".join(f"<li>{escape(line)}</li>\n" for line in failures(records))
    return f"<h3>Failed, or does not apply</h3>\n<ul>\n{lines}</ul>" if lines else ""


def _made(records: Sequence[CellRecord], seeds: Sequence[int]) -> str:
    """Commit, versions, hardware and dates; more than one of a kind is shown as such."""
    kinds = {k: sorted({r.origin[k] for r in records if r.origin[k]}) for k in records[0].origin}
    dates = [d[:16].replace("T", " ") for d in kinds.pop("date")]
    pairs = [(k, "; ".join(v) + (f" ({len(v)} different ones)" if len(v) > 1 else "")) for k, v in kinds.items()]
    pairs.append(("date", dates[0] if dates and dates[0] == dates[-1] else " to ".join(dates[:1] + dates[-1:])))
    pairs.append(("seeds", ", ".join(map(str, seeds))))
    options = dict.fromkeys((r.method, str(dict(r.options))) for r in records if r.options)
    pairs += [(f"options of {method}", values) for method, values in options]
    return page.listing(pairs)


def _about(records: Sequence[CellRecord]) -> dict[str, str]:
    """One line about each method; one from outside may be out of reach here."""
    about = {}
    for name in dict.fromkeys(record.method for record in records):
        try:
            about[name] = describe_method(name)
        except ValueError:
            about[name] = ""
        choices = [_choice(record) for record in records if record.method == name and record.study is None]
        if said := "; ".join(filter(None, choices)):
            about[name] += f". Chosen: {said}"
    return about


def _choice(record: CellRecord) -> str:
    """What a method that chooses among others chose, with the figures that decided; empty for all others."""
    if "chosen" not in record.notes:
        return ""
    tried = (f"{t['method']} {t['relative']:.3f}" for t in record.notes["trials"] if "relative" in t)
    return f"seed {record.seed} {record.notes['chosen']} (scores over linear: {', '.join(tried)})"


def _recipe(folder: Path) -> str:
    found = [p for p in (folder / "recipe.toml", folder / "recipe.json") if p.is_file()]
    return found[0].read_text("utf-8", "replace").strip() if found else ""


def _animation(examples: Mapping[str, Example], path: Path) -> Path | None:
    """Animate the trajectory of physinv, or of the first method that has one."""
    from physinv.reports.plots.animation import animate, save_gif

    found = [(name != "physinv", name, e) for name, e in examples.items() if e.trajectory is not None]
    if not found:
        return None
    example = min(found, key=lambda item: item[:2])[2]
    assert example.trajectory is not None
    save_gif(animate(*example.trajectory, example.layout), path)
    return path


def _fitting(images: Sequence[Embedded]) -> list[Embedded]:
    """Images that fit into the page: the largest one is shrunk until all do."""
    out = list(images)
    while sum(len(i[-1]) for i in out) > _ROOM:
        still = [n for n, i in enumerate(out) if i[3] == ".png"]
        if not still:
            break
        n = max(still, key=lambda j: len(out[j][-1]))
        *rest, data = out[n]
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(data)) as image:
            size = (round(0.8 * image.width), round(0.8 * image.height))
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
        out[n] = (rest[0], rest[1], rest[2], rest[3], buffer.getvalue())
    return out
