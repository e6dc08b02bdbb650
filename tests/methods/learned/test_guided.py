"""Guided draws of a prior that was learned before anything was observed: exact where all is Gaussian."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations.noising import VP
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.registry import fit_method
from physinv.models.build import score_network
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.learned_prior import LearnedPrior
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import parameter
from physinv.processes.simulator import Simulator
from simulators.fields.heat import Heat

HEAT = Heat(size=8, dimension=1, steps=2)
EVERY_OTHER = Observation(lambda x: x[..., ::2], noise=0.1)


@dataclass(frozen=True)
class Still(Simulator):
    """One number that hardly moves."""

    title: ClassVar[str] = "still"
    equation: ClassVar[str] = "dx = .001 dW"
    horizon: float = parameter(1.0, "T", "final time")
    steps: int = parameter(1, "M", "stored steps")

    @property
    def layout(self):
        return VectorLayout("x", 1)

    def drift(self, x, t):
        return 0 * x

    def diffusion(self, t):
        return 1e-3 * torch.ones_like(t)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn(batch, 1, generator=generator, device=device, dtype=dtype)


def data_of(process, start, generator):
    """A dataset of a process from given states."""
    states = process.run(start, process.times, generator=generator)
    header = Header("made", process.layout, tuple(start.shape[1:]), tuple(process.times.tolist()), len(start), {}, {})
    return TrajectoryDataset.of_states(states, header, Path("made"))


def exact_prior(power):
    """The Gaussian law of fields with a given spectrum, as a learned prior whose network says nothing."""
    reference = LinearReference(VP(basis="fourier"), torch.zeros(HEAT.shape), power.float())
    network = score_network(reference, HEAT.layout, Settings(width=4, depth=1), seed=0)
    model = ScoreModel(reference, network, (1e-3, 1.0), shape=HEAT.shape)
    return LearnedPrior(reference.sde, model, torch.zeros(1, 1), torch.ones(1, 1))


@pytest.mark.parametrize("diffusivity", [1.0, 1.5])
@pytest.mark.parametrize("observed", [None, EVERY_OTHER], ids=["whole", "sensors"])
def test_guided_draws_are_exact_at_any_number_of_steps(observed, diffusivity, generator):
    """Heat is linear and Gaussian: the means and variances of many draws are those of the formula, with two levels."""
    process = Heat(size=8, dimension=1, steps=2, diffusivity=diffusivity)
    start = process.initial(40, generator=generator)
    data = data_of(process, start, generator)
    prior = exact_prior(HEAT.exact().power)
    answer, exact = fit_method("dps", Problem(process, data, data, prior=prior), {"steps": 2}), process.exact()
    seen = data.states(-1)[:3]
    if observed is not None:
        answer, exact = answer.given(observed), exact.given(observed)
        seen = observed.observe(seen, generator=generator)
    n = 1000
    draws, right = (a.sample(seen, n, generator=generator) for a in (answer, exact))
    deviation = right.std(1)
    size = deviation.clamp(min=0.02)  # directions that are nearly known: what float32 and the first noise leave
    assert float(((draws.mean(1) - right.mean(1)) / size).abs().max()) < 5 * math.sqrt(2 / n)
    assert float((draws.std(1) / size - deviation / size).abs().max()) < 5 / math.sqrt(n)

    # and so is the correlation of neighbours
    pairs = [
        ((d - d.mean(1, keepdim=True))[..., 0] * (d - d.mean(1, keepdim=True))[..., 1]).mean(1) for d in (draws, right)
    ]
    scale = (deviation[..., 0] * deviation[..., 1]).clamp(min=1e-3)
    assert float(((pairs[0] - pairs[1]) / scale).abs().max()) < 5 * math.sqrt(4 / n)


def test_moves_at_each_level_leave_the_posterior_as_it_is(generator):
    data = data_of(HEAT, HEAT.initial(40, generator=generator), generator)
    some = Problem(HEAT, data, data, prior=exact_prior(HEAT.exact().power))
    answer, exact = (
        fit_method("dps", some, {"steps": 3, "sweeps": 2}).given(EVERY_OTHER),
        HEAT.exact().given(EVERY_OTHER),
    )
    y = EVERY_OTHER.observe(data.states(-1)[:2], generator=generator)
    draws, right = (a.sample(y, 1000, generator=generator) for a in (answer, exact))
    size = right.std(1).clamp(min=0.02)
    assert float(((draws.mean(1) - right.mean(1)) / size).abs().max()) < 5 * math.sqrt(2 / 1000)
    assert float(((draws.std(1) - right.std(1)) / size).abs().max()) < 5 / math.sqrt(1000)


def test_a_record_of_two_times_is_answered_and_missing_numbers_tell_nothing(generator):
    data = data_of(HEAT, HEAT.initial(200, generator=generator), generator)
    answer = fit_method("dps", Problem(HEAT, data, data, prior=exact_prior(HEAT.exact().power)), {"steps": 4})
    record = ObservationRecord((0.1, EVERY_OTHER), (0.2, EVERY_OTHER))
    y = record.observe(data.trajectories(slice(0, 2))[:, 1:], generator=generator)
    y[1, :4] = torch.nan
    draws, right = (a.given(record).sample(y, 1000, generator=generator) for a in (answer, HEAT.exact()))
    size = right.std(1).clamp(min=0.02)
    # errors between the times are estimated from 200 pairs of runs: 10 % of their size
    assert float(((draws.mean(1) - right.mean(1)) / size).abs().max()) < 0.4
    assert float(draws.std(1).square().mean() / right.std(1).square().mean()) == pytest.approx(1, abs=0.15)
    with pytest.raises(NotApplicableError, match="whole paths"):
        answer.given(record).sample_at(y, 2, [0.0, 0.1], generator=generator)


class Peaks(ScoreModel):
    """The score of equal peaks at -2 and 2 of deviation .3, in closed form."""

    def output(self, x, t, features=None):
        law = self.reference.spectrum(t, x)
        width = law.a**2 * 0.09 + law.v
        score = (2 * law.a * torch.tanh(2 * law.a * x / width) - x) / width
        return (score - self.reference.score(x, t)) / (law.a**2 * law.prior / law.now / law.v).sqrt()


def test_between_two_peaks_guidance_leans_to_the_sensor_but_too_little(generator):
    """A sensor of deviation 1.5 that reads .5 leaves weights of .70 and .30.

    The covariance of a start given a noised state counts as the same for all of them.  Far from a Gaussian law the
    weight of the nearer peak is then too small (.61 here), as the guide says; each peak has its right width.
    """
    reference = LinearReference(VP(), torch.zeros(1), torch.tensor([4.09]))
    prior = LearnedPrior(
        reference.sde, Peaks(reference, torch.nn.Linear(1, 1), (1e-3, 1.0)), torch.zeros(1), torch.ones(1)
    )
    process, y, v = Still(), 0.5, 2.25 + 0.09
    data = data_of(process, prior.draw(50, generator=generator), generator)
    answer = fit_method("dps", Problem(process, data, data, prior=prior), {"steps": 48, "sweeps": 2})
    right = 1 / (1 + math.exp(((y - 2) ** 2 - (y + 2) ** 2) / (2 * v)))
    drawn = answer.given(Observation(lambda x: x, 1.5)).sample(torch.tensor([[y]]), 2000, generator=generator)
    error = math.sqrt(right * (1 - right) / 2000)
    assert 0.5 + 5 * error < float((drawn > 0).float().mean()) < right + 5 * error  # the prior has .5
    assert float(drawn.abs().std()) == pytest.approx(math.sqrt(1 / (1 / 0.09 + 1 / 2.25)), abs=0.05)


def test_other_priors_are_for_other_methods(generator):
    data = data_of(HEAT, HEAT.initial(40, generator=generator), generator)
    gaussian = gaussian_prior_of(HEAT, data.states(0))
    with pytest.raises(NotApplicableError, match="must be a diffusion model"):
        fit_method("dps", Problem(HEAT, data, data, prior=gaussian))


@pytest.mark.parametrize(("option", "least"), [("steps", 2), ("sweeps", 0), ("inner", 1)])
def test_options_that_make_no_sense_are_refused(option, least, generator):
    data = data_of(HEAT, HEAT.initial(40, generator=generator), generator)
    given = Problem(HEAT, data, data, prior=exact_prior(HEAT.exact().power))
    with pytest.raises(ValueError, match=f"`{option}` must be at least {least}, got {least - 1}"):
        fit_method("dps", given, {option: least - 1})
