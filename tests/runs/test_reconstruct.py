"""Sampling plans: what they refuse, and how many states they compute for each observation."""

import dataclasses
import hashlib

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.laws.operators import named
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import fit_run, load_run, train_run
from physinv.runs.sampling.plan import ANSWERS, SamplingPlan
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

pytestmark = pytest.mark.usefixtures("few_judges")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"answer": "ode"}, "`answer` must be one of samples, mean, flow, mean-flow, got 'ode'"),
        ({"grid": "even"}, "`grid` must be one of stored, linear, log, learned, got 'even'"),
        ({"samples": 0}, "`samples` must be at least 1, got 0"),
        ({"limit": 0}, "`limit` must be at least 1, got 0"),
        ({"steps": -1}, "`steps` must be at least 1, got -1"),
        ({"answer": "flow", "observe": "coarse:2"}, "`observe` needs `answer` samples, got 'flow'"),
        ({"refine": -4}, "`refine` must be 0 or more"),
        ({"refine": 20, "answer": "mean"}, "`refine` moves samples, got 20 with `answer` 'mean'"),
    ],
)
def test_wrong_plans_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplingPlan(**values)


@pytest.mark.parametrize("answer", ANSWERS)
def test_single_estimates_give_one_state_for_each_observation(answer):
    assert SamplingPlan(answer=answer, samples=5).draws == (5 if answer == "samples" else 1)


def test_plans_are_values():
    plan = SamplingPlan(samples=3)
    assert plan == SamplingPlan(samples=3)
    assert dataclasses.replace(plan, samples=4) != plan
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.samples = 4
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample'"):
        SamplingPlan(sample=3)


def test_refined_samples_of_a_wrong_method_are_exact(tmp_path):
    simulator = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0, steps=2)
    generate(DatasetPlan(simulator, {"train": 50, "valid": 20, "test": 4}, 0, "ornstein-uhlenbeck"), tmp_path / "d")
    data = {s: TrajectoryDataset(tmp_path / "d" / "data" / s) for s in ("train", "valid", "test")}
    run = fit_run(data["train"], data["valid"], method="physics")  # an estimate without spread
    reconstruct(run, data["test"], tmp_path / "x.hdf5", SamplingPlan(samples=400, refine=40, certify=0))
    found = read_reconstruction(tmp_path / "x.hdf5")
    assert found.info["refine"] == 40
    law = simulator.exact().posterior(found.observation)
    deviation = (law.means.square() + law.covs.diagonal(dim1=-2, dim2=-1)).mul(law.weights[..., None]).sum(1)
    deviation = (deviation - law.mean().square()).sqrt()
    assert bool(((found.samples.mean(1) - law.mean()).abs() < 5 * deviation / 20).all())  # 20: root of 400 draws
    assert bool(((found.samples.std(1) / deviation - 1).abs() < 0.2).all())  # 5 / sqrt(2 400), and tails


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of jump kernels, one of small steps and one of a network without either, and data for each."""
    folder = tmp_path_factory.mktemp("reconstruct")
    small = {"width": 4, "depth": 1, "batch": 4, "validate_windows": 8}

    def run(method, simulator, name, **options):
        if not (folder / name).exists():
            generate(DatasetPlan(simulator, {"train": 40, "valid": 20, "test": 9}, 0, name), folder / name)
        data = {s: TrajectoryDataset(folder / name / "data" / s) for s in ("train", "valid", "test")}
        where = folder / f"{name}-{method}"
        if not where.exists():
            budget = Budget(steps=2)
            train_run(
                where, data["train"], data["valid"], method=method, options=options, settings=small, budget=budget
            )
        return load_run(where), data["test"]

    kinds = {
        "steps": ("physinv", Heat(size=8, dimension=1, steps=4), "heat", {}),
        "jumps": ("physinv", DoubleWell(), "double-well", {}),
        "flow": ("flow-matching", Heat(size=8, dimension=1, steps=4), "heat", {"steps": 4}),
    }

    def trained(kind):
        *words, options = kinds[kind]
        return run(*words, **options)

    return trained


@pytest.mark.parametrize("kind", ["steps", "jumps", "flow"])
def test_samples_do_not_depend_on_the_memory_bound(kind, trained, tmp_path):
    run, data = trained(kind)
    found = []
    for batch in (None, 3, 100):
        reconstruct(run, data, tmp_path / f"{batch}.hdf5", SamplingPlan(samples=4, batch=batch, seed=2, certify=0))
        found.append(read_reconstruction(tmp_path / f"{batch}.hdf5").samples)
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-4 * float(found[0].std()))  # float32, other sizes of batches
    assert float((found[0][:, 0] - found[0][:, 1]).abs().max()) > 1e-2 * float(found[0].std())


def test_what_a_method_warns_of_is_told_and_kept(trained, tmp_path):
    """A search that takes no step misses sharp sensors; the line is no warning of Python's, and stands in the file."""
    _, data = trained("steps")
    splits = [TrajectoryDataset(data.path.parent / split) for split in ("train", "valid")]
    run, told = fit_run(*splits, method="gauss-newton", options={"outer": 0}), list[str]()
    plan = SamplingPlan(samples=2, observe="sensors:0.5", observed_noise=1e-3, certify=0, limit=3)
    reconstruct(run, data, tmp_path / "x.hdf5", plan, warn=told.append)
    assert any("the most probable state was not found, in" in line for line in told)
    assert read_reconstruction(tmp_path / "x.hdf5").info["warnings"] == told


