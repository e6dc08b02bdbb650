"""Attributes of dimension scales that are of another type are refused, before the library crashes at them."""

import h5py
import numpy as np
import pytest

from physinv.data.hdf5.scales import axis_names, is_scale
from physinv.data.sources.read import open_source


def made(path, change):
    with h5py.File(path, "w") as file:
        file["u"], file["t"] = np.zeros((20, 6, 8), "f4"), np.arange(6.0)
        file["t"].make_scale("t")
        change(file)
    return path


def deleted(file):
    file["u"].dims[1].attach_scale(file["t"])
    del file["t"]


BAD = {
    "a number": (lambda f: f["u"].attrs.__setitem__("DIMENSION_LIST", 3), "`DIMENSION_LIST` of '/u' is no list"),
    "plain references": (
        lambda f: f["u"].attrs.create("DIMENSION_LIST", [f["t"].ref] * 3, dtype=h5py.ref_dtype),
        "`DIMENSION_LIST` of '/u' is no list of references for each axis",
    ),
    "labels of numbers": (
        lambda f: f["u"].attrs.__setitem__("DIMENSION_LABELS", [1, 2, 3]),
        "`DIMENSION_LABELS` of '/u' is no text for each axis",
    ),
    "labels of other bytes": (
        lambda f: f["u"].attrs.create("DIMENSION_LABELS", np.array([b"\xff\xfe", b"a", b"b"], dtype="S2")),
        "`DIMENSION_LABELS` of '/u' is no text for each axis",
    ),
    "a deleted scale": (deleted, "the dimension scale of axis 1 of '/u' is missing"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_scale_is_refused_in_one_line(name, tmp_path):
    change, told = BAD[name]
    with pytest.raises(ValueError, match=rf"x\.h5 is not whole: .*{told}"):
        open_source(made(tmp_path / "x.h5", change))


def test_names_of_axes(tmp_path):
    def named(file):
        file["u"].dims[1].attach_scale(file["t"])
        file["u"].dims[2].label = "x"
        file["u"].attrs["CLASS"] = 3

    with h5py.File(made(tmp_path / "x.h5", named)) as file:
        assert axis_names(file["u"]) == [None, "/t", "x"]
        assert is_scale(file["t"])
        assert not is_scale(file["u"])
