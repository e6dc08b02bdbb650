"""Two commands never write to one place; the second is told who does, and a dead one hinders nobody."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from physinv.config.outputs.locks import lock_file, lock_folder

HOLD = """
import sys, time
from pathlib import Path
from physinv.config.outputs.locks import lock_folder
with lock_folder(Path(sys.argv[1]), "train"):
    print("held", flush=True)
    time.sleep(60)
"""


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_second_is_told_who_holds_the_lock_and_a_killed_process_is_no_obstacle(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        holder = rf"`physinv train` \(process {first.pid} on {socket.gethostname()}, since 2.*\)"
        again = lock_folder(tmp_path / "run", "generate")
        with pytest.raises(BlockingIOError, match=rf"run is being written by {holder}; wait"), again:
            pass
        first.send_signal(signal.SIGKILL)
    assert names_in(tmp_path / "run") == [".physinv.lock"]  # all that a kill leaves
    with lock_folder(tmp_path / "run", "generate"):
        assert f'"pid": {os.getpid()}' in (tmp_path / "run" / ".physinv.lock").read_text()
    assert names_in(tmp_path / "run") == []


def test_whoever_waits_gets_the_lock_after_the_other(tmp_path):
    order = []

    def second():
        with lock_folder(tmp_path, "info", wait=10.0):
            order.append("second")

    with lock_folder(tmp_path, "train"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert names_in(tmp_path) == []


def test_nothing_is_left_of_a_lock(tmp_path):
    """Neither its file nor folders that were made for it, but what was written stays."""
    with pytest.raises(KeyError), lock_folder(tmp_path / "a" / "b", "train"):
        raise KeyError
    assert names_in(tmp_path) == []
    with lock_folder(tmp_path / "a" / "b", "train"):
        (tmp_path / "a" / "b" / "x").touch()
    assert names_in(tmp_path / "a" / "b") == ["x"]
    with lock_file(tmp_path / "r.hdf5", "reconstruct"):
        again = lock_file(tmp_path / "a" / ".." / "r.hdf5", "reconstruct")
        with pytest.raises(BlockingIOError, match=r"r\.hdf5 is being written by `physinv reconstruct`"), again:
            pass
        with lock_file(tmp_path / "other.hdf5", "reconstruct"):
            pass
    assert names_in(tmp_path) == ["a"]


def test_a_lock_that_nobody_signed_is_of_another_process(tmp_path):
    with lock_folder(tmp_path, "train"):
        for text in ("", "[]", '{"verb": "train"}'):
            (tmp_path / ".physinv.lock").write_text(text)
            with (
                pytest.raises(BlockingIOError, match="is being written by another process"),
                lock_folder(tmp_path, "x"),
            ):
                pass


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to_is_named(code, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code), "the lock")

    monkeypatch.setattr(FileLock, "acquire", fail)
    with pytest.raises(OSError, match=os.strerror(code)) as told, lock_folder(tmp_path / "run", "train"):
        pass
    assert told.value.filename == str(tmp_path / "run")
    assert names_in(tmp_path) == []


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOLCK, "No locks available", "the lock")

    monkeypatch.setattr(FileLock, "acquire", fail)
    with lock_folder(tmp_path / "run", "train"):
        (tmp_path / "run" / "x").touch()
    assert names_in(tmp_path / "run") == ["x"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder that takes no files from anybody")
def test_a_folder_that_takes_no_files_is_not_taken_for_a_lock_of_others():
    with pytest.raises(FileNotFoundError) as told, lock_file(Path("/proc/table.json"), "evaluate"):
        pass
    assert told.value.filename == "/proc/table.json"
