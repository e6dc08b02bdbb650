"""The reference law of linear fields, in modes that do not vary and in channels of very different units."""

from pathlib import Path

import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.models.references.linear import LinearReference
from physinv.posterior.learned_prior import start_prior
from simulators.fields.heat import Heat

HEAT = Heat(size=16, dimension=1)  # its fields have the mean 0: one mode holds rounding alone


def data():
    x = HEAT.simulate(300, generator=torch.Generator().manual_seed(0))
    header = Header("heat", HEAT.layout, tuple(x.shape[2:]), tuple(HEAT.times.tolist()), len(x), {}, {})
    return TrajectoryDataset.of_states(x, header, Path("x"))


def test_the_score_of_initial_fields_leaves_out_a_mode_that_does_not_vary():
    known = data()
    law = LinearReference.fit(HEAT, known, Settings())
    x = known.states(0)[:50]
    power = law.power0.flatten()
    assert float(power[0]) == 0
    score = law.score(x, torch.zeros(len(x)))
    assert bool(score.isfinite().all())
    # a linear map of the field: as large as its smallest deviation allows
    assert float(score.abs().max()) < 20 / float(power[1:].min()) ** 0.5


def test_a_learned_prior_encodes_such_fields_and_decodes_them_again():
    known = data()
    prior = start_prior(known, known, Settings(width=8, depth=1), seed=0).prior
    x = known.states(0)[:20]
    z = prior.encode(x)
    assert float(z.abs().max()) < 8
    torch.testing.assert_close(prior.decode(z), x, rtol=0, atol=1e-4)


def test_channels_in_very_different_units_keep_their_power():
    power = torch.tensor([[1e10, 1e8], [1e-6, 1e-7]])
    assert torch.equal(LinearReference(HEAT, torch.zeros(2, 2), power).power0, power)
    broken = torch.tensor([[1.0, torch.inf]])
    assert torch.equal(LinearReference(HEAT, torch.zeros(1, 2), broken).power0, broken)
