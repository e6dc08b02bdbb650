"""The law of states a few solver steps later, given each of many states: a Gaussian, by linear propagation.

    P <- A P A^T + B B^T,   A = d step / dx,   B = d step / dw

along the path without noise: exact for one step of additive noise, right for more as long as they are nearly linear
over the width of their own noise.  Beside it the covariance with which paths meet a final state that is seen whole;
that of unknown parameters depends on them where the solver step damps its own noise.
"""

from __future__ import annotations

__all__ = ["Kernel", "end_whitening", "fit_kernel"]

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Linear
from physinv.equations.steps import Step
from physinv.methods.classical.forward import FORGOTTEN, SEEN
from physinv.methods.classical.gaussian_prior import fit_covariance
from physinv.methods.classical.monte_carlo.unknown.end_noise import EndNoise, end_noise
from physinv.methods.problem import NotApplicableError
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying

_KERNEL = 1e-3  # share of the variance of the accumulated noise with which every direction is seen at least
_LEAST = 1e-7  # of its mean variance: directions without any noise
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


def end_whitening(
    simulator: Simulator,
    last: Sequence[float],
    begin: Callable[[], Tensor],
    like: Float[Tensor, "1 *state"],
    *,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "d d"], bool, EndNoise | None]:
    """Return ``C^(-1/2)`` of the last step of a path, which meets a final state that is seen whole.

    Args:
        simulator: The process.
        last: Begin and end of the last solver step.
        begin: Draws initial states of the runs that tell how much noise is accumulated.
        like: A state in float64, on the device in question.
        generator: Source of these runs.

    Returns:
        A matrix over the moving components, whether the process has no noise, and the noise by unknown parameters where
        it depends on them.

    Raises:
        NotApplicableError: If the solver diverges, or final states do not vary.
    """
    # The covariance of the last step's noise, plus a little of all noise.
    layout, linear = simulator.layout, isinstance(simulator, Linear)
    d = layout.moving(like).numel()
    unit = torch.eye(d, dtype=like.dtype, device=like.device).reshape(d, *layout.moving(like).shape[1:])
    directions = layout.set_moving(unit, like.expand(d, *like.shape[1:]))
    a, b = (like.new_full((d,), t) for t in last)
    noise = layout.moving(simulator.apply_covariance(directions, a, b)).flatten(1)
    every = noise if linear else _accumulated(simulator, begin(), directions, generator)
    size = float(every.diagonal().mean())
    quiet = not size > 0
    if quiet:  # the initial state alone is unknown
        every = _seen(simulator, begin(), d).to(every)
    total = every if quiet else noise + (0.0 if linear else _KERNEL) * every
    values, vectors = torch.linalg.eigh((total + total.T) / 2)
    whitening: Tensor = vectors / values.clamp(min=0.0 if quiet else _LEAST * size).sqrt() @ vectors.T
    follows = None
    if isinstance(simulator, Varying) and not quiet:
        follows = end_noise(simulator, last, _KERNEL * every, least=_LEAST * size)
    return whitening.float(), quiet, follows


def _seen(simulator: Simulator, start: Tensor, d: int) -> Float[Tensor, "d d"]:
    """The covariance with which final states of a process without noise count as seen."""
    end = simulator.layout.moving(simulator.run(start, simulator.times[[0, -1]], noise=False)[:, -1]).double()
    end = end[end.flatten(1).isfinite().all(1)]
    spread = float((end - end.mean(0)).square().mean()) if len(end) > 1 else 0.0
    begun = simulator.layout.moving(start).double()
    if not spread > FORGOTTEN * float((begun - begun.mean(0)).square().mean()):
        raise NotApplicableError("final states do not vary, and tell nothing of initial states.")
    return SEEN**2 * spread * torch.eye(d, dtype=end.dtype, device=end.device)


def _accumulated(simulator: Simulator, start: Tensor, directions: Tensor, generator: torch.Generator | None) -> Tensor:
    """The covariance of ``x_T`` minus the noise-free end, applied to directions, from runs."""
    layout = simulator.layout
    noisy = simulator.run(start, simulator.times[[0, -1]], generator=generator)[:, -1]
    gap = layout.moving(noisy - simulator.run(start, simulator.times[[0, -1]], noise=False)[:, -1]).double()
    gap = gap[gap.flatten(1).isfinite().all(1)]
    if len(gap) < 2:
        raise NotApplicableError("the solver diverges from the initial states; take shorter steps.")
    return fit_covariance(gap - gap.mean(0), layout).apply(layout.moving(directions)).flatten(1)


def _times(x: Tensor, a: float, b: float) -> tuple[Tensor, Tensor]:
    return x.new_full((len(x),), a), x.new_full((len(x),), b)
