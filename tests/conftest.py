"""Shared by all tests: one thread (tiny tensors), a seeded generator, and the list of slow tests."""

from pathlib import Path

import pytest
import torch
import typecheck

torch.set_num_threads(1)

SLOW = Path(__file__).with_name("slow.txt")
SECONDS = 0.4  # from which on a test is slow: 300 of 5000 tests take nine tenths of the time

ALWAYS = {"docs/test_docstrings.py::test_docstrings_have_args_returns_and_raises"}  # every check holds these

took: dict[str, float] = {}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def pytest_addoption(parser):
    parser.addoption("--write-slow", action="store_true", help=f"list tests of {SECONDS:g} s or more in {SLOW.name}")


def pytest_collection_modifyitems(items):
    """Mark the listed tests (with all their parameters) as slow."""
    slow = set(SLOW.read_text("utf-8").split())
    for item in items:
        if function_of(item.nodeid) in slow:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    torch.manual_seed(0)  # what a test draws without a generator is the same whatever ran before it
    typecheck.next_test()


def pytest_runtest_logreport(report):
    took[report.nodeid] = took.get(report.nodeid, 0.0) + report.duration


def pytest_sessionfinish(session):
    """With ``--write-slow``: replace the entries of the tests that ran, keep those of the others that still exist."""
    if not session.config.getoption("--write-slow") or hasattr(session.config, "workerinput"):
        return
    ran: dict[str, float] = {}
    for nodeid, seconds in took.items():
        name = function_of(nodeid)
        ran[name] = max(ran.get(name, 0.0), seconds)
    kept = {name for name in SLOW.read_text("utf-8").split() if name not in ran and exists(name)}
    slow = kept | {name for name, seconds in ran.items() if seconds >= SECONDS}
    SLOW.write_text("".join(f"{name}\n" for name in sorted(slow - ALWAYS)), "utf-8")


def function_of(nodeid):
    """The node id without parameters, relative to the folder of tests."""
    return nodeid.partition("[")[0].removeprefix("tests/")


def exists(name):
    """Whether a test of this name is there."""
    file, _, function = name.partition("::")
    path = SLOW.parent / file
    return path.exists() and f"def {function.rpartition('::')[2]}(" in path.read_text("utf-8")
