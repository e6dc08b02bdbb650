"""What the figures draw is what the tensors say; files are whole, repeatable and made without a display."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from physinv.evaluation.metrics import coverage
from physinv.evaluation.spectra import radial_spectrum
from physinv.processes.layout import FieldLayout
from physinv.processes.simulator import Simulator
from physinv.reports import plots as plot
from physinv.reports.plots import style
from physinv.training.loop import Record
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from simulators.vectors.quadratic import Quadratic

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
KINDS: dict[str, Simulator] = {
    "heat 1-D": Heat(dimension=1),
    "heat 2-D": Heat(size=16),
    "heat 3-D": Heat(dimension=3, size=8, steps=8),
    "OU 1-D": OrnsteinUhlenbeck(dim=1),
    "OU 4-D": OrnsteinUhlenbeck(),
    "quadratic": Quadratic(),
    "double well": DoubleWell(),
    "double well 2-D": DoubleWell(dimension=2),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def draw(kind: str, n: int = 4, members: int = 5) -> tuple[Simulator, Tensor, Tensor]:
    """The simulator, trajectories, and an ensemble: exact posterior samples where these are cheap, else the prior's."""
    simulator, generator = KINDS[kind], torch.Generator().manual_seed(0)
    paths = simulator.simulate(n, generator=generator)
    if isinstance(simulator, Heat | OrnsteinUhlenbeck):
        exact = simulator.exact()
        assert exact is not None
        return simulator, paths, exact.sample(paths[:, -1], members, generator=generator)
    return simulator, paths, simulator.initial(n * members, generator=generator).unflatten(0, (n, members))


def images(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for ax in figure.axes for image in ax.images]


def lines(figure: Figure, panel: int = 0) -> dict[str, np.ndarray]:
    """Data ``(points, 2)`` of the labelled lines of a panel."""
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in figure.axes[panel].lines}


def record(step: int, loss: float, valid: float, window: int = 2, rate: float = 1e-3) -> Record:
    return Record(step, 0.1 * step, window, rate, loss, valid, valid)


# ---- every kind of state


@every_kind
def test_every_state_has_its_figures(kind: str) -> None:
    simulator, paths, samples = draw(kind)
    truth, seen = paths[:, 0], paths[:, -1]
    figures = [
        plot.trajectory(paths[0], simulator.times, simulator.layout),
        plot.reconstruction(truth, seen, samples, simulator.layout, rows=2),
        plot.reconstruction(
            truth, seen, samples[:, :1], simulator.layout, rows=9
        ),  # one state each, and more rows than n
    ]
    if simulator.layout.kind == "vector":
        figures.append(plot.trajectory(paths, simulator.times, simulator.layout))
    else:
        figures.append(plot.spectra(truth, seen, samples, simulator.layout))
    for figure in figures:
        figure.draw_without_rendering()
        assert all(ax.has_data() for ax in figure.axes)


# ---- states


