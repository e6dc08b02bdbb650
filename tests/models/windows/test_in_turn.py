"""Frames in turn: exact where trajectories are Gaussian, and a recurrent state that remembers what others forget."""

import torch

from physinv.config.settings import Settings
from physinv.models.networks import build_network
from physinv.models.windows import FrameNetwork, FrameScore, fit_window_law
from physinv.processes.layout import VectorLayout

F64 = torch.float64


def model_of(x, width=16):
    layout = VectorLayout("x", x.shape[2])
    law = fit_window_law(layout, x, x, rank=64)
    torch.manual_seed(0)
    step = build_network(layout, 5 * x.shape[2] + 8, x.shape[2], Settings(width=width, depth=2), seed=0)
    return FrameScore(law, FrameNetwork(step, x.shape[2], 8), layout)


def correlated(generator, n=4000):
    """Two numbers at four times, with a covariance of all eight that is not that of a Markov process."""
    root = torch.randn(8, 8, dtype=F64, generator=generator) / 2
    return (torch.randn(n, 8, dtype=F64, generator=generator) @ root.T).reshape(n, 4, 2), root @ root.T


def test_gaussian_frames_are_drawn_with_the_law_given_all_entries(generator):
    """Mean and covariance of all of the missing entries together, whatever is seen: the factors multiply to the law."""
    x, _ = correlated(generator)
    model = model_of(x)
    covariance = torch.einsum("nap,nbq->apbq", x, x).reshape(8, 8) / len(x)
    for seen in ([0, 1, 2], [6, 7], [1, 4]):
        mask, noise = torch.zeros(8, dtype=torch.bool), torch.full((8,), 0.3, dtype=F64)
        mask[seen] = True
        unseen = (~mask).nonzero()[:, 0]
        y = torch.full((1, 8), torch.nan, dtype=F64)
        y[0, seen] = torch.tensor([0.7, -0.4, 1.1], dtype=F64)[: len(seen)]
        u = model.law.units(y.reshape(1, 4, 2))
        sure = noise.reshape(4, 2) / model.law.scale
        drawn = model.drawn(u, mask.reshape(4, 2), sure, 4000, steps=4, generator=generator)
        states = model.law.states(drawn, (2,))[0].flatten(1)
        gain = covariance[:, seen] @ torch.linalg.inv(covariance[seen][:, seen] + 0.09 * torch.eye(len(seen)))
        mean = x.mean(0).flatten() + gain @ (y[0, seen] - x.mean(0).flatten()[seen])
        left = (covariance - gain @ covariance[seen])[unseen][:, unseen]
        spread = left.diagonal().sqrt()
        # five standard errors of 4000 draws
        assert float(((states.mean(0) - mean)[unseen] / spread).abs().max()) < 5 / 4000**0.5
        gap = (states[:, unseen].T.cov() - left) / spread / spread[:, None]
        assert float(gap.abs().max()) < 5 * (2 / 4000) ** 0.5 + 0.01  # and what 4000 trajectories say of their mean


def test_the_loss_of_gaussian_frames_is_least_without_a_network(generator):
    """E v = 0 there, so the error is E v^2 = 1; a network that says something makes it larger."""
    x, _ = correlated(generator)
    model = model_of(x)

    @torch.no_grad()
    def loss():
        return sum(float(model.loss(x, generator)) for _ in range(20)) / 20

    assert abs(loss() - 1) < 0.03  # each of 8000 numbers, of eight groups
    torch.nn.init.normal_(model.network.step.layers[-1].weight, std=1.0, generator=generator)
    assert loss() > 1.03


def test_the_recurrent_state_remembers_a_frame_that_the_last_one_does_not_tell(generator):
    """x_2 = x_0^2 + noise, x_1 alone: no linear map and no Markov model sees it; a forecast must."""

    def paths(n):
        x = torch.randn(n, 3, 1, dtype=F64, generator=generator)
        x[:, 2] = x[:, 0] ** 2 + 0.2 * x[:, 2]
        return x

    model = model_of(paths(2000), width=32)
    optimiser = torch.optim.Adam(model.network.parameters(), lr=5e-3)
    mask = torch.tensor([[True], [True], [False]])
    for _ in range(250):
        optimiser.zero_grad()
        model.loss(paths(256).float(), generator).backward()
        optimiser.step()
    x = paths(300)
    drawn = model.drawn(model.law.units(x), mask, torch.full((3, 1), 1e-5, dtype=F64), 8, steps=8, generator=generator)
    forecast = model.law.states(drawn, (1,))[:, :, 2, 0].mean(1)
    left = float((forecast - x[:, 2, 0]).square().mean() / x[:, 2, 0].var())
    assert left < 0.5  # 1 for all that is linear or Markov, .02 at best
