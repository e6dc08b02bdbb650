"""A report says what was measured: means by hand, fronts by hand, sentences that match the numbers, a page that stands
alone; and a comparison of two sets of results finds what changed and nothing else."""

from __future__ import annotations

import itertools
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from physinv.comparison.examples import Example, read_examples, write_example
from physinv.comparison.records import Record, Study, Summary, order, points, read_records, summarise
from physinv.processes.layout import FieldLayout, ParticleLayout, StateLayout, VectorLayout
from physinv.reports.compare import compare, regressions, render, to_json
from physinv.reports.figures import pictures
from physinv.reports.plots.animation import animate, save_gif
from physinv.reports.plots.methods import examples as draw_examples
from physinv.reports.plots.methods import look_of
from physinv.reports.report import LARGEST, write_report
from physinv.reports.tables import COLUMNS, best, failures, markdown, number
from physinv.reports.verdict import front, verdict

torch.set_num_threads(1)
CRPS, COVERAGE = (next(c for c in COLUMNS if c.name == name) for name in ("crps", "coverage_90"))
GRID = tuple(i / 8 for i in range(8))
FIELD = FieldLayout(("u",), ("x", "y"), (GRID, GRID), "PERIODIC")
METHODS = "exact physinv physinv-flow linear physics score-only regression fno dropout deep-ensemble lbfgs gauss-newton"
METHODS += " ensemble-kalman dps conditional-diffusion flow-matching npse fmpe"


def cell(method: str, seed: int = 0, study: Any = None, error: str | None = None, **metrics: float | None) -> Any:
    return {
        "schema": 1,
        "key": f"{method}-{seed}-{study}",
        "system": "heat",
        "method": method,
        "options": {},
        "seed": seed,
        "study": study,
        "metrics": metrics,
        "curves": {},
        "cost": {"training_seconds": 60.0, "sampling_seconds": 8.0, "observations": 100, "samples": 16},
        "error": error,
        "commit": "0123abc",
        "versions": {"physinv": "0.1.0"},
        "hardware": "a machine",
        "device": "cpu",
        "threads": 1,
        "date": "2026-01-02T03:04:05+00:00",
    }


