"""The one-dimensional quadratic process of the first experiment of Holzschuh et al. (2023)."""

from __future__ import annotations

__all__ = ["Quadratic", "quadratic_q"]

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.exact_1d import ScalarPosterior
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import number, parameter
from physinv.processes.potential import check_above_0
from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class Quadratic(Simulator):
    """The quadratic process ``dx = -rate sign(x) x^2 dt + noise dW``, started at ``+1`` or ``-1`` with equal odds.

    Each batch of initial states is balanced (stratified sampling): in a small dataset of independent draws the two
    branches would be unequal, and a network would learn that.

    Expected behaviour: both starts decay like ``1 / (rate t)`` towards 0, where noise mixes them; the posterior of
    ``x_0`` given a small ``x_T`` is two-sided.

    Good values: the defaults are the published ones (Euler steps of .01, every second one stored).

    References:
        Holzschuh, Vegetti and Thuerey (2023), section 3.1.
    """

    title: ClassVar[str] = "Quadratic process in one dimension, two starts"
    equation: ClassVar[str] = "dx = -rate sign(x) x^2 dt + noise dW,  x_0 = +-1"

    horizon: float = parameter(10.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(500, "M", "stored time steps", minimum=1)
    rate: float = parameter(7.0, "lambda", "strength of the pull to 0", unit="1/(state time)", minimum=0, varies=True)
    noise: float = parameter(0.03, "g", "noise amplitude", unit="state/time^1/2", minimum=0)
    inner: int = parameter(2, "m", "least number of Euler steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("position", 1)

    @property
    def longest_step(self) -> float:
        """0.15 over the fastest rate, ``2 rate |x|`` at the start or where the stationary density is down by e^-20."""
        pull, g = number(self.rate), number(self.noise)
        farthest = (30 * g**2 / pull) ** (1 / 3) if pull > 0 else 0.0  # where rate |x|^3 / 3 = 20 noise^2 / 2
        return 0.15 / (2 * pull * max(1.0, farthest)) if pull > 0 else math.inf

    @property
    def substeps(self) -> int:
        return max(self.inner, super().substeps)

    @property
    def inverse_temperature(self) -> float:
        """``2 / noise^2``, since the mobility is 1.

        Raises:
            ValueError: If there is no Boltzmann law.
        """
        check_above_0(self, "noise", "rate")
        return 2 / number(self.noise) ** 2

    def potential(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the energy ``rate/3 |x|^3``.

        Args:
            x: States.
        """
        return self.rate / 3 * x[:, 0].abs() ** 3

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return -self.rate * x * x.abs()

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        return [x, -x]

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        shuffled = torch.randperm(batch, generator=generator, device=device)
        coin = torch.randint(2, (1,), generator=generator, device=device)
        return torch.where((shuffled + coin) % 2 == 0, -1.0, 1.0).to(dtype)[:, None]

    def exact(self) -> ScalarPosterior | None:
        if self.noise == 0:
            return None
        reach = 1.2 + 5 * self.noise * self.horizon**0.5
        fine = np.linspace(-1, 1, 2401)
        edges = reach * np.sign(fine) * np.abs(fine) ** 1.5  # crowded around 0, where the law ends up
        starts = np.array([-1.0, 1.0]), np.array([0.5, 0.5])
        return ScalarPosterior(lambda x: -self.rate * x * np.abs(x), self.noise, self.horizon, edges, starts)


def quadratic_q(x0: Float[Tensor, "..."], tolerance: float = 0.1) -> Float[Tensor, ""]:
    """Return the share of reconstructions on both branches of the quadratic process, ``Q = 2 min(P_-, P_+)``.

    ``P_+-`` is the share of ``x0`` within ``tolerance`` of the starts ``+-1``.  The number does not see calibration.

    Args:
        x0: Reconstructed initial values, of any shape.  NaN counts as a miss.
        tolerance: Distance from a start that counts as a hit.

    Returns:
        A scalar: 1 if both branches are hit equally often and nothing else is, 0 if one is missed.

    References:
        Holzschuh, Vegetti and Thuerey (2023), section 3.1.

    Example:
        >>> quadratic_q(torch.tensor([1.0, -1.0, 0.95, 0.3]))  # one hit at -1, two at +1, a miss
        tensor(0.5000)
    """
    minus, plus = (((x0 - branch).abs() <= tolerance).to(x0.dtype).mean() for branch in (-1, 1))
    return 2 * torch.minimum(minus, plus)
