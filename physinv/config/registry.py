"""One way to find parts by name: built-in ones, those of installed packages, and ``module:name`` of the user's own."""

from __future__ import annotations

__all__ = ["Registry", "entries_of", "import_object"]

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import metadata
from types import ModuleType
from typing import Any, Generic, TypeVar

from physinv.config.failures import in_one_line
from physinv.config.suggest import did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Look up parts of one kind (simulators, networks, objectives, reference laws, methods) by name.

    A name is found, in this order, among the parts registered in Python, the entry points that installed packages
    declare under ``group``, and, if it has the form ``module:name``, in that module, which may lie in the working
    directory.  Nothing is imported before it is asked for.

    Args:
        kind: What a part is called in messages, such as ``"simulator"``.
        group: Group of entry points, such as ``"physinv.simulators"``.
        fits: Whether an object is a part of this kind.
        rule: What it must be, in words that follow "must be", such as ``"a subclass of Simulator"``.
        builtin: Names of our own parts, with the part itself or its place as ``"module:name"``.

    Example:
        >>> shapes = Registry("shape", "example.shapes", callable, "a function", {"round": "math:ceil"})
        >>> shapes.find("round")(1.2)
        2
    """

    def __init__(
        self,
        kind: str,
        group: str,
        fits: Callable[[Any], bool],
        rule: str,
        builtin: Mapping[str, T | str] | None = None,
    ) -> None:
        self.kind, self.group, self.fits, self.rule = kind, group, fits, rule
        self._parts: dict[str, T | str] = dict(builtin or {})

    def register(self, name: str, part: T) -> T:
        """Make ``part`` known as ``name`` in this process.

        Args:
            name: The name under which files and settings will hold it.
            part: The part itself.

        Returns:
            ``part``, so that a class can be registered where it is defined.

        Raises:
            ValueError: If the name is no word, or taken by another part, or the part is of another kind.
        """
        if not isinstance(name, str):
            raise ValueError(f"`name` must be a word, got {type(name).__name__}; give register(name, part).")
        if name in self._parts and self.find(name) is not part:
            raise ValueError(f"there is a {self.kind} `{name}` already; take another name.")
        self._parts[name] = self._checked(name, part)
        return part

    def names(self) -> list[str]:
        """List all names, sorted, without importing anything.

        Returns:
            Names of ours and of other packages' entry points.
        """
        return self._names(self._entries())

    def find(self, name: str) -> T:
        """Return the part called ``name``.

        Args:
            name: A registered name, or ``module:name``.

        Raises:
            ValueError: If there is none, it can't be imported, or it is of another kind; one line says what to do.
        """
        return self._find(name, None)

    def _names(self, entries: metadata.EntryPoints) -> list[str]:
        return sorted({*self._parts, *(entry.name for entry in entries)})

    def _find(self, name: str, entries: metadata.EntryPoints | None) -> T:
        """The part called ``name``, among entry points that were read before."""
        if not isinstance(name, str):
            told = f"{self.kind} must be a name or module:name, got {type(name).__name__}"
            raise ValueError(f"{told}; one of your own has a name once it is registered, `register(name, part)`.")
        if name in self._parts:
            part = self._parts[name]
            return self._checked(name, import_object(part, self.kind) if isinstance(part, str) else part)
        places = {e.value: e for e in (self._entries() if entries is None else entries) if e.name == name}
        if len(places) > 1:
            told = " and ".join(f"{e.dist.name if e.dist else '?'} ({place})" for place, e in places.items())
            raise ValueError(
                f"{self.kind} `{name}` is declared by {told}; uninstall one, or name a part by its place, module:name."
            )
        for place in places:
            return self._checked(name, import_object(place, self.kind))
        if ":" in name:
            return self._checked(name, import_object(name, self.kind))
        known = self.names()
        if not known:
            raise ValueError(
                f"there is no {self.kind} `{name}`: none is registered; run `pip install -e .` in the clone."
            )
        hint = (
            f"{name}.py is a module: give `{name}:NAME`." if os.path.isfile(f"{name}.py") else did_you_mean(name, known)
        )
        raise ValueError(f"there is no {self.kind} `{name}`; {hint}")

    def working(self) -> tuple[dict[str, T], list[str]]:
        """Find all parts, and leave out what is broken.

        Returns:
            The parts by name, sorted, and a line for each that can't be imported or is of another kind.
        """
        found: dict[str, T] = {}
        broken = []
        entries = self._entries()  # read once: that takes longer than to import a part
        for name in self._names(entries):
            try:
                found[name] = self._find(name, entries)
            except ValueError as error:
                broken.append(f"`{name}` is left out: {error}")
        return found, broken

    def name_of(self, part: T) -> str:
        """Return the name under which ``part`` is found again: :meth:`find` of it is ``part``.

        Args:
            part: A class or a function.

        Returns:
            The name that it is registered under, or else its place ``module:name``.
        """
        place = f"{getattr(part, '__module__', '')}:{getattr(part, '__qualname__', '')}"
        for name, known in self._parts.items():
            if known is part or known == place:
                return name
        return next((entry.name for entry in self._entries() if entry.value == place), place)

    def _entries(self) -> metadata.EntryPoints:
        return entries_of(self.group)

    def _checked(self, name: str, part: Any) -> T:
        if not self.fits(part):
            raise ValueError(f"{self.kind} `{name}` must be {self.rule}, got {part!r}.")
        found: T = part
        return found


def entries_of(group: str) -> metadata.EntryPoints:
    """Return the entry points that installed packages declare, which are read again only after an installation.

    Args:
        group: Group of entry points, such as ``"physinv.simulators"``.

    Example:
        >>> [entry.name for entry in entries_of("physinv.of-nobody")]
        []
    """
    return _read(metadata.entry_points, group, _installed())


def import_object(place: str, kind: str) -> Any:
    """Import the object at ``module:name``; the module may lie in the working directory.

    Args:
        place: Module and name, such as ``"mymodule:MyProcess"``.
        kind: What it is, for messages.

    Returns:
        The object of that name.

    Raises:
        ValueError: If the module or the name in it can't be imported; one line says which.
    """
    module, _, name = place.partition(":")
    if not module or not name:
        raise ValueError(f"{kind} `{place}` must have the form module:name, such as mymodule:MyClass.")
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind} `{place}` can't be imported: {_advised(error, module)}") from error
    except (Exception, SystemExit) as error:  # whatever a module does that others wrote
        raise ValueError(f"{kind} `{place}` can't be imported, its module ends with {in_one_line(error)}.") from error
    finally:
        if added:
            sys.path.remove(here)
    return found


def _advised(error: ImportError | AttributeError, module: str) -> str:
    """The message of an error, and what to do about a module or a name that is not there."""
    if module == "__main__":
        return (
            "it was defined in a script or a notebook, which nobody else has; write it into a file of its own, such as "
            "mymodule.py, and import it from there."
        )
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        return f"{error}; run where its file lies, or put that folder on the path (`export PYTHONPATH=FOLDER`)."
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType) and error.name is not None:
        own = [name for name, part in vars(error.obj).items() if getattr(part, "__module__", None) == module]
        return f"{error}; {did_you_mean(error.name, own, owner='it has')}"
    return f"{error}."


@lru_cache(maxsize=32)
def _read(
    read: Callable[..., metadata.EntryPoints], group: str, installed: tuple[tuple[str, int], ...]
) -> metadata.EntryPoints:
    """The entry points of a group; to read a file of each installed package takes longer than to import a part."""
    return read(group=group)


def _installed() -> tuple[tuple[str, int], ...]:
    """The places where packages are looked for, each with the time when one was last added there or taken away."""
    return tuple((place, _changed(place)) for place in sys.path)


def _changed(place: str) -> int:
    try:
        return os.stat(place or ".").st_mtime_ns
    except OSError:
        return 0
