"""A simulator is an SDE with initial states, a time grid, described parameters and a layout on disk.

Subclasses are frozen dataclasses whose fields are made with :func:`parameter`; `physinv simulators` lists them, and
:func:`build` makes one from a mapping of names to values, refusing what does not fit.
"""

from __future__ import annotations

__all__ = ["Layout", "Simulator", "build", "describe", "parameter", "parameters"]

import dataclasses
import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.suggest import did_you_mean
from physinv.equations.sde import SDE
from physinv.equations.solve import Step, euler, gather, march
from physinv.laws.exact import ExactPosterior


@dataclass(frozen=True)
class Layout:
    """How a state lies on disk and in plots.

    ``kind="field"``: state ``(channels, *space)``, one name per channel, one axis per space dimension.
    ``kind="vector"``: state ``(dim,)``, one name for the whole vector, the pseudo-axis ``("coordinate",)``.
    ``kind="particles"``: state ``(particles, components)``, axes ``("particle", "component")``; each name stands for a
    vector per particle, those in ``static`` for one number per particle.
    ``coordinates`` holds the positions along each axis; ``boundary`` is what lies at its ends.

    ``static`` names what never changes in time: context that rides along, stored once per trajectory and not scored.
    ``box`` is the period of the particles' positions (0: none); ``isotropic`` says that the law of their states is
    invariant under rotations and reflections about the origin.
    """

    kind: Literal["field", "vector", "particles"]
    names: tuple[str, ...]
    axes: tuple[str, ...]
    coordinates: tuple[tuple[float, ...], ...]
    boundary: Literal["PERIODIC", "WALL", "OPEN"] = "OPEN"
    static: tuple[str, ...] = ()
    box: float = 0.0
    isotropic: bool = False

    @staticmethod
    def vector(name: str, dim: int) -> Layout:
        """The layout of states ``(dim,)``."""
        return Layout("vector", (name,), ("coordinate",), (tuple(float(i) for i in range(dim)),))

    @staticmethod
    def particles(
        count: int, dimension: int, names: tuple[str, ...], *, box: float = 0.0, isotropic: bool = False
    ) -> Layout:
        """``names``, each a vector of ``dimension`` components, and the static ``species`` of ``count`` particles."""
        places = tuple(tuple(float(i) for i in range(n)) for n in (count, dimension))
        boundary: Literal["PERIODIC", "OPEN"] = "PERIODIC" if box > 0 else "OPEN"
        axes = ("particle", "component")
        return Layout("particles", (*names, "species"), axes, places, boundary, ("species",), box, isotropic)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""
        sizes = tuple(len(c) for c in self.coordinates)
        if self.kind == "particles":
            return (sizes[0], sum(1 if name in self.static else sizes[1] for name in self.names))
        return sizes if self.kind == "vector" else (len(self.names), *sizes)

    def axes_of(self, name: str) -> tuple[str, ...]:
        """The axes along which the part ``name`` of a state varies."""
        return self.axes[:1] if self.kind == "particles" and name in self.static else self.axes

    def parts(self) -> list[tuple[str, tuple[int | slice, ...]]]:
        """Each name with its place in a state ``x``: the part is ``x[(..., *place)]``."""
        whole: tuple[int | slice, ...] = (slice(None),) * len(self.axes)
        if self.kind != "particles":
            return [(n, whole if self.kind == "vector" else (c, *whole)) for c, n in enumerate(self.names)]
        out: list[tuple[str, tuple[int | slice, ...]]] = []
        at, dimension = 0, len(self.coordinates[1])
        for name in self.names:
            single = name in self.static
            out.append((name, (slice(None), at if single else slice(at, at + dimension))))
            at += 1 if single else dimension
        return out

    def moving(self, x: Float[Tensor, "*batch_and_state"]) -> Float[Tensor, "*batch_and_moving"]:
        """``x`` without its static channels (or components of particles)."""
        if not self.static:
            return x
        axis, kept = self._moving()
        return x.index_select(axis, torch.tensor(kept, device=x.device))

    def set_moving(
        self, moving: Float[Tensor, "*batch_and_moving"], x: Float[Tensor, "*batch_and_state"]
    ) -> Float[Tensor, "*batch_and_state"]:
        """``x`` with ``moving`` in the place of all but its static channels: the inverse of :meth:`moving`."""
        if not self.static:
            return moving
        axis, kept = self._moving()
        return x.index_copy(x.ndim + axis, torch.tensor(kept, device=x.device), moving)

    def _moving(self) -> tuple[int, list[int]]:
        """The axis of the channels (or components), counted from the end, and those that are not static."""
        axis = -1 if self.kind == "particles" else -1 - len(self.axes)
        kept: list[int] = []
        for name, place in self.parts():
            channel = place[-1] if self.kind == "particles" else place[0]
            if name not in self.static:
                kept += range(*channel.indices(self.shape[axis])) if isinstance(channel, slice) else [channel]
        return axis, kept


