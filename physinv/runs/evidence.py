"""The evidence of observations under a run: ``log p(x_T)`` of each, and bounds from both sides."""

from __future__ import annotations

__all__ = ["BayesFactor", "Evidence", "bayes_factor", "evidence_of", "reversal_of"]

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.devices import threads_for
from physinv.config.inputs import check_count
from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import Linear
from physinv.methods.classical.monte_carlo.importance import forward_runs
from physinv.methods.own.score import OwnPosterior
from physinv.methods.problem import NotApplicableError
from physinv.posterior.bracket import bracket
from physinv.posterior.posterior import Posterior
from physinv.posterior.weigh import weigh
from physinv.runs.run import Run, load_run
from physinv.runs.sampling.ends import answered_together
from physinv.runs.sampling.weighing import few_effective

_PART = 16  # observations between two reports of progress
_NAMED = 8  # observations without a weight
_COUNT = 1.5  # draws that count, in the median over observations, below which weights say nothing
_FEWEST = 100  # runs forward that should count for each observation
_CLOSE = 0.02  # nats of an observation, in the root mean square, from which on runs forward are tried


@dataclass(frozen=True)
class Evidence:
    """Evidence of observations under a run, in nats.

    Args:
        log_evidence: ``log p(x_T)`` of each observation; NaN where none of its draws has a weight.
        error: Its standard error.
        effective: Effective share of the draws, between 0 and 1.
        lower: Mean log weight of the draws, a lower bound on average; None where nothing was drawn backward.
        upper: Log weight of the true trajectory, an upper bound on average; None where its states at the times of the
            reversal are not known.
        numbers: Numbers of a state.
        draws: Draws for each observation: of the reversal, or runs forward.
        prior: Where the density of the initial states comes from.
        by_runs: Whether the log evidence is that of runs forward; the bounds are always of the reversal.
        together: Standard error of the sum of all over what it were if observations had draws of their own.
    """

    log_evidence: Float[Tensor, " n"]
    error: Float[Tensor, " n"]
    effective: Float[Tensor, " n"]
    lower: Float[Tensor, " n"] | None
    upper: Float[Tensor, " n"] | None
    numbers: int
    draws: int
    prior: str
    by_runs: bool = False
    together: float = 1.0

    @property
    def known(self) -> Bool[Tensor, " n"]:
        """Return of which observations the log evidence is known."""
        return self.log_evidence.isfinite()

    @property
    def total(self) -> tuple[float, float]:
        """Return the log evidence of all known observations together, and its standard error."""
        return _total(self, self.known)

    @property
    def width(self) -> tuple[float, float] | None:
        """Return the mean distance of the bounds and its standard error; None without upper bounds."""
        if self.upper is None or self.lower is None or self._unbounded:
            return None
        gap = (self.upper - self.lower)[self.known]
        return float(gap.mean()), float(gap.std()) / math.sqrt(len(gap)) if len(gap) > 1 else math.nan

    def mean(self, values: Float[Tensor, " n"]) -> float:
        """Return the mean of one value for each observation, over those that are known.

        Args:
            values: The values, such as :attr:`lower`.
        """
        return float(values[self.known].mean())

    @property
    def warnings(self) -> list[str]:
        """Return what speaks against the numbers, in sentences."""
        lost = (~self.known).nonzero()[:, 0].tolist()
        told = self._few
        if self._unbounded:
            told = [
                f"No upper bound: no step of the physics leads to the true states of {self._unbounded} observations.",
                *told,
            ]
        if not lost:
            return told
        named = ", ".join(map(str, lost[:_NAMED])) + (f" and {len(lost) - _NAMED} more" * (len(lost) > _NAMED))
        return [
            f"No draw of {len(lost)} of {len(self.known)} observations has a weight (number {named}): all left the "
            "range of the data or diverged, and the others are told without them. Take more steps or draws, or train "
            "on data that look like these.",
            *told,
        ]

    @property
    def sure(self) -> bool:
        """Return whether enough draws or runs count for every known observation, so that errors can be relied on."""
        return not self._few

    @property
    def _few(self) -> list[str]:
        return self._few_runs if self.by_runs else few_effective(self.effective[self.known], self.draws)

    @property
    def _unbounded(self) -> int:
        """Of how many known observations the true trajectory has no weight."""
        return 0 if self.upper is None else int(self.upper[self.known].isnan().sum())

    @property
    def _few_runs(self) -> list[str]:
        """A sentence where too few runs forward count."""
        counts = self.effective[self.known] * self.draws
        if not int((counts < _FEWEST).sum()):
            return []
        few = f"{int((counts < _FEWEST).sum())} of {len(counts)} observations, down to {float(counts.min()):.0f}"
        return [f"Fewer than {_FEWEST} runs count for {few}: errors of evidence are too small."]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as numbers and lists, for JSON; what is not known or not finite is None."""
        total, doubt = self.total
        means = {"log_evidence": self.log_evidence, "effective": self.effective}
        means |= {} if self.lower is None else {"lower": self.lower}
        means |= {} if self.upper is None or self._unbounded else {"upper": self.upper}
        out: dict[str, Any] = {
            "log_evidence": total,
            "error": _plain(doubt),
            "observations": int(self.known.sum()),
            "draws": self.draws,
            "prior": self.prior,
            "mean": {k: _plain(self.mean(v)) for k, v in means.items()},
        }
        if (width := self.width) is not None:
            wide, error = map(_plain, width)  # of one observation the error is not known
            out |= {"width": wide, "width_error": error, "width_per_number": _plain(width[0] / self.numbers)}
        columns = {"log_evidence": self.log_evidence, "error": self.error, "effective": self.effective}
        each = {k: [_plain(x) for x in v.tolist()] for k, v in columns.items()}
        return out | {"each": each, "warnings": self.warnings}


@dataclass(frozen=True)
class BayesFactor:
    """How much more likely observations are under one run than under another.

    Args:
        value: ``log p(x_T | A) - log p(x_T | B)`` of all observations that are known under both, in nats.
        error: Its standard error, of the draws of both.
        a: The evidence under A.
        b: The evidence under B.
    """

    value: float
    error: float
    a: Evidence
    b: Evidence

    @property
    def observations(self) -> int:
        """Return how many observations are known under both."""
        return int((self.a.known & self.b.known).sum())

    @property
    def verdict(self) -> str:
        """Return which of both the observations speak for, in words for the least that two errors leave."""
        if not (self.a.sure and self.b.sure):
            return "too few draws count to say for which"
        better, size = ("A" if self.value > 0 else "B"), abs(self.value) - 2 * self.error
        if not size > 0:
            return "no difference beyond the error of the draws"
        if size < math.log(3):
            return f"hardly worth a mention, for {better}"
        strength = "substantial" if size < math.log(10) else "strong" if size < math.log(100) else "decisive"
        return f"{strength}, for {better}"


def evidence_of(
    run: Run | Path | str,
    data: TrajectoryDataset | Path | str,
    *,
    draws: int = 64,
    limit: int | None = None,
    seed: int = 0,
    runs: int = 2**19,
    progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """Compute the evidence of the last states of trajectories under the physics, the prior and the score of a run.

    The data need not be of the run's system: rival runs are compared on the same data.

    Args:
        run: Run of physinv's own method, or its folder.
        data: Trajectories, or their folder or file.
        draws: Draws of the reversal for each observation.
        limit: Number of trajectories, from the first on; None: all.
        seed: Seed of the draws.
        runs: Runs forward, where few draws count.
        progress: Called with the number of observations done and their total.

    Where few draws of the reversal count for an observation, or errors are large, and a nonlinear process has states of
    up to four numbers, runs of the process forward tell the evidence, if they do so better; without bounds where the
    draws say nothing.

    Returns:
        Log evidence, effective share and bounds of each observation.

    Raises:
        ValueError: If the run has no reversal with log densities, the data have other states or another final time, or
            at most one draw of most observations has a weight.
    """
    run = load_run(run) if isinstance(run, (str, Path)) else run
    data = TrajectoryDataset(data) if isinstance(data, (str, Path)) else data
    draws, posterior = check_count(draws, "draws"), reversal_of(run)
    _check_fits(run, data)
    n = min(limit or data.n_trajectories, data.n_trajectories)
    streams, count = seeds(seed).child("evidence", "samples"), data.n_trajectories
    together = [part for at in range(0, n, _PART) for part in answered_together(at, n, count, _PART, 1)]

    # Trajectories that hold the times of the reversal give bounds from above.
    whole = _holds(data.times, posterior.times)
    parts: list[tuple[Tensor, ...]] = []
    prior, uppers, why = "", list[Tensor](), "."
    with threads_for(data.shape):
        for part in together:
            generator, kept = streams.child(part.start).generator(run.device), min(part.stop, n) - part.start
            x = data.trajectories(slice(part.start, part.stop)).to(run.device)
            if whole:
                found = bracket(posterior, x, data.times, draws=draws, keep_lost=True, generator=generator)
                weighed = found.weighed
                uppers.append(found.upper[:kept])
            else:
                weighed = weigh(posterior, x[:, -1], draws, keep_lost=True, generator=generator)
            prior = weighed.prior
            every = (weighed.log_evidence, weighed.error, weighed.effective, weighed.lower)
            parts.append(tuple(v[:kept] for v in every))
            if progress is not None:
                progress(part.start + kept, n)
    logs, errors, effective, lower = (torch.cat(p).cpu() for p in zip(*parts, strict=True))
    upper = torch.cat(uppers).cpu() if uppers else None
    logs = torch.where(logs == -math.inf, math.nan, logs)
    share = float(torch.where(logs.isfinite(), effective, torch.zeros_like(effective)).median())
    alone = not share * draws >= _COUNT
    own = Evidence(logs, errors, effective, lower, upper, math.prod(data.shape), draws, prior)
    far = not float(errors[own.known].square().mean().sqrt()) < _CLOSE
    if (alone or far or not own.sure) and not isinstance(run.simulator, Linear):
        try:
            forward = _by_runs(run, data.states(-1, limit=n), runs, seed)
        except NotApplicableError as error:
            why = f"; nor by runs forward: {error}"
        else:
            if alone:
                return forward
            if int(forward.known.sum()) >= int(own.known.sum()) and (forward.sure or forward.total[1] < own.total[1]):
                bounded = bool(own.known.all())  # means of bounds are over the observations that are known
                return replace(forward, lower=lower, upper=upper) if bounded else forward
    if alone:
        raise ValueError(
            f"evidence needs several draws that count, at most one of {draws} does for most of the {n} observations: "
            f"the others left the range of the data, diverged, or weigh nothing; take more steps or draws{why}"
        )
    return own


def bayes_factor(a: Evidence, b: Evidence) -> BayesFactor:
    """Return the log Bayes factor of the same observations under two runs.

    Args:
        a: Evidence under the first run.
        b: Evidence under the second run.

    Raises:
        ValueError: If the numbers of observations differ, or none is known under both.
    """
    if len(a.log_evidence) != len(b.log_evidence):
        raise ValueError(
            f"both runs must have the evidence of the same observations, got {len(a.log_evidence)} and "
            f"{len(b.log_evidence)}; take the same data and `limit`."
        )
    both = a.known & b.known
    if not bool(both.any()):
        raise ValueError("no observation has evidence under both runs; train both on data that look like these.")
    (mine, doubt), (theirs, other) = _total(a, both), _total(b, both)
    return BayesFactor(mine - theirs, math.hypot(doubt, other), a, b)


def reversal_of(run: Run) -> Posterior:
    """Return the reversal of a run by small steps, which can be weighed.

    A quantile mapping behind it is left out: weights do what it is there for.

    Args:
        run: The run.

    Raises:
        ValueError: If its method has none, or the process has unknown parameters, on which evidence depends.
    """
    if run.simulator.unknown:
        raise ValueError(
            f"evidence needs known parameters, this run has unknown ones ({', '.join(run.simulator.unknown)}); take a "
            "run of data with a number for each."
        )
    if not isinstance(run.answer, OwnPosterior):
        raise ValueError(
            f"evidence needs a reversal of the physics with a trained score, method `{run.method}` has none; take a "
            "run of `physinv`."
        )
    return run.answer.posterior


def _by_runs(run: Run, final: Tensor, runs: int, seed: int) -> Evidence:
    """Evidence by runs of the process forward."""
    found = forward_runs(run.simulator, final[:_PART], runs=runs, seed=seed, device=run.device)
    final = final.to(run.device)
    logs, error, count = (part.cpu() for part in found.log_evidence(final))
    logs = torch.where(logs == -math.inf, math.nan, logs)
    numbers, prior = math.prod(final.shape[1:]), "runs of the process"
    apart = float(error[logs.isfinite()].square().sum().sqrt())
    together = found.error_of_sum(final) / apart if apart > 0 else 1.0
    return Evidence(logs, error, count / runs, None, None, numbers, runs, prior, by_runs=True, together=together)


def _total(found: Evidence, which: Tensor) -> tuple[float, float]:
    """The log evidence of some observations together, and its standard error."""
    return float(found.log_evidence[which].sum()), found.together * float(found.error[which].square().sum().sqrt())


def _plain(x: float) -> float | None:
    """A number, as JSON knows it."""
    return x if math.isfinite(x) else None


def _check_fits(run: Run, data: TrajectoryDataset) -> None:
    """Refuse data of other states or another final time."""
    if data.shape != tuple(run.simulator.shape):
        raise ValueError(f"the run has states of shape {tuple(run.simulator.shape)}, the data {data.shape}.")
    ours, theirs = float(run.times[-1] - run.times[0]), float(data.times[-1] - data.times[0])
    if abs(ours - theirs) > 1e-6 * ours:
        raise ValueError(f"the run ends at a time of {ours:g}, the data at {theirs:g}; they must be the same.")


def _holds(times: Tensor, wanted: Tensor) -> bool:
    """Whether all of some times are among others."""
    gaps = (wanted.double().cpu()[:, None] - times.double().cpu()).abs().amin(1)
    return float(gaps.max()) <= 1e-6 * float(times[-1] - times[0])
