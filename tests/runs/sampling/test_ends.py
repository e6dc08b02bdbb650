"""A reconstruction reads its observations block after block, and gets what it would get from all at once."""

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import final_states
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.observed.familiarity import familiarity
from physinv.evaluation.observed.final_law import fit_final_law
from physinv.laws.observation import Observation
from physinv.runs.sampling.ends import Ends
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

PROCESS = OrnsteinUhlenbeck(dim=2, steps=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    plan = DatasetPlan(PROCESS, {"train": 11}, trajectories_per_shard=5)
    return TrajectoryDataset(generate(plan, tmp_path_factory.mktemp("ends")) / "data" / "train")


def blocked(data, limit=None, size=4):
    ends = Ends(data, limit)
    ends.block = size
    return ends


def test_blocks_are_all_ends_in_order(data):
    ends, states = blocked(data), data.trajectories()
    assert (ends.n, list(ends.starts())) == (11, [0, 4, 8])
    assert torch.equal(torch.cat(list(ends.blocks())), states[:, -1])
    assert torch.equal(ends.truth(4, 8), states[4:8, 0])
    assert ends.spread(PROCESS.layout) == pytest.approx(float(states[:, -1].std()), rel=1e-6)
    assert torch.equal(torch.cat(list(blocked(data, 6).blocks())), states[:6, -1])


def test_parts_begin_at_the_same_numbers_whatever_the_limit(data):
    """1, 1 and 2 observations, then as many as a block holds draws for; blocks end where they end."""
    every = [list(part) for at in (0, 8) for part in blocked(data, size=8).parts(at, 2)]
    assert every == [[0], [1], [2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [list(part) for part in blocked(data, 3, size=8).parts(0, 2)] == [[0], [1], [2, 3]]
    assert [list(part) for part in blocked(data, size=8).parts(0, 4)] == [[0], [1], [2, 3], [4, 5], [6, 7]]
    assert [list(part) for part in blocked(data, 9, size=8).parts(8, 1)] == [[8, 9, 10]]


def test_observations_alone_have_no_truth(data):
    states = data.states(-1)
    ends = blocked(final_states(states.numpy(), PROCESS.layout))
    assert torch.equal(torch.cat(list(ends.blocks())), states)
    assert not ends.known
    with pytest.raises(ValueError, match="initial states nobody knows"):
        ends.truth(0, 1)


def test_the_noise_of_an_observation_depends_on_its_number_alone(data):
    observation, noise = Observation(lambda x: x[:, :1], noise=0.5), seeds(3).child("observation", "noise")

    def seen(limit):
        ends = blocked(data, limit)
        return torch.cat(
            [ends.seen(observation, a, x, noise) for a, x in zip(ends.starts(), ends.blocks(), strict=True)]
        )

    every, states = seen(None), data.states(-1)
    assert torch.equal(every[:6], seen(6))
    # all have noise of their own: 11 numbers of deviation .5, none the same
    gaps = every[:, 0] - states[:, 0]
    assert len(gaps.unique()) == 11
    assert 0.2 < float(gaps.std()) < 0.9  # 4.5 deviations of a deviation, .5 / sqrt(20), on the other side of .5


def test_familiarity_is_that_of_all_observations_at_once(data):
    law = fit_final_law(PROCESS.layout, data.states(-1).repeat(4, 1), data.states(1).repeat(4, 1))
    found, expected = blocked(data).familiarity(law), familiarity(law, data.states(-1))
    assert found.distance == pytest.approx(expected.distance, rel=1e-12)
    assert (found.limit, found.causes) == (expected.limit, expected.causes)
