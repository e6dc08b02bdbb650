"""The page of a report and its figures."""

from __future__ import annotations

import itertools
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from report_cases import cell, folder

from physinv.comparison.examples import Example, read_examples, write_example
from physinv.comparison.records import CellRecord, read_records
from physinv.processes.layout import FieldLayout, ParticleLayout, StateLayout, VectorLayout
from physinv.reports.figures import pictures
from physinv.reports.plots.animation import animate, save_gif
from physinv.reports.plots.methods import examples as draw_examples
from physinv.reports.plots.methods import look_of
from physinv.reports.report import LARGEST, write_report

GRID = tuple(i / 8 for i in range(8))
FIELD = FieldLayout(("u",), ("x", "y"), (GRID, GRID), "PERIODIC")
METHODS = "exact physinv physinv-flow linear physics score-only regression fno dropout deep-ensemble lbfgs gauss-newton"
METHODS += " ensemble-kalman dps conditional-diffusion flow-matching npse fmpe"


def test_every_method_has_a_look_of_its_own() -> None:
    looks = [look_of(m) for m in METHODS.split()]
    assert len({(look["color"], look["marker"]) for look in looks}) == len(looks)
    assert look_of("somebody-elses") == look_of("somebody-elses")


def test_the_gallery_puts_each_method_in_its_row() -> None:
    """Constant fields: the row named after a method shows its constant; a draw that is not finite is left out."""
    values = {"physinv": 0.25, "regression": -0.5, "dps": 0.75}
    samples = {m: torch.full((3, 1, 8, 8), v) for m, v in values.items()}
    samples["dps"][0, 0, 0, 0] = math.nan
    truth = torch.linspace(-1, 1, 64).reshape(1, 8, 8)
    figure = draw_examples(truth, 0.5 * truth, samples, FIELD)
    rows = {ax.get_subplotspec().rowspan.start: name for ax, name in zip(figure.axes, values, strict=False)}
    shown = {(ax.get_subplotspec().rowspan.start, ax.get_subplotspec().colspan.start): ax for ax in figure.axes}
    for row, method in rows.items():
        for column in (1, 2):  # two finite draws are left of dps, so two are drawn of all
            np.testing.assert_allclose(np.asarray(shown[row, column].images[0].get_array()), values[method])
        label = shown[row, 0].get_ylabel()
        assert label == method or row == len(values) - 1, "the last row names its axis"