@pytest.mark.parametrize("kind", ["heat 2-D", "heat 3-D"])
def test_a_strip_shows_the_states_on_one_symmetric_scale(kind: str) -> None:
    simulator, paths, _ = draw(kind)
    figure = plot.trajectory(paths[0], simulator.times, simulator.layout)
    fields = paths[0, :, 0] if kind == "heat 2-D" else paths[0, :, 0, :, :, 4]
    last = len(fields) - 1
    for image, i in zip(images(figure), [round(j * last / 5) for j in range(6)], strict=True):
        np.testing.assert_array_equal(image, fields[i].T.double())  # x to the right
    *panels, bar = figure.axes
    assert len(panels) == 6
    assert bar.get_ylabel() == "temperature"
    limits = {(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in panels}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high


def test_a_line_of_cells_is_drawn_over_space_and_time() -> None:
    simulator, paths, _ = draw("heat 1-D")
    figure = plot.trajectory(paths[0], simulator.times, simulator.layout)
    (mesh,) = figure.axes[0].collections
    np.testing.assert_array_equal(np.asarray(mesh.get_array()), paths[0, :, 0].T.double())
    first, last = (line[:, 1] for line in lines(figure, 1).values())
    np.testing.assert_array_equal(first, paths[0, 0, 0].double())
    np.testing.assert_array_equal(last, paths[0, -1, 0].double())


def test_vectors_are_drawn_by_component() -> None:
    simulator, paths, _ = draw("OU 4-D")
    one = lines(plot.trajectory(paths[0], simulator.times, simulator.layout))
    for i, line in enumerate(one.values()):
        np.testing.assert_array_equal(line, torch.stack([simulator.times, paths[0, :, i].double()], 1))
    many = plot.trajectory(paths, simulator.times, simulator.layout)
    for i, ax in enumerate(many.axes):
        for line, path in zip(ax.lines, paths[:, :, i], strict=True):
            np.testing.assert_array_equal(line.get_ydata(), path.double())


def test_positive_fields_are_not_on_a_diverging_map() -> None:
    simulator, paths, _ = draw("heat 2-D")
    figure = plot.trajectory(paths[0].abs() + 1, simulator.times, simulator.layout)
    image = figure.axes[0].images[0]
    assert image.get_cmap().name == style.POSITIVE
    assert image.norm.vmin == min(drawn.min() for drawn in images(figure))


def test_a_gallery_goes_from_the_observation_over_samples_to_the_truth() -> None:
    simulator, paths, samples = draw("heat 2-D")
    truth, seen, x = paths[:, 0, 0], paths[:, -1, 0], samples[:, :, 0].double()
    figure = plot.reconstruction(paths[:, 0], paths[:, -1], samples, simulator.layout, rows=2)
    want = [seen, x[:, 0], x[:, 1], x[:, 2], x.mean(1), x.std(1), truth]
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 14
    assert len(figure.axes) == 16  # and two bars: states, standard deviation
    for i, ax in enumerate(panels):  # columns of two
        np.testing.assert_allclose(ax.images[0].get_array(), want[i // 2][i % 2].T.double(), atol=1e-12)
    spread = panels[10:12]
    peak = max(float(truth[:2].abs().max()), float(seen[:2].abs().max()))
    for ax in set(panels) - set(spread):
        assert (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == pytest.approx((-peak, peak))
    assert {ax.images[0].norm.vmin for ax in spread} == {0}


def test_a_histogram_shows_shares_truth_and_observation() -> None:
    simulator, paths, samples = draw("quadratic", members=50)
    figure = plot.reconstruction(paths[:, 0], paths[:, -1], samples, simulator.layout)
    assert len(figure.axes) == 3
    for i, ax in enumerate(figure.axes):
        bars = np.array([bar.get_height() for bar in ax.patches])
        assert bars.sum() == pytest.approx(1)
        assert bars[bars > 0].max() == pytest.approx(
            max((samples[i] < 0).double().mean(), (samples[i] > 0).double().mean())
        )
        marks = lines(figure, i)
        assert marks["truth $x_0$"][0, 0] == paths[i, 0, 0]
        assert marks["observation $x_T$"][0, 0] == paths[i, -1, 0]


def test_profiles_lie_over_the_quantiles_of_the_samples() -> None:
    simulator, paths, samples = draw("heat 1-D", members=21)
    figure = plot.reconstruction(paths[:, 0], paths[:, -1], samples, simulator.layout, rows=2)
    left, right = figure.axes[2:4]
    median = samples[1, :, 0].double().median(0).values
    np.testing.assert_allclose(lines(figure, 2)["median"][:, 1], median, atol=1e-12)
    np.testing.assert_allclose(lines(figure, 3)["truth $x_0$"][:, 1], paths[1, 0, 0] - median, atol=1e-12)
    sorted_ = samples[1, :, 0].double().sort(0).values
    for ax, base in ((left, 0 * median), (right, median)):
        corners = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert corners.min() == pytest.approx(float((sorted_[1] - base).min()))  # 5 % of 20 gaps: the second
        assert corners.max() == pytest.approx(float((sorted_[19] - base).max()))


# ---- laws


@pytest.mark.parametrize("kind", ["heat 1-D", "heat 2-D", "heat 3-D"])
def test_drawn_spectra_are_the_radial_spectra(kind: str) -> None:
    simulator, paths, samples = draw(kind)
    truth, seen = paths[:, 0], paths[:, -1]
    figure = plot.spectra(truth, seen, samples, simulator.layout, samples[:, 1:])
    drawn = lines(figure)
    want = {
        "truth $x_0$": truth,
        "observation $x_T$": seen,
        "posterior sample": samples[:, 0],
        "error of the sample": samples[:, 0] - truth,
        "mean of 5 samples": samples.mean(1),
        "exact posterior sample": samples[:, 1],
    }
    assert list(drawn) == list(want)
    for label, field in want.items():
        k, power = radial_spectrum(field)
        np.testing.assert_allclose(drawn[label], torch.stack([k, power.mean((0, 1))], 1)[1:], rtol=1e-12)
    assert {figure.axes[0].get_xscale(), figure.axes[0].get_yscale()} == {"log"}


def test_rounding_noise_is_not_drawn() -> None:
    simulator, paths, samples = draw("heat 2-D")
    x = torch.tensor(simulator.layout.coordinates[0], dtype=torch.float64)
    wave = torch.cos(3 * x)[:, None].float().expand_as(samples)  # one mode, stored in float32
    figure = plot.spectra(wave[:, 0], paths[:, -1], wave, simulator.layout)
    drawn = lines(figure)
    assert np.flatnonzero(np.isfinite(drawn["truth $x_0$"][:, 1])).tolist() == [2]  # the shell of |k| = 3
    assert np.isnan(drawn["error of the sample"][:, 1]).all()
    assert np.isfinite(drawn["observation $x_T$"][:, 1]).all()


def test_the_band_of_ranks_holds_95_percent_of_a_binomial() -> None:
    members, total = 9, 300
    counts = torch.tensor([30, 25, 35, 31, 29, 30, 28, 32, 40, 20])
    figure = plot.ranks(counts)
    ax = figure.axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches[:10]], counts / 30)
    band = ax.patches[10].get_window_extent().transformed(ax.transData.inverted())
    low, high = round(30 * band.y0), round(30 * band.y1)
    assert (band.y0, band.y1) == pytest.approx((low / 30, high / 30))

    def odds(a: int, b: int) -> float:
        p = 1 / (members + 1)
        return sum(math.comb(total, i) * p**i * (1 - p) ** (total - i) for i in range(a, b + 1))

    assert odds(low, high) >= 0.95  # central: less than 2.5 % on either side, and no narrower band does it
    assert odds(0, low - 1) < 0.025 <= odds(0, low)
    assert odds(high + 1, total) <= 0.025 < odds(high, total)


def test_ranks_say_when_components_are_dependent() -> None:
    counts = torch.tensor([3, 4, 5])
    note = {kind: plot.ranks(counts, KINDS[kind].layout).axes[0].get_title(loc="left") for kind in KINDS}
    assert {kind for kind in KINDS if "dependent" in note[kind]} == set(KINDS) - {"OU 1-D", "quadratic", "double well"}
    assert note["quadratic"] == "12 ranks"


def test_the_coverage_curve_is_coverage() -> None:
    _, paths, samples = draw("OU 4-D", n=50, members=9)
    drawn = lines(plot.coverage_curve(samples, paths[:, 0], samples + 1))
    for label, ensemble in (("9 samples", samples), ("exact posterior", samples + 1)):
        assert drawn[label][:, 0].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
        for level, found in drawn[label]:
            assert found == float(coverage(ensemble, paths[:, 0], level))
    assert np.abs(np.diff(drawn["calibrated"])).max() == 0


# ---- training


def test_training_leaves_out_the_loss_before_the_first_update() -> None:
    records = [record(0, 0.0, 1.2), record(10, 1.1, 1.0), record(20, 1.05, 0.9), record(30, 1.0, 0.95, window=4)]
    figure = plot.training(records)
    top = lines(figure)
    assert np.isnan(top["training"][0, 1])
    assert top["training"][1:, 1].tolist() == [1.1, 1.05, 1.0]
    assert top["validation"][:, 1].tolist() == [1.2, 1.0, 0.9, 0.95]
    assert top["best, 0.9 at step 20"].tolist() == [[20, 0.9]]
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [0.3, 0.1, math.nan, 0.05])
    assert figure.axes[1].get_yscale() == "log"
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["window 4"]
    np.testing.assert_array_equal(figure.axes[2].lines[0].get_ydata(), [math.nan, 1e-3, 1e-3, 1e-3])


def test_an_early_drop_does_not_squeeze_the_rest() -> None:
    records = [record(0, 0.0, 9.0), record(1, 8.0, 7.0)]
    records += [record(i, 1 + 0.01 * math.cos(i), 1 + 0.02 * math.exp(-i / 50)) for i in range(10, 200)]
    low, high = plot.training(records).axes[0].get_ylim()
    assert 0.98 < low < 0.99
    assert 1.02 < high < 1.03


@pytest.mark.parametrize("count", [1, 2])
def test_short_trainings_have_a_figure(count: int) -> None:
    plot.training([record(0, 0.0, 1.0), record(1, 1.0, 1.0)][:count]).draw_without_rendering()


# ---- files


def small() -> Figure:
    simulator, paths, samples = draw("heat 2-D")
    return plot.reconstruction(paths[:, 0], paths[:, -1], samples, simulator.layout, rows=1)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    """Saved again, drawn again under other settings, and in another process with other hashes and no display."""
    found = {}
    for suffix in (".png", ".pdf"):
        figure, path = small(), tmp_path / f"a{suffix}"
        plot.save(figure, path)
        found[suffix] = digest(path)
        plot.save(figure, path)
        assert digest(path) == found[suffix]
        with mpl.rc_context({"font.size": 20, "lines.linewidth": 5, "axes.grid": True, "savefig.dpi": 30}):
            plot.save(small(), path)
        assert digest(path) == found[suffix]
    code = (
        "import runpy, sys; from pathlib import Path; from physinv.reports import plots as plot;"
        "here = runpy.run_path('tests/reports/test_plots.py');"
        "[plot.save(here['small'](), Path(sys.argv[1] + s)) for s in ('.png', '.pdf')];"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    env = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], cwd=ROOT, env=env, check=True)
    assert {s: digest(tmp_path / f"b{s}") for s in found} == found


