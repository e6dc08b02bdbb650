"""Figures of laws show spectra, ranks and coverage as they are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from plot_cases import KINDS, draw, lines

from physinv.evaluation.metrics import coverage
from physinv.evaluation.spectra import radial_spectrum
from physinv.reports import plots as plot


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
