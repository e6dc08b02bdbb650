"""What the intervals and ranks of unknown parameters are worth, in sentences."""

from __future__ import annotations

__all__ = ["judge_parameters"]

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.series import mean_error
from physinv.evaluation.metrics import coverage

_LEVEL, _OFF, _SURE = 0.9, 0.02, 2.0  # coverage, errors of it that do no harm, and standard errors
_CHANCE = 0.01  # that ranks of exact draws are called uneven


def judge_parameters(
    samples: Float[Tensor, "n k parameters"], truth: Float[Tensor, "n parameters"], ranks: Mapping[str, float]
) -> tuple[list[str], list[str]]:
    """Say of each parameter how often its 90 % intervals hold the true value, and whether its ranks are even.

    Args:
        samples: Draws of the parameters for each observation.
        truth: True parameters.
        ranks: For each parameter by name, the p value of its ranks (SBC); 1 where there is none.

    Returns:
        Sentences, and warnings.
    """
    said, warned = [], []
    for i, (name, p) in enumerate(ranks.items()):
        drawn, true = samples[..., i].double(), truth[:, i].double()
        each = torch.stack([coverage(x[None], y[None], _LEVEL) for x, y in zip(drawn, true, strict=True)]).double()
        n, share = len(each), float(each.mean())
        error = max(float(mean_error(each)), (_LEVEL * (1 - _LEVEL) / n) ** 0.5)  # all of few have no scatter to show
        held = (
            f"90 % intervals of `{name}` hold the true value in {100 * share:.1f} +- {100 * error:.1g} % of the cases"
        )
        if abs(share - _LEVEL) > _OFF + _SURE * error:
            word = "wide" if share > _LEVEL else "narrow"
            warned.append(f"{held}: they are too {word} and cannot be trusted.")
        elif p < _CHANCE:
            warned.append(
                f"{held}, but its true values have uneven ranks among its draws (p = {p:.1g}): do not trust it."
            )
        else:
            said.append(f"{held}.")
    return said, warned
