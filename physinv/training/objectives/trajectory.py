"""The trajectory loss: solve the reverse SDE without noise along stored windows and compare with the stored states."""

from __future__ import annotations

__all__ = ["BIDIRECTIONAL", "TRAJECTORY", "trajectory_loss"]

import functools

from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Reverse, Score
from physinv.equations.solve import Step, euler
from physinv.reversal.choose import default_step
from physinv.training.objectives.base import Batch, Objective, check_window


def trajectory_loss(
    score: Score, sde: SDE, batch: Batch, *, step: Step | None = None, bidirectional: bool = False
) -> Float[Tensor, ""]:
    """Return the mean squared error of the noise-free reversal along windows (Holzschuh et al. 2023, eq. 7-9).

    From the last state of the window the reverse SDE is stepped back without noise,
    ``x_m = x_{m+1} - dt (f - g^2 s)``, gradients flowing through all steps. The difference to each stored state counts
    in units of the noise accumulated in between, ``sqrt(sum g^2 dt)``. A window of 2 gives the 1-step loss.

    The factor of the score: one step of the chain has ``E[x_m | x_{m+1}] = x_{m+1} - dt f + dt g^2 s + O(dt^2)``. Hence
    the loss is least for the true score if the correction is ``g^2 s``, without an error O(dt) if ``step`` is exact for
    the process. With ``bidirectional`` the same corrected drift also predicts forward. Then the best correction is
    ``g^2 s / 2``, that of the probability flow in both directions, and the network still returns ``s``.

    Args:
        score: The score that is trained.
        sde: The physics.
        batch: Windows of 2 or more states; neither its cached states nor its generator are used.
        step: The reverse step; None: the one that samples are drawn with
            (:func:`~physinv.reversal.choose.default_step`), or explicit Euler if ``bidirectional``, since few reverse
            steps run in both directions of time.
        bidirectional: Whether windows are also predicted forward from their first state.

    Raises:
        ValueError: If the windows hold fewer than 2 states.

    References:
        Holzschuh, Vegetti and Thuerey (2023), Solving inverse physics problems with score matching, eq. 7-9.
    """
    check_window(batch)
    states, times, window = batch.states, batch.times, batch.window
    reverse = Reverse(sde, score, eta=0.0 if bidirectional else 1.0)
    step = step or (euler if bidirectional else default_step(sde, score))
    no_noise = states.new_zeros(()).expand(step.draws, *states[:, 0].shape)

    # Backward from the last state.
    x, total = states[:, -1], states.new_zeros(())
    for m in range(window - 2, -1, -1):
        x = step(reverse, x, times[:, m + 1], times[:, m], no_noise)
        gap = sde.whiten(x - states[:, m], times[:, m], times[:, -1])
        total = total + gap.square().mean()

    # Forward from the first one.
    if bidirectional:
        x = states[:, 0]
        for m in range(1, window):
            x = step(reverse, x, times[:, m - 1], times[:, m], no_noise)
            gap = sde.whiten(x - states[:, m], times[:, 0], times[:, m])
            total = total + gap.square().mean()
    loss: Tensor = total / (window - 1)
    return loss


TRAJECTORY = Objective(trajectory_loss)
"""The trajectory loss with the reverse step that samples are drawn with."""

BIDIRECTIONAL = Objective(functools.partial(trajectory_loss, bidirectional=True))
"""The trajectory loss in both directions of time."""
