"""Unknown parameters from training to evaluation: drawn with the state, saved with the run, never read from data."""

import re

import h5py
import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import final_states
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.evaluate import check, check_predictive, evaluate, judge
from physinv.methods.registry import METHODS
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.parameters import build
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import fit_run, load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

pytestmark = pytest.mark.usefixtures("few_judges")

OU = {"dim": 1, "components": 1, "spread": 0.0, "width": 1.0, "steps": 4, "rate": {"log_uniform": [0.1, 2.0]}}


def made(process, folder):
    out = generate(DatasetPlan(process, {"train": 400, "valid": 60, "test": 60}), folder)
    return [TrajectoryDataset(out / "data" / split) for split in ("train", "valid", "test")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unknown")
    train, valid, test = made(build(OrnsteinUhlenbeck, OU), folder / "data")
    train_run(folder / "run", train, valid, method="flow-matching", budget=Budget(steps=300))
    return folder, test


@pytest.mark.parametrize("method", ["prior", "imputation"])
def test_methods_that_take_no_unknown_parameters_refuse_before_anything_is_trained(trained, tmp_path, method):
    train = TrajectoryDataset(trained[0] / "data" / "data" / "train")
    said: list[str] = []
    with pytest.raises(ValueError, match=r"without static parts|unknown parameters"):
        train_run(tmp_path / "run", train, train, method=method, budget=Budget(steps=10), announce=said.append)
    assert not [phase for phase in said if "training" in phase]


def test_parameter_and_state_are_drawn_together_and_scored(trained):
    folder, test = trained
    reconstruct(folder / "run", test, folder / "out.hdf5", SamplingPlan(samples=40, certify=2))
    recon = read_reconstruction(folder / "out.hdf5")
    with h5py.File(folder / "out.hdf5") as file:
        assert file["parameter"][...].tolist() == [b"rate"]
        drawn, true = torch.from_numpy(file["parameters"][...]), torch.from_numpy(file["true_parameters"][...])
    assert torch.equal(drawn[..., 0], recon.samples[..., 1])
    assert torch.equal(true, test.states(0)[:, 1:])
    assert len(drawn[0].unique()) == 40
    assert float(drawn.min()) > 0.09
    assert float(drawn.max()) < 2.05
    assert len(recon.observation[:, 1].unique()) == 1  # the middle of the prior: nothing of the truth
    rows = {row.metric: row for row in evaluate(recon)}
    for name in ("crps_rate", "coverage_90_rate", "sbc_rate", "energy_score_joint"):
        assert rows[name].exact is not None
    # 60 observations and few updates: worse than exact by less than the prior is
    assert rows["crps_rate"].value < 1.25 * rows["crps_rate"].exact
    assert rows["energy_score_joint"].value < 1.25 * rows["energy_score_joint"].exact
    assert 0 <= rows["sbc_rate"].value <= 1
    said = judge(recon, list(rows.values())).sentences
    assert any(text.startswith("90 % intervals of `rate` hold the true value in ") for text in said)
    assert check(recon)


def test_the_truth_in_the_data_is_not_looked_at(trained):
    folder, test = trained
    run, plan = load_run(folder / "run"), SamplingPlan(samples=8)
    given = test.states(-1)[:, :1]
    reconstruct(run, final_states(given, run.observed), folder / "alone.hdf5", plan)
    reconstruct(run, test, folder / "whole.hdf5", plan)
    alone, whole = (read_reconstruction(folder / f"{name}.hdf5") for name in ("alone", "whole"))
    assert torch.equal(alone.samples, whole.samples)
    assert alone.predicted is not None  # each sample run forward by its own parameter
    prediction, _ = check_predictive(alone)
    assert torch.equal(prediction.noisy[..., 1], alone.samples[:, : prediction.noisy.shape[1], 1])


def test_single_estimates_are_means_over_the_parameter(trained):
    folder, test = trained
    reconstruct(folder / "run", test, folder / "mean.hdf5", SamplingPlan(answer="mean", limit=20, certify=0))
    recon = read_reconstruction(folder / "mean.hdf5")
    assert recon.samples.shape == (20, 1, 2)
    exact = recon.simulator.exact().mean(recon.observation)
    assert float((recon.samples[:, 0] - exact).abs().mean()) < 0.25 * float(exact.std(0).max())


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (SamplingPlan(observe="sensors:1"), "`observe` = sensors:1 needs known parameters, rate is unknown here"),
        (SamplingPlan(refine=2), "`refine` = 2 needs known parameters"),
        (SamplingPlan(answer="flow"), "`answer` = flow needs known parameters"),
    ],
)
def test_what_needs_known_parameters_is_refused(trained, plan, message):
    folder, test = trained
    with pytest.raises(ValueError, match=re.escape(message)):
        reconstruct(folder / "run", test, folder / "no.hdf5", plan)
    assert not (folder / "no.hdf5").exists()


def test_methods_without_training_ask_for_a_run(trained):
    _, test = trained
    with pytest.raises(ValueError, match=r"unknown parameters \(rate\) take training; run `physinv train"):
        fit_run(test, test, method="linear")


@pytest.mark.parametrize("method", ["physinv", "linear", "gauss-newton", "ensemble-kalman", "auto"])
def test_other_methods_take_the_drawn_parameter_as_given(method, tmp_path):
    process = build(Heat, {"size": 6, "dimension": 1, "steps": 3, "diffusivity": {"log_uniform": [0.5, 4.0]}})
    train, valid, test = made(process, tmp_path / "data")
    assert METHODS.find(method)
    small = {"width": 8, "depth": 1, "validate_windows": 64}
    train_run(tmp_path / "run", train, valid, method=method, settings=small, budget=Budget(steps=4))
    reconstruct(tmp_path / "run", test, tmp_path / "out.hdf5", SamplingPlan(samples=6, limit=4, certify=2))
    recon = read_reconstruction(tmp_path / "out.hdf5")
    values = recon.samples[:, :, 1]
    assert torch.equal(values, values[..., :1].expand_as(values))  # one number for a whole field
    assert len(values[..., 0].unique()) == 24
