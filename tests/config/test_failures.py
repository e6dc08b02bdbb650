"""What the machine refuses is told with its size and a remedy, whichever library noticed it."""

import contextlib
import errno
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from physinv.config.failures import as_os_error, memory_failure, os_failure, told_bytes
from physinv.config.files import load_tensors, save_tensors
from physinv.data.file_format import open_file
from physinv.posterior.reconstruction import read_reconstruction


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(10**15), lambda: torch.empty(10**15).double(), lambda: np.empty(10**15)],
    ids=["torch", "torch twice", "numpy"],
)
def test_memory_that_is_not_there_is_told_with_its_size(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as found:
        allocate()
    told = memory_failure(found.value)
    assert told.startswith("out of memory, ")
    assert any(size in told for size in ("4 PB", "8 PB", "7.11 PiB"))
    assert "smaller `batch`" in told
    assert "\n" not in told


def test_sizes_of_accelerators_and_unknown_ones():
    text = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79 GiB"
    assert "20.00 GiB more were needed" in memory_failure(RuntimeError(text))
    assert memory_failure(MemoryError()).startswith("out of memory; take less")
    assert memory_failure(ValueError("`width` must be at least 1")) is None
    assert [told_bytes(n) for n in (999, 1000, 2.5e12, 1e30)] == ["999 bytes", "1 kB", "2.5 TB", "1e+12 EB"]


def test_each_failure_has_a_remedy():
    def told(number, name="x"):
        return os_failure(OSError(number, os.strerror(number), name))

    assert told(errno.ENOSPC) == "x: No space left on device; free some space, or write to another disk."
    assert told(errno.EACCES).startswith("x: Permission denied; change its permissions")
    assert told(errno.EMFILE, None).startswith("Too many open files; raise the limit of open files (`ulimit -n 4096`)")
    assert told(errno.ENOTDIR) == "x: Not a directory; a file lies where a folder is needed; give another path."
    assert told(errno.EEXIST).endswith("; move it, or give another path.")
    assert told(errno.ENOENT) == "x: No such file or directory"
    assert os_failure(FileExistsError("x is a run;\nadd --overwrite")) == "x is a run; add --overwrite"
    assert as_os_error(FileNotFoundError(errno.ENOENT, "No such file"), "x") is None  # that is the user's to correct


def readers(folder):
    """Each way to read a file of ours, and a whole file of its kind."""
    save_file({"x": torch.ones(2)}, folder / "x.safetensors")
    with h5py.File(folder / "x.hdf5", "w") as file:
        file["x"] = [1.0]
    return [
        (load_tensors, folder / "x.safetensors"),
        (open_file, folder / "x.hdf5"),
        (read_reconstruction, folder / "x.hdf5"),
    ]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permission_denied_is_not_called_damage(tmp_path):
    reading = readers(tmp_path)
    user, mode = os.geteuid(), tmp_path.stat().st_mode
    tmp_path.chmod(0o000)
    try:
        with contextlib.suppress(PermissionError):  # root without capabilities, who cannot become nobody, need not
            os.seteuid(65534 if user == 0 else user)  # nobody: root may read everything
        for read, path in reading:
            with pytest.raises(OSError, match=r"[Pp]ermission denied") as found:
                read(path)
            assert isinstance(found.value, PermissionError)
    finally:
        os.seteuid(user)
        tmp_path.chmod(mode)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_too_many_open_files_are_not_called_damage(tmp_path):
    import resource

    reading = readers(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = os.open(os.devnull, os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (first + 1, limits[1]))  # every number up to here is in use
        found = []
        for read, path in reading:
            with pytest.raises(OSError, match="Too many open files") as error:
                read(path)
            found.append(error.value.errno)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(first)
    assert found == [errno.EMFILE] * 3


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_is_told_by_the_system_s_own_number(tmp_path, monkeypatch):
    """A limit of the size of files stands for it: `File too large` for `No space left on device`."""
    import resource

    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python cuts off compiled modules in silence
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as found:
            save_tensors(tmp_path / "x.safetensors", {"x": torch.ones(10**6)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert found.value.errno == errno.EFBIG
    assert found.value.filename == str(tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_working_folder_that_was_removed_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError) as found:
        Path("x").resolve()
    assert os_failure(found.value) == "the working folder is gone; change to one that is there (`cd`)."
    monkeypatch.chdir(tmp_path)
    assert os_failure(found.value) == "No such file or directory"
