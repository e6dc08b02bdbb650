"""Recorded data together with physics that their user names, in the units of the data."""

from __future__ import annotations

__all__ = ["GIVEN", "GivenPhysics", "give_physics"]

import dataclasses
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import joined
from physinv.config.json_text import read_object
from physinv.processes.parameters import build, parameter
from physinv.processes.recorded import Recorded
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator

_PROPORTIONAL = 1e-3  # of a spacing: how well positions of data and process have to agree


@dataclass(frozen=True)
class GivenPhysics(Recorded):
    """Recorded data whose physics is that of a process with given parameters; initial states are known from data alone.

    Positions of the process may be those of the data times a factor ``c``, as for a box from 0 to 1 and a process on
    ``[0, 2 pi]``.  A state whose unit holds the length to the power ``p`` then counts ``c^p`` times as much in the
    process, and parameters are converted likewise (:func:`give_physics`).

    Args:
        physics: Name of the process, or ``module:Class``.
        values: Its parameters, in its own units, as JSON.
        stretch: Value of a state in the process over that in the data.
    """

    title: ClassVar[str] = "Trajectories from elsewhere, with the physics of a process"
    equation: ClassVar[str] = "dx = f(x, t) dt + g dW,  f and g of a process"
    known: ClassVar[bool] = True

    physics: str = parameter("", "", "the process, by name")
    values: str = parameter("{}", "", "its parameters, in its own units, as JSON")
    stretch: float = parameter(1.0, "c^p", "value of a state in the process over that in the data")

    @functools.cached_property
    def inner(self) -> Simulator:
        """The process."""
        return build(find(self.physics), read_object(self.values, "`values` of given physics"))

    @property
    def weak_order(self) -> float:
        return self.inner.weak_order

    @property
    def draws(self) -> int:
        return self.inner.draws

    @property
    def longest_step(self) -> float | None:
        return self.inner.longest_step

    def substeps_in(self, duration: float) -> int:
        return self.inner.substeps_in(duration)

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.inner.drift(self.stretch * x, t) / self.stretch

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        g = self.inner.diffusion(t)
        return (g if isinstance(g, Tensor) else torch.full_like(t, g)) / self.stretch

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.inner.diffuse(v, t) / self.stretch

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        return self.inner.drift_flow(self.stretch * x, t0, t1) / self.stretch

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        return self.inner.apply_covariance(v, t0, t1) / self.stretch**2

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        return self.inner.whiten(self.stretch * gap, t0, t1)

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        return self.inner.advance(self.stretch * x, t0, t1, dw) / self.stretch

    def trajectories(
        self,
        x: Float[Tensor, "batch *state"],
        times: Float[Tensor, " time"],
        counts: Sequence[int],
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch time *state"]:
        run = self.inner.trajectories(self.stretch * x, times, counts, noise=noise, generator=generator)
        return run / self.stretch

    @property
    def recorded(self) -> Recorded:
        """The data alone, without the physics."""
        own = {f.name for f in dataclasses.fields(Recorded)}
        return Recorded(**{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in own})

    def intervals(self, times: Any = None) -> tuple[Float[Tensor, " time"], list[int]]:
        return self.inner.intervals(self.times if times is None else times)


GIVEN = f"{GivenPhysics.__module__}:{GivenPhysics.__qualname__}"
"""Name under which run files hold recorded data with the physics of a process."""


def give_physics(recorded: Recorded, physics: str, given: Mapping[str, Any] | None = None) -> GivenPhysics:
    """Join recorded data and the physics of a process.

    Final time, number of stored times, grid points and dimension are those of the data, where the process has such
    parameters and they are not given.  Where positions differ by a factor, parameters and states are converted by the
    power of the length in their units; the unit of states is that of the parameter ``noise`` times the square root of
    time.

    Args:
        recorded: The data.
        physics: Name of the process, or ``module:Class``.
        given: Its parameters, in the units of the data.

    Returns:
        The process of the data.

    Raises:
        ValueError: If there is no such process or parameter, or its states or positions do not fit the data; one line
            says what does not.
    """
    kind, layout = find(physics), recorded.layout
    fields = {f.name: f for f in dataclasses.fields(kind)}
    told: dict[str, Any] = {"horizon": recorded.horizon, "steps": recorded.steps}
    sides = set(layout.shape[1:])
    if layout.space and len(sides) == 1 and "size" in fields:
        told["size"] = sides.pop()
    if layout.space and "dimension" in fields:
        told["dimension"] = len(layout.space)
    told = {k: v for k, v in told.items() if k in fields} | dict(given or {})
    inner = build(kind, told)
    if inner.shape != recorded.shape:
        raise ValueError(
            f"a state of `{physics}` must be one of the data, {joined(recorded.shape)}, got {joined(inner.shape)}; "
            "give its parameters of size by `--parameter`, or import the data otherwise."
        )

    # What positions differ by, and parameters in the units of the process.
    factor = _factor(physics, inner, recorded)
    power = {name: _power(str(fields[name].metadata.get("unit", "1"))) for name in fields}
    converted = {k: v * factor ** float(power[k]) if isinstance(v, float) and power[k] else v for k, v in told.items()}
    stretch = factor ** float(power.get("noise", 0))
    named = {f.name: getattr(recorded, f.name) for f in dataclasses.fields(recorded)}
    made = GivenPhysics(**named, physics=physics, values=json.dumps(converted), stretch=stretch)
    made.inner  # noqa: B018  a value that does not fit is told here
    return made


def _factor(physics: str, inner: Simulator, recorded: Recorded) -> float:
    """Positions of the process over those of the data, counted from the first."""
    layout = recorded.layout
    if not layout.space:
        return 1.0
    ours, theirs = (
        [np.asarray(along, dtype=float) - along[0] for along in x]
        for x in (layout.coordinates, inner.layout.coordinates)
    )
    spans = [(a[-1], b[-1]) for a, b in zip(ours, theirs, strict=True) if len(a) > 1 and a[-1]]
    factor = float(spans[0][1] / spans[0][0]) if spans else 1.0
    for axis, a, b in zip(layout.axes, ours, theirs, strict=True):
        if np.abs(factor * a - b).max() > _PROPORTIONAL * max(abs(b[-1]) / max(len(b) - 1, 1), 1e-300):
            raise ValueError(
                f"positions along `{axis}` must be those of `{physics}` times one factor, got {a[-1]:.6g} of "
                f"{b[-1]:.6g} from first to last, where {factor:.6g} was expected; import the data on its grid."
            )
    return 1.0 if abs(factor - 1) < _PROPORTIONAL / max(len(ours[0]), 1) else factor


def _power(unit: str) -> Fraction:
    """The power of the length in a unit such as ``"length^2/time"``."""
    above, _, below = unit.partition("/")
    total = Fraction(0)
    for part, sign in ((above, 1), (below, -1)):
        for power in re.findall(r"length(?:\^(\d+))?", part):
            total += sign * Fraction(power or 1)
    return total