def folder(path: Path, *cells: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "cells.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cells), "utf-8")
    return path


def summary(mean: float, error: float | None = 0.001) -> Summary:
    return Summary(mean, error, 1 if error is None else 3)


def table(**methods: tuple[float, float] | tuple[float, float, float]) -> dict[str, dict[str, Summary]]:
    """method = (CRPS, total seconds[, standard error]); underscores stand for hyphens."""
    return {
        m.replace("_", "-"): {"crps": summary(v[0], v[2] if len(v) > 2 else 0.001), "total_seconds": summary(v[1])}
        for m, v in methods.items()
    }


# ---- reading and averaging


def test_results_of_two_systems_are_not_compared(tmp_path):
    for name in ("heat", "burgers"):
        (tmp_path / name).mkdir()
        line = {"schema": 1, "key": "k", "system": name, "method": "linear", "seed": 0, "study": None, "error": None}
        line |= {"options": {}, "metrics": {"crps": 1.0}, "curves": {}, "cost": {}}
        (tmp_path / name / "cells.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=r"both results must be of one system, got heat in .* and burgers in"):
        compare(tmp_path / "heat", tmp_path / "burgers")


def test_a_later_line_replaces_and_a_torn_line_is_skipped(tmp_path: Path) -> None:
    path = folder(tmp_path, cell("a", crps=1.0), cell("b", crps=2.0), cell("a", crps=3.0))
    whole = (path / "cells.jsonl").read_text()
    torn = json.dumps(cell("c", crps=4.0))[:60]
    (path / "cells.jsonl").write_text(f"{torn}\n{whole}{torn}")
    assert {r.method: r.metrics["crps"] for r in read_records(path)} == {"a": 3.0, "b": 2.0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**cell("a"), "schema": 2}, "`schema` must be 1, got 2 in line 1"),
        (17, "`schema` must be 1, got 17 in line 1"),
        ({k: v for k, v in cell("a").items() if k != "seed"}, "line 1 .* is no cell of a benchmark .*seed"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_records(folder(tmp_path, line))


def test_the_noise_of_the_seeds_is_that_of_paired_differences_by_hand() -> None:
    """Differences .1, .2, .3: mean .2, sd .1; Student's t of 2 degrees of freedom has its 97.5 % point at 4.3027."""
    a, b = (Summary.of(dict(enumerate(v))) for v in ((1.0, 5.0, 9.0), (0.9, 4.8, 8.7)))
    assert a.gap(b) == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
    assert a.gap(b) == pytest.approx(b.gap(a))
    assert a.mean - b.mean < a.gap(b)  # .2 < .248: undecided, where unpaired errors, 2.3 each, would say nothing at all
    steady = Summary.of({0: 0.8, 1: 4.79, 2: 8.81})
    assert a.mean - steady.mean > a.gap(steady)
    apart = Summary.of({7: 1.0, 8: 5.0, 9: 9.0})  # no seed in common: two standard errors of independent means
    assert a.gap(apart) == pytest.approx(2 * math.hypot(a.error or 0, apart.error or 0))
    single = Summary.of({0: 5.0})
    assert single.gap(Summary.of({0: 4.0})) == pytest.approx(0.1)


def test_no_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`folder` must hold cells.jsonl"):
        read_records(tmp_path)
    with pytest.raises(ValueError, match="at least one finished cell"):
        write_report(folder(tmp_path))


def test_means_and_standard_errors_by_hand(tmp_path: Path) -> None:
    """1, 2, 4: mean 7/3, sd sqrt(7/3), standard error sqrt(7/3) / sqrt(3) = sqrt(7) / 3."""
    cells = [cell("a", seed, crps=v) for seed, v in enumerate((1.0, 2.0, 4.0))]
    cells += [cell("b", 0, crps=5.0), cell("c", 0, error="failed: no"), cell("d", 0, crps=math.nan)]
    cells.append(cell("a", 0, {"name": "T", "key": "parameters.horizon", "value": 2}, crps=9.0))
    records = read_records(folder(tmp_path, *cells))
    means = summarise(records)
    assert means["a"]["crps"].mean == pytest.approx(7 / 3)
    assert means["a"]["crps"].error == pytest.approx(math.sqrt(7) / 3)
    assert means["a"]["crps"].n == 3
    assert means["b"]["crps"] == Summary(5.0, None, 1)
    assert means["c"] == {}
    assert "crps" not in means["d"]
    assert means["a"]["total_seconds"].mean == 68
    assert means["a"]["sample_seconds"].mean == pytest.approx(8 / 1600)
    assert order(means)[0] == "a"
    (study,) = points(records)["T"]
    assert study == Study("T", "parameters.horizon", 2.0, "parameters.horizon")
    assert summarise(records, study)["a"]["crps"].mean == 9
    assert failures(records) == ["c (seed 0): failed: no", "d (seed 0): crps not finite, left out of the means"]


# ---- tables


def test_best_is_what_lies_within_two_standard_errors() -> None:
    """Gap 0.0028 against 2 sqrt(2) 0.001 = 0.00283: a tie; 0.0029: none.  The exact posterior takes no part."""
    rows = table(exact=(0.05, 1), a=(0.1, 1), b=(0.1028, 1), c=(0.1029, 1))
    assert best(CRPS, rows) == {"a", "b"}
    target = {m: {"coverage_90": summary(v, 0.002)} for m, v in {"a": 0.85, "b": 0.91, "c": 0.895, "d": 0.99}.items()}
    assert best(COVERAGE, target) == {"b", "c"}
    assert best(CRPS, {m: {"crps": summary(1.0)} for m in "ab"}) == set()


def test_what_differs_by_more_than_a_tenth_is_no_tie() -> None:
    """Noise of .06 hides a difference of .03, which is 23 %: neither best nor beaten for sure."""
    rows = table(physinv=(0.13, 60, 0.03), a=(0.1, 60, 0.001), b=(0.105, 60, 0.03), c=(0.131, 60, 0.03))
    assert best(CRPS, rows) == {"a", "b"}
    said = verdict(rows)[0]
    assert said == (
        "a (0.100 ± 0.0010) and b (0.105 ± 0.030) may beat physinv on CRPS (0.130 ± 0.030), within the noise of the "
        "seeds; c is level with it."
    )
    assert verdict(table(physinv=(0.1, 60, 0.03), a=(0.13, 60, 0.03)))[0].endswith(
        "next: a, 0.130 ± 0.030), a lead within the noise of the seeds."
    )
    rows["a"]["crps"] = summary(0.05, 0.001)
    assert verdict(rows)[0].startswith("a (0.0500 ± 0.0010) beats physinv on CRPS (0.130 ± 0.030); b may do so, within")


def test_markdown_has_the_exact_posterior_first_the_best_bold_and_reasons_below(tmp_path: Path) -> None:
    cells = [cell(m, s, crps=v + 1e-4 * s) for m, v in {"b": 0.2, "a": 0.1, "exact": 0.05}.items() for s in range(2)]
    lines = markdown(read_records(folder(tmp_path, *cells, cell("c", error="does not apply: walls")))).splitlines()
    assert lines[0].startswith("| method | CRPS ↓ | training s ↓ |")
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["exact", "a", "b"]
    assert [line.split("|")[2].strip().startswith("**") for line in lines[2:5]] == [False, True, False]
    assert lines[-1] == "- c (seed 0): does not apply: walls"
    assert len({line.count("|") for line in lines[:5]}) == 1


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.094, 0.00123, "0.0940 ± 0.0012"),
        (0.094, None, "0.0940"),
        (1234.5, 12.0, "1,234 ± 12"),
        (12.0, 0.5, "12.0 ± 0.50"),
    ],
)
def test_numbers_are_short(mean: float, error: float | None, text: str) -> None:
    assert number(summary(mean, error), CRPS) == text


