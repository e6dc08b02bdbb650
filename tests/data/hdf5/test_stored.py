"""What a file declares is compared with what it holds."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from physinv.data.hdf5.stored import check_stored, is_written, read_line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["contiguous"] = np.arange(10.0)
        file.create_dataset("packed", data=np.zeros(10**6), compression="gzip", chunks=(10**4,))
        file.create_dataset("checked", data=np.arange(10.0), chunks=(3,), fletcher32=True)
        file.create_dataset("empty", (0, 3), "f4")
        file["nothing"] = h5py.Empty("f8")
        file["number"] = 3.0
        file.create_dataset("text", (4,), h5py.string_dtype())
        file["text"][:] = "abc"
        file.create_dataset("never", (10,), "f4")
        file.create_dataset("holes", (10,), "f4", chunks=(3,))
        file["holes"][3:6] = 1
        file.create_dataset("huge", (10**15,), "f4", chunks=(10**12 // 2**10,), compression="gzip")
        file.create_dataset("missing", (10,), "f4", fillvalue=np.nan)
        file.create_dataset("square", data=np.eye(2))
    return tmp_path / "x.h5"


def test_what_is_written_counts_as_written(path: Path) -> None:
    with h5py.File(path) as file:
        found = {name: is_written(item) for name, item in file.items()}
    wrong = {"never", "holes", "huge", "missing"}
    assert {name for name, written in found.items() if not written} == wrong


@pytest.mark.parametrize(("name", "refused"), [("never", True), ("holes", True), ("huge", True), ("missing", False)])
def test_holes_are_refused_unless_they_read_as_missing(path: Path, name: str, refused: bool) -> None:
    with h5py.File(path) as file:
        if not refused:
            check_stored(path, file[name])
            return
        with pytest.raises(ValueError, match=rf"^`{name}` of .*x\.h5 has parts that were never written"):
            check_stored(path, file[name])


def test_lines_of_numbers(path: Path) -> None:
    with h5py.File(path) as file:
        assert read_line(path, file["contiguous"]).tolist() == list(range(10))
        assert read_line(path, file["checked"]).tolist() == list(range(10))
        for name, reason in (
            ("square", "must be one line of numbers"),
            ("text", "must be one line of numbers"),
            ("huge", "declares 1000000000000000 numbers, 10000000 are the most"),
            ("holes", "has parts that were never written"),
        ):
            with pytest.raises(ValueError, match=rf"^`{name}` of .*x\.h5 {reason}"):
                read_line(path, file[name])
