"""A simulator is an SDE with initial states, a time grid, described parameters and a layout on disk.

Subclasses are frozen dataclasses whose fields are made with :func:`parameter`; `physinv simulators` lists them, and
:func:`build` makes one from a mapping of names to values, refusing what does not fit.
"""

from __future__ import annotations

__all__ = ["Layout", "Simulator", "build", "describe", "every", "number", "parameter", "parameters", "refine"]

import collections
import dataclasses
import difflib
import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE
from physinv.equations.solve import gather, march
from physinv.equations.steps import Step, euler
from physinv.laws.exact import ExactPosterior
from physinv.processes.documented import with_parameters

_MANY = 10**5
"""Solver steps between two stored times from which on a process counts as set up wrongly."""


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
    default: Any,
    symbol: str,
    doc: str,
    *,
    unit: str = "1",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field for a physical parameter: its symbol, unit and bounds stand beside its default.

    ``minimum`` and ``maximum`` are inclusive.
    """
    bounds = {"minimum": minimum, "maximum": maximum, "choices": choices}
    about = {"symbol": symbol, "doc": doc, "unit": unit, **bounds}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Simulator(SDE):
    """A process ``dx = f dt + g dW`` together with what is known about ``x_0``: the prior that trajectories start from.

    A subclass is a frozen dataclass whose fields are made by :func:`parameter`.  It gives ``title``, ``equation``,
    ``shape``, ``layout``, ``initial``, ``drift`` and ``diffusion``; its parameters are appended to its docstring.

    States are stored at ``steps + 1`` equidistant times from 0 to ``horizon``.  The solver takes shorter steps, as many
    as :attr:`longest_step` asks for, however few times are stored.  A process whose ``longest_step`` is not known
    (None, the default) takes one step between stored times; before a dataset is made of it,
    :func:`~physinv.processes.check_steps.check_steps` halves the step and compares.

    The solver step is ``scheme``, Euler-Maruyama unless a subclass names another one.  A process with a scheme of its
    own overrides :meth:`advance`, and says what it does in ``weak_order`` and ``draws``.

    For derivatives with respect to a physical parameter put a scalar tensor in the place of the number,
    ``dataclasses.replace(simulator, noise=torch.tensor(0.1, requires_grad=True))``, and run.

    Attributes:
        title: The process in a few words.
        equation: Its equation.
        scheme: The standard step that :meth:`advance` takes.
        known: False where there are data without physics (:class:`~physinv.processes.recorded.Recorded`).
    """

    title: ClassVar[str]
    equation: ClassVar[str]
    scheme: ClassVar[Step] = euler
    known: ClassVar[bool] = True

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__doc__ = with_parameters(cls)

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
    def weak_order(self) -> float:
        """Weak order of :meth:`advance`; a class attribute where a subclass overrides that."""
        return self.scheme.weak_order

    @property
    def draws(self) -> int:
        """Gaussian states that :meth:`advance` consumes; a class attribute where a subclass overrides that."""
        return self.scheme.draws

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """Return the states one solver step later, noise included.

        The default takes the standard step ``scheme``.

        Args:
            x: States at ``t0``, ``(batch, *state)``.
            t0: Times at which the step begins, ``(batch,)``.
            t1: Times at which it ends, ``(batch,)``.
            dw: Independent normal numbers of variance ``t1 - t0``, ``(draws, batch, *state)``; ``dw[0]`` is the
                increment of the Brownian motion.  All zeros switch the noise off.

        Returns:
            States at ``t1``, ``(batch, *state)``.
        """
        return self.scheme(self, x, t0, t1, dw)

    @property
    def step(self) -> Step:
        """The process's own step, :meth:`advance`, for :func:`~physinv.equations.solve.march` and ``solve``."""
        if type(self).advance is Simulator.advance:
            return self.scheme
        return Step(_advance, self.weak_order, self.draws)

    @property
    def longest_step(self) -> float | None:
        """The longest solver step at which the law of the states is right to a few per cent, in units of time.

        The default is ``math.inf`` where :meth:`advance` is exact (of infinite weak order), else None: not known.
        """
        return math.inf if self.weak_order == math.inf else None

    @property
    def _stored_step(self) -> float:
        """The longest interval between stored times."""
        return float(self.times.detach().diff().max())

    @property
    def _solver_step(self) -> float:
        """The longest solver step between stored times; infinite where steps of any length are exact."""
        return math.inf if self.longest_step == math.inf else self._stored_step / self.substeps

    @property
    def substeps(self) -> int:
        """Number of solver steps between two stored times: as many as :attr:`longest_step` asks for."""
        count = _parts(self._stored_step, self.longest_step)
        if count > _MANY:
            raise ValueError(
                f"{type(self).__name__} needs {count} solver steps between stored times, none longer than "
                f"{self.longest_step:.3g}; raise `steps`, or look for the parameter that makes it so stiff."
            )
        return count

    def substeps_in(self, duration: float) -> int:
        """Return how many solver steps a duration takes, none longer than those between stored times.

        Args:
            duration: Length of an interval, in units of time, positive or negative.

        Returns:
            1 or more; 1 where steps of any length are exact.
        """
        return _parts(abs(duration), self._solver_step)

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
        """Draw initial states and simulate their trajectories.

        Args:
            batch: Number of trajectories.
            times: Increasing times at which states are returned; default: the stored ones.
            generator: Source of all random numbers, on ``device``.
            device: Where to compute.
            dtype: Precision of the states.

        Returns:
            ``(batch, time, *state)``.

        Raises:
            ValueError: If states become infinite or NaN.
        """
        x = self.initial(batch, generator=generator, device=device, dtype=dtype)
        states = self.run(x, times, generator=generator)
        if not bool(states.isfinite().all()):
            first = int((~states.isfinite()).transpose(0, 1).flatten(1).any(1).nonzero()[0])
            raise ValueError(
                f"the states of {type(self).__name__} became infinite or NaN until t = "
                f"{float((self.times if times is None else times)[first]):.3g}; raise `steps`, or give the class a "
                "shorter `longest_step`."
            )
        return states

    def run(
        self,
        x: Float[Tensor, "batch *state"],
        times: Float[Tensor, " time"] | None = None,
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch time *state"]:
        """Return the trajectories that start at given states.

        Args:
            x: Initial states, ``(batch, *state)``.
            times: Times at which states are returned, the first of which is that of ``x``; default: the stored ones.
                The solver steps between them are as short as the process needs (:meth:`substeps_in`).
            noise: False gives the deterministic physics alone.
            generator: Source of the noise, on the device of ``x``.

        Returns:
            ``(batch, time, *state)``, ``x`` first.
        """
        times, counts = self.intervals(times)
        states = march(self, x, refine(times, counts), step=self.step, noise=noise, generator=generator)
        return gather(every(states, counts), len(times))

    def intervals(self, times: Float[Tensor, " time"] | None = None) -> tuple[Float[Tensor, " time"], list[int]]:
        """Return times in float64 on the CPU (default: the stored ones), and the solver steps between neighbours."""
        times, longest = (self.times if times is None else times).detach().to("cpu", torch.float64), self._solver_step
        return times, [_parts(abs(gap), longest) for gap in times.diff().tolist()]

    def exact(self) -> ExactPosterior | None:
        """The exact posterior ``p(x_0 | x_T)`` where one is known, else None."""
        return None


def refine(times: Float[Tensor, " time"], substeps: int | Sequence[int]) -> Float[Tensor, " fine"]:
    """Split intervals of time into equal parts.

    Args:
        times: Ends of the intervals, in units of time.
        substeps: Number of parts of every interval, or of each.

    Returns:
        All ends of parts, the first and the last of ``times`` included.

    Example:
        >>> refine(torch.tensor([0.0, 1.0, 3.0]), [2, 1])
        tensor([0.0000, 0.5000, 1.0000, 3.0000])
    """
    counts = torch.as_tensor([substeps] * (len(times) - 1) if isinstance(substeps, int) else list(substeps))
    a, b, n = (v.repeat_interleave(counts) for v in (times[:-1], times[1:], counts))
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    w = (torch.arange(len(n)) - first).to(times.dtype) / n
    return torch.cat([a * (1 - w) + b * w, times[-1:]])


def every(states: Iterator[Tensor], counts: Sequence[int]) -> Iterator[Tensor]:
    """Yield the first state, then the last of each group of the next ``counts[i]`` states."""
    yield next(states)
    for n in counts:
        yield collections.deque(itertools.islice(states, n), maxlen=1)[-1]


def number(value: float | Tensor) -> float:
    """Return a physical parameter as a float, where a scalar tensor may stand for it."""
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _parts(duration: float, longest: float | None) -> int:
    """Equal parts of ``duration``, at most ``longest`` up to the rounding of times; 1 where nothing is known."""
    return 1 if longest is None else max(1, math.ceil(duration / longest - 1e-3))


def _advance(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """The own step of whichever process is solved."""
    if not isinstance(sde, Simulator):
        raise ValueError(f"the own step of a process can't solve {type(sde).__name__}; take euler, heun or split.")
    return sde.advance(x, t0, t1, dw)


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
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(known)}."
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
    low, high = about.get("minimum"), about.get("maximum")
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {value}.")
    if low is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}.")
    if high is not None and value > high:
        raise ValueError(f"{name} must be at most {high}, got {value}.")
    if (choices := about.get("choices")) and value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.{hint}")
