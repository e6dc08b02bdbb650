"""Units stand at the labels of figures and in the verdict."""

import pytest
import torch
from matplotlib.figure import Figure

from physinv.evaluation.verdict.words import verdict
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.reports import plots

FIELD = FieldLayout(("T", "heater"), "x", [range(6)], "OPEN", "heater")
PLANE = FieldLayout("T", ("lat", "lon"), [range(6), range(5)], "OPEN")
UNITS = {"T": "K", "x": "m", "lat": "degrees_north", "a": "V", "b": "V"}


def labels(figure):
    found = [text for ax in figure.axes for text in (ax.get_xlabel(), ax.get_ylabel(), ax.get_title())]
    return [text for text in [*found, *(t.get_text() for t in figure.texts)] if text]


def drawn(layout, alone):
    x, y = torch.rand(2, *layout.shape), torch.rand(2, *layout.shape)
    samples = torch.rand(2, 8, *layout.shape)
    return plots.posterior(y, samples, layout) if alone else plots.reconstruction(x, y, samples, layout)


@pytest.mark.parametrize("alone", [True, False])
def test_profiles_and_images(alone):
    found = labels(plots.with_units(drawn(FIELD, alone), FIELD, UNITS))
    assert "T [K]" in found
    assert any(text.strip("$").startswith("x") and text.endswith("[m]") for text in found)
    if not alone:
        found = labels(plots.with_units(drawn(PLANE, alone), PLANE, UNITS))
        assert "T [K]" in found
        assert "$lat$ [degrees_north]" in found


def test_vectors_have_the_names_of_their_components():
    layout = VectorLayout("state", 2)
    figure = plots.with_units(drawn(layout, False), layout, UNITS, ["a", "b"])
    assert {"a [V]", "b [V]"} <= set(labels(figure))
    assert "state [V]" in labels(plots.with_units(drawn(layout, True), layout, UNITS, ["a", "b"]))


def test_what_samples_lead_to_has_units():
    y, noisy = torch.rand(3, 6).reshape(3, 1, 6), torch.rand(3, 8, 1, 6)
    layout = FieldLayout("T", "x", [range(6)], "OPEN")
    figure = plots.with_units(plots.predicted(y, noisy, ([1.0] * 3, [1.0] * 3), layout), layout, UNITS)
    assert {"observed T at T [K]", "T that samples lead to [K]"} <= set(labels(figure))


def test_figures_without_units_are_as_they_were():
    figure = Figure()
    figure.subplots().set(xlabel="$x$", ylabel="T")
    assert labels(plots.with_units(figure, FIELD, {})) == ["$x$", "T"]


def test_the_verdict_tells_errors_in_the_unit():
    layout, draw = VectorLayout("T", 1), torch.Generator().manual_seed(0)
    truth = 10 * torch.randn(400, 1, generator=draw)
    centre = truth + 2 * torch.randn(400, 1, generator=draw)
    samples = centre[:, None] + 2 * torch.randn(400, 400, 1, generator=draw)
    said = verdict(samples, truth, layout, [], {}, "K").sentences[0]
    # The central 90 % of N(0, 2^2) are 6.58 wide.  Its CRPS is 2 / sqrt(pi) = 1.128 in the mean, .9 from case to case.
    words = said.split()
    assert abs(float(words[3]) - 1.128) < 4 * 0.9 / 400**0.5
    assert abs(float(words[words.index("wide") - 2]) - 6.58) < 0.1
    assert " K wide" in said
    assert not any("CRPS is" in text for text in verdict(samples, truth, layout, [], {}).sentences)


def test_sizes_of_labels_stay_those_of_the_figure():
    figure = drawn(FIELD, False)
    sizes = [text.get_size() for ax in figure.axes for text in (ax.xaxis.label, ax.yaxis.label, ax.title)]
    plots.with_units(figure, FIELD, UNITS)
    assert [t.get_size() for ax in figure.axes for t in (ax.xaxis.label, ax.yaxis.label, ax.title)] == sizes
