"""What float32 cannot hold is said, in any unit, and nothing else is."""

import pytest
import torch

from physinv.data.checks import precision_warnings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.writer import TrajectoryWriter
from physinv.processes.layout import VectorLayout

TIMES = torch.linspace(0, 1, 6)


def written(folder, states):
    path = folder / "a.hdf5"
    layout = VectorLayout("level", states.shape[-1])
    with TrajectoryWriter(
        path, name="a", layout=layout, shape=states.shape[2:], times=TIMES, count=len(states)
    ) as writer:
        writer.write(states)
    return TrajectoryDataset(path)


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15])
def test_noise_that_rounding_swallows_is_said(unit, tmp_path, generator):
    noise = 0.1 * torch.randn(20, 6, 1, generator=generator, dtype=torch.float64)
    (told,) = precision_warnings(written(tmp_path, unit * (1e7 + noise)))
    assert told.startswith("`level` has values up to ")
    assert "subtract a constant" in told
    assert precision_warnings(written(tmp_path, unit * (10 + noise))) == []
