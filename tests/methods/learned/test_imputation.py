"""Imputation before training is the exact smoother where all is linear and Gaussian, and says what it cannot do."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation.metrics import crps
from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.learned.imputation import fit_imputation, load_imputation
from physinv.methods.problem import Problem
from physinv.models.windows import FrameScore, WindowScore
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64


@pytest.fixture(scope="module", params=["together", "in-turn", "state-space"])
def fitted(request):
    """Ornstein-Uhlenbeck in one dimension, its law of trajectories from 1500 of them, and 150 others."""
    process = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=12)
    g = torch.Generator().manual_seed(0)
    parts = process.simulate(1800, process.times, generator=g).split([1500, 150, 150])
    train, valid = (TrajectoryDataset.from_arrays(x, times=process.times) for x in parts[:2])
    network = "state-space" if request.param == "state-space" else ""
    settings = Settings(network=network, width=16, depth=1, validate_windows=64)
    problem = Problem(process, train, valid, settings=settings, budget=Budget(steps=1))
    frames = "in-turn" if request.param == "in-turn" else "together"
    answer = fit_imputation(problem, frames=frames)
    assert not answer.model.useful  # of Gaussian data it learns nothing
    answer.model.useful = True  # so that the sampler is tested as well
    return process, answer, parts[2], g, problem


def test_half_of_the_times_missing(fitted):
    """CRPS of all entries within 5 % of the exact smoother: 13 variances of 1500 trajectories cost 1 %."""
    process, answer, truth, g, _ = fitted
    seen = range(0, 13, 2)
    record = ObservationRecord(*((float(process.times[i]), Observation(everything, 0.3)) for i in seen))
    y = record.observe(truth[:, list(seen)], generator=g)
    y[3, 2] = torch.nan
    prior = LinearGaussian(process, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
    times = process.times.tolist()
    ours = answer.given(record).sample_at(y, 64, times, generator=g)
    best = prior.given(record).sample_at(y, 64, times, generator=g)
    hidden = [i for i in range(13) if i not in seen]
    for which in (slice(None), hidden):
        value, exact = (float(crps(x[:, :, which].float(), truth[:, which])) for x in (ours, best))
        assert abs(value / exact - 1) < 0.05


def test_the_last_state_alone_gives_the_posterior_of_the_first(fitted):
    process, answer, truth, g, _ = fitted
    prior = LinearGaussian(process, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
    final = truth[:50, -1]
    ours, exact = answer.sample(final, 200, generator=g), prior.mean(final.double())
    spread = float(prior.given(Observation(everything, 1e-4)).deviation_at([0.0]))
    # 200 draws know the mean to 1/14 of the spread, and the slope from 1500 trajectories adds 1/39 of it
    assert float((ours.mean(1) - exact).abs().mean()) < 0.15 * spread
    assert abs(float(ours.var(1).mean()) ** 0.5 / spread - 1) < 0.05


def test_known_entries_come_back_as_they_are(fitted):
    _, answer, truth, g, _ = fitted
    y = truth[:5].clone()
    y[:, 4:] = torch.nan
    drawn = answer.impute(y, 3, generator=g)
    assert torch.equal(drawn[:, :, :4], truth[:5, None, :4].expand(5, 3, 4, 1))
    assert float(drawn[:, :, 4:].std(1).min()) > 0


def test_averages_and_other_times_are_refused(fitted):
    process, answer, _, _, problem = fitted
    twice = Observation(lambda x: 2 * x, 0.1)
    for record, told in (
        (ObservationRecord((float(process.times[1]), twice)), "must see single entries"),
        (ObservationRecord((0.01, Observation(everything, 0.1))), "must be stored ones"),
    ):
        with pytest.raises(ValueError, match=told):
            answer.given(record)
    with pytest.raises(ValueError, match="`rank` must be at least 1"):
        fit_imputation(problem, rank=0)
    with pytest.raises(ValueError, match="`frames` must be one of together, in-turn, got 'one'"):
        fit_imputation(problem, frames="one")


def test_a_stored_answer_draws_the_same(fitted):
    _, answer, truth, _, problem = fitted
    frames = "in-turn" if isinstance(answer.model, FrameScore) else "together"
    again = load_imputation(problem.setup, answer.tensors(), frames=frames)
    y = truth[:3].clone()
    y[:, 6:] = torch.nan
    one, two = (a.impute(y, 2, generator=torch.Generator().manual_seed(1)) for a in (answer, again))
    assert torch.equal(one, two)


@pytest.mark.parametrize(("helped", "useful"), [(1, False), (4, True)])
def test_a_network_that_helps_one_of_four_trajectories_is_not_trusted(helped, useful, monkeypatch):
    """The gain is half of the error of each helped trajectory: of one in four it is no larger than its own error."""
    process = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=3)
    parts = process.simulate(44, process.times, generator=torch.Generator().manual_seed(0)).split([40, 4])
    train, valid = (TrajectoryDataset.from_arrays(x, times=process.times) for x in parts)
    known = parts[1][:helped].flatten(1)

    def loss(self, states, generator):
        better = (states.flatten(1)[:, None] == known).all(2).any(1)
        untouched = sum(p.sum() for p in self.parameters())
        return torch.where(better & self.useful, 0.5, 1.0).mean() + 0 * untouched

    monkeypatch.setattr(WindowScore, "loss", loss)
    settings = Settings(width=4, depth=1, validate_windows=4)
    answer = fit_imputation(Problem(process, train, valid, settings=settings, budget=Budget(steps=1)))
    assert answer.model.useful == useful
