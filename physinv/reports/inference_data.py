"""Convert a reconstruction for ArviZ: the groups of its InferenceData, as a tree of xarray datasets.

ArviZ 1 takes such trees as they are; for earlier versions write one with ``to_netcdf`` and read it by
``arviz.from_netcdf``.
"""

from __future__ import annotations

__all__ = ["to_arviz"]

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from physinv.config.inputs import check_instance
from physinv.posterior.reconstruction import Reconstruction, read_reconstruction

if TYPE_CHECKING:
    import xarray as xr


def to_arviz(recon: Reconstruction | Path | str) -> xr.DataTree:
    """Return a reconstruction as InferenceData: samples with the dimensions that ArviZ expects, by names of channels.

    Args:
        recon: The reconstruction, or its file.

    Returns:
        A tree with the groups ``posterior`` (dimensions ``chain, draw, observation, ...``), ``observed_data``,
        ``constant_data`` (where each observation comes from, its distance from the training data, the true initial
        state where it is known) and, of observations alone, ``posterior_predictive``.
    """
    import xarray as xr

    recon = read_reconstruction(recon) if isinstance(recon, (str, Path)) else recon
    check_instance(recon, Reconstruction, "recon", "give the file that reconstruct(run, data, out) wrote")
    groups: dict[str, xr.Dataset] = {"posterior": xr.Dataset(_parts(recon, recon.samples, drawn=True))}
    if recon.predicted is not None:
        groups["posterior_predictive"] = xr.Dataset(_parts(recon, recon.predicted, drawn=True))
    groups["observed_data"] = xr.Dataset(_parts(recon, recon.observation, drawn=False))
    groups["constant_data"] = xr.Dataset(_constants(recon))
    for name, group in groups.items():
        leading = {d: np.arange(n) for d, n in group.sizes.items() if d in ("chain", "draw", "observation")}
        layout = recon.simulator.layout
        along: dict[str, Sequence[float | str]] = dict(zip(layout.axes, layout.coordinates, strict=True))
        named = recon.info.get("run", {}).get("components") or ()
        if not layout.space and len(named) == group.sizes.get(layout.axes[0]):
            along[layout.axes[0]] = named
        groups[name] = group.assign_coords({**leading, **{a: list(along[a]) for a in along if a in group.dims}})
        groups[name].attrs |= {"inference_library": "physinv", "method": recon.called}
    return xr.DataTree.from_dict(groups)


_Parts = dict[str, tuple[tuple[str, ...], Any, dict[str, str]]]
"""Dimensions, values and attributes by name."""


def _parts(recon: Reconstruction, x: Tensor, *, drawn: bool) -> _Parts:
    """Each named part of states, ``(observation, draw, ...)`` as ``(chain, draw, observation, ...)``."""
    layout, units = recon.simulator.layout, recon.info.get("run", {}).get("units", {})
    found: _Parts = {}
    for name, place in layout.parts():
        values = x[(..., *place)].cpu().numpy()
        dims: tuple[str, ...] = ("observation", *layout.axes_of(name))
        if drawn:
            values, dims = np.swapaxes(values, 0, 1)[None], ("chain", "draw", *dims)
        found[name] = (dims, values, {"units": units[name]} if name in units else {})
    return found


def _constants(recon: Reconstruction) -> _Parts:
    """What is known of each observation beside its state."""
    told = recon.info.get("observations", {})
    found: _Parts = {}
    if told:
        found["source"] = (("observation",), np.array(told["sources"]), {})
        found["source_index"] = (("observation",), np.array(told["indices"]), {})
    if "familiarity" in recon.info:
        about = {"units": "standard deviations of chance"}
        found["distance"] = (("observation",), np.array(recon.info["familiarity"]["distance"]), about)
    if recon.truth is not None:
        found |= {f"true_{name}": part for name, part in _parts(recon, recon.truth, drawn=False).items()}
    return found
