"""Answers to records as users get them are no worse than the prior, by every way to ask for them."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.prior import Prior
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.strong_constraint import StrongConstraint
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.physics import physics_of
from physinv.runs.reconstruct import reconstruct
from physinv.runs.records import RecordPlan, reconstruct_record
from physinv.runs.run import fit_run, load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.runs.sampling.tried import TriedRecord
from physinv.runs.sampling.with_prior import fit_with_prior
from physinv.runs.trials.answers import answer_record, try_final
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=16, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=1.0, steps=2)
HEAT = Heat(size=8, dimension=1, steps=2, horizon=0.1)
QUICK = {"width": 4, "depth": 1, "batch": 8}


def two_roots(x):
    """A square that leaves two states, of which searches find the same one always."""
    return (x + 0.05).square()


def see(operator, noise, *times):
    return ObservationRecord(*((t, Observation(operator, noise)) for t in times))


def zeros(record, process):
    return torch.zeros(1, sum(record.sizes(torch.zeros(1, *process.shape))))


def made(process, folder, name, train=60):
    generate(DatasetPlan(process, {"train": train, "valid": 20, "test": 8}, 0, name), folder)
    return {s: TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test")}


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """Data of a process without noise, whose records of more than 64 numbers are answered without paths."""
    process = replace(OU, dim=33, noise=0.0)
    return made(process, tmp_path_factory.mktemp("still") / "d", "ornstein-uhlenbeck", 200)


def test_the_most_probable_initial_state_is_tried(still, tmp_path):
    run, told = fit_run(still["train"], still["valid"], method="gauss-newton", options={"outer": 2, "draw": 10}), []
    record = see(two_roots, 0.05, 0.5, 1.0)
    given, lines = answer_record(run, record, zeros(record, run.simulator))
    assert isinstance(given, TriedRecord)
    assert isinstance(given.answer, StrongConstraint)
    assert given.share < 0.5
    assert lines[0].startswith(
        f"{1 - given.share:.0%} of the draws are of the prior: on 16 new trajectories draws given"
    )

    # The same process seen as it is, by the command: exact draws, of which nothing is said.
    plan = RecordPlan(observe="everything", at=(0.5, 1.0), observed_noise=0.05, samples=4, limit=2)
    reconstruct_record(run, still["test"], tmp_path / "r.hdf5", plan, warn=told.append)
    assert [line for line in told if "new trajectories" in line] == []


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    data = made(HEAT, folder / "d", "heat", 2000)
    train_run(folder / "run", data["train"], data["valid"], method="prior", settings=QUICK, budget=Budget(steps=1))
    return folder / "run"


def test_guidance_by_a_learned_prior_is_tried_under_that_prior(prior):
    """One step of guidance takes a square for a line; of linear sensors it is exact under a Gaussian prior."""
    run = fit_with_prior(prior, method="dps", options={"steps": 3})
    record = see(two_roots, 0.05, 0.1)
    given, lines = answer_record(run, record, zeros(record, HEAT))
    assert isinstance(given, TriedRecord)
    assert "% of the draws are of the prior: on 12 new trajectories" in lines[0]
    record = see(lambda x: x[..., ::2], 0.05, 0.05, 0.1)
    given, lines = answer_record(run, record, zeros(record, HEAT))
    assert not isinstance(given, TriedRecord)
    assert lines == []


class Shifted(Prior):
    """Independent normal numbers of deviation 2 around 3."""

    def draw(self, n, *, generator=None):
        return 3 + 2 * torch.randn(n, 1, generator=generator)

    def decode(self, u):
        return 3 + 2 * u

    def encode(self, x):
        return (x - 3) / 2


def test_draws_are_refined_under_the_prior_that_is_given(tmp_path, generator):
    """Exact ones stay exact: x(1) = e^-.5 x_0 + noise of variance .25 (1 - e^-1), seen with deviation .5."""
    process = replace(OU, dim=1)
    data = made(process, tmp_path / "d", "ornstein-uhlenbeck", 20)  # too few to stand for the prior
    run = fit_run(data["train"], data["valid"], method="gauss-newton", prior=Shifted())
    record, y = see(everything, 0.5, 1.0), torch.full((1, 1), 1.0)
    given, lines = answer_record(run, record, y, refine=16)
    assert lines == []
    drawn = given.sample(y, 1000, generator=generator)[0, :, 0].double()
    decay = torch.tensor(-0.5, dtype=torch.float64).exp()
    seen = 0.25 * (1 - decay**2) + 0.25
    variance = 1 / (1 / 4 + decay**2 / seen)
    mean = variance * (3 / 4 + decay / seen)
    assert float(drawn.mean()) == pytest.approx(float(mean), abs=4 * float(variance.sqrt()) / 1000**0.5)
    assert float(drawn.std()) == pytest.approx(float(variance.sqrt()), rel=4 / 2000**0.5)


def test_short_chains_are_tried_and_long_ones_are_not(tmp_path):
    data, record = made(OU, tmp_path / "d", "ornstein-uhlenbeck"), see(two_roots, 0.1, 0.0)
    short = {"particles": 0, "iterations": 4, "warm_up": 1, "most": 1}
    run = fit_run(data["train"], data["valid"], method="mcmc", options=short)
    given, lines = answer_record(run, record, zeros(record, OU))
    assert isinstance(given, TriedRecord)
    assert lines[0].endswith("; raise `--option iterations=` and `--option most=`.")
    linear = see(everything, 0.3, 0.5, 1.0)
    assert answer_record(run, linear, zeros(linear, OU))[1] == []
    long = fit_run(data["train"], data["valid"], method="mcmc", options={"particles": 0})
    assert answer_record(long, record, zeros(record, OU))[1] == []


def test_physics_of_imported_data_is_tried_from_its_own_states(generator):
    """Of such data no new initial states can be made: half of those that the run keeps are answered."""
    states = OU.simulate(120, generator=generator)
    train, valid = (
        TrajectoryDataset.from_arrays(x, times=OU.times.tolist(), names="x") for x in (states[:100], states[100:])
    )
    parameters = {"dim": 16, "components": 1, "spread": 0.0, "width": 1.0, "rate": 0.5, "noise": 0.5}
    physics = physics_of(train, "ornstein-uhlenbeck", parameters)
    run = fit_run(train, valid, method="gauss-newton", options={"outer": 2, "draw": 10}, physics=physics)
    record = see(two_roots, 0.05, 0.5)
    given, lines = answer_record(run, record, zeros(record, OU))
    assert isinstance(given, TriedRecord)
    assert "% of the draws are of the prior: on 16 new trajectories" in lines[0]
    drawn = given.sample_at(torch.full((1, 16), 0.5), 200, [0.0], generator=generator)[0, :, 0]
    kept = run.summary.initial[1::2]
    same = (drawn[:, None] == kept).all(2).any(1).double().mean()
    assert float(same) == pytest.approx(1 - given.share, abs=4 * 0.5 / 200**0.5)


def test_a_run_that_is_trained_for_a_part_of_final_states_is_tried(tmp_path, generator):
    """Draws five deviations off are replaced, the exact ones are what they were."""
    data = made(OU, tmp_path / "d", "ornstein-uhlenbeck")
    asked = {"observe": "everything", "observed_noise": 0.3}
    train_run(tmp_path / "run", data["train"], data["valid"], method="regression", budget=Budget(steps=1), **asked)
    run, exact = load_run(tmp_path / "run"), OU.exact().given(Observation(everything, 0.3))

    class Off(type(run.answer)):
        def sample(self, final, n, *, generator=None):
            return 5 + torch.randn(len(final), n, 16, generator=generator)

    fields = {f.name: getattr(run.answer, f.name) for f in dataclasses.fields(run.answer)}
    told = []
    plan = SamplingPlan(samples=8, certify=0)
    reconstruct(replace(run, answer=Off(**fields)), data["test"], tmp_path / "r.hdf5", plan, warn=told.append)
    (line,) = (line for line in told if "draws are of the prior" in line)
    kept = 1 - float(line.split("%")[0]) / 100
    assert kept < 0.05
    found = read_reconstruction(tmp_path / "r.hdf5").samples.mean(2).flatten()
    assert float((found > 2.5).double().mean()) == pytest.approx(kept, abs=5 * 0.2 / len(found) ** 0.5)

    record = ObservationRecord((1.0, Observation(everything, 0.3)))

    def draw(y, n, source):
        return exact.sample(y, n, generator=source)

    assert try_final(run, record, draw, seed=0) == (None, [])
