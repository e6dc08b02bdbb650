"""Importance sampling over forward runs, for vectors of up to four numbers: draws without any chain.

The process is run from its own initial states, any law of them, to k solver steps before T.  Given an observation a
run has the weight ``p(x_T | x_(M-k))``, which integrates over the noise of the last steps: for ``k = 1`` Gaussian as
the step is; for more steps the Gaussian of linear propagation along the path without noise,

    P <- A P A^T + B B^T,   A = d step / dx,   B = d step / dw,

right as long as the last k steps are nearly linear over the width of their own noise.  k is the smallest power of two
for which all but a twentieth of the validation observations get 100 effective runs, at most an eighth of all steps.
"""

from __future__ import annotations

__all__ = ["ImportancePosterior", "fit_importance", "forward_runs", "load_importance"]

import itertools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.equations.sde import Linear
from physinv.equations.steps import Step, exponential
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.kernel import Kernel, fit_kernel
from physinv.methods.classical.monte_carlo.particle_smoother import ParticleSmoother
from physinv.methods.classical.monte_carlo.starts import observable
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, loaded_by
from physinv.processes.simulator import Simulator, refine

_NUMBERS = 4  # of a state, at most
_BLOCK = 2**18  # runs simulated at once
_WEIGHTS = 2**24  # weights computed at once
_DRAWS = 100.0  # effective runs wanted
_SHARE = 8  # the last steps are at most this fraction of all
_LOOKED = 40  # validation observations that k is chosen by


