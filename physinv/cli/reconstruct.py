"""Verbs around reconstructions: `physinv reconstruct` and `evaluate`.  Heavy imports happen inside the verbs."""

from __future__ import annotations

__all__ = ["evaluate", "reconstruct"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physinv.cli import console
from physinv.cli.options import Device, Options, Overwrite, Seed, check_output
from physinv.cli.progress import progress
from physinv.cli.stopping import NOTHING, keeping

if TYPE_CHECKING:
    import torch

    from physinv.runs.run import Run


def reconstruct(
    data: Annotated[Path, typer.Option(help="HDF5 file or folder with the observations (their last states).")],
    out: Annotated[Path, typer.Option(help="HDF5 file to write: /truth, /observation, /samples.")],
    run: Annotated[Path | None, typer.Argument(help="A run folder made by `physinv train`.")] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A method without training, such as gauss-newton, in the place of a run."),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(metavar="DATASET", help="Dataset folder that --method takes process and prior from.")
    ] = None,
    option: Options = None,
    answer: Annotated[
        str, typer.Option(help="samples of the posterior; mean: one estimate; with a score model flow, mean-flow.")
    ] = "samples",
    samples: Annotated[int, typer.Option(min=1, help="Draws for each observation.")] = 16,
    steps: Annotated[
        int | None, typer.Option(min=1, show_default="as stored", help="Solver steps from T to 0.")
    ] = None,
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
    limit: Annotated[
        int | None, typer.Option(min=1, show_default="all", help="Only the first so many observations.")
    ] = None,
    refine: Annotated[
        int, typer.Option(min=0, metavar="N", help="Move each sample by N gradients of Monte Carlo over paths.")
    ] = 0,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Reconstruct initial states from final ones.

    Examples: physinv reconstruct runs/heat --data datasets/heat/data/test --out heat.hdf5 --samples 16 --steps 32
              physinv reconstruct runs/heat --data datasets/heat/data/test --out part.hdf5 --observe sensors:0.25
              physinv reconstruct --method lbfgs --train datasets/heat --data datasets/heat/data/test --out lbfgs.hdf5
    """
    from physinv.config.devices import pick_device
    from physinv.data.dataset import TrajectoryDataset
    from physinv.runs.reconstruct import SamplingPlan, reconstruct

    _free(out, overwrite)
    plan = SamplingPlan(
        answer=answer,
        samples=samples,
        steps=steps,
        grid=grid,
        seed=seed,
        limit=limit,
        observe=observe,
        observed_noise=observed_noise,
        refine=refine,
    )
    loaded = _fitted(run, method, train, option or [], seed, pick_device(device))
    dataset = TrajectoryDataset(data)
    with keeping(NOTHING), progress("reconstructing") as report:
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
    from physinv.posterior.reconstruction import read_reconstruction

    check_output(json, "--json", recon)
    loaded = read_reconstruction(recon)
    rows = evaluate(loaded)
    info = loaded.info
    steps = "" if info["steps"] is None else f", {info['steps']} steps"
    chosen = info["run"].get("notes", {}).get("chosen")
    method = info["method"] if chosen is None else f"{info['method']} ({chosen})"
    console.metrics(rows, f"{info['simulator']}, {method} {info['answer']}{steps}")
    checks = check(loaded)
    console.checks(checks)
    if json is not None:
        write_json(rows, loaded, json, checks)
        console.note(f"table in {json}")
    if plots is not None:
        from physinv.reports.reconstruction import draw_reconstruction

        for path in draw_reconstruction(loaded, plots):
            console.note(f"figure in {path}")


def _fitted(
    run: Path | None, method: str | None, train: Path | None, option: list[str], seed: int, device: torch.device
) -> Run:
    """The run of a folder, or a method without training, fitted to a dataset."""
    from physinv.cli.assignments import read_assignments
    from physinv.data.dataset import TrajectoryDataset
    from physinv.runs.run import fit_run, load_run

    if run is not None:
        if method is not None or train is not None or option:
            raise ValueError("give a run, or `--method` with `--train`, not both.")
        return load_run(run, device=device)
    if method is None or train is None:
        raise ValueError("give the folder of a run, or `--method NAME --train DATASET`.")
    data, valid = (TrajectoryDataset(train / "data" / split) for split in ("train", "valid"))
    options = read_assignments(option, "--option")
    return fit_run(data, valid, method=method, options=options, seed=seed, device=device)


def _free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another --out, or add --overwrite.")
    if not path.parent.is_dir():
        raise ValueError(f"`--out` must lie in an existing folder, {path.parent} is none; make it first.")
