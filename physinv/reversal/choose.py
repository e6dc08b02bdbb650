"""Find reverse steps by name, and choose the step that suits a process and its score."""

from __future__ import annotations

__all__ = ["STEPS", "default_step"]

from physinv.config.registry import Registry
from physinv.equations.sde import SDE, Score
from physinv.equations.solve import Step
from physinv.models.references.base import ReferenceLaw

STEPS: Registry[Step] = Registry(
    "reverse step",
    "physinv.steps",
    lambda part: isinstance(part, Step),
    "a Step",
    {
        "split": "physinv.reversal.split:split",
        "transport": "physinv.reversal.transport:transport",
        "transport2": "physinv.reversal.transport:transport2",
        "ddim": "physinv.reversal.ancestral:ddim",
        "smooth": "physinv.reversal.smoother:smooth",
    },
)
"""Reverse steps by name."""


def default_step(sde: SDE, score: Score) -> Step:
    """Return the reverse step that the reference law of a score model asks for, else ``split``.

    That is ``transport`` for linear SDEs with a Gaussian reference, ``smooth`` around a smoother, and ``split`` for
    everything else, scores without a reference law included.

    Args:
        sde: The forward process.
        score: Its score.
    """
    reference = ReferenceLaw.of(score)
    return STEPS.find("split" if reference is None else reference.default_step(sde))
