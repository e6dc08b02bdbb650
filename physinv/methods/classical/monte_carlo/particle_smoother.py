"""A bootstrap particle smoother: the reference for records of nonlinear processes, for small vectors.

Particles run forward from the initial law, are weighted by each entry of the record when its last time is reached, and
resampled with their whole past.  No density of the process is needed.  What that costs is the variety of the past: few
ancestors are left where a record is long.  Where there are ten for each draw they serve.  Else, of vectors of up to
four numbers with noise on each, seen at one time after another, trajectories are drawn backward
(:mod:`~physinv.methods.classical.monte_carlo.backward_draws`), and all that is asked of the particles is to be many at
each time.

References:
    Gordon, Salmond and Smith (1993), Novel approach to nonlinear/non-Gaussian Bayesian state estimation;
    Kitagawa (1996), Monte Carlo filter and smoother for non-Gaussian nonlinear state space models.
"""

from __future__ import annotations

__all__ = ["ParticleSmoother"]

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, check_count, check_generator
from physinv.config.seeds import seeds
from physinv.equations.sde import Linear
from physinv.equations.steps import Step, exponential
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.backward_draws import Passed, draw_backward
from physinv.methods.classical.monte_carlo.kernel import fit_kernel
from physinv.methods.classical.monte_carlo.starts import seen_process
from physinv.methods.problem import RecordAnswer
from physinv.posterior.several_times.frames import frames_at
from physinv.posterior.several_times.particles import Cloud
from physinv.processes.simulator import Simulator, refine
from physinv.processes.varying import Varying

_WANTED = 100  # ancestors left, or particles that count, below which a warning is given
_NUMBERS = 4  # of a state, up to which trajectories are drawn backward
_PLENTY = 10  # ancestors for each draw, from which on the past of particles is drawn as it is


@dataclass(frozen=True)
class ParticleSmoother(RecordAnswer):
    """The posterior of particles that are run forward, weighted and resampled.

    Args:
        simulator: The process.
        record: What is seen at which times.
        particles: Particles for each row of observed numbers.
        seed: Seed of the particles behind :meth:`mean` and :meth:`log_evidence`.
        device: Where the particles are run.
    """

    simulator: Simulator
    record: ObservationRecord
    particles: int = 100_000
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(self.device)
        clouds = self.clouds(final, [0.0], generator=generator)
        return torch.cat(
            [torch.einsum("bp,bp...->b...", c.log_weights.softmax(1).to(c.y), c.states[0]) for c in clouds]
        )

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        n = check_count(n, "n")
        check_generator(generator)

        def inside(early: list[float]) -> Tensor:
            if self.backward:
                return self._backward(y, n, early, generator)
            clouds = self.clouds(y, early, generator=generator)
            _say(torch.cat([cloud.ancestors for cloud in clouds]), "initial states left")
            return torch.cat([cloud.draw(n, early, generator=generator) for cloud in clouds])

        process = seen_process(self.simulator, self.record)
        return frames_at(process, times, max(self.record.times), inside, generator=generator)

    @property
    def backward(self) -> bool:
        """Whether trajectories are drawn backward: the law of one step must have a density, and entries one time."""
        process, probe = self.simulator, torch.zeros(1, *self.simulator.shape)
        unknown = process.unknown or self.record.level is not None  # these stay as they were drawn
        if unknown or probe.numel() > _NUMBERS or any(len(entry.times) > 1 for entry in self.record.entries):
            return False
        step, grid = _solver(process, [0.0, max(self.record.times)])
        return len(grid) > 1 and bool(fit_kernel(process, step, probe, grid[:2]).whitening.isfinite().all())

    def log_evidence(self, y: Any) -> Float[Tensor, " batch"]:
        """Return estimates of the log density of records, ``log p(y)``, from the mean weights.

        Args:
            y: Observed numbers.
        """
        generator = seeds(self.seed).child("method", "mean").generator(self.device)
        return torch.cat([cloud.log_evidence for cloud in self.clouds(y, [0.0], generator=generator)])

    @torch.no_grad()
    def clouds(self, y: Any, times: Sequence[float], *, generator: torch.Generator | None = None) -> list[Cloud]:
        """Run the particles of each row, resampled with their past.

        Args:
            y: Observed numbers.
            times: Times to keep beside those of the record.
            generator: Source of randomness.

        Returns:
            Particles at these times and those of the record.
        """
        grid = sorted({0.0, *times, *self.record.times})
        return [self._run(row, grid, generator)[0] for row in self._rows(y)]

    @torch.no_grad()
    def _backward(self, y: Any, n: int, times: Sequence[float], generator: torch.Generator | None) -> Tensor:
        """Trajectories drawn backward through the particles at the ends of all solver steps."""
        step, grid = _solver(self.simulator, sorted({0.0, *times, *self.record.times}))
        drawn, least = [], []
        for row in self._rows(y):
            cloud, passed = self._run(row, grid, generator)
            if float(cloud.ancestors) >= _PLENTY * n:  # the past has kept its variety
                least.append(cloud.ancestors)
                drawn.append(cloud.draw(n, times, generator=generator)[0])
                continue
            least.append(cloud.least)
            drawn.append(draw_backward(self.simulator, step, passed, n, times, generator=generator))
        _say(torch.cat(least), "particles that count at some time")
        return torch.stack(drawn)

    def _rows(self, y: Any) -> tuple[Tensor, ...]:
        like = torch.zeros(1, *self.simulator.shape, device=self.device)
        return torch.split(self.record.accepted(y, like), 1)

    def _run(self, row: Tensor, grid: list[float], generator: torch.Generator | None) -> tuple[Cloud, list[Passed]]:
        """The particles of one row with their past, and those of each time as they were."""
        simulator, record, count = seen_process(self.simulator, self.record), self.record, self.particles
        equal, level = torch.full((1, count), -math.log(count), dtype=torch.float64).to(row.device), None
        if record.level is not None:
            assert isinstance(simulator, Varying)
            values = simulator.values
            record, level = record.through(simulator.state), lambda x: values(x)[:, -1]
        cloud = Cloud(record, row, equal, level)
        x, passed = simulator.initial(count, generator=generator, device=row.device), list[Passed]()
        for i, t in enumerate(grid):
            if i > 0:
                x = simulator.run(cloud.states[-1][0], [grid[i - 1], t], generator=generator)[:, -1]
            cloud.add(t, x[None], generator=generator)
            passed.append(Passed(t, cloud.states[-1][0], cloud.log_weights[0]))
        return cloud, passed


def _solver(simulator: Simulator, times: list[float]) -> tuple[Step, list[float]]:
    """The solver step and the ends of its steps; one exact step between times where the process is linear."""
    if isinstance(simulator, Linear):
        return exponential, times
    return simulator.step, refine(*simulator.intervals(times)).tolist()


def _say(counts: Tensor, what: str) -> None:
    """Warn of records after which too few particles are left."""
    few = int((counts < _WANTED).sum())
    if few:
        warnings.warn(
            f"the particle smoother has fewer than {_WANTED} {what} for {few} of {len(counts)} records, down to "
            f"{int(counts.min())}; raise `runs`, or take mcmc.",
            stacklevel=4,
        )
