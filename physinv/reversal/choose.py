"""Which reverse step a score is trained and sampled with."""

from __future__ import annotations

__all__ = ["default_step"]

from physinv.equations.sde import SDE, Linear, Score
from physinv.equations.solve import Step
from physinv.models.references.base import LinearReference
from physinv.models.references.smoother import SmootherReference
from physinv.models.score import ScoreModel
from physinv.reversal.smoother import smooth
from physinv.reversal.split import split
from physinv.reversal.transport import transport


def default_step(sde: SDE, score: Score) -> Step:
    """:data:`~physinv.reversal.transport.transport` for a linear SDE with Gaussian reference, ``smooth`` around a
    smoother, else ``split``."""
    if isinstance(score, ScoreModel) and isinstance(score.reference, SmootherReference):
        return smooth
    gaussian = isinstance(score, ScoreModel) and isinstance(score.reference, LinearReference)
    return transport if gaussian and isinstance(sde, Linear) else split
