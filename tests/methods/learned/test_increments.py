"""Recordings: the law around the linear estimate is calibrated, continues trends, and stays near the data."""

import math
from types import SimpleNamespace
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
import torch
from recorded_cases import recorded

from physinv.config.settings import Settings
from physinv.evaluation.evaluate import evaluate
from physinv.evaluation.metrics import coverage, crps
from physinv.methods.auto import suited
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.learned.increments import fit_increments, load_increments
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.saving import Setup
from physinv.processes.layout import FieldLayout, ParticleLayout, VectorLayout
from physinv.processes.parameters import build
from physinv.processes.recorded import Recorded
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget

SLAB = VectorLayout("temperature", 2)
TIMES = [0.0, 1.0, 2.0]


def problem_of(data, steps=300, **settings):
    simulator = build(Recorded, data["train"].config["parameters"])
    return Problem(simulator, data["train"], data["valid"], Settings(**settings), Budget(steps=steps))


def heated(n, low, high, seed):
    """Two sensors of a slab that warms up from somewhere, at a rate that their difference tells, with noise that grows
    with it: (n, 3, 2)."""
    rng = np.random.default_rng(seed)
    middle, rate = rng.uniform(low, high, n), rng.uniform(0, 5, n)
    t = np.arange(3)[:, None]
    mean = middle[None] + rate * t
    noise = 0.01 * (0.1 + rate**2) * rng.normal(size=(2, 3, n))
    return np.stack([mean + rate + noise[0], mean - rate + noise[1]], -1).transpose(1, 0, 2)


@pytest.fixture(scope="module")
def slab(tmp_path_factory):
    """Tests at temperatures that no training has seen."""
    splits = {"train": heated(400, 20, 500, 0), "valid": heated(200, 500, 600, 1), "test": heated(300, 650, 750, 2)}
    return recorded(tmp_path_factory.mktemp("slab"), SLAB, TIMES, splits)


@pytest.fixture(scope="module")
def answer(slab):
    return fit_increments(problem_of(slab, 600, width=16, depth=2))


def test_a_trend_is_continued_and_the_spread_is_learned(slab, answer, generator):
    truth, final = (slab["test"].states(i) for i in (0, -1))
    drawn = answer.sample(final, 64, generator=generator)
    plain = fit_linear(build(Recorded, slab["train"].config["parameters"]), slab["train"], slab["valid"])
    gauss = plain.sample(final, 64, generator=generator)
    # deviations s of the noise are those of r^2, r uniform in [0, 5]: one spread s_0 for all, s_0^2 = E s^2, has a CRPS
    # of E (s^2 + s_0^2)^.5 (2 / pi)^.5 - s_0 / pi^.5, which is 1.21 times E s / pi^.5
    assert float(crps(drawn, truth)) < 0.93 * float(crps(gauss, truth))
    assert float(crps(drawn, truth)) < 0.1 * float((final - truth).abs().mean())  # persistence
    assert 0.85 < float(coverage(drawn, truth)) < 0.95
    low, high = slab["train"].trajectories().amin(), slab["train"].trajectories().amax()
    assert bool(((drawn > low - (high - low)) & (drawn < high + (high - low))).all())
    # the deviation of samples follows the rate of heating, which the observation shows as a difference
    rate = (final[:, 0] - final[:, 1]) / 2
    slow, fast = (drawn.std(1).mean(1)[rows].mean() for rows in (rate < 1, rate > 4))
    assert float(fast) > 2 * float(slow)


def test_far_away_draws_stay_within_bounds(slab, answer, generator):
    far = answer.sample(torch.full((3, 2), 1e6), 8, generator=generator)
    x = slab["train"].trajectories()[:, [0, -1]].flatten(0, 1)
    high = x.amax(0) + (x.amax(0) - x.amin(0))
    assert bool((far <= high).all())


def test_saved_and_loaded_it_draws_the_same(slab, answer, generator):
    problem = problem_of(slab, width=16, depth=2)
    setup = Setup(problem.simulator, problem.train.times, problem.settings, 0, torch.device("cpu"), {})
    again, final = load_increments(setup, answer.tensors()), slab["test"].states(-1)
    drawn = [a.sample(final, 4, generator=torch.Generator().manual_seed(1)) for a in (answer, again)]
    assert torch.equal(*drawn)
    assert torch.equal(answer.mean(final), again.mean(final))
    # the mean is that of the draws
    many = answer.sample(final[:20], 2000, generator=generator)
    assert torch.allclose(many.mean(1), answer.mean(final[:20]), atol=5 * float(many.std(1).max()) / math.sqrt(2000))


