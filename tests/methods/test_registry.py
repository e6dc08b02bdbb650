"""The registry of methods: names, lines about them, options, and what is refused."""

import math
import re
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from physinv import methods
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods import Answer, Problem, describe_method, fit_method, method_names, method_options
from physinv.methods.registry import stored_tensors
from physinv.methods.saving import loaded_by
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    simulator, folder = OrnsteinUhlenbeck(steps=2), tmp_path_factory.mktemp("data") / "d"
    generate(DatasetPlan(simulator, {"train": 4, "valid": 2, "test": 2}, 0, "any"), folder)
    splits = (TrajectoryDataset(folder / "data" / split).load() for split in ("train", "valid"))
    return Problem(simulator, *splits)


class Echo:
    """An answer that returns the observation."""

    def mean(self, final):
        return final

    def sample(self, final, n, *, generator=None):
        return final[:, None].expand(-1, n, *final.shape[1:])


def test_names_are_ours_in_the_order_of_tables_then_those_from_outside(problem):
    assert method_names()[:3] == ["exact", "auto", "physinv"]
    assert len(method_names()) >= 18

    def fit_echo(problem, *, gain: float = 1.0):
        """Return the observation.

        A second paragraph.
        """
        return Echo()

    methods.METHODS.register("echo", fit_echo)  # for the rest of this process
    assert method_names()[-1] == "echo"
    assert describe_method("echo") == "Return the observation."
    assert method_options("echo") == {"gain": 1.0}
    assert isinstance(fit_method("echo", problem, {"gain": 2.0}), Echo)
    with pytest.raises(ValueError, match=r"method `echo` has no option `gian`; did you mean `gain`\?"):
        fit_method("echo", problem, {"gian": 2.0})


def test_every_method_of_ours_can_be_imported_and_described():
    for name in method_names():
        assert callable(methods.METHODS.find(name))
        assert describe_method(name)
        assert all(isinstance(v, int | float | str | tuple | None) for v in method_options(name).values())


def test_a_method_from_outside_is_found_by_its_place(problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside_method.py").write_text(
        "class Echo:\n"
        "    def mean(self, final):\n        return final\n"
        "    def sample(self, final, n, *, generator=None):\n"
        "        return final[:, None].expand(-1, n, *final.shape[1:])\n"
        "def fit_echo(problem):\n    return Echo()\n"
        "def fit_nothing(problem):\n    return 3\n"
        "number = 3\n"
    )
    try:
        answer = fit_method("outside_method:fit_echo", problem)
        assert isinstance(answer, Answer)
        assert answer.sample(torch.ones(2, 3), 4).shape == (2, 4, 3)
        with pytest.raises(ValueError, match="must return an answer with `sample` and `mean`, got int 3"):
            fit_method("outside_method:fit_nothing", problem)
        with pytest.raises(ValueError, match="method `outside_method:number` must be a function of a Problem"):
            method_options("outside_method:number")
    finally:
        sys.modules.pop("outside_method", None)
    with pytest.raises(ValueError, match=r"there is no method `liner`; did you mean `linear`\?"):
        describe_method("liner")


class Draws:
    """An answer of standard normal states, parts of which a test makes wrong."""

    def __init__(self, **wrong):
        vars(self).update(wrong)

    def sample(self, final, n, *, generator=None):
        return torch.randn(len(final), n, *final.shape[1:], generator=generator)

    def mean(self, final):
        return torch.zeros_like(final)


def guided(final, n, generator):
    """Draws that take a gradient, as guidance does."""
    x = torch.randn(len(final), n, *final.shape[1:], generator=generator).requires_grad_()
    return x - torch.autograd.grad(x.square().sum() / 2, x)[0] / 2


def fails(*_, **__):
    raise KeyError("weights")


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (lambda problem: Draws(), None),
        (lambda: Draws(), "must be a function (problem, *, option=default, ...), got one of ()"),
        (lambda problem, width: Draws(), "got one of (problem, width); let it take the problem alone"),
        (lambda problem, *, width: Draws(), "option `width` of method `made:fit` must have a default value"),
        (lambda problem: Draws, "must return an answer with `sample` and `mean`, got Draws"),
        (lambda problem: fails(), "method `made:fit` ends with KeyError: 'weights'"),
        (lambda problem: Draws(sample=fails), "`sample` of the answer of method `made:fit` ends with KeyError"),
        (lambda problem: Draws(mean=fails), "`mean` of the answer of method `made:fit` ends with KeyError"),
        (lambda problem: Draws(sample=lambda x, n: x), "ends with TypeError"),
        (
            lambda problem: Draws(sample=lambda x, n, generator: torch.zeros(n, *x.shape)),
            "must return a tensor (2, 4, 4) for 2 final states, got Tensor of shape (4, 2, 4)",
        ),
        (lambda problem: Draws(mean=lambda x: x[:, 0]), "must return a tensor (2, 4) for 2 final states, got Tensor"),
        (lambda problem: Draws(mean=lambda x: x.numpy()), "got ndarray of shape (2, 4) from mean(final)"),
        (lambda problem: Draws(mean=lambda x: x / 0), "of finite numbers, got NaN or infinity"),
        (lambda problem: Draws(mean=lambda x: x.long()), "of finite numbers, got torch.int64"),
        (lambda problem: Draws(mean=lambda x: x.mul_(2)), "must leave the final states as they are"),
        (
            lambda problem: Draws(sample=lambda x, n, generator: torch.randn(len(x), n, 4)),
            "must draw the same samples from the same generator",
        ),
        (lambda problem: Draws(mean=lambda x: torch.tensor(math.log(-1))), "ends with ValueError: math domain error"),
        (lambda problem: Draws(sample=guided), None),
    ],
)
def test_methods_from_outside_are_tried_before_they_are_used(problem, monkeypatch, fit, message):
    monkeypatch.setitem(sys.modules, "made", ModuleType("made"))
    monkeypatch.setattr(sys.modules["made"], "fit", fit, raising=False)
    if message is None:
        assert isinstance(fit_method("made:fit", problem), Draws)
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_method("made:fit", problem)


def test_what_loads_an_answer_is_tried_before_it_is_stored(problem, monkeypatch):
    def fit(problem):
        return Draws(tensors=lambda: {"scale": torch.ones(1)})

    monkeypatch.setitem(sys.modules, "made", ModuleType("made"))
    monkeypatch.setattr(sys.modules["made"], "fit", fit, raising=False)
    answer, final = fit_method("made:fit", problem), problem.valid.states(-1)
    for load, message in (
        (lambda setup, tensors: None, "`load` of method `made:fit` must return an answer"),
        (lambda setup, tensors: tensors["scales"], "`load` of method `made:fit` ends with KeyError: 'scales'"),
    ):
        loaded_by(load)(fit)
        with pytest.raises(ValueError, match=re.escape(message)):
            stored_tensors("made:fit", answer, problem.setup, final)
    loaded_by(lambda setup, tensors: Draws(sample=guided))(fit)
    with pytest.raises(ValueError, match="must make the answer again when it is loaded, and its samples are others"):
        stored_tensors("made:fit", answer, problem.setup, final)
    loaded_by(lambda setup, tensors: Draws())(fit)
    assert list(stored_tensors("made:fit", answer, problem.setup, final)) == ["scale"]


def test_importing_the_registry_imports_no_method():
    code = "import sys, physinv.methods; print([m for m in sys.modules if m.startswith('physinv.methods.')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "classical" not in shown
    assert "learned" not in shown
