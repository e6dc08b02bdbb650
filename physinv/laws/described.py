"""Records of observations in words and numbers, as files and the command line describe them."""

from __future__ import annotations

__all__ = ["EntryText", "record_of"]

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, model_validator

from physinv.config.strict import Strict
from physinv.laws.observation import Observation
from physinv.laws.operators import named, sensors
from physinv.laws.record import Level, ObservationRecord

_Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EntryText(Strict):
    """One entry of a record.

    Args:
        at: Times; several stand for the average over them.
        observe: The operator (:func:`~physinv.laws.operators.named`), or
        places: the components that are seen, counted along the flattened state.
        noise: Standard deviation of the noise, in the unit of the state.
    """

    at: Annotated[list[_Time], Field(min_length=1)]
    observe: str | None = None
    places: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    noise: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _one_of_two(self) -> EntryText:
        """Refuse entries that say what is seen twice, or not at all."""
        if (self.observe is None) == (self.places is None):
            raise ValueError("`observe` or `places` must say what is seen, one of the two.")
        return self


def record_of(
    entries: Sequence[EntryText], shape: tuple[int, ...], *, seed: int = 0, level: Level | None = None
) -> ObservationRecord:
    """Return the record that is described.

    Args:
        entries: Its entries.
        shape: Shape of one state.
        seed: Seed of the places of sensors that are given as a fraction.
        level: The law of an unknown factor of the noise; None: the noise is known.

    Returns:
        The record.

    Raises:
        ValueError: If an operator is unknown or does not fit the state, or there is no entry.

    Example:
        >>> first = EntryText(at=[0.5], places=[0], noise=0.1)
        >>> record_of([first], (2,)).clean(torch.tensor([[[3.0, 4.0]]]))
        tensor([[3.]])
    """
    return ObservationRecord(*((entry.at, _observation(entry, shape, seed)) for entry in entries), level=level)


def _observation(entry: EntryText, shape: tuple[int, ...], seed: int) -> Observation:
    if entry.observe is not None:
        return named(entry.observe, entry.noise, shape, seed=seed)
    mask = torch.zeros(shape, dtype=torch.bool).flatten()
    places = torch.tensor(entry.places)
    if int(places.max()) >= len(mask):
        raise ValueError(f"`places` must be below {len(mask)}, the numbers of a state, got {int(places.max())}.")
    mask[places] = True
    return Observation(sensors(mask.reshape(shape)), entry.noise)
