"""Figures of states show what the tensors hold: every kind of state, unseen points, no data, nothing that varies."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from plot_cases import draw, every_kind, images, lines

from physinv.processes.layout import FieldLayout, StateLayout, VectorLayout
from physinv.reports import plots as plot
from physinv.reports.plots import style


@every_kind
def test_every_state_has_its_figures(kind: str) -> None:
    simulator, paths, samples = draw(kind)
    truth, seen = paths[:, 0], paths[:, -1]
    figures = [
        plot.trajectory(paths[0], simulator.times, simulator.layout),
        plot.reconstruction(truth, seen, samples, simulator.layout, rows=2),
        plot.reconstruction(
            truth[:1], seen[:1], samples[:1, :1], simulator.layout, rows=9
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


@every_kind
def test_what_does_not_vary_is_drawn(kind: str) -> None:
    draw_constant(kind, 0.0)


@pytest.mark.parametrize("value", [1e-15, 1e15])
@pytest.mark.parametrize("kind", ["heat 2-D", "double well"])
def test_what_does_not_vary_may_have_any_size(kind: str, value: float) -> None:
    draw_constant(kind, value)


def draw_constant(kind: str, value: float) -> None:
    simulator, paths, samples = draw(kind)
    still, same = torch.full_like(paths, value), torch.full_like(samples, value)
    figures = [
        plot.trajectory(still[0], simulator.times, simulator.layout),
        plot.reconstruction(still[:, 0], still[:, -1], same, simulator.layout, rows=1),
    ]
    if simulator.layout.space:
        figures.append(plot.spectra(still[:, 0], still[:, -1], same, simulator.layout))
    for figure in figures:
        figure.set_layout_engine("none")  # which takes most of the time
        figure.draw_without_rendering()


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


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("layout", [VectorLayout("x", 1), VectorLayout("x", 3), FieldLayout("u", "x", [range(9)])])
def test_titles_lie_over_nothing(layout: StateLayout, alone: bool, generator: torch.Generator) -> None:
    x, y = torch.rand(4, *layout.shape, generator=generator), torch.rand(4, *layout.shape, generator=generator)
    samples = torch.rand(4, 8, *layout.shape, generator=generator)
    figures = [plot.posterior(y, samples, layout) if alone else plot.reconstruction(x, y, samples, layout)]
    if alone:
        figures.append(plot.predicted(y, samples, ([1.0] * 4, [1.0] * 4), layout))
    for figure in figures:
        plot.titled(figure, "a title")
        canvas = FigureCanvasAgg(figure)
        figure.draw(canvas.get_renderer())
        title = next(text for text in figure.texts if text.get_text() == "a title").get_window_extent()
        others = [*figure.legends, *figure.axes]
        assert not [other for other in others if title.overlaps(other.get_window_extent())]
