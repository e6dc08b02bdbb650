"""Figures of trainings show every record, and a scale on which the end can be read."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plot_cases import lines

from physinv.reports import plots as plot
from physinv.training.validation import ValidationRecord


def record(step: int, loss: float, valid: float, window: int = 2, rate: float = 1e-3) -> ValidationRecord:
    return ValidationRecord(step, 0.1 * step, window, rate, loss, valid, valid)


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
