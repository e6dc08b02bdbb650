"""The work of one cell, in a process of its own: ``python -m physinv.comparison.cell data|run JOB.json``.

A process for each cell makes peak memory a property of the cell, and a crash that of one line of the results.
"""

from __future__ import annotations

__all__ = ["Job", "run_cell"]

import json
import math
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from physinv.comparison.examples import Example, write_example
from physinv.comparison.scores import Drawn, score
from physinv.config.devices import threads_for
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.evaluation.physics_residual import physics_residual
from physinv.methods import METHODS
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator, build
from physinv.training.budget import Budget
from physinv.training.checkpoint import write_atomically

EXAMPLES, SHOWN = 3, 8  # observations, and draws of each, that are kept for figures
_WAYS = 32  # reconstructed trajectories whose physics is checked


@dataclass(frozen=True)
class Job:
    """What a cell is told, as JSON; ``config`` is :attr:`~physinv.comparison.cells.Cell.config`."""

    config: dict[str, Any]
    data: str
    out: str
    example: str | None
    device: str
    threads: int


@runtime_checkable
class Density(Protocol):
    """An answer that has a density."""

    def log_prob(self, initial: Tensor, final: Tensor) -> Tensor: ...


@runtime_checkable
class Trajectories(Protocol):
    """An answer that reconstructs the way as well."""

    def trajectories(self, final: Tensor, *, generator: torch.Generator | None = None) -> Tensor: ...


def run_cell(job: Job) -> dict[str, Any]:
    """Train, draw, score: metrics, curves and cost, or the reason why the method does not apply."""
    config, device, seed = job.config, torch.device(job.device), job.config["seed"]
    torch.set_num_threads(job.threads)
    simulator = build(find(config["simulator"]), config["parameters"])
    train, valid, test = (TrajectoryDataset(Path(job.data) / s).load(device) for s in ("train", "valid", "test"))
    settings, n, members = Settings(**config["settings"]), config["observations"], config["samples"]
    budget = Budget(seconds=config["budget"])
    problem = Problem(simulator, train, valid, settings, budget=budget, seed=seed, device=device)
    truth, final = test.states(0, limit=n), test.states(-1, limit=n)
    streams = seeds(seed).child("comparison")
    with threads_for(test.shape), _counted() as count:
        begun = time.perf_counter()
        try:
            answer = METHODS[config["method"]].fit(problem, **config["options"])
        except NotApplicableError as error:
            return {"metrics": {}, "curves": {}, "cost": {}, "error": f"does not apply: {error}"}
        _synchronise(device)
        trained = time.perf_counter() - begun
        count.states, count.weights = 0, {}  # only what draws: training keeps averaged copies
        begun = time.perf_counter()
        with torch.no_grad():
            samples = answer.sample(final, members, generator=streams.child("samples").generator(device))
            _synchronise(device)
            drawn_in, evaluations = time.perf_counter() - begun, count.states / (n * members)
            mean = answer.mean(final)
        drawn = Drawn(*(x.detach().cpu() for x in (truth, final, samples, mean)))
        metrics, curves = score(drawn, simulator, train.states(0).mean(0).cpu(), seed=seed)
        metrics |= _of_answer(answer, problem, truth, final, streams.child("trajectories").generator(device))
        if job.example is not None:
            _keep_example(Path(job.example), drawn, answer, simulator, test, streams.child("example").generator(device))
    cost = {
        "training_seconds": trained,
        "sampling_seconds": drawn_in,
        "observations": n,
        "samples": members,
        "network_evaluations": evaluations,
        "peak_memory_mb": _peak(device),
        "parameters": sum(count.weights.values()),
    }
    finite = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
    return {"metrics": finite, "curves": curves, "cost": cost, "error": None}


@torch.no_grad()
def _of_answer(
    answer: Answer, problem: Problem, truth: Tensor, final: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """What only some answers have: a density of the truth (nats per number), a way that physics has to explain."""
    found: dict[str, float] = {}
    if isinstance(answer, Density):
        numbers = problem.simulator.layout.moving(truth[:1]).numel()
        found["log_prob"] = float(answer.log_prob(truth, final).mean() / numbers)
    if isinstance(answer, Trajectories) and problem.simulator.known:
        few = answer.trajectories(final[:_WAYS], generator=generator)
        found["physics_residual"] = float(physics_residual(few, problem.simulator, problem.train.times))
    return found


def _keep_example(
    path: Path,
    drawn: Drawn,
    answer: Answer,
    simulator: Simulator,
    test: TrajectoryDataset,
    generator: torch.Generator,
) -> None:
    """A few reconstructions for figures, for physinv also one whole way."""
    ways = None
    if isinstance(answer, Trajectories):
        with torch.no_grad():
            way = answer.trajectories(test.states(-1, limit=1), generator=generator)[0]
        ways = way, test.trajectories(slice(0, 1))[0], test.times
    few = drawn.truth[:EXAMPLES], drawn.final[:EXAMPLES], drawn.samples[:EXAMPLES, :SHOWN]
    write_example(path, Example(*few, simulator.layout, ways))


@dataclass
class _Count:
    """States that went through a network, and the number of weights of each network."""

    states: int = 0
    weights: dict[int, int] = field(default_factory=dict)
    depth: int = 0
    batch: int = 0
    known: bool = False


@contextmanager
def _counted() -> Iterator[_Count]:
    """Listen to every call of a module with weights inside the block that no other module made.

    Its batch is that of its first tensor; of a module called by keywords, the largest among the modules inside.
    """
    count = _Count()

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        sizes = [len(x) for x in inputs if isinstance(x, Tensor) and x.ndim]
        if count.depth == 0:
            count.batch, count.known = 0, bool(sizes)
        if sizes and (count.depth == 0 or not count.known):
            count.batch = max(count.batch, sizes[0])
        count.depth += 1

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        count.depth -= 1
        if count.depth == 0 and (parameters := list(module.parameters())):
            count.states += count.batch
            key = id(parameters[0])  # a network alone, and inside a model, is one network
            count.weights[key] = max(count.weights.get(key, 0), sum(p.numel() for p in parameters))

    hooks = nn.modules.module
    handles = hooks.register_module_forward_pre_hook(enter), hooks.register_module_forward_hook(leave, always_call=True)
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> float:
    """Largest memory so far in MB: of the process, or of the accelerator."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _die_with_parent() -> None:
    """Stop when standard input ends: the runner is gone, and nobody would read the result."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock a daemon thread would hold at exit
            pass
        os._exit(3)

    threading.Thread(target=wait, daemon=True).start()


def make_data(config: dict[str, Any], place: Path) -> None:
    """The dataset of a cell, in ``place``."""
    simulator = build(find(config["simulator"]), config["parameters"])
    generate(simulator, config["simulator"], config["splits"], config["seed"], place)


def main() -> None:
    """Make the data or do the work, and write the result where the job says; nothing is written if anything fails."""
    _die_with_parent()
    what, path = sys.argv[1:]
    job = Job(**json.loads(Path(path).read_text("utf-8")))
    if what == "data":
        make_data(job.config, Path(job.data))
        return
    result = json.dumps(run_cell(job), allow_nan=False)
    write_atomically(Path(job.out), lambda tmp: tmp.write_text(result, "utf-8"))


if __name__ == "__main__":
    main()
