"""A bootstrap particle smoother: the reference for records of nonlinear processes, for small vectors.

Particles run forward from the initial law, are weighted by each entry of the record when its last time is reached, and
resampled with their whole past.  No density of the process is needed.  What it costs is the variety of the past: few
ancestors are left where a record is long, and then more particles are needed, or ``mcmc``.

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
from physinv.laws.record import ObservationRecord
from physinv.methods.problem import RecordAnswer
from physinv.posterior.several_times.frames import frames_at
from physinv.posterior.several_times.particles import Cloud
from physinv.processes.simulator import Simulator

_WANTED = 100  # ancestors left, below which a warning is given


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

    def sample(
        self, final: Any, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.sample_at(final, n, [0.0], generator=generator)[:, :, 0]

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(self.device)
        clouds = self._clouds(final, [0.0], generator)
        return torch.cat(
            [torch.einsum("bp,bp...->b...", c.log_weights.softmax(1).to(c.y), c.states[0]) for c in clouds]
        )

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        n = check_count(n, "n")
        check_generator(generator)

        def inside(early: list[float]) -> Tensor:
            clouds = self._clouds(y, early, generator)
            _say(torch.cat([cloud.ancestors for cloud in clouds]))
            return torch.cat([cloud.draw(n, early, generator=generator) for cloud in clouds])

        return frames_at(self.simulator, times, max(self.record.times), inside, generator=generator)

    def log_evidence(self, y: Any) -> Float[Tensor, " batch"]:
        """Return estimates of the log density of records, ``log p(y)``, from the mean weights.

        Args:
            y: Observed numbers.
        """
        generator = seeds(self.seed).child("method", "mean").generator(self.device)
        return torch.cat([cloud.log_evidence for cloud in self._clouds(y, [0.0], generator)])

    @torch.no_grad()
    def _clouds(self, y: Any, times: Sequence[float], generator: torch.Generator | None) -> list[Cloud]:
        """The particles of each row, at the times asked for and those of the record."""
        simulator, count = self.simulator, self.particles
        like = torch.zeros(1, *simulator.shape, device=self.device)
        grid, clouds = sorted({0.0, *times, *self.record.times}), []
        for row in torch.split(self.record.accepted(y, like), 1):
            cloud = Cloud(
                self.record, row, torch.full((1, count), -math.log(count), dtype=torch.float64).to(row.device)
            )
            x = simulator.initial(count, generator=generator, device=row.device)
            for i, t in enumerate(grid):
                if i > 0:
                    x = simulator.run(cloud.states[-1][0], [grid[i - 1], t], generator=generator)[:, -1]
                cloud.add(t, x[None], generator=generator)
            clouds.append(cloud)
        return clouds


def _say(ancestors: Tensor) -> None:
    """Warn of records after which few initial states are left."""
    few = int((ancestors < _WANTED).sum())
    if few:
        warnings.warn(
            f"the particle smoother has fewer than {_WANTED} initial states left for {few} of {len(ancestors)} "
            f"records, down to {int(ancestors.min())}; raise `runs`, or take mcmc.",
            stacklevel=4,
        )
