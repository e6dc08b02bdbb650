"""Simulators: an SDE with initial states, a time grid, described parameters and a layout of its states.

Subclasses are frozen dataclasses whose fields are made with :func:`~physinv.processes.parameters.parameter`.
``physinv simulators`` lists them, and :func:`~physinv.processes.parameters.build` makes one from names and values.
"""

from __future__ import annotations

__all__ = ["Simulator", "every", "refine"]

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.devices import as_device
from physinv.config.inputs import States, Times, as_states, as_times, check_count, check_generator, check_instance
from physinv.equations.sde import SDE
from physinv.equations.solve import check_times, gather, march
from physinv.equations.steps import Step, euler, in_parts
from physinv.laws.exact import ExactPosterior
from physinv.processes.check_process import check_fields, check_process, draw_initial
from physinv.processes.documented import with_parameters
from physinv.processes.layout import StateLayout
from physinv.processes.parameters import check_value, coerced, parameter
from physinv.processes.substeps import every, parts, refine, together

_MANY = 10**5
"""Solver steps between two stored times from which on a process counts as set up wrongly."""

_MOST = 10**7
"""Solver steps to times that are asked for, at most."""


@dataclass(frozen=True)
class Simulator(SDE):
    """A process ``dx = f dt + g dW`` together with what is known about ``x_0``: the prior that trajectories start from.

    A subclass is a frozen dataclass whose fields are made by :func:`~physinv.processes.parameters.parameter`.  It gives
    ``title``, ``equation``, ``layout``, ``initial``, ``drift`` and ``diffusion``; its parameters are appended to its
    docstring.

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
        startable: False where initial states are known from data alone, and none can be drawn.
    """

    title: ClassVar[str]
    equation: ClassVar[str]
    scheme: ClassVar[Step] = euler
    known: ClassVar[bool] = True
    startable: ClassVar[bool] = True

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__doc__ = with_parameters(cls)

    horizon: float = parameter(1.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)

    def __new__(cls, *args: Any, **values: Any) -> Any:
        check_fields(cls, Simulator, values)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            value = coerced(field, given)
            if value is not given:  # 1 for 1.0, and numbers of NumPy: files and messages hold plain ones
                object.__setattr__(self, field.name, value)
            check_value(type(self).__name__, field, value)

    @property
    def process(self) -> type[Simulator]:
        """The class whose name files hold, and which is built again from the parameters."""
        return type(self)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the parameters that every trajectory has its own values of, static parts of the state."""
        return ()

    @property
    def times(self) -> Float[Tensor, " time"]:
        """Stored times ``t_0 = 0 < ... < t_M = T``, float64."""
        return torch.linspace(0, self.horizon, self.steps + 1, dtype=torch.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""
        return self._shape

    @cached_property
    def _shape(self) -> tuple[int, ...]:  # solvers ask in every step
        layout = self.layout
        if callable(layout):
            raise ValueError(f"`layout` of {type(self).__name__} must be a property; put @property above `def layout`.")
        check_instance(layout, StateLayout, f"`layout` of {type(self).__name__}", "return a VectorLayout, for example")
        return layout.shape

    @property
    @abstractmethod
    def layout(self) -> StateLayout:
        """Names, axes and coordinates of the states."""

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
        """Return the states one solver step later, noise included; the default takes the standard step ``scheme``.

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
    def spin_up_time(self) -> float:
        """The time that the process has run before its initial states, in units of time; 0: they are drawn at once.

        Training draws new initial states where they cost nothing, and new noise alone where they are dear.
        """
        return 0.0

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
        """Number of solver steps between two stored times: as many as :attr:`longest_step` asks for.

        Raises:
            ValueError: If a stored interval would take more solver steps than is sensible; one line says what to
                change.
        """
        count = parts(self._stored_step, self.longest_step)
        if count > _MANY:
            raise ValueError(
                f"{self.process.__name__} needs {count} solver steps between stored times, none longer than "
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
        return parts(abs(duration), self._solver_step)

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

        Returns:
            Initial states ``(batch, *state)``.
        """

    def simulate(
        self,
        batch: int,
        times: Times | None = None,
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
            ValueError: If ``batch`` is no positive whole number, ``initial`` returns states of another shape than
                ``layout`` says, or states become infinite or NaN.
        """
        batch = check_count(batch, "batch")
        check_generator(generator)
        check_instance(dtype, torch.dtype, "dtype", "give torch.float32 or torch.float64")
        device = None if device is None else as_device(device)
        x = draw_initial(self, batch, generator=generator, device=device, dtype=dtype)
        check_process(self, x)
        states = self.run(x, times, generator=generator)
        if not bool(states.isfinite().all()):
            first = int((~states.isfinite()).transpose(0, 1).flatten(1).any(1).nonzero()[0])
            raise ValueError(
                f"the states of {self.process.__name__} became infinite or NaN until t = "
                f"{float((self.times if times is None else times)[first]):.3g}; raise `steps`, change a parameter, "
                "or give the class a shorter `longest_step`."
            )
        return states

    def run(
        self,
        x: States,
        times: Times | None = None,
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch time *state"]:
        """Return the trajectories that start at given states.

        Args:
            x: Initial states, ``(batch, *state)``: a tensor, or an array or lists, of which one is made.
            times: Times at which states are returned, the first of which is that of ``x``; default: the stored ones.
                The solver steps between them are as short as the process needs (:meth:`substeps_in`).
            noise: False gives the deterministic physics alone.
            generator: Source of the noise, on the device of ``x``.

        Returns:
            ``(batch, time, *state)``, ``x`` first.

        Raises:
            ValueError: If ``x`` are no states of this process, or ``times`` do not increase.
        """
        x = as_states(x, "x", self.shape)
        check_generator(generator)
        times, counts = self.intervals(times)
        check_times(self, times.tolist(), noise)
        return self.trajectories(x, times, counts, noise=noise, generator=generator)

    def trajectories(
        self,
        x: Float[Tensor, "batch *state"],
        times: Float[Tensor, " time"],
        counts: Sequence[int],
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch time *state"]:
        """Solve from given states with given numbers of solver steps: :meth:`run` after its checks.

        A process that has a faster way than one step after another overrides this.

        Args:
            x: States at ``times[0]``, ``(batch, *state)``.
            times: Times at which states are returned, float64 on the CPU.
            counts: Number of solver steps in each interval between them.
            noise: False gives the deterministic physics alone.
            generator: Source of the noise, on the device of ``x``.

        Returns:
            ``(batch, time, *state)``, ``x`` first.
        """
        step = self.step if self.step.in_modes else in_parts(self.step, together(self, x))
        states = march(self, x, refine(times, counts), step=step, noise=noise, generator=generator)
        return gather(every(states, counts), len(times))

    def intervals(self, times: Times | None = None) -> tuple[Float[Tensor, " time"], list[int]]:
        """Return times in float64 on the CPU (default: the stored ones), and the solver steps between neighbours.

        Args:
            times: Increasing times; None: the stored ones.

        Raises:
            ValueError: If ``times`` are given that take more solver steps than will ever be done.
        """
        given, longest = as_times(self.times if times is None else times).detach().cpu(), self._solver_step
        counts = [parts(abs(gap), longest) for gap in given.diff().tolist()]
        if times is not None and (total := sum(counts)) > _MOST:
            raise ValueError(
                f"`times` up to {float(given.abs().max()):.3g} take {total:.3g} solver steps of "
                f"{self.process.__name__}, {_MOST} are the most; take nearer ones."
            )
        return given, counts

    def check_parts(self, x: Float[Tensor, "batch *state"]) -> None:
        """Raise ValueError if a part that a kind of processes asks of its classes does not fit; others have none.

        Args:
            x: Some states.
        """

    @property
    def fixed_step(self) -> float | None:
        """Length of the solver step of a process that takes no other, in units of time; None: any step will do."""
        return None

    def initial_log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"] | None:
        """Return the log density of initial states up to a constant, differentiable; None where it is not known.

        Monte Carlo needs it where the initial states are not Gaussian.  Unless a process says otherwise it is that of
        :meth:`log_prior`.

        Args:
            x: Initial states.
        """
        return self.log_prior(x)

    def log_prior(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"] | None:
        """Return the log density of initial states in nats, normalised; None where there is no formula for it.

        Evidence needs it (:func:`~physinv.posterior.weigh.weigh`).  Where initial states vary in some modes only, it is
        the density in those.

        Args:
            x: Initial states.
        """
        return None

    def exact(self) -> ExactPosterior | None:
        """Return the exact posterior ``p(x_0 | x_T)`` where one is known, else None."""
        return None


def _advance(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """The own step of whichever process is solved."""
    if not isinstance(sde, Simulator):
        raise ValueError(f"the own step of a process can't solve {type(sde).__name__}; take euler, heun or split.")
    return sde.advance(x, t0, t1, dw)
