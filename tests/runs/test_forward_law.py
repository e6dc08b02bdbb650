"""Without physics samples are run forward by a regression: exact ones pass, wrong ones are told in words."""

import pytest
import torch

from physinv.data.final_states import final_states
from physinv.data.process import process_of
from physinv.evaluation.evaluate import check_predictive
from physinv.evaluation.observed.predictive import check_prediction
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.layout import FieldLayout
from physinv.runs.forward_law import fit_forward_law
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.runs.summary import read_summary
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from tests.recorded_cases import recorded

CASES = {"vector": (OrnsteinUhlenbeck(dim=2, steps=2), 150), "field": (Heat(size=8, steps=2), 30)}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """A process, recordings of it, fresh observations, and exact samples of these."""
    process, n = CASES[request.param]
    draw = torch.Generator().manual_seed(3)
    x = process.simulate(700 + n, process.times, generator=draw)
    splits = {"train": x[:600], "valid": x[600:700]}
    data = recorded(tmp_path_factory.mktemp("law"), process.layout, process.times, splits)
    final = x[700:, -1].clone()
    return process, data, final, process.exact().sample(final, 16, generator=draw)


def found(case, samples, final):
    process, data, _, _ = case
    law = fit_forward_law(process, data["train"], data["valid"])
    prediction = law.predict(samples, generator=torch.Generator().manual_seed(0))
    return check_prediction(prediction, final, process.layout, "regression")


def test_exact_samples_pass(case):
    _, _, final, samples = case
    check = found(case, samples, final)
    assert check.warnings == ()
    assert "lead to what was observed" in check.verdict[0]
    assert "the regression of x_T on x_0" in check.verdict[0]
    # chi^2 / d has mean 1 and variance 2 / d for each observation; the regression has as many weights as numbers in
    # a state, so that misses of new trajectories are larger by d / 480 of their variance
    n, d = len(final), final[0].numel()
    distance = torch.tensor([row.distance / row.expected for row in check.rows]).mean()
    assert abs(float(distance) - 1) < 4 * (2 / d / n) ** 0.5 + 0.03


def test_wrong_samples_fail(case):
    _, _, final, samples = case
    assert any("do not lead to what was observed" in said for said in found(case, 2 * samples, final).warnings)
    assert any("do not lead to what was observed" in said for said in found(case, samples, final.roll(1, 0)).warnings)
    assert any("in another unit" in said for said in found(case, samples, 1000 * final).warnings)


def test_repeated_means_come_too_close(case):
    """A mean without spread misses by less than a sample does: told, but no warning."""
    _, _, final, samples = case
    check = found(case, samples.mean(1, keepdim=True).expand_as(samples), final)
    assert check.warnings == ()
    assert "come closer to what was observed" in check.verdict[0]


def test_what_the_map_does_not_explain_is_noise_of_the_same_law(tmp_path):
    """The double well is not linear: the samples of its exact posterior pass all the same."""
    process, draw = DoubleWell(steps=2), torch.Generator().manual_seed(4)
    x = process.simulate(900, process.times, generator=draw)
    data = recorded(tmp_path, process.layout, process.times, {"train": x[:500], "valid": x[500:600]})
    final = x[600:, -1].clone()
    samples = process.exact().sample(final, 16, generator=draw)
    check = found((process, data, None, None), samples, final)
    assert not [said for said in check.warnings if "do not fit" not in said]


def test_too_few_trajectories_have_no_law(tmp_path):
    process = CASES["vector"][0]
    x = process.simulate(25, process.times, generator=torch.Generator().manual_seed(0))
    data = recorded(tmp_path, process.layout, process.times, {"train": x[:15], "valid": x[15:]})
    assert fit_forward_law(process, data["train"], data["valid"]) is None


def test_runs_of_recordings_check_their_samples(case, tmp_path):
    _, data, final, _ = case
    train_run(tmp_path / "run", data["train"], data["valid"], method="linear", budget=Budget(steps=1))
    run, layout = load_run(tmp_path / "run"), data["train"].layout
    kept = read_summary(tmp_path / "run", run.info, layout, torch.device("cpu")).forward
    assert torch.equal(kept.predict(final[:, None]).clean, run.summary.forward.predict(final[:, None]).clean)

    seen = final_states(final, layout)
    reconstruct(run, seen, tmp_path / "x.hdf5", SamplingPlan(samples=16))
    assert read_reconstruction(tmp_path / "x.hdf5").info["forward"] == "regression"
    _, check = check_predictive(tmp_path / "x.hdf5")
    assert len(check.rows) == len(final)
    if len(layout.shape) == 1:  # independent errors of a field are rougher than those of its posterior
        assert check.warnings == ()

    reconstruct(run, final_states(1000 * final, layout), tmp_path / "y.hdf5", SamplingPlan(samples=16))
    assert len(check_predictive(tmp_path / "y.hdf5")[1].warnings) > 0


def test_roughness_that_no_state_has_leads_nowhere(tmp_path, generator):
    """Waves of two lengths, bent on their way: what the map makes of a ripple the data cannot say.

    Samples with a ripple of a fiftieth of the states are no worse than ones without, after any physics that they show.
    """
    x = torch.arange(16) / 16 * 2 * torch.pi
    a, b = torch.randn(2, 520, 1, generator=generator)
    first = a * x.cos() + b * x.sin() + 0.3 * a * b * (2 * x).cos()
    last = 0.5 * a * (x + 0.5 * b).cos() + 0.5 * b * (x + 0.5 * a).sin()
    states = torch.stack([first, last], 1)[:, :, None]
    layout = FieldLayout("u", "x", [x.tolist()], "PERIODIC")
    splits = {"train": states[:400], "valid": states[400:500]}
    data = recorded(tmp_path, layout, torch.tensor([0.0, 1.0]), splits)
    law = fit_forward_law(process_of(data["train"]), data["train"], data["valid"])
    truth, final = states[500:, 0], states[500:, 1]
    for ripple in (0.0, 0.02):
        samples = truth[:, None] + ripple * torch.randn(20, 16, 1, 16, generator=generator)
        found = check_prediction(law.predict(samples, generator=generator), final, layout, "regression")
        assert found.warnings == (), (ripple, found.warnings)
