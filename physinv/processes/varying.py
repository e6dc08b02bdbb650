"""A process whose parameters are unknown: every trajectory has values of its own, drawn from priors."""

from __future__ import annotations

__all__ = ["Varying", "vary", "with_observed_noise"]

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import check_instance
from physinv.equations.multiplicative import Multiplicative
from physinv.equations.steps import Step
from physinv.laws.exact import ExactPosterior, Smoothable
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.laws.unknown import Marginal, UnknownNoise, UnknownParameter, unknown_noise
from physinv.processes.layout import StateLayout
from physinv.processes.parameters import check_value, describe
from physinv.processes.priors import OBSERVED_NOISE, ParameterPrior
from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class Varying(Simulator):
    """A process ``inner`` of which some parameters are drawn from priors, once for each trajectory.

    States are those of ``inner`` with one more static part for each such parameter, of the parameter's name: one more
    number of a vector, one more channel of a field, the same at every point.  Networks see it, nothing moves it, and
    no metric of the states looks at it.  Simulation goes on for all trajectories at once, each with its own values;
    the solver step is the shortest that any value within the priors asks for, so that a trajectory does not depend on
    the others.

    Args:
        inner: The process; its own values of the parameters that vary stand for the middle of their priors.
        priors: Priors by name, in the order of the static parts.
    """

    title: ClassVar[str] = "A process with parameters that every trajectory draws for itself"
    equation: ClassVar[str] = "dx = f(x, t; theta) dt + g dW,  theta ~ prior"

    inner: Simulator = dataclasses.field(kw_only=True)
    priors: tuple[tuple[str, ParameterPrior], ...] = dataclasses.field(kw_only=True)

    def __post_init__(self) -> None:
        if (self.horizon, self.steps) != (self.inner.horizon, self.inner.steps):  # of dataclasses.replace
            changed = dataclasses.replace(self.inner, horizon=self.horizon, steps=self.steps)
            object.__setattr__(self, "inner", changed)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # what can be computed is not copied

    @property
    def process(self) -> type[Simulator]:
        return self.inner.process

    def described(self) -> dict[str, Any]:
        """Return values and priors by name, of which :func:`~physinv.processes.parameters.build` makes it again."""
        return describe(self.inner) | {name: prior.described() for name, prior in self.priors}

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.priors)

    @property
    def times(self) -> Float[Tensor, " time"]:
        return self.inner.times

    @cached_property
    def _layout(self) -> StateLayout:
        return self.inner.layout.with_static(self.unknown)

    @property
    def layout(self) -> StateLayout:
        return self._layout

    @property
    def weak_order(self) -> float:
        return self.inner.weak_order

    @property
    def draws(self) -> int:
        return self.inner.draws

    @property
    def step(self) -> Step:
        return Step(lambda sde, x, t0, t1, dw: self.advance(x, t0, t1, dw), self.weak_order, self.draws)

    @cached_property
    def _corners(self) -> list[Simulator]:
        """The process at the ends and the middle of every prior of its own parameters."""
        own = [(name, prior) for name, prior in self.priors if name != OBSERVED_NOISE]
        ends = [(*prior.support, float(prior.quantile(torch.tensor(0.5)))) for _, prior in own]
        given: list[dict[str, Any]] = [dict(zip(dict(own), v, strict=True)) for v in itertools.product(*ends)]
        return [dataclasses.replace(self.inner, **values) for values in given]

    @cached_property
    def _least_symmetric(self) -> Simulator:
        """The corner whose law has the fewest mirror images: a tilt of 0 has some that no other tilt has."""
        return min(self._corners, key=lambda corner: len(corner.images(torch.zeros(1, *corner.shape))))

    @cached_property
    def _longest(self) -> float | None:
        found = [corner.longest_step for corner in self._corners]
        known = [step for step in found if step is not None]
        return min(known) if len(known) == len(found) else None

    @property
    def longest_step(self) -> float | None:
        return self._longest

    @cached_property
    def substeps(self) -> int:
        return max(corner.substeps for corner in self._corners)

    @property
    def spin_up_time(self) -> float:
        return self.inner.spin_up_time

    # -- states of both processes

    @property
    def _moving(self) -> int:
        """Components or channels of a state of ``inner``."""
        return self.inner.shape[0]

    def state(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *inner"]:
        """Return states without the parameters: those of ``inner``.

        Args:
            x: States.
        """
        return x[:, : self._moving]

    def values(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch parameters"]:
        """Return the values of the parameters of each state.

        Args:
            x: States.
        """
        return x[:, self._moving :].flatten(2)[..., 0] if x.ndim > 2 else x[:, self._moving :]

    def joined(
        self, state: Float[Tensor, "batch *inner"], values: Float[Tensor, "batch parameters"]
    ) -> Float[Tensor, "batch *state"]:
        """Return states of this process: those of ``inner`` with values of the parameters.

        Args:
            state: States of ``inner``.
            values: One value of each parameter for each state.
        """
        still = values.to(state).reshape(*values.shape, *[1] * (state.ndim - 2))
        return torch.cat([state, still.expand(*values.shape, *state.shape[2:])], dim=1)

    def hidden(self, x: Float[Tensor, "batch *known"]) -> Float[Tensor, "batch *state"]:
        """Return states that do not tell their parameters: each is in the middle of its prior.

        Args:
            x: States, with or without parameters.
        """
        return self.joined(self.state(x), self.from_normal(x.new_zeros(len(x), len(self.priors))))

    def normal(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch parameters"]:
        """Return the standard normal numbers that stand for the parameters of states.

        Args:
            x: States.
        """
        values = self.values(x)
        return torch.stack([prior.normal(values[:, i]) for i, (_, prior) in enumerate(self.priors)], dim=1)

    def from_normal(self, z: Float[Tensor, "batch parameters"]) -> Float[Tensor, "batch parameters"]:
        """Return the values of the parameters that standard normal numbers stand for.

        Args:
            z: Standard normal numbers.
        """
        return torch.stack([prior.value(z[:, i]) for i, (_, prior) in enumerate(self.priors)], dim=1)

    def at(self, values: Float[Tensor, "batch parameters"]) -> Simulator:
        """Return the process with values of its own for each state of a batch.

        Args:
            values: One value of each parameter for each state.

        Returns:
            ``inner`` with tensors ``(batch, 1, ...)`` in the place of numbers, which broadcast against its states.
        """
        given = {f.name: getattr(self.inner, f.name) for f in dataclasses.fields(self.inner)}
        shape = (len(values), *[1] * len(self.inner.shape))
        given |= {name: values[:, i].reshape(shape) for i, name in enumerate(self.unknown)}
        made = object.__new__(self._class)  # checked when it was drawn: no look at the numbers, which may be elsewhere
        made.__dict__.update(given)
        return made

    @cached_property
    def _class(self) -> type[Simulator]:
        """The class of ``inner`` with the solver step of all values, however the batch is made up."""
        kind, longest, parts = type(self.inner), self.longest_step, self.substeps
        own = {"longest_step": property(lambda _: longest), "substeps": property(lambda _: parts), "__doc__": None}
        return type(kind.__name__, (kind,), own)

    def _of(self, x: Tensor) -> tuple[Simulator, Tensor]:
        """The process with the values of each state, and the states without them."""
        return self.at(self.values(x)), self.state(x)

    def _kept(self, moved: Tensor, x: Tensor) -> Tensor:
        return torch.cat([moved, x[:, self._moving :]], dim=1)

    def _still(self, moved: Tensor, x: Tensor) -> Tensor:
        return torch.cat([moved, torch.zeros_like(x[:, self._moving :])], dim=1)

    # -- the physics

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        process, state = self._of(x)
        return self._still(process.drift(state, t), x)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        g = self.inner.diffusion(t)
        g = g if isinstance(g, Tensor) else torch.full_like(t, g)
        g = g[:, None] if g.ndim == 1 else g
        g = g.expand(len(g), self._moving, *g.shape[2:])
        return torch.cat([g, g.new_zeros(len(g), len(self.priors), *g.shape[2:])], dim=1)

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self._still(self.inner.diffuse(self.state(v), t), v)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        process, state = self._of(x)
        return self._kept(process.drift_flow(state, t0, t1), x)

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        return self._still(self.inner.whiten(self.state(gap), t0, t1), gap)

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        process, state = self._of(x)
        return self._kept(process.advance(state, t0, t1, dw[:, :, : self._moving]), x)

    def trajectories(
        self,
        x: Float[Tensor, "batch *state"],
        times: Float[Tensor, " time"],
        counts: Sequence[int],
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch time *state"]:
        if type(self.inner).trajectories is Simulator.trajectories:
            return super().trajectories(x, times, counts, noise=noise, generator=generator)
        process, state = self._of(x)
        run = process.trajectories(state, times, counts, noise=noise, generator=generator)
        still = x[:, None, self._moving :]
        return torch.cat([run, still.expand(len(x), run.shape[1], *still.shape[2:])], dim=2)

    def images(self, x: Float[Tensor, "*lead *state"]) -> list[Float[Tensor, "*lead *state"]]:
        axis = -len(self.shape)
        state, still = torch.split(x, [self._moving, len(self.priors)], dim=axis)
        return [torch.cat([image, still], dim=axis) for image in self._least_symmetric.images(state)]

    # -- what is known of the start

    def draw_values(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch parameters"]:
        """Draw values of the parameters from their priors.

        Args:
            batch: Number of values of each parameter.
            generator: Source of randomness, on ``device``.
            device: Where the values are made.
            dtype: Their precision.

        Returns:
            Values ``(batch, parameters)``.
        """
        u = torch.rand((batch, len(self.priors)), generator=generator, device=device, dtype=dtype)
        z = u.double().clamp(1e-7, 1 - 1e-7)
        return torch.stack([prior.quantile(z[:, i]) for i, (_, prior) in enumerate(self.priors)], dim=1).to(dtype)

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        values = self.draw_values(batch, generator=generator, device=device, dtype=dtype)
        state = self.at(values).initial(batch, generator=generator, device=device, dtype=dtype)
        return self.joined(state, values)

    def initial_log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"] | None:
        """Return the log density of initial states given their parameters, up to a constant; None where not known.

        Args:
            x: Initial states.
        """
        process, state = self._of(x)
        return process.initial_log_prob(state)

    def exact(self) -> ExactPosterior | None:
        """Return the exact joint posterior of state and parameter, where one parameter varies in a solvable process."""
        if len(self.priors) > 1 or OBSERVED_NOISE in self.unknown or not isinstance(self.inner.exact(), Marginal):
            return None
        ((name, prior),) = self.priors

        def at(value: float) -> Marginal:
            changed: dict[str, Any] = {name: value}
            law = dataclasses.replace(self.inner, **changed).exact()
            assert isinstance(law, Marginal)
            return law

        return UnknownParameter(at, prior.quantile, self.state, self.joined)

    def exact_of_noise(self, observed: Observation | ObservationRecord) -> UnknownNoise | None:
        """Return the exact joint posterior of state and noise given what is observed, where nothing else is unknown.

        Args:
            observed: One observation of the final state, whose own noise does not count, or a record, whose noise is
                multiplied by the level.

        Returns:
            The posterior; None where the process is not linear and Gaussian.
        """
        exact = self.inner.exact()
        if self.unknown != (OBSERVED_NOISE,) or not isinstance(exact, Smoothable):
            return None
        return unknown_noise(exact, observed, self.priors[0][1].quantile, self.joined)


def vary(simulator: Simulator, priors: Mapping[str, ParameterPrior]) -> Varying:
    """Let parameters of a process vary from trajectory to trajectory.

    Args:
        simulator: The process.
        priors: Priors by name.

    Returns:
        The process with unknown parameters.

    Raises:
        ValueError: If a parameter can't vary, or a prior reaches beyond the values allowed; one line says which.
    """
    owner, fields = type(simulator).__name__, {f.name: f for f in dataclasses.fields(simulator)}
    free = [f.name for f in fields.values() if f.metadata.get("varies")]
    for name, prior in priors.items():
        if name == OBSERVED_NOISE:
            if not prior.support[0] > 0:
                raise ValueError(f"`{name}` must be above 0, its prior begins at {prior.support[0]:g}; raise it.")
            continue
        if name not in free:
            told = f"these can: {', '.join(free)}" if free else "none of its parameters can"
            raise ValueError(f"`{name}` of {owner} can't have a prior; {told}. Give it a number.")
        try:
            for end in prior.support:
                check_value(owner, fields[name], end)
        except ValueError as error:
            raise ValueError(f"{error} Its prior has such values; take another one.") from None
    if isinstance(simulator, Multiplicative) or simulator.fixed_step is not None:
        raise ValueError(f"parameters of {owner} can't have priors: its steps need the same values for all states.")
    half, own = torch.tensor(0.5, dtype=torch.float64), {k: p for k, p in priors.items() if k != OBSERVED_NOISE}
    middle: dict[str, Any] = {name: float(prior.quantile(half)) for name, prior in own.items()}
    inner = dataclasses.replace(simulator, **middle)
    made = Varying(horizon=inner.horizon, steps=inner.steps, inner=inner, priors=tuple(priors.items()))
    made.layout  # noqa: B018  states that can't have one more part are told here
    return made


def with_observed_noise(simulator: Simulator, prior: Any) -> Varying:
    """Return a process whose states have one more static part: the level of the noise of what is observed of them.

    Args:
        simulator: The process, with or without other unknown parameters.
        prior: The law of the level.

    Returns:
        The process.

    Raises:
        ValueError: If the law is none of :mod:`physinv.processes.priors`, or reaches down to 0.
    """
    check_instance(prior, ParameterPrior, "level", "give a law such as physinv.processes.priors.LogUniform(0.02, 0.5)")
    inner, others = (simulator.inner, dict(simulator.priors)) if isinstance(simulator, Varying) else (simulator, {})
    return vary(inner, {**others, OBSERVED_NOISE: prior})
