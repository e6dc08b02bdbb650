"""Objectives by name: those of physinv, entry points ``physinv.objectives`` of packages, and ``module:function``."""

from __future__ import annotations

__all__ = ["AUTO", "OBJECTIVES", "as_objective", "find_objective"]

import inspect
from typing import Any

from physinv.config.registry import Registry
from physinv.training.objectives.base import Loss, Objective

AUTO = "auto"
"""The value of the setting ``loss`` that leaves the choice to the reference law."""

_HERE = "physinv.training.objectives"


def _fits(part: Any) -> bool:
    """Whether it is an objective, or a function that can be called with a model, physics and a batch."""
    if isinstance(part, Objective) or not callable(part) or isinstance(part, type):
        return isinstance(part, Objective)
    try:
        inspect.signature(part).bind(None, None, None)
    except (TypeError, ValueError):  # takes other arguments, or does not say which
        return False
    return True


OBJECTIVES: Registry[Objective | Loss] = Registry(
    "objective",
    "physinv.objectives",
    _fits,
    "an Objective or a function (score, sde, batch) -> loss",
    {
        "trajectory": f"{_HERE}.trajectory:TRAJECTORY",
        "bidirectional": f"{_HERE}.trajectory:BIDIRECTIONAL",
        "smoother": f"{_HERE}.smoother:SMOOTHER",
        "denoising": f"{_HERE}.denoising:DENOISING",
        "implicit": f"{_HERE}.implicit:IMPLICIT",
        "sliced": f"{_HERE}.implicit:SLICED",
        "sliced-vr": f"{_HERE}.implicit:SLICED_VR",
    },
)
"""Every objective that the setting ``loss`` can name."""


def find_objective(name: str) -> Objective:
    """Return the objective called ``name``.

    Args:
        name: A registered name, or ``module:function`` for a loss of the user's own.

    Raises:
        ValueError: If there is none; one line names the nearest one.

    Example:
        >>> find_objective("denoising").window is None
        True
    """
    return as_objective(OBJECTIVES.find(name))


def as_objective(part: Objective | Loss) -> Objective:
    """Return the objective of a bare loss: windows of 2, no cache, no calibration; objectives are returned as they are.

    Args:
        part: An objective, or a function ``(score, sde, batch) -> loss``.
    """
    return part if isinstance(part, Objective) else Objective(part)