@pytest.mark.parametrize("relative", [True, False])
def test_the_linear_estimate_of_recordings_is_shrunk_to_what_persists(relative, tmp_path):
    """Five windows of many numbers: persistence is all that can be known, or the mean is."""
    rng = np.random.default_rng(0)

    def windows(n):
        first = 100 * rng.normal(size=(n, 30))
        last = first + 0.1 * rng.normal(size=first.shape) if relative else 100 * rng.normal(size=(n, 30))
        return np.stack([first, last], 1)

    data = recorded(tmp_path, VectorLayout("q", 30), [0.0, 1.0], {"train": windows(5), "valid": windows(50)})
    linear = fit_linear(build(Recorded, data["train"].config["parameters"]), data["train"], data["valid"])
    assert linear.relative == relative
    x0, xT = windows(200).transpose(1, 0, 2)
    error = float((linear.mean(torch.tensor(xT).float()) - torch.tensor(x0)).square().mean().sqrt())
    # persistence is wrong by .1, and the mean of five increments by .1 / sqrt 5 more; the mean of 5 states by 100
    assert error < 0.15 if relative else 100 < error < 100 * (1 + 1 / 5) ** 0.5 * 1.1


def coast(n, seed, sides=(5, 7)):
    """Waves on a sea with land in one corner, decaying to half: (n, 2, 1, 5, 7), and where the sea is."""
    rng = np.random.default_rng(seed)
    sea = np.ones(sides, dtype=bool)
    sea[:2, :3] = False
    x, y = np.meshgrid(np.arange(sides[0]), 2 * np.pi * np.arange(sides[1]) / sides[1], indexing="ij")
    a, b = rng.normal(size=(2, n, 1, 1))
    first = 3 * a * np.cos(y) + b * x + 0.1 * rng.normal(size=(n, *sides))
    last = 0.5 * first + 0.1 * rng.normal(size=first.shape)
    return np.where(sea, np.stack([first, last], 1), 0.0)[:, :, None], sea


def test_points_without_data_have_no_part_in_anything(tmp_path, generator):
    train, sea = coast(200, 0)
    layout = FieldLayout("sst", ("lat", "lon"), [range(5), range(7)], "WALL,PERIODIC", mask=sea)
    splits = {"train": train, "valid": coast(60, 1)[0], "test": coast(100, 2)[0]}
    data = recorded(tmp_path / "sea", layout, [0.0, 1.0], splits)
    problem = problem_of(data)
    assert suited(problem) == ("increments",)
    train_run(tmp_path / "run", data["train"], data["valid"], settings={"width": 16}, budget=Budget(steps=150))
    answer = load_run(tmp_path / "run").answer
    truth, final = (data["test"].states(i) for i in (0, -1))
    drawn, holds = answer.sample(final, 32, generator=generator), torch.from_numpy(sea)
    assert not drawn[..., ~holds].any()
    assert not answer.mean(final)[..., ~holds].any()
    assert float(drawn[..., holds].std(1).min()) > 0.01
    # x_0 = 2 x_T + noise of .2, less .1 of the prior's own: two waves are seen by 29 points each, what is left at one
    # point is noise of .1 of the state and .2 of the reversal, known to .09; CRPS = deviation / sqrt pi
    assert float(crps(layout.scored(drawn), layout.scored(truth))) < 1.25 * 0.1 / math.sqrt(math.pi)
    assert 0.85 < float(coverage(layout.scored(drawn), layout.scored(truth))) < 0.95

    # the file holds NaN there, which no metric sees
    reconstruct(tmp_path / "run", data["test"], tmp_path / "sea.hdf5", SamplingPlan(samples=16, certify=2))
    with h5py.File(tmp_path / "sea.hdf5") as file:
        for name in ("truth", "observation", "samples"):
            assert np.array_equal(np.isnan(file[name][...]), np.broadcast_to(~sea, file[name].shape))
    rows = {row.metric: row.value for row in evaluate(tmp_path / "sea.hdf5")}
    assert rows["crps"] == pytest.approx(float(crps(layout.scored(drawn), layout.scored(truth))), rel=0.1)
    assert "spectral_error" not in rows


def wandering(n, layout, seed, steps=3):
    """Random walks, (n, steps, *state), of which the last component or channel is 3 always."""
    walks = np.random.default_rng(seed).normal(size=(n, steps, *layout.shape)).cumsum(1)
    walks[:, :, -1] = 3.0
    return walks


LAYOUTS = [VectorLayout("x", 2), FieldLayout(("u", "v"), "x", [range(8)], "PERIODIC")]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["vector", "field"])
def test_the_answer_for_what_is_constant_is_the_constant(layout, tmp_path, generator):
    data = recorded(
        tmp_path / "d", layout, TIMES, {s: wandering(40, layout, i) for i, s in enumerate(("train", "valid"))}
    )
    drawn = fit_increments(problem_of(data, 20, width=8)).sample(data["valid"].states(-1), 8, generator=generator)
    assert torch.allclose(drawn[:, :, -1], torch.tensor(3.0), atol=1e-3)
    # x_0 = a, x_T = a + b + c of three normal numbers: the variance of a is 2/3, roughly known from 40 windows
    assert float(drawn[:, :, 0].std(1).mean()) == pytest.approx((2 / 3) ** 0.5, rel=0.4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["auto", "physinv"])
