"""The judge finds each way in which a command can fall short, and workers find what was changed."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest

from tests.fuzz.judge import left_behind, shortfall
from tests.fuzz.pool import ROOT
from tests.fuzz.process import Ended
from tests.fuzz.snapshot import changed, snapshot

FINE = Ended(2, 0, 0.1, 100.0, "", "reading\nphysinv: `steps` must be at least 1, got 0.\n")


def test_one_line_is_fine():
    assert not shortfall(FINE)
    assert not shortfall(Ended(0, 0, 0.1, 100.0, "42", "warning: few trajectories\n"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": 1}, "exit 1"),
        ({"code": None, "signal": signal.SIGSEGV}, "SIGSEGV"),
        ({"err": "Traceback (most recent call last):\nValueError: x\n"}, "ValueError: x"),
        ({"err": "physinv: a and so on.\nphysinv: b and so on.\n"}, "2 lines"),
        ({"err": "physinv: `x` is wrong.\nand more\n"}, "1 lines"),
        ({"err": ""}, "0 lines"),
        ({"err": "physinv: \n"}, "says nothing"),
        ({"err": f"physinv: {'x' * 5000}\n"}, "characters"),
        ({"err": "physinv: no \x1b[31mred here.\n"}, "control"),
        ({"code": 0, "err": "HDF5-DIAG: error\n"}, "HDF5-DIAG"),
        ({"code": 0, "err": "/a/b.py:3: RuntimeWarning: overflow\n"}, "warning of Python"),
        ({"stopped": "took more than 30 s"}, "took more"),
    ],
)
def test_everything_else_is_not(change, said):
    assert said in shortfall(dataclasses.replace(FINE, **change))


def test_changes_are_seen(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    (tmp_path / "link").symlink_to("in")
    before = snapshot(tmp_path)
    (tmp_path / "in" / "a").write_text("b")
    (tmp_path / "in" / "x.tmp.7").write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "link").unlink()
    found = changed(before, snapshot(tmp_path), ["out"])
    assert found == ["changed in/a", "made in/x.tmp.7", "removed link"]
    assert left_behind(found) == ["made in/x.tmp.7"]


CHILDREN = """
import os, signal, time
from pathlib import Path
from tests.fuzz import process

process.MOST_IDLE = 1.0
work = Path("work")
work.mkdir()
for run in (
    lambda: time.sleep(len([bytearray(b"x" * 10**8) for _ in range(12)])),
    lambda: time.sleep(60),
    lambda: os.kill(os.getpid(), signal.SIGSEGV),
    lambda: exec("raise SystemExit(3)"),
    lambda: print(1 / 0),
    lambda: None,
):
    print(process.forked(run, work).how)
"""


def test_children_are_watched(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    said = ["took more than 1000 MB", "waited more than 1 s", "signal SIGSEGV", "exit 3", "exit 1", "exit 0"]
    assert done.stdout.splitlines() == said
