"""The verb `physinv compare`: two runs or reconstructions, metric by metric.  Heavy imports happen inside it."""

from __future__ import annotations

__all__ = ["compare"]

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physinv.cli.evidence import Draws, evidence_under
from physinv.cli.options import Device, Json, Seed
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import NOTHING, keeping

if TYPE_CHECKING:
    from physinv.posterior.reconstruction import Reconstruction


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A reconstruction, or the folder of a run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same observations.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Observations for runs, such as datasets/heat/data/test; reconstructions have their own."),
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Draws of a run for each observation.")] = 16,
    limit: Annotated[int, typer.Option(min=2, help="Observations that a run is compared on, at most.")] = 200,
    evidence: Annotated[
        bool,
        typer.Option("--evidence", help="Which run makes the final states of --data more likely? A log Bayes factor."),
    ] = False,
    draws: Draws = 64,
    seed: Seed = 0,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Compare two runs or reconstructions: metrics side by side, and whether the difference is more than chance.

    Differences are paired over the observations, with their standard error.  With --evidence two runs are compared as
    models of the final states, of which the true initial states need not be known.

    Examples: physinv compare old.hdf5 new.hdf5
              physinv compare runs/heat runs/flow --data datasets/heat/data/test
              physinv compare runs/slow runs/fast --data datasets/heat/data/test --evidence
    """
    if evidence:
        _bayes_factor(a, b, data, draws, limit, seed, device, json_)
        return
    from physinv.config.files import as_json
    from physinv.config.outputs.temporary import scratch_folder
    from physinv.evaluation.paired import compare_pairs

    with keeping(NOTHING), scratch_folder("compare") as folder:
        sides = [
            _reconstruction(path, folder / f"{i}.hdf5", data, samples, limit, seed, device)
            for i, path in enumerate((a, b))
        ]
    found = compare_pairs(*sides)
    if json_:
        console.plain(json.dumps(as_json(found), indent=1))
        return
    console.pairs(found, str(a), str(b))


def _bayes_factor(
    a: Path, b: Path, data: Path | None, draws: int, limit: int, seed: int, device: str | None, json_: bool
) -> None:
    """Compare two runs by the evidence of the same final states."""
    from physinv.runs.evidence import bayes_factor

    for path in (a, b):
        if not path.is_dir():
            raise ValueError(f"`--evidence` compares runs, {path} is no folder of one; leave it out.")
    if data is None:
        raise ValueError("`--evidence` needs `--data`, such as datasets/NAME/data/test.")
    mine, theirs = (evidence_under(path, data, draws, limit, seed, device) for path in (a, b))
    found = bayes_factor(mine, theirs)
    if json_:
        sides = {"A": mine.as_dict(), "B": theirs.as_dict()}
        told = {"log_bayes_factor": found.value, "error": found.error, "verdict": found.verdict}
        told |= {"observations": found.observations, **sides}
        console.plain(json.dumps(told, indent=1))
        return
    console.bayes_factor(found, str(a), str(b))


def _reconstruction(
    path: Path, scratch: Path, data: Path | None, samples: int, limit: int, seed: int, device: str | None
) -> Reconstruction:
    """A reconstruction as it is, or that by a run."""
    from physinv.config.devices import pick_device
    from physinv.posterior.reconstruction import read_reconstruction
    from physinv.runs.reconstruct import reconstruct
    from physinv.runs.run import load_run
    from physinv.runs.sampling.plan import SamplingPlan

    if not path.is_dir():
        return read_reconstruction(path)
    if data is None:
        raise ValueError(f"{path} is a folder; to compare runs give `--data`, such as datasets/NAME/data/test.")
    with progress(f"reconstructing by {path}") as report:
        plan = SamplingPlan(samples=samples, limit=limit, seed=seed)
        run = load_run(path, device=pick_device(device))
        reconstruct(run, data, scratch, plan, progress=lambda done, n: report(done / n))
    return read_reconstruction(scratch)