# ---- the front and the sentences


def test_the_front_by_hand() -> None:
    """b costs more than a and errs less; c errs more than b at more cost; d and f err as b within the noise, at three
    times and at twice its cost."""
    rows = table(exact=(0.01, 0.1), a=(0.3, 1), b=(0.1, 10), c=(0.2, 20), d=(0.102, 30), e=(0.4, 1), f=(0.102, 20))
    assert front(rows) == {"a", "b", "f"}
    assert front(table(physinv=(0.3, 100, 0.02), linear=(0.25, 1, 0.02))) == {"linear"}
    assert front(table(a=(0.1, 1, 0), b=(0.1001, 2, 0))) == {"a"}


def test_the_verdict_when_physinv_wins() -> None:
    rows = table(exact=(0.092, 1), physinv=(0.094, 60), npse=(0.101, 80), linear=(0.2, 1))
    rows["physinv"]["coverage_90"] = summary(0.905)
    text = verdict(rows)
    assert text[0] == "physinv has the lowest CRPS of all 3 methods (0.0940 ± 0.0010; next: npse, 0.101 ± 0.0010)."
    assert "The exact posterior's CRPS" not in text[1]  # 0.002 apart, two standard errors are 0.0028
    assert "within the noise of the seeds" in text[1]
    assert text[2] == "physinv's 90 % intervals hold the truth in 90.5 % of the cases."
    assert text[3] == "physinv is on the front of CRPS against compute time (60 s), with linear."


def test_the_verdict_when_physinv_loses() -> None:
    rows = table(exact=(0.05, 1), physinv=(0.1, 60), npse=(0.08, 50), fmpe=(0.09, 90), dps=(0.1, 70), linear=(0.2, 1))
    rows["physinv"]["coverage_90"] = summary(0.7)
    text = verdict(rows)
    assert text[0] == (
        "npse (0.0800 ± 0.0010) and fmpe (0.0900 ± 0.0010) beat physinv on CRPS (0.100 ± 0.0010); dps is level with it."
    )
    assert text[1].endswith("physinv's is 100 % above it.") or "1e+02 % above" in text[1]
    assert "70.0 % of the cases, which is too rare" in text[2]
    assert text[3].startswith("physinv is not on the front")
    assert "npse (CRPS 0.0800 ± 0.0010, 50 s) reaches" in text[3]
    assert "fmpe" not in text[3]


