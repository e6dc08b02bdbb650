"""Find simulators by name: ours and those of other packages register under ``physinv.simulators``."""

from __future__ import annotations

__all__ = ["find", "name_of", "simulators"]

from importlib import metadata

from physinv.config.suggest import did_you_mean
from physinv.processes.simulator import Simulator

GROUP = "physinv.simulators"


def simulators() -> dict[str, type[Simulator]]:
    """All registered simulator classes by name, sorted; importing one that is broken raises ValueError."""
    return {entry.name: _load(entry) for entry in sorted(_entries(), key=lambda e: e.name)}


def find(name: str) -> type[Simulator]:
    """The simulator class registered as ``name``; ValueError names the nearest one for an unknown name."""
    entries = {entry.name: entry for entry in _entries()}
    if name in entries:
        return _load(entries[name])
    if not entries:
        raise ValueError(f"there is no simulator `{name}`: none is registered; run `pip install -e .` in the clone.")
    raise ValueError(f"there is no simulator `{name}`; {did_you_mean(name, entries)}")


def name_of(simulator: type[Simulator]) -> str:
    """Return the name under which a class is registered, or else its place ``module:Class``.

    Args:
        simulator: The class; nothing is imported to find it.
    """
    place = f"{simulator.__module__}:{simulator.__qualname__}"
    return next((entry.name for entry in _entries() if entry.value == place), place)


def _entries() -> metadata.EntryPoints:
    return metadata.entry_points(group=GROUP)


def _load(entry: metadata.EntryPoint) -> type[Simulator]:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"simulator `{entry.name}` ({entry.value}) can't be imported: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Simulator)):
        raise ValueError(
            f"simulator `{entry.name}` ({entry.value}) must be a subclass of physinv.processes.simulator.Simulator."
        )
    return found
