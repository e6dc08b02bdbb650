"""Noise that nobody is told, and other unknown parameters, of partial observations: runs, and what is exact."""

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.evaluate import evaluate
from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.unknown import unknown_noise
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.parameters import build
from physinv.processes.priors import LogUniform
from physinv.processes.varying import vary
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

pytestmark = pytest.mark.usefixtures("few_judges")

F64 = torch.float64
PRIOR = LogUniform(0.1, 2.0)
VISCOSITY = {"log_uniform": [0.02, 0.2]}


def test_the_exact_law_of_noise_and_state_is_that_of_weighted_draws(generator):
    """Against draws of prior and state, weighted by the likelihood of the observed numbers."""
    ou = OrnsteinUhlenbeck(dim=4, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0)
    exact = LinearGaussian(ou, 2.0, torch.zeros(4, dtype=F64), torch.ones(4, dtype=F64))
    sees = Observation(everything, 1.0)
    law = unknown_noise(exact, sees, PRIOR.quantile, lambda x, v: torch.cat([x, v], 1))
    y = torch.tensor([[0.4, -0.3, 0.2, 0.1], [2.0, -1.5, 1.0, 2.5]], dtype=F64)
    drawn = law.sample(y, 4000, generator=generator)
    assert drawn.shape == (2, 4000, 5)

    n = 100_000
    sigma = PRIOR.quantile(torch.rand(n, generator=generator, dtype=F64))
    x0 = torch.randn(n, 4, generator=generator, dtype=F64)
    spread = (0.25 * (1 - torch.exp(torch.tensor(-2.0, dtype=F64)))).sqrt()
    final = torch.exp(torch.tensor(-1.0, dtype=F64)) * x0 + spread * torch.randn(n, 4, generator=generator, dtype=F64)
    for i in range(2):
        logs = -((y[i] - final) / sigma[:, None]).square().sum(1) / 2 - 4 * sigma.log()
        w = logs.softmax(0)
        few = 1 / float(w.square().sum())
        for ours, theirs in ((drawn[i, :, 4].log(), sigma.log()), (drawn[i, :, 0], x0[:, 0])):
            mean = float(w @ theirs)
            deviation = float(w @ (theirs - mean).square()) ** 0.5
            error = 5 * deviation * (1 / few + 1 / 4000) ** 0.5
            assert float(ours.mean()) == pytest.approx(mean, abs=error)
            assert float(ours.std()) == pytest.approx(deviation, abs=error)
    mean = law.mean(y)
    assert torch.allclose(mean, drawn.mean(1), atol=0.12)  # five errors of 4000 draws


def test_the_noise_is_no_parameter_of_the_physics(generator):
    ou = OrnsteinUhlenbeck(dim=2, steps=2)
    process = build(OrnsteinUhlenbeck, {"dim": 2, "steps": 2, "observed_noise": {"log_uniform": [0.1, 2.0]}})
    assert process.unknown == ("observed_noise",)
    assert process.described()["observed_noise"] == {"log_uniform": [0.1, 2.0]}
    x = process.initial(5, generator=generator)
    drift = process.drift(x, torch.zeros(5))
    assert torch.allclose(drift[:, :2], ou.drift(x[:, :2], torch.zeros(5)))
    assert drift[:, 2].abs().max() == 0
    assert process.exact() is None
    with pytest.raises(ValueError, match="`observed_noise` must be above 0"):
        build(OrnsteinUhlenbeck, {"observed_noise": {"uniform": [0.0, 1.0]}})
    with pytest.raises(ValueError, match="has no parameter `observed_noise`"):
        build(OrnsteinUhlenbeck, {"observed_noise": 0.5})


def made(simulator, name, folder, **splits):
    generate(DatasetPlan(simulator, {"train": 200, "valid": 40, "test": 40, **splits}, 0, name), folder)
    return [TrajectoryDataset(folder / "data" / split) for split in ("train", "valid", "test")]


def test_a_run_draws_noise_and_state_and_evaluate_scores_both_beside_exact(tmp_path):
    train, valid, test = made(Heat(size=16, dimension=1, steps=2), "heat", tmp_path / "data")
    train_run(
        tmp_path / "run",
        train,
        valid,
        method="physinv",
        settings={"width": 8, "validate_every": 50},
        budget=Budget(steps=100),
        observe="everything",
        observed_noise="log_uniform:0.05:0.5",
    )
    assert load_run(tmp_path / "run").simulator.unknown == ("observed_noise",)
    reconstruct(tmp_path / "run", test, tmp_path / "r.hdf5", SamplingPlan(samples=40, certify=2))
    found = read_reconstruction(tmp_path / "r.hdf5")
    noise = found.truth[:, 1, 0]

    # Each observation has the noise that the file says, and draws of it follow.
    final, sizes = test.states(-1, limit=40)[:, 0], (found.seen[:, 0] - test.states(-1, limit=40)[:, 0]).std(1)
    assert final.shape == (40, 16)
    assert float((sizes / noise).square().mean()) == pytest.approx(1, abs=0.3)  # 40 x 16 numbers: five errors
    drawn = found.samples[:, :, 1, 0]
    assert float(torch.corrcoef(torch.stack([drawn.log().mean(1), noise.log()]))[0, 1]) > 0.7

    rows = {row.metric: row for row in evaluate(tmp_path / "r.hdf5")}
    for name in ("crps_observed_noise", "coverage_90_observed_noise", "sbc_observed_noise", "energy_score_joint"):
        assert rows[name].exact is not None
    assert rows["sbc_observed_noise"].exact > 0.001
    assert rows["crps"].value < 1.5 * rows["crps"].exact
    assert rows["crps_observed_noise"].value < 0.09  # of the prior .13 and more


def test_parameters_and_a_part_of_the_state_are_unknown_together(tmp_path):
    process = vary(Burgers(size=16, steps=2), {"viscosity": LogUniform(0.02, 0.2)})
    train, valid, test = made(process, "burgers", tmp_path / "data")
    tiny = {"width": 8, "depth": 1, "validate_every": 5, "validate_windows": 64, "fresh": "off"}
    for i, (noise, unknown) in enumerate(
        (("0.1", ("viscosity",)), ("log_uniform:0.05:0.2", ("viscosity", "observed_noise")))
    ):
        run = tmp_path / f"run{i}"
        train_run(
            run,
            train,
            valid,
            method="physinv",
            settings=tiny,
            budget=Budget(steps=10),
            observe="every:2",
            observed_noise=noise,
        )
        reconstruct(run, test, tmp_path / "r.hdf5", SamplingPlan(samples=8, limit=5, certify=0), overwrite=True)
        found = read_reconstruction(tmp_path / "r.hdf5")
        assert found.simulator.unknown == unknown
        assert found.seen.shape == (5, 1, 8)
        assert found.truth.shape == (5, 1 + len(unknown), 16)
        assert bool((found.samples[:, :, 1:].std(1) > 0).all())
        assert torch.equal(found.truth[:, :2], test.states(0, limit=5))
