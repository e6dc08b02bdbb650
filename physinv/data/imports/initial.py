"""Trajectories of a process from initial states that a user has, in the place of those that the process draws.

Such data are imported data: their initial states follow no law that the process knows, so the prior is learned from
them, and the exact posterior of the process does not apply.  Training takes the physics by name if it is told so.
"""

from __future__ import annotations

__all__ = ["read_initial_states", "simulate_from"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from physinv.config.inputs import joined
from physinv.config.seeds import seeds
from physinv.data.generate import Progress
from physinv.data.importing import import_trajectories
from physinv.data.imports.choices import Choices
from physinv.data.plan import CHUNK_BYTES
from physinv.data.regrid import counted, regrid
from physinv.data.sources.read import read_states
from physinv.data.sources.states import state_array
from physinv.processes.check_steps import check_steps
from physinv.processes.layout import StateLayout
from physinv.processes.parameters import describe
from physinv.processes.simulator import Simulator


def simulate_from(
    path: Path,
    simulator: Simulator,
    out: Path,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Simulate one trajectory from each initial state in a file, and write them as an imported dataset.

    Args:
        path: The file, of any format.
        simulator: The process.
        out: Folder of the dataset; a tenth of the trajectories each is for validation and tests.
        seed: Seed of the noise, and of the splits.
        device: Where to simulate.
        overwrite: Replace the data that are there.
        progress: Function that is told how far the simulation is.
        tell: Function that hears what was changed in the states of the file, such as another grid.

    Returns:
        ``out``.

    Raises:
        FileExistsError: If ``out`` holds data and ``overwrite`` is not set.
        ValueError: If the file holds states of another shape, or the simulation diverges.
    """
    check_steps(simulator)
    x, notes = read_initial_states(path, simulator.layout)
    if tell is not None:
        for note in notes:
            tell(note)
    x = x.to(device)
    each = 4 * len(simulator.times) * x[0].numel()
    chunk = max(1, CHUNK_BYTES // each)
    parts = []
    for number, first in enumerate(range(0, len(x), chunk)):
        generator = seeds(seed).child("data", "given", number).generator(device)
        run = simulator.run(x[first : first + chunk], generator=generator).cpu()
        if not bool(run.isfinite().all()):
            bad = first + int((~run.isfinite()).flatten(1).any(1).nonzero()[0])
            raise ValueError(
                f"the trajectory from state {bad} of {path} grows without bound; take more steps (a parameter of "
                f"{type(simulator).__name__}, see `physinv simulators`), or leave out states of this size (up to "
                f"{float(x[bad].abs().amax()):.3g})."
            )
        parts.append(run)
        if progress is not None:
            progress(min(first + chunk, len(x)), len(x))
    data = _described(torch.cat(parts), simulator)
    data.attrs["path"] = str(path)
    return import_trajectories([data], out, Choices(seed=seed), overwrite=overwrite)


def read_initial_states(path: Path, layout: StateLayout) -> tuple[Float[Tensor, "n *state"], list[str]]:
    """Read initial states of a process from a file of any format.

    Args:
        path: The file; of several times the first one counts.
        layout: Layout of the states of the process.

    Returns:
        The states, float32, and a sentence about each axis that was turned or interpolated to the grid of the process.

    Raises:
        ValueError: If the file holds states of another shape, on points that do not cover those of the process, or
            numbers that are not finite.

    Example:
        >>> import tempfile
        >>> from physinv.processes.layout import VectorLayout
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "starts.npy", np.zeros((5, 3)))
        ...     read_initial_states(Path(folder) / "starts.npy", VectorLayout("x", 3))[0].shape
        torch.Size([5, 3])
    """
    found = read_states(path)
    if "time" in found.dims:
        found = found.isel(time=0)
    if len(found.data_vars) > 1 and set(layout.names) <= set(map(str, found.data_vars)):
        found = found[list(layout.names)]
    x, notes = _by_name(found, layout, str(path))
    if x is None:
        held = ", ".join(f"`{n}` {tuple(v.shape)}" for n, v in found.data_vars.items())
        raise ValueError(f"{path} must hold states of shape {joined(layout.shape)}, got {held}.")
    with np.errstate(over="ignore"):  # what float32 does not hold is refused below
        states = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    if not bool(states.isfinite().all()):
        bad = int((~states.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(
            f"state {bad} of {path} holds NaN, infinity or more than float32 holds; leave it out of the file."
        )
    return states, notes


def _described(states: Float[Tensor, "n time *state"], simulator: Simulator) -> xr.Dataset:
    """Trajectories with all that a file would say about them."""
    layout, x = simulator.layout, states.numpy()
    coords: dict[str, Any] = {"time": ("time", simulator.times.numpy())}
    ends = layout.boundary.split(",") * len(layout.axes)
    for axis, along, kind in zip(layout.space, layout.coordinates, ends, strict=False):
        coords[axis] = (axis, np.asarray(along), {"boundary": kind.lower()})
    out: dict[str, Any] = {}
    axes = layout.space or ("component",) * (x.ndim == 3) or ("particle", "component")
    for name, place in layout.parts():
        part = x[(..., *place)]
        static = name in layout.static
        dims = ("sample", *(() if static else ("time",)), *axes)
        out[name] = (dims[: part.ndim - static], part[:, 0] if static else part)
    constants = {f"scalars/{k}": ((), v) for k, v in describe(simulator).items() if isinstance(v, float)}
    return xr.Dataset({**out, **constants}, coords, {"fields": list(out)})


def _by_name(found: xr.Dataset, layout: StateLayout, path: str) -> tuple[NDArray[np.float64] | None, list[str]]:
    """The states as ``(n, *state)``: axes of space by name where the file names them, all others by shape."""
    if layout.space and set(layout.space) <= set(map(str, found.dims)):
        found, _ = counted(found, [str(d) for d in found.dims], layout)
        found = found.transpose("sample", *layout.space, ..., missing_dims="ignore")
        x = state_array(found)[:, 0]
        if x.ndim != 1 + len(layout.shape) or x.shape[1] != layout.shape[0]:
            return None, []
        where = {axis: np.asarray(found[axis].values, dtype=float) for axis in layout.space if axis in found.coords}
        return regrid(x, where, layout, path, wanted_by="the process")
    arrays = [np.asarray(v.values, dtype=np.float64) for v in found.data_vars.values()]
    if len({a.shape for a in arrays}) > 1:
        return None, []
    x = arrays[0] if len(arrays) == 1 else np.stack(np.atleast_1d(*arrays), axis=1)
    for shaped in (x, x[None], x[:, None] if x.ndim else x, x[None, None]):
        if shaped.shape[1:] == layout.shape:
            return shaped, []
    return None, []
