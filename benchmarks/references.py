"""Reference posteriors of nonlinear processes, and checks of what makes them.

python benchmarks/references.py check          Monte Carlo against closed forms, Fokker-Planck and importance sampling
python benchmarks/references.py make burgers   a reference, into benchmarks/results/references/burgers.hdf5
python benchmarks/references.py look kpz        why chains are slow: sharp directions, and the law of initial states
python benchmarks/references.py again kpz       the same chains with other random numbers, beside the stored ones
python benchmarks/references.py compare kpz     a method on the data of a reference, before and after 20 gradients

A reference holds the first test observations of the benchmark's own data (recipe and seed as `physinv benchmark`
makes them): moments, a few draws, and the scores of all draws against the truth, which every other method is held
against.  CRPS and energy score are fair; their errors are those of the mean over the observations.  The expected CRPS
is that against draws of the reference in the place of the one truth, whose luck is most of the error of the other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from common import COMMIT, ROOT, write
from reference_scores import error, expected, scores
from torch import Tensor

from physinv.comparison.shipped import find_benchmark
from physinv.config.seeds import seeds
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.evaluation import metrics
from physinv.evaluation.references import FOLDER, StoredReference, read_reference, scores_of_chains, write_reference
from physinv.methods.classical.monte_carlo.diagnostics import Explored, joined
from physinv.methods.classical.monte_carlo.laplace import descend, integrate_late
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior, fit_mcmc
from physinv.methods.classical.monte_carlo.path import PathObjective, fit_path_model
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.registry import fit_method, method_names
from physinv.processes.parameters import build, describe
from physinv.processes.registry import find
from physinv.runs.sampling.refining import prepare_refinement
from physinv.training.budget import Budget

DRAWS = 64  # of a method, for each observation
UPDATES = 500  # of physinv, at whose samples chains begin
SCORED = 400  # draws of a reference that are scored, about
LOOKS = 2  # Gauss-Newton steps from the truth (`look`)
TOGETHER = 8  # observations whose chains run at once


@dataclass(frozen=True)
class System:
    """What a reference is made of: a benchmark's recipe by name, or a process of its own."""

    simulator: str
    parameters: dict[str, Any]
    splits: dict[str, int]
    observations: int
    draws: int = 16
    options: dict[str, Any] = field(default_factory=dict)
    begin: int = 0  # chains that begin at samples of physinv, trained for some updates; 0: where mcmc begins
    before: float = 0.0  # time before 0 that paths begin at: a spin-up, after which states have no density to ask for


def of_recipe(name: str, observations: int, begin: int = 0, **options: Any) -> System:
    recipe = find_benchmark(name)
    splits = recipe.splits.model_dump()
    return System(recipe.simulator, dict(recipe.parameters), splits, observations, options=options, begin=begin)


def of_stranger(process: str, splits: dict[str, int], observations: int, begin: int = 0, **options: Any) -> System:
    """A process of benchmarks/stranger_fields.py with its defaults."""
    return System(f"stranger_fields:{process}", {}, splits, observations, options=options, begin=begin)


def of_dataset(
    name: str,
    observations: int,
    changes: dict[str, Any] | None = None,
    begin: int = 0,
    before: float = 0.0,
    **options: Any,
) -> System:
    """The process of datasets/NAME/recipe.toml, or one with some parameters changed."""
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    parameters = {**recipe.parameters, **(changes or {})}
    splits = recipe.splits.model_dump()
    return System(recipe.simulator, parameters, splits, observations, options=options, begin=begin, before=before)


