"""The content of what verbs print and write, without what differs from run to run: seconds, versions, paths."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

VOLATILE = {
    "bytes",
    "checksum",
    "checksums",
    "date",
    "device",
    "files",
    "path",
    "seconds",
    "sha256",
    "sample_seconds",
    "training_seconds",
    "versions",
}


def plain(value: Any) -> Any:
    """A JSON value without the volatile keys."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in VOLATILE and "verif" not in k}
    return [plain(v) for v in value] if isinstance(value, list) else value


def printed(work: Path, out: str) -> Any:
    """What was printed as JSON."""
    return plain(json.loads(out))


def said(work: Path, out: str) -> Any:
    """What was printed as text."""
    return out


def nothing(work: Path, out: str) -> Any:
    """Nothing: the content is not looked at."""
    return None


def table(work: Path, out: str) -> Any:
    """The table of metrics that was written."""
    return plain(json.loads((work / "out.json").read_text("utf-8")))


def reconstruction(work: Path, out: str) -> Any:
    """Arrays of a reconstruction, and what it says of the process."""
    with h5py.File(work / "out.hdf5") as file:
        arrays = {k: _digest(v) for k, v in file.items() if isinstance(v, h5py.Dataset) and v.dtype.kind == "f"}
        info = json.loads(file["info_json"][()])
    return {"arrays": arrays, **{k: info[k] for k in ("simulator", "parameters", "method", "answer", "seed")}}


def dataset(work: Path, out: str, folder: str = "out") -> Any:
    """Numbers of all trajectories, and the configuration they belong to."""
    found: dict[str, Any] = {}
    for path in sorted((work / folder).rglob("*.hdf5")):
        if any(part.startswith(".") for part in path.relative_to(work / folder).parts):
            continue  # of a dataset that is still to come
        with h5py.File(path) as file:
            inside: dict[str, str] = {}

            def collect(name: str, item: Any, inside: dict[str, str] = inside) -> None:
                if isinstance(item, h5py.Dataset) and item.dtype.kind in "iufb":
                    inside[name] = _digest(item)

            file.visititems(collect)
            config = json.loads(file["physinv"].attrs["config_json"])
        found[path.relative_to(work / folder).as_posix()] = [inside, plain(config)]
    return found


def run(work: Path, out: str) -> Any:
    """All that a run fitted, and the process that it says it is for."""
    from safetensors.numpy import load_file

    tensors = load_file(work / "out" / "model.safetensors")
    info = json.loads((work / "out" / "run.json").read_text("utf-8"))
    told = {k: info[k] for k in ("simulator", "parameters", "times", "method", "settings", "seed")}
    return {"tensors": {k: _hash(v) for k, v in sorted(tensors.items())}, **told}


def _digest(data: h5py.Dataset) -> str:
    return _hash(np.asarray(data[...]))


def _hash(array: Any) -> str:
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
