"""A simulator is an SDE with initial states, a time grid, described parameters and a layout on disk.

Subclasses are frozen dataclasses whose fields are made with :func:`parameter`; `physinv simulators` lists them, and
:func:`build` makes one from a mapping of names to values, refusing what does not fit.
"""

from __future__ import annotations

__all__ = ["Simulator", "build", "describe", "parameter", "parameters"]

import dataclasses
import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.suggest import did_you_mean
from physinv.equations.sde import SDE
from physinv.equations.solve import Step, euler, gather, march
from physinv.laws.exact import ExactPosterior
from physinv.processes.layout import StateLayout


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
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""
        return self.layout.shape

    @property
    @abstractmethod
    def layout(self) -> StateLayout:
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
