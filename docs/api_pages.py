"""Write one page of the reference for each folder of physinv, and one for the simulators, from what lies in them.

A new module needs no entry anywhere: it appears in the page of its folder.
"""

from __future__ import annotations

__all__ = ["FOLDERS", "pages", "write"]

import ast
import inspect
from pathlib import Path

import physinv

FOLDERS = {
    "config": "Settings, registries, devices, whole-or-nothing files",
    "equations": "The equation, its reversal, solvers and time grids",
    "laws": "What is known in closed form, and observations",
    "processes": "Simulators, layouts of states, and how they are found by name",
    "data": "Generated and imported trajectories, and their files",
    "models": "Score models, networks, reference laws and learned physics",
    "reversal": "Reverse steps and Langevin moves",
    "training": "The training loop, objectives and checkpoints",
    "posterior": "Posterior samples, likelihoods, partial observations, the file of reconstructions",
    "thermodynamics": "Free energies of processes in a potential: moves, annealing, driven runs, bounds",
    "evaluation": "Metrics, calibration tests, two-sample tests, spectra",
    "methods": "Every method of reconstruction, behind one signature",
    "runs": "Folders of trained methods, and reconstructions with them",
    "comparison": "Benchmarks: recipes, cells and their results",
    "reports": "Plots, tables, verdicts and the report page",
    "cli": "The command line",
}
"""The folders in the order of imports, with what is in them: the order of the reference, too."""


def write(root: Path, out: Path) -> None:
    """Write ``<folder>.rst`` for all folders into ``out``; files whose text has not changed are left alone."""
    out.mkdir(exist_ok=True)
    texts = pages(root)
    for old in out.glob("*.rst"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        path = out / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def pages(root: Path) -> dict[str, str]:
    """Return the pages as ``{file name: reStructuredText}``."""
    found = {f"{name}.rst": _page(f"physinv.{name}", about, root) for name, about in FOLDERS.items()}
    found["simulators.rst"] = _page("simulators", "The processes that come with physinv", root)
    found["public.rst"] = _public()
    return found


def _public() -> str:
    """A table of the names in ``physinv.__all__``, each with the first sentence of its docstring."""
    title = "Public names"
    lines = [title, "=" * len(title), ""]
    lines += [
        "``import physinv as pi`` offers these names, and loads each when it is first used. What a module lists in its"
    ]
    lines += ["``__all__`` is public, too, but may move between versions.", ""]
    lines += [".. list-table::", "   :widths: 25 75", ""]
    for name in sorted(physinv.__all__, key=str.lower):
        thing = getattr(physinv, name)
        if inspect.ismodule(thing):
            label = f":py:mod:`pi.{name} <{thing.__name__}>`"
        elif inspect.isclass(thing) or inspect.isfunction(thing):
            role = "class" if inspect.isclass(thing) else "func"
            label = f":py:{role}:`pi.{name} <{thing.__module__}.{thing.__qualname__}>`"
        else:
            label, thing = f"``pi.{name}``", None
        about = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split()) if thing is not None else ""
        lines += [f"   * - {label}", f"     - {about}"]
    return "\n".join([*lines, ""])


def _page(package: str, about: str, root: Path) -> str:
    """A title, and every public module below ``package`` with its public names."""
    folder = root.joinpath(*package.split("."))
    lines = [package, "=" * len(package), "", f"{about}.", "", ".. currentmodule:: " + package, ""]
    for path in sorted(folder.rglob("*.py"), key=lambda p: (len(p.parts), p)):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not path.read_text("utf-8").strip() or any(part.startswith("_") for part in module.split(".")):
            continue
        lines += [module, "-" * len(module), "", f".. automodule:: {module}"]
        own = _own(path)
        lines += [f"   :members: {', '.join(own)}", "   :show-inheritance:"] if own else []
        lines += [""]
    return "\n".join(lines)


def _own(path: Path) -> list[str]:
    """What a module lists as public and defines itself; what it hands on is documented at home."""
    tree = ast.parse(path.read_text("utf-8"))
    public: list[str] = []
    imported: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            public = ast.literal_eval(node.value)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imported |= {alias.asname or alias.name for alias in node.names}
    return [name for name in public if name not in imported]
