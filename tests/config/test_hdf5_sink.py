"""What HDF5 writes through: failures are kept until they can be told, and nothing of them is read."""

import errno
import io
import os

import pytest
import torch

from physinv.config.hdf5_sink import HDF5Sink, new_file
from physinv.data.writer import TrajectoryWriter
from physinv.processes.layout import VectorLayout


@pytest.fixture
def full(monkeypatch):
    """Files whose writes fail from now on."""

    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(io, "FileIO", Full)


def test_nothing_is_read_back_after_a_write_that_failed(full, tmp_path):
    """HDF5 would take what is there for what it wrote, lengths of texts among it, and allocate gigabytes."""
    sink = HDF5Sink(tmp_path / "a.hdf5")
    assert sink.write(b"12345") == 5
    for read in (sink.read, lambda: sink.readinto(bytearray(3))):
        with pytest.raises(OSError, match=r"Input/output error: '.*a\.hdf5'"):
            read()
    sink.close()


def test_a_file_that_reads_what_it_could_not_write_ends_with_the_first_failure(full, tmp_path):
    def filled():
        with new_file(tmp_path / "a.hdf5") as (file, _):
            data = file.create_dataset("x", (100, 1000), "f4", chunks=(10, 1000))
            file.attrs["text"] = "of variable length"
            data[...] = 1.0
            file.flush()
            data.id.refresh()
            return float(data[...].sum()), file.attrs["text"]

    with pytest.raises(OSError, match=r"Input/output error: '.*a\.hdf5'"):
        filled()


def test_a_file_that_cannot_be_emptied_is_not_left_behind(monkeypatch, tmp_path):
    class Broken(io.FileIO):
        def truncate(self, size=None):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(io, "FileIO", Broken)
    layout, times = VectorLayout("position", 3), torch.arange(5.0)
    writer = TrajectoryWriter(tmp_path / "x.hdf5", name="walk", layout=layout, shape=(3,), times=times, count=2)
    with pytest.raises(OSError, match="Input/output error"):
        writer.__enter__()
    assert list(tmp_path.iterdir()) == []