def test_the_verdict_names_checks_that_fail_and_no_others() -> None:
    rows = table(exact=(0.1, 1), physinv=(0.1, 60), linear=(0.2, 1))
    rows["physinv"] |= {"misfit_median": summary(1.1), "outside": summary(0.0), "patch_c2st": summary(0.55)}
    assert not any("told from true states" in text for text in verdict(rows))
    rows["physinv"] |= {"outside": summary(0.74), "total_variation": summary(2.0)}
    (said,) = (text for text in verdict(rows) if "told from true states" in text)
    assert said.endswith("exact posterior: outside 0.740 ± 0.0010 and total variation 2.000 ± 0.0010 for 1.")


def test_the_verdict_tells_what_one_more_sample_costs() -> None:
    """Of the methods that beat physinv, those that take twice its time or more; the better ones first."""
    rows = table(physinv=(0.1, 60), npse=(0.08, 50), lbfgs=(0.07, 90), fmpe=(0.06, 70), dps=(0.2, 70))
    for method, seconds in {"physinv": 0.05, "npse": 0.2, "lbfgs": 2.25, "fmpe": 0.09, "dps": 3.0}.items():
        rows[method]["sample_seconds"] = summary(seconds)
    assert verdict(rows)[-1] == "Once trained, one more sample takes physinv 0.050 s, lbfgs 2.2 s and npse 0.20 s."
    rows["physinv"]["crps"] = summary(0.05)
    assert not any("one more sample" in line for line in verdict(rows))


def test_the_verdict_when_physinv_ties_and_when_there_is_one_seed() -> None:
    assert verdict(table(physinv=(0.1, 60), npse=(0.099, 50), linear=(0.2, 1)))[0] == (
        "physinv (0.100 ± 0.0010) and npse (0.0990 ± 0.0010) share the lowest CRPS of all 3 methods, within the "
        "noise of the seeds; next: linear (0.200 ± 0.0010)."
    )
    single = {m: {"crps": summary(v, None)} for m, v in {"physinv": 0.1, "npse": 0.11}.items()}
    assert "one seed" in verdict(single)[-1]
    assert "nothing can be said" in verdict({"npse": single["npse"]})[0]


# ---- figures


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


