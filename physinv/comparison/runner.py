"""Run the cells of a benchmark that have no result yet, several at once; a kill loses unfinished cells only.

    <out>/recipe.json      what was compared, with all defaults
    <out>/cells.jsonl      one line of JSON for each finished cell (:mod:`physinv.comparison.journal`)
    <out>/examples/        a few reconstructions of each method, for figures
    <out>/logs/            what a failed cell printed
    <out>/.work/           datasets and messages, while they are needed

Records of an earlier recipe in the same folder are put aside in superseded.jsonl.
"""

from __future__ import annotations

__all__ = ["Progress", "pending", "run_benchmark"]

import datetime
import json
import math
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

from physinv.comparison import journal
from physinv.comparison.cell import Job
from physinv.comparison.cells import Cell, cells
from physinv.comparison.recipe import Benchmark
from physinv.comparison.records import SCHEMA
from physinv.comparison.workers import Datasets, Processes, default_jobs
from physinv.config.devices import check_disk, check_memory, cores, hardware
from physinv.config.files import write_text
from physinv.config.json_text import read_object
from physinv.config.outputs.locks import lock_folder
from physinv.config.versions import versions
from physinv.processes.parameters import build
from physinv.processes.registry import find

_FAILED = "failed: "
_WRITTEN = ("superseded.jsonl", "examples", "logs", ".work", "report.html", "table.md", "figures", "reconstruction.gif")
"""Files and folders of results beside the recipe and the journal."""

Progress = Callable[[float, str], None]
"""A function of the share of the cells that is finished, and of a line about the last one."""


def run_benchmark(
    benchmark: Benchmark,
    out: Path,
    *,
    device: torch.device,
    jobs: int | None = None,
    only: Collection[str] | None = None,
    progress: Progress | None = None,
) -> int:
    """Run every cell of a benchmark that has no result yet, or one on data that are no longer those of its seed.

    Each cell runs in a process of its own, on its share of the cores: training is measured in wall time, so cells must
    not share a core.  A failed cell leaves a log and is tried again by the next run.  Results of another recipe in
    ``out`` are put aside, into ``superseded.jsonl``, from where they return with their recipe.

    Args:
        benchmark: The benchmark.
        out: Folder of the results.
        device: Device of data and networks.
        jobs: Cells at a time; None: as :func:`~physinv.comparison.workers.default_jobs` chooses.
        only: Run these methods only.
        progress: Called after every cell.

    Returns:
        The number of cells that failed.

    Raises:
        BlockingIOError: If another run works in ``out``.
        FileExistsError: If ``out`` holds files that would be replaced, and no benchmark wrote them.
        ValueError: If the recipe's simulator or methods don't exist or can't be built, before anything is touched.
    """
    # Refuse what can't be built before anything is touched.
    for cell in {cell.data_key: cell for cell in cells(benchmark)}.values():
        simulator = build(find(cell.config["simulator"]), cell.config["parameters"])
        _check_fits(cell.config, simulator.steps + 1, math.prod(simulator.shape), out)
    _check_results(out)
    text = benchmark.model_dump_json(indent=1) + "\n"
    failed, told = 0, progress or (lambda done, text: None)

    # Several cells at once, each recorded as soon as it is finished.
    with lock_folder(out, "benchmark"):
        write_text(out / "recipe.json", text)
        journal.keep(out / "cells.jsonl", {cell.key for cell in cells(benchmark)}, out / "superseded.jsonl")
        done: set[str] = set()
        while todo := [c for c in pending(benchmark, out) if c.key not in done and (only is None or c.method in only)]:
            failed += _run_cells(todo, out, device, jobs or default_jobs(todo, device), told)
            done |= {cell.key for cell in todo}  # the new data may tell that other cells have older ones
        rmtree(out / ".work", ignore_errors=True)
    return failed


def _run_cells(todo: list[Cell], out: Path, device: torch.device, jobs: int, told: Progress) -> int:
    """Run cells and record each as soon as it is finished; the number of those that failed."""
    processes = Processes(threads=max(1, cores() // jobs))
    work, failed = _Work(out, device, Datasets(out / ".work" / "data", todo), processes), 0
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
    return failed


def _check_results(out: Path) -> None:
    """Refuse a folder in which files of others bear names of ours."""
    told = out / "recipe.json"
    if (out / "cells.jsonl").exists():
        return  # which is read, and refused if it is no journal
    if told.exists():  # written before all others
        try:
            Benchmark(**read_object(told.read_bytes(), str(told)))
        except ValueError:
            raise FileExistsError(f"{told} is not of a benchmark, and is not replaced; choose another `out`.") from None
        return
    for name in _WRITTEN:
        if (out / name).exists():
            raise FileExistsError(f"{out / name} is not of a benchmark, and is not replaced; choose another `out`.")


def _check_fits(config: Mapping[str, Any], times: int, numbers: int, out: Path) -> None:
    """Refuse data and samples that fit neither into memory nor on the disk."""
    stored = 4.0 * sum(config["splits"].values()) * times * numbers
    what = f"a dataset of {sum(config['splits'].values())} trajectories"
    check_disk(stored, out, what, "take smaller `splits`")
    check_memory(stored, what, "take smaller `splits`")
    observations, samples = config["observations"], config["samples"]
    drawn = f"`samples` = {samples} of {observations} observations"
    check_memory(4.0 * observations * samples * numbers, drawn, "take fewer")


def pending(benchmark: Benchmark, out: Path) -> list[Cell]:
    """List the cells that have no result, failed, or were run on other data than the latest cell of their dataset.

    Methods are compared on the same observations.  A later version of a simulator may make others of the same recipe.

    Args:
        benchmark: The benchmark.
        out: Folder of the results.

    Returns:
        The cells, in the order of :func:`~physinv.comparison.cells.cells`.
    """
    done = {record["key"]: record for record in journal.read(out / "cells.jsonl") if not _is_failure(record)}
    every, latest = list(cells(benchmark)), dict[str, tuple[str, str]]()
    for cell in every:
        if (record := done.get(cell.key)) is not None and record["error"] is None:
            made = str(record.get("date")), str(record.get("data", ""))
            latest[cell.data_key] = max(made, latest.get(cell.data_key, made))

    def is_done(cell: Cell) -> bool:
        record = done.get(cell.key)
        if record is None or record["error"] is not None:
            return record is not None  # what does not apply has no data
        return bool(record.get("data", "") == latest[cell.data_key][1])

    return [cell for cell in every if not is_done(cell)]


@dataclass(frozen=True)
class _Work:
    """What the threads share."""

    out: Path
    device: torch.device
    datasets: Datasets
    processes: Processes

    def do(self, cell: Cell) -> tuple[str, dict[str, Any]]:
        """Run one cell.

        Args:
            cell: The cell.

        Returns:
            Its label and its record.
        """
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
        "hardware": hardware(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _failed(why: str) -> dict[str, Any]:
    return {"metrics": {}, "curves": {}, "cost": {}, "error": _FAILED + why}


def _is_failure(record: dict[str, Any]) -> bool:
    return str(record["error"] or "").startswith(_FAILED)


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
