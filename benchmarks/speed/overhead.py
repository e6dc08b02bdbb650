"""What an update of training, and a draw, cost beside the network that they evaluate.

python benchmarks/speed/overhead.py     --only NAMES.  Prints a table; writes results/overhead.json.
                                        To show: updates and draws take at most 1.2 times the bare network, and
                                        ``physinv simulators`` less than 4 s of CPU time

``update``: CPU time of an update of physinv's own method, made of what :func:`physinv.training.loop.fit` does in one:
drawing the batch, loss, gradients, optimiser, moving average; where the method simulates trajectories anew, with its
share of these, which is ``rounds`` (rounds.py shows what they are worth). Not validation. ``bare``: forward
pass, backward pass and step of the same optimiser, for the same network on the same inputs, which lie ready. ``draws``:
CPU time of samples. ``bare`` is the network alone on all inputs that it got, without gradients; ``physics`` are the
process's own steps without noise on all inputs that they got, where the method takes states back through the physics,
which is part of what it draws. ``made`` is the ratio of draws to both, of as many draws as are computed at the same
time; ``few`` of a sixteenth of them, where operations count that take the same time whatever there is to draw. Both
sides take turns, so that other programs on the machine disturb them alike.

``bare`` is less than any training of the network does: its loss is the mean square of the output, it draws no batch,
clips no gradient and averages no weights. What these take of an update is told apart: ``batch``, ``loss`` (the loss and
its gradients but for the network's own, which is where physics and the reference law are) and ``kept`` (clipping and
the moving average). ``ratio`` counts all of them, and the rounds, to the update. Where the network takes a millisecond,
as that of the double well does, each operation of the loss, of 5 to 10 microseconds, is a good part of it. Jump
kernels of vectors take the gradients of their network by hand; ``bare`` takes autograd's.

Jump kernels where the method is made of them, which heat is not, else the score model; of the double well both, since
each gets about half of the budget.  Data as in the recipes, but fewer.  One thread; medians of the repetitions.
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
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, write

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.equations.broadcast import default_batch
from physinv.methods.own.jumps import FIELDS, PARTICLES, VECTORS
from physinv.models.build import build_model
from physinv.posterior.jumps import JumpPosterior
from physinv.posterior.posterior import Posterior
from physinv.processes.simulator import Simulator
from physinv.training.backward_cache import cached_windows
from physinv.training.batches import Windows, training_batches
from physinv.training.budget import Budget
from physinv.training.jump_pairs import Fresh, JumpPairs
from physinv.training.objectives.base import Batch, Loss
from physinv.training.objectives.choose import choose_objective
from physinv.training.objectives.jumps import JUMPS
from physinv.training.updates import Updates

Call = tuple[Tensor, ...]  # arguments of a network
Sample = Callable[[Tensor, int, torch.Generator], Tensor]

TRAIN, VALID = 500, 128
FEWER, EACH = 16, 8  # part of the draws that `few` is, and draws of an observation where there are observations enough
TOGETHER, FEW, SMALL = 32, 5, 256  # batches that are drawn at once, updates in a turn, and numbers of a small state
CASES = {  # name: (dataset, kind of model)
    "heat": ("heat", "score"),
    "particles": ("particles", "jumps"),
    "burgers": ("burgers", "jumps"),
    "double well": ("double-well", "jumps"),
    "double well, score": ("double-well", "score"),
}


@dataclasses.dataclass
class Case:
    """What is measured of a process."""

    model: nn.Module
    simulator: Simulator
    settings: Settings
    rate: float
    batches: Iterator[Batch]
    loss: Loss
    rounds: int  # updates that share what was simulated for them; 0: nothing is
    sample: Sample
    final: Tensor


def data_of(name: str, folder: Path) -> tuple[Simulator, TrajectoryDataset, TrajectoryDataset]:
    """A few trajectories of a recipe, in memory."""
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    simulator = recipe.plan().simulator
    made = generate(DatasetPlan(simulator, {"train": TRAIN, "valid": VALID}), folder)
    train, valid = (TrajectoryDataset(made / "data" / s).load() for s in ("train", "valid"))
    return simulator, train, valid


def score_case(simulator: Simulator, train: TrajectoryDataset, valid: TrajectoryDataset) -> Case:
    """The score model, with its objective and its reversal."""
    settings = Settings()
    model, layout = build_model(simulator, train, settings), train.layout
    objective = choose_objective(settings, simulator, model)
    windows = Windows(train).with_window(objective.window or len(train.times))
    if objective.backward_cache:
        windows, _ = cached_windows(simulator, windows, Windows(valid), budget=Budget(seconds=300), batch=1)
    size, device = settings.batch or layout.default_batch, torch.device("cpu")
    order = training_batches(windows, simulator, size=size, seeds=seeds(0), start=0, workers=0, device=device)

    def sample(final: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        return Posterior(simulator, model, train.times).sample(final, draws, generator=generator)

    rate = settings.rate or layout.default_rate
    return Case(model, simulator, settings, rate, order, objective.loss, 0, sample, valid.states(-1))


def jump_case(simulator: Simulator, train: TrajectoryDataset, valid: TrajectoryDataset) -> Case:
    """The jump kernels, with new trajectories where they cost little, and their draws along all grids."""
    layout = train.layout
    family = PARTICLES if layout.positions else FIELDS if layout.space else VECTORS
    settings = Settings(batch=family.batch, rate=family.rate, windows=(2,))
    kernel = family.fit(simulator, train, settings, seed=0)
    grids = family.grids(len(train.times) - 1)
    fresh: Fresh = "off" if not family.cheap else "noise" if simulator.spin_up_time else "states"
    pairs = JumpPairs(kernel, simulator, train, valid, fresh=fresh)
    order = pairs.training(size=family.batch, seeds=seeds(0), start=0)

    def sample(final: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        return JumpPosterior(kernel, grids).sample(final, draws, generator=generator)

    rounds = pairs.every * pairs.parts
    return Case(kernel, simulator, settings, family.rate, order, JUMPS.loss, rounds, sample, valid.states(-1))


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


def update_costs(case: Case, turns: int) -> dict[str, list[float]]:
    """Milliseconds of updates and of their parts, and of the bare network, in turns of a few.

    Of small states as many as batches are drawn at once, over which a processor's cache forgets the weights.
    """
    each = TOGETHER if case.final[0].numel() <= SMALL else FEW
    model = copy.deepcopy(case.model)
    updates = Updates(model, case.settings, case.rate)

    # The first batch waits for a round of new trajectories, of which every update pays a share.
    begun = seconds(lambda: next(case.batches))
    shared = max(0.0, begun - seconds(lambda: next(case.batches))) / case.rounds if case.rounds else 0.0
    batch = next(case.batches)
    with calls(model) as inputs, torch.no_grad():  # with gradients, small networks are not called but taken by hand
        case.loss(model, case.simulator, batch)
    bare_model = copy.deepcopy(case.model)
    optimiser = Updates(bare_model, case.settings, case.rate).optimiser

    def network(model: nn.Module) -> Tensor:
        return torch.stack([model.network(*c).square().mean() for c in inputs]).sum()

    def bare(loss: Callable[[], Tensor]) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        optimiser.step()

    jobs = {
        "step": lambda: updates.step(case.loss(model, case.simulator, batch), progress=0.1, count=9),
        "bare": lambda: bare(lambda: network(bare_model)),
        "unclipped": lambda: bare(lambda: case.loss(bare_model, case.simulator, batch)),
    }
    taken: dict[str, list[float]] = {name: [] for name in (*jobs, "batch")}
    for _ in range(turns + 1):
        for name, job in jobs.items():
            taken[name].append(1e3 * seconds(repeated(job, each)) / each)
        taken["batch"].append(1e3 * seconds(repeated(lambda: next(case.batches), TOGETHER)) / TOGETHER)
    taken = {name: values[1:] for name, values in taken.items()}
    step, drawn, alone, unclipped = (taken[name] for name in ("step", "batch", "bare", "unclipped"))
    return {
        "update": [a + b + 1e3 * shared for a, b in zip(step, drawn, strict=True)],
        "rounds": [1e3 * shared],
        "batch": drawn,
        "loss": [statistics.median(unclipped) - statistics.median(alone)],
        "kept": [statistics.median(step) - statistics.median(unclipped)],
        "bare": alone,
    }


@torch.no_grad()
def draw_costs(case: Case, turns: int, count: int) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of so many draws, of the calls of the network in them, and of the steps of the physics."""
    case.model.eval()
    generator = torch.Generator().manual_seed(0)
    final = case.final[: max(1, count // EACH)]
    draws = count // len(final)
    with calls(case.model) as found, flows(case.simulator) as moved:
        case.sample(final, draws, generator)
    jobs = (
        lambda: case.sample(final, draws, generator),
        lambda: [case.model.network(*c) for c in found],
        lambda: [step() for step in moved],
    )
    rows = [[1e3 * seconds(job) for job in jobs] for _ in range(turns)]
    draws, bare, physics = (list(column) for column in zip(*rows, strict=True))
    return draws, bare, physics


@contextmanager
def flows(simulator: Simulator) -> Iterator[list[Callable[[], object]]]:
    """All solver steps that take states through the physics alone, to be done again."""
    found: list[Callable[[], object]] = []
    kind, inside = type(simulator), False

    def noting(name: str) -> Callable[..., Any]:
        whole = getattr(kind, name)

        def noted(*args: Any, **options: Any) -> Any:
            nonlocal inside
            if inside:
                return whole(*args, **options)
            found.append(lambda: whole(*args, **options))
            inside = True
            try:
                return whole(*args, **options)
            finally:
                inside = False

        return noted

    names = [name for name in ("drift_flow", "trajectories") if hasattr(kind, name)]
    with mock.patch.multiple(kind, **{name: noting(name) for name in names}):
        yield found


def repeated(job: Callable[[], object], times: int) -> Callable[[], object]:
    """A job done several times."""
    return lambda: [job() for _ in range(times)]


def listing() -> float:
    """CPU seconds of ``physinv simulators``."""
    begun = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "physinv", "simulators", "--json"], check=True, capture_output=True)
    ended = getrusage(RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, list[float]] = {}
    parts = ("update", "rounds", "batch", "loss", "kept", "bare")
    heads = (*parts, "ratio", "draws", "bare", "ratio", "physics", "made", "few")
    print(f"{'milliseconds':20s}" + "".join(f"{h:>9s}" for h in heads))
    for name in args.only:
        dataset, kind = CASES[name]
        with tempfile.TemporaryDirectory() as tmp:
            case = (jump_case if kind == "jumps" else score_case)(*data_of(dataset, Path(tmp) / "data"))
            update = update_costs(case, args.repetitions)
            full = default_batch(case.final)
            drawn, alone, physics = draw_costs(case, args.repetitions, full)
            fewer = draw_costs(case, args.repetitions, max(1, full // FEWER))
        columns = {
            "update, ms" if part == "update" else f"update, {part}, ms": values for part, values in update.items()
        }
        columns |= {
            "update, ratio": [a / b for a, b in zip(update["update"], update["bare"], strict=True)],
            "draws, ms": drawn,
            "draws, bare, ms": alone,
            "draws, ratio": [a / b for a, b in zip(drawn, alone, strict=True)],
            "draws, physics, ms": physics,
            "draws, ratio to network and physics": [a / (b + c) for a, b, c in zip(drawn, alone, physics, strict=True)],
            f"draws, 1/{FEWER} of them, ratio": [a / (b + c) for a, b, c in zip(*fewer, strict=True)],
        }
        figures |= {f"{name}: {key}": values for key, values in columns.items()}
        print(f"{name:20s}" + "".join(f"{statistics.median(v):9.2f}" for v in columns.values()), flush=True)
    figures["physinv simulators: CPU seconds"] = [listing() for _ in range(3)]
    print(f"physinv simulators: {statistics.median(figures['physinv simulators: CPU seconds']):.2f} s of CPU time")
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "overhead.json", {"benchmark": "overhead", "unit": "CPU milliseconds, one thread"}, figures)


if __name__ == "__main__":
    main()
