"""Numbers along the times of a recording that are known and not reconstructed, such as a heater that is on or off."""

from __future__ import annotations

__all__ = ["context_of"]

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.config.suggest import did_you_mean
from physinv.data.sources.states import state_array, states_of


def context_of(source: xr.Dataset, names: Sequence[str], times: str | None) -> dict[str, NDArray[np.float64]]:
    """Read variables that vary along the times, and may differ from sample to sample.

    Args:
        source: All variables of a file, or a dataset of the user.
        names: Names of the variables.
        times: Name of a variable with the times, a time step, or ``first:last``; None: as the file says.

    Returns:
        Values by name, ``(trajectory, time)``; one trajectory where all have the same.

    Raises:
        ValueError: If there is no such variable, or it varies along anything else.
    """
    found = {}
    for name in names:
        if name not in source.variables:  # each name stands for one line of numbers: no patterns here
            known, path = [str(v) for v in source.variables], source.attrs.get("path", "the dataset")
            raise ValueError(f"{path} has no variable `{name}` (`--context`); {did_you_mean(name, known)}")
        states = states_of(source, [name], None, times=times)
        if set(map(str, states.dims)) - {"sample", "time"} or "time" not in states.dims:
            axes = ", ".join(map(str, states[name].dims)) or "none"
            raise ValueError(
                f"`{name}` of {states.attrs['path']} (`--context`) must vary along the times, and with samples at "
                f"most, got the axes {axes}."
            )
        found[name] = state_array(states)[..., 0]
    return found
