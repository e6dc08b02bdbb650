"""The exit codes of the documentation, and the one line beside them, as a shell sees them."""

import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
from command_cases import run_command

from physinv.cli.app import main
from physinv.cli.terminal import console
from physinv.config import registry

SCRIPT = Path(sys.executable).with_name("physinv")
DOCUMENTED = Path(__file__).parents[2] / "docs" / "guide" / "command_line.md"

# A library that takes its time to be imported, and is stopped meanwhile; what comes after may fail as it likes.
SLOW = """
import os, signal, time
signal.raise_signal(int(os.environ["STOP"]))
for _ in range(10):
    time.sleep(0.01)
raise RuntimeError("half imported")
"""

STOPS = [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "terminated"),
    (signal.SIGHUP, 129, "terminated"),
    (signal.SIGXCPU, 152, "the limit of CPU time (`ulimit -t`) is reached"),
]

VERBS = [
    "simulators",
    "generate heat",
    "import x.npy --out d",
    "info x",
    "train d --out r",
    "reconstruct r --data d --out x.hdf5",
    "evaluate x.hdf5",
    "compare a.hdf5 b.hdf5",
    "impute r --data x.npy --out y.hdf5",
    "evidence r --data d",
    "free-energy double-well --vary barrier=1:2",
    "benchmark heat",
    "benchmark report heat",
    "demo",
]


def shell(*words, cwd, **more):
    """Run the installed command; SIGINT is heard, which the shell of a test may ignore."""

    def before():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    command = [SCRIPT, *map(str, words)]
    return subprocess.run(command, cwd=cwd, text=True, preexec_fn=before, **({"capture_output": True} | more))


