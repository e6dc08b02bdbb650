"""Files say with which versions they were made."""

import h5py
import torch

from physinv.config.versions import versions


def test_versions():
    found = versions()
    assert set(found) == {"physinv", "python", "torch", "numpy", "h5py", "hdf5"}
    assert found["hdf5"] == h5py.version.hdf5_version
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