@pytest.mark.parametrize("method", ["physinv", "gauss-newton"])
def test_refined_samples_given_a_part_are_exact(method, trained, tmp_path):
    """By a run of whole final states, in two stages, and by a method that takes the observed numbers themselves."""
    run, data = trained("steps")
    if method != "physinv":
        splits = [TrajectoryDataset(data.path.parent / split) for split in ("train", "valid")]
        run = fit_run(*splits, method=method)
    plan = SamplingPlan(samples=400, refine=40, observe="sensors:0.5", observed_noise=0.3, certify=0, limit=4)
    reconstruct(run, data, tmp_path / "x.hdf5", plan)
    found, process = read_reconstruction(tmp_path / "x.hdf5"), run.simulator
    law = process.exact().given(named("sensors:0.5", 0.3, process.shape, seed=0))
    mean, deviation = law.mean(found.seen.double()), law.deviation_at([0.0])[:, 0]
    assert bool(((found.samples.double().mean(1) - mean).abs() < 5 * deviation / 20).all())
    assert bool(((found.samples.double().std(1) / deviation - 1).abs() < 0.2).all())


def test_partial_observations_do_not_depend_on_it_either(trained, tmp_path):
    run, data = trained("steps")
    found = []
    for batch in (None, 3):
        plan = SamplingPlan(samples=4, batch=batch, observe="sensors:0.5", limit=5, certify=0)
        reconstruct(run, data, tmp_path / f"{batch}.hdf5", plan)
        found.append(read_reconstruction(tmp_path / f"{batch}.hdf5").samples)
    assert torch.allclose(*found, atol=1e-3 * float(found[0].std()))


def test_noise_that_nobody_names_does_not_depend_on_the_limit(trained, tmp_path):
    run, data = trained("steps")
    found = []
    for limit in (None, 2):
        plan = SamplingPlan(samples=2, observe="sensors:0.5", limit=limit, certify=0)
        reconstruct(run, data, tmp_path / f"{limit}.hdf5", plan)
        found.append(read_reconstruction(tmp_path / f"{limit}.hdf5"))
    assert found[0].info["observed_noise"] == found[1].info["observed_noise"]
    assert torch.equal(found[0].samples[:2], found[1].samples)


@pytest.mark.parametrize("kind", ["steps", "jumps", "flow", "refined"])
def test_samples_do_not_depend_on_the_limit(kind, trained, tmp_path):
    run, data = trained("jumps" if kind == "refined" else kind)
    found = []
    for limit in (None, 5, 1):
        plan = SamplingPlan(samples=3, limit=limit, seed=2, certify=0, refine=2 * (kind == "refined"))
        reconstruct(run, data, tmp_path / f"{limit}.hdf5", plan)
        found.append(read_reconstruction(tmp_path / f"{limit}.hdf5").samples)
    assert [len(x) for x in found] == [data.n_trajectories, 5, 1]
    assert torch.equal(found[0][:5], found[1])
    assert torch.equal(found[0][:1], found[2])


@pytest.mark.parametrize("kind", ["steps", "jumps"])
def test_equal_seeds_give_equal_bytes(kind, trained, tmp_path):
    run, data = trained(kind)
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        reconstruct(run, data, tmp_path / name, SamplingPlan(samples=4, seed=seed, limit=3, certify=2))
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_what_fits_nowhere_is_refused_with_the_estimate(trained, tmp_path):
    run, data = trained("jumps")
    with pytest.raises(
        ValueError, match=r"^`samples` = 10+ of one observation takes 16 PB of memory, .* are free; take fewer"
    ):
        reconstruct(run, data, tmp_path / "x", SamplingPlan(samples=10**15))
    with pytest.raises(ValueError, match=r"^`steps` = 10+ takes 100 TB of memory, .* are free; take fewer steps\.$"):
        SamplingPlan(steps=10**12)
    assert list(tmp_path.iterdir()) == []


def test_an_explosion_is_told_stored_and_refused_where_that_is_asked_for(trained, tmp_path, monkeypatch):
    run, data = trained("jumps")
    answer = dataclasses.replace(run, answer=Exploding())
    said = []
    reconstruct(answer, data, tmp_path / "x", SamplingPlan(samples=4), warn=said.append)
    assert len(said) == 1
    assert "reach 1e+06" in said[0]
    assert read_reconstruction(tmp_path / "x").info["warnings"] == said
    with pytest.raises(ValueError, match=r"reach 1e\+06"):
        reconstruct(answer, data, tmp_path / "y", SamplingPlan(samples=4), strict=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


class Exploding:
    """Samples of a million."""

    def sample(self, final, n, *, generator=None):
        return final[:, None].expand(-1, n, -1) * 0 + 1e6

    def mean(self, final):
        return final
