"""Choose the objective that a score model is trained with."""

from __future__ import annotations

__all__ = ["check_objective", "choose_objective"]

import dataclasses

from torch import nn

from physinv.config.settings import Settings
from physinv.equations.sde import SDE
from physinv.models.references.base import default_objective
from physinv.models.score import ScoreModel
from physinv.training.objectives.base import Loss, Objective
from physinv.training.objectives.registry import AUTO, as_objective, find_objective


def choose_objective(
    settings: Settings, sde: SDE, model: nn.Module, loss: Objective | Loss | str | None = None
) -> Objective:
    """Return the objective that ``model`` is trained with.

    In this order: ``loss`` if it is given, the objective that ``settings.loss`` names, or for ``"auto"`` the one that
    the reference law of the model asks for (:meth:`~physinv.models.references.base.ReferenceLaw.objective`).
    An objective without a ``finish`` of its own gets that of the reference law's objective, since the law needs it
    whatever the network was trained with.

    Args:
        settings: Training settings, of which ``loss`` counts.
        sde: The physics.
        model: A score model, or another module, for which ``"auto"`` depends on the physics alone.
        loss: An objective, its name, or a function ``(score, sde, batch) -> loss``.

    Raises:
        ValueError: If there is no objective of the name ``settings.loss`` or ``loss``, or the function takes other
            arguments.
    """
    own = find_objective(model.reference.objective(sde) if isinstance(model, ScoreModel) else default_objective(sde))
    if loss not in (None, AUTO):
        chosen = own if loss is own.loss else as_objective(loss)
    elif settings.loss in (AUTO, own.replaces):
        chosen = own
    else:
        chosen = find_objective(settings.loss)
    return dataclasses.replace(chosen, finish=chosen.finish or own.finish)


def check_objective(settings: Settings) -> None:
    """Check that ``settings.loss`` names an objective, before anything expensive is begun.

    Args:
        settings: Training settings.

    Raises:
        ValueError: If there is no objective of that name; one line names the nearest one.
    """
    if settings.loss != AUTO:
        find_objective(settings.loss)