def test_the_users_settings_survive(tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 20}):
        before = dict(mpl.rcParams)
        plot.save(plot.ranks(torch.tensor([3, 4, 5])), tmp_path / "a.png")
        assert dict(mpl.rcParams) == before


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, path = plot.ranks(torch.tensor([3, 4, 5])), tmp_path / "a.png"
    plot.save(figure, path)
    old = digest(path)

    def broken(target: Path, **_: object) -> None:
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        plot.save(figure, path)
    assert digest(path) == old
    assert list(tmp_path.iterdir()) == [path]


# ---- refusals


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    simulator, paths, samples = draw("OU 4-D")
    truth, layout = paths[:, 0], simulator.layout
    with pytest.raises(ValueError, match=r"`path` must end in \.png or \.pdf, got 'a\.jpg'"):
        plot.save(plot.ranks(torch.tensor([1, 2])), tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"`states` must hold 5 states of 1 axes each.*got shape \(41, 4\)"):
        plot.trajectory(paths[0], simulator.times[:5], layout)
    with pytest.raises(
        ValueError, match=r"`samples` must have shape \(n, K, \*state\).*\(5, 4, 4\); put the members on axis 1"
    ):
        style.check_members(samples.transpose(0, 1), truth)  # the public functions' types would catch it first here
    with pytest.raises(ValueError, match=r"`layout` must be that of a field"):
        plot.spectra(truth, truth, samples, layout)
    with pytest.raises(ValueError, match=r"`counts` must hold at least one rank"):
        plot.ranks(torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`records` must hold at least one record"):
        plot.training([])


# ---- what is not known, and what does not vary


def test_points_that_were_not_seen_are_not_drawn_as_zero() -> None:
    simulator, paths, samples = draw("heat 2-D")
    seen = paths[:, -1].clone()
    seen[:, :, ::2] = math.nan
    figure = plot.reconstruction(paths[:, 0], seen, samples, simulator.layout, rows=1)
    image = figure.axes[0].images[0]
    assert np.isnan(np.ma.filled(image.get_array(), np.nan)).mean() == 0.5
    assert figure.axes[0].get_facecolor() == mpl.colors.to_rgba(style.UNSEEN)
    assert "unseen" in figure.axes[0].get_title()
    peak = max(float(paths[0, 0].abs().max()), float(seen[0].abs().nan_to_num().max()))
    assert image.norm.vmax == pytest.approx(peak)

    simulator, paths, samples = draw("heat 1-D")
    seen = paths[:, -1].clone()
    seen[:, :, ::2] = math.nan
    line = lines(plot.reconstruction(paths[:, 0], seen, samples, simulator.layout))["observation $x_T$"]
    assert np.isnan(line[::2, 1]).all()
    assert np.isfinite(line[1::2, 1]).all()

    simulator, paths, samples = draw("OU 4-D")
    for numbers, drawn in (((0,), "axhline"), ((0, 1), "nothing")):
        seen = paths[:, -1].clone()
        seen[:, list(numbers)] = math.nan
        found = lines(plot.reconstruction(paths[:, 0], seen, samples, simulator.layout))
        assert ("observation $x_T$" in found) == (drawn == "axhline")


@pytest.mark.parametrize("value", [0.0, 1e-15, 1e15])
@every_kind
def test_what_does_not_vary_is_drawn(kind: str, value: float, tmp_path: Path) -> None:
    simulator, paths, samples = draw(kind)
    still, same = torch.full_like(paths, value), torch.full_like(samples, value)
    plot.trajectory(still[0], simulator.times, simulator.layout).draw_without_rendering()
    plot.reconstruction(still[:, 0], still[:, -1], same, simulator.layout).draw_without_rendering()
    if simulator.layout.space:
        plot.spectra(still[:, 0], still[:, -1], same, simulator.layout).draw_without_rendering()


@pytest.mark.parametrize("space", [(12,), (6, 5)])
def test_points_without_data_are_blank(space: tuple[int, ...], generator: torch.Generator) -> None:
    """Values there, of whatever size, change nothing: neither limits nor what is drawn."""
    sea = np.arange(math.prod(space)).reshape(space) % 5 > 0
    layout = FieldLayout("sst", ("x", "y")[: len(space)], [range(n) for n in space], "WALL", mask=sea)
    drawn = []
    for land in (0.0, 1e9):
        generator.manual_seed(0)
        x, samples = torch.randn(4, 1, *space, generator=generator), torch.randn(4, 6, 1, *space, generator=generator)
        for states in (x, samples):
            states[..., ~torch.from_numpy(sea)] = land
        figures = [
            plot.trajectory(x, torch.arange(4.0), layout),
            plot.reconstruction(x, x, samples, layout),
            plot.posterior(x, samples, layout),
        ]
        for figure in figures:
            FigureCanvasAgg(figure).draw()
        drawn.append([(ax.get_xlim(), ax.get_ylim()) for figure in figures for ax in figure.axes])
        images = [image.get_array() for figure in figures for ax in figure.axes for image in ax.get_images()]
        assert all(np.ma.getmaskarray(np.ma.masked_invalid(image))[~sea.T].all() for image in images)
        profiles = [line.get_ydata() for line in figures[0].axes[1].lines] if len(space) == 1 else []
        assert all(np.isnan(values[~sea]).all() for values in profiles)
    assert drawn[0] == drawn[1]


def test_figures_are_wide_and_bars_lie_over_the_band(tmp_path: Path) -> None:
    from PIL import Image

    _, paths, samples = draw("OU 4-D", n=50, members=9)
    figure = plot.ranks(torch.tensor([3, 4, 5]))
    bars, band = figure.axes[0].patches[0], figure.axes[0].patches[3]
    assert band.get_zorder() < bars.get_zorder()
    for name, drawn in (("ranks", figure), ("coverage", plot.coverage_curve(samples, paths[:, 0]))):
        plot.save(plot.titled(drawn, "title"), tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width >= 1200
        assert drawn.get_suptitle() == "title"
