"""The physics of a run: what the user of recorded data names, and whether other data are of the same system."""

from __future__ import annotations

__all__ = ["check_same_system", "fitted_noise", "physics_of"]

from collections.abc import Mapping
from typing import Any

from physinv.data.dataset import TrajectoryDataset
from physinv.data.process import process_of
from physinv.evaluation.physics.increments import fit_noise
from physinv.processes.given import GivenPhysics, give_physics
from physinv.processes.parameters import describe
from physinv.processes.priors import OBSERVED_NOISE
from physinv.processes.recorded import Recorded
from physinv.processes.simulator import Simulator


def physics_of(data: TrajectoryDataset, simulator: str, parameters: Mapping[str, Any] | None = None) -> GivenPhysics:
    """Return the physics of recorded data: that of a process, with the noise that the data show.

    Args:
        data: Training trajectories, imported ones.
        simulator: Name of the process, or ``module:Class``.
        parameters: Its parameters, in the units of the data; without ``noise`` that is fitted to the residuals.

    Returns:
        The physics; :func:`~physinv.evaluation.physics.increments.check_physics` says whether it explains the data.

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


def fitted_noise(
    data: TrajectoryDataset, physics: GivenPhysics, simulator: str, parameters: Mapping[str, Any] | None = None
) -> float | None:
    """Return the amplitude of the noise that was fitted, in the units of the data as ``noise`` of the process is given.

    Args:
        data: The trajectories that the physics was fitted to.
        physics: What :func:`physics_of` returned for these data.
        simulator: Name of the process.
        parameters: Its parameters, as they were given.

    Returns:
        The amplitude; None where it was given, or the process has none.
    """
    found, made = getattr(physics.inner, "noise", None), process_of(data)
    if "noise" in (parameters or {}) or not isinstance(found, float) or not isinstance(made, Recorded):
        return None
    unit = getattr(give_physics(made, simulator, {**(parameters or {}), "noise": 1.0}).inner, "noise", 1.0)
    return found / float(unit)


def check_same_system(name: str, ours: Simulator, data: TrajectoryDataset) -> None:
    """Raise ValueError unless a run was trained on the simulator and the parameters of some data.

    Args:
        name: Name of the simulator of the run.
        ours: The simulator itself.
        data: The data.

    Raises:
        ValueError: If a parameter, or the simulator, is another one.
    """
    config = data.config
    if isinstance(ours, GivenPhysics):
        ours, name = ours.recorded, "recorded"
    if config.get("simulator", name) != name:
        raise ValueError(
            f"the run was trained on `{name}`, the data are `{config['simulator']}`; they must be of one system."
        )
    theirs = describe(process_of(data))
    for name, value in describe(ours).items():
        if name != OBSERVED_NOISE and theirs[name] != value:
            raise ValueError(
                f"the run was trained with `{name}` = {value}, the data have {theirs[name]}; "
                "they must be of one system."
            )
