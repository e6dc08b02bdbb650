"""Find processes by name: ours, those of installed packages, and ``module:Class`` of the user's own.

Packages register a process under the entry points ``physinv.simulators``. A class that is not installed is found as
``module:Class``, where the module may lie in the working directory:

    physinv generate mymodule:MyProcess
"""

from __future__ import annotations

__all__ = ["SIMULATORS", "file_name", "find", "name_of", "simulators"]

import re
from typing import Any

from physinv.config.registry import Registry, entries_of
from physinv.processes.check_process import check_fields
from physinv.processes.simulator import Simulator


def _fits(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, Simulator)


SIMULATORS: Registry[type[Simulator]] = Registry(
    "simulator", "physinv.simulators", _fits, "a subclass of physinv.processes.simulator.Simulator"
)
"""Classes of processes by name."""


def simulators() -> dict[str, type[Simulator]]:
    """Return all registered classes by name, sorted; those that can't be imported, or are no process, are left out."""
    return SIMULATORS.working()[0]


def find(name: str) -> type[Simulator]:
    """Return the class of a process.

    Args:
        name: The name that it is registered under, or ``module:Class``.

    Raises:
        ValueError: If there is none of this name, which one line tells with the nearest one, or the class is not whole.
    """
    found = SIMULATORS.find(name)
    check_fields(found, Simulator)
    if missing := sorted(found.__abstractmethods__):
        raise ValueError(f"`{found.__name__}` must define {', '.join(missing)}; add what it lacks.")
    return found


def name_of(simulator: type[Simulator]) -> str:
    """Return the name under which a class is registered, or else its place ``module:Class``.

    Args:
        simulator: The class; nothing is imported to find it.
    """
    place = f"{simulator.__module__}:{simulator.__qualname__}"
    return next((e.name for e in entries_of(SIMULATORS.group) if e.value == place), place)


def file_name(name: str) -> str:
    """Return the name of a process as folders and files can bear it.

    Args:
        name: The name that it is registered under, which stays, or ``module:Class``.

    Returns:
        The class of ``module:Class`` in lower case, its words joined by dashes.

    Example:
        >>> file_name("heat")
        'heat'
        >>> file_name("mymodule:DampedPendulum")
        'damped-pendulum'
    """
    _, colon, own = name.partition(":")
    if not colon:
        return name
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[._]+", "-", own)
    return words.strip("-").lower()
