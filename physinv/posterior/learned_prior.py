"""A law of states that a diffusion model learned from samples: draws and densities, without any physics."""

from __future__ import annotations

__all__ = ["LearnedPrior", "fit_prior"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import States, check_count
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings, as_settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations import time_grids
from physinv.equations.noising import VP, Noising
from physinv.equations.sde import Reverse
from physinv.equations.solve import march
from physinv.models.build import score_network
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.likelihood import divergence_for, log_prob
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.reversal.transport import transport
from physinv.training.budget import Budget
from physinv.training.loop import fit

_FIRST = 1e-3  # of the horizon: from here on times are as many in each octave, in training and sampling


@dataclass(frozen=True, eq=False)
class LearnedPrior:
    """A law ``p(x)`` as the score of its noised, standardised states.

    Args:
        process: The noising process.
        model: Score of ``z = (x - mean) / scale`` noised by it.
        mean: Mean of each channel, or component, shaped to broadcast against one state.
        scale: Standard deviation of each, likewise.
    """

    process: Noising
    model: ScoreModel
    mean: Tensor
    scale: Tensor

    @torch.no_grad()
    def draw(self, n: int, *, steps: int = 64, generator: torch.Generator | None = None) -> Float[Tensor, "n *state"]:
        """Draw states by the reverse SDE, from noise.

        Args:
            n: Number of states.
            steps: Steps of the reversal; for Gaussian data (in Fourier modes, if periodic) any number is exact.
            generator: Source of randomness, on the device of the model.

        Returns:
            The draws.
        """
        horizon = self.process.horizon
        times = time_grids.logarithmic(horizon, steps, _FIRST * horizon).flip(0)
        z = self.model.reference.sample(check_count(n, "n"), horizon, generator=generator)
        for reached in march(Reverse(self.process, self.model), z, times, step=transport, generator=generator):
            z = reached
        return self.mean + self.scale * z

    def log_prob(self, x: States, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """Return log densities by the probability flow, in nats.

        It is the density of states with a thousandth of the noise's time added, which has one where data lie on a
        manifold.  For states of more than 64 numbers one random probe estimates the divergence.

        Args:
            x: States.
            generator: Source of the probe, on the device of the model.
        """
        horizon, reference = self.process.horizon, self.model.reference
        z = (self.model.accepted(x) - self.mean) / self.scale
        flow, span = Reverse(self.process, self.model, 0.0), (_FIRST * horizon, horizon)
        density = log_prob(
            flow,
            z,
            span,
            lambda y: reference.log_prob(y, y.new_full((len(y),), horizon)),
            divergence=divergence_for(z, generator=generator),
        )
        return density - self.scale.expand(z.shape[1:]).log().sum()


def fit_prior(
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    budget: Budget,
    settings: Settings | Mapping[str, Any] | None = None,
    seed: Seed = 0,
) -> LearnedPrior:
    """Learn the law of initial states by denoising score matching under a VP process.

    Channels are standardised.  Around a Gaussian with the spectrum of periodic fields, or independent components
    elsewhere, a network learns the rest.

    Args:
        train: Trajectories, of which the first states count.
        valid: Trajectories to choose the weights by.
        budget: Number of updates, or a time.
        settings: Training settings, or their values by name.
        seed: Seed of weights, order and noise.

    Returns:
        The law.

    Raises:
        ValueError: For states that are neither vectors nor fields, or have static parts.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = 3 + 2 * torch.randn(500, 2, 1, generator=generator)  # 500 trajectories of 2 times, one number
        >>> data = TrajectoryDataset.from_arrays(x, times=[0.0, 1.0], names="height")
        >>> prior = fit_prior(data, data, budget=Budget(steps=1))
        >>> drawn = prior.draw(2000, generator=generator)
        >>> abs(drawn.mean().item() - 3) < 0.3, abs(drawn.std().item() - 2) < 0.2
        (True, True)
    """
    layout, settings = train.layout, as_settings(settings)
    if not isinstance(layout, (VectorLayout, FieldLayout)) or layout.static:
        raise ValueError("`train` must hold vectors or fields without static parts for a learned prior.")
    stream = seeds(seed).child("prior")

    # Each channel of a field, each component of a vector, gets mean 0 and variance 1.
    x = train.states(0)
    space = [0, *range(2, x.ndim)]
    mean, scale = x.double().mean(space), x.double().std(space)
    shape = (-1, *([1] * (x.ndim - 2)))
    mean, scale = mean.float().reshape(shape), torch.where(scale > 0, scale, 1.0).float().reshape(shape)

    # The same start at the times that training draws from, which the objective noises anew at every update.
    process = VP(basis="fourier" if layout.space and layout.periodic else "identity")
    times = (0.0, _FIRST * process.horizon, process.horizon)
    noised = [_still((d.states(0) - mean) / scale, layout, times) for d in (train, valid)]
    reference = LinearReference.fit(process, noised[0], settings)
    network = score_network(reference, layout, settings, seed=stream.child("network"))
    model = ScoreModel(reference, network, times[1:], shape=train.shape)
    fit(model, process, *noised, settings=settings, budget=budget, seed=stream)
    return LearnedPrior(process, model, mean, scale)


def _still(z: Tensor, layout: VectorLayout | FieldLayout, times: tuple[float, ...]) -> TrajectoryDataset:
    """States that stay what they are at all times."""
    header = Header("prior", layout, tuple(z.shape[1:]), times, len(z), {}, {})
    states = z[:, None].expand(-1, len(times), *z.shape[1:]).contiguous()
    return TrajectoryDataset.of_states(states, header, Path("prior"))
