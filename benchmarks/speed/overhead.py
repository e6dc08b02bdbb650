"""What an update of training, and a draw, cost beside the network that they evaluate.

python benchmarks/speed/overhead.py     --only NAMES.  Prints a table; writes results/overhead.json.
                                        To show: updates and draws take at most 1.2 times the bare network, and
                                        ``physinv simulators`` less than 4 s of CPU time

``update``: CPU time of an update of physinv's own method as :func:`physinv.training.loop.fit` does it: drawing the
batch, simulating new trajectories where the method does, loss, gradients, optimiser, moving average; not validation.
``bare``: forward pass, backward pass and step of the same optimiser, for the same network on the inputs of one batch,
which lie ready.  ``draws``: CPU time of samples; ``bare`` is the network alone on all inputs that it got, without
gradients.  Jump kernels where the method is made of them, which heat is not, else the score model; of the double well
both, since each gets about half of the budget.  Data as in the recipes, but fewer.  One thread; medians of the
repetitions.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, write

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.methods.own_jumps import FIELDS, PARTICLES, VECTORS
from physinv.models.build import build_model
from physinv.posterior.jumps import JumpPosterior
from physinv.posterior.posterior import Posterior
from physinv.processes.simulator import Simulator
from physinv.training.budget import Budget
from physinv.training.jump_pairs import JumpPairs
from physinv.training.loop import fit
from physinv.training.objectives.jumps import JUMPS
from physinv.training.updates import Updates

Call = tuple[Tensor, ...]  # arguments of a network
Sample = Callable[[Tensor, torch.Generator], Tensor]

TRAIN, VALID = 500, 100
NEVER = 10**9
CASES = {  # name: (dataset, kind of model, observations, draws of each)
    "heat": ("heat", "score", 4, 8),
    "particles": ("particles", "jumps", 16, 16),
    "burgers": ("burgers", "jumps", 16, 16),
    "double well": ("double-well", "jumps", 100, 64),
    "double well, score": ("double-well", "score", 100, 64),
}


@dataclasses.dataclass
class Case:
    """What is measured of a process."""

    model: nn.Module
    settings: Settings
    rate: float
    period: int  # of updates, after which all costs repeat
    train: Callable[[nn.Module, int], None]  # (model, number of updates)
    sample: Sample
    final: Tensor


def data_of(name: str, folder: Path) -> tuple[Simulator, TrajectoryDataset, TrajectoryDataset]:
    """A few trajectories of a recipe, in memory."""
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    simulator = recipe.plan().simulator
    made = generate(DatasetPlan(simulator, {"train": TRAIN, "valid": VALID}), folder)
    train, valid = (TrajectoryDataset(made / "data" / s).load() for s in ("train", "valid"))
    return simulator, train, valid


def score_case(simulator: Simulator, train: TrajectoryDataset, valid: TrajectoryDataset, n: int, draws: int) -> Case:
    """The score model, with its objective and its reversal."""
    settings = Settings(validate_every=NEVER, validate_windows=64)
    model = build_model(simulator, train, settings)

    def run(one: nn.Module, steps: int) -> None:
        fit(one, simulator, train, valid, settings=settings, budget=Budget(steps=steps))

    def sample(final: Tensor, generator: torch.Generator) -> Tensor:
        return Posterior(simulator, model, train.times).sample(final, draws, generator=generator)

    rate = settings.rate or train.layout.default_rate
    return Case(model, settings, rate, 50, run, sample, valid.states(-1, limit=n))


def jump_case(simulator: Simulator, train: TrajectoryDataset, valid: TrajectoryDataset, n: int, draws: int) -> Case:
    """The jump kernels, with new trajectories, and their draws along all grids."""
    layout = train.layout
    family = PARTICLES if layout.positions else FIELDS if layout.space else VECTORS
    settings = Settings(batch=family.batch, rate=family.rate, windows=(2,), validate_every=NEVER, validate_windows=64)
    kernel = family.fit(simulator, train, settings, seed=0)
    grids = family.grids(len(train.times) - 1)
    pairs = JumpPairs(kernel, simulator, train, valid, fresh="states")

    def run(one: nn.Module, steps: int) -> None:
        own = dataclasses.replace(pairs, kernel=one)
        fit(one, simulator, train, valid, settings=settings, budget=Budget(steps=steps), loss=JUMPS, pairs=own)

    def sample(final: Tensor, generator: torch.Generator) -> Tensor:
        return JumpPosterior(kernel, grids).sample(final, draws, generator=generator)

    return Case(kernel, settings, family.rate, pairs.every, run, sample, valid.states(-1, limit=n))


@contextmanager
def calls(model: nn.Module) -> Iterator[list[Call]]:
    """The arguments of all calls of the network of a model."""
    found: list[Call] = []
    hook = model.network.register_forward_pre_hook(lambda _, args: found.append(tuple(a.detach() for a in args)))
    yield found
    hook.remove()


def seconds(job: Callable[[], object]) -> float:
    """Of CPU time, which other programs on the machine disturb less than the time on the clock."""
    begun = time.process_time()
    job()
    return time.process_time() - begun


def update_cost(case: Case) -> tuple[float, float]:
    """Milliseconds of an update, and of the bare network."""
    few, model = 10, copy.deepcopy(case.model)
    with calls(model) as found:
        case.train(model, few)
    inputs, warm = found, seconds(lambda: case.train(copy.deepcopy(case.model), few))
    whole = seconds(lambda: case.train(copy.deepcopy(case.model), few + case.period))

    # the calls of the last update have gradients; validation, before and after, has none
    count = len([c for c in inputs if len(c[0]) == len(inputs[len(inputs) // 2][0])])
    batch = inputs[len(inputs) // 2]
    per_update = max(1, round(count / few))
    optimiser = Updates(model, case.settings, case.rate).optimiser

    def bare() -> None:
        for _ in range(case.period):
            optimiser.zero_grad(set_to_none=True)
            torch.stack([model.network(*batch).square().mean() for _ in range(per_update)]).sum().backward()
            optimiser.step()

    bare()
    return 1e3 * (whole - warm) / case.period, 1e3 * seconds(bare) / case.period


@torch.no_grad()
def draw_cost(case: Case) -> tuple[float, float]:
    """Milliseconds of all draws, and of the calls of the network in them."""
    case.model.eval()
    generator = torch.Generator().manual_seed(0)
    with calls(case.model) as found:
        case.sample(case.final, generator)
    whole = seconds(lambda: case.sample(case.final, generator))
    return 1e3 * whole, 1e3 * seconds(lambda: [case.model.network(*c) for c in found])


def listing() -> float:
    """CPU seconds of ``physinv simulators``."""
    begun = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "physinv", "simulators", "--json"], check=True, capture_output=True)
    ended = getrusage(RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, list[float]] = {}
    print(f"{'milliseconds':22s} {'update':>9s} {'bare':>9s} {'ratio':>6s}   {'draws':>9s} {'bare':>9s} {'ratio':>6s}")
    for name in args.only:
        dataset, kind, n, draws = CASES[name]
        with tempfile.TemporaryDirectory() as tmp:
            data = data_of(dataset, Path(tmp) / "data")
            case = (jump_case if kind == "jumps" else score_case)(*data, n, draws)
            for _ in range(args.repetitions):
                (update, bare), (drawn, alone) = update_cost(case), draw_cost(case)
                found = {
                    "update, ms": update,
                    "update, bare, ms": bare,
                    "update, ratio": update / bare,
                    "draws, ms": drawn,
                    "draws, bare, ms": alone,
                    "draws, ratio": drawn / alone,
                }
                for key, value in found.items():
                    figures.setdefault(f"{name}: {key}", []).append(value)
        a, b, c, d, e, f = (statistics.median(figures[f"{name}: {key}"]) for key in found)
        print(f"{name:22s} {a:9.3f} {b:9.3f} {c:6.2f}   {d:9.2f} {e:9.2f} {f:6.2f}", flush=True)
    figures["physinv simulators, CPU seconds"] = [listing() for _ in range(args.repetitions)]
    print(f"physinv simulators: {statistics.median(figures['physinv simulators, CPU seconds']):.2f} s of CPU time")
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "overhead.json", {"benchmark": "overhead", "unit": "CPU milliseconds, one thread"}, figures)


if __name__ == "__main__":
    main()
