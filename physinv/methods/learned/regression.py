"""Supervised regression ``x_T -> x_0``, and the same as a Bayesian network by dropout."""

from __future__ import annotations

__all__ = [
    "Dropped",
    "Regressed",
    "Regression",
    "fit_dropout",
    "fit_regression",
    "load_dropout",
    "load_regression",
    "squared_error",
    "train_regression",
]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import seeds
from physinv.equations.broadcast import default_batch
from physinv.equations.sde import SDE, Score
from physinv.methods.learned.backbone import build_backbone, chunked, load_parts, part_tensors
from physinv.methods.learned.coordinates import Context, TargetCoordinates, conditional_coordinates
from physinv.methods.problem import Answer, Problem
from physinv.methods.saving import Setup, loaded_by
from physinv.models.networks.layers import dropping
from physinv.training.objectives.base import Batch

_PASSES = 32  # of the network with dropout, for means and on validation data
_NOISES = 97  # candidates for the variance of the noise, from 1e-4 to 1e2 of what the linear estimate misses
_FEW = 512  # validation trajectories that suffice to choose one number per channel


class Regression(nn.Module):
    """The estimate ``x_0 = linear(x_T) + unit network(features)``: a network that corrects the linear estimate.

    Args:
        coordinates: The standardised coordinates of ``x_0``.
        network: A network of features.
    """

    def __init__(self, coordinates: TargetCoordinates, network: nn.Module) -> None:
        super().__init__()
        self.coordinates, self.network = coordinates, network

    def forward(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        context = self.coordinates.context(final)
        return self.coordinates.restore(self.standard(context), context, final)

    def standard(self, context: Context) -> Float[Tensor, "batch *moving"]:
        """Return the estimate of the coordinates ``z``.

        Args:
            context: What depends on the observation.

        Returns:
            Estimates of order one.
        """
        out: Tensor = self.network(self.coordinates.features(context), context.centre.new_ones(len(context.centre)))
        return out


def squared_error(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the mean squared error of a regression, in units of the error of the linear estimate.

    Args:
        score: A :class:`Regression`.
        sde: Not used.
        batch: Windows ``(x_0, x_T)``, their estimates, and a generator.

    Returns:
        The mean over batch and components.
    """
    regression = score
    assert isinstance(regression, Regression)
    context = regression.coordinates.context_of(batch)
    with dropping(regression.network, batch.generator):
        out = regression.standard(context)
    loss: Tensor = (out - regression.coordinates.target(batch.states[:, 0], context)).square().mean()
    return loss


@dataclass(frozen=True)
class Regressed(Answer):
    """A point estimate, without spread.

    Args:
        model: The trained regression.
    """

    model: Regression

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the network, and the coordinates."""
        return part_tensors(self.model.coordinates, self.model.network)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return chunked(self.model, final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.mean(final)[:, None].expand(-1, n, *final.shape[1:]).clone()


@dataclass(frozen=True)
class Dropped(Answer):
    """The predictive law of a network with dropout (Gal and Ghahramani 2016): a random pass plus Gaussian noise.

    Its mean is the average of 32 passes from a fixed seed (their eq. 6); without a generator so are its samples.

    Args:
        model: The regression, trained with dropout.
        noise: Variance of the noise per channel or component, in the unit of the coordinates (their tau^-1).
    """

    model: Regression
    noise: Tensor
    seed: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the network, the coordinates, and the variance of the noise."""
        return part_tensors(self.model.coordinates, self.model.network) | {"noise": self.noise}

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        total = torch.zeros_like(final)
        with dropping(self.model.network, generator):
            for _ in range(_PASSES):
                total = total + chunked(self.model, final)
        return total / _PASSES

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        noise = generator or seeds(self.seed).child("method", "samples").generator(final.device)

        def work(x: Tensor) -> Tensor:
            coordinates, context = self.model.coordinates, self.model.coordinates.context(x)
            z = self.model.standard(context)
            xi = torch.randn(z.shape, generator=noise, dtype=z.dtype, device=z.device)
            return coordinates.restore(z + self.noise.sqrt() * xi, context, x)

        with dropping(self.model.network, noise):
            out = chunked(work, final.repeat_interleave(n, dim=0))
        return out.reshape(len(final), n, *final.shape[1:])


def load_regression(setup: Setup, tensors: Mapping[str, Tensor], *, dropout: float = 0.0) -> Regressed:
    """Load a regression.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        dropout: Probability that a channel was dropped in training.

    Returns:
        The trained estimate.
    """
    return Regressed(Regression(*load_parts(setup, tensors, groups=2, dropout=dropout)))


@loaded_by(load_regression, partial=True)
def fit_regression(problem: Problem, *, dropout: float = 0.0) -> Regressed:
    """Train a network by least squares.

    Args:
        problem: The process and its data.
        dropout: Probability that a channel is dropped in training; there is no dropout afterwards.

    Returns:
        The trained estimate.
    """
    return Regressed(train_regression(problem, dropout=dropout))


def load_dropout(setup: Setup, tensors: Mapping[str, Tensor], *, rate: float = 0.1) -> Dropped:
    """Load a regression with dropout.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        rate: Probability that a channel is dropped.

    Returns:
        The trained predictive law.
    """
    return Dropped(Regression(*load_parts(setup, tensors, groups=2, dropout=rate)), tensors["noise"], setup.seed)


@loaded_by(load_dropout, partial=True)
def fit_dropout(problem: Problem, *, rate: float = 0.1) -> Dropped:
    """Train a network by least squares with dropout that stays on, and fit the noise of its predictions.

    The dropout is that of whole channels for fields.  The variance of the noise, ``tau^-1``, one number per channel
    (component of a vector or of each particle), maximises the predictive likelihood of validation data

        sum_n log 1/K sum_k N(z_n; network(x_n, mask_k), tau^-1),

    over a grid, component by component.

    Args:
        problem: The process and its data.
        rate: Probability that a channel is dropped.

    Returns:
        The trained predictive law.

    Raises:
        ValueError: If ``rate`` does not lie between 0 and 1.

    References:
        Gal and Ghahramani (2016), Dropout as a Bayesian approximation, eq. 8 and section 5.2;
        Tompson et al. (2015), Efficient object localization using convolutional networks.
    """
    if not 0 < rate < 1:
        raise ValueError(f"`rate` must be a probability above 0 and below 1, got {rate}; at 0 take fit_regression.")
    model = train_regression(problem, dropout=rate)
    return Dropped(model, _noise(model, problem), problem.seed)


def train_regression(problem: Problem, *, dropout: float = 0.0) -> Regression:
    """Train a regression and return the model itself.

    Args:
        problem: The process and its data.
        dropout: Probability that a channel is dropped.

    Returns:
        The trained model.
    """
    coordinates = conditional_coordinates(problem)
    network = build_backbone(coordinates, problem.settings, groups=2, dropout=dropout, seed=problem.seed)
    model = Regression(coordinates, network).to(problem.device)
    problem.minimise(model, squared_error, estimates=coordinates.estimates)
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
            context = model.coordinates.context(xT)
            target = model.coordinates.target(x0, context)
            squares = torch.stack([(model.standard(context) - target).square() for _ in range(_PASSES)])
            shared = [a for a in range(target.ndim) if a != model.coordinates.axis % target.ndim]
            logs = [(-squares / (2 * v) - v.log() / 2).logsumexp(0).sum(shared, keepdim=True) for v in candidates]
            total = total + torch.stack(logs)
    return candidates[total.argmax(0)][0]
