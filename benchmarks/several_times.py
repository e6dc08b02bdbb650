"""Observations at several times: each method beside the exact smoother of linear-Gaussian processes.

    python benchmarks/several_times.py [--out benchmarks/results/several-times.json]

1. Ornstein-Uhlenbeck in one dimension (rate .5, noise .5, x_0 from N(0, 1)), sensors of sigma .3 at .5, 1, 1.5 and 2:
   x_0 by every method that takes records, the bridge between two known states, the forecast by 1.
2. Heat, 32 x 32, a quarter of the points with sigma .05 at four times: CRPS of x_0 beside exact and by x_T alone.
3. The same with half of the frames missing: CRPS of all frames beside the exact smoother.

The record keeps what is not measured again: heat 16 x 16 of eight trajectories (`--size 16`) beside 32 x 32 of four
(`--only field --trajectories 4`).
"""

from __future__ import annotations

import argparse
import functools
import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from common import COMMIT, write
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.evaluation.metrics import crps
from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import everything, random_mask, sensors
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.laplace import descend
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.particle_smoother import ParticleSmoother
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.weak_constraint import lowered, weak_constraint
from physinv.methods.problem import RecordAnswer
from physinv.posterior.posterior import Posterior
from physinv.posterior.several_times.twisted import TwistedReversal
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
SEED, DRAWS = 0, 4000
COLUMNS = {
    "deviation_over_exact": "deviation over exact",
    "largest_gap_of_means": "largest gap of means",
    "crps": "CRPS",
    "over_exact": "CRPS over exact",
}


