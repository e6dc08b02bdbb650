"""The learned reversal given a record: from the last observation back, weighted by the earlier ones and resampled.

The reversal proposes paths from ``p(x_s | x_t)``, ``s < t``.  Given a record, the law of paths has one more factor for
each entry, its likelihood: particles are weighted by it when the reversal passes its (earliest) time, and resampled
with their trajectories where few count.  In the limit of many particles and small steps the draws are exact wherever
the score is.

References:
    Del Moral, Doucet and Jasra (2006), Sequential Monte Carlo samplers.
"""

from __future__ import annotations

__all__ = ["TwistedReversal"]

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, check_count, check_generator
from physinv.config.seeds import seeds
from physinv.equations.sde import Reverse
from physinv.equations.solve import march
from physinv.equations.steps import in_parts
from physinv.laws.observation import Observation, check_linear
from physinv.laws.record import ObservationRecord
from physinv.models.references.base import ReferenceLaw
from physinv.posterior.partial import sample_final
from physinv.posterior.posterior import Posterior
from physinv.posterior.several_times.frames import frames_at
from physinv.posterior.several_times.particles import Cloud
from physinv.processes.simulator import Simulator

_LEAST = 20.0  # particles that count, below which a warning is given
_VECTORS, _FIELDS, _NUMBERS = 48, 16, 2**11  # new trajectories on which draws are tried, and numbers in those of fields
_FEWEST = 4  # of large fields, whose particles are dear


