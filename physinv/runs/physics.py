"""Physics that the user of recorded data names, in the place of physics that is learned from them."""

from __future__ import annotations

__all__ = ["physics_of"]

from collections.abc import Mapping
from typing import Any

from physinv.data.dataset import TrajectoryDataset
from physinv.data.process import process_of
from physinv.evaluation.physics_check import fit_noise
from physinv.processes.given import GivenPhysics, give_physics
from physinv.processes.recorded import Recorded


def physics_of(data: TrajectoryDataset, simulator: str, parameters: Mapping[str, Any] | None = None) -> GivenPhysics:
    """Return the physics of recorded data: that of a process, with the noise that the data show.

    Args:
        data: Training trajectories, imported ones.
        simulator: Name of the process, or ``module:Class``.
        parameters: Its parameters, in the units of the data; without ``noise`` that is fitted to the residuals.

    Returns:
        The physics; :func:`~physinv.evaluation.physics_check.check_physics` says whether it explains the data.

    Raises:
        ValueError: If the data were simulated here, or the process does not fit them.
    """
    made = process_of(data)
    if not isinstance(made, Recorded):
        raise ValueError(
            f"`simulator` is for imported data, {data.path} was simulated by `{data.config['simulator']}`; "
            "leave it out."
        )
    physics = give_physics(made, simulator, parameters)
    return physics if "noise" in (parameters or {}) else fit_noise(data, physics)
