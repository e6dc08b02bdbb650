"""The work of one cell, in a process of its own: ``python -m physinv.comparison.cell data|run JOB.json``.

Since each cell has its own process, its peak memory can be measured, and a crash ends no other cell.
"""

from __future__ import annotations

__all__ = ["Job", "Trajectories", "main", "make_data", "run_cell"]

import json
import math
import os
import resource
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from physinv.comparison.evaluations import count_evaluations
from physinv.comparison.examples import Example, write_example
from physinv.comparison.metrics import Drawn, all_metrics
from physinv.comparison.partly_seen import fitted_to
from physinv.config.checksums import of_tensors
from physinv.config.devices import keep_freed_memory, threads_for
from physinv.config.files import write_text
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.physics.residual import physics_residual
from physinv.laws.exact import Density
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import notes_of
from physinv.posterior.bracket import bracket
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.runs.sampling.certificate import reversal_behind
from physinv.training.budget import Budget

_EXAMPLES, _SHOWN = 3, 8  # observations, and draws of each, that are kept for figures
_TRAJECTORIES = 32  # reconstructed trajectories whose physics residual is computed, and true ones in the bracket
_BRACKETED = 4  # draws of the reversal for each of these


@dataclass(frozen=True)
class Job:
    """Describe what the process of a cell has to do, passed as JSON.

    Args:
        config: What is compared, as :attr:`~physinv.comparison.cells.Cell.config`.
        data: Folder of the splits.
        out: File for the result.
        example: File for example reconstructions; None: none are kept.
        device: Device of data and networks.
        threads: Threads of the process.
    """

    config: dict[str, Any]
    data: str
    out: str
    example: str | None
    device: str
    threads: int


@runtime_checkable
class Trajectories(Protocol):
    """An answer that reconstructs whole trajectories as well."""

    def trajectories(self, final: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Reconstruct one trajectory for each observation.

        Args:
            final: Observed final states, ``(batch, *state)``.
            generator: Source of randomness.

        Returns:
            States at the stored times, ``(batch, time, *state)``.
        """


def run_cell(job: Job) -> dict[str, Any]:
    """Train a method, draw from it and evaluate it.

    Args:
        job: What to do.

    Returns:
        Metrics, curves, cost, a checksum of the observations, and the reason if the method does not apply.

    Raises:
        ValueError: If there is no such simulator or method, or the method cannot be trained.
    """
    config, device, seed = job.config, torch.device(job.device), job.config["seed"]
    torch.set_num_threads(job.threads)
    simulator = build(find(config["simulator"]), config["parameters"])
    train, valid, test = (TrajectoryDataset(Path(job.data) / s).load(device) for s in ("train", "valid", "test"))
    settings, n, members = Settings(**config["settings"]), config["observations"], config["samples"]

    # The problem, and the observations of the test split.
    budget = Budget(seconds=config["budget"])
    problem = Problem(simulator, train, valid, settings, budget=budget, seed=seed, device=device)
    truth, final = test.states(0, limit=n), test.states(-1, limit=n)
    streams = seeds(seed).child("comparison")
    with threads_for(test.shape), count_evaluations() as count:
        begun = time.perf_counter()
        try:
            fitted, answer, asked = fitted_to(
                problem, config["method"], config["options"], final, config.get("observation")
            )
            notes = notes_of(fitted)
        except NotApplicableError as error:
            return {"metrics": {}, "curves": {}, "cost": {}, "error": f"does not apply: {error}"}
        _synchronise(device)
        trained = time.perf_counter() - begun

        # Sample.  Only networks that sample are counted: training keeps averaged copies.
        count.reset()
        begun = time.perf_counter()
        samples = answer.sample(asked, members, generator=streams.child("samples").generator(device)).detach()
        _synchronise(device)
        drawn_in, evaluations = time.perf_counter() - begun, count.states / (n * members)
        mean = answer.mean(asked)

        # Evaluate.
        drawn = Drawn(*(x.detach().cpu() for x in (truth, final, samples, mean)))
        metrics, curves = all_metrics(drawn, simulator, train.states(0).mean(0).cpu(), seed=seed, whole=asked is final)
        metrics |= _of_answer(answer, problem, truth, asked, streams.child("trajectories").generator(device))
        if asked is final:
            metrics |= _bracketed(answer, test, n, streams.child("bracket").generator(device))
        if job.example is not None:
            shown = answer if asked is final else None  # trajectories end in whole final states
            _keep_example(Path(job.example), drawn, shown, simulator, test, streams.child("example").generator(device))
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
    data = of_tensors({"truth": test.states(0).cpu(), "final": test.states(-1).cpu()}, {})
    return {"metrics": finite, "curves": curves, "cost": cost, "notes": notes, "data": data, "error": None}


@torch.no_grad()
def _of_answer(
    answer: Answer, problem: Problem, truth: Tensor, final: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """Metrics that only some answers have: log density of the truth (nats per number), physics residual."""
    found: dict[str, float] = {}
    if isinstance(answer, Density):
        numbers = problem.simulator.layout.moving(truth[:1]).numel()
        found["log_prob"] = float(answer.log_prob(truth, final).mean() / numbers)
    if isinstance(answer, Trajectories) and problem.simulator.known:
        few = answer.trajectories(final[:_TRAJECTORIES], generator=generator)
        found["physics_residual"] = float(physics_residual(few, problem.simulator, problem.train.times))
    return found


def _bracketed(answer: Answer, test: TrajectoryDataset, n: int, generator: torch.Generator) -> dict[str, float]:
    """The width of the bracket of log p(x_T) in nats per number; nothing where samples come from no such reversal."""
    try:
        paths = test.trajectories(slice(0, min(n, _TRAJECTORIES)))
        found = bracket(reversal_behind(answer), paths, test.times, draws=_BRACKETED, generator=generator)
    except ValueError:
        return {}
    return {"bracket_width": found.width_per_number}


def _keep_example(
    path: Path,
    drawn: Drawn,
    answer: Answer | None,
    simulator: Simulator,
    test: TrajectoryDataset,
    generator: torch.Generator,
) -> None:
    """Write a few reconstructions for figures, and one whole trajectory where the method reconstructs those."""
    trajectory = None
    if isinstance(answer, Trajectories):
        with torch.no_grad():
            path_back = answer.trajectories(test.states(-1, limit=1), generator=generator)[0]
        trajectory = path_back, test.trajectories(slice(0, 1))[0], test.times
    few = drawn.truth[:_EXAMPLES], drawn.final[:_EXAMPLES], drawn.samples[:_EXAMPLES, :_SHOWN]
    write_example(path, Example(*few, simulator.layout, trajectory))


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
    """Generate the dataset of a cell.

    Args:
        config: What is compared, as :attr:`~physinv.comparison.cells.Cell.config`.
        place: Folder of the dataset.

    Raises:
        ValueError: If there is no such simulator or parameter.
    """
    simulator = build(find(config["simulator"]), config["parameters"])
    generate(DatasetPlan(simulator, config["splits"], config["seed"], config["simulator"]), place)


def main() -> None:
    """Generate the data or run the cell, as ``sys.argv`` says; nothing is written if anything fails."""
    _die_with_parent()
    keep_freed_memory()
    what, path = sys.argv[1:]
    job = Job(**json.loads(Path(path).read_text("utf-8")))
    if what == "data":
        make_data(job.config, Path(job.data))
        return
    result = json.dumps(run_cell(job), allow_nan=False)
    write_text(Path(job.out), result)


if __name__ == "__main__":
    main()
