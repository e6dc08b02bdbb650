"""Which record is of which code: for each file of results its command, seeds, time of training, and whether it is older
than the named streams of random numbers, which changed all data and draws of a seed.

Writes the table of README.md here.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from common import ROOT

PAGE, BEGIN, END = ROOT / "benchmarks" / "README.md", "<!-- records:begin -->", "<!-- records:end -->"
RESULTS = ROOT / "benchmarks" / "results"
STREAMS = "ffd4c970ed"  # the commit since which every random number comes from a named stream
SCRIPTS = {  # of records whose script has another name
    **{f"nonlinear-{system}": "nonlinear" for system in ("burgers", "kuramoto-sivashinsky", "navier-stokes")},
    **{f"reversals-{system}": "reversals" for system in ("burgers", "kuramoto-sivashinsky")},
    **{name: f"speed/{name}" for name in ("fft_share", "generation", "latent", "verifying", "wrapping")},
    "trajectory-flips": "trajectory_flips",
    "recorded-files": "recorded_files",
    **{
        name: f"speed/{name.replace('-', '_')}"
        for name in ("time-to-accuracy", "small-trajectories", "memory", "overhead", "physics-backward")
    },
    **{f"published-{task}": "published" for task in ("dapper", "rozet-louppe", "mosaic", "afdps", "inversebench")},
    "published-rozet-louppe-likelihoods": "published",
    **{f"sensors-{system}": "sensors" for system in ("burgers", "navier-stokes")},
    **{f"plane-{system}": "planes" for system in ("navier-stokes", "burgers-2d", "burgers-2d-16", "navier-stokes-16")},
    **{f"jump-ablation-{system}": "jump_ablation" for system in ("burgers", "kpz", "lorenz-63", "fitzhugh-nagumo")},
    **{
        f"exact-{system}": "references"
        for system in (
            "allen-cahn-16",
            "burgers",
            "burgers-2d-12",
            "excitable-medium",
            "kpz-16",
            "kuramoto-sivashinsky-waves",
            "navier-stokes-16",
            "particles-3",
            "swift-hohenberg",
        )
    },
    **{f"field-kernels-{system}": "field_kernels" for system in ("burgers", "kpz", "kuramoto-sivashinsky")},
}


def age(commits: set[str]) -> str:
    """``older`` if every commit is older than the streams, ``today`` if none is, else ``both``.

    Commits that are not in this history, since they were rebased, do not count.
    """
    known = []
    for commit in commits:
        command = ["git", "merge-base", "--is-ancestor", STREAMS, commit]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode
        known += [found == 0] if found in (0, 1) else []
    return "not in this history" if not known else "today" if all(known) else "both" if any(known) else "older"


def minutes(seconds: float) -> str:
    """Minutes of training, or nothing where nothing is trained."""
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s" if seconds else ""


def row(path: Path) -> tuple[str, str, str, str, str, str]:
    """File, command, commits, seeds, streams and least time of one record."""
    if path.name == "cells.jsonl":
        cells = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        commits = {cell["commit"] for cell in cells}
        seeds = sorted({cell["seed"] for cell in cells})
        spent = sum(
            sum((cell["cost"] or {}).get(f"{part}_seconds") or 0.0 for part in ("training", "sampling"))
            for cell in cells
        )
        name = path.parent.name
        command = f"physinv benchmark {name}" + ".toml" * (ROOT / "benchmarks" / f"{name}.toml").exists()
    else:
        record = json.loads(path.read_text("utf-8"))
        commits = {word.strip("(,)") for word in record["commit"].split() if len(word.strip("(,)")) == 40}
        seeds, name = record.get("seeds", []), path.stem
        systems = {figure.split(": ")[0] for figure in record["figures"]} if name == "systems" else {name}
        spent = record.get("budget_seconds", 0.0) * len(seeds) * len(systems)
        script, _, system = SCRIPTS.get(name, name.replace("-", "_")), *name.partition("-")[1:]
        system = system.removeprefix("kernels-").removeprefix("ablation-")
        of_systems = (
            "nonlinear",
            "reversals",
            "field_kernels",
            "jump_ablation",
            "planes",
            "sensors",
            "published",
            "references",
        )
        system = f"compare {system}" if script == "references" else system
        file = script if (ROOT / "benchmarks" / script).is_dir() else f"{script}.py"
        command = record.get("command") or f"python {file}" + (f" {system}" if script in of_systems else "")
    told = ", ".join(sorted(commit[:7] for commit in commits))
    return path.relative_to(RESULTS).as_posix(), command, told, " ".join(map(str, seeds)), age(commits), minutes(spent)


def main() -> None:
    lines = [
        "| record | command, in `benchmarks/` | commits | seeds | streams | at least |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted([*RESULTS.glob("*.json"), *RESULTS.glob("*/cells.jsonl")]):
        file, command, *rest = row(path)
        lines.append(f"| `{file}` | `{command}` | " + " | ".join(rest) + " |")
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n".join(["", *lines, END]) + rest.split(END)[1], "utf-8")


if __name__ == "__main__":
    main()