@dataclass(frozen=True)
class TwistedReversal:
    """The posterior given a record, by particles of a learned reversal.

    Args:
        posterior: The reversal, with small steps.
        record: What is seen at which times, up to the last time of the posterior.
        particles: Particles for each row of observed numbers.
        seed: Seed of the draws behind :meth:`mean`.
        doubt: What speaks against these small steps, told with every draw; empty: nothing is known.

    Raises:
        ValueError: If the record goes on after the last time of the posterior, or the physics is no simulator.
    """

    posterior: Posterior
    record: ObservationRecord
    particles: int = 1024
    seed: int = 0
    doubt: str = ""

    def __post_init__(self) -> None:
        check_count(self.particles, "particles", 2)
        last = float(self.posterior.times[-1])
        if max(self.record.times) > last * (1 + 1e-6):
            raise ValueError(
                f"`record` must end at {last:g} at the latest, where the reversal begins, got "
                f"{max(self.record.times):g}; train on longer trajectories, or take mcmc."
            )

    @property
    def tried(self) -> int:
        """On how many new trajectories draws are to be tried first: few of large fields, whose particles are dear."""
        if not self._simulator.layout.space:
            return _VECTORS
        return max(_FEWEST, min(_FIELDS, _NUMBERS // math.prod(self._simulator.shape)))

    def sample(
        self, final: Any, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw initial states given records.

        Args:
            final: Observed numbers, one row for each trajectory, NaN where one is missing.
            n: Draws for each row, at most as many as there are particles.
            generator: Source of randomness.

        Returns:
            Initial states.
        """
        return self.sample_at(final, n, [0.0], generator=generator)[:, :, 0]

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        """Return the mean of as many draws as there are particles.

        Args:
            final: Observed numbers.
        """
        generator = seeds(self.seed).child("method", "mean").generator(self._like.device)
        return self.sample(final, self.particles, generator=generator).mean(1)

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        """Draw trajectories: smoothed up to the last time of the record, forecasts from there on.

        Args:
            y: Observed numbers, one row for each trajectory, NaN where one is missing.
            n: Draws for each row, at most as many as there are particles.
            times: Times, 0 or later.
            generator: Source of randomness.

        Returns:
            One trajectory for each draw; a warning tells how many particles count where they are few.

        Raises:
            ValueError: If a number does not fit, or there is nothing to draw last states from.
        """
        n = check_count(n, "n")
        check_generator(generator)
        if n > self.particles:
            raise ValueError(
                f"`n` must be at most the {self.particles} particles, got {n}; take fewer samples, or in Python more "
                "`particles`."
            )
        simulator = self._simulator

        def inside(early: list[float]) -> Tensor:
            cloud = self.run(y, early, generator=generator)
            _say(cloud.least)
            if self.doubt:
                warnings.warn(self.doubt, stacklevel=4)
            return cloud.draw(n, early, generator=generator)

        return frames_at(simulator, times, max(self.record.times), inside, generator=generator)

    @torch.no_grad()
    def run(self, y: Any, times: list[float], *, generator: torch.Generator | None = None) -> Cloud:
        """Run the particles of all rows from the last time of the record back to 0.

        Args:
            y: Observed numbers.
            times: Times up to the last of the record whose states are kept.
            generator: Source of randomness.

        Returns:
            The weighted particles, with how many count (``least``: the fewest on the way).
        """
        p, last = self.posterior, max(self.record.times)
        y = self.record.accepted(y, self._like)
        kept = sorted({0.0, last, *times, *self.record.times})

        # The steps of the posterior, with ends at all times that matter.
        nearest = [t for t in p.times.tolist() if t < last and all(abs(t - s) > 1e-6 * last for s in kept)]
        grid = torch.tensor(sorted({*nearest, *kept}), dtype=torch.float64)
        reversal = Posterior(p.sde, p.score, grid, step=p.step, batch=p.batch) if last > 0 else p
        x, used = self._last(reversal, y, last, generator)

        count = self.particles
        cloud = Cloud(self.record, y, torch.full((len(y), count), -math.log(count), dtype=torch.float64).to(y.device))
        cloud.add(last, x, used=used, generator=generator)
        reverse, step = Reverse(p.sde, p.score), in_parts(reversal.step, p.batch)
        for a, b in zip(kept[-2::-1], kept[:0:-1], strict=True):
            x = cloud.states[-1].flatten(0, 1)
            part = grid[(grid >= a) & (grid <= b)].flip(0)
            for state in march(reverse, x, part, step=step, noise=True, generator=generator):
                x = state
            cloud.add(a, x.reshape(cloud.states[-1].shape), generator=generator)
        return cloud

    @property
    def _simulator(self) -> Simulator:
        if not isinstance(self.posterior.sde, Simulator):
            raise ValueError(f"`posterior` must be that of a Simulator, got {type(self.posterior.sde).__name__}.")
        return self.posterior.sde

    @property
    def _like(self) -> Tensor:
        return self.posterior.accepted(torch.zeros(1, *self._simulator.shape))

    def _last(
        self, reversal: Posterior, y: Tensor, last: float, generator: torch.Generator | None
    ) -> tuple[Tensor, list[int]]:
        """States at the last time, and the entry that they were drawn by: the largest linear one there, if any."""
        like, sizes = self._like, self.record.sizes(self._like)
        begins = [sum(sizes[:i]) for i in range(len(sizes))]
        rows = [y[:, b : b + size] for b, size in zip(begins, sizes, strict=True)]
        known = [
            i
            for i, entry in enumerate(self.record.entries)
            if entry.times == (last,) and bool(rows[i].isfinite().all()) and _linear(entry.observation, like)
        ]
        if known and last > 0 and ReferenceLaw.of(reversal.score) is not None:
            i = max(known, key=lambda i: sizes[i])
            observation = self.record.entries[i].observation
            seen = rows[i].reshape(len(y), *observation.operator(like).shape[1:])
            return sample_final(reversal, observation, seen, self.particles, generator=generator), [i]

        # Nothing linear is seen there, or no law of these states is known: the prior, by running forward.
        simulator, number = self._simulator, self.particles * len(y)
        x = simulator.initial(number, generator=generator, device=like.device, dtype=like.dtype)
        if last > 0:
            x = simulator.run(x, [0.0, last], generator=generator)[:, -1]
        return x.reshape(len(y), self.particles, *x.shape[1:]), []


def _linear(observation: Observation, like: Tensor) -> bool:
    """Whether an operator is linear, and torch can tell its matrix."""
    try:
        check_linear(observation.operator, like)
    except ValueError:
        return False
    return True


def _say(least: Tensor) -> None:
    """Warn of records that few particles explain."""
    few = int((least < _LEAST).sum())
    if few:
        warnings.warn(
            f"fewer than {_LEAST:.0f} particles count for {few} of {len(least)} records, down to "
            f"{float(least.min()):.1f}; take mcmc, or in Python more `particles`.",
            stacklevel=4,
        )
