"""No file makes its reader open another one that lies elsewhere; nothing that is not there is made up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_cases import numbers, write

from physinv.data.dataset import TrajectoryDataset
from physinv.data.hdf5.opening import open_file
from physinv.data.importing import import_trajectories
from physinv.data.sources.read import open_source

SECRET = np.full((4, 5, 3), 7.0, dtype="f4")


def external_storage(file: h5py.File, name: str, secret: Path) -> None:
    raw = secret.with_suffix(".bin")
    raw.write_bytes(SECRET.tobytes())
    file.create_dataset(name, SECRET.shape, "f4", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])


def external_link(file: h5py.File, name: str, secret: Path) -> None:
    file[name] = h5py.ExternalLink(str(secret), "x")


def external_group(file: h5py.File, name: str, secret: Path) -> None:
    file[f"{name}_group"] = h5py.ExternalLink(str(secret), "/")
    file[name] = h5py.SoftLink(f"/{name}_group/x")


def virtual(file: h5py.File, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout(SECRET.shape, "f4")
    layout[:] = h5py.VirtualSource(str(secret), "x", SECRET.shape)
    file.create_virtual_dataset(name, layout, fillvalue=-1.0)


def virtual_above(file: h5py.File, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout(SECRET.shape, "f4")
    layout[:] = h5py.VirtualSource(f"../{secret.parent.name}/{secret.name}", "x", SECRET.shape)
    file.create_virtual_dataset(name, layout)


def virtual_by_a_link_of_the_disk(file: h5py.File, name: str, secret: Path) -> None:
    beside = Path(file.filename).with_name("beside.h5")
    beside.symlink_to(secret)
    layout = h5py.VirtualLayout(SECRET.shape, "f4")
    layout[:] = h5py.VirtualSource("beside.h5", "x", SECRET.shape)
    file.create_virtual_dataset(name, layout)


def virtual_over_a_file_beside_it(file: h5py.File, name: str, secret: Path) -> None:
    """What lies beside leads out in its turn."""
    with h5py.File(Path(file.filename).with_name("beside.h5"), "w") as beside:
        external_storage(beside, "x", secret)
    layout = h5py.VirtualLayout(SECRET.shape, "f4")
    layout[:] = h5py.VirtualSource("beside.h5", "x", SECRET.shape)
    file.create_virtual_dataset(name, layout)


Make = Callable[[h5py.File, str, Path], None]
WAYS: list[Make] = [
    external_storage,
    external_link,
    external_group,
    virtual,
    virtual_above,
    virtual_by_a_link_of_the_disk,
    virtual_over_a_file_beside_it,
]
OUTSIDE = r"is a link to another file|keeps its numbers in another file|takes numbers from .*, which is not beside it"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder for the file, and a file outside of it that the reader did not name."""
    (tmp_path / "given").mkdir()
    (tmp_path / "home").mkdir()
    secret = tmp_path / "home" / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = SECRET
    return tmp_path / "given", secret


@pytest.mark.parametrize("way", WAYS)
def test_trajectory_files_that_lead_elsewhere(folders: tuple[Path, Path], way: Make) -> None:
    folder, secret = folders
    path = write(folder / "x.hdf5", numbers(4))
    with h5py.File(path, "r+") as file:
        del file["t0_fields/position"]
        way(file, "t0_fields/position", secret)
    with pytest.raises(ValueError, match=OUTSIDE) as caught:
        TrajectoryDataset(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["states", "time", "other numbers"])
def test_sources_of_imports_that_lead_elsewhere(folders: tuple[Path, Path], way: Make, where: str) -> None:
    folder, secret = folders
    with h5py.File(folder / "x.h5", "w") as file:
        for name, values in (("states", SECRET), ("time", np.arange(5.0)), ("other numbers", SECRET)):
            if name == where:
                way(file, name, secret)
            else:
                file[name] = values
    with pytest.raises(ValueError, match=OUTSIDE):
        import_trajectories([folder / "x.h5"], folder / "out")
    assert not (folder / "out").exists()


def test_numbers_of_files_beside_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    layout = h5py.VirtualLayout((4, 5, 3), "f4")
    for i in range(4):
        with h5py.File(tmp_path / "parts" / f"{i}.h5", "w") as file:
            file["x"] = SECRET[i] + i
        layout[i] = h5py.VirtualSource(f"parts/{i}.h5", "x", (5, 3))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
        file["y"] = h5py.SoftLink("/x")
    assert np.array_equal(open_source(tmp_path / "x.h5")["x"].values[:, 0, 0], [7, 8, 9, 10])


def cut(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = SECRET[0, :2]


def rename(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["other"] = SECRET[0]


def never_write(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (5, 3), "f4", chunks=(1, 3))


def lead_back(path: Path) -> None:
    layout = h5py.VirtualLayout((5, 3), "f4")
    layout[:] = h5py.VirtualSource("../x.h5", "x", (4, 5, 3))[1]
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize("damage", [cut, shorten, rename, never_write, lead_back])
def test_what_sources_lack_is_not_made_up(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    test_numbers_of_files_beside_it_are_read(tmp_path)
    damage(tmp_path / "parts" / "1.h5")
    with pytest.raises(ValueError, match=r"takes numbers from|never written"):
        open_source(tmp_path / "x.h5")["x"].load()


def test_what_no_source_fills_is_not_made_up(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["x"] = SECRET[0]
    layout = h5py.VirtualLayout((4, 5, 3), "f4")
    layout[2] = h5py.VirtualSource("part.h5", "x", (5, 3))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    with pytest.raises(ValueError, match=r"`x` of .*x\.h5 has parts that no file fills"):
        open_source(tmp_path / "x.h5")["x"].load()


def test_links_in_circles_end(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = SECRET
        file["group/again"] = file.create_group("group")
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
        file["nowhere"] = h5py.SoftLink("/nope")
    with open_file(path) as file:
        assert file["x"].shape == SECRET.shape
    with pytest.raises(ValueError, match=r"x\.h5 is not whole: Special link traversal failed"):
        open_source(path)


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.hdf5")
    (tmp_path / "endless.hdf5").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a pipe"), ("endless", "a device")):
        with pytest.raises(ValueError, match=f"{name}\\.hdf5 is {kind}, not a file"):
            open_file(tmp_path / f"{name}.hdf5")
