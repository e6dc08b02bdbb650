"""A pool of workers, each a process that is used for many cases; both speak lists in JSON, a line each."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BROKEN = "broken"  # key of a reply: the worker itself failed, with this traceback


class Pool:
    """Workers that answer requests.

    Args:
        module: The module that a worker runs.
        folder: Where to work; gets a folder for each worker.
        jobs: Number of workers.
        words: More words for the workers, after the untouched inputs and their own folder.
        environment: More variables of their environment.
        base: Where the untouched inputs are, or will be, which several pools may share; None: ``base`` in the folder.
    """

    def __init__(
        self,
        module: str,
        folder: Path,
        jobs: int = 1,
        words: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        base: Path | None = None,
    ) -> None:
        base = folder / "base" if base is None else base
        base.parent.mkdir(parents=True, exist_ok=True)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        settings = {**os.environ, **threads, "PYTHONPATH": path, "COLUMNS": "100", "MPLBACKEND": "agg"}
        self.workers = [
            subprocess.Popen(
                [sys.executable, "-m", module, str(base), str(folder / f"worker-{i}"), *words],
                cwd=ROOT,
                env={**settings, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for i in range(jobs)
        ]
        with base.with_name(f"{base.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            reply: dict[str, Any] = {} if base.exists() else _ask(self.workers[0], ["make"])
        if BROKEN in reply:
            shutil.rmtree(base, ignore_errors=True)
            raise RuntimeError(reply[BROKEN])

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            if kind is not None:
                worker.kill()
            if worker.stdin is not None:
                worker.stdin.close()
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()

    def run(self, requests: Iterable[list[Any]]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
        """Let the workers share requests, and yield each with its reply, in the order in which they end."""
        asked, taking = iter(requests), threading.Lock()
        told: queue.Queue[tuple[list[Any], dict[str, Any]] | None] = queue.Queue()

        def work(worker: subprocess.Popen[str]) -> None:
            while True:
                with taking:
                    request = next(asked, None)
                if request is None:
                    told.put(None)
                    return
                told.put((request, _ask(worker, request)))

        for worker in self.workers:
            threading.Thread(target=work, args=(worker,), daemon=True).start()
        left = len(self.workers)
        while left:
            found = told.get()
            if found is None:
                left -= 1
            else:
                yield found


def inputs_of_all(basetemp: Path) -> Path:
    """Where the untouched inputs of all tests lie, which the first pool makes.

    Args:
        basetemp: Where pytest keeps temporary folders; where tests run in several processes, each has one of its own.
    """
    return (basetemp.parent if "PYTEST_XDIST_WORKER" in os.environ else basetemp) / "inputs"


def serve(answers: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests on standard input until it ends: what a worker does.

    Args:
        answers: Functions by the first word of a request; they get the other ones.
    """
    for line in sys.stdin:
        word, *rest = json.loads(line)
        try:
            reply = {"answer": answers[word](*rest)}
        except Exception:
            reply = {BROKEN: traceback.format_exc()}
        print(json.dumps(reply), flush=True)


def _ask(worker: subprocess.Popen[str], request: list[Any]) -> dict[str, Any]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps(request) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        return {BROKEN: f"the worker ended with {worker.wait()}"}
    reply: dict[str, Any] = json.loads(line)
    return reply
