"""Which objective is chosen by name, what denoising weighs, and which weights training keeps."""

import functools

import pytest
import torch

from physinv.config.settings import Settings
from physinv.models.build import build_model
from physinv.training.checkpoint import Checkpoint
from physinv.training.objectives.choose import curriculum, objective
from physinv.training.objectives.score_matching import denoising_loss, implicit_loss, sliced_loss, sliced_vr_loss
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("implicit", implicit_loss),
        ("sliced", sliced_loss),
        ("sliced-vr", sliced_vr_loss),
        ("denoising", denoising_loss),
    ],
)
def test_names(name, want):
    assert objective(Settings(loss=name), Heat(), torch.nn.Identity()) is want


def test_auto_denoises_where_the_kernel_is_known():
    linear, other = OrnsteinUhlenbeck(), DoubleWell()
    assert objective(Settings(), linear, torch.nn.Identity()) is denoising_loss
    assert curriculum(Settings(), linear, 41) == (41,)
    assert objective(Settings(), other, torch.nn.Identity()) is trajectory_loss
    assert curriculum(Settings(), other, 51) == (2,)
    assert curriculum(Settings(windows=(2, 5)), linear, 41) == (2, 5)
    both = objective(Settings(loss="bidirectional"), other, torch.nn.Identity())
    assert isinstance(both, functools.partial)
    assert both.keywords == {"bidirectional": True}


@pytest.mark.parametrize("floor", [0.0, 0.03, 1.0])
def test_denoising_is_minimised_by_the_score_for_every_floor(floor, generator):
    """Weights change what counts, not the minimum: a parabola along c * score, one Gaussian, 4e5 starts."""
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=20)
    n = 400_000
    states = torch.zeros(n, 21, 1, dtype=torch.float64)
    states[:, 0] = torch.randn(n, 1, generator=generator, dtype=torch.float64)

    def score(x, t):
        decay = torch.exp(-2 * ou.rate * t)[:, None]
        return -x / (decay + ou.noise**2 * (1 - decay) / (2 * ou.rate))

    def value(c):
        noise = torch.Generator().manual_seed(1)
        return float(
            denoising_loss(
                lambda x, t: c * score(x, t), ou, states, ou.times.expand(n, -1), floor=floor, generator=noise
            )
        )

    a, b, c = (value(f) for f in (0.0, 1.0, 2.0))
    curvature = (a - 2 * b + c) / 2
    # the slope at 1 is a mean over n of 2 w^2 sqrt(v) s (sqrt(v) s + xi), whose size is at most 2 sqrt(curvature)
    assert (3 * a - 4 * b + c) / (4 * curvature) == pytest.approx(1.0, abs=5 / (n * curvature) ** 0.5)


class Average(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = torch.nn.Linear(1, 1, bias=False)


def test_the_last_weights_that_are_not_clearly_worse_are_kept():
    model = Average()
    state = Checkpoint(model, model, {}, torch.optim.SGD(model.parameters(), lr=1.0))

    def judge(step, values):
        state.step = step
        state.judge(values)
        return state.best_step

    assert judge(0, [1.0, 2.0, 3.0]) == 0
    assert judge(1, [0.5, 1.5, 2.5]) == 1  # better everywhere
    assert judge(2, [0.52, 1.48, 2.51]) == 2  # worse by .003 +- .012: not clearly
    assert state.best == pytest.approx(1.5)
    assert judge(3, [0.6, 1.6, 2.62]) == 2  # worse by .107 +- .007
    for step in range(4, 50):  # small steps up, each as good as the last, do not add up: the lowest is the measure
        judge(step, [v + 0.001 * step * (1 + 0.1 * i) for i, v in enumerate([0.5, 1.5, 2.5])])
    assert state.best_step == 2
    with pytest.raises(ValueError, match="try a smaller `rate`"):
        judge(60, [float("nan"), 1.0, 1.0])


def test_vectors_get_symmetric_scores_and_fields_do_not(tmp_path):
    from physinv.data.dataset import TrajectoryDataset
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan

    for sim, name, mirrored in ((DoubleWell(steps=4), "double-well", True), (Heat(size=8, steps=4), "heat", False)):
        generate(DatasetPlan(sim, {"train": 20}, 0, name), tmp_path / name)
        model = build_model(sim, TrajectoryDataset(tmp_path / name / "data" / "train"), Settings(depth=1))
        assert (model.images is not None) == mirrored
