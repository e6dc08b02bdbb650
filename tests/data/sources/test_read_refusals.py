"""What is no data, or not all of it, gets one line: by format, by what is missing, by what must not be loaded."""

import importlib.util
import os

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from physinv.data.sources.read import open_source, read_states, state_array

U = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("f4")  # (sample, time, x)
T, X = np.linspace(0, 1, 5), np.arange(4) / 4


def declared(path):
    """A file that declares 32 TB and holds nothing."""
    with h5py.File(path, "w") as file:
        file.create_dataset("u", (10**12, 2, 4), "f4", chunks=(1, 2, 4))
        file["t-coordinate"], file["x-coordinate"] = [0.0, 1.0], X


def unwritten(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("u", U.shape, "f4", chunks=(1, *U.shape[1:]))[:4] = U[:4]
        file["t-coordinate"], file["x-coordinate"] = T, X


def virtual(path):
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout(U.shape, "f4")
        layout[:] = h5py.VirtualSource("absent.h5", "u", U.shape)
        file.create_virtual_dataset("u", layout)
        file["t-coordinate"], file["x-coordinate"] = T, X


def external(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("u", U.shape, "f4", external=[(str(path.with_suffix(".raw")), 0, U.nbytes)])
        file["t-coordinate"], file["x-coordinate"] = T, X


def linked(path):
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["u"] = U
    with h5py.File(path, "w") as file:
        file["u"] = h5py.ExternalLink("other.h5", "u")
        file["t-coordinate"], file["x-coordinate"] = T, X


def text(path):
    with h5py.File(path, "w") as file:
        file["u"], file["t-coordinate"], file["x-coordinate"] = U.astype("S8"), T, X


def compound(path):
    with h5py.File(path, "w") as file:
        file["u"] = U.astype([("a", "f4"), ("b", "i4")])
        file["t-coordinate"], file["x-coordinate"] = T, X


def objects(path):
    np.save(path, np.array([{}, 1], dtype=object), allow_pickle=True)


GRIB = importlib.util.find_spec("cfgrib") is not None
GSD = importlib.util.find_spec("gsd.hoomd") is not None if importlib.util.find_spec("gsd") else False

BAD = {
    "declared.h5": (declared, "`u` of {0} has parts that were never written"),
    "unwritten.h5": (unwritten, "`u` of {0} has parts that were never written"),
    "virtual.h5": (virtual, "takes numbers from absent.h5, which is not beside it"),
    "external.h5": (external, "keeps its numbers in another file"),
    "linked.h5": (linked, "`u` of {0} is a link to another file; write all into this one."),
    "text.h5": (text, "`u` of {0} holds text, not numbers"),
    "compound.h5": (compound, "`u` of {0} holds records of several numbers"),
    "objects.npy": (objects, "it holds Python objects, which are never loaded"),
    "cut.npy": (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'," + bytes(200)), "can't be read"),
    "model.pt": (lambda p: torch.save(torch.nn.Linear(2, 2), p), "it holds Python objects, which are never loaded"),
    "cut.npz": (lambda p: p.write_bytes(b"PK\x03\x04 and no more"), "can't be read"),
    "cut.mat": (lambda p: p.write_bytes(b"MATLAB 5.0 MAT-file and no more"), "can't be read"),
    "cut.nc": (lambda p: p.write_bytes(b"CDF\x01 and no more"), "can't be read"),
    "empty.h5": (lambda p: p.write_bytes(b""), "is empty"),
    "a.docx": (lambda p: p.write_bytes(b"PK\x03\x04"), "is of no known format (HDF5"),
    "a.grib": (lambda p: p.write_bytes(b"GRIB\x00\x00\x00\x02"), "can't be read" if GRIB else "physinv[grib]"),
    "a.gsd": (lambda p: p.write_bytes(b"\xdfe\xdfe\xdfe\xdfe"), "can't be read" if GSD else "physinv[particles]"),
    "none.pt": (lambda p: torch.save({"run": {"name": "u"}}, p), "{0} holds no arrays of numbers; write the states"),
    "folder": (lambda p: p.mkdir(), "{0} is a folder and no Zarr store; give files in it."),
    "none.h5": (lambda p: None, "there is no file {0}"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_data_gets_one_line(name, tmp_path):
    make, expected = BAD[name]
    path = tmp_path / name
    make(path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        state_array(read_states(path).isel(sample=slice(0, 9)))
    assert expected.format(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(GSD, reason="the library is installed")
def test_a_folder_with_the_name_of_a_library_is_none(tmp_path, monkeypatch):
    (tmp_path / "gsd").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a.gsd").write_bytes(b"\xdfe\xdfe\xdfe\xdfe")
    with pytest.raises(ValueError, match="needs gsd, which is not installed"):
        read_states(tmp_path / "a.gsd")


def test_variables_on_different_points_are_not_mixed(tmp_path):
    path = tmp_path / "a.nc"
    xr.Dataset({"u": (("time", "y", "x_stag"), U), "v": (("time", "y_stag", "x"), U)}).to_netcdf(
        path, engine="h5netcdf"
    )
    with pytest.raises(ValueError, match=r"holds several arrays: u .*; choose with `--variable"):
        read_states(path)
    with pytest.raises(ValueError, match="are on different points"):
        read_states(path, "u,v")
    assert list(read_states(path, "v").data_vars) == ["v"]
    with pytest.raises(ValueError, match="has no variable `vv`"):
        read_states(path, "vv")


def test_no_flip_of_a_bit_in_a_tensor_is_read_in_silence(tmp_path):
    """Torch does not look at the checksums of its archives: all bits of one byte in eight are flipped."""
    path, numbers = tmp_path / "x.pt", torch.arange(60.0).view(5, 12)
    torch.save({"u": numbers}, path)
    data = path.read_bytes()
    start = data.index(numbers.numpy().tobytes())
    for at in range(start, start + 4 * numbers.numel(), 8):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        with pytest.raises(ValueError, match=r"x\.pt can't be read \(`.*` in it does not have the checksum"):
            open_source(path)


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(ValueError, match=r"x\.csv is a pipe, not a file"):
        open_source(tmp_path / "x.csv")


def test_a_zarr_store_holds_all_of_its_chunks_itself(tmp_path):
    pytest.importorskip("zarr")
    xr.Dataset({"u": (("sample", "time", "x"), U)}).to_zarr(tmp_path / "a.zarr", consolidated=False)
    chunk = next(p for p in sorted((tmp_path / "a.zarr" / "u").rglob("*")) if p.is_file() and "json" not in p.name)
    chunk.rename(chunk.with_name("moved"))
    chunk.symlink_to("moved")  # inside: as good as the file
    read_states(tmp_path / "a.zarr")
    chunk.unlink()
    chunk.with_name("moved").rename(tmp_path / "secret")
    chunk.symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=f"keeps `.*{chunk.name}` outside of its folder"):
        read_states(tmp_path / "a.zarr")


def test_what_is_no_part_of_a_zarr_store_is_damage_but_hidden_files(tmp_path):
    xr.Dataset({"u": (("sample", "time", "x"), U)}).to_zarr(tmp_path / "a.zarr", consolidated=False)
    (tmp_path / "a.zarr" / ".DS_Store").write_text("x")
    assert "u" in open_source(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "strange").write_text("x")
    with pytest.raises(ValueError, match=r"a\.zarr can't be read \(`strange` in it is no part of a Zarr store\)"):
        open_source(tmp_path / "a.zarr")
