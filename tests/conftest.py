"""Shared by all tests: one thread (tiny tensors), a seeded generator, and the list of slow tests."""

import gc
import os
from pathlib import Path

import pytest
import torch
import typecheck

torch.set_num_threads(1)

SLOW = Path(__file__).with_name("slow.txt")
SECONDS = 0.1  # of processor time for each test, from which on a function is slow: 70 % of the tests take less
LONG = 1.0  # likewise, from which on its lines are not counted: shorter tests run them, and counting takes a third more

ALWAYS = {"docs/test_docstrings.py::test_docstrings_have_args_returns_and_raises"}  # every check holds these

took: dict[str, dict[str, float]] = {}  # processor seconds of each test, by its function
shared: dict[str, float] = {}  # those of each fixture that several tests share, by file and name
uses: dict[str, set[str]] = {}  # the fixtures of each function, by file and name


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def few_judges():
    """Let the ways of a trained run be compared on 16 observations, for files that do not ask how good it is."""
    from physinv.methods.own import training

    def few(problem, *, simulate, plain=training.judges):
        return tuple(states[:16] for states in plain(problem, simulate=simulate))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "judges", few)
        yield


@pytest.fixture
def few_trials(monkeypatch):
    """Let answers to records by a run be tried on two new trajectories, in tests that do not look at trials."""
    from physinv.posterior.several_times.twisted import TwistedReversal

    monkeypatch.setattr(TwistedReversal, "tried", 2)


def pytest_addoption(parser):
    told = f"list functions whose tests take {SECONDS:g} s of processor time each (long: {LONG:g} s) in {SLOW.name}"
    parser.addoption("--write-slow", action="store_true", help=told)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no garbage among what is imported and collected, which lives as long as the tests do."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(20_000)  # new objects, of which a test makes few in cycles: at 700 it took 3 % of the time


def pytest_collection_modifyitems(items):
    """Mark the listed tests (with all their parameters) as slow, and take the long ones out of the count of lines."""
    slow = listed()
    for item in items:
        name = function_of(item.nodeid)
        if name in slow:
            item.add_marker(pytest.mark.slow)
        if slow.get(name):
            item.add_marker(pytest.mark.no_cover)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    torch.manual_seed(0)  # what a test draws without a generator is the same whatever ran before it
    typecheck.next_test()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    if item.config.getoption("--write-slow"):
        item.stash[BEGAN] = used()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    """Count fixtures that several tests share by themselves: whichever test comes first would bear them alone."""
    if fixturedef.scope == "function" or not request.config.getoption("--write-slow"):
        return (yield)
    began = used()
    found = yield
    made[f"{request.node.nodeid}::{fixturedef.argname}"] = used() - began
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Tell with each phase of a test what it took; where tests run in several processes, the first one hears of it."""
    report = yield
    if BEGAN in item.stash:
        now = used()
        report.seconds, item.stash[BEGAN] = now - item.stash[BEGAN] - sum(made.values()), now
        report.made, report.uses = dict(made), [f"{item.parent.nodeid}::{name}" for name in item.fixturenames]
        made.clear()
    return report


def pytest_runtest_logreport(report):
    tests = took.setdefault(function_of(report.nodeid), {})
    tests[report.nodeid] = tests.get(report.nodeid, 0.0) + getattr(report, "seconds", 0.0)
    shared.update(getattr(report, "made", {}))
    uses.setdefault(function_of(report.nodeid), set()).update(getattr(report, "uses", ()))


def pytest_sessionfinish(session):
    """With ``--write-slow``: replace the entries of functions that ran, keep those of others that still exist."""
    if not session.config.getoption("--write-slow") or hasattr(session.config, "workerinput"):
        return
    kept = {name: mark for name, mark in listed().items() if name not in took and exists(name)}
    found = kept | {name: is_long(took[name]) for name in slow_functions() - ALWAYS}
    SLOW.write_text("".join(f"{name}{' long' * found[name]}\n" for name in sorted(found)), "utf-8")


def listed():
    """The functions of the list, and whether each is long."""
    lines = (line.split() for line in SLOW.read_text("utf-8").splitlines())
    return {name: bool(mark) for name, *mark in lines}


def is_long(tests):
    """Whether the tests of a function take so long that their lines are not counted."""
    return sum(tests.values()) >= LONG * len(tests)


def slow_functions():
    """The functions whose tests take too long on average, then those whose fixtures take too long for what is left."""
    found = {name for name, tests in took.items() if sum(tests.values()) >= SECONDS * len(tests)}
    for fixture, seconds in shared.items():
        left = {name for name in took if fixture in uses[name]} - found
        tests = [value for name in left for value in took[name].values()]
        if seconds + sum(tests) >= SECONDS * len(tests):
            found |= left
    return found


BEGAN = pytest.StashKey[float]()
made: dict[str, float] = {}  # what shared fixtures of the phase took


def used(pid=None):
    """Processor seconds of a process (None: this one) and of all that it started, whether they have ended or not."""
    place = Path(f"/proc/{pid or os.getpid()}")
    try:
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        children = [child for path in place.glob("task/*/children") for child in path.read_text().split()]
    except OSError:  # it has ended, and its parent has what it took
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(used, children))


def function_of(nodeid):
    """The node id without parameters, relative to the folder of tests."""
    return nodeid.partition("[")[0].removeprefix("tests/")


def exists(name):
    """Whether a test of this name is there."""
    file, _, function = name.partition("::")
    path = SLOW.parent / file
    return path.exists() and f"def {function.rpartition('::')[2]}(" in path.read_text("utf-8")
