"""The quantile mapping is put where it helps, and nowhere else."""

from dataclasses import replace

import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import crps
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.mapped import MappedAnswer, with_value_map
from physinv.methods.own.score import OwnPosterior
from physinv.posterior.value_map import fit_value_map
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from simulators.fields.advection_diffusion import AdvectionDiffusion
from simulators.fields.heat_walls import HeatWalls
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def data(simulator, name, folder):
    generate(DatasetPlan(simulator, {"train": 300, "valid": 60, "test": 60}, 0, name), folder)
    return (TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test"))


def test_a_gaussian_answer_of_plateaus_is_mapped_and_gets_better(tmp_path, generator):
    edges = HeatWalls(size=16, steps=2, horizon=0.02)
    train, valid, test = data(edges, "heat-walls", tmp_path)
    plain = fit_linear(edges, train, valid)
    mapped = with_value_map(plain, edges, train, valid, generator)
    assert isinstance(mapped, MappedAnswer)
    truth, final = test.states(0), test.states(-1)
    before, after = (answer.sample(final, 8, generator=generator) for answer in (plain, mapped))
    assert float(crps(after, truth)) < 0.8 * float(crps(before, truth))
    assert float((after.abs() == 1).double().mean()) > 0.9
    assert torch.equal(mapped.mean(final), plain.mean(final))


def test_exact_answers_are_left_alone(tmp_path, generator):
    process = OrnsteinUhlenbeck()
    train, valid, _ = data(process, "ornstein-uhlenbeck", tmp_path)
    exact = process.exact()
    assert with_value_map(exact, process, train, valid, generator) is exact


def test_linear_processes_with_gaussian_states_are_never_mapped(tmp_path, generator):
    smooth = HeatWalls(size=8, steps=2, prior="gaussian")
    train, valid, _ = data(smooth, "heat-walls", tmp_path)

    class Wide:
        def sample(self, final, n, *, generator=None):
            raise AssertionError("nothing is drawn")

        def mean(self, final):
            return final

    wide = Wide()
    assert with_value_map(wide, smooth, train, valid, generator) is wide


def test_a_map_that_makes_the_score_worse_is_left_out(tmp_path, generator):
    """Posterior means without spread: moved to the values of the prior, they are no longer the best estimates."""
    smooth = AdvectionDiffusion(size=8, flow="uniform", prior="gaussian", steps=1, horizon=1.0, noise=2.0)
    train, valid, test = data(smooth, "advection-diffusion", tmp_path)
    linear = fit_linear(smooth, train, valid)

    class Sure:
        def sample(self, final, n, *, generator=None):
            return linear.mean(final)[:, None].expand(-1, n, *final.shape[1:]).contiguous()

        def mean(self, final):
            return linear.mean(final)

    sure = Sure()
    assert with_value_map(sure, smooth, train, valid, generator) is sure
    # The map itself would be worse, also where it was not asked.
    truth, drawn = test.states(0), sure.sample(test.states(-1), 2)
    known = train.states(0)
    forced = fit_value_map(sure.sample(valid.states(-1), 1).flatten(0, 1), known, train.layout, smooth.images)
    assert float(crps(forced(drawn), truth)) > 1.02 * float(crps(drawn, truth))


def test_physinv_maps_the_values_of_fields_with_edges_and_loads_the_map_again(tmp_path):
    """A short training leaves speckles on fields of two values; the map takes them, and is saved with the run."""
    simulator = HeatWalls(size=16, steps=2, horizon=0.02)
    generate(DatasetPlan(simulator, {"train": 200, "valid": 64, "test": 30}, 0, "heat-walls"), tmp_path / "d")
    train, valid, test = (TrajectoryDataset(tmp_path / "d" / "data" / s) for s in ("train", "valid", "test"))
    settings = Settings(width=4, depth=1, validate_windows=32)
    train_run(tmp_path / "run", train, valid, settings=settings, budget=Budget(steps=10), method="physinv")
    answer, final = load_run(tmp_path / "run").answer, test.states(-1)
    assert isinstance(answer, OwnPosterior)
    assert answer.values is not None
    drawn, plain = (
        a.sample(final, 4, generator=torch.Generator().manual_seed(0)) for a in (answer, replace(answer, values=None))
    )
    assert torch.equal(drawn, answer.values(plain))
    truth = test.states(0)
    assert float(crps(drawn, truth)) < 0.9 * float(crps(plain, truth))
