"""The process that a dataset names, and whether what the dataset says of it holds together."""

from __future__ import annotations

__all__ = ["check_config_times", "check_times", "other_parameters", "process_of"]

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from physinv.equations.sde import SDE
from physinv.processes.parameters import build, describe
from physinv.processes.recorded import Recorded
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator

if TYPE_CHECKING:
    from physinv.data.dataset import TrajectoryDataset

_SAME = 1e-9  # of the final time: times are float64, and versions of torch round them differently


def process_of(data: TrajectoryDataset) -> Simulator:
    """Make the process that a dataset names.

    Args:
        data: The trajectories.

    Returns:
        The process, with the parameters that the dataset notes.

    Raises:
        ValueError: If the dataset names none, its parameters do not fit, or its times or states are not those of the
            process.
    """
    config = data.config
    if "simulator" not in config:
        raise ValueError(
            f"{data.path} does not say which process it is of (its configuration lacks `simulator`); make it with "
            "`physinv generate` or `physinv import`."
        )
    process = find(config["simulator"])
    with _blamed(data.path):
        made = build(process, config["parameters"])
        check_times(data.path, data.times.tolist(), made)
        if isinstance(made, Recorded):
            _check_recorded(data, made)
    return made


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Let errors inside the block, of parameters that a configuration holds, name that; others name the file."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:  # of values inside of lists
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"`parameters` in the configuration of {path} make no process: {reason}; generate or import it again."
        ) from None


def _check_recorded(data: TrajectoryDataset, made: Recorded) -> None:
    """Refuse a layout that is not that of the states; sizes first, since the layout lists as many positions."""
    sizes = tuple(map(len, data.layout.coordinates))
    if made.sizes != sizes:
        told = f"`sizes` {made.sizes}, its states {sizes}"
    elif made.layout.names != data.layout.names:
        told = f"`names` {made.layout.names}, its states {data.layout.names}"
    else:
        return
    raise ValueError(f"{data.path} contradicts itself: its configuration has {told}; import it again.")


def check_config_times(path: Path, times: Sequence[float], config: Mapping[str, Any]) -> None:
    """Refuse times that contradict the configuration beside them, where its process is a registered one.

    No module is imported that a file names by its place, ``module:Class``.

    Args:
        path: The file, for messages.
        times: Its stored times.
        config: Its configuration.

    Raises:
        ValueError: If the process has other times.
    """
    name, values = config.get("simulator", ":"), config.get("parameters", {})
    if ":" in name:
        return
    try:
        process = find(name)
        if process.times is Simulator.times:  # evenly spaced; parameters of earlier versions may be unknown today
            values = {key: values[key] for key in ("horizon", "steps") if key in values}
        made = build(process, values)
    except (ValueError, TypeError, ArithmeticError):  # none of this name is installed, or it is one of another version
        return
    check_times(path, times, made)


def check_times(path: Path, times: Sequence[float], process: Simulator) -> None:
    """Refuse times that are not those of a process.

    Args:
        path: The file, for messages.
        times: Its stored times.
        process: The process that made them.

    Raises:
        ValueError: If the process has other times.
    """
    expected = process.times.tolist()
    if len(times) == len(expected) and np.allclose(times, expected, rtol=0, atol=_SAME * abs(expected[-1])):
        return
    raise ValueError(
        f"{path} contradicts itself: it has {len(times)} times from {times[0]:g} to {times[-1]:g}, the process that it "
        f"names {len(expected)} from {expected[0]:g} to {expected[-1]:g}; generate or import it again."
    )


def other_parameters(config: Mapping[str, Any], sde: SDE) -> str | None:
    """Compare the parameters that data were made with to those of a process of the same kind.

    No module is imported that a file names by its place, ``module:Class``.

    Args:
        config: The configuration of the data.
        sde: The process.

    Returns:
        The first parameter that differs, as ``with `rate` = 1.0, `sde` has 2.0``; None: they are the same, or the data
        come from elsewhere.
    """
    name = config.get("simulator", ":")
    if ":" in name or not isinstance(sde, Simulator):
        return None
    try:
        same = find(name) is sde.process
    except ValueError:  # none of this name is installed
        return None
    # As files hold them: tuples are lists there, and not in data that were made in memory.
    given, ours = (json.loads(json.dumps(x)) if same else {} for x in (config.get("parameters", {}), describe(sde)))
    differ = (key for key in given if key in ours and given[key] != ours[key])
    key = next(differ, None)
    return None if key is None else f"with `{key}` = {given[key]}, `sde` has {ours[key]}"
