"""Summaries and pictures of what a path holds: a dataset, one of its files, a run, or a reconstruction."""

from __future__ import annotations

__all__ = ["describe_path", "draw_path"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from physinv.config.outputs.replace import settle_above
from physinv.data.dataset import TrajectoryDataset
from physinv.data.hdf5.blocks import sealed_size
from physinv.data.hdf5.finding import check_listed
from physinv.data.hdf5.opening import open_file
from physinv.data.inspect import FileSummary, inspect
from physinv.data.plan import SPLITS
from physinv.data.sources.read import FAMILIES
from physinv.posterior.reconstruction import read_reconstruction

_UNSEALED = "no: the file has no checksums, being of an earlier version or changed by another program"


def describe_path(path: Path, *, verify: bool = False) -> dict[str, Any]:
    """Summarise what a path holds.

    Args:
        path: A dataset folder, a run folder, a trajectory file or a reconstruction.
        verify: Whether to compare the SHA-256 of data files with those in dataset.json.

    Returns:
        A flat summary.  ``kind`` is dataset, run, trajectories or reconstruction; ``whole`` says whether it is
        complete; a key that begins with ``problem`` holds what is wrong, in one line.

    Raises:
        ValueError: If physinv wrote nothing there.
    """
    settle_above(path)
    if path.is_dir():
        if (path / "run.json").exists():
            return _run(path)
        if (path / "data").is_dir():
            return _dataset(path, verify)
        raise ValueError(f"{path} holds neither a run (run.json) nor a dataset (data/); give one of those or a file.")
    if not path.exists():
        raise ValueError(f"there is no {path}; give a dataset, a run or an HDF5 file.")
    if _is_of_others(path):
        raise ValueError(f"{path} was not written by physinv; `physinv import {path} --dry-run` says what it holds.")
    return _reconstruction(path) if _is_reconstruction(path) else _trajectories(inspect(path, verify=verify))


def draw_path(path: Path, figure: Path) -> None:
    """Draw what a path holds: a training curve, the first trajectories, or reconstructions.

    Args:
        path: As in :func:`describe_path`.
        figure: Image file to write; its suffix chooses the format.

    Raises:
        ValueError: If what is there can't be read.
    """
    from physinv.reports import plots as plot
    from physinv.reports.plots.pictures import picture_of
    from physinv.reports.plots.pictures.base import first_moving

    if (path / "run.json").exists():
        from physinv.runs.files import logs

        lines = list(logs(path).values())
        if not lines:
            raise ValueError(f"{path} holds no log: nothing was trained; leave out `--plot`.")
        drawn = plot.training(lines[-1])
        plot.save(plot.titled(drawn, f"training of {path}"), figure)
    elif path.is_file() and _is_reconstruction(path):
        from physinv.reports.reconstruction import picture

        r = read_reconstruction(path)
        plot.save(picture(r), figure)
    else:
        data = TrajectoryDataset(path / "data" / "train" if path.is_dir() else path)
        together = picture_of(data.layout).together
        many = data.trajectories(slice(0, together))
        states = many if together > 1 else many[0]
        drawn = plot.trajectory(states, data.times, data.layout, channel=first_moving(data.layout))
        shown = f"{len(many)} trajectories" if together > 1 else "a trajectory"
        plot.save(plot.titled(drawn, f"{data.name}: {shown}"), figure)


def _is_of_others(path: Path) -> bool:
    """Whether a file is of a format that physinv reads and never writes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(16)
    return any(family.fits(path, head) for family in FAMILIES if "HDF5" not in family.about)


def _is_reconstruction(path: Path) -> bool:
    try:
        with open_file(path) as file:
            return {"samples", "info_json"} <= set(file)
    except (OSError, ValueError, RuntimeError):
        return False


def _trajectories(summary: FileSummary) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": "trajectories", "path": str(summary.path), "whole": summary.whole}
    if not summary.whole:
        return out | {"problem": summary.problem, "bytes": summary.bytes}
    out |= {
        "simulator": summary.config.get("simulator", summary.name),
        "parameters": summary.config.get("parameters", dict(sorted(summary.parameters.items()))),
        "trajectories": summary.n_trajectories,
        "state_shape": list(summary.shape),
        "times": f"{len(summary.times)} from {summary.times[0]:g} to {summary.times[-1]:g}{_after(summary)}",
        **_units(summary.config),
        "bytes": summary.bytes,
        "checksum": _compared(summary),
        "verified": "by the checksums in the file" if sealed_size(summary.path) is not None else _UNSEALED,
    }
    for name, f in summary.fields.items():
        out[name] = {"min": f.minimum, "mean": f.mean, "max": f.maximum, "std": f.std}
    return out


def _after(summary: FileSummary) -> str:
    """The unit of times, if it is known, after them."""
    unit = summary.config.get("time_unit")
    return f" {unit}" if isinstance(unit, str) else ""


def _units(config: Mapping[str, Any]) -> dict[str, Any]:
    """The units of channels and axes that were imported with theirs."""
    told = (config.get(key) for key in ("units", "axis_units"))
    found = {name: unit for units in told if isinstance(units, Mapping) for name, unit in units.items()}
    return {"units": found} if found else {}


def _dataset(path: Path, verify: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": "dataset", "path": str(path), "whole": True}
    if not (path / "dataset.json").exists():
        lost = "has no dataset.json, so that files may be missing: the same `physinv generate` or `import` completes it"
        out |= {"whole": False, "problem": f"{path} {lost}, or put dataset.json back."}
    for split in SPLITS:
        folder = path / "data" / split
        found = sorted(folder.glob("*.hdf5"))
        if unlisted := _unlike_listing(folder, found):
            out |= {"whole": False, "problem": unlisted}
        if not folder.is_dir():
            continue
        summaries = [inspect(p, verify=verify) for p in found]
        out["whole"] = out["whole"] and bool(summaries) and all(s.whole for s in summaries)
        good = [s for s in summaries if s.whole]
        out[split] = {"files": len(summaries), "trajectories": sum(s.n_trajectories for s in good)}
        for bad in (s for s in summaries if not s.whole):
            out[f"problem in {bad.path.name}"] = bad.problem
        if good and "simulator" not in out:
            first = _trajectories(good[0])
            shown = ("simulator", "parameters", "state_shape", "times", "units", "checksum")
            out |= {k: first[k] for k in shown if k in first}
    return out


def _unlike_listing(folder: Path, found: list[Path]) -> str:
    """What is wrong with the files of a split by dataset.json, or with that; empty if nothing is."""
    try:
        check_listed(folder, found)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _compared(summary: FileSummary) -> str:
    """What was compared with dataset.json."""
    if summary.checksum is None:
        return "not listed"
    return "as in dataset.json" if summary.verified else "not compared, only sizes; add --verify"


def _run(path: Path) -> dict[str, Any]:
    from physinv.runs.files import is_finished, logs, read_model, verify
    from physinv.runs.places import replacement
    from physinv.runs.run import load_run
    from physinv.runs.run_json import read_info

    info, whole, lines = read_info(path), is_finished(path), logs(path)
    verify(path)
    out: dict[str, Any] = {"kind": "run", "path": str(path), "whole": whole}
    if replacement(path) is not None:
        out["replacement"] = "unfinished; `train --resume` goes on with it, `train --overwrite` begins another"
    kept = (
        "simulator",
        "parameters",
        "trajectories",
        "method",
        "options",
        "observation",
        "settings",
        "seed",
        "device",
        "versions",
    )
    out |= {k: info[k] for k in kept if k in info}
    last = {name: own[-1] for name, own in lines.items()}
    if list(last) == [""]:
        out |= {"steps": last[""].step, "seconds": last[""].seconds, "best_validation_loss": last[""].best}
    else:
        out |= {name: {"steps": r.step, "seconds": r.seconds, "loss": r.best} for name, r in last.items()}
    if whole:
        load_run(path, prior=True)  # says in one line what is missing or damaged
        out["numbers"] = sum(tensor.numel() for tensor in read_model(path, info).values())
    notes: dict[str, Any] = info.get("notes", {})
    if "trials" in notes:  # of a choice: score over that of the linear estimate
        told = {f"{t['method']} {t['share']:.0%}": t.get("relative", t.get("failed")) for t in notes["trials"]}
        notes = {"chosen": notes["chosen"], "trials": told}
    return out | notes


def _reconstruction(path: Path) -> dict[str, Any]:
    r = read_reconstruction(path)
    n, k = r.samples.shape[:2]
    out: dict[str, Any] = {"kind": "reconstruction", "path": str(path), "whole": True}
    kept = ("simulator", "parameters", "method", "answer", "steps", "seed", "data")
    out |= {key: r.info[key] for key in kept}
    spread = float(r.samples.std(1).mean()) if k > 1 else 0.0
    out |= {"observations": n, "samples": k, "mean_std_of_samples": spread}
    if r.truth is not None:
        out["rms_of_truth"] = float(torch.linalg.vector_norm(r.truth) / r.truth.numel() ** 0.5)
    if "familiarity" in r.info:
        out |= {f"warning {i}": line for i, line in enumerate(r.info["familiarity"]["warnings"])}
    return out