FIELD = {"begin": 16, "late": 1.0, "iterations": 64, "warm_up": 40, "most": 2}
LONG = {"begin": 8, "late": 0.25, "iterations": 220, "warm_up": 50, "most": 1}
PLANE = {"size": 12, "viscosity": 0.16, "scale": 2.0}  # shocks two grid spacings wide
MILD = {"size": 16, "scale": 1.5, "strength": 1.0, "diffusivity": 0.2, "noise": 0.06}  # resolved
SPUN = {"chains": 4, "particles": 16, "iterations": 128, "warm_up": 1, "most": 1}
KS, SPIN_UP, WAVES = "kuramoto-sivashinsky", {"size": 32, "spin_up": 20.0}, {"size": 32, "spin_up": 0.0, "horizon": 7.5}
STRANGER = {"train": 2000, "valid": 200, "test": 100}
SMALL = {"chains": 4, "particles": 32, "iterations": 64, "most": 2}

SYSTEMS = {
    "burgers": lambda: of_recipe("burgers", 100, substeps=12, **FIELD),
    "kpz": lambda: of_dataset("kpz", 6, substeps=12, **LONG),
    "kpz-16": lambda: of_dataset("kpz", 16, MILD, substeps=4, **LONG | {"iterations": 150}),
    "kuramoto-sivashinsky-32": lambda: of_dataset(KS, 4, SPIN_UP, before=20.0, substeps=8, **SPUN),
    "kuramoto-sivashinsky-waves": lambda: of_dataset(KS, 24, WAVES, substeps=6, **FIELD | {"iterations": 96}),
    "allen-cahn-16": lambda: of_dataset(
        "allen-cahn", 8, {"size": 16}, substeps=4, **FIELD | {"iterations": 128, "warm_up": 80}
    ),
    "burgers-2d-12": lambda: of_dataset("burgers-2d", 8, PLANE, substeps=8, **LONG | {"late": 0.5, "iterations": 150}),
    "navier-stokes-16": lambda: of_dataset("navier-stokes", 8, {"size": 16, "wavenumber": 2}, substeps=4, **FIELD),
    "swift-hohenberg": lambda: of_stranger("SwiftHohenberg", STRANGER, 24, substeps=4, **FIELD | {"iterations": 96}),
    "excitable-medium": lambda: of_stranger("ExcitableMedium", STRANGER, 16, substeps=5, **FIELD | {"iterations": 96}),
    "particles-3": lambda: of_dataset("particles", 40, {"particles": 3}, substeps=2, **SMALL),
}


@dataclass(frozen=True)
class Data:
    """A problem and its test observations."""

    problem: Problem
    truth: Tensor
    final: Tensor


def data_of(system: System, seed: int) -> Data:
    simulator = build(find(system.simulator), system.parameters)
    with tempfile.TemporaryDirectory() as tmp:
        made = generate(DatasetPlan(simulator, system.splits, seed, system.simulator), Path(tmp) / "d")
        train, valid, test = (TrajectoryDataset(made / "data" / s).load() for s in ("train", "valid", "test"))
    n = system.observations
    return Data(Problem(simulator, train, valid, seed=seed), test.states(0, limit=n), test.states(-1, limit=n))


def explored(
    posterior: PathPosterior, final: Tensor, begin: Tensor | None, rows: slice, generator: torch.Generator
) -> Explored:
    """Chains of some observations, with a line of progress."""
    found = posterior.explore(final[rows], begin=None if begin is None else begin[rows], generator=generator)
    told = f"R-hat {', '.join(f'{float(r):.3f}' for r in found.r_hat)}"
    print(f"observations from {rows.start} on: {told}; {time.process_time():.0f} s of CPU", flush=True)
    return found


def spun_up(problem: Problem, system: System) -> PathPosterior:
    """Monte Carlo over paths that begin before 0, at the Gaussian from which the process spins up.

    The process runs on in its spin-up as it does afterwards, so that the law of states at 0 is that of these paths.
    """
    times = problem.simulator.times
    interval = float(times[1] - times[0])
    horizon, count = system.before + float(times[-1]), round(system.before / interval) + len(times) - 1
    changes = {"spin_up": 0.0, "horizon": horizon, "steps": count}
    longer = build(find(system.simulator), system.parameters | changes)
    options = dict(system.options)
    generator = seeds(problem.seed).child("method", "paths").generator()
    model = fit_path_model(longer, substeps=options.pop("substeps"), generator=generator)
    model = model.through((system.before, horizon))
    return PathPosterior(model, None, seed=problem.seed, frames=(system.before,), **options)


