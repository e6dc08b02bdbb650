"""Stored reference posteriors: found again by the numbers of an observation, and by the parameters of a process."""

import pytest
import torch

from physinv.evaluation.references import StoredReference, read_reference, reference_for, write_reference
from physinv.processes.parameters import describe
from simulators.fields.burgers import Burgers

SIMULATOR = Burgers(size=16, steps=2)


@pytest.fixture
def stored():
    z = torch.randn(7, 5, 1, 16, generator=torch.Generator().manual_seed(0))
    one = torch.arange(5.0)
    info = {"simulator": "burgers", "parameters": describe(SIMULATOR), "seed": 0}
    r_hat = torch.tensor([1.2, 1.0, 1.0, 1.09, 1.0])
    return StoredReference(z[0], z[1], z[2], z[3].abs(), z[4:].transpose(0, 1), one, one, r_hat, one, info)


def test_a_reference_is_read_as_it_was_written(stored, tmp_path):
    write_reference(tmp_path / "burgers.hdf5", stored)
    found = reference_for(SIMULATOR, folder=tmp_path)
    assert found.info == stored.info
    assert torch.equal(found.mean, stored.mean)
    assert torch.equal(found.crps, stored.crps)
    assert torch.allclose(found.draws, stored.draws, rtol=1e-3, atol=1e-6)  # float16: 2^-11
    assert reference_for(Burgers(size=16, steps=2, noise=0.06), folder=tmp_path) is None
    assert reference_for(SIMULATOR, folder=tmp_path / "none") is None
    (tmp_path / "broken.hdf5").write_text("nothing")
    with pytest.raises(ValueError, match=r"broken.hdf5 must be a whole reference file"):
        read_reference(tmp_path / "broken.hdf5")


def test_observations_are_found_by_their_numbers(stored):
    few = stored.final[[3, 1]]
    assert stored.places(few + 1e-4).tolist() == [3, 1]  # rounding of another machine
    assert stored.places(few + 0.1) is None
    assert stored.places(few[..., :8]) is None
    assert stored.places(stored.final) is None  # the first one has not converged
    drawn = stored.sample(few, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sort(1).values, stored.draws[[3, 1]].sort(1).values)
    assert torch.equal(stored.mean_of(few), stored.mean[[3, 1]])
    with pytest.raises(ValueError, match="`n` must be 1 to 3"):
        stored.sample(few, 4)
    with pytest.raises(ValueError, match="`final` must be observations of the stored reference"):
        stored.sample(few + 1, 1)
