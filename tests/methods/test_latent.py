"""Posteriors by codes: that of a linear Gaussian field where the waves that the code lacks are not seen, and stored."""

from dataclasses import replace

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import crps
from physinv.methods.latent import load_latent
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.registry import fit_method
from physinv.methods.saving import notes_of
from physinv.runs.run import train_run
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

SETTINGS = Settings(network="tokens", width=8, depth=1, validate_windows=64)


def data_of(process, count, generator):
    x = process.simulate(count, process.times[[0, -1]], generator=generator)
    place = {"coordinates": {"x": process.layout.coordinates[0]}, "names": "u", "boundary": "periodic"}
    return TrajectoryDataset.from_arrays(x, times=process.times[[0, -1]], **place)


@pytest.fixture(scope="module")
def fitted():
    """Heat on 32 points, whose waves beyond the eighth are gone at the end, by codes of 16 and the linear estimate."""
    process, g = Heat(size=32, dimension=1, steps=2), torch.Generator().manual_seed(0)
    train, valid = (data_of(process, n, g) for n in (3000, 200))
    problem = Problem(process, train, valid, settings=SETTINGS, budget=Budget(steps=4))
    return process, problem, fit_method("latent", problem, {"method": "linear", "factor": 2})


def test_the_posterior_of_codes_is_exact_where_all_is_linear(fitted):
    """CRPS within 5 % of the exact posterior, deviations of waves that nobody saw within 10 %."""
    process, _, answer = fitted
    g = torch.Generator().manual_seed(1)
    x = process.simulate(200, process.times[[0, -1]], generator=g)
    truth, final = x[:, 0], x[:, -1]
    drawn, best = answer.sample(final, 32, generator=g), process.exact().sample(final, 32, generator=g)
    assert abs(float(crps(drawn, truth) / crps(best, truth)) - 1) < 0.05
    spread = [torch.fft.rfft(s - s.mean(1, keepdim=True)).abs().square().mean((0, 1, 2)).sqrt() for s in (drawn, best)]
    # those below are as the linear estimate has them, whose errors are independent from point to point
    assert torch.allclose(spread[0][9:] / spread[1][9:], torch.ones(8), atol=0.1)
    gap = (answer.mean(final) - process.exact().mean(final)).square().mean() / truth.square().mean()
    assert float(gap) < 0.01


def test_a_stored_posterior_draws_the_same(fitted):
    _, problem, answer = fitted
    final = problem.valid.states(-1)[:3]
    setup = replace(problem.setup, notes=notes_of(answer))
    again = load_latent(setup, answer.tensors(), method="linear", factor=2)
    one, two = (a.sample(final, 2, generator=torch.Generator().manual_seed(1)) for a in (answer, again))
    assert torch.equal(one, two)


def test_what_has_no_codes_is_refused(fitted):
    _, problem, _ = fitted
    with pytest.raises(ValueError, match=r"must take final states alone, one of .*flow-matching.* got 'mcmc'"):
        fit_method("latent", problem, {"method": "mcmc"})
    with pytest.raises(ValueError, match="`share` must be between 0 and 1, got 1"):
        fit_method("latent", problem, {"share": 1.0})
    process = OrnsteinUhlenbeck(dim=1, steps=2)
    x = process.simulate(8, process.times, generator=torch.Generator().manual_seed(0))
    data = TrajectoryDataset.from_arrays(x, times=process.times)
    with pytest.raises(NotApplicableError, match="a latent space is for fields"):
        fit_method("latent", Problem(process, data, data))


class StopError(Exception):
    """What ends a training from outside."""


def test_a_run_that_is_stopped_in_the_code_and_behind_it_goes_on_to_the_same_bytes(tmp_path):
    generate(DatasetPlan(Heat(size=16, dimension=1, steps=2), {"train": 60, "valid": 20}, 0, "heat"), tmp_path / "d")
    train, valid = (TrajectoryDataset(tmp_path / "d" / "data" / split) for split in ("train", "valid"))
    settings = SETTINGS.model_copy(update={"batch": 8, "validate_every": 1})

    def run(name, stop_at=1.0, **more):
        def stop(done, record):
            if stop_at < done < 1:
                raise StopError

        options = {"method": "regression", "factor": 2}
        told = {"settings": settings, "options": options, "budget": Budget(steps=10), "progress": stop}
        train_run(tmp_path / name, train, valid, method="latent", **told, **more)

    run("whole")
    kept = [(tmp_path / "parts" / part / "checkpoint.safetensors") for part in ("autoencoder", "regression")]
    with pytest.raises(StopError):
        run("parts", stop_at=0.15)  # the code is three tenths of the work
    assert [path.exists() for path in kept] == [True, False]
    with pytest.raises(StopError):
        run("parts", stop_at=0.6, resume=True)
    first = kept[0].stat().st_mtime_ns
    run("parts", resume=True)
    assert kept[0].stat().st_mtime_ns == first  # a code that is finished is not trained again
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
