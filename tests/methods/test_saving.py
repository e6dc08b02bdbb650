"""Answers as tensors: every method of ours draws the same bytes after it was saved and loaded, whatever the state."""

import functools
import re

import numpy
import pytest
import torch

from physinv.config.files import load_tensors, save_tensors
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods import METHODS, NotApplicableError, Problem, fit_method, load_method, method_names, method_options
from physinv.methods.saving import below, check_saveable, loaded_by, loading_of, notes_of, prefixed, tensors_of
from physinv.training.budget import Budget
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.particles.langevin import OverdampedParticles
from simulators.vectors.double_well import DoubleWell

pytestmark = pytest.mark.usefixtures("few_judges")

PROCESSES = {
    "vector": DoubleWell(horizon=0.2, steps=2),
    "linear field": Heat(size=8, dimension=1, steps=2),
    "field": Burgers(size=8, viscosity=0.2, horizon=0.1, steps=2, inner=1),
    "walls and static channels": HeatConductivity(size=6, dimension=1, horizon=0.1, steps=2),
    "particles": OverdampedParticles(particles=3, horizon=0.05, steps=2),
}
# Of each option that there is.
FEW = {
    "observations": 4,
    "chains": 2,
    "warm_up": 4,
    "most": 1,
    "runs": 1000,
    "draws": 2,
    "steps": 3,
    "members": 2,
    "iterations": 4,
    "outer": 2,
    "inner": 2,
    "draw": 2,
    "particles": 8,
}
UNSAVED = ("npse", "fmpe")
ONLY = {"mcmc": "linear field"}  # thousands of simulations for each draw


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Problem and observations of a process."""

    @functools.cache
    def problem(name):
        simulator, folder = PROCESSES[name], tmp_path_factory.mktemp("data") / "d"
        generate(DatasetPlan(simulator, {"train": 24, "valid": 12, "test": 3}, 0, "any"), folder)
        train, valid, test = (TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test"))
        settings = Settings(width=4, depth=1, batch=8, validate_windows=8, components=2)
        return Problem(simulator, train, valid, settings, Budget(steps=2), seed=5), test.states(-1)

    return problem


def few(method):
    """Options that make a method quick."""
    return {name: FEW[name] for name in method_options(method) if name in FEW}


@pytest.mark.filterwarnings("ignore:.*(R-hat|effective)")  # chains and runs as few as these fall short
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("method", [name for name in method_names() if name not in UNSAVED])
def test_a_loaded_answer_draws_the_same_bytes(method, process, make, tmp_path):
    if method == "fno":
        pytest.importorskip("neuralop")
    if ONLY.get(method, process) != process:
        pytest.skip("takes too long")
    problem, final = make(process)
    final = final[:1] if method in ONLY else final
    try:
        answer = fit_method(method, problem, few(method))
    except NotApplicableError:
        pytest.skip("does not apply")
    save_tensors(tmp_path / "model.safetensors", tensors_of(method, answer), {"format": "test"})
    tensors, _ = load_tensors(tmp_path / "model.safetensors")
    setup = problem.setup.__class__(**{**vars(problem.setup), "notes": notes_of(answer)})
    again = load_method(method, setup, tensors, few(method))
    assert type(again) is type(answer)
    draws = [a.sample(final, 2, generator=torch.Generator().manual_seed(1)) for a in (answer, again)]
    assert torch.equal(*draws)
    assert torch.equal(answer.mean(final), again.mean(final))
    if hasattr(answer, "log_prob") and process == "vector":  # of fields it takes a divergence of many directions
        x = answer.mean(final)
        assert torch.equal(answer.log_prob(x, final), again.log_prob(x, final))


def test_methods_that_can_not_be_saved_are_refused_in_one_line():
    def fit_mine(problem):
        """Return nothing."""

    with pytest.raises(ValueError, match=r"method `mine` can't be saved as a run: mark its function with `@loaded_by"):
        check_saveable("mine", fit_mine)
    for name in UNSAVED:
        with pytest.raises(ValueError, match="sbi stores posteriors by pickle only"):
            check_saveable(name, METHODS.find(name))
    with pytest.raises(ValueError, match=r"the answer of method `mine` must have `tensors\(\)`"):
        tensors_of("mine", object())

    class Numbers:
        def tensors(self):
            return {"mean": numpy.zeros(2)}

    with pytest.raises(ValueError, match=r"must return torch tensors by name, got ndarray .* for 'mean'; convert it"):
        tensors_of("mine", Numbers())


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda tensors: None, "(setup, tensors, width), got one of (tensors): "),
        (lambda setup, tensors: None, "got an unexpected keyword argument 'width'"),
        (lambda setup, tensors, width, depth: None, "missing a required argument: 'depth'"),
        ("load_mine", "got str"),
    ],
)
def test_loaders_that_could_not_load_are_refused_before_training(load, message):
    @loaded_by(load)
    def fit_mine(problem, *, width=64):
        raise AssertionError

    with pytest.raises(ValueError, match=re.escape("`load` of method `mine` must be a function")) as refused:
        check_saveable("mine", fit_mine)
    assert message in str(refused.value)


def test_a_marked_function_is_the_same_and_knows_its_loader():
    def load(setup, tensors): ...

    def fit(problem): ...

    assert loaded_by(load, trains=False)(fit) is fit
    assert (loading_of(fit).load, loading_of(fit).trains) == (load, False)
    assert notes_of(object()) == {}


def test_names_of_parts_are_taken_off_again():
    tensors = {"a": torch.zeros(1), "b.c": torch.ones(2)}
    both = prefixed("x", tensors) | prefixed("xx", {"a": torch.ones(3)})
    assert below("x", both) == tensors
    assert list(below("xx", both)) == ["a"]
