"""The one-dimensional quadratic process of the first experiment of Holzschuh et al. (2023)."""

from __future__ import annotations

__all__ = ["Quadratic", "quadratic_q"]

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.exact_1d import ScalarPosterior
from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator, parameter


@dataclass(frozen=True)
class Quadratic(Simulator):
    """``dx = -rate sign(x) x^2 dt + noise dW``, started at ``+1`` or ``-1`` with equal odds.

    Both starts decay like ``1 / (rate t)`` towards 0, where noise mixes them: the posterior of ``x_0`` given a
    small ``x_T`` is two-sided.  Each batch of starts is balanced (stratified sampling), so that a small dataset
    does not tell a network of odds that are not equal.  Good values: the defaults are the published ones (Euler steps
    of .01, every second one stored).
    """

    title: ClassVar[str] = "Quadratic process in one dimension, two starts"
    equation: ClassVar[str] = "dx = -rate sign(x) x^2 dt + noise dW,  x_0 = +-1"

    horizon: float = parameter(10.0, "T", "final time", unit="time", minimum=1e-9)
    steps: int = parameter(500, "M", "stored time steps", minimum=1)
    rate: float = parameter(7.0, "lambda", "strength of the pull to 0", unit="1/(state time)", minimum=0)
    noise: float = parameter(0.03, "g", "noise amplitude", unit="state/time^1/2", minimum=0)
    inner: int = parameter(2, "m", "Euler steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("position", 1)

    @property
    def substeps(self) -> int:
        return self.inner

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
    """Return ``Q = 2 min(P_-, P_+)`` with the share ``P_+-`` of reconstructed starts within ``tolerance`` of +-1.

    Args:
        x0: Reconstructed initial states, of any shape; NaN counts as a miss.
        tolerance: Largest distance from a start that counts as a hit.

    Returns:
        A scalar: 1 if both starts are hit equally often, 0 if one is missed.  It does not see calibration.

    References:
        Holzschuh, Vegetti and Thuerey (2023), Solving inverse physics problems with score matching, section 3.1.
    """
    minus, plus = (((x0 - branch).abs() <= tolerance).to(x0.dtype).mean() for branch in (-1, 1))
    return 2 * torch.minimum(minus, plus)
