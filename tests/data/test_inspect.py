"""Statistics by parts are those of the whole, and what is wrong with a file is noticed."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_cases import FIELD, numbers, write

from physinv.data.dataset import TrajectoryDataset
from physinv.data.inspect import field_statistics, inspect


def test_statistics_and_inspection(tmp_path: Path) -> None:
    states = numbers(5, "field") + 100  # moments by parts must not lose digits to the mean
    path = write(tmp_path / "x.hdf5", states, FIELD)
    u, exact = inspect(path).fields["u"], states[:, :, 0].double()
    assert inspect(path).whole
    assert inspect(path).checksum is None
    assert (u.minimum, u.maximum) == (float(exact.min()), float(exact.max()))
    stats = field_statistics(TrajectoryDataset(path))
    delta = states.double()[:, 1:, 1] - states.double()[:, :-1, 1]
    expected = {
        ("mean", "u"): exact.mean(),
        ("std", "u"): exact.std(unbiased=False),
        ("rms", "u"): exact.square().mean().sqrt(),
        ("mean_delta", "v"): delta.mean(),
        ("std_delta", "v"): delta.std(unbiased=False),
        ("rms_delta", "v"): delta.square().mean().sqrt(),
    }
    for (moment, name), value in expected.items():
        assert stats[moment][name] == pytest.approx(float(value), rel=1e-12)  # float64 sums of 540 numbers
    with h5py.File(path, "r+") as file:
        file["t0_fields/u"][1, 2, 0] = np.nan
    assert inspect(path).fields["u"].not_finite == 4
    assert inspect(path).problem.endswith("holds 4 values that are not finite; generate it again.")
    assert inspect(path).fields["u"].maximum == float(exact.max())
