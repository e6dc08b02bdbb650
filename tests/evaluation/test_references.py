"""Stored reference posteriors: found again by the numbers of an observation, and by the parameters of a process."""

import math

import pytest
import torch

from physinv.evaluation.metrics import crps_map
from physinv.evaluation.references import (
    StoredReference,
    read_reference,
    reference_for,
    scores_of_chains,
    write_reference,
)
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


def test_scores_of_chains_count_pairs_of_different_chains(generator):
    draws, truth = torch.randn(3, 2, 4, 5, generator=generator), torch.randn(3, 5, generator=generator)
    crps, energy = scores_of_chains(draws, truth)
    for i in range(3):
        x, y = draws[i].double(), truth[i].double()
        far, pairs = (x - y).abs().mean(), (x[0][:, None] - x[1][None]).abs().mean()
        assert float(crps[i]) == pytest.approx(float(far - pairs / 2), rel=1e-5)
        far, pairs = (x - y).norm(dim=-1).mean(), (x[0][:, None] - x[1][None]).norm(dim=-1).mean()
        assert float(energy[i]) == pytest.approx(float(far - pairs / 2), rel=1e-5)


def test_scores_of_chains_are_those_of_the_posterior_although_draws_are_alike(generator):
    """Four chains of ten draws that hardly move: a fair score of all forty counts them as forty independent ones."""
    batch, chains, n, keep = 1000, 4, 10, 0.95
    x = torch.randn(batch, chains, 1, 2, generator=generator)
    draws = [x]
    for _ in range(n - 1):
        draws.append(keep * draws[-1] + math.sqrt(1 - keep**2) * torch.randn(x.shape, generator=generator))
    draws, truth = torch.cat(draws, 2), torch.randn(batch, 2, generator=generator)
    crps, energy = scores_of_chains(draws, truth)
    # For a truth of the same law both are E|x - x'| / 2: of a number 1 / sqrt(pi), of two numbers sqrt(pi) / 2.
    assert float(crps.mean()) == pytest.approx(1 / math.sqrt(math.pi), abs=4 * float(crps.std()) / math.sqrt(batch))
    assert float(energy.mean()) == pytest.approx(math.sqrt(math.pi) / 2, abs=4 * float(energy.std()) / math.sqrt(batch))
    assert float(crps_map(draws.flatten(1, 2), truth).mean()) > 1.1 / math.sqrt(math.pi)