# ---- the page


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
    "field 1-D": FieldLayout(("u",), ("x",), (GRID,)),
    "scalar": VectorLayout("x", 1),
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
    path = results(tmp_path / "heat", LAYOUTS["scalar"])
    (path / "examples" / "dps.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"dps.npz is no example of a benchmark"):
        write_report(path)


def _ids(text: str) -> list[str]:
    return [part.split('"')[0] for part in text.split('id="')[1:]]


# ---- comparing two sets of results


def drawn(path: Path, rng: np.random.Generator, seeds: range, shift: float = 0.0) -> Path:
    """Two methods, four metrics: 1 plus normal noise of 0.01; ``shift`` is added to the CRPS of physinv."""
    cells = []
    for method, seed in itertools.product(("physinv", "linear"), seeds):
        names = ("crps", "energy_score", "variogram_score", "relative_l2")
        values = dict(zip(names, 1 + 0.01 * rng.normal(size=4), strict=True))
        values["crps"] += shift if method == "physinv" else 0
        cells.append(cell(method, seed, **values))
    return folder(path, *cells)


def test_noise_is_rarely_flagged(tmp_path: Path) -> None:
    """120 pairs without any change, 8 tests in each: Holm holds the share with a flag below 5 %.

    Bound: 6 expected at most, plus 3 standard errors sqrt(120 x .05 x .95) = 2.4: 13.  Uncorrected there would be
    1 - .95^8 = 34 %, 40 of them.  At least one: the tests are not asleep (a chance of .95^120 = .2 % if all is well).
    """
    rng = np.random.default_rng(1)
    flagged = 0
    for i in range(120):
        a, b = drawn(tmp_path / "a", rng, range(5)), drawn(tmp_path / "b", rng, range(5))
        flagged += any(d.flag in ("worse", "better") for d in compare(a, b))
        assert i or {d.test for d in compare(a, b)} == {"paired t"}
    assert 1 <= flagged <= 13


def test_a_doubled_error_is_never_called_the_same(tmp_path: Path) -> None:
    """Three seeds, 80 figures: p of the doubled one is 3e-4, times 80 that is .03 or so: it must at least be shown."""
    rng, sides = np.random.default_rng(3), []
    for name, factor in (("a", 1.0), ("b", 2.0)):
        cells = []
        for i, seed in itertools.product(range(20), range(3)):
            values = {c: 1 + 0.02 * rng.normal() for c in ("crps", "energy_score", "variogram_score", "relative_l2")}
            values["crps"] *= factor if i == 0 else 1.0
            cells.append(cell(f"method{i}", seed, **values))
        sides.append(folder(tmp_path / name, *cells))
    found = {(d.method, d.metric): d for d in compare(*sides)}
    assert found["method0", "crps"].flag in ("check", "worse")
    assert found["method0", "crps"].p < 0.05
    assert sum(d.flag == "check" for d in found.values()) <= 2  # noise of 2 % seldom moves a mean by 5 %


def test_more_failures_than_before_are_worse(tmp_path: Path) -> None:
    some = [cell("npse", 0, crps=1.0), cell("npse", 1, crps=1.1), cell("npse", 2, error="failed: no")]
    none = [cell("npse", seed, error="failed: no") for seed in range(3)]
    found = compare(folder(tmp_path / "a", *some), folder(tmp_path / "b", *none))
    assert [(d.metric, d.flag) for d in found] == [("failures", "worse")]


def test_a_true_regression_is_flagged_and_nothing_else(tmp_path: Path) -> None:
    """A shift of 0.2, ten standard deviations of a difference (0.014) and more: t = 0.2 / (0.014 / sqrt(6)) = 35."""
    rng = np.random.default_rng(2)
    a, b = drawn(tmp_path / "a", rng, range(6)), drawn(tmp_path / "b", rng, range(6), shift=0.2)
    found = compare(a, b)
    assert [(d.method, d.metric) for d in found if d.flag == "worse"] == [("physinv", "crps")]
    assert regressions(found)
    back = compare(b, a)
    assert [(d.method, d.metric) for d in back if d.flag == "better"] == [("physinv", "crps")]
    assert not regressions(back)
    assert json.loads(to_json(found))["worse"] is True
    assert render(found).row_count == 1
    assert render(found, everything=True).row_count == len(found) == 8
    welch = compare(a, drawn(tmp_path / "c", rng, range(10, 16), shift=0.2))
    assert {d.test for d in welch} == {"Welch"}
    assert [(d.method, d.metric) for d in welch if d.flag == "worse"] == [("physinv", "crps")]


def test_one_seed_is_checked_not_tested_and_targets_have_two_sides(tmp_path: Path) -> None:
    old = cell("a", crps=1.0, energy_score=1.0, coverage_90=0.88)
    new = cell("a", crps=1.04, energy_score=1.06, coverage_90=0.93)  # 0.01 further from 0.9, which is 1 % of it
    found = {d.metric: d.flag for d in compare(folder(tmp_path / "a", old), folder(tmp_path / "b", new))}
    assert found == {"crps": "no test (one seed)", "energy_score": "check", "coverage_90": "no test (one seed)"}
    sides = [
        folder(tmp_path / str(v), *(cell("a", s, coverage_90=v + 1e-4 * s**2) for s in range(4)))
        for v in (0.87, 0.92, 0.97)
    ]
    assert compare(sides[0], sides[1])[0].flag == "better"
    assert compare(sides[1], sides[2])[0].flag == "worse"


def test_a_method_that_fails_now_is_worse_and_one_that_is_gone_is_missing(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", cell("a", crps=1.0), cell("b", crps=1.0))
    b = folder(tmp_path / "b", cell("a", error="failed: no"))
    found = compare(a, b)
    assert [(d.method, d.metric, d.flag) for d in found] == [("a", "failures", "worse"), ("b", "all", "missing")]
    assert regressions(found)
    assert not regressions(compare(a, a))


def test_records_keep_what_they_were_told(tmp_path: Path) -> None:
    (record,) = read_records(folder(tmp_path, {**cell("a", crps=1.0, energy_score=None), "budget_seconds": 60}))
    assert isinstance(record, Record)
    assert record.metrics == {"crps": 1.0}
    assert record.lost == ("energy_score",)  # the runner leaves out what does not apply: null is what was not finite
    assert record.origin["versions"] == "physinv 0.1.0"
