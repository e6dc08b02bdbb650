"""The smoother loss: the trajectory loss in units of the smoother, plus a likelihood of the size of its noise."""

from __future__ import annotations

__all__ = ["SMOOTHER", "smoother_loss"]

from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Reverse, Score
from physinv.reversal.smoother import gap_and_size
from physinv.reversal.smoother_noise import calibrate_noise
from physinv.training.objectives.base import Batch, Objective, check_window


def smoother_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return ``E |r|^2 + E[ r^2 / (2 sigma^2) + log sigma ]`` for the gap ``r`` of a smoother step without noise.

    ``r`` counts in units of ``C^(1/2)``, the standard deviation that the smoother leaves. The first term is the
    trajectory loss (Holzschuh et al. 2023, eq. 7) in these units; along windows of more than two states the steps
    follow each other, gradients flowing through all of them. The second term, in which ``r`` is held fixed, fits the
    size ``sigma`` of the noise at every point: it is the negative log likelihood of a Gaussian (Nix and Weigend 1994).

    Args:
        score: A score model around a smoother.
        sde: The physics.
        batch: Windows of 2 or more states at neighbouring stored times. Where ``batch.backward`` is known, the physics
            of the first step is not solved again.

    Raises:
        ValueError: If ``score`` has no smoother as its reference law, or the windows hold fewer than 2 states.

    References:
        Nix and Weigend (1994), Estimating the mean and variance of the target probability distribution.
    """
    check_window(batch)
    states, times, backward = batch.states, batch.times, batch.backward
    reverse, last = Reverse(sde, score), batch.window - 1
    x, total = states[:, last], states.new_zeros(())
    for m in range(last - 1, -1, -1):
        x, gap, size = gap_and_size(reverse, x, states[:, m], times[:, m + 1], times[:, m], backward)
        backward = None  # known for the stored state only, not for those that the network has reached
        likelihood = gap.detach().square() / (2 * size**2) + size.log()
        total = total + gap.square().mean() + likelihood.mean()
    loss: Tensor = total / last
    return loss


SMOOTHER = Objective(smoother_loss, backward_cache=True, finish=calibrate_noise, replaces="trajectory")
"""The smoother loss, after which the smoother noise is calibrated on validation data."""
