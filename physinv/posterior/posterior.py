"""``p(x_0 | x_T)``: posterior samples, the probability flow, and the mean flow of a trained score."""

from __future__ import annotations

__all__ = ["Posterior"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Linear, Reverse, Score
from physinv.equations.solve import Step, march
from physinv.models.score import ScoreModel
from physinv.posterior.likelihood import Density, exact, hutchinson, log_prob, rademacher, transition_log_prob
from physinv.reversal.choose import default_step
from physinv.reversal.smoother import check_stored, smooth


class Posterior:
    """Reconstructs ``x_0`` from ``x_T`` with the physics ``sde`` and a ``score``, on the time grid ``times``.

    Three answers to three questions: :meth:`sample` draws from the posterior (reverse SDE), :meth:`flow` gives the
    pre-image under the probability flow (one state, with the right marginal law), :meth:`mean_flow` the reversal
    without noise, an estimate of the posterior mean.

    ``times`` are increasing, from 0 to T, one solver step between neighbours.  ``step`` defaults to
    :data:`~physinv.reversal.transport.transport` where it applies (linear SDE, Gaussian reference), to
    :data:`~physinv.reversal.smoother.smooth` around a smoother (``times`` must then be its stored ones, else
    ValueError), and to :data:`~physinv.reversal.split.split` otherwise: the step that the network was trained with.
    At most ``batch`` states are in work at once; the default suits the caches of a CPU, or the width of a GPU.
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
        if self.step is smooth:
            check_stored(score, times)

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

    def log_prob(
        self,
        initial: Float[Tensor, "batch *state"],
        final: Float[Tensor, "batch *state"] | None = None,
        *,
        base: Density | None = None,
        probes: int | None = None,
        generator: torch.Generator | None = None,
        start: float | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
    ) -> Float[Tensor, " batch"]:
        """``log p(x_0)``, or with ``final``, for linear SDEs, ``log p(x_0 | x_T)`` of one ``x_T`` for each ``x_0``:

            log p(x_0)       = base(x_T) + int div [f - g^2/2 s] dt     along the probability flow
            log p(x_0 | x_T) = log p(x_T | x_0) + log p(x_0) - base(x_T)

        ``base`` is the log density at T.  It defaults to the reference law of the score model: an approximation as good
        as that law fits the data at T; where p_T is known, give it.  ``probes`` estimates the divergence from so many
        random signs out of ``generator`` instead of exactly.  The flow is followed from ``start``, by default a
        thousandth of the first time step, since a start with sharp features has no score at 0: the density is that of
        a state at ``start`` (see :func:`~physinv.posterior.likelihood.log_prob`).
        """
        horizon = float(self.times[-1])
        if base is None:
            if not isinstance(self.score, ScoreModel):
                raise ValueError("`base` must be given for a score that is no ScoreModel: the log density at T.")
            reference = self.score.reference

            def base(x: Tensor) -> Tensor:
                return reference.log_prob(x, x.new_full((len(x),), horizon))

        if final is not None and not isinstance(self.sde, Linear):
            raise ValueError(
                "`final` needs a Linear SDE, where log p(x_T | x_0) is known; leave it out for log p(x_0)."
            )
        span = (1e-3 * float(self.times[1]) if start is None else start, horizon)
        flow, parts = Reverse(self.sde, self.score, 0.0), []
        for x in torch.split(initial, self.batch or default_batch(initial)):
            estimate = exact if probes is None else hutchinson(rademacher(x, probes, generator=generator))
            parts.append(log_prob(flow, x, span, base, divergence=estimate, rtol=rtol, atol=atol))
        prior = torch.cat(parts)
        if final is None or not isinstance(self.sde, Linear):
            return prior
        return transition_log_prob(self.sde, initial, final, horizon) + prior - base(final)

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
