"""A continuous normalising flow: noise becomes data along ``dy/dt = v(y, t)``, with its density.

    log p(y_1) = log N(y_0; 0, 1) - int_0^1 div v dt

It is trained by maximum likelihood through the solver (Chen et al. 2018, Grathwohl et al. 2019), or by flow matching,
which needs no solver (Lipman et al. 2023).  Both leave the same kind of model.
"""

from __future__ import annotations

__all__ = ["ContinuousFlow", "likelihood_loss", "matching_loss"]

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.inputs import check_count
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE, Score
from physinv.posterior.flows.straight import matching_error, straight_velocity, turn, turn_back
from physinv.posterior.likelihood import Divergence, divergence_for, flow_log_prob
from physinv.training.objectives.base import Batch

_TRAINING = 1e-3  # tolerance of the solver that a likelihood is trained through


class ContinuousFlow(nn.Module):
    """A flow from standard normal numbers to data of mean 0 and variance 1.

    Args:
        network: Any module ``(states, t) -> output`` of the shape of the states; where its output is 0, data are white.

    Example:
        >>> flow = ContinuousFlow(_Shift(0.5))
        >>> y = torch.tensor([[0.5]], dtype=torch.float64)
        >>> round(flow.log_prob(y).item(), 3)  # N(.5, 1) in its middle: -1/2 log 2 pi
        -0.919
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the velocity.

        Args:
            y: States.
            t: Places on the path, 0 at the noise and 1 at the data.
        """
        return straight_velocity(lambda scaled: self.network(scaled, t), y, t)

    def transport(self, noise: Float[Tensor, "batch *state"], *, steps: int = 32) -> Float[Tensor, "batch *state"]:
        """Return the data that the flow makes of noise, differentiable.

        Args:
            noise: Standard normal numbers.
            steps: Steps of Heun's method.
        """
        return turn(self.network, noise, check_count(steps, "steps"))

    def untransport(self, data: Float[Tensor, "batch *state"], *, steps: int = 32) -> Float[Tensor, "batch *state"]:
        """Return the noise that :meth:`transport` makes data of.

        Args:
            data: Data.
            steps: Steps of :meth:`transport`.
        """
        return turn_back(self.network, data, check_count(steps, "steps"))

    def log_prob(
        self,
        y: Float[Tensor, "batch *state"],
        *,
        divergence: Divergence | None = None,
        generator: torch.Generator | None = None,
        tolerance: float = 1e-5,
        differentiable: bool = False,
    ) -> Float[Tensor, " batch"]:
        """Return log densities of data, in nats.

        Args:
            y: Data.
            divergence: ``exact`` or ``hutchinson(probes)`` of :mod:`physinv.posterior.likelihood`; None: the first for
                states of up to 64 numbers, one random probe for larger ones.
            generator: Source of that probe, on the device of ``y``.
            tolerance: Tolerance of the adaptive solver.
            differentiable: Whether the result can be differentiated by the weights, which keeps all that the solver
                computed in memory.
        """
        return flow_log_prob(
            lambda s, x: -self(x, (1 - s).to(x.dtype).expand(len(x))),
            y,
            (0.0, 1.0),
            lambda noise: gaussian_log_prob(noise, noise.new_ones(noise.shape[1:]), noise),
            divergence=divergence_for(y, generator=generator) if divergence is None else divergence,
            rtol=tolerance,
            atol=tolerance,
            differentiable=differentiable,
        )


def matching_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the flow-matching error of a :class:`ContinuousFlow` for the first states of windows.

    Args:
        score: The flow.
        sde: Not used.
        batch: Windows, and a generator.

    References:
        See :func:`~physinv.posterior.flows.straight.matching_error`.
    """
    z, generator = batch.states[:, 0], batch.generator
    t = torch.rand(len(z), generator=generator, dtype=z.dtype, device=z.device)
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
    return matching_error(score, noise, z, t)


def likelihood_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return minus the mean log density, per number, of the first states of windows under a :class:`ContinuousFlow`.

    The divergence of states of more than 64 numbers is estimated by one random probe, which leaves the gradient
    unbiased.

    Args:
        score: The flow.
        sde: Not used.
        batch: Windows, and a generator.

    References:
        Chen et al. (2018), Neural ordinary differential equations; Grathwohl et al. (2019), FFJORD.
    """
    flow, z = score, batch.states[:, 0]
    assert isinstance(flow, ContinuousFlow)
    kept = torch.is_grad_enabled()
    logs = flow.log_prob(z, generator=batch.generator, tolerance=_TRAINING, differentiable=kept)
    return -logs.mean() / z[0].numel()


class _Shift(nn.Module):
    """The network of the flow from N(0, 1) to N(m, 1)."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.mean = mean

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        # v = m + (2 t - 1)/h (y - t m), and the network is h^(1/2) (v - (2 t - 1)/h y)
        h = (1 - t) ** 2 + t**2
        return ((1 - t * (2 * t - 1) / h) * h.sqrt() * self.mean)[:, None].expand_as(y)
