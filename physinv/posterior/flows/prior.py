"""A law of states that a continuous flow learned from samples: draws and densities, without any physics."""

from __future__ import annotations

__all__ = ["LOSSES", "FlowPrior", "fit_flow"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import States, as_states, check_count, check_generator
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings, as_settings
from physinv.config.suggest import did_you_mean
from physinv.data.checks import check_splits
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.noising import VE, Noising, RotatedVP
from physinv.laws.covariance import Covariance, diagonal
from physinv.laws.prior import Prior
from physinv.models.networks.build import build_network
from physinv.models.references.linear import power_spectrum
from physinv.posterior.flows.continuous import ContinuousFlow, likelihood_loss, matching_loss
from physinv.posterior.learned_prior import principal_axes
from physinv.posterior.likelihood import Divergence
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.training.budget import Budget, check_budget
from physinv.training.loop import fit
from physinv.training.objectives.base import Loss

LOSSES: dict[str, Loss] = {"matching": matching_loss, "likelihood": likelihood_loss}
"""What a flow can be trained by."""

_LEAST = 1e-12  # of the largest power, of a channel of a field its own: modes with less do not vary
_ROUNDING = 1e-6  # of the mean of a number: less is rounding


@dataclass(frozen=True, eq=False)
class FlowPrior(Prior):
    """A law ``p(x)`` as a flow of whitened states.

    Args:
        process: Of whose modes the states are whitened: those of Fourier, principal axes, or the components.
        flow: The flow from noise to ``z``, where ``x = mean + C^(1/2) z``.
        mean: Mean of the states.
        power: Variance of each mode of ``(x - mean)/scale``; modes without any stay at the mean.
        scale: Units of the numbers in a state.
    """

    process: Noising
    flow: ContinuousFlow
    mean: Tensor
    power: Tensor
    scale: Tensor

    @property
    def covariance(self) -> Covariance:
        """Covariance of the states, diagonal in the modes."""
        held, scale = diagonal(self.process.modes, self.process.unmodes, self.power), self.scale
        return Covariance(
            lambda v: scale.to(v) * held.apply(scale.to(v) * v),
            lambda z: scale.to(z) * held.root(z),
            lambda v: held.whiten(v / scale.to(v)),
        )

    @torch.no_grad()
    def draw(self, n: int, *, generator: torch.Generator | None = None, steps: int = 32) -> Float[Tensor, "n *state"]:
        """Draw states.

        Args:
            n: Number of states.
            generator: Source of randomness, on the device of the flow.
            steps: Steps of Heun's method.

        Returns:
            The draws.
        """
        check_generator(generator)
        shape = (check_count(n, "n"), *self.mean.shape)
        return self.decode(torch.randn(shape, generator=generator, device=self.mean.device), steps=steps)

    def decode(self, u: Float[Tensor, "batch ..."], *, steps: int = 32) -> Float[Tensor, "batch *state"]:
        """Return the states that the flow makes of noise, differentiable.

        Args:
            u: Standard normal numbers, as many as a state has.
            steps: Steps of Heun's method.
        """
        noise = u.to(self.mean).reshape(len(u), *self.mean.shape)
        return self.mean + self.covariance.root(self.flow.transport(noise, steps=steps))

    def encode(self, x: States, *, steps: int = 32) -> Float[Tensor, "batch numbers"]:
        """Return the noise that :meth:`decode` makes states of; 0 in modes that do not vary.

        Args:
            x: States.
            steps: Steps of :meth:`decode`.
        """
        gap = as_states(x, "x", tuple(self.mean.shape), like=self.mean) - self.mean
        return self.flow.untransport(self.covariance.whiten(gap), steps=steps).flatten(1)

    @torch.enable_grad()
    def score(self, x: States, *, generator: torch.Generator | None = None) -> Float[Tensor, "batch *state"]:
        """Return the gradient of :meth:`log_prob`, through every step of its solver.

        Args:
            x: States.
            generator: Source of a random probe, on the device of the flow.
        """
        states = as_states(x, "x", tuple(self.mean.shape), like=self.mean).detach().requires_grad_()
        logs = self.log_prob(states, generator=generator, differentiable=True)
        (found,) = torch.autograd.grad(logs.sum(), states)
        return found

    def log_prob(
        self,
        x: States,
        *,
        divergence: Divergence | None = None,
        generator: torch.Generator | None = None,
        differentiable: bool = False,
    ) -> Float[Tensor, " batch"]:
        """Return log densities in nats, in the modes that vary.

        Args:
            x: States.
            divergence: See :meth:`~physinv.posterior.flows.continuous.ContinuousFlow.log_prob`.
            generator: Source of a random probe, on the device of the flow.
            differentiable: Whether the result can be differentiated by the states.
        """
        gap = as_states(x, "x", tuple(self.mean.shape), like=self.mean, finite=True) - self.mean
        z = self.covariance.whiten(gap)
        # the whitened law at z stands for the Gaussian one at x; what the flow adds is the same for both
        gap = gap / self.scale
        gaussian = gaussian_log_prob(self.process.modes(gap), self.power, gap) - self.scale.log().sum()
        white = gaussian_log_prob(z, torch.ones_like(z[0]), z)
        flow = self.flow.log_prob(z, divergence=divergence, generator=generator, differentiable=differentiable)
        return flow - white + gaussian


def fit_flow(
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    budget: Budget,
    loss: str = "matching",
    settings: Settings | Mapping[str, Any] | None = None,
    seed: Seed = 0,
) -> FlowPrior:
    """Learn the law of initial states by a continuous flow.

    States are whitened, mode by mode where fields are periodic, along principal axes where others are small beside the
    number of trajectories, and else component by component; a network learns what is not Gaussian.

    Args:
        train: Trajectories, of which the first states count.
        valid: Trajectories to choose the weights by.
        budget: Number of updates, or a time.
        loss: ``"matching"``, or ``"likelihood"``, whose updates take many times longer.
        settings: Training settings, or their values by name.
        seed: Seed of weights, order and noise.

    Returns:
        The law.

    Raises:
        ValueError: For states that are neither vectors nor fields, or have static parts; for an unknown loss.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = 3 + 2 * torch.randn(500, 2, 1, generator=generator)  # 500 trajectories of 2 times, one number
        >>> data = TrajectoryDataset.from_arrays(x, times=[0.0, 1.0], names="height")
        >>> law = fit_flow(data, data, budget=Budget(steps=1))
        >>> drawn = law.draw(2000, generator=generator)
        >>> abs(drawn.mean().item() - 3) < 0.3, abs(drawn.std().item() - 2) < 0.2
        (True, True)
    """
    check_splits(train, valid)
    check_budget(budget)
    layout, settings = train.layout, as_settings(settings)
    if not isinstance(layout, (VectorLayout, FieldLayout)) or layout.static:
        raise ValueError("`train` must hold vectors or fields without static parts for a law of states.")
    if loss not in LOSSES:
        raise ValueError(f"`loss` must be one of {', '.join(LOSSES)}, got {loss!r}; {did_you_mean(loss, LOSSES)}")
    stream = seeds(seed).child("prior")

    # Mean and spectrum, and a flow that begins as that Gaussian.
    process: Noising = VE(basis="fourier" if layout.basis == "fourier" else "identity")
    mean, power = power_spectrum(process.modes, process, train.states(0))
    if not bool(power.isfinite().all()):
        raise ValueError("`train` must hold states whose squares float32 can hold; change the unit.")
    if layout.space:
        least = _LEAST * power.flatten(1).amax(1).reshape(-1, *[1] * (power.ndim - 1))
    else:
        least = (_ROUNDING * mean).square()
    power, scale = torch.where(power > least, power, 0.0), torch.ones_like(mean)
    axes = None
    if layout.basis != "fourier" and bool((power > 0).all()):
        standard = (train.states(0) - mean) / power.sqrt()
        axes = principal_axes(layout, standard)
    if axes is not None:
        # Along the axes, with the variances of states that did not choose these.
        turned = RotatedVP(directions=axes)
        along = turned.modes(standard[1::2]).square().mean(0)
        if bool((along > _ROUNDING**2 * along.amax()).all()):  # else there is no density in all directions
            process, power, scale = turned, along, power.sqrt()
    channels = mean.shape[0]
    network = build_network(layout, channels, channels, settings, seed=stream.child("network"))
    law = FlowPrior(process, ContinuousFlow(network).to(mean.device), mean, power, scale)

    # Modes that do not vary are filled with noise, so that the flow has nothing to learn in them.
    covariance, whitened = law.covariance, []
    for data, name in ((train, "train"), (valid, "valid")):
        z = covariance.whiten(data.states(0) - mean)
        noise = torch.randn(z.shape, generator=stream.child("fill", name).generator(z.device), device=z.device)
        z = z + noise - covariance.whiten(covariance.root(noise))
        header = Header("law", layout, tuple(z.shape[1:]), (0.0, 1.0), len(z), {}, {})
        twice = z[:, None].expand(-1, 2, *z.shape[1:]).contiguous()
        whitened.append(TrajectoryDataset.of_states(twice, header, Path("law")))
    fit(law.flow, process, *whitened, settings=settings, budget=budget, loss=LOSSES[loss], seed=stream)
    law.flow.eval()
    return law
