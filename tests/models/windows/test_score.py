"""Scores of trajectories: white coordinates are white given any entries, so that a network has nothing to add."""

import pytest
import torch

from physinv.equations.noising import VP, Cosine
from physinv.models.windows import WindowLaw
from physinv.models.windows.score import WindowScore
from physinv.processes.layout import VectorLayout

F64 = torch.float64


class Following(torch.nn.Module):
    """A network that predicts a multiple of the noisy trajectory, the first quarter of what it sees."""

    def __init__(self, factor=0.0):
        super().__init__()
        self.factor = factor

    def forward(self, features, t):
        return self.factor * features[:, : features.shape[1] // 4]


@pytest.fixture
def gaussian(generator):
    """A law of four frames of three numbers in five orthogonal directions, and trajectories of that law."""
    directions = torch.linalg.qr(torch.randn(12, 5, generator=generator, dtype=F64))[0]
    factor = (directions * torch.tensor([3.0, 2.0, 1.5, 1.0, 0.7], dtype=F64)).reshape(4, 3, 5)
    tables = {"mean": torch.zeros(4, 3), "scale": torch.ones(3), "rest": torch.zeros(3), "memory": torch.eye(4)}
    law = WindowLaw({"factor": factor, **tables})
    return law, law.lifted(torch.randn(8192, 5, generator=generator, dtype=F64))


def test_the_loss_of_gaussian_data_is_one_without_a_network(gaussian, generator):
    """The target a n - s e has the variance 1 for every mask and every noise of the entries."""
    law, states = gaussian
    model = WindowScore(law, Following(), VectorLayout("x", 3))
    loss = float(model.loss(states.float(), generator))
    assert loss == pytest.approx(1, abs=0.05)  # 8192 x 5 squares of normal numbers, whose mean has the error .007


def test_the_target_of_gaussian_data_has_nothing_to_do_with_what_the_network_sees(gaussian):
    """a n - s e is uncorrelated with a e + s n, and not its reverse: following it costs as much in either direction."""
    law, states = gaussian
    losses = [
        float(WindowScore(law, Following(factor), VectorLayout("x", 3)).loss(states, torch.Generator().manual_seed(5)))
        for factor in (0.0, 2.0, -2.0)
    ]
    assert losses[1] > 1.1 * losses[0]
    assert losses[1] == pytest.approx(losses[2], rel=0.05)


def test_the_score_of_gaussian_data_is_that_of_white_numbers(gaussian, generator):
    law, states = gaussian
    model, process = WindowScore(law, Following(), VectorLayout("x", 3)), VP(Cosine())
    seen = torch.rand(1, 4, 3, generator=generator) < 0.5
    known = law.given(law.units(states[None, :6]), seen, torch.full((1, 4, 3), 0.1, dtype=F64))
    e = torch.randn(6, 5, generator=generator, dtype=F64)
    t = torch.full((6,), 0.3, dtype=F64)
    assert torch.equal(model.score(e, t, known), -e)

    # A network adds - a / s times the velocity that it predicts.
    model.network.factor = 2.0
    v = model.velocity(e[None], t, known)[0]
    ratio = process.decay(0.0, t, e) / process.variance(0.0, t, e).sqrt()
    assert float(v.abs().max()) > 0.01
    assert torch.allclose(model.score(e, t, known), -e - ratio * v)
