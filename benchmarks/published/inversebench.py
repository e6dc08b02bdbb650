"""InverseBench's Navier-Stokes: 128 x 128, Re 200, forcing -4 cos 4y, fields evolved 5 units, T = 1, every 2nd point.

Zheng et al. (2025) publish for every second point without noise the relative L2 errors .120 of EnKG, with 319,488
solves for each observation, .325 of DPG and .577 of EKI.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from most_probable import most_probable, relative, solves
from torch import Tensor

import physinv as pi
from physinv.config.seeds import seeds
from physinv.laws.operators import named
from physinv.methods.classical.record_objective import RecordObjective
from simulators.fields.navier_stokes import NavierStokes

SOLVES = "solves for each observation"
PUBLISHED = {
    "every 2, noise 0: relative L2 of the most probable state": 0.120,
    f"every 2, noise 0: {SOLVES}": 319_488,
}
CASES = ((2, 0.0, 2000, 4), (2, 1.0, 1000, 4), (2, 2.0, 1000, 4))
TOLD = (
    1,
    10,
    20,
    40,
    60,
    80,
    100,
    150,
    200,
    250,
    300,
    400,
    600,
    800,
    1000,
    1500,
    2000,
)  # gradients of a window after which the error is told


class Curve:
    """Relative L2 of the state that is sought, against the gradients of each search; printed as it goes."""

    def __init__(self, process: NavierStokes, truth: Tensor) -> None:
        self.process, self.truth, self.begun = process, truth, time.process_time()
        self.states: dict[float, Tensor] = {0.0: truth}
        self.last: tuple[float, float] | None = None
        self.gradients, self.found = 0, dict[int, float]()

    def __call__(self, objective: RecordObjective, u: Tensor, value: Tensor) -> None:
        """Hear of a gradient."""
        t, soft = objective.begin, objective.soft
        if t not in self.states:
            self.states[t] = self.process.run(self.truth, [0.0, t], noise=False)[:, -1]
        if (t, soft) != self.last:
            self.last, self.gradients = (t, soft), 0
            self.found.clear()
            of_truth = float(objective.value(objective.prior.standardise(self.states[t])).mean())
            print(f"state at {t:g}, errors times {soft:g}: cost of the truth {of_truth:.5g}", flush=True)
        self.gradients += 1
        if self.gradients in TOLD:
            truth = self.states[t]
            error = relative(objective.prior.root(u, torch.zeros_like(truth)), truth)
            self.found[self.gradients] = error
            spent = time.process_time() - self.begun
            told = f"state at {t:g}, errors times {soft:g}, gradient {self.gradients}: {error:.4f}"
            print(f"{told}, cost {float(value.mean()):.5g}, {spent:.0f} s of CPU", flush=True)


def figures(
    seed: int,
    cases: Sequence[tuple[int, float, int, int]] = CASES,
    observations: int = 1,
    iterations: int = 12,
    known: int = 16,
    size: int = 128,
) -> Iterator[dict[str, float]]:
    """The figures of the same observations seen in several ways, one after another.

    The prior is a Gaussian with the spectrum of ``known`` fields.  A case is the distance of sensors in points, their
    noise, the gradients of the last search, and the draws of which CRPS and coverage are told.
    """
    process = NavierStokes(size=size, viscosity=0.005, noise=0.0, horizon=1.0, steps=1, inner=size // 2)
    generator = seeds(seed).child("comparison", "example").generator()
    fields = torch.cat([process.initial(2, generator=generator) for _ in range(-(-(known + observations) // 2))])
    truth = fields[known : known + observations]
    final = process.run(truth, noise=False)[:, -1]
    for factor, noise, last, draws in cases:
        observation = named(f"every:{factor}", noise or 1e-3 * float(final.std()), process.shape)
        y = observation.observe(final, generator=generator) if noise else observation.operator(final)
        curve, record = Curve(process, truth), pi.ObservationRecord((1.0, observation))
        answer = most_probable(
            process, fields[:known], record, iterations, last=last, hear=curve if observations == 1 else None
        )
        name, mean = f"every {factor}, noise {noise:g}", answer.mean(y)
        found = {f"{name}: relative L2 of the most probable state": relative(mean, truth)}
        if draws:
            at = answer.prior.standardise(mean)  # is not sought again
            samples = replace(answer, minimise=lambda objective, u, at=at: at).sample(y, draws, generator=generator)
            found |= {
                f"{name}: CRPS": float(pi.metrics.crps(samples, truth)),
                f"{name}: CRPS of the most probable state alone": float((mean - truth).abs().mean()),
                f"{name}: coverage of 90 %": float(pi.metrics.coverage(samples, truth)),
            }
        if (factor, noise) == CASES[0][:2]:
            found |= {f"{name}: after {n} gradients of the last search": error for n, error in curve.found.items()}
        yield found | {f"{name}: {SOLVES}": solves(iterations, last)}
