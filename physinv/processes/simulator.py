"""Simulators: an SDE with initial states, a time grid, described parameters and a layout of its states.

Subclasses are frozen dataclasses whose fields are made with :func:`parameter`. ``physinv simulators`` lists them, and
:func:`build` makes one from names and values and refuses what does not fit.
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
    """Declare a physical parameter as the field of a dataclass.

    Args:
        default: Value that holds if none is given; its type is that of the parameter.
        symbol: Symbol in the equation, as text.
        doc: Meaning in a few words.
        unit: Physical unit, ``"1"`` for numbers without one.
        minimum: Smallest value allowed, itself included.
        choices: Words allowed, for parameters that are one of several words.

    Returns:
        The field, in the place of a default.
    """
    about = {"symbol": symbol, "doc": doc, "unit": unit, "minimum": minimum, "choices": choices}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Simulator(SDE):
    """A process ``dx = f dt + g dW`` with the prior of its initial states.

    A subclass gives ``title``, ``equation``, ``layout``, ``initial``, ``drift`` and ``diffusion``. States are stored at
    ``steps + 1`` equidistant times from 0 to ``horizon``, ``substeps`` solver steps apart.

    For derivatives with respect to a physical parameter put a scalar tensor in the place of the number,
    ``dataclasses.replace(simulator, noise=torch.tensor(0.1, requires_grad=True))``, and run.

    Args:
        horizon: Final time.
        steps: Number of stored time steps.

    Raises:
        ValueError: If a parameter has the wrong type, is not finite, too small or none of the words allowed.

    Attributes:
        title: Name in a few words.
        equation: The equation as text.
        step: Solver step.
        known: Whether the physics is known; False for :class:`~physinv.processes.recorded.Recorded` data.
    """

    title: ClassVar[str]
    equation: ClassVar[str]
    step: ClassVar[Step] = euler
    known: ClassVar[bool] = True

    horizon: float = parameter(1.0, "T", "final time", unit="time", minimum=1e-9)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(type(self).__name__, field, getattr(self, field.name))

    @property
    def times(self) -> Float[Tensor, " time"]:
        """Stored times ``t_0 = 0 < ... < t_M = T``, float64."""
        return torch.linspace(0, self.horizon, self.steps + 1, dtype=torch.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""
        return self.layout.shape

    @property
    @abstractmethod
    def layout(self) -> StateLayout:
        """Names, axes and coordinates of the states."""

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
        """Draw initial states from the prior.

        Args:
            batch: Number of states.
            generator: Source of the random numbers, on ``device``; None takes torch's global one.
            device: Where the states are made.
            dtype: Precision of the states.
        """

    def simulate(
        self,
        batch: int,
        times: Float[Tensor, " time"] | None = None,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch time *state"]:
        """Draw initial states and run them forward.

        Args:
            batch: Number of trajectories.
            times: Increasing times of the states that are returned; None takes the stored times.
            generator: Source of the random numbers, on ``device``; None takes torch's global one.
            device: Where the trajectories are made.
            dtype: Precision of the states.

        Returns:
            One trajectory for each initial state, the initial state first.
        """
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
        """Run given initial states forward.

        Args:
            x: Initial states.
            times: Increasing times of the states that are returned; None takes the stored times.
            noise: Whether the noise acts; False solves ``dx = f dt``.
            generator: Source of the random numbers, on the device of ``x``; None takes torch's global one.

        Returns:
            One trajectory for each initial state, ``x`` first.
        """
        times = self.times if times is None else times
        states = march(self, x, refine(times, self.substeps), step=self.step, noise=noise, generator=generator)
        return gather(itertools.islice(states, 0, None, self.substeps), len(times))

    def exact(self) -> ExactPosterior | None:
        """Return the exact posterior ``p(x_0 | x_T)`` where one is known, else None."""
        return None


def refine(times: Float[Tensor, " time"], substeps: int) -> Float[Tensor, " fine"]:
    """Split every interval of a time grid into equal parts.

    Args:
        times: The time grid.
        substeps: Number of parts.

    Returns:
        The finer grid, ``times`` among it.
    """
    w = torch.arange(substeps, dtype=times.dtype) / substeps
    inner = times[:-1, None] * (1 - w) + times[1:, None] * w
    return torch.cat([inner.flatten(), times[-1:]])


def parameters(simulator: type[Simulator]) -> list[dict[str, Any]]:
    """List name, symbol, unit, default and meaning of each parameter of a class.

    Args:
        simulator: The class.
    """
    return [
        {"name": f.name, "default": f.default, **{k: v for k, v in f.metadata.items() if v not in (None, ())}}
        for f in dataclasses.fields(simulator)
    ]


def describe(simulator: Simulator) -> dict[str, Any]:
    """Return the parameter values of a process: ``build(type(simulator), describe(simulator))`` makes it again.

    Args:
        simulator: The process.
    """
    return {f.name: getattr(simulator, f.name) for f in dataclasses.fields(simulator)}


def build(simulator: type[Simulator], values: Mapping[str, Any]) -> Simulator:
    """Make a process from names and values of its parameters.

    Args:
        simulator: The class.
        values: Values by name; parameters that are missing keep their defaults. Integers stand for floats, lists for
            tuples.

    Raises:
        ValueError: If a parameter is unknown or its value does not fit; one line says which and names the nearest one.
    """
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
        hint = did_you_mean(str(value), choices, owner="it must be one of")
        raise ValueError(f"{name} can't be {value!r}; {hint}")
