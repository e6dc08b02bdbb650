"""Random sensors that a method is trained for: how many, where, and how exactly they see."""

from __future__ import annotations

__all__ = ["SensorDesign", "read_design"]

import math
import re
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

WORD = "random"
"""How random sensors are called, as in ``random:0.05-0.5``."""

_HELD = torch.finfo(torch.float32)
_NUMBER = r"([0-9.]+(?:[eE][+-]?[0-9]+)?)"
_RANGE = re.compile(rf"{_NUMBER}(?:-{_NUMBER})?")


@dataclass(frozen=True)
class SensorDesign:
    """The law of the sensors of one trajectory.

    The fraction of the points that are seen is uniform between two numbers, and the points are drawn without
    replacement.  The logarithm of the standard deviation of the noise is uniform.

    Args:
        fraction: Smallest and largest fraction of the points of a field, or of the components of a vector.
        noise: Smallest and largest standard deviation of the noise, in the unit of the state.

    Raises:
        ValueError: If a number is out of its range, or the two are in the wrong order.
    """

    fraction: tuple[float, float]
    noise: tuple[float, float]

    def __post_init__(self) -> None:
        for name, (low, high), most in (("observe", self.fraction, 1.0), ("observed_noise", self.noise, math.inf)):
            if not 0 < low <= high <= most or (name != "observe" and not _HELD.tiny <= low <= high <= _HELD.max):
                told = "fractions LOW-HIGH in (0, 1]" if name == "observe" else "deviations LOW-HIGH of 1e-38 to 3e38"
                raise ValueError(f"`{name}` must have {told}, got {low:g}-{high:g}; write random:0.05-0.5, 0.05-0.3.")

    def draw(
        self, batch: int, points: int, *, generator: torch.Generator | None = None, device: torch.device | str | None
    ) -> tuple[Bool[Tensor, "batch points"], Float[Tensor, " batch"]]:
        """Draw sensors, and the level of the noise.

        Args:
            batch: Number of trajectories.
            points: Number of points.
            generator: Source of randomness, on ``device``.
            device: Where they are made.

        Returns:
            Where a point is seen, and the level (:meth:`level`).
        """
        u = torch.rand((batch, 2), generator=generator, device=device)
        low, high = self.fraction
        count = ((low + (high - low) * u[:, 0]) * points).round().clamp(min=1)
        place = torch.rand((batch, points), generator=generator, device=device).argsort(1).argsort(1)
        return place < count[:, None], 2 * u[:, 1] - 1

    def deviation(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the standard deviation of the noise.

        Args:
            level: Its level, from -1 to 1.
        """
        low, high = (math.log(end) for end in self.noise)
        return ((low + high) / 2 + (high - low) / 2 * level).exp()

    def level(self, noise: float) -> float:
        """Return the level of a noise: -1 for the lowest, 1 for the highest, in logarithms.

        Args:
            noise: Its standard deviation.

        Raises:
            ValueError: If it is outside the range.

        Example:
            >>> SensorDesign((0.1, 0.5), (0.01, 1.0)).level(0.1)
            0.0
        """
        low, high = self.noise
        if not low * (1 - 1e-6) <= noise <= high * (1 + 1e-6):
            told = f"between {low:g} and {high:g}, which the run is trained for"
            raise ValueError(f"`observed_noise` must lie {told}, got {noise:g}; take one of these.")
        if low == high:
            return 0.0
        return (2 * math.log(noise) - math.log(low) - math.log(high)) / (math.log(high) - math.log(low))


def read_design(observe: str, noise: str) -> SensorDesign:
    """Return the random sensors that words describe.

    Args:
        observe: Such as ``"random:0.05-0.5"``, or one fraction.
        noise: Such as ``"0.05-0.3"``, or one standard deviation.

    Raises:
        ValueError: If the words are of another form.

    Example:
        >>> read_design("random:0.05-0.5", "0.1")
        SensorDesign(fraction=(0.05, 0.5), noise=(0.1, 0.1))
    """
    return SensorDesign(_ends(observe.partition(":")[2], "observe"), _ends(noise, "observed_noise"))


def _ends(text: str, name: str) -> tuple[float, float]:
    """The two numbers of a range; one number is both."""
    found = _RANGE.fullmatch(text.strip())
    try:
        low, high = (float(part) for part in (found[1], found[2] or found[1])) if found else (math.nan, math.nan)
    except ValueError:
        low = high = math.nan
    if not math.isfinite(low + high):
        raise ValueError(f"`{name}` must be a range such as 0.05-0.5, or one number, got {text!r}.")
    return low, high