def test_the_gif_runs_backward_with_at_most_sixty_frames(tmp_path: Path) -> None:
    """A truth that grows with time from 0 to 1, a reconstruction that falls: the first frame is 0 left and 1 right."""
    times = torch.linspace(0, 2, 100)
    states = (times / 2).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    frames = animate(1 - states, states, times, FIELD)
    assert len(frames) == 60
    width, height = frames[0].size
    for frame, value in ((frames[0], 1.0), (frames[-1], 0.0)):
        for x, shown in ((width // 4, 1 - value), (5 * width // 8, value)):
            expected = 255 * np.array(colormaps["viridis"](shown)[:3])
            np.testing.assert_allclose(frame.getpixel((x, height // 2)), expected, atol=1)
    save_gif(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 60  # type: ignore[attr-defined]
    save_gif(frames, tmp_path / "b.gif", largest=(tmp_path / "a.gif").stat().st_size // 2)
    with Image.open(tmp_path / "b.gif") as gif:
        assert 20 <= gif.n_frames < 60  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="at least 2 `times`, got 100, 99 and 100"):
        animate(states, states[1:], times, FIELD)


class Parser(HTMLParser):
    """Tags that are open, and every address that the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.headings = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        self.headings += tag == "th" and ("scope", "col") in attrs
        if tag not in ("meta", "img", "br", "hr", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


METHODS_SHOWN = ("exact", "physinv", "dps")


def results(path: Path, layout: StateLayout, *, curves: bool = True) -> Path:
    """A small but whole folder of results, without curves and studies for the tests that need none."""
    rng, cells = np.random.default_rng(0), []
    levels = [0.1, 0.5, 0.9]
    places = [None, *({"name": "T", "key": "parameters.horizon", "value": v} for v in (0.1, 0.2) if curves)]
    for (i, method), seed, study in itertools.product(enumerate(METHODS_SHOWN), range(2), places):
        own = cell(method, seed, study, crps=0.1 + 0.01 * i + 0.001 * seed, coverage_90=0.9 - 0.1 * i, sbc_p=0.5)
        own["curves"] = {"levels": levels, "coverage": levels, "ranks": [4, 5, 6], "tarp_levels": [], "k": [0, 1, 2]}
        own["curves"] |= {"spectrum_truth": [1, 0.5, 0.1], "spectrum_samples": [1, 0.4, 0.1]}
        own["curves"] = own["curves"] if curves else {}
        cells.append(own)
    folder(path, *cells, cell("fmpe", error="does not apply: <b>walls</b> & more"))
    (path / "recipe.toml").write_text('url = "https://example.org/<x>"\n')
    (path / "examples").mkdir()
    truth = rng.normal(size=(2, *layout.shape))
    for method in METHODS_SHOWN:
        samples = (truth[:, None] + rng.normal(size=(2, 3, *layout.shape))).astype(np.float32)
        way = {"times": np.linspace(0, 1, 5), "trajectory": np.repeat(truth[:1], 5, 0)}
        way["true_trajectory"] = way["trajectory"]
        kept = way if method == "physinv" else {}
        note = np.array(json.dumps(layout.described()))
        np.savez(path / "examples" / f"{method}.npz", truth=truth, final=truth, samples=samples, layout=note, **kept)
    return path


LAYOUTS = {
    "field 2-D": FIELD,
    "vector": VectorLayout("x", 3),
    "particles": ParticleLayout(4, 2, ("position",)),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_page_stands_alone(tmp_path: Path, kind: str) -> None:
    whole = kind == "field 2-D"
    path = results(tmp_path / "heat", LAYOUTS[kind], curves=whole)
    written = write_report(path)
    names = {p.relative_to(path).as_posix() for p in written}
    drawn = ("error-against-time", "examples", *(("coverage", "ranks", "spectra", "studies") if whole else ()))
    assert names == {"report.html", "table.md", "reconstruction.gif"} | {
        f"figures/{n}.{s}" for n in drawn for s in ("png", "pdf")
    }
    text = (path / "report.html").read_text("utf-8")
    parser = Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert all(link.startswith(("#", "data:image/")) for link in parser.links)
    assert sum(link.startswith("data:image/png") for link in parser.links) == len(drawn)
    assert sum(link.startswith("data:image/gif") for link in parser.links) == 1
    assert {link for link in parser.links if link[0] == "#"} <= {f"#{i}" for i in _ids(text)}
    assert "url(" not in text
    assert "@import" not in text
    assert len(text.encode()) <= LARGEST
    assert parser.headings == text.count("<button") > 5, "each heading sorts"
    assert 'addEventListener("click"' in text
    assert 'data-value="0.1005"' in text  # exact: mean of 0.100 and 0.101
    assert "&lt;b&gt;walls&lt;/b&gt; &amp; more" in text
    assert "https://example.org/&lt;x&gt;" in text
    assert "0123abc" in text
    with Image.open(path / "reconstruction.gif") as gif:
        assert gif.n_frames in (1, 5)  # type: ignore[attr-defined]  # equal frames may be merged


def test_a_report_of_the_barest_results(tmp_path: Path) -> None:
    """One method, one metric, no curves, no examples, no recipe; and one where everything failed."""
    for i, own in enumerate((cell("npse", crps=1.0), cell("npse", error="failed: no"))):
        names = {p.name for p in write_report(folder(tmp_path / str(i), own))}
        assert {"report.html", "table.md"} <= names
    assert "npse (seed 0): failed: no" in (tmp_path / "1" / "report.html").read_text("utf-8")
    assert 'id="checks"' not in (tmp_path / "0" / "report.html").read_text("utf-8")


def test_checks_have_a_section_and_a_sentence(tmp_path: Path) -> None:
    write_report(folder(tmp_path, cell("physinv", crps=1.0, outside=0.74, misfit_median=1.1, patch_c2st=0.93)))
    text = (tmp_path / "report.html").read_text("utf-8")
    section = text.partition('<section id="checks">')[2].partition("</section>")[0]
    assert all(heading in section for heading in ("outside", "misfit", "patches", "best at 0.5", "0.740", "0.930"))
    assert "told from true states without any exact posterior: outside 0.740 and patches 0.930 for 0.5." in text


def test_the_choice_of_a_method_is_told_with_its_figures(tmp_path: Path) -> None:
    trials = [{"method": "linear", "share": 0.0, "relative": 1.0}, {"method": "dps", "share": 0.2, "failed": "NaN"}]
    trials.append({"method": "physinv", "share": 0.8, "relative": 0.8771})
    chosen = {**cell("auto", crps=1.0), "notes": {"chosen": "physinv", "trials": trials, "answer": {}}}
    text = write_report(folder(tmp_path, chosen, cell("linear", crps=2.0)))[-1].read_text("utf-8")
    assert "Chosen: seed 0 physinv (scores over linear: linear 1.000, physinv 0.877)" in text


def test_a_study_of_words_is_drawn_and_a_method_without_records_is_not(tmp_path: Path) -> None:
    records = read_records(results(tmp_path / "heat", FIELD))
    study = {"name": "pair", "key": "parameters.pair"}
    worded = [cell("physinv", study={**study, "value": v}, crps=c) for v, c in (("soft", 0.2), ("yukawa", 0.1))]
    examples = read_examples(tmp_path / "heat")
    drawn = {p.name: p.figure for p in pictures(read_records(folder(tmp_path / "w", *worded)), {})}
    line = drawn["studies"].axes[0].lines[0]
    assert [t.get_text() for t in drawn["studies"].axes[0].get_xticklabels()] == ["soft", "yukawa"]
    np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), [0.2, 0.1])
    alone = [r for r in records if r.method == "physinv"]
    gallery = next(p.figure for p in pictures(alone, examples) if p.name == "examples")
    labels = {ax.get_ylabel() for ax in gallery.axes}
    assert "exact" in examples
    assert not any("exact" in label for label in labels)


@pytest.mark.parametrize("way", [True, False])
def test_an_example_comes_back_as_it_was(tmp_path: Path, way: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    truth, final = torch.randn(2, 1, 8, 8, generator=generator), torch.randn(2, 1, 8, 8, generator=generator).half()
    ways = (torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8), torch.arange(3.0)) if way else None
    kept = Example(truth, final, truth[:, None].expand(-1, 4, -1, -1, -1), FIELD, ways)
    write_example(tmp_path / "examples" / "ours.npz", kept)
    (found,) = read_examples(tmp_path).values()
    assert found.layout == FIELD
    pairs = [(found.truth, truth), (found.final, final), (found.samples, kept.samples)]
    assert (found.trajectory is None) == (ways is None)
    pairs += list(zip(found.trajectory or (), ways or (), strict=True))
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def test_a_damaged_example_is_refused(tmp_path: Path) -> None:
    path = results(tmp_path / "heat", next(iter(LAYOUTS.values())))
    (path / "examples" / "dps.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"dps.npz is no example of a benchmark"):
        write_report(path)


def _ids(text: str) -> list[str]:
    return [part.split('"')[0] for part in text.split('id="')[1:]]


def test_records_keep_what_they_were_told(tmp_path: Path) -> None:
    (record,) = read_records(folder(tmp_path, {**cell("a", crps=1.0, energy_score=None), "budget_seconds": 60}))
    assert isinstance(record, CellRecord)
    assert record.metrics == {"crps": 1.0}
    assert record.lost == ("energy_score",)  # the runner leaves out what does not apply: null is what was not finite
    assert record.origin["versions"] == "physinv 0.1.0"
