"""Checksums of HDF5 files: a large array is read a part at a time, and a changed number is told."""

import json
import tracemalloc

import h5py
import numpy as np
import pytest

from physinv.config.checksums import HDF5_CHECKSUMS, check_hdf5, seal_hdf5


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        yield file


def test_memory_of_sealing_does_not_grow_with_an_array(file):
    """A reconstruction of many observations is read again when it is sealed: 16 MiB here, 1 MiB at a time."""
    file.create_dataset("samples", data=np.zeros((2**14, 256), dtype=np.float32), chunks=(64, 256))
    tracemalloc.start()
    seal_hdf5(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * 2**20


@pytest.mark.parametrize("shape", [(3,), (2**18 + 1,), (5, 2**18)])  # less than a part, one and a bit, one a row
def test_a_changed_number_is_told_wherever_it_stands(file, shape):
    data = file.create_dataset("samples", data=np.zeros(shape, dtype=np.float32))
    seal_hdf5(file)
    told = json.loads(file.attrs[HDF5_CHECKSUMS])
    assert check_hdf5(file, told) is None
    data[(-1,) * len(shape)] = 1.0
    assert check_hdf5(file, told) == "samples"
