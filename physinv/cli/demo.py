"""The demonstration: simulate, train, reconstruct, evaluate and draw, for a field and for a particle."""

from __future__ import annotations

__all__ = ["run_demo"]

from pathlib import Path

from physinv.cli.info import draw_path
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.config.devices import pick_device
from physinv.config.files import write_text
from physinv.config.outputs.refusals import check_folder
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.evaluate import evaluate, to_json
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.registry import find
from physinv.reports.reconstruction import draw_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from physinv.training.validation import ValidationRecord

SYSTEMS = {
    "heat": {"train": 1000, "valid": 100, "test": 16},
    "double-well": {"train": 2000, "valid": 200, "test": 500},
}


_MARK = ".physinv-demo"  # in a folder of which a demonstration replaces what an earlier one wrote


def run_demo(out: Path, *, seconds: float, seed: int = 0) -> None:
    """Run the whole way of the data for two processes.

    Args:
        out: Folder that gets datasets, runs, tables and figures.
        seconds: Training time for each process.
        seed: Seed of data, training and samples.

    Raises:
        FileExistsError: If the folder holds files that no demonstration wrote.
    """
    _claim(out)
    device = pick_device(None)
    for name, splits in SYSTEMS.items():
        with progress(f"{name}: simulating") as report:

            def count(done: int, n: int) -> None:
                report(done / n)

            plan = DatasetPlan(find(name)(), splits, seed)
            data = generate(plan, out / "datasets" / name, overwrite=True, progress=count)
        train, valid, test = (TrajectoryDataset(data / "data" / split) for split in ("train", "valid", "test"))
        run = out / "runs" / name
        with progress(f"{name}: training") as report:

            def show(done: float, record: ValidationRecord) -> None:
                report(done, f"step {record.step}  valid {record.valid:.4f}")

            train_run(
                run,
                train,
                valid,
                settings=Settings(),
                budget=Budget(seconds=seconds),
                seed=seed,
                device=device,
                overwrite=True,
                progress=show,
                announce=report.phase,
            )
        for answer in ("samples", "flow"):
            target = out / f"{name}-{answer}.hdf5"
            with progress(f"{name}: reconstructing ({answer})") as report:

                def tell(done: int, n: int) -> None:
                    report(done / n)

                sampling = SamplingPlan(answer=answer, seed=seed)
                reconstruct(load_run(run, device=device), test, target, sampling, overwrite=True, progress=tell)
            loaded = read_reconstruction(target)
            rows = evaluate(loaded)
            console.metrics(rows, f"{name}, {answer}, beside the exact posterior")
            write_text(out / f"{name}-{answer}.json", to_json(rows, loaded))
        figures = draw_reconstruction(read_reconstruction(out / f"{name}-samples.hdf5"), out / "figures" / name)
        for label, path in (("trajectory", data), ("training", run)):
            draw_path(path, figures[0].with_name(f"{label}.png"))
            figures.append(figures[0].with_name(f"{label}.png"))
        console.say(f"{name}: figures {', '.join(p.name for p in figures)} in {figures[0].parent}")


def _claim(out: Path) -> None:
    """Refuse a folder of somebody else's files, some of which would be replaced, and mark any other."""
    check_folder(out)
    if out.is_dir() and any(out.iterdir()) and not (out / _MARK).exists():
        raise FileExistsError(f"{out} holds files that no demonstration wrote; choose another `--out`.")
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()
