"""Check that what a user hands in are trajectories, and of the process in question."""

from __future__ import annotations

__all__ = ["check_trajectories"]

from typing import Any

from physinv.config.inputs import check_instance
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.check_sde import state_shape
from physinv.equations.sde import SDE


def check_trajectories(data: Any, name: str, sde: SDE) -> None:
    """Raise ValueError unless ``data`` is a trajectory dataset with states of the shape that a process has.

    Args:
        data: What was given.
        name: Name of the argument, for messages.
        sde: The physics.

    Raises:
        ValueError: If it is something else; one line says what was given and what to give.
    """
    check_instance(data, TrajectoryDataset, name, "give TrajectoryDataset(folder of a split)")
    shape = state_shape(sde)
    if shape is not None and tuple(data.shape) != shape:
        raise ValueError(
            f"`{name}` has states of shape {tuple(data.shape)}, those of {type(sde).__name__} {shape}; "
            "give data of the same process."
        )