@dataclass(frozen=True)
class ImportancePosterior(Answer):
    """The posterior of weighted runs; samples are drawn from the initial states of the runs by their weights.

    Args:
        starts: Initial states of the runs.
        kernel: The law of ``x_T`` given each run.
        shape: Shape of one state.
        simulator: The process.
        seed: Seed of new runs.
    """

    starts: Float[Tensor, "n d"]
    kernel: Kernel
    shape: tuple[int, ...]
    simulator: Simulator
    seed: int

    def given(self, observed: ObservationRecord | Observation) -> ParticleSmoother:
        """Return the posterior given noisy observations at one or several times, by new runs that are resampled.

        Args:
            observed: A record, or one observation of the final state.

        Returns:
            A particle smoother with as many particles for each row of observed numbers as there are runs.
        """
        record = observable(self.simulator, observed, joint=True)
        return ParticleSmoother(self.simulator, record, len(self.starts), self.seed, self.starts.device)

    def tensors(self) -> dict[str, Tensor]:
        """Return the runs, and the law of ``x_T`` given each."""
        kernel = {"mean": self.kernel.mean, "whitening": self.kernel.whitening}
        return {"starts": self.starts, "steps": torch.tensor(self.kernel.steps), **kernel}

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        if n < 1:
            raise ValueError(f"`n` must be at least 1, got {n}.")
        parts, effective = [], []
        for x in self._split(final):
            weights = self.kernel.log_weights(x).double().softmax(1)
            effective.append(1 / weights.square().sum(1))

            # Inverse of the cumulated weights at random places.
            places = torch.rand((len(x), n), generator=generator, dtype=torch.float64, device=x.device)
            ladder = weights.cumsum(1)
            found = torch.searchsorted(ladder, places * ladder[:, -1:]).clamp(max=weights.shape[1] - 1)
            parts.append(self.starts[found])
        _say(torch.cat(effective))
        return torch.cat(parts).reshape(len(final), n, *self.shape)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        weights = (self.kernel.log_weights(x).softmax(1) for x in self._split(final))
        return torch.cat([w @ self.starts for w in weights]).reshape(final.shape)

    def effective(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return how many runs each observation effectively averages over, ``(sum w)^2 / sum w^2``.

        Args:
            final: Observed final states ``x_T``.
        """
        return _effective(self.kernel, torch.cat(list(self._split(final))))

    def log_evidence(
        self, final: Float[Tensor, "batch *state"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Return ``log p(x_T)``: the log of the mean density of final states over all runs.

        Args:
            final: Observed final states ``x_T``.

        Returns:
            One value for each, its standard error, and how many runs it effectively averages over.
        """
        parts, runs = [], len(self.starts)
        for x in self._split(final):
            logs = self.kernel.log_weights(x).double() - x.shape[1] * math.log(2 * math.pi) / 2
            share = logs.softmax(1).square().sum(1)
            parts.append((logs.logsumexp(1) - math.log(runs), (share - 1 / runs).clamp(min=0).sqrt(), 1 / share))
        value, error, count = (torch.cat(part) for part in zip(*parts, strict=True))
        return value, error, count.nan_to_num(0.0)

    def error_of_sum(self, final: Float[Tensor, "batch *state"]) -> float:
        """Return the standard error of the sum of :meth:`log_evidence`: all observations are weighed on the same runs.

        Args:
            final: Observed final states ``x_T``; those that no run is near do not count.
        """
        total, count = self.starts.new_zeros(len(self.starts), dtype=torch.float64), 0
        for x in self._split(final):
            weights = self.kernel.log_weights(x).double().softmax(1)
            known = weights.isfinite().all(1)
            total, count = total + weights[known].sum(0), count + int(known.sum())
        return float((total - count / len(total)).square().sum().sqrt())

    def _split(self, final: Tensor) -> tuple[Tensor, ...]:
        return torch.split(final.flatten(1), max(1, _WEIGHTS // len(self.starts)))


def load_importance(setup: Setup, tensors: Mapping[str, Tensor], *, runs: int = 2_000_000) -> ImportancePosterior:
    """Load importance sampling over forward runs.

    Args:
        setup: What the run knows.
        tensors: What was computed.
        runs: Number of runs.

    Returns:
        The posterior, ready for observations.
    """
    kernel = Kernel(int(tensors["steps"]), tensors["mean"], tensors["whitening"])
    return ImportancePosterior(tensors["starts"], kernel, tuple(setup.simulator.shape), setup.simulator, setup.seed)


@loaded_by(load_importance, trains=False)
@torch.no_grad()
def fit_importance(problem: Problem, *, runs: int = 2_000_000) -> ImportancePosterior:
    """Run the process from its initial states, and weight the runs by each observation: exact draws for vectors.

    Args:
        problem: The process; its validation trajectories decide how many last steps are integrated over.
        runs: Number of runs.

    Returns:
        The posterior, ready for observations; fewer than 100 effective runs are told by a warning.

    Raises:
        ValueError: If ``runs`` is less than 1000.
        NotApplicableError: For states of more than four numbers, and for data without physics.
    """
    if runs < 1000:
        raise ValueError(f"`runs` must be at least 1000, got {runs}.")
    seen = problem.valid.states(-1, limit=_LOOKED)
    return forward_runs(problem.simulator, seen, runs=runs, seed=problem.seed, device=problem.device)


@torch.no_grad()
def forward_runs(
    simulator: Simulator,
    final: Float[Tensor, "batch *state"],
    *,
    runs: int,
    seed: int,
    device: torch.device,
) -> ImportancePosterior:
    """Run a process from its initial states.

    Args:
        simulator: The process.
        final: Final states, by which it is decided how many last steps are integrated over.
        runs: Number of runs.
        seed: Seed of the runs.
        device: Where to compute.

    Returns:
        The posterior of the weighted runs.

    Raises:
        NotApplicableError: For states of more than four numbers, and without physics.
    """
    numbers = math.prod(simulator.shape)
    if not simulator.known:
        raise NotApplicableError("the physics must be known to be run forward; these data come without any.")
    if simulator.layout.static:
        raise NotApplicableError(
            "weights of runs are for states that move as a whole, these have static parts, or unknown parameters; take "
            "mcmc."
        )
    if numbers > _NUMBERS:
        raise NotApplicableError(
            f"weights of runs are for states of up to {_NUMBERS} numbers, got {numbers}; take mcmc."
        )
    generator = seeds(seed).child("method", "paths").generator(device)

    # Run to 1, 2, 4, ... steps before the end, in blocks.
    step, grid = _solver(simulator)
    backs = [2**i for i in range(32) if 2**i <= max(1, (len(grid) - 1) // _SHARE)]
    parts: list[list[Tensor]] = []
    for at in range(0, runs, _BLOCK):
        x = simulator.initial(min(_BLOCK, runs - at), generator=generator, device=device)
        kept = [x]
        for i, (a, b) in enumerate(itertools.pairwise(grid)):
            if len(grid) - 1 - i in backs:
                kept.append(x)
            dw = torch.randn((step.draws, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
            x = step(simulator, x, *_times(x, a, b), dw * math.sqrt(b - a))
        parts.append(kept)
    starts, *snapshots = (torch.cat(p) for p in zip(*parts, strict=True))

    # As few last steps as give enough effective runs.
    seen = final.to(starts).flatten(1)
    for back, x in zip(backs, reversed(snapshots), strict=True):
        kernel = fit_kernel(simulator, step, x, grid[-back - 1 :])
        if float((_effective(kernel, seen) < _DRAWS).double().mean()) <= 1 / 20:
            break
    return ImportancePosterior(starts.flatten(1), kernel, tuple(simulator.shape), simulator, seed)


def _solver(simulator: Simulator) -> tuple[Step, list[float]]:
    """The solver's steps as the data were made; one exact step where the process is linear."""
    times, counts = simulator.intervals()
    if isinstance(simulator, Linear):
        return exponential, times[[0, -1]].tolist()
    return simulator.step, refine(times, counts).tolist()


def _times(x: Tensor, a: float, b: float) -> tuple[Tensor, Tensor]:
    return x.new_full((len(x),), a), x.new_full((len(x),), b)


def _effective(kernel: Kernel, final: Tensor) -> Tensor:
    found = []
    for x in torch.split(final, max(1, _WEIGHTS // len(kernel.mean))):
        weights = kernel.log_weights(x).double().softmax(1)
        found.append(1 / weights.square().sum(1))
    return torch.cat(found).nan_to_num(0.0)


def _say(effective: Tensor) -> None:
    """Warn of observations that too few runs explain."""
    count = int((~(effective >= _DRAWS)).sum())
    if count:
        warnings.warn(
            f"importance sampling has fewer than {_DRAWS:.0f} effective runs for {count} of {len(effective)} "
            f"observations, down to {float(effective.nan_to_num(0.0).min()):.0f}; raise `runs`, or take mcmc.",
            stacklevel=3,
        )
