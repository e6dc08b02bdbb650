"""What dead processes left goes, what living ones write stays, and so does whatever is a user's own."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from physinv.config.files import write_text
from physinv.config.outputs.temporary import sweep, temporary_path


@contextlib.contextmanager
def writing(path):
    """The temporary file of another process, which lives as long as the block."""
    code = (
        "import sys, pathlib; from physinv.config.outputs.temporary import temporary_path; "
        "p = temporary_path(pathlib.Path("
        "sys.argv[1])); p.write_text('half'); print(p, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield path.with_name(Path(process.stdout.readline().strip()).name)
        process.kill()


def test_what_dead_processes_left_of_a_file_goes_with_the_next_one(tmp_path):
    with writing(tmp_path / "x.txt") as dead, writing(tmp_path / "y.txt") as other:
        pass
    with writing(tmp_path / "x.txt") as alive:
        write_text(tmp_path / "x.txt", "whole")
        assert not dead.exists()
        assert other.exists()  # of another file
        assert alive.exists()
        assert sweep(tmp_path) == [alive]
        assert not other.exists()
    assert sweep(tmp_path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_files_of_a_user_stay_whatever_they_are_called(tmp_path):
    names = ["notes.tmp.2024", "x.txt.tmp.1", ".x.txt.physinv-tmp-old", "physinv-tmp-1-00000000", "data.import"]
    for name in names:
        (tmp_path / name).write_text("mine")
    write_text(tmp_path / "x.txt", "whole")
    assert sweep(tmp_path) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "x.txt"])


def test_files_of_other_machines_are_left_over_after_a_day(tmp_path):
    """Process numbers of another container say nothing here."""
    token = "0000" if temporary_path(tmp_path).name[-8:-4] != "0000" else "1111"
    old, new = (tmp_path / f".{name}.physinv-tmp-1-{token}abcd" for name in ("old", "new"))
    (old / "inside").mkdir(parents=True)
    new.write_text("half")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    assert sweep(tmp_path) == [new]
    assert not old.exists()


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="nothing says when a process began")
def test_a_living_process_did_not_write_what_is_older_than_it(tmp_path):
    """After a restart of the machine other processes have the numbers of dead ones."""
    with writing(tmp_path / "x.txt") as old:
        assert sweep(tmp_path) == [old]
        os.utime(old, (time.time() - 3600,) * 2)
        assert sweep(tmp_path) == []
    assert not old.exists()