def test_one_trajectory_tells_where_things_begin(method, tmp_path, generator):
    """Without a second one there is nothing to regress on: the mean of the linear estimate is that trajectory's."""
    data = recorded(
        tmp_path / "d", LAYOUTS[1], TIMES, {s: wandering(1, LAYOUTS[1], s == "valid") for s in ("train", "valid")}
    )
    train_run(
        tmp_path / "run", data["train"], data["valid"], method=method, settings={"width": 8}, budget=Budget(steps=4)
    )
    assert load_run(tmp_path / "run").answer.sample(data["valid"].states(-1), 8, generator=generator).isfinite().all()
    linear = fit_linear(build(Recorded, data["train"].config["parameters"]), data["train"], data["valid"])
    assert torch.allclose(linear.mean(data["train"].states(-1)), data["train"].states(0))


def test_data_in_which_nothing_moves_leave_no_run(tmp_path):
    still = {split: np.full((20, 3, 2), 3.0) for split in ("train", "valid")}
    data = recorded(tmp_path / "d", SLAB, TIMES, still)
    with pytest.raises(ValueError, match="`train` must hold states that differ, got the same state, 3,"):
        train_run(tmp_path / "run", data["train"], data["valid"], budget=Budget(steps=20))
    assert not (tmp_path / "run").exists()


def test_particles_are_refused():
    gas = Mock(spec=Problem)
    gas.train = SimpleNamespace(layout=ParticleLayout(3, 2, "position"))
    with pytest.raises(NotApplicableError, match="increments are for vectors and fields"):
        fit_increments(gas)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_sensor_that_fails_now_and_then_does_not_widen_the_law(split, slab, tmp_path, generator):
    """Of 100 windows 3 begin with a second sensor that shows anything: the law of all others stays what it was."""
    states = {k: v.trajectories().numpy().copy() for k, v in slab.items()}
    broken = states[split][::33]
    broken[:, 0, 1] = np.random.default_rng(7).uniform(-2000, 2000, len(broken))
    answer = fit_increments(problem_of(recorded(tmp_path, SLAB, TIMES, states), 600, width=16, depth=2))
    truth, final = (slab["test"].states(i) for i in (0, -1))
    drawn = answer.sample(final, 64, generator=generator)
    assert float(crps(drawn, truth)) < 0.1 * float((final - truth).abs().mean())  # persistence, as without faults
    assert 0.85 < float(coverage(drawn, truth)) < 0.95


def quiet_validation(folder, layout, stride):
    """Errors of 40 validation windows of 40 times are a third of those of 400 of training."""
    rng = np.random.default_rng(0)
    first = {s: rng.normal(size=(n, 1, *layout.shape)) for s, n in (("train", 400), ("valid", 40))}
    size = {"train": 0.3, "valid": 0.1}
    splits = {s: np.concatenate([x, x + size[s] * rng.normal(size=x.shape)], 1) for s, x in first.items()}
    return recorded(folder, layout, [0.0, 1.0], splits, window={"states": 2, "every": 39, "stride": stride})


@pytest.mark.parametrize("overlap", [True, False])
def test_validation_windows_that_all_overlap_do_not_narrow_the_spread(overlap, tmp_path, generator):
    """The spread of a field is that of validation windows, unless these are one length of a window and no more."""
    layout = FieldLayout("u", "x", [range(4)], "PERIODIC")
    data = quiet_validation(tmp_path, layout, 1 if overlap else 40)
    answer = fit_increments(problem_of(data, 100, width=8, depth=1))
    spread = float(answer.sample(data["valid"].states(-1), 32, generator=generator).std(1).mean())
    # .3 as in training, or .1 as in validation, each with the error of the weights
    assert spread == pytest.approx(0.3 if overlap else 0.1, rel=0.4)


@pytest.mark.parametrize("stride", [1, 40])
def test_blocks_of_training_set_the_spread_of_vectors(stride, tmp_path, generator):
    """Ten windows' lengths or 400, each said about by a network that did not see it, outweigh 40 validation windows."""
    data = quiet_validation(tmp_path, VectorLayout("x", 2), stride)
    answer = fit_increments(problem_of(data, 200, width=8, depth=1))
    spread = float(answer.sample(data["valid"].states(-1), 32, generator=generator).std(1).mean())
    assert spread == pytest.approx(0.3, rel=0.15)


def test_what_networks_learn_by_heart_does_not_narrow_the_spread(tmp_path, generator):
    """Thirty trajectories of noise, and networks that could know each by heart: the law of new ones is that noise."""
    rng = np.random.default_rng(1)
    noise = {s: rng.normal(size=(n, 2, 2)) for s, n in (("train", 30), ("valid", 8), ("test", 2000))}
    data = recorded(tmp_path, VectorLayout("x", 2), [0.0, 1.0], noise)
    answer = fit_increments(problem_of(data, 400, width=64, depth=2))
    truth, final = (data["test"].states(i) for i in (0, -1))
    # 30 trajectories know a deviation to 9 %, and the mean of their thirds of a ridge regression a little less
    assert float(coverage(answer.sample(final, 64, generator=generator), truth)) > 0.82
