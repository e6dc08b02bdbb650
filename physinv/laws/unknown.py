"""The exact joint posterior of a state and one parameter of its process that is unknown, by quadrature."""

from __future__ import annotations

__all__ = ["GivenNoise", "Marginal", "UnknownNoise", "UnknownParameter", "unknown_noise"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physinv.config.inputs import States, Times, as_states, check_count, check_generator
from physinv.equations.broadcast import match
from physinv.laws.exact import ExactPosterior, Smoothable
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord, as_record
from physinv.laws.smoothing.base import Smoothed

_FEWEST, _MOST = 64, 4096  # cells of the quadrature
_PER_DEVIATION = 4.0  # cells in a standard deviation of the posterior, at least
_WEIGHTLESS = 1e-6  # probability of a cell that a mean does not look at


@runtime_checkable
class Marginal(Protocol):
    """An exact posterior whose law of final states has a density as well."""

    def final_log_prob(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the log density ``log p(x_T)`` of final states.

        Args:
            final: Final states ``x_T``.
        """

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states.

        Args:
            final: Final states ``x_T``.
            n: Number of draws for each.
            generator: Source of randomness.

        Returns:
            Initial states ``(batch, n, *state)``.
        """

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean.

        Args:
            final: Final states ``x_T``.
        """


@dataclass(frozen=True)
class UnknownParameter(ExactPosterior):
    """The joint posterior ``p(theta, x_0 | x_T) = p(theta | x_T) p(x_0 | x_T, theta)`` of a parameter and a state.

    The prior of ``theta`` is cut into cells of equal probability, with ``p(theta | x_T)`` proportional to ``p(x_T |
    theta)`` at their middles (Bayes' rule).  There are as many cells as it takes for four in each standard deviation of
    ``p(theta | x_T)``, whatever the observation; draws of ``theta`` are uniform in a cell.  What final states say of
    the parameter in their static part is not looked at.

    Args:
        at: The exact posterior for a value of the parameter.
        quantile: Shares of the prior, from 0 to 1, to values.
        state: Takes the parameter off states.
        joined: Puts values of the parameter, one for each state, back on.
    """

    at: Callable[[float], Marginal]
    quantile: Callable[[Tensor], Tensor]
    state: Callable[[Tensor], Tensor]
    joined: Callable[[Tensor, Tensor], Tensor]

    def probabilities(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch cells"]:
        """Return the posterior probability of each cell.

        Args:
            final: Final states; their static part of the parameter does not count.

        Returns:
            Probabilities, float64; the cells divide the prior into equal shares.
        """
        seen, cells = self.state(final).double(), _FEWEST
        while True:
            logs = torch.stack([self.at(value).final_log_prob(seen) for value in self._values(cells)], dim=1)
            p = logs.softmax(1)
            place = (torch.arange(cells, device=p.device) + 0.5).to(p)
            mean = p @ place
            deviation = (p @ place.square() - mean.square()).clamp(min=0).sqrt()
            if cells >= _MOST or float(deviation.min()) >= _PER_DEVIATION:
                return p
            cells *= 2

    def values(self, final: States, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "batch n"]:
        """Draw values of the parameter from ``p(theta | x_T)``.

        Args:
            final: Final states.
            n: Number of draws for each.
            generator: Source of randomness, on the device of ``final``.

        Returns:
            Values ``(batch, n)``.
        """
        final = self._checked(final, n, generator)
        cell, cells = self._cells(final, n, generator)
        return self._inside(cell, cells, generator).to(final)

    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *joint"]:
        """Draw parameter and state together; the static part of the samples is the parameter."""
        out, value = self._drawn(final, n, lambda law, x: law.sample(x, 1, generator=generator)[:, 0], generator)
        whole = self.joined(out, value)
        return whole.reshape(len(final), n, *whole.shape[1:])

    def mean(self, final: States) -> Float[Tensor, "batch *joint"]:
        """Return the posterior mean of state and parameter."""
        final = self._checked(final)
        p, seen = self.probabilities(final), self.state(final)
        total, value = torch.zeros((), device=seen.device), torch.zeros_like(p[:, 0])
        for number, middle in enumerate(self._values(p.shape[1])):
            value = value + p[:, number] * middle
            if bool((p[:, number] > _WEIGHTLESS).any()):
                given = self.at(middle).mean(seen)
                total = total + match(p[:, number].to(given), given) * given
        return self.joined(total, value[:, None].to(total))

    def flow(self, final: States) -> Float[Tensor, "batch *state"]:
        """Refuse: there is a probability flow for each value of the parameter, and none for all of them.

        Args:
            final: Final states ``x_T``.

        Raises:
            ValueError: Always.
        """
        raise ValueError("`flow` needs known parameters, some are unknown here; take samples or mean.")

    def _drawn(
        self, final: States, n: int, draw: Callable[[Any, Tensor], Tensor], generator: torch.Generator | None
    ) -> tuple[Tensor, Float[Tensor, "draws 1"]]:
        """What each observation draws n times from the law of a value, and these values."""
        final = self._checked(final, n, generator)
        cell, cells = self._cells(final, n, generator)
        value, seen = self._inside(cell, cells, generator), self.state(final)
        flat, rows = cell.flatten(), torch.arange(len(final), device=final.device).repeat_interleave(n)
        drawn, order, middles = [], [], self._values(cells)
        for number in sorted(set(flat.tolist())):
            chosen = (flat == number).nonzero()[:, 0]
            drawn.append(draw(self.at(middles[number]), seen[rows[chosen]]))
            order.append(chosen)
        out = torch.cat(drawn)[torch.cat(order).argsort()]
        return out, value.reshape(-1, 1).to(out)

    def _checked(self, final: States, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        check_count(n, "n")
        check_generator(generator)
        return as_states(final, "final", None, finite=True)

    def _values(self, cells: int) -> list[float]:
        """The parameter in the middle of each cell."""
        shares = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        middles: list[float] = self.quantile(shares).tolist()
        return middles

    def _cells(self, final: Tensor, n: int, generator: torch.Generator | None) -> tuple[Int64[Tensor, "batch n"], int]:
        p = self.probabilities(final)
        return torch.multinomial(p, n, replacement=True, generator=generator), p.shape[1]

    def _inside(self, cell: Tensor, cells: int, generator: torch.Generator | None) -> Tensor:
        """Values uniform in their cells, in units of the prior's shares."""
        u = torch.rand(cell.shape, generator=generator, dtype=torch.float64, device=cell.device)
        return self.quantile((cell + u) / cells)


@dataclass(frozen=True)
class GivenNoise:
    """The posterior given noisy observations whose noise is known, as :class:`UnknownParameter` asks for it.

    Args:
        law: The posterior.
    """

    law: Smoothed

    def final_log_prob(self, final: Float[Tensor, "batch *seen"]) -> Float[Tensor, " batch"]:
        """Return the log density of observed numbers.

        Args:
            final: Observed numbers.
        """
        return self.law.log_evidence(final)

    def sample(
        self, final: Float[Tensor, "batch *seen"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states.

        Args:
            final: Observed numbers.
            n: Number of draws for each observation.
            generator: Source of randomness.

        Returns:
            Initial states ``(batch, n, *state)``.
        """
        return self.law.sample(final, n, generator=generator)

    def mean(self, final: Float[Tensor, "batch *seen"]) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean.

        Args:
            final: Observed numbers.
        """
        return self.law.mean(final)


@dataclass(frozen=True)
class UnknownNoise(UnknownParameter):
    """The joint posterior ``p(sigma, x | y)`` of the level of the noise and the states, given records of noisy numbers.

    Its "final states" are observed numbers, one row for each trajectory, NaN where one is missing.
    """

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *joint"]:
        """Draw trajectories: smoothed up to the last time of the record, forecasts from there on.

        Args:
            y: Observed numbers.
            n: Draws for each row.
            times: Times, 0 or later.
            generator: Source of randomness.

        Returns:
            One trajectory for each draw, the level a static part of its states.
        """

        def draw(given: GivenNoise, some: Tensor) -> Tensor:
            return given.law.sample_at(some, 1, times, generator=generator)[:, 0]

        out, value = self._drawn(y, n, draw, generator)
        steps = out.shape[1]
        whole = self.joined(out.flatten(0, 1), value.repeat_interleave(steps, 0))
        return whole.reshape(-1, n, steps, *whole.shape[1:])

    def _checked(self, final: States, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        check_count(n, "n")
        check_generator(generator)
        return as_states(final, "y", None)


def unknown_noise(
    exact: Smoothable,
    observed: Observation | ObservationRecord,
    quantile: Callable[[Tensor], Tensor],
    joined: Callable[[Tensor, Tensor], Tensor],
) -> UnknownNoise:
    """Return the exact joint posterior of the noise of observations and the state, ``p(sigma, x_0 | y)``.

    Its "final states" are observed numbers.

    Args:
        exact: The posterior of the process given whole final states.
        observed: The operator of one observation, whose own noise does not count, or a record, whose noise is
            multiplied by the level.
        quantile: Shares of the prior of the level, from 0 to 1, to values.
        joined: Puts values of the level, one for each state, behind states.
    """
    if isinstance(observed, Observation):
        observed = Observation(observed.operator, 1.0)
    record = as_record(observed, exact.horizon)
    plain = exact.given(record.known(1.0))

    def at(noise: float) -> GivenNoise:
        return GivenNoise(plain.scaled(noise))

    return UnknownNoise(at, quantile, lambda y: y, joined)