def chains(system: System, data: Data, seed: int) -> Explored:
    """Draws for all observations; the seed is that of the draws, and of what chains begin at."""
    problem = replace(data.problem, seed=seed)
    posterior = spun_up(problem, system) if system.before else fit_mcmc(problem, **system.options)
    generator = seeds(seed).child("comparison", "samples").generator()
    begin = None
    if system.begin:  # spread as the posterior is, in all of its modes
        trained = fit_method("physinv", replace(problem, budget=Budget(steps=UPDATES)))
        begin = trained.sample(data.final, system.begin, generator=generator)
    parts = [slice(i, i + TOGETHER) for i in range(0, len(data.final), TOGETHER)]
    found = joined([explored(posterior, data.final, begin, rows, generator) for rows in parts])
    return replace(found, draws=found.draws[:, :, :, 0]) if system.before else found


def scored(found: Explored, data: Data) -> tuple[Tensor, Tensor]:
    """CRPS and energy score of each observation, by some draws of all chains."""
    moving, (count, length) = data.problem.simulator.layout.moving, found.draws.shape[1:3]
    some = found.draws[:, :, :: max(1, count * length // SCORED)]
    seen = moving(some.flatten(0, 2)).reshape(*some.shape[:3], *moving(data.truth).shape[1:])
    return scores_of_chains(seen, moving(data.truth))


def make(name: str, seed: int) -> None:
    """Make one reference and print its figures."""
    system = SYSTEMS[name]()
    data = data_of(system, seed)
    simulator, begun = data.problem.simulator, time.process_time()
    found = chains(system, data, seed)
    moving, whole = simulator.layout.moving, found.draws.transpose(1, 2).flatten(1, 2)
    crps, energy = scored(found, data)
    figures = {
        "crps": float(crps.mean()),
        "crps_error": error(crps),
        "energy_score": float(energy.mean()),
        "energy_score_error": error(energy),
        "coverage_90": float(metrics.coverage(moving(whole), moving(data.truth))),
        "largest_r_hat": float(found.r_hat.max()),
        "least_effective": float(found.effective.min()),
        "accepted": float(found.accepted.mean()),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }
    info = {
        "command": f"python benchmarks/references.py make {name} --seed {seed}",
        "method": "mcmc",
        "options": system.options,
        "begin": system.begin,
        "before": system.before,
        "simulator": system.simulator,
        "parameters": describe(simulator),
        "seed": seed,
        "split": "test",
        "trajectories": [0, len(data.final)],
        "figures": figures,
        "versions": versions(),
        "commit": COMMIT,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    stored = StoredReference(
        data.final,
        data.truth,
        whole.mean(1),
        whole.std(1),
        found.thinned(system.draws),
        crps,
        energy,
        found.r_hat.float(),
        found.effective.float(),
        info,
    )
    write_reference(FOLDER / f"{name}.hdf5", stored)
    print(name, {k: round(v, 5) for k, v in figures.items()}, flush=True)


def again(name: str, seed: int) -> None:
    """Make the reference of the same data a second time, with other random numbers, and store how far it is off."""
    system, path = SYSTEMS[name](), FOLDER / f"{name}.hdf5"
    reference, data = read_reference(path), data_of(system, seed)
    found = chains(system, data, seed + 1)
    both = reference.converged & replace(reference, r_hat=found.r_hat.float()).converged
    if not bool(both.any()):
        raise SystemExit(f"{name}: no observation has converged in both runs.")
    crps, energy = scored(found, data)
    moving = data.problem.simulator.layout.moving
    whole = moving(found.draws.flatten(0, 2)).reshape(len(both), -1, *moving(data.truth).shape[1:])[both]
    mean, deviation = moving(reference.mean)[both], moving(reference.deviation)[both]
    size = deviation.square().mean().sqrt()
    figures = {
        "observations": int(both.sum()),
        "crps_ratio": float(crps[both].mean() / reference.crps[both].mean()),
        "energy_score_ratio": float(energy[both].mean() / reference.energy[both].mean()),
        "means_apart": float((whole.mean(1) - mean).square().mean().sqrt() / size),
        "deviation_ratio": float(whole.std(1).square().mean().sqrt() / size),
    }
    write_reference(path, replace(reference, info=reference.info | {"again": figures}))
    print(name, "again", {k: round(v, 5) for k, v in figures.items()}, flush=True)


def compare(name: str, method: str, seed: int, budget: float, gradients: list[int]) -> dict[str, float]:
    """Scores of a method over those of the reference, on its converged observations, before and after gradients."""
    system = SYSTEMS[name]()
    data = data_of(system, seed)
    reference = read_reference(FOLDER / f"{name}.hdf5")
    rows = [i for i, x in enumerate(data.final) if reference.places(x[None]) is not None]
    if not rows:
        raise SystemExit(f"{name}: no observation of seed {seed} has a converged reference; make it first.")
    truth, final, at = data.truth[rows], data.final[rows], reference.places(data.final[rows])
    assert at is not None
    exact = reference.crps[at], reference.energy[at]

    problem = replace(data.problem, budget=Budget(seconds=budget))
    begun = time.process_time()
    answer = fit_method(method, problem)
    spent = time.process_time() - begun

    def draw(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
        return answer.sample(x, n, generator=generator).detach()

    samples = draw(final, DRAWS, seeds(seed).child("comparison", "samples").generator())
    figures = {"observations": float(len(rows)), "CPU seconds of training": spent}
    moving, model = problem.simulator.layout.moving, None
    draws = moving(reference.draws[at].flatten(0, 1)).reshape(len(rows), -1, *moving(truth).shape[1:])
    for count in gradients if not system.before else [0]:  # states after a spin-up have no density to refine by
        generator, begun = seeds(seed).child("reconstruction", "refinement").generator(), time.process_time()
        if count and model is None:
            paths = seeds(seed).child("method", "paths").generator()
            model = fit_path_model(problem.simulator, substeps=system.options.get("substeps"), generator=paths)
        moved = samples
        if count and model is not None:  # as `reconstruct --refine` does
            stream = seeds(seed).child("reconstruction", "refinement")
            moved = prepare_refinement(model, draw, count, stream)(samples, final, generator)
        took = 1e3 * (time.process_time() - begun) / (DRAWS * len(rows))
        after = f", {count} gradients" if count else ""
        for label, ours, theirs in zip(
            ("CRPS", "energy score"), scores(moving(moved), moving(truth)), exact, strict=True
        ):
            figures[f"{label}{after}"] = float(ours.mean())
            figures[f"{label} over exact{after}"] = float(ours.mean() / theirs.mean())
            figures[f"standard error of that, {label}{after}"] = error(ours - theirs) / float(theirs.mean())
        ours, theirs = expected(moving(moved), draws)
        figures[f"expected CRPS over exact{after}"] = float(ours.mean() / theirs.mean())
        figures[f"standard error of that, expected CRPS{after}"] = error(ours - theirs) / float(theirs.mean())
        figures[f"coverage of 90 %{after}"] = float(metrics.coverage(moving(moved), moving(truth)))
        if count:
            figures[f"CPU milliseconds for a draw{after}"] = took
    return figures


def check(seed: int) -> None:
    """Scores of Monte Carlo over those of the exact posterior, on the heat equation and in a double well."""
    heat = System("heat", {"size": 16, "dimension": 1, "steps": 4}, {"train": 200, "valid": 60, "test": 100}, 100)
    well = System(
        "double-well",
        {"barrier": 0.5, "temperature": 0.3, "start": 0.25, "horizon": 0.3, "steps": 2},
        {"train": 200, "valid": 60, "test": 100},
        100,
    )
    for system in (heat, well):
        data, generator = data_of(system, seed), seeds(seed).child("comparison", "samples").generator()
        found = fit_mcmc(data.problem).explore(data.final, generator=generator)
        law = data.problem.simulator.exact()
        assert law is not None
        exact = law.sample(data.final, 600, generator=generator)
        ours, theirs = (scores(d, data.truth)[0] for d in (found.draws.flatten(1, 2), exact))
        print(
            f"{system.simulator}: CRPS over exact {float(ours.mean() / theirs.mean()):.4f} +- "
            f"{error(ours - theirs) / float(theirs.mean()):.4f}, R-hat up to {float(found.r_hat.max()):.3f}, "
            f"{float(found.effective.min()):.0f} effective draws or more",
            flush=True,
        )


def look(name: str, seed: int) -> None:
    """Print what makes chains slow: the law of initial states, and what x_T tells more sharply than the prior."""
    system = replace(SYSTEMS[name](), observations=2, splits={"train": 2000, "valid": 20, "test": 20})
    data = data_of(system, seed)
    moving = data.problem.simulator.layout.moving
    start = moving(data.problem.train.states(0)).flatten(1).double()
    kurtosis = ((start - start.mean(0)) / start.std(0)).pow(4).nanmean()
    print(f"{name}: kurtosis of initial states {float(kurtosis):.2f} (a Gaussian: 3)", flush=True)
    try:
        model = fit_path_model(data.problem.simulator, substeps=system.options["substeps"])
    except NotApplicableError as refusal:
        print(f"  {refusal}")
        return
    objective, u = PathObjective(model, data.final), model.law.standardise(data.truth)
    found = descend(objective, torch.cat([u, u.new_zeros(len(u), objective.numbers - u.shape[1])], 1), LOOKS)
    for share in (0.0, system.options.get("late", 0.0), 1.0):
        squares = integrate_late(objective, found, share)[1].squares
        sharp = [
            f"{float(s.amax().sqrt()):.0f} ({int((s > 100).sum())} above 10, {int((s > 1).sum())} above 1)"
            for s in squares
        ]
        print(f"  noise of the last {share:.0%} integrated out: the sharpest direction {', '.join(sharp)}", flush=True)


CHAINS = {"make": make, "look": look, "again": again}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "check", "look", "again", "compare"))
    parser.add_argument("names", nargs="*", help=f"systems: {', '.join(SYSTEMS)}")
    parser.add_argument("--seed", type=int, default=0, help="of data and draws")
    parser.add_argument("--method", choices=method_names(), default="physinv", metavar="METHOD", help="to compare")
    parser.add_argument("--budget", type=float, default=40.0, help="seconds of training (`compare`)")
    parser.add_argument("--gradients", type=int, nargs="+", default=[0, 20], help="of refinement (`compare`)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "check":
        check(args.seed)
        return
    for name in args.names or SYSTEMS:
        if args.what in CHAINS:
            CHAINS[args.what](name, args.seed)
            continue
        figures = compare(name, args.method, args.seed, args.budget, args.gradients)
        head = {"benchmark": f"exact-{name}", "seeds": [args.seed], "budget_seconds": args.budget}
        path = ROOT / "benchmarks" / "results" / f"exact-{name}.json"
        known = json.loads(path.read_text("utf-8"))["figures"] if path.exists() else {}
        kept = {k: v for k, v in known.items() if not k.startswith(f"{args.method}: ")}
        write(path, head, kept | {f"{args.method}: {key}": [value] for key, value in figures.items()})
        print("\n".join(f"{name}, {args.method}: {key:44s} {value:.4g}" for key, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
