"""Resolve references that Sphinx does not find by itself: to imported, inherited, re-exported and undocumented names.

A docstring may name what its module can see. Sphinx looks for documented names only, so that ``Linear`` in a module
that imports it, or a method that a base class defines, counts as missing. What exists is linked to where it is
documented, or left without a link. What does not exist stays a warning, and warnings are errors.
"""

from __future__ import annotations

__all__ = ["find_home", "resolve"]

import importlib
import inspect
from typing import Any

from docutils.nodes import Element, TextElement
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

OURS = ("physinv", "simulators")


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement) -> Element | None:
    """Answer Sphinx's event ``missing-reference``: a link, the text alone, or None for what does not exist."""
    if node.get("refdomain") != "py":
        return None
    home = find_home(node["reftarget"], node.get("py:module"), node.get("py:class"))
    if home is None:
        return None
    found = env.domains["py"].objects.get(home)
    if found is None:
        return content
    return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, content, home)


def find_home(target: str, module: str | None = None, owner: str | None = None) -> str | None:
    """Return the full name under which an object is defined.

    Args:
        target: Name in a docstring, with or without its module.
        module: Module of the docstring.
        owner: Class of the docstring, within the module.

    Returns:
        ``module.Class.attribute``, or None if there is no such object.

    Example:
        >>> find_home("Linear", "physinv.laws.exact")
        'physinv.equations.sde.Linear'
        >>> find_home("drift_flow", "physinv.processes.simulator", "Simulator")
        'physinv.equations.sde.SDE.drift_flow'
        >>> find_home("Map", "physinv.methods.classical.gaussian_prior")  # a field that a base class annotates
        'physinv.laws.covariance.Map'
        >>> find_home("Linaer", "physinv.laws.exact")
    """
    target = target.partition("[")[0]  # Sphinx cuts signatures that are no Python (a default `<factory>`) at commas
    inside = [f"{module}.{owner}.{target}"] if module and owner else []
    for name in (*inside, f"{module}.{target}", target, *(f"{place}.{target}" for place in _places_of_bases(module))):
        if name.split(".")[0] in OURS and (home := _home(name)):
            return home
    return None


def _places_of_bases(module: str | None) -> list[str]:
    """Modules of the base classes of a module's classes: inherited fields are annotated in the words of these."""
    if module is None or module.split(".")[0] not in OURS:
        return []
    classes = [c for c in vars(importlib.import_module(module)).values() if inspect.isclass(c)]
    return sorted({base.__module__ for c in classes if c.__module__ == module for base in c.__mro__[1:]})


def _home(name: str) -> str | None:
    """Walk from the longest module in ``name`` along the attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        place = thing.__name__
        for part in parts[length:]:
            thing, place = _attribute(thing, part, place)
            if place is None:
                return None
        return place
    return None


def _attribute(thing: Any, name: str, place: str) -> tuple[Any, str | None]:
    """The attribute of a module or class, and where it is defined (None: nowhere)."""
    for base in inspect.getmro(thing) if inspect.isclass(thing) else ():
        annotated = name in getattr(base, "__annotations__", {})
        if name in vars(base) or annotated:
            return getattr(base, name, None), f"{base.__module__}.{base.__qualname__}.{name}"
    if inspect.isclass(thing):  # set by its constructor
        there = thing.__module__.split(".")[0] in OURS and f"self.{name} = " in inspect.getsource(thing)
        return None, f"{thing.__module__}.{thing.__qualname__}.{name}" if there else None
    if not hasattr(thing, name):
        return None, None
    found = getattr(thing, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        return found, f"{found.__module__}.{found.__qualname__}"
    return found, f"{place}.{name}"
