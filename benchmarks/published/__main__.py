"""Tasks of others, same work: our figure beside the published one.

python benchmarks/published dapper --seeds 0 1 2    also rozet-louppe, mosaic, afdps, inversebench
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, told, write

TASKS = ("dapper", "rozet-louppe", "mosaic", "afdps", "inversebench")


def main() -> None:
    """Run a task with each seed, print and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of truths, noise and draws")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    parser.add_argument("--options", default="{}", help="arguments of the task, as JSON")
    parser.add_argument("--name", help="of the record (default: published-TASK)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    task = importlib.import_module(args.task.replace("-", "_"))
    asked = inspect.signature(task.figures).parameters.items()
    options = {name: p.default for name, p in asked if name != "seed"} | json.loads(args.options)
    found: dict[str, list[float]] = {}
    begun = time.perf_counter()
    for i, seed in enumerate(args.seeds):
        figures = task.figures(seed, **options)
        for part in [figures] if isinstance(figures, dict) else figures:
            for name, value in part.items():
                found.setdefault(name, []).append(float(value))
            done = args.seeds[: i + 1]
            print(f"\n{args.task}, seeds {done}: ours, published", flush=True)
            for name, values in found.items():
                print(f"  {name:60s} {told(values):>18s}   {task.PUBLISHED.get(name, '')}", flush=True)
            head = {
                "benchmark": f"published-{args.task}",
                "seeds": done,
                "options": options,
                "published": task.PUBLISHED,
                "seconds": time.perf_counter() - begun,
            }
            write(args.out / f"{args.name or f'published-{args.task}'}.json", head, found)


if __name__ == "__main__":
    main()