def parameter(
    default: Any, symbol: str, doc: str, *, unit: str = "1", minimum: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """A dataclass field for a physical parameter: its symbol, unit and bounds stand beside its default.

    ``minimum`` is inclusive for integers; floats with ``minimum=0`` may be 0 as well.
    """
    about = {"symbol": symbol, "doc": doc, "unit": unit, "minimum": minimum, "choices": choices}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Simulator(SDE):
    """``dx = f dt + g dW`` together with what is known about ``x_0``: the prior that trajectories start from.

    A subclass gives ``title``, ``equation``, ``shape``, ``layout``, ``initial``, ``drift`` and ``diffusion``.  States
    are stored at ``steps + 1`` equidistant times from 0 to ``horizon``, ``substeps`` solver steps apart.

    For derivatives with respect to a physical parameter put a scalar tensor in the place of the number,
    ``dataclasses.replace(simulator, noise=torch.tensor(0.1, requires_grad=True))``, and run.
    """

    title: ClassVar[str]
    equation: ClassVar[str]
    step: ClassVar[Step] = euler
    known: ClassVar[bool] = True
    """False where there are data without physics (:class:`~physinv.processes.recorded.Recorded`)."""

    horizon: float = parameter(1.0, "T", "final time", unit="time", minimum=1e-9)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(type(self).__name__, field, getattr(self, field.name))

    @property
    def times(self) -> Float[Tensor, " time"]:
        """The stored times ``t_0 = 0 < ... < t_M = T``, float64."""
        return torch.linspace(0, self.horizon, self.steps + 1, dtype=torch.float64)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Names, axes and coordinates of the state."""

    @property
    def substeps(self) -> int:
        """Solver steps between two stored times."""
        return 1

    @abstractmethod
    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        """Draw ``batch`` states ``x_0`` from the prior; ``generator`` lives on ``device``."""

    def simulate(
        self,
        batch: int,
        times: Float[Tensor, " time"] | None = None,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch time *state"]:
        """Draw initial states and run them through ``times`` (default: the simulator's own)."""
        x = self.initial(batch, generator=generator, device=device, dtype=dtype)
        return self.run(x, times, generator=generator)

    def run(
        self,
        x: Float[Tensor, "batch *state"],
        times: Float[Tensor, " time"] | None = None,
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch time *state"]:
        """The trajectories that start at ``x``; ``noise=False`` gives the deterministic physics alone."""
        times = self.times if times is None else times
        states = march(self, x, refine(times, self.substeps), step=self.step, noise=noise, generator=generator)
        return gather(itertools.islice(states, 0, None, self.substeps), len(times))

    def exact(self) -> ExactPosterior | None:
        """The exact posterior ``p(x_0 | x_T)`` where one is known, else None."""
        return None


def refine(times: Float[Tensor, " time"], substeps: int) -> Float[Tensor, " fine"]:
    """Split every interval of ``times`` into ``substeps`` equal parts."""
    w = torch.arange(substeps, dtype=times.dtype) / substeps
    inner = times[:-1, None] * (1 - w) + times[1:, None] * w
    return torch.cat([inner.flatten(), times[-1:]])


def parameters(simulator: type[Simulator]) -> list[dict[str, Any]]:
    """Name, symbol, unit, default and meaning of each parameter of a simulator class."""
    return [
        {"name": f.name, "default": f.default, **{k: v for k, v in f.metadata.items() if v not in (None, ())}}
        for f in dataclasses.fields(simulator)
    ]


def describe(simulator: Simulator) -> dict[str, Any]:
    """The parameter values of an instance: ``build(type(simulator), describe(simulator))`` makes it again."""
    return {f.name: getattr(simulator, f.name) for f in dataclasses.fields(simulator)}


def build(simulator: type[Simulator], values: Mapping[str, Any]) -> Simulator:
    """Make a simulator from ``values``; ValueError names the nearest parameter for an unknown one."""
    known = {f.name: f for f in dataclasses.fields(simulator)}
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known, owner="it has")
            raise ValueError(f"{simulator.__name__} has no parameter `{name}`; {hint}")
    fitting = {name: _coerce(known[name], value) for name, value in values.items()}
    for name, value in fitting.items():
        _check(simulator.__name__, known[name], value)
    return simulator(**fitting)


def _coerce(field: dataclasses.Field[Any], value: Any) -> Any:
    if isinstance(field.default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return tuple(value) if isinstance(field.default, tuple) and isinstance(value, list) else value


def _check(owner: str, field: dataclasses.Field[Any], value: Any) -> None:
    about, name = field.metadata, f"`{field.name}` of {owner}"
    kind = type(field.default)
    if kind is float and isinstance(value, Tensor) and value.ndim == 0:
        value = float(value.detach())  # a parameter to differentiate with respect to
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    if (low := about.get("minimum")) is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}.")
    if (choices := about.get("choices")) and value not in choices:
        hint = did_you_mean(str(value), choices, owner="it may be")
        raise ValueError(f"{name} must be one of its choices, got {value!r}; {hint}")
