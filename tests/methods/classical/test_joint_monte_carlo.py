"""Monte Carlo over paths and unknown parameters together, against the exact joint posterior."""

import math

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods.classical.monte_carlo.initial_law import fit_initial_law
from physinv.methods.classical.monte_carlo.mcmc import fit_mcmc
from physinv.methods.parameters import draws_parameters
from physinv.methods.problem import Problem
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.parameters import build
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import fit_run
from physinv.runs.sampling.plan import SamplingPlan
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = {"dim": 1, "components": 1, "spread": 0.0, "width": 1.0, "steps": 10, "rate": {"log_uniform": [0.1, 2.0]}}


@pytest.fixture(scope="module")
def ou(tmp_path_factory):
    process = build(OrnsteinUhlenbeck, OU)
    out = generate(DatasetPlan(process, {"train": 300, "valid": 100, "test": 40}), tmp_path_factory.mktemp("ou"))
    train, valid, test = (TrajectoryDataset(out / "data" / split).load() for split in ("train", "valid", "test"))
    return Problem(process, train, valid), test.states(0), test.states(-1)


@pytest.mark.filterwarnings("ignore:mcmc has not converged")
def test_chains_have_the_exact_joint_law(ou):
    """Means over 8 observations of rate, |x_0| and their product; each has 40 effective draws at least."""
    problem, _, final = ou
    answer, exact = fit_mcmc(problem, iterations=60, most=1), problem.simulator.exact()
    assert draws_parameters(answer)
    seen = problem.simulator.hidden(final[:8])
    ours = answer.sample(seen, 200, generator=torch.Generator().manual_seed(0))
    theirs = exact.sample(seen, 2000, generator=torch.Generator().manual_seed(1))
    for number in (lambda x: x[..., 1], lambda x: x[..., 0].abs(), lambda x: x.prod(-1).abs()):
        a, b = number(ours), number(theirs)
        error = float(b.std(1).mean()) / math.sqrt(8 * 40)
        # the last of ten steps has the noise of Euler's scheme: a few per cent of its variance
        assert float(a.mean()) == pytest.approx(float(b.mean()), abs=4 * error + 0.02)
        assert float(a.std(1).mean()) == pytest.approx(float(b.std(1).mean()), rel=0.15)


@pytest.mark.filterwarnings("ignore:mcmc has not converged")
def test_a_reconstruction_without_a_run(ou, tmp_path):
    problem, _, _ = ou
    run = fit_run(problem.train, problem.valid, method="mcmc", options={"iterations": 10, "most": 1, "warm_up": 5})
    assert run.parameters is None
    reconstruct(run, problem.valid, tmp_path / "out.hdf5", SamplingPlan(samples=4, limit=2))
    recon = read_reconstruction(tmp_path / "out.hdf5")
    assert len(recon.samples[..., 1].unique()) == 8
    assert len(recon.observation[..., 1].unique()) == 1  # the middle of the prior: nothing of the truth


def test_the_law_of_states_and_parameters(ou):
    process = build(DoubleWell, {"barrier": {"uniform": [0.5, 2.0]}})
    law = fit_initial_law(process, generator=torch.Generator().manual_seed(0))
    x = process.initial(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u = law.standardise(x)
    assert u.shape == (50, 2) == (50, law.numbers)
    assert torch.allclose(law.root(u, x), x, atol=1e-6)
    # minus log of two clouds, then of a standard normal number
    want = -process.inner.initial_log_prob(process.state(x)) + process.normal(x)[:, 0].square() / 2
    assert torch.allclose(law.penalty(u, x), want, atol=1e-5)
