"""The reversal given a record, with exact scores and with a reference law: against the exact smoother."""

import math

import pytest
import torch

from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.posterior.several_times.particles import Cloud, systematic
from physinv.posterior.several_times.twisted import TwistedReversal
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
OU = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=40)
SENSOR = Observation(lambda x: x[:, :1], 0.3)
BOTH = Observation(everything, 0.3)
LAW = LinearGaussian(OU, 2.0, torch.zeros(2, dtype=F64), torch.ones(2, dtype=F64))
REVERSAL = Posterior(OU, OU.score, torch.linspace(0, 2, 41))
TIMES = [0.0, 1.2, 2.5]


@pytest.mark.parametrize(
    "record",
    [
        ObservationRecord((0.5, SENSOR), (1.0, BOTH), ((0.5, 1.5), SENSOR), (2.0, BOTH)),
        ObservationRecord((0.0, SENSOR), (0.75, BOTH), (1.25, BOTH)),  # nothing at the end: from 1.25 back
    ],
)
def test_draws_are_those_of_the_exact_smoother(record, generator):
    law, n = LAW.given(record), 4000
    grid = sorted({0.0, *record.times})
    paths = OU.simulate(1, grid, generator=generator)[:, [grid.index(t) for t in record.times]]
    y = record.observe(paths, generator=generator)
    drawn = TwistedReversal(REVERSAL, record, n).sample_at(y, n, TIMES, generator=generator).double()
    deviation = law.deviation_at(TIMES)
    error = 5 / math.sqrt(n / 8)  # five standard errors, of an eighth of the particles that counts
    slack = 0.01  # Euler-Maruyama with steps of .05 at rate .5
    assert bool(((drawn.mean(1) - law.mean_at(y, TIMES)).abs() < error * deviation + slack).all())
    assert torch.allclose(drawn[0].std(0), deviation, rtol=error / math.sqrt(2) + slack)


def test_a_record_of_the_last_time_alone_needs_no_weights_once_drawn_from_it(generator):
    record = ObservationRecord((2.0, BOTH))
    cloud = TwistedReversal(REVERSAL, record, 500).run(torch.ones(2, 2), [0.0], generator=generator)
    assert bool((cloud.least < 500).all())  # without a law of x_T: weighted draws of the prior
    again = Cloud(record, torch.ones(2, 2), torch.full((2, 500), -math.log(500), dtype=F64))
    again.add(2.0, torch.zeros(2, 500, 2), used=[0])
    assert bool((again.least == 500).all())


class Nothing(torch.nn.Module):
    """A network that adds nothing to its reference law."""

    def forward(self, x, t):
        return torch.zeros_like(x[:, : x.shape[1] // 2])


@pytest.mark.parametrize(
    "operator", [lambda x: x.flatten(1).amax(1, keepdim=True), lambda x: x.flatten(1).sort(1).values]
)
def test_operators_that_look_linear_at_equal_numbers_weigh_draws_of_the_prior(operator, generator):
    """The largest of equal numbers doubles with them, and no matrix is what it does."""
    heat = Heat(size=4, dimension=1, steps=4)
    law = LinearReference(heat, torch.zeros(heat.shape, dtype=F64), heat.exact().power)
    score = ScoreModel(law, Nothing(), (float(heat.times[1]), heat.horizon))
    record = ObservationRecord((heat.horizon, Observation(operator, 0.3)))
    y = record.observe(heat.simulate(1, generator=generator)[:, -1:], generator=generator)
    cloud = TwistedReversal(Posterior(heat, score, heat.times), record, 500).run(y, [0.0], generator=generator)
    assert bool((cloud.least < 500).all())


def test_systematic_resampling_has_the_weights_as_frequencies(generator):
    weights = torch.tensor([[0.1, 0.6, 0.3], [1.0, 0.0, 0.0]])
    at = systematic(weights, 1000, generator=generator)
    counts = torch.stack([(at == i).sum(1) for i in range(3)], 1)
    assert torch.allclose(counts.double(), 1000 * weights.double(), atol=1.01)  # at most one off


def test_what_cannot_be_reversed_is_refused():
    late = ObservationRecord((2.5, BOTH))
    with pytest.raises(ValueError, match=r"`record` must end at 2 at the latest, where the reversal begins, got 2.5"):
        TwistedReversal(REVERSAL, late)
    few = TwistedReversal(REVERSAL, ObservationRecord((2.0, BOTH)), 10)
    with pytest.raises(ValueError, match="`n` must be at most the 10 particles, got 11"):
        few.sample([[0.0, 0.0]], 11)
    with pytest.warns(UserWarning, match="fewer than 20 particles count for 1 of 1 records"):
        few.sample([[0.0, 0.0]], 5, generator=torch.Generator().manual_seed(0))