@pytest.mark.parametrize("verb", VERBS)
def test_a_signal_while_torch_is_imported(verb, tmp_path):
    """Every verb is stopped before it has begun, by one of the signals, in turn."""
    number, code, word = STOPS[VERBS.index(verb) % len(STOPS)]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "torch.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    done = shell(*verb.split(), cwd=tmp_path, env=os.environ | {"PYTHONPATH": path, "STOP": str(int(number))})
    assert done.returncode == code, done.stderr
    assert done.stderr == f"physinv: {word}: nothing was written; the same command starts again.\n"
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize(
    "words",
    [
        ("nothing-of-this-name",),
        ("generate", "heat", "--train", "0"),
        ("info", "nothing"),
        ("benchmark", "compare", "nothing", "nowhere"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_used_exits_with_2_and_one_line(words, tmp_path):
    done = run_command(words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("physinv: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_success_exits_with_0_and_says_nothing_on_standard_error(tmp_path):
    done = shell("--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_a_result_that_cannot_be_printed_is_no_success(tmp_path):
    with open("/dev/full", "w") as full:
        done = shell("benchmark", "recipe", "heat", cwd=tmp_path, capture_output=False, stdout=full, stderr=-1)
    assert done.returncode == 2
    assert done.stderr.endswith("No space left on device; free some space, or write to another disk.\n")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_other_answer(tmp_path):
    """A broken pipe ends quietly, as of other programs, and not with 1, which says that something is worse."""
    reader, writer = os.pipe()
    os.close(reader)
    done = shell("--version", cwd=tmp_path, capture_output=False, stdout=writer, stderr=-1)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_every_code_is_documented():
    table = [line for line in DOCUMENTED.read_text("utf-8").splitlines() if line.startswith("| ")]
    codes = {word for line in table for word in line.split("|")[1].replace(",", " ").split() if word.isdecimal()}
    assert {"0", "1", "2", *(str(code) for _, code, _ in STOPS)} <= codes


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("Unable to allocate 7.45 GiB for an array"), "out of memory, 7.45 GiB more were needed at once"),
        (RuntimeError("can't allocate memory: you tried to allocate 4000000000 bytes."), "out of memory, 4 GB more"),
        (OSError(28, "No space left on device", "d"), "d: No space left on device; free some space"),
        (ValueError("`x` must be\npositive"), "`x` must be positive"),
    ],
)
def test_what_the_machine_refuses_is_one_line(error, told, monkeypatch, capsys):
    def refuse(path, verify):
        raise error

    monkeypatch.setattr("physinv.cli.info.describe_path", refuse)
    with pytest.raises(SystemExit) as stopped:
        main(["info", "x"])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"physinv: {told}")
    assert err.count("\n") == 1


def test_a_fault_of_the_program_is_not_hidden(monkeypatch):
    def fail(path, verify):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("physinv.cli.info.describe_path", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        main(["info", "x"])


def test_a_signal_that_broke_what_it_met_is_the_reason(monkeypatch, capsys):
    """A library may turn the exception of a signal into one of its own."""

    def fail(path, verify):
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            raise RuntimeError("could not initialise") from None

    monkeypatch.setattr("physinv.cli.info.describe_path", fail)
    with pytest.raises(SystemExit) as stopped:
        main(["info", "x"])
    assert stopped.value.code == 143
    assert "terminated: nothing was written" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["generate", "import", "train", "reconstruct"])
def test_a_signal_after_the_work_says_that_it_is_done(verb, finished, tmp_path, monkeypatch, capsys):
    data, words = (
        finished,
        {
            "generate": "generate heat --out o --train 10 --valid 5 --test 5 --set size=8 --set steps=4",
            "import": "import {data}/x.npy --dims sample,time,component --times 0:1 --out o",
            "train": "train {data} --out o --method linear",
            "reconstruct": "reconstruct --method linear --train {data} --data {data}/data/test --out o --samples 2",
        },
    )
    kept = {
        "generate": "the dataset in o/heat is complete",
        "import": "the dataset in o is complete",
        "train": "the run in o is finished",
        "reconstruct": "the reconstruction in o is whole",
    }
    # The first thing that a verb says after its work.
    monkeypatch.setattr(console, "say", lambda text: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(console, "warn", lambda texts: list(texts) and None)
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as stopped:
            main(words[verb].format(data=data).split())
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"physinv: interrupted: {kept[verb]}."


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    words = f"generate heat --out {folder} --train 12 --valid 6 --test 6 --set size=8 --set steps=4"
    main(words.split())
    np.save(folder / "heat" / "x.npy", np.random.default_rng(0).normal(size=(60, 5, 2)).cumsum(1))
    return folder / "heat"


def test_broken_plugins_cost_a_line_each_and_no_verb(tmp_path, monkeypatch, capsys):
    texts = {
        "syntax": "class X(:",
        "error": "raise RuntimeError('no licence')",
        "leaves": "import sys; sys.exit(0)",
        "odd": "X = 3",
    }
    for name, text in texts.items():
        (tmp_path / f"plugin_{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    groups = {
        "physinv.simulators": {"ornstein-uhlenbeck": "simulators.vectors.ornstein_uhlenbeck:OrnsteinUhlenbeck"},
        "physinv.methods": {},
    }
    entries = {
        group: EntryPoints(
            EntryPoint(name, place, group) for name, place in (good | {n: f"plugin_{n}:X" for n in texts}).items()
        )
        for group, good in groups.items()
    }
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: entries.get(group, EntryPoints()))
    for words in (["simulators"], ["benchmark", "methods"]):
        main(words)
        out, err = capsys.readouterr()
        assert sorted(line.split("`")[1] for line in err.splitlines()) == sorted(texts)
        assert all(line.startswith("warning: `") for line in err.splitlines())
        assert "ornstein-uhlenbeck" in out or "flow-matching" in out
    main(["generate", "ornstein-uhlenbeck", "--train", "5", "--valid", "2", "--test", "2"])
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit) as stopped:
        main(["generate", "leaves"])
    assert stopped.value.code == 2
    assert "its module ends with SystemExit: 0" in capsys.readouterr().err
