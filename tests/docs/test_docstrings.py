"""Every public name says what it does, what goes in, what comes out and what it raises; examples in docstrings run."""

import doctest
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("physinv", "simulators")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Not held: a section Raises may also tell of errors that a called function raises.
IGNORED = {"DOC502", "DOC503"}
ARGS, RETURNS = {"DOC101", "DOC103"}, {"DOC201"}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder_of(path):
    """The folder of a package that a file lies in, at the top level the package itself."""
    package, *rest = path.relative_to(ROOT).parts
    return rest[0] if len(rest) > 1 else package


def excused(path, kind, name):
    """Whether a violation is none, by the rules of the Google style guide and of typer."""
    owner, _, method = name.rpartition(".")
    if kind in IGNORED or owner.startswith("_") or (method.startswith("__") and not owner):
        return True
    if folder_of(path) == "cli" and kind in ARGS | {"DOC501"}:  # typer tells of arguments where they are declared
        return True
    module = importlib.import_module(module_of(path))
    thing = getattr(module, owner or method, None)
    if owner and thing is not None and kind in ARGS | RETURNS:  # an override needs what it adds to its base only
        if any(method in vars(base) for base in thing.__mro__[1:]):
            return True
        thing = vars(thing).get(method)
        if isinstance(thing, (property, functools.cached_property)):  # an attribute
            return True
    if kind in RETURNS:  # a summary that begins with Return says what is returned
        return (inspect.getdoc(thing) or "").startswith("Return ")
    return False


@pytest.fixture(scope="module")
def violations():
    """What pydoclint finds, as ``folder -> lines``; its settings are in pyproject.toml."""
    command = [sys.executable, "-m", "pydoclint.main", "--quiet", "--show-filenames-in-every-violation-message=True"]
    done = subprocess.run([*command, *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = {}
    for line in (done.stdout + done.stderr).splitlines():
        match = re.match(r"\s*(\S+\.py):\d+: (DOC\d+): (?:Function|Method|Class) `([\w.]+)`", line)
        if match and not excused(ROOT / match[1], match[2], match[3]):
            found.setdefault(folder_of(ROOT / match[1]), []).append(line.strip())
    return found


@pytest.mark.parametrize("folder", sorted({folder_of(path) for path in FILES}))
def test_docstrings_have_args_returns_and_raises(folder, violations):
    lines = violations.get(folder, [])
    assert not lines, "\n".join(lines[:20])


@pytest.mark.parametrize("folder", sorted(set(map(folder_of, FILES))))
def test_public_names_have_docstrings(folder):
    for path in FILES:
        if folder_of(path) == folder:
            check_docstrings(path)


def check_docstrings(path):
    module = importlib.import_module(module_of(path))
    assert module.__doc__ or not path.read_text("utf-8").strip(), f"{path}: a module says what it is about"
    for name in getattr(module, "__all__", []):
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)) or thing.__module__ != module.__name__:
            continue
        assert thing.__doc__, f"{path}: {name}"
        for label, member in vars(thing).items() if inspect.isclass(thing) else ():
            if label == getattr(member, "__name__", "").lstrip("_") and inspect.isfunction(
                member
            ):  # no field that holds one
                assert inspect.getdoc(getattr(thing, label)), f"{name}.{label}"


EXAMPLES = [path for path in FILES if ">>>" in path.read_text("utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=module_of)
def test_examples_in_docstrings_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(module_of(path))
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0
