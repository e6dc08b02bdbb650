"""Ornstein-Uhlenbeck process with a Gaussian-mixture prior: marginals, score and posterior in closed form."""

from __future__ import annotations

__all__ = ["OrnsteinUhlenbeck"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Linear
from physinv.equations.steps import Step, exponential
from physinv.laws.exact import MixturePosterior
from physinv.laws.mixture import Mixture
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import number, parameter
from physinv.processes.potential import check_above_0
from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Linear, Simulator):
    """The Ornstein-Uhlenbeck process ``dx = -rate x dt + noise dW`` in ``dim`` dimensions.

    The prior is a mixture of ``components`` isotropic Gaussians of standard deviation ``width`` whose centres
    lie at distance ``spread`` from the origin: in two dimensions or more on a regular polygon in the first two
    coordinates, in one dimension evenly from ``-spread`` to ``spread``.  Weights are proportional to 1, 2, 3, ...
    Marginals, scores and posteriors are Gaussian mixtures in closed form; steps of any length are exact.

    Expected behaviour: centres decay as ``e^{-rate t}``, variances tend to ``noise^2 / (2 rate)``.

    Good values: ``rate horizon`` of about 1, where the components overlap at T without being forgotten.

    References:
        Uhlenbeck and Ornstein (1930).
    """

    title: ClassVar[str] = "Ornstein-Uhlenbeck process, Gaussian-mixture prior"
    equation: ClassVar[str] = "dx = -rate x dt + noise dW"
    basis: ClassVar[str] = "identity"
    scheme: ClassVar[Step] = exponential

    horizon: float = parameter(2.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(40, "M", "stored time steps", minimum=1)
    dim: int = parameter(4, "d", "dimension of the state", minimum=1)
    rate: float = parameter(0.5, "lambda", "relaxation rate", unit="1/time", above=0, varies=True)
    noise: float = parameter(0.5, "g", "noise amplitude", unit="state/time^1/2", minimum=0)
    components: int = parameter(3, "K", "Gaussians in the prior", minimum=1)
    spread: float = parameter(1.5, "R", "distance of their centres from the origin", unit="state", minimum=0)
    width: float = parameter(0.3, "sigma", "their standard deviation", unit="state", above=0)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("position", self.dim)

    @property
    def inverse_temperature(self) -> float:
        """``2 / noise^2``, since the mobility is 1.

        Raises:
            ValueError: If there is no Boltzmann law.
        """
        check_above_0(self, "noise")
        return 2 / number(self.noise) ** 2

    def potential(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the energy ``rate/2 |x|^2``.

        Args:
            x: States.
        """
        return self.rate / 2 * x.square().sum(1)

    def rates(self, like: Float[Tensor, "batch *state"]) -> Tensor:
        return -self.rate * like.new_ones(1)

    @property
    def prior(self) -> Mixture:
        """The law of ``x_0``, a Gaussian mixture in float64."""
        k = torch.arange(self.components, dtype=torch.float64)
        means = torch.zeros(self.components, self.dim, dtype=torch.float64)
        if self.components > 1 and self.dim == 1:
            means[:, 0] = self.spread * (2 * k / (self.components - 1) - 1)
        elif self.components > 1:
            angle = 2 * math.pi * k / self.components
            means[:, 0], means[:, 1] = self.spread * angle.cos(), self.spread * angle.sin()
        covs = self.width**2 * torch.eye(self.dim, dtype=torch.float64).expand(self.components, -1, -1)
        return Mixture((k + 1) / (k + 1).sum(), means, covs)

    def marginal(self, t: float) -> Mixture:
        """Return the law of the state at a time.

        Args:
            t: Time since the start.

        Returns:
            A Gaussian mixture in float64.
        """
        gain = math.exp(-self.rate * t)
        return self.prior.through(gain, self.noise**2 * -math.expm1(-2 * self.rate * t) / (2 * self.rate))

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the exact score of ``p_t`` at a time that the batch shares.

        Args:
            x: States, ``(batch, dim)``.
            t: Their time, ``(batch,)``: the first entry counts.

        Returns:
            ``grad log p_t(x)``, ``(batch, dim)``.
        """
        law = self.marginal(float(t[0]))
        return Mixture(law.weights.to(x), law.means.to(x), law.covs.to(x)).score(x)

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        p = self.prior
        on = Mixture(p.weights.to(device, dtype), p.means.to(device, dtype), p.covs.to(device, dtype))
        return on.sample(batch, generator=generator)

    def initial_log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the log density of the mixture.

        Args:
            x: Initial states.
        """
        return self.log_prior(x)

    def log_prior(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        p = self.prior
        return Mixture(p.weights.to(x), p.means.to(x), p.covs.to(x)).log_prob(x)

    def exact(self) -> MixturePosterior:
        return MixturePosterior(self.prior, self.rate, self.noise, self.horizon)
