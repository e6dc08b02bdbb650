"""The registry of methods: names, lines about them, options, and what is refused."""

import subprocess
import sys

import pytest
import torch

from physinv import methods
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods import Answer, Problem, describe_method, fit_method, method_names, method_options
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
        with pytest.raises(ValueError, match="must return an answer with `sample` and `mean`, got 3"):
            fit_method("outside_method:fit_nothing", problem)
        with pytest.raises(ValueError, match="method `outside_method:number` must be a function of a Problem"):
            method_options("outside_method:number")
    finally:
        sys.modules.pop("outside_method", None)
    with pytest.raises(ValueError, match=r"there is no method `liner`; did you mean `linear`\?"):
        describe_method("liner")


def test_importing_the_registry_imports_no_method():
    code = "import sys, physinv.methods; print([m for m in sys.modules if m.startswith('physinv.methods.')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "classical" not in shown
    assert "learned" not in shown
