"""The choice among ways to draw, with answers whose scores are known."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods.own.ways import STEPS, choose_ways, clearly_better, judges, scores_of
from physinv.methods.problem import Answer, Problem
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

N = 400


@dataclass(frozen=True)
class Normal(Answer):
    """Draws around the observation, and a count of the observations that were asked for."""

    shift: float = 0.0
    deviation: float = 1.0
    asked: list[int] = field(default_factory=list)

    def sample(self, final: Tensor, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        self.asked.append(len(final))
        noise = torch.randn((len(final), n, *final.shape[1:]), generator=generator)
        return final[:, None] + self.shift + self.deviation * noise

    def mean(self, final: Tensor) -> Tensor:
        return final + self.shift


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    ou, folder = OrnsteinUhlenbeck(dim=1, steps=2), tmp_path_factory.mktemp("ou")
    generate(DatasetPlan(ou, {"train": 50, "valid": 20, "test": 1}, 0, "ornstein-uhlenbeck"), folder / "d")
    train, valid = (TrajectoryDataset(folder / "d" / "data" / s).load() for s in ("train", "valid"))
    return Problem(ou, train, valid)


@pytest.fixture(scope="module")
def observed():
    """Truths that are N(observation, 1)."""
    g = torch.Generator().manual_seed(5)
    final = 2 * torch.randn(N, 1, generator=g)
    return final + torch.randn(N, 1, generator=g), final


def test_small_steps_that_are_clearly_worse_are_given_up_after_few_observations(problem, observed):
    steps = Normal(shift=1.5)
    ways, found = choose_ways(problem, *observed, {"1": Normal()}, steps)
    assert ways == ("1",)
    assert steps.asked == [32]
    # CRPS of N(0, 1) for N(0, 1) truths is 1 / sqrt(pi), in units of the deviation of the truth.
    assert found["1"] == pytest.approx(1 / math.sqrt(math.pi) / float(observed[0].std()), rel=0.06)
    assert found[STEPS] > 1.3 * found["1"]


def test_small_steps_that_are_as_good_see_all_observations_and_do_not_win(problem, observed):
    steps = Normal()
    assert choose_ways(problem, *observed, {"1": Normal()}, steps)[0] == ("1",)
    assert steps.asked == [32, 32, 64, 128, N - 256]


def test_small_steps_win_where_they_are_clearly_better(problem, observed):
    steps = Normal()
    ways, found = choose_ways(problem, *observed, {"1": Normal(shift=0.8), "2": Normal(deviation=3.0)}, steps)
    assert ways == (STEPS,)
    assert sum(steps.asked) == N
    assert min(found, key=found.__getitem__) == STEPS


@pytest.mark.parametrize("deviation", [0.75, 1.35])
def test_small_steps_win_where_the_others_hold_too_few_or_too_many(deviation, problem, observed):
    """Intervals of normal draws hold .783 or .974 of the truths; CRPS is 1.8 % or 2.5 % larger, which may be chance."""
    few = [x[:150] for x in observed]
    crps = [scores_of(problem, *few, Normal(deviation=s)) for s in (1.0, deviation)]
    assert crps[0].mean() < crps[1].mean()
    assert not clearly_better(*crps)
    assert choose_ways(problem, *few, {"1": Normal(deviation=deviation)}, Normal())[0] == (STEPS,)
    assert choose_ways(problem, *few, {"1": Normal(deviation=0.95)}, Normal())[0] == ("1",)  # .882, too near to tell


def test_pools_of_grids_that_err_to_both_sides_win(problem, observed):
    jumps = {"1": Normal(shift=1.0, deviation=0.1), "2": Normal(shift=-1.0, deviation=0.1), "4": Normal(shift=9.0)}
    assert choose_ways(problem, *observed, jumps, Normal(shift=9.0))[0] == ("1", "2")


def test_ways_that_are_not_finite_are_left_out_and_none_is_an_error(problem, observed):
    broken = Normal(shift=math.nan)
    assert choose_ways(problem, *observed, {"1": broken}, Normal(shift=0.5))[0] == (STEPS,)
    assert choose_ways(problem, *observed, {"1": Normal()}, broken)[0] == ("1",)
    with pytest.raises(ValueError, match=r"^no samples of the trained model are finite and near the data: 100%"):
        choose_ways(problem, *observed, {"1": broken}, broken)


def test_judges_are_simulated_anew_or_validation_trajectories(problem):
    truth, final = judges(problem, simulate=True)
    assert len(truth) == len(final) == 500
    assert not torch.isin(problem.valid.states(0), truth).any()
    assert torch.equal(judges(problem, simulate=False)[0], problem.valid.states(0))


@dataclass(frozen=True)
class Diverging(OrnsteinUhlenbeck):
    """New trajectories are not finite."""

    def run(self, *args, **kwargs):
        return super().run(*args, **kwargs) * math.inf


def test_validation_trajectories_judge_where_new_ones_diverge(problem):
    truth, final = judges(replace(problem, simulator=Diverging(dim=1, steps=2)), simulate=True)
    assert torch.equal(truth, problem.valid.states(0))
    assert torch.equal(final, problem.valid.states(-1))


def test_one_observation_decides_nothing_and_is_measured_by_the_data(problem, observed):
    truth, final = (x[:1] for x in observed)
    ways, found = choose_ways(problem, truth, final, {"1": Normal(shift=1.0)}, Normal())
    assert ways == ("1",)
    assert 0 < found["1"] < 10  # in units of the deviation of the training states: a single truth has none


def test_scores_are_those_of_the_law_in_units_of_the_truth(problem, observed):
    found = scores_of(problem, *observed, Normal())
    assert found.shape == (N,)
    doubt = 4 * float(found.std()) / math.sqrt(N)
    assert float(found.mean()) == pytest.approx(1 / math.sqrt(math.pi) / float(observed[0].std()), abs=doubt)


@pytest.mark.parametrize(
    ("gain", "spread", "better"),
    [(0.02, 0.0, True), (0.005, 0.0, False), (0.02, 0.05, False), (0.08, 0.05, True), (-0.02, 0.0, False)],
)
def test_better_is_by_one_percent_and_two_standard_errors(gain, spread, better):
    """16 errors of 1 against errors that are smaller by a gain, with a standard error of the spread over 4 / 1.03."""
    signs = torch.tensor([1.0, -1.0]).repeat(8)
    assert clearly_better(1 - gain + spread * signs, torch.ones(16)) == better
