"""Say which samples cannot be right whatever the truth: far beyond all data, cut off at a bound, or not finite."""

from __future__ import annotations

__all__ = ["Plausibility", "divergence"]

from jaxtyping import Float
from torch import Tensor

from physinv.processes.layout import StateLayout

_BEYOND = 100.0  # times the range of initial states: no posterior reaches so far
_CUT = 0.2  # share of numbers with the very same extreme value from which they are mostly a bound
_FEWEST = 20  # numbers of which that is said


class Plausibility:
    """Look at samples of initial states, a part at a time, and compare them with those of the training data.

    Args:
        layout: Layout of the states.
        known: Initial states of the training data; None: there is nothing to compare with, and nothing is said.
    """

    def __init__(self, layout: StateLayout, known: Float[Tensor, "m *state"] | None) -> None:
        self._layout = layout
        self._known = {} if known is None else {name: _Part(x) for name, x in self._parts(known.cpu())}
        self._found: dict[str, _Part] = {}

    def add(self, samples: Float[Tensor, "batch k *state"]) -> None:
        """Count samples in.

        Args:
            samples: Samples of some observations.
        """
        for name, x in self._parts(samples.flatten(0, 1).cpu()) if self._known else ():
            part = _Part(x)
            self._found[name] = part if name not in self._found else self._found[name].with_more(part)

    @property
    def warnings(self) -> list[str]:
        """One sentence for each part of the state whose samples cannot be right."""
        return [said for name, part in self._found.items() if (said := _sentence(name, part, self._known[name]))]

    def _parts(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Numbers of each part that moves, without the points that hold no data."""
        layout = self._layout
        found = [(name, x[(..., *place)]) for name, place in layout.parts() if name not in layout.static]
        return found if layout.valid is None else [(name, v[..., layout.valid]) for name, v in found]


def divergence(
    samples: Float[Tensor, "batch k *state"], final: Float[Tensor, "batch *seen"], *, steps: int | None = None
) -> str:
    """Say how much of a reconstruction is not finite, and why.

    Args:
        samples: Samples, some of them not finite.
        final: The final states that they come from.
        steps: Number of solver steps, where these are so few that more may be what is missing; None: they are not.

    Returns:
        One sentence with the remedy.
    """
    lost = ~samples.flatten(2).isfinite().all(2)
    told = (
        f"the reconstruction is not finite in {int(lost.sum())} of {lost.numel()} states, from final states with "
        f"values up to {float(final.abs().max()):.3g}"
    )
    if steps is not None:
        return f"{told}, with {steps} solver steps; take more `steps`, or leave them out."
    return (
        f"{told}: run backward, errors grow without bound (the problem is ill-posed there, or these observations are "
        "unlike the training data); compare another method, such as `linear`, or reconstruct from an earlier time."
    )


class _Part:
    """Range of the numbers of a part, how many there are, and how many of them are an end of the range."""

    def __init__(self, x: Tensor) -> None:
        ends = (float(x.min()), float(x.max()))
        self.low, self.high, self.count = *ends, x.numel()
        self.at_low, self.at_high = (int((x == end).sum()) for end in ends)

    @property
    def cut(self) -> float:
        """Share of the numbers at both ends; 0 where all are equal, which is no bound."""
        return (self.at_low + self.at_high) / self.count if self.high > self.low else 0.0

    def with_more(self, other: _Part) -> _Part:
        """The same of both together."""
        both = object.__new__(_Part)
        both.low, both.high = min(self.low, other.low), max(self.high, other.high)
        both.count = self.count + other.count
        both.at_low = sum(part.at_low for part in (self, other) if part.low == both.low)
        both.at_high = sum(part.at_high for part in (self, other) if part.high == both.high)
        return both


def _sentence(name: str, part: _Part, known: _Part) -> str:
    """What is wrong with the samples of a part; empty where nothing is."""
    size = known.high - known.low
    ends = f"those of the training data lie between {known.low:.3g} and {known.high:.3g}"
    largest = part.low if known.low - part.low > part.high - known.high else part.high
    if size > 0 and max(known.low - part.low, part.high - known.high) > _BEYOND * size:
        return (
            f"samples of `{name}` reach {largest:.3g}, and {ends}: run backward, the physics amplifies errors without "
            "bound (the problem is ill-posed), and more solver steps change nothing; do not use these samples, compare "
            "the method `linear`, or reconstruct from an earlier time."
        )
    if part.count >= _FEWEST and part.cut > _CUT and known.cut < part.cut / 2:
        return (
            f"{part.cut:.0%} of the numbers in samples of `{name}` are exactly {part.low:.4g} or {part.high:.4g}, the "
            f"bounds at which a reversal is cut off, and {ends}: the observations lead out of what was learned; do not "
            "use these samples."
        )
    return ""
