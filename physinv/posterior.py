"""``p(x_0 | x_T)``: posterior samples, the probability flow, and the mean flow of a trained score."""

from __future__ import annotations

__all__ = ["Posterior", "resample_times"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.moments import LinearMoments
from physinv.reversal import split, transport
from physinv.score import ScoreModel
from physinv.sde import SDE, Linear, Reverse, Score
from physinv.solvers import Step, march


class Posterior:
    """Reconstructs ``x_0`` from ``x_T`` with the physics ``sde`` and a ``score``, on the time grid ``times``.

    Three answers to three questions: :meth:`sample` draws from the posterior (reverse SDE), :meth:`flow` gives the
    pre-image under the probability flow (one state, with the right marginal law), :meth:`mean_flow` the reversal
    without noise, an estimate of the posterior mean.

    ``times`` are increasing, from 0 to T, one solver step between neighbours.  ``step`` defaults to
    :data:`~physinv.reversal.transport` where it applies (linear SDE, Gaussian reference) and else to
    :data:`~physinv.reversal.split`, the step that the network was trained with.
    At most ``batch`` states
    are in work at once; the default suits the caches of a CPU, or the width of a GPU.
    """

    def __init__(
        self,
        sde: SDE,
        score: Score,
        times: Float[Tensor, " time"],
        *,
        step: Step | None = None,
        batch: int | None = None,
    ) -> None:
        if batch is not None and batch < 1:
            raise ValueError(f"`batch` must be at least 1, got {batch}.")
        self.sde, self.score, self.times, self.batch = sde, score, times, batch
        self.step = default_step(sde, score) if step is None else step

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """``n`` independent draws of ``x_0`` for each observation ``x_T``."""
        if n < 1:
            raise ValueError(f"`n` must be at least 1, got {n}.")
        every = final.repeat_interleave(n, dim=0)
        out = self._back(every, eta=1.0, noise=True, generator=generator)
        return out.reshape(len(final), n, *final.shape[1:])

    def flow(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Solution at 0 of ``dx = [f - 1/2 g^2 s] dt`` from ``x_T`` (Song et al. 2021, eq. 13)."""
        return self._back(final, eta=0.0, noise=False, generator=None)

    def mean_flow(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Solution at 0 of ``dx = [f - g^2 s] dt`` from ``x_T``; the posterior mean of linear-Gaussian processes."""
        return self._back(final, eta=1.0, noise=False, generator=None)

    @torch.no_grad()
    def _back(self, x: Tensor, *, eta: float, noise: bool, generator: torch.Generator | None) -> Tensor:
        reverse = Reverse(self.sde, self.score, eta)
        times, parts = self.times.flip(0), []
        for chunk in torch.split(x, self.batch or default_batch(x)):
            for state in march(reverse, chunk, times, step=self.step, noise=noise, generator=generator):
                last = state
            parts.append(last)
        return torch.cat(parts)


def default_batch(x: Float[Tensor, "batch *state"]) -> int:
    """States to work on at once: 2^16 numbers on a CPU (measured: 64 fields of 32^2 are twice as fast each as 1024)."""
    numbers = 2**16 if x.device.type == "cpu" else 2**21
    return max(1, numbers // x[0].numel())


def default_step(sde: SDE, score: Score) -> Step:
    """:data:`~physinv.reversal.transport` for a linear SDE with Gaussian reference, else ``split``."""
    gaussian = isinstance(score, ScoreModel) and isinstance(score.moments, LinearMoments)
    return transport if gaussian and isinstance(sde, Linear) else split


def resample_times(times: Float[Tensor, " time"], steps: int) -> Float[Tensor, " grid"]:
    """A grid of ``steps`` steps over the same interval, as dense as ``times`` where that is dense."""
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    at = torch.linspace(0, len(times) - 1, steps + 1, dtype=torch.float64, device=times.device)
    i = at.floor().long().clamp(max=len(times) - 2)
    w = at - i
    return (1 - w) * times[i] + w * times[i + 1]
