"""Evidence of observations under runs, in Python and on the command line, where it is known in closed form."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from physinv.cli import main
from physinv.cli.app import app
from physinv.cli.terminal import console
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.gaussian import gaussian_log_prob
from physinv.laws.fokker_planck import FokkerPlanck
from physinv.methods.classical.monte_carlo.importance import forward_runs
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.parameters import build
from physinv.runs.evidence import BayesFactor, Evidence, bayes_factor, evidence_of, reversal_of
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.numerics.spectral import power_law
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.lorenz import Lorenz63
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

SMALL = Settings(width=4, depth=1, batch=16, validate_every=5, validate_windows=16, loss="trajectory")
HEAT = Heat(size=8, dimension=1, steps=4, noise=0.3)
SLOW = dataclasses.replace(HEAT, diffusivity=0.4)
SEEN = 20


def fit(folder, process, name, method="physinv", train=600):
    """Data of a process, and a run of a few updates."""
    made = generate(DatasetPlan(process, {"train": train, "valid": 40, "test": 40}, 0, name), folder / "data")
    train, valid = (TrajectoryDataset(made / "data" / split) for split in ("train", "valid"))
    train_run(folder / "run", train, valid, method=method, settings=SMALL, budget=Budget(steps=4))
    return folder / "run", made / "data" / "test"


@pytest.fixture(scope="module")
def rivals(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("heat", "slow")]
    return [fit(folder, process, "heat") for folder, process in zip(folders, (HEAT, SLOW), strict=True)]


def known(heat, data):
    x, T = TrajectoryDataset(data).states(-1, limit=SEEN).double(), torch.tensor(heat.horizon, dtype=torch.float64)
    power = heat.decay(0.0, T, x) ** 2 * power_law(x, heat.slope) + heat.variance(0.0, T, x)
    return gaussian_log_prob(heat.modes(x), power, x)


def test_runs_forward_tell_the_evidence_of_vectors():
    """Of Ornstein and Uhlenbeck in two dimensions it is that of the mixture: z^2 has the mean 1 +- .32."""
    ou = OrnsteinUhlenbeck(dim=2)
    final = ou.marginal(ou.horizon).sample(20, generator=torch.Generator().manual_seed(0)).float()
    value, error, count = forward_runs(ou, final, runs=4000, seed=0, device=torch.device("cpu")).log_evidence(final)
    z = (value - ou.marginal(ou.horizon).log_prob(final)) / error
    assert float(z.square().mean()) < 2.5
    assert float(count.min()) > 40


def test_the_error_of_a_sum_knows_that_all_observations_are_weighed_on_the_same_runs():
    """Sums of 20 sets of runs scatter by it, to 16 % (chi^2 of 20); errors of one observation, added, are .8 of it."""
    ou = OrnsteinUhlenbeck(dim=1)
    final = ou.marginal(ou.horizon).sample(60, generator=torch.Generator().manual_seed(0)).float()
    sums, told, apart = [], [], []
    for seed in range(20):
        found = forward_runs(ou, final, runs=4000, seed=seed, device=torch.device("cpu"))
        value, error, _ = found.log_evidence(final)
        sums.append(float((value - ou.marginal(ou.horizon).log_prob(final)).sum()))
        told.append(found.error_of_sum(final))
        apart.append(float(error.square().sum().sqrt()))
    z = float((torch.tensor(sums) / torch.tensor(told)).square().mean())
    assert 0.4 < z < 2.0  # chi^2 of 20 over 20 lies between .37 and 2.0 in 99 of 100 cases
    assert min(told) > 1.2 * max(apart)


def test_a_reversal_without_weights_leaves_it_to_runs_forward(tmp_path):
    """Small steps of a network that is hardly trained leave the attractor: none of their draws counts."""
    run, data = fit(tmp_path, Lorenz63(steps=4, horizon=0.4, spread=3.0), "lorenz-63", train=100)
    found = evidence_of(run, data, draws=4, limit=4, runs=20_000)
    assert found.lower is None
    assert found.width is None
    assert found.draws == 20_000
    # more likely than five nats below the density of a box of 60 x 80 x 60, less than that of one of 1 x 1 x 1
    assert bool((found.log_evidence[found.known] > -math.log(60 * 80 * 60) - 5).all())
    assert bool((found.log_evidence[found.known] < 0).all())
    assert "lower" not in found.as_dict()["mean"]
    console.evidence(found, "run")


def test_evidence_of_double_wells_that_are_hardly_trained_is_that_of_fokker_and_planck(tmp_path):
    """Draws of the reversal count for some states and for others not: their sum said the wrong well, and was sure."""
    wells = [DoubleWell(steps=8, horizon=1.0, barrier=barrier) for barrier in (1.0, 1.6)]
    (a, data), (b, _) = (fit(tmp_path / str(well.barrier), well, "double-well", train=200) for well in wells)
    x, found, truth = TrajectoryDataset(data).states(-1), [], []
    for run, well in zip((a, b), wells, strict=True):
        found.append(evidence_of(run, data, draws=8, runs=2**17))
        grid = FokkerPlanck(lambda x, t, k=well.barrier: -4 * k * x * (x**2 - 1), 1.0, np.linspace(-3.5, 3.5, 701))
        start = well.log_prior(torch.from_numpy(grid.centers)[:, None]).exp().numpy()
        density = np.interp(x[:, 0], grid.centers, grid.forward(start, 0.0, well.horizon))
        truth.append(torch.from_numpy(np.log(density)))
        assert found[-1].by_runs
        assert float((found[-1].log_evidence - truth[-1]).square().mean().sqrt()) < 0.03
        assert found[-1].lower is None or bool((found[-1].lower.mean() < truth[-1].mean()).all())
    factor, right = bayes_factor(*found), float((truth[0] - truth[1]).sum())
    assert factor.value == pytest.approx(right, abs=4 * factor.error)
    assert factor.error < 0.2


def test_a_run_knows_the_evidence_and_brackets_it(rivals):
    """The reference law is fitted to 1000 fields, the network is hardly trained: weights are even, and right."""
    run, data = rivals[0]
    found = evidence_of(run, data, draws=32, limit=SEEN)
    truth = known(HEAT, data)
    # each error is that of the draws alone, z^2 has the mean 1 +- .32
    assert float(((found.log_evidence - truth) / found.error.clamp(min=1e-3)).square().mean()) < 2.5
    assert float(found.error.max()) < 0.2
    assert float(found.effective.mean()) > 0.8
    assert found.prior == "closed form"
    width, error = found.width
    assert -3 * error < width < 0.5
    assert float((found.upper - truth).mean()) > -3 * error
    assert float((truth - found.lower).mean()) > -3 * error


def test_the_data_decide_between_rival_physics(rivals):
    """Heat against slower heat, on data of either: the log Bayes factor of the closed form, and its sign."""
    for _, data in rivals:
        mine, theirs = (evidence_of(run, data, draws=32, limit=SEEN) for run, _ in rivals)
        found = bayes_factor(mine, theirs)
        expected = float((known(HEAT, data) - known(SLOW, data)).sum())
        assert abs(expected) > 6 * found.error
        assert found.value == pytest.approx(expected, abs=3 * found.error + 1e-2)
        assert found.verdict.endswith("for A" if expected > 0 else "for B")


def test_the_evidence_of_an_observation_does_not_depend_on_the_limit(rivals):
    run, data = rivals[0]
    every, few = (evidence_of(run, data, draws=4, limit=limit) for limit in (7, 3))
    for name in ("log_evidence", "error", "effective", "lower", "upper"):
        assert torch.equal(getattr(every, name)[:3], getattr(few, name)), name


def test_the_command_line_says_the_same(rivals, capsys):
    (run, data), (slow, _) = rivals
    few = ["--data", str(data), "--draws", "4", "--limit", "5", "--device", "cpu"]
    main(["evidence", str(run), *few, "--json"])
    told = json.loads(capsys.readouterr().out)
    found = evidence_of(run, data, draws=4, limit=5)
    assert told["log_evidence"] == pytest.approx(found.total[0], abs=1e-6)
    assert told["error"] == pytest.approx(found.total[1], abs=1e-6)
    assert told["width_per_number"] == pytest.approx(found.width[0] / 8, abs=1e-6)
    assert len(told["each"]["log_evidence"]) == 5

    main(["compare", str(run), str(slow), "--evidence", *few])
    shown = capsys.readouterr().out
    for words in ("log p of 5 final states", "width per number", "log Bayes factor A over B"):
        assert words in shown
    main(["compare", str(run), str(slow), "--evidence", *few, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["log_bayes_factor"] == pytest.approx(told["A"]["log_evidence"] - told["B"]["log_evidence"])


def test_an_observation_without_weights_does_not_lose_the_others(rivals, capsys):
    """It is named, its figures are null, and those of the others are what they are without it."""
    (run, data), (slow, _) = rivals
    whole = TrajectoryDataset(data)
    x = whole.trajectories(slice(0, 40)).clone()
    x[2, -1] *= 1e30
    spoilt = whole.with_states(x)
    found, before = (evidence_of(run, d, draws=4, limit=5) for d in (spoilt, whole))
    others = torch.tensor([0, 1, 3, 4])
    assert found.known.tolist() == [True, True, False, True, True]
    for name in ("log_evidence", "error", "effective", "lower", "upper"):
        assert torch.equal(getattr(found, name)[others], getattr(before, name)[others]), name
    assert found.total[0] == pytest.approx(float(before.log_evidence[others].sum()))
    assert found.warnings[0].startswith("No draw of 1 of 5 observations has a weight (number 2): all left the range")
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["observations"] == 4
    assert [told["each"][name][2] for name in ("log_evidence", "error", "effective")] == [None] * 3

    # Runs are compared on what is known under both.
    rival = evidence_of(slow, whole, draws=4, limit=5)
    factor = bayes_factor(found, rival)
    assert factor.value == pytest.approx(float((before.log_evidence - rival.log_evidence)[others].sum()))
    assert factor.observations == 4
    console.bayes_factor(factor, "run", "slow")
    shown = capsys.readouterr().out
    for words in ("log p of 4 final states", "log p of 5 final states", "A over B of the 4 that both know: "):
        assert words in shown

    with pytest.raises(ValueError, match="at most one of 4 does for most of the 1 observations"):
        evidence_of(run, whole.with_states(x[2:3]), draws=4)


class Biased(torch.nn.Module):
    """A network that pulls all states to one side."""

    def forward(self, x, t):
        return torch.full_like(x[:, :1], 0.4) * torch.cos(torch.arange(x.shape[-1]) * math.pi / 4)


def test_weighed_samples_of_a_biased_run_are_exact(rivals, tmp_path):
    """The mean of unweighted samples is off by many standard errors, that of weighed ones is not."""
    run, data = load_run(rivals[0][0]), rivals[0][1]
    run.model.network = Biased()
    final, exact, off = TrajectoryDataset(data).states(-1, limit=6), HEAT.exact(), {}
    for weigh in (0, 2000):
        plan = SamplingPlan(samples=1000, weigh=weigh, limit=6, certify=0)
        reconstruct(run, data, tmp_path / f"{weigh}.hdf5", plan)
        found = read_reconstruction(tmp_path / f"{weigh}.hdf5")
        z = exact.sample(final, 1000, generator=torch.Generator().manual_seed(0)).std(1) / 1000**0.5
        off[weigh] = float(((found.samples.mean(1) - exact.mean(final)) / z).square().mean().sqrt())
    told = found.info["evidence"]
    # of n resampled of as many effective draws each mean has the variance 2/n; and the reference law was fitted
    assert off[0] > 6 > 3 > off[2000]
    assert found.info["weigh"] == 2000
    assert told["prior"] == "closed form"
    log_evidence, error = (torch.tensor(told[k]).double() for k in ("log_evidence", "error"))
    assert float(((log_evidence - known(HEAT, data)[:6]) / error).abs().max()) < 4
    assert 0.1 < min(told["effective"]) < max(told["effective"]) < 0.95


def test_plans_of_weighed_samples_are_checked():
    for wrong in (
        {"weigh": 8},
        {"weigh": 32, "answer": "mean"},
        {"weigh": 32, "observe": "sensors:0.5"},
    ):
        with pytest.raises(ValueError, match="`weigh` must be 0 or at least `samples`"):
            SamplingPlan(**wrong)


def test_what_has_no_evidence_says_so_in_one_line(rivals, tmp_path):
    (run, data), _ = rivals
    with pytest.raises(ValueError, match="`--evidence` needs `--data`"):
        compare(run, run)
    with pytest.raises(ValueError, match=r"compares runs, .* is no folder of one"):
        compare(data / "nothing.hdf5", run, data)
    longer = generate(DatasetPlan(dataclasses.replace(HEAT, horizon=0.4), {"train": 4}, 0, "heat"), tmp_path / "longer")
    with pytest.raises(ValueError, match=r"the run ends at a time of 0\.2, the data at 0\.4"):
        evidence_of(run, longer / "data" / "train")
    wider = generate(DatasetPlan(dataclasses.replace(HEAT, size=16), {"train": 4}, 0, "heat"), tmp_path / "wider")
    with pytest.raises(ValueError, match=r"states of shape \(1, 8\), the data \(1, 16\)"):
        evidence_of(run, wider / "data" / "train")

    linear, data = fit(tmp_path / "linear", HEAT, "heat", method="linear")
    with pytest.raises(ValueError, match="method `linear` has none; take a run of `physinv`"):
        evidence_of(linear, data)


def compare(a, b, data=None):
    words = ["compare", str(a), str(b), "--evidence", *(["--data", str(data)] if data else [])]
    app(words, standalone_mode=False)


def test_words_for_bayes_factors_and_for_few_effective_draws():
    one = torch.ones(1, dtype=torch.float64)
    each = Evidence(one, one, 0.05 * one, one, None, 2, 64, "closed form")
    assert each.warnings[0].startswith(
        "Less than a tenth of the draws carry the weight of 1 of 1 observations, down to 3"
    )
    assert each.width is None
    even = dataclasses.replace(each, effective=one)
    verdicts = {0.5: "no difference", 1.05: "hardly", -2: "substantial, for B", 3: "strong", 5.3: "decisive, for A"}
    for value, words in verdicts.items():  # by what is left of them after two errors
        assert BayesFactor(value, 0.3, even, even).verdict.startswith(words)
        assert BayesFactor(value, 0.3, each, even).verdict == "too few draws count to say for which"
    twice = Evidence(one.repeat(2), one.repeat(2), one.repeat(2), one.repeat(2), None, 2, 64, "closed form")
    assert twice.total == (2.0, pytest.approx(math.sqrt(2)))
    with pytest.raises(ValueError, match="same observations, got 1 and 2"):
        bayes_factor(each, twice)


def test_true_states_that_no_step_leads_to_give_no_upper_bound_and_are_told():
    ones, upper = torch.ones(3), torch.tensor([2.0, math.nan, 2.0])
    found = Evidence(ones, ones, ones, ones - 1, upper, numbers=1, draws=8, prior="closed form")
    assert found.width is None
    assert "upper" not in found.as_dict()["mean"]
    assert any("no step of the physics leads to the true states of 1 observations" in line for line in found.warnings)
    whole = Evidence(ones, ones, ones, ones - 1, ones + 1, numbers=1, draws=8, prior="closed form")
    assert whole.width == (2.0, 0.0)
    assert not any("No upper bound" in line for line in whole.warnings)


def test_runs_with_unknown_parameters_are_refused_by_their_names():
    process = build(OrnsteinUhlenbeck, {"dim": 1, "rate": {"uniform": [0.1, 2.0]}})
    with pytest.raises(ValueError, match=r"evidence needs known parameters, this run has unknown ones \(rate\); take"):
        reversal_of(SimpleNamespace(simulator=process, method="physinv", answer=None))
