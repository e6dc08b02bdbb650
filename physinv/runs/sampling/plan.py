"""What is asked of a run: which answer, how many draws, in which steps, and what is done with them afterwards."""

from __future__ import annotations

__all__ = ["ANSWERS", "SamplingPlan"]

from dataclasses import dataclass
from numbers import Real

from physinv.config.devices import check_memory
from physinv.config.inputs import check_count, describe
from physinv.runs.sampling.grids import check_grid

ANSWERS = ("samples", "mean", "flow", "mean-flow")
"""What is computed from each observation: posterior samples, the method's best single estimate, or, by a score model,
the probability flow or the reversal without noise."""

_TIME = 100.0  # bytes for each time of a solver


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """How the initial states of a dataset are reconstructed.

    Args:
        answer: ``"samples"`` draws from the posterior; the others give one state for each observation: ``"mean"`` the
            best single estimate of the method, and with a score model ``"flow"`` the solution of the probability flow,
            ``"mean-flow"`` that of the reversal without noise.
        samples: Draws for each observation (``"samples"`` only).
        steps: Solver steps from T to 0 of a score model; None: as many as the run has stored intervals.
        grid: Placement of the steps: ``"stored"``, ``"linear"``, ``"log"`` or ``"learned"``; see
            :func:`~physinv.runs.sampling.grids.step_grid`.
        seed: Seed of the draws, of the noise of a partial observation and of the places of its sensors.
        batch: Largest number of states that a score model computes at the same time, where that has to be fewer than
            suits the device; None: as many.  Samples do not depend on it, but for rounding.
        limit: Number of trajectories to reconstruct, from the first on; None: all.
        observe: Partial observation of the final states, such as ``"sensors:0.25"`` or ``"coarse:4"``; see
            :func:`~physinv.laws.operators.named`.  None: the whole final state is observed, without noise.
        observed_noise: Standard deviation of the noise of a partial observation, in the unit of the state; None: a
            twentieth of the standard deviation of the first 4096 final states of the data.
        refine: Gradients of Monte Carlo over paths that each sample moves by in the end, given the final state
            (:func:`~physinv.methods.classical.monte_carlo.refine.refine`) or the observed part of it
            (:func:`~physinv.methods.classical.monte_carlo.refine.refine_given`); 0: none.
        weigh: Draws of the reversal for each observation that are weighed, and from which the samples are drawn in
            proportion to their weights (:func:`~physinv.posterior.weigh.weigh`); 0: samples are not weighed.
        certify: Trajectories whose log density ``log p(x_0 | x_T)`` and whose bracket of ``log p(x_T)`` are stored with
            the samples (:func:`~physinv.runs.sampling.certificate.certify`); 0: none; None: 64, down to 8 of large
            states.

    Raises:
        ValueError: If a name is unknown, a number is smaller than 1, or a partial observation is combined with an
            answer other than ``"samples"``.

    Example:
        >>> SamplingPlan(samples=4, steps=8).answer
        'samples'
    """

    answer: str = "samples"
    samples: int = 16
    steps: int | None = None
    grid: str = "stored"
    seed: int = 0
    batch: int | None = None
    limit: int | None = None
    observe: str | None = None
    observed_noise: float | None = None
    refine: int = 0
    weigh: int = 0
    certify: int | None = None

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise ValueError(f"`answer` must be one of {', '.join(ANSWERS)}, got {self.answer!r}.")
        check_grid(self.grid)
        for name in ("samples", "limit", "steps", "batch"):
            value = getattr(self, name)
            if value is not None:
                check_count(value, name)
        check_count(self.seed, "seed", least=0)
        for name in ("certify", "refine", "weigh"):
            if not isinstance(value := getattr(self, name), int | None):
                raise ValueError(f"`{name}` must be a whole number, got {describe(value)}; give 0 or more.")
        if self.observe is not None and not isinstance(self.observe, str):
            raise ValueError(
                f"`observe` must be a word such as sensors:0.25, got {describe(self.observe)}; see the guide."
            )
        if self.observed_noise is not None and not isinstance(self.observed_noise, Real):
            raise ValueError(f"`observed_noise` must be a number, got {describe(self.observed_noise)}.")
        check_memory(_TIME * (self.steps or 0), f"`steps` = {self.steps}", "take fewer steps")
        if self.observe is not None and self.answer != "samples":
            raise ValueError(f"`observe` needs `answer` samples, got {self.answer!r}.")
        if self.certify is not None and self.certify < 0:
            raise ValueError(f"`certify` must be 0 or more, got {self.certify}.")
        if self.certify and self.answer != "samples":
            raise ValueError(f"`certify` needs `answer` samples, got {self.answer!r}; leave it out.")
        for name in ("refine", "weigh"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be 0 or more, got {getattr(self, name)}.")
        if self.refine and self.answer != "samples":
            raise ValueError(f"`refine` moves samples, got {self.refine} with `answer` {self.answer!r}; leave it out.")
        if self.weigh and (self.weigh < self.samples or self.answer != "samples" or self.observe is not None):
            raise ValueError(
                f"`weigh` must be 0 or at least `samples`, and weighs samples given the whole final state, got "
                f"{self.weigh} with `samples` {self.samples}, `answer` {self.answer!r} and `observe` {self.observe!r}."
            )

    @property
    def draws(self) -> int:
        """Return the number of states computed for each observation: ``samples``, or 1 of a single estimate."""
        return self.samples if self.answer == "samples" else 1
