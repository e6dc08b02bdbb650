"""How long training may take: a number of updates, or a time."""

from __future__ import annotations

__all__ = ["Budget", "check_budget"]

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from physinv.config.inputs import check_count, check_instance

_MOST_STEPS = 10**10  # updates that no training lives to see


@dataclass(frozen=True)
class Budget:
    """Say how long training may take.

    Args:
        steps: Number of updates; training is then reproducible to the byte on one device.
        seconds: Time in seconds, in which a faster machine does more updates.

    Raises:
        ValueError: Unless exactly one of them is given, and positive.

    Example:
        >>> Budget(seconds=60.0).share(0.25)
        Budget(steps=None, seconds=15.0)
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("give exactly one of `steps` and `seconds` of a Budget, such as Budget(seconds=60).")
        if self.steps is not None:
            check_count(self.steps, "`steps` of a Budget", least=1)
            if self.steps > _MOST_STEPS:
                raise ValueError(
                    f"`steps` of a Budget must be at most {_MOST_STEPS}, got {self.steps}; that takes years."
                )
        elif not isinstance(self.seconds, Real) or not 0 < self.seconds < math.inf:
            raise ValueError(f"`seconds` of a Budget must be positive and finite, got {self.seconds!r}.")

    def share(self, part: float) -> Budget:
        """Return a part of the budget, at least one update.

        Args:
            part: The share, above 0 and at most 1.
        """
        if self.steps is not None:
            return Budget(steps=max(1, round(part * self.steps)))
        return Budget(seconds=part * (self.seconds or 0.0))

    def used(self, steps: int, seconds: float) -> float:
        """Return the share of the budget that is used up, 1 or more when training has to end.

        Args:
            steps: Updates done so far.
            seconds: Time that they took.
        """
        return steps / self.steps if self.steps is not None else seconds / (self.seconds or 0.0)


def check_budget(budget: Any) -> None:
    """Raise ValueError unless ``budget`` is a :class:`Budget`.

    Args:
        budget: What was given.
    """
    number = isinstance(budget, (int, float)) and not isinstance(budget, bool)
    amount = budget if number else 60
    check_instance(budget, Budget, "budget", f"give Budget(seconds={amount}) or Budget(steps=1000)")
