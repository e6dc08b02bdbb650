"""Statistics by parts are those of the whole, and what is wrong with a file is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from dataset_cases import FIELD, numbers, write

from physinv.config.files import sha256
from physinv.data.dataset import TrajectoryDataset
from physinv.data.hdf5.blocks import seal
from physinv.data.inspect import FieldStatistics, field_statistics, inspect
from physinv.processes.layout import FieldLayout


def test_statistics_of_parts_are_those_of_all(tmp_path: Path) -> None:
    """Also of large states, which are summed a few at a time; masked points do not count."""
    layout = FieldLayout("u", ("x", "y"), [range(300), range(400)], "WALL").masked(np.arange(300 * 400) % 3 > 0)
    states = torch.randn(5, 3, 1, 300, 400, generator=torch.Generator().manual_seed(0)) + 50
    whole, parts = FieldStatistics(layout), FieldStatistics(layout)
    whole.add(states)
    for part in states.split(2):
        parts.add(part)
    counted = states.double()[..., layout.valid]
    for found in (whole.result(), parts.result()):
        assert found["mean"]["u"] == pytest.approx(float(counted.mean()), rel=1e-12)
        assert found["std"]["u"] == pytest.approx(float(counted.std(correction=0)), rel=1e-10)
        assert found["std_delta"]["u"] == pytest.approx(float(counted.diff(dim=1).std(correction=0)), rel=1e-12)


def test_only_what_was_asked_for_is_compared(tmp_path: Path) -> None:
    """A number that was changed keeps the size: only the checksum tells."""
    path = tmp_path / "data" / "train" / "x.hdf5"
    path.parent.mkdir(parents=True)
    write(path, numbers(5))
    entry = {"sha256": sha256(path), "bytes": path.stat().st_size}
    listed = tmp_path / "dataset.json"
    listed.write_text(json.dumps({"files": {"data/train/x.hdf5": entry}}))
    assert [(s.checksum, s.verified, s.whole) for s in (inspect(path), inspect(path, verify=True))] == [
        (True, False, True),
        (True, True, True),
    ]
    with h5py.File(path, "r+") as file:
        file["t0_fields/position"][0, 0, 0] += 1
    seal(path)  # as whoever means to deceive would do
    assert inspect(path).whole
    assert "dataset.json lists (sha256); copy" in inspect(path, verify=True).problem
    listed.write_text(json.dumps({"files": {"data/train/x.hdf5": {**entry, "bytes": entry["bytes"] - 1}}}))
    assert "dataset.json lists (bytes); copy" in inspect(path).problem


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