def vector() -> dict[str, Any]:
    """The figures of Ornstein and Uhlenbeck."""
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=40)
    prior = LinearGaussian(ou, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
    sensor, known = Observation(everything, 0.3), Observation(everything, 1e-4)
    record = ObservationRecord(*((t, sensor) for t in (0.5, 1.0, 1.5, 2.0)))
    generator = seeds(SEED).child("observation", "noise").generator()
    y = record.observe(ou.simulate(4, [0.0, *record.times], generator=generator)[:, 1:], generator=generator)
    exact = prior.given(record)
    mean, deviation = exact.mean(y.double())[:, 0], float(exact.deviation_at([0.0]))
    alone = float(prior.given(known).deviation_at([0.0]))
    found: dict[str, Any] = {"exact": {"deviation": deviation}, "final state alone": {"deviation": alone}}
    print(f"x_0 given four sensors: exact deviation {deviation:.5f}, by x_T alone {alone:.3f}")

    model = fit_path_model(ou, generator=torch.Generator().manual_seed(SEED))
    reversal = Posterior(ou, ou.score, ou.times)
    answers: dict[str, RecordAnswer] = {
        "gauss-newton": weak_constraint(ou, record, functools.partial(descend, steps=3)),
        "lbfgs": weak_constraint(ou, record, functools.partial(lowered, iterations=20, memory=10)),
        "mcmc": PathPosterior(model, None, 4, 2000, 100, 2, SEED).given(record),
        "importance": ParticleSmoother(ou, record, 400_000),
        "reversal": TwistedReversal(reversal, record, 40_000),
    }
    for name, answer in answers.items():
        begun = time.perf_counter()
        drawn = answer.sample(y, DRAWS if name != "reversal" else 40_000, generator=generator).double()[..., 0]
        took = time.perf_counter() - begun
        gap = float((drawn.mean(1) - mean).abs().max())
        ratio = float(drawn.var(1).mean().sqrt()) / deviation
        found[name] = {"deviation_over_exact": ratio, "largest_gap_of_means": gap, "seconds": took}
        print(f"  {name:13} deviation / exact {ratio:.4f}, largest gap of means {gap:.4f}, {took:.1f} s")

    # A bridge, and a forecast.
    ends = ObservationRecord((0.0, known), (2.0, known))
    bridge = prior.given(ends)
    weights, width = bridge.mean_at(torch.eye(2, dtype=F64), [1.0]).flatten().tolist(), bridge.deviation_at([1.0])
    drawn = weak_constraint(ou, ends, functools.partial(descend, steps=3)).sample_at(
        torch.tensor([[1.0, 0.0]]), 40_000, [1.0], generator=generator
    )
    last = prior.given(known)
    ahead = float(last.mean_at([[1.0]], [3.0])), float(last.deviation_at([3.0])) ** 2
    found["bridge"] = {
        "coefficients": weights,
        "deviation": float(width),
        "path": [float(drawn.mean()), float(drawn.std())],
    }
    found["forecast"] = {"coefficient": ahead[0], "variance": ahead[1]}
    print(f"bridge: coefficients {weights[0]:.6f} {weights[1]:.6f} (.443409), deviation {float(width):.6f} (.339896)")
    print(f"  by paths: coefficient {float(drawn.mean()):.4f}, deviation {float(drawn.std()):.4f}")
    print(f"forecast by 1: {ahead[0]:.5f} x_T (.60653), variance {ahead[1]:.5f} (.15803)")
    return found


def field(size: int, trajectories: int) -> dict[str, Any]:
    """The figures of heat.

    Args:
        size: Grid points along each axis.
        trajectories: How many are reconstructed.
    """
    heat = Heat(size=size)
    law = heat.exact()
    assert law is not None
    mask = random_mask(heat.shape, 0.25, generator=seeds(SEED).child("observation", "sensors").generator())
    quarter = Observation(sensors(mask), 0.05)
    generator = seeds(SEED).child("observation", "noise").generator()
    times = heat.times.tolist()
    paths = heat.simulate(trajectories, generator=generator)
    at = [round(len(times) * share) - 1 for share in (0.25, 0.5, 0.75, 1.0)]
    record = ObservationRecord(*((times[i], quarter) for i in at))
    y, truth, found = record.observe(paths[:, at], generator=generator), paths[:, 0], {}
    single = ObservationRecord((times[-1], quarter))

    exact = law.given(record)
    alone = law.given(single).sample(y[:, -int(mask.sum()) :], 16, generator=generator)
    rows = {"exact": exact.sample(y, 16, generator=generator), "last time alone": alone}
    begun = time.perf_counter()
    rows["gauss-newton"] = weak_constraint(heat, record, functools.partial(descend, steps=1)).sample(
        y, 16, generator=generator
    )
    took = time.perf_counter() - begun
    for name, drawn in rows.items():
        found[name] = {"crps": _crps(drawn, truth), "over_exact": _crps(drawn, truth) / _crps(rows["exact"], truth)}
        value, ratio = found[name]["crps"], found[name]["over_exact"]
        print(f"heat {size} x {size}, four times, {name:15} CRPS {value:.4f} ({ratio:.3f} of exact)")
    found["gauss-newton"]["seconds"] = took

    # Half of the frames are missing: of eight, every second one is seen, by the same sensors; the others are filled in.
    seen = list(range(1, len(times), 2))[:: max(1, len(times) // 8)]
    sparse = ObservationRecord(*((times[i], quarter) for i in seen))
    z = sparse.observe(paths[:, seen], generator=generator)
    frames = sorted({*seen, *(i - 1 for i in seen)})
    wanted = [times[i] for i in frames]
    both = {
        "exact": law.given(sparse).sample_at(z, 16, wanted, generator=generator),
        "gauss-newton": weak_constraint(heat, sparse, functools.partial(descend, steps=1)).sample_at(
            z, 16, wanted, generator=generator
        ),
    }
    known = paths[:, frames]
    for name, drawn in both.items():
        value = _crps(drawn, known)
        found[f"frames, {name}"] = {"crps": value, "over_exact": value / _crps(both["exact"], known)}
        print(f"heat {size} x {size}, half of {len(frames)} frames, {name:13} CRPS {value:.5f}")
    return found


def _crps(drawn: Tensor, truth: Tensor) -> float:
    return float(crps(drawn, truth).mean())


def main() -> None:
    """Print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--size", type=int, default=32, help="grid points along each axis of the heat equation")
    parser.add_argument("--trajectories", type=int, default=8, help="trajectories of the heat equation")
    parser.add_argument("--only", choices=("vector", "field"), help="one of the two parts")
    given = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    found = {}
    if given.only != "field":
        found["ornstein-uhlenbeck"] = vector()
    if given.only != "vector":
        found[f"heat {given.size}"] = field(given.size, given.trajectories)
    if given.out is not None:
        old = json.loads(given.out.read_text("utf-8")) if given.out.exists() else {"figures": {}, "made": {}}
        made = old["made"] | {part: {"commit": COMMIT} for part in found}
        figures = old["figures"] | {k: [v] for k, v in rows(found).items()}
        write(given.out, {"benchmark": "several-times", "seeds": [SEED], "made": made}, figures)


def rows(found: dict[str, Any]) -> dict[str, float]:
    """The figures as rows and columns of tables."""
    figures = {}
    for part, methods in found.items():
        system = "Ornstein-Uhlenbeck, four sensors" if part.startswith("ornstein") else part
        for method, numbers in methods.items():
            for name, column in COLUMNS.items():
                if name in numbers:
                    figures[f"{system}, {method}: {column}"] = numbers[name]
    return figures


if __name__ == "__main__":
    main()
