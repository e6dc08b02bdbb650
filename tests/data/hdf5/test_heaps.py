"""Text of variable length whose collection was overwritten with zeros hangs HDF5, and is refused before."""

import time

import h5py
import numpy as np
import pytest

from physinv.data.hdf5.heaps import check_heaps
from physinv.data.hdf5.opening import open_file
from physinv.data.sources.read import open_source


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["u"] = np.zeros((3, 4, 5), "f4")
        file["u"].attrs["units"] = "kelvin"
        file.attrs["title"] = "of variable length" * 20
    return tmp_path / "a.hdf5"


def overwritten(path, offset, new):
    """The file with other bytes so many behind the beginning of its collection."""
    data = bytearray(path.read_bytes())
    at = data.index(b"GCOL") + offset
    data[at : at + len(new)] = new
    path.write_bytes(data)


def test_whole_collections_are_read(path):
    check_heaps(path)
    with open_file(path) as file:
        assert file["u"].attrs["units"] == "kelvin"


def test_a_collection_of_zeros_is_refused_by_all_that_opens_it(path):
    overwritten(path, 64, bytes(512))  # the first object is whole, the next says number 0, of 0 bytes
    for reading in (check_heaps, open_file, open_source):
        with pytest.raises(ValueError, match=r"a\.hdf5 is damaged: its texts, from byte \d+ on, have no end; copy"):
            reading(path)


@pytest.mark.parametrize("first", [True, False])
def test_a_heap_at_either_end_of_a_large_file_is_found_without_reading_all(first, tmp_path):
    def text(file):
        file.attrs["title"] = "of variable length" * 20

    path, texts = tmp_path / "large.hdf5", []
    with h5py.File(path, "w") as file:
        if first:
            text(file)
        space, made = h5py.h5s.create_simple((2**33,)), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        made.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        h5py.h5d.create(file.id, b"u", h5py.h5t.NATIVE_INT8, space, made)  # a hole of 8 GB, which the disk leaves out
        if not first:
            text(file)
    check_heaps(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        for begin in (0, size - 2**16):
            file.seek(begin)
            texts += [begin + i for i in [file.read(2**16).find(b"GCOL")] if i >= 0]
        file.seek(texts[0] + 64)
        file.write(bytes(512))
    assert (texts[0] < size // 2) == first
    began = time.process_time()
    with pytest.raises(ValueError, match=r"large\.hdf5 is damaged: its texts, from byte \d+ on, have no end"):
        open_file(path)
    assert time.process_time() - began < 5


def test_a_size_that_leads_back_to_itself_is_refused(path):
    overwritten(path, 16, b"\x01\x00" + bytes(6) + (2**64 - 16).to_bytes(8, "little"))
    with pytest.raises(ValueError, match="have no end"):
        check_heaps(path)


def test_other_damage_is_left_to_hdf5(path):
    overwritten(path, 8, (2**40).to_bytes(8, "little"))  # a collection larger than the file
    check_heaps(path)
    with open_file(path) as file, pytest.raises(OSError, match=r"heap|read"):
        file.attrs["title"]


def test_a_file_that_claims_collections_in_each_other_takes_no_time(tmp_path):
    """64 thousand of them, each of as many objects as there are behind it: two thousand million in all."""
    many, size = 2**16, 32
    one = [b"GCOL\x01\x00\x00\x00" + ((many - i) * size).to_bytes(8, "little") for i in range(many)]
    (tmp_path / "a").write_bytes(b"".join(head + b"\x01\x00" + bytes(6) + (0).to_bytes(8, "little") for head in one))
    began = time.process_time()
    check_heaps(tmp_path / "a")
    assert time.process_time() - began < 5


def test_what_is_no_hdf5_is_not_looked_at(tmp_path):
    for content in (b"", b"GCOL\x01\x00\x00\x00"):
        (tmp_path / "a").write_bytes(content)
        check_heaps(tmp_path / "a")
