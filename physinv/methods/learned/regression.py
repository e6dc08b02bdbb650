"""Supervised regression ``x_T -> x_0``, and the same as a Bayesian network by dropout."""

from __future__ import annotations

__all__ = ["Dropped", "Regressed", "Regression", "fit_dropout", "fit_regression", "squared_error", "train_regression"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import seeds
from physinv.equations.sde import SDE, Score
from physinv.methods.learned.backbone import Context, Frame, build_backbone, chunked, conditional_frame, source
from physinv.methods.problem import Problem
from physinv.models.networks.dropout import dropping
from physinv.posterior.posterior import default_batch
from physinv.training.objectives.base import Batch

_PASSES = 32  # of the network with dropout, for means and on validation data
_NOISES = 97  # candidates for the variance of the noise, from 1e-4 to 1e2 of what the linear estimate misses
_FEW = 512  # validation trajectories that suffice to choose one number per channel


class Regression(nn.Module):
    """``x_0 = linear(x_T) + unit network(features)``: the linear estimate, and what a network adds to it."""

    def __init__(self, frame: Frame, network: nn.Module) -> None:
        super().__init__()
        self.frame, self.network = frame, network

    def forward(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        context = self.frame.context(final)
        return self.frame.restore(self.standard(context), context, final)

    def standard(self, context: Context) -> Float[Tensor, "batch *moving"]:
        """The estimate of ``z``, of order one."""
        out: Tensor = self.network(self.frame.features(context), context.centre.new_ones(len(context.centre)))
        return out


def squared_error(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """``E |x_0 - score(x_T)|^2`` of a :class:`Regression` in units of what the linear estimate misses.

    The windows are ``(x_0, x_T)``.  Their generator draws the dropout of a network that has any.
    """
    regression = score
    assert isinstance(regression, Regression)
    context = regression.frame.context_of(batch)
    with dropping(regression.network, batch.generator):
        out = regression.standard(context)
    loss: Tensor = (out - regression.frame.target(batch.states[:, 0], context)).square().mean()
    return loss


@dataclass(frozen=True)
class Regressed:
    """A point estimate: draws repeat it."""

    model: Regression

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """The regression's estimate of ``E[x_0 | x_T]``."""
        return chunked(self.model, final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """The mean, ``n`` times."""
        return self.mean(final)[:, None].expand(-1, n, *final.shape[1:]).clone()


@dataclass(frozen=True)
class Dropped:
    """``p(x_0 | x_T)`` of Gal and Ghahramani (2016): a pass of the network with dropout, plus noise of variance
    ``noise (channels or components, ...)`` in units of the frame (their tau^-1)."""

    model: Regression
    noise: Tensor
    seed: int = 0

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """The average of 32 passes, always the same ones (their eq. 6)."""
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        total = torch.zeros_like(final)
        with dropping(self.model.network, generator):
            for _ in range(_PASSES):
                total = total + chunked(self.model, final)
        return total / _PASSES

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """A pass and noise of their own for each draw."""
        noise = source(generator, final.device)

        def work(x: Tensor) -> Tensor:
            frame, context = self.model.frame, self.model.frame.context(x)
            z = self.model.standard(context)
            xi = torch.randn(z.shape, generator=noise, dtype=z.dtype, device=z.device)
            return frame.restore(z + self.noise.sqrt() * xi, context, x)

        with dropping(self.model.network, noise):
            out = chunked(work, final.repeat_interleave(n, dim=0))
        return out.reshape(len(final), n, *final.shape[1:])


def fit_regression(problem: Problem, *, dropout: float = 0.0) -> Regressed:
    """Least squares; ``dropout`` regularises the training and is off afterwards."""
    return Regressed(train_regression(problem, dropout=dropout))


def fit_dropout(problem: Problem, *, rate: float = 0.1) -> Dropped:
    """Least squares with dropout that stays on, and the noise that makes validation data likeliest.

    The dropout is that of whole channels for fields (Tompson et al. 2015).  ``tau^-1``, one number per channel
    (component of a vector or of each particle), maximises the predictive likelihood of validation data

        sum_n log 1/K sum_k N(z_n; network(x_n, mask_k), tau^-1),

    over a grid (Gal and Ghahramani 2016, eq. 8 and section 5.2), component by component.
    """
    if not 0 < rate < 1:
        raise ValueError(f"`rate` must be a probability above 0 and below 1, got {rate}; at 0 take fit_regression.")
    model = train_regression(problem, dropout=rate)
    return Dropped(model, _noise(model, problem), problem.seed)


def train_regression(problem: Problem, *, dropout: float = 0.0) -> Regression:
    """The trained model itself."""
    frame = conditional_frame(problem)
    network = build_backbone(frame, problem.settings, groups=2, dropout=dropout, seed=problem.seed)
    model = Regression(frame, network).to(problem.device)
    problem.minimise(model, squared_error, estimates=frame.estimates)
    return model


@torch.no_grad()
def _noise(model: Regression, problem: Problem) -> Tensor:
    """``tau^-1``, shaped to broadcast against ``z``."""
    generator = seeds(problem.seed).child("method", "noise").generator(problem.device)
    initial, final = (problem.valid.states(i, limit=_FEW) for i in (0, -1))
    candidates, total = torch.logspace(-4, 2, _NOISES, device=final.device), torch.zeros((), device=final.device)
    size = default_batch(final)
    with dropping(model.network, generator):
        for x0, xT in zip(torch.split(initial, size), torch.split(final, size), strict=True):
            context = model.frame.context(xT)
            target = model.frame.target(x0, context)
            squares = torch.stack([(model.standard(context) - target).square() for _ in range(_PASSES)])
            shared = [a for a in range(target.ndim) if a != model.frame.axis % target.ndim]
            logs = [(-squares / (2 * v) - v.log() / 2).logsumexp(0).sum(shared, keepdim=True) for v in candidates]
            total = total + torch.stack(logs)
    return candidates[total.argmax(0)][0]
