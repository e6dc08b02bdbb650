"""Verbs around reconstructions: `physinv reconstruct` and `evaluate`.  Heavy imports happen inside the verbs."""

from __future__ import annotations

__all__ = ["evaluate", "reconstruct"]

from pathlib import Path
from typing import Annotated

import typer

from physinv.cli import console
from physinv.cli.options import Device, Overwrite, Seed


def reconstruct(
    run: Annotated[Path, typer.Argument(help="A run folder made by `physinv train`.")],
    data: Annotated[Path, typer.Option(help="HDF5 file or folder with the observations (their last states).")],
    out: Annotated[Path, typer.Option(help="HDF5 file to write: /truth, /observation, /samples.")],
    method: Annotated[str, typer.Option(help="sde: posterior samples; flow: one pre-image; mean-flow.")] = "sde",
    samples: Annotated[int, typer.Option(min=1, help="Draws for each observation (sde).")] = 16,
    steps: Annotated[int | None, typer.Option(min=1, help="Solver steps from T to 0 [as stored].")] = None,
    grid: Annotated[
        str, typer.Option(help="Where the steps lie: stored, linear, log, learned (equal errors).")
    ] = "stored",
    observe: Annotated[
        str | None,
        typer.Option(
            help="See only part of x_T: sensors:FRACTION, every:FACTOR (every so many points), coarse:FACTOR (means), "
            "low-pass:KMAX, everything."
        ),
    ] = None,
    observed_noise: Annotated[float, typer.Option(help="Standard deviation of that observation.")] = 0.05,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many observations.")] = None,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Reconstruct initial states from final ones.

    Examples: physinv reconstruct runs/heat --data datasets/heat/data/test --out heat.hdf5 --samples 16 --steps 32
              physinv reconstruct runs/heat --data datasets/heat/data/test --out part.hdf5 --observe sensors:0.25
    """
    from physinv.config.devices import pick_device
    from physinv.data.dataset import TrajectoryDataset
    from physinv.posterior.reconstruct import SamplingPlan, reconstruct
    from physinv.training.run import load_run

    _free(out, overwrite)
    plan = SamplingPlan(
        method=method,
        samples=samples,
        steps=steps,
        grid=grid,
        seed=seed,
        limit=limit,
        observe=observe,
        observed_noise=observed_noise,
    )
    loaded = load_run(run, device=pick_device(device))
    dataset = TrajectoryDataset(data)
    with console.progress("reconstructing") as report:
        reconstruct(
            loaded, dataset, out, plan, progress=lambda done, n: report(done / n, f"{done} of {n} observations")
        )
    console.say(f"reconstruction in {out}")


def evaluate(
    recon: Annotated[Path, typer.Argument(help="A file made by `physinv reconstruct`.")],
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the table as JSON.")] = None,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Also draw figures into this folder.")] = None,
) -> None:
    """Evaluate a reconstruction: metrics beside those of the exact posterior, and checks that need none.

    Example: physinv evaluate heat.hdf5 --json heat.json --plots figures
    """
    from physinv.evaluation.evaluate import check, evaluate, write_json
    from physinv.posterior.reconstruct import read_reconstruction

    loaded = read_reconstruction(recon)
    rows = evaluate(loaded)
    console.metrics(rows, f"{loaded.info['simulator']}, {loaded.info['method']}, {loaded.info['steps']} steps")
    checks = check(loaded)
    console.checks(checks)
    if json is not None:
        write_json(rows, loaded, json, checks)
        console.note(f"table in {json}")
    if plots is not None:
        from physinv.reports.reconstruction import draw_reconstruction

        for path in draw_reconstruction(loaded, plots):
            console.note(f"figure in {path}")


def _free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another --out, or add --overwrite.")
    if not path.parent.is_dir():
        raise ValueError(f"`--out` must lie in an existing folder, {path.parent} is none; make it first.")
