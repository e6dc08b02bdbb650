"""Run the cells of a benchmark that have no result yet, several at once; a kill loses unfinished cells only.

    <out>/recipe.json      what was compared, with all defaults
    <out>/cells.jsonl      one line of JSON for each finished cell (:mod:`physinv.comparison.journal`)
    <out>/examples/        a few reconstructions of each method, for figures
    <out>/logs/            what a failed cell printed
    <out>/.work/           datasets and messages, while they are needed

Records of an earlier recipe in the same folder are put aside in superseded.jsonl.
"""

from __future__ import annotations

__all__ = ["SCHEMA", "Told", "pending", "run_benchmark"]

import datetime
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

from physinv.comparison import journal
from physinv.comparison.cell import Job
from physinv.comparison.cells import Cell, cells
from physinv.comparison.recipe import Benchmark
from physinv.comparison.workers import Datasets, Processes
from physinv.config.files import write_text
from physinv.config.versions import versions
from physinv.processes.registry import find
from physinv.processes.simulator import build

SCHEMA = 1
FAILED = "failed: "

Told = Callable[[float, str], None]
"""``(share of the cells that is done, what happened last)``."""


def run_benchmark(
    benchmark: Benchmark,
    out: Path,
    *,
    device: torch.device,
    jobs: int | None = None,
    only: Collection[str] | None = None,
    progress: Told | None = None,
) -> int:
    """Do every cell that :func:`pending` lists, ``jobs`` at a time; the number of those that failed.

    ``only`` leaves the methods out that are not among these.  Results of another recipe in ``out`` are put aside, into
    ``superseded.jsonl``, from where they return with their recipe.

    Each runs in a process of its own, on its share of the cores.  ``jobs`` defaults to the number of cores, less where
    memory is short, 1 on an accelerator: training is measured in wall time, so cells must not fight for a core.  A
    failed cell leaves a log and is tried again by the next run.  BlockingIOError if another run works in ``out``;
    ValueError, before anything is touched, where the recipe's simulator can't be built.
    """
    for cell in {cell.data_key: cell for cell in cells(benchmark)}.values():
        build(find(cell.config["simulator"]), cell.config["parameters"])
    out.mkdir(parents=True, exist_ok=True)
    text = benchmark.model_dump_json(indent=1) + "\n"
    failed, told = 0, progress or (lambda done, text: None)
    with journal.locked(out):
        write_text(out / "recipe.json", text)
        journal.keep(out / "cells.jsonl", {cell.key for cell in cells(benchmark)}, out / "superseded.jsonl")
        todo = [cell for cell in pending(benchmark, out) if only is None or cell.method in only]
        jobs = jobs or _jobs(todo, device)
        processes = Processes(threads=max(1, (os.cpu_count() or 1) // jobs))
        work = _Work(out, device, Datasets(out / ".work" / "data", todo), processes)
        told(0.0, f"{len(todo)} cells to do, {jobs} at a time")
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for i, future in enumerate(as_completed([pool.submit(work.do, cell) for cell in todo])):
                    label, record = future.result()
                    journal.append(out / "cells.jsonl", record)
                    failed += _is_failure(record)
                    told((i + 1) / len(todo), f"{label}: {_brief(record)}")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                work.processes.stop()
                raise
        rmtree(out / ".work", ignore_errors=True)
    return failed


def pending(benchmark: Benchmark, out: Path) -> list[Cell]:
    """The cells that have no result in ``out``, or failed."""
    done = {record["key"] for record in journal.read(out / "cells.jsonl") if not _is_failure(record)}
    return [cell for cell in cells(benchmark) if cell.key not in done]


class _Work:
    """What the threads share."""

    def __init__(self, out: Path, device: torch.device, datasets: Datasets, processes: Processes) -> None:
        self.out, self.device, self.datasets, self.processes = out, device, datasets, processes

    def do(self, cell: Cell) -> tuple[str, dict[str, Any]]:
        """Label and record of one cell."""
        try:
            result = self._result(cell)
        except (ValueError, OSError) as error:  # data that can't be made, a disk that is full
            result = _failed(" ".join(str(error).split()))
        finally:
            self.datasets.release(cell)
        return cell.label, _record(cell, self.device, self.processes.threads, result)

    def _result(self, cell: Cell) -> dict[str, Any]:
        scratch = self.out / ".work"
        scratch.mkdir(exist_ok=True)
        answer = scratch / f"{cell.key}.json"
        answer.unlink(missing_ok=True)
        plain = cell.study is None and cell.seed == cell.benchmark.seeds[0]
        example = str(self.out / "examples" / f"{cell.method}.npz") if plain else None

        def work(what: str, data: Path) -> None:
            told = Job(cell.config, str(data), str(answer), example, str(self.device), self.processes.threads)
            path = scratch / f"{cell.key}.{what}"
            path.write_text(json.dumps(asdict(told)), "utf-8")
            self._run([sys.executable, "-m", "physinv.comparison.cell", what, str(path)], cell)

        work("run", self.datasets.folder(cell, lambda place: work("data", place)))
        found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
        return found

    def _run(self, command: list[str], cell: Cell) -> None:
        """ValueError with the last line of the log if ``command`` fails."""
        log = self.out / ".work" / f"{cell.key}.log"
        code = self.processes.run(command, log)
        if code == 0:
            return
        lines = log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        kept = self.out / "logs" / f"{cell.method}-{cell.key}.log"
        kept.parent.mkdir(exist_ok=True)
        log.replace(kept)
        why = "it was killed, perhaps for lack of memory" if code == -9 else lines[-1]
        raise ValueError(f"{why} (log in {kept.relative_to(self.out)})")


def _record(cell: Cell, device: torch.device, threads: int, result: dict[str, Any]) -> dict[str, Any]:
    study = cell.study and {
        "name": cell.study.name,
        "key": cell.study.key,
        "value": cell.value,
        "label": cell.study.label or cell.study.key,
    }
    return {
        "schema": SCHEMA,
        "key": cell.key,
        "system": cell.benchmark.simulator,
        "method": cell.method,
        "options": cell.options,
        "seed": cell.seed,
        "study": study,
        "budget_seconds": cell.benchmark.budget,
        **result,
        "commit": _commit(),
        "versions": versions(),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _failed(why: str) -> dict[str, Any]:
    return {"metrics": {}, "curves": {}, "cost": {}, "error": FAILED + why}


def _is_failure(record: dict[str, Any]) -> bool:
    return str(record["error"] or "").startswith(FAILED)


def _brief(record: dict[str, Any]) -> str:
    return str(record["error"]) if record["error"] else f"CRPS {record['metrics'].get('crps') or math.nan:.4g}"


@cache
def _commit() -> str | None:
    """What is checked out where the package lies; None for an installed one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _jobs(todo: Sequence[Cell], device: torch.device) -> int:
    """As many as there are cores, and as memory holds: each takes its dataset twice, and a GB of its own."""
    if device.type != "cpu":
        return 1
    largest = 0
    for cell in todo:
        simulator = build(find(cell.config["simulator"]), cell.config["parameters"])
        stored = sum(cell.config["splits"].values()) * (simulator.steps + 1) * math.prod(simulator.shape)
        largest = max(largest, 4 * stored)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**33
    return max(1, min(os.cpu_count() or 1, free // (2 * largest + 2**30)))
