"""The verb `physinv evidence`: how likely final states are under a run.  Heavy imports happen inside it."""

from __future__ import annotations

__all__ = ["Draws", "evidence", "evidence_under"]

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physinv.cli.options import Device, Json, Seed
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import NOTHING, keeping

if TYPE_CHECKING:
    from physinv.runs.evidence import Evidence

Draws = Annotated[int, typer.Option(min=2, help="Draws of the reversal that are weighed, for each observation.")]


def evidence(
    run: Annotated[Path, typer.Argument(help="A run folder made by `physinv train`.")],
    data: Annotated[
        Path, typer.Option(help="HDF5 file or folder of trajectories, whose last states are the observations.")
    ],
    draws: Draws = 64,
    limit: Annotated[int, typer.Option(min=1, help="Observations, at most.")] = 200,
    seed: Seed = 0,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Compute the log evidence log p(x_T) of final states under a run, and how far its posterior is from exact.

    Draws of the reversal are weighed by how likely the process is to make their whole paths.  True trajectories give a
    bound from above; the width between both bounds is 0 for the exact posterior alone.

    Example: physinv evidence runs/heat --data datasets/heat/data/test --draws 64
    """
    found = evidence_under(run, data, draws, limit, seed, device)
    if json_:
        console.plain(json.dumps(found.as_dict(), indent=1))
        return
    console.evidence(found, str(run))


def evidence_under(run: Path, data: Path, draws: int, limit: int, seed: int, device: str | None) -> Evidence:
    """Return the evidence of the last states of trajectories under a run, with a bar of progress.

    Args:
        run: Folder of the run.
        data: Trajectories.
        draws: Draws for each observation.
        limit: Observations, at most.
        seed: Seed of the draws.
        device: Where to compute; None: the best there is.
    """
    from physinv.config.devices import pick_device
    from physinv.runs.evidence import evidence_of
    from physinv.runs.run import load_run

    with keeping(NOTHING), progress(f"weighing draws of {run}") as report:
        return evidence_of(
            load_run(run, device=pick_device(device)),
            data,
            draws=draws,
            limit=limit,
            seed=seed,
            progress=lambda done, n: report(done / n, f"{done} of {n} observations"),
        )
