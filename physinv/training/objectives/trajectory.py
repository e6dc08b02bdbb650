"""The trajectory loss: roll a trajectory backward with the solver's own step and compare with what happened."""

from __future__ import annotations

__all__ = ["Loss", "trajectory_loss"]

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Reverse, Score
from physinv.equations.solve import Step, euler


@runtime_checkable
class Loss(Protocol):
    """What training minimises: ``(score, sde, states (batch, window, *state), times (batch, window)) -> ()``.

    ``generator`` is the source of whatever noise the objective draws; objectives that draw none ignore it.
    """

    def __call__(
        self, score: Score, sde: SDE, states: Tensor, times: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor: ...


def trajectory_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch window *state"],
    times: Float[Tensor, "batch window"],
    *,
    step: Step = euler,
    bidirectional: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the noise-free reversal along windows of trajectories (Holzschuh et al. 2023, eq. 7-9).

    From the last state of the window the reverse SDE is stepped back without noise,
    ``x_m = x_{m+1} - dt (f - g^2 s)``, gradients flowing through all steps; the gap to each stored state counts in
    units of the noise accumulated in between, ``sqrt(sum g^2 dt)``.  A window of 2 is the 1-step loss.

    The factor.  One step of the chain has ``E[x_m | x_{m+1}] = x_{m+1} - dt f + dt g^2 s + O(dt^2)``, hence the loss is
    minimised by ``s`` itself when the correction is ``g^2 s``; with ``step`` exact for the process, without any O(dt).
    ``bidirectional`` also asks the same field to predict forward; then the minimiser of the correction is
    ``g^2 s / 2``, so both directions run the probability flow, and the network still returns ``s``.

    ``states (batch, window, *state)``, ``times (batch, window)`` increasing, window >= 2.  Returns a scalar.
    """
    if states.shape[1] < 2:
        raise ValueError(f"`states` must hold windows of 2 or more states, got {states.shape[1]}.")
    window = states.shape[1]
    reverse = Reverse(sde, score, eta=0.0 if bidirectional else 1.0)
    still = states.new_zeros(()).expand(step.draws, *states[:, 0].shape)

    x, total = states[:, -1], states.new_zeros(())
    for m in range(window - 2, -1, -1):
        x = step(reverse, x, times[:, m + 1], times[:, m], still)
        gap = sde.whiten(x - states[:, m], times[:, m], times[:, -1])
        total = total + gap.square().mean()
    if bidirectional:
        x = states[:, 0]
        for m in range(1, window):
            x = step(reverse, x, times[:, m - 1], times[:, m], still)
            gap = sde.whiten(x - states[:, m], times[:, 0], times[:, m])
            total = total + gap.square().mean()
    loss: Tensor = total / (window - 1)
    return loss
