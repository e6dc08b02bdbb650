"""Objectives by name: those of physinv, entry points ``physinv.objectives`` of packages, and ``module:function``."""

from __future__ import annotations

__all__ = ["AUTO", "OBJECTIVES", "as_objective", "find_objective"]

from typing import Any

from physinv.config.inputs import check_function
from physinv.config.registry import Registry
from physinv.training.objectives.base import Loss, Objective

AUTO = "auto"
"""The value of the setting ``loss`` that leaves the choice to the reference law."""

_HERE = "physinv.training.objectives"
_FORM = "(score, sde, batch) -> loss"


def _fits(part: Any) -> bool:
    """Whether it is an objective, or a function that can be called with a model, physics and a batch."""
    if isinstance(part, Objective):
        return True
    try:
        check_function(part, "loss", _FORM)
    except ValueError:
        return False
    return True


OBJECTIVES: Registry[Objective | Loss] = Registry(
    "objective",
    "physinv.objectives",
    _fits,
    f"an Objective or a function {_FORM}",
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


def as_objective(part: Objective | Loss | str) -> Objective:
    """Return the objective of a bare loss: windows of 2, no cache, no calibration; objectives are returned as they are.

    Args:
        part: An objective, its name, or a function ``(score, sde, batch) -> loss``.

    Raises:
        ValueError: If there is no objective of that name, or the function takes other arguments.
    """
    if isinstance(part, Objective):
        return part
    if isinstance(part, str):
        return find_objective(part)
    check_function(part, "loss", _FORM, "give one, or a name such as denoising")
    return Objective(part)
