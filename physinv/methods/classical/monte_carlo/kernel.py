"""The law of states a few solver steps later, given each of many states: a Gaussian, by linear propagation.

    P <- A P A^T + B B^T,   A = d step / dx,   B = d step / dw

along the path without noise: exact for one step of additive noise, right for more as long as they are nearly linear
over the width of their own noise.
"""

from __future__ import annotations

__all__ = ["Kernel", "fit_kernel"]

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.steps import Step
from physinv.processes.simulator import Simulator

_BLOCK = 2**18  # states whose law is computed at once


@dataclass(frozen=True)
class Kernel:
    """The law of ``x_T`` given each run, a few solver steps before.

    Args:
        steps: How many.
        mean: ``E x_T`` of each run.
        whitening: The inverse Cholesky factors of the covariances.
    """

    steps: int
    mean: Float[Tensor, "n d"]
    whitening: Float[Tensor, "n d d"]

    def log_weights(self, final: Float[Tensor, "batch d"]) -> Float[Tensor, "batch n"]:
        """Return the log density of final states for each run, up to a constant.

        Args:
            final: Final states.

        Returns:
            Log weights; minus infinity for runs that diverged.
        """
        total = self.whitening.diagonal(dim1=1, dim2=2).log().sum(1).expand(len(final), -1)
        gap = final[:, None] - self.mean
        for i in range(final.shape[1]):
            total = total - sum(gap[:, :, j] * self.whitening[:, i, j] for j in range(i + 1)) ** 2 / 2
        return total.nan_to_num(-math.inf, -math.inf, -math.inf)


def fit_kernel(simulator: Simulator, step: Step, x: Float[Tensor, "n *state"], grid: Sequence[float]) -> Kernel:
    """Return the law of the states at the end of a grid, given each state at its beginning.

    Args:
        simulator: The process.
        step: Its solver step.
        x: States at ``grid[0]``.
        grid: Ends of the solver steps.

    Returns:
        Mean and whitening of each; NaN where the covariance is singular yet (noise on momenta only).
    """
    parts = [_propagated(simulator, step, part, grid) for part in torch.split(x, _BLOCK)]
    mean, covariance = (torch.cat(p) for p in zip(*parts, strict=True))

    # A covariance that is singular yet (noise on momenta only) counts as no kernel at all.
    factor, failed = torch.linalg.cholesky_ex(covariance)
    eye = torch.eye(mean.shape[1], dtype=factor.dtype, device=factor.device)
    whitening = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
    whitening[failed > 0] = math.nan
    return Kernel(len(grid) - 1, mean.to(x.dtype), whitening.to(x.dtype))


def _propagated(simulator: Simulator, step: Step, x: Tensor, grid: Sequence[float]) -> tuple[Tensor, Tensor]:
    P = x.new_zeros((len(x), x[0].numel(), x[0].numel()), dtype=torch.float64)
    for a, b in itertools.pairwise(grid):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            dw = torch.zeros((step.draws, *x.shape), dtype=x.dtype, device=x.device, requires_grad=True)
            y = step(simulator, x, *_times(x, a, b), dw * math.sqrt(b - a))
            flat = y.flatten(1)
            rows = [
                torch.autograd.grad(flat[:, i].sum(), (x, dw), retain_graph=True, materialize_grads=True)
                for i in range(flat.shape[1])
            ]
        A = torch.stack([r[0].flatten(1) for r in rows], 1).double()
        B = torch.stack([r[1].movedim(0, 1).flatten(1) for r in rows], 1).double()
        P = A @ P @ A.mT + B @ B.mT
        x = y.detach()
    return x.flatten(1), P


def _times(x: Tensor, a: float, b: float) -> tuple[Tensor, Tensor]:
    return x.new_full((len(x),), a), x.new_full((len(x),), b)
