"""One jump from T to 0 of nonlinear fields: how good a learned normal law is after given seconds of one core.

python benchmarks/field_kernels.py burgers kpz --budget 40 --seeds 0 1 2

Trains the jumps of physinv.models.jumps.field on the recipe's data, with new noise from the stored initial states while
it trains, and prints CRPS, energy score, coverage of the 90 % interval and the forward misfit |F(x_0) - x_T|^2 in units
of its noise (median) of draws for the first 100 test observations, beside the linear estimate, the truth's own misfit
and, where a file of references is present, the exact posterior's scores.  Time is CPU time of this process, so that
neighbours on the machine do not count; simulation is included, evaluation is not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import torch
from common import ROOT, dataset, told, write
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation import metrics
from physinv.methods.classical.forward import Forward, fit_forward
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.problem import Problem
from physinv.models.jumps.field import FieldJumps, fit_field_jumps
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.training.updates import Updates

SYSTEMS = ("burgers", "kuramoto-sivashinsky", "kpz", "allen-cahn")
REFERENCES = ROOT / "benchmarks" / "results" / "references"
OBSERVATIONS, DRAWS = 100, 64
PART = 250  # trajectories simulated at once


@dataclass
class Pool:
    """Trajectories to train on, with what the network sees of their later states, for each pair of times."""

    kernel: FieldJumps
    pairs: list[tuple[int, int]]
    states: list[Tensor] = field(default_factory=list)
    contexts: list[list[Tensor]] = field(default_factory=list)

    def add(self, states: Tensor) -> None:
        self.states.append(states)
        index = torch.zeros(len(states), dtype=torch.int64)
        made = [self.kernel.context(states[:, t], index + s, index + t) for s, t in self.pairs]
        self.contexts = [[*old, new] for old, new in zip(self.contexts or [[] for _ in made], made, strict=True)]

    def gathered(self) -> tuple[Tensor, list[Tensor]]:
        """All of it, each in one piece."""
        self.states = [torch.cat(self.states)]
        self.contexts = [[torch.cat(parts)] for parts in self.contexts]
        return self.states[0], [parts[0] for parts in self.contexts]


def train(
    kernel: FieldJumps,
    simulator: Simulator,
    data: TrajectoryDataset,
    settings: Settings,
    *,
    seconds: float,
    seed: int,
    pairs: list[tuple[int, int]],
    weights: list[float],
    fresh: float,
) -> dict[str, float]:
    """Train a kernel for some CPU seconds, of which a share ``fresh`` goes into new noise; returns what was done."""
    begun, stream = time.process_time(), seeds(seed).child("training")
    order, noise, views = (stream.child(name).generator() for name in ("order", "fresh", "noise"))
    pool, rate = Pool(kernel, pairs), settings.rate or data.layout.default_rate
    updates = Updates(kernel, settings, rate)
    starts, added, simulating, count = data.states(0), 0, 0.0, 0
    for part in data.trajectories().split(PART):
        pool.add(part)
    states, contexts = pool.gathered()
    prepared = time.process_time() - begun
    while (used := (time.process_time() - begun) / seconds) < 1:
        # New noise from stored starts, as long as its share of the time is not used up and the rest can use it.
        if fresh and simulating < fresh * min(used + 0.1, 0.7) * seconds and used < 0.7:
            at = time.process_time()
            rows = torch.arange(added, added + PART) % len(starts)
            pool.add(simulator.run(starts[rows], generator=noise))
            states, contexts = pool.gathered()
            added, simulating = added + PART, simulating + time.process_time() - at
        k = int(torch.multinomial(torch.tensor(weights), 1, generator=order)) if len(pairs) > 1 else 0
        rows = torch.randint(len(states), (settings.batch or 32,), generator=order)
        s, t = (torch.full((len(rows),), v) for v in pairs[k])
        loss = kernel.loss(
            states[rows, pairs[k][0]], states[rows, pairs[k][1]], s, t, context=contexts[k][rows], generator=views
        )
        count += 1
        updates.step(loss, progress=used, count=count)
    kernel.network.load_state_dict(updates.average.network.state_dict())
    return {
        "updates": count,
        "new trajectories": added,
        "seconds of preparation": prepared,
        "seconds of new noise": simulating,
    }


def scores(draws: Tensor, truth: Tensor, final: Tensor, forward: Forward) -> dict[str, float]:
    misfit = torch.stack([forward.misfit(draws[:, i], final).square().sum(1) for i in range(4)])
    return {
        "CRPS": float(metrics.crps(draws, truth)),
        "energy score": float(metrics.energy_score(draws, truth)),
        "coverage of 90 %": float(metrics.coverage(draws, truth, 0.9)),
        "median forward misfit": float(misfit.median()),
    }


def once(
    name: str,
    seed: int,
    budget: float,
    settings: Settings,
    options: argparse.Namespace,
) -> Mapping[str, float]:
    """All figures of one system and seed."""
    with tempfile.TemporaryDirectory() as tmp:
        if options.data:
            data = {s: TrajectoryDataset(options.data / name / "data" / s).load() for s in ("train", "valid", "test")}
        else:
            data = dataset(name, seed, Path(tmp) / "data")
    config = data["train"].config
    simulator: Simulator = build(find(config["simulator"]), config["parameters"])
    last = len(data["train"].times) - 1
    pairs = [(0, last), *((0, t) for t in range(last - 1, 0, -1) if t >= 0.7 * last)][: 1 + options.jumps]
    weights = [1.0] if len(pairs) == 1 else [0.5, *[0.5 / (len(pairs) - 1)] * (len(pairs) - 1)]

    begun = time.process_time()
    kernel = fit_field_jumps(simulator, data["train"], settings, seed=seed, pairs=pairs)
    fitted = time.process_time() - begun
    done = train(
        kernel,
        simulator,
        data["train"],
        settings,
        seconds=budget - fitted,
        seed=seed,
        pairs=pairs,
        weights=weights,
        fresh=options.fresh,
    )
    kernel.finish(data["valid"], pairs[:1])

    truth, final = (data["test"].states(i, limit=OBSERVATIONS) for i in (0, -1))
    index, generator = torch.zeros(len(final), dtype=torch.int64), torch.Generator().manual_seed(seed)
    begun = time.process_time()
    draws = kernel.sample(final, index, index + last, generator=generator, draws=DRAWS)
    took = time.process_time() - begun
    draws = draws.reshape(len(final), DRAWS, *final.shape[1:])
    forward = fit_forward(Problem(simulator, data["train"], data["valid"]))
    linear = fit_linear(simulator, data["train"], data["valid"]).sample(final, DRAWS, generator=generator)
    found = scores(draws, truth, final, forward)
    figures = {**found, **{f"{k}, linear": v for k, v in scores(linear, truth, final, forward).items()}}
    figures["median forward misfit of the truth"] = float(forward.misfit(truth, final).square().sum(1).median())
    figures["RMSE of the mean"] = float((kernel.mean(final, index, index + last) - truth).square().mean().sqrt())
    figures |= done | {"milliseconds a mean": 1e3 * took / len(final), "seconds of fitting": fitted}
    figures["factor of the deviation"] = float(kernel.calibration[kernel.pair[0, last]].mean())
    return figures | compared(name, seed, found, truth)


def compared(name: str, seed: int, found: Mapping[str, float], truth: Tensor) -> dict[str, float]:
    """Scores over those of stored exact draws ``(observation, draw, *state)``, where there are any for these truths."""
    path = REFERENCES / f"{name}.hdf5"
    if not path.exists():
        return {}
    with h5py.File(path) as file:
        if int(file.attrs.get("seed", -1)) != seed or "draws" not in file:
            return {}
        draws = torch.as_tensor(file["draws"][:])
    truth = truth[: len(draws)]
    exact = {"CRPS": float(metrics.crps(draws, truth)), "energy score": float(metrics.energy_score(draws, truth))}
    return {f"{k} over exact": found[k] / v for k, v in exact.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=SYSTEMS, metavar="SYSTEM", help=", ".join(SYSTEMS))
    parser.add_argument("--budget", type=float, default=40.0, help="CPU seconds of training (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of data, training and sampling")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="training settings")
    parser.add_argument(
        "--fresh", type=float, default=0.2, help="share of the time for new noise (default %(default)s)"
    )
    parser.add_argument(
        "--jumps", type=int, default=0, help="further jumps to 0 that are trained (default %(default)s)"
    )
    parser.add_argument("--data", type=Path, help="folder that holds the datasets; default: made by the seed")
    parser.add_argument("--out", type=Path, help="folder for the JSON; default: none is written")
    args = parser.parse_args()
    torch.set_num_threads(1)
    changes: dict[str, Any] = dict(pair.split("=", 1) for pair in args.set)
    settings = Settings(**{"batch": 32, **{k: number(v) for k, v in changes.items()}})
    for name in args.systems:
        figures: dict[str, list[float]] = {}
        for i, seed in enumerate(args.seeds):
            for key, value in once(name, seed, args.budget, settings, args).items():
                figures.setdefault(key, []).append(value)
            head = {"benchmark": f"field-kernels-{name}", "seeds": args.seeds[: i + 1], "budget_seconds": args.budget}
            if args.out:
                write(args.out / f"field-kernels-{name}.json", head, figures)
        print("\n".join(f"{name}: {key:40s} {told(values)}" for key, values in figures.items()), flush=True)


def number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    main()
