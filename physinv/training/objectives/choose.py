"""Which objective a score is trained with, and on windows of which length."""

from __future__ import annotations

__all__ = ["curriculum", "objective"]

import functools

from torch import nn

from physinv.config.settings import Settings
from physinv.equations.sde import SDE, Linear
from physinv.models.score import ScoreModel
from physinv.reversal.choose import default_step
from physinv.reversal.smoother import smooth, smoother_loss
from physinv.training.objectives.score_matching import denoising_loss, implicit_loss, sliced_loss, sliced_vr_loss
from physinv.training.objectives.trajectory import Loss, trajectory_loss


def objective(settings: Settings, sde: SDE, model: nn.Module) -> Loss:
    """``settings.loss`` as a function.

    ``auto`` is the denoising loss where the transition kernel is known (a :class:`~physinv.equations.sde.Linear`
    SDE), and else the trajectory loss with the step that the reversal will take.
    """
    step = default_step(sde, model) if isinstance(model, ScoreModel) else None
    if step is smooth and _named(settings, sde) == "trajectory":
        return smoother_loss
    match _named(settings, sde):
        case "denoising":
            return denoising_loss
        case "implicit":
            return implicit_loss
        case "sliced":
            return sliced_loss
        case "sliced-vr":
            return sliced_vr_loss
        case "bidirectional":
            return functools.partial(trajectory_loss, bidirectional=True)
        case _:
            return trajectory_loss if step is None else functools.partial(trajectory_loss, step=step)


def curriculum(settings: Settings, sde: SDE, stored: int) -> tuple[int, ...]:
    """``settings.windows``, or what suits the objective: all ``stored`` times for denoising (which needs only the
    start, and the time since), else 2 (the 1-step loss)."""
    return settings.windows or ((stored,) if _named(settings, sde) == "denoising" else (2,))


def _named(settings: Settings, sde: SDE) -> str:
    if settings.loss != "auto":
        return settings.loss
    return "denoising" if isinstance(sde, Linear) else "trajectory"
