"""The public names of physinv: which there are, that they load, and that nothing is loaded before it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

import physinv as pi

ROOT = Path(__file__).resolve().parents[2]

# Who changes this list changes the programs of users: add a line to CHANGELOG.md.
NAMES = """
    Budget DatasetPlan FieldLayout Linear Observation ObservationRecord ParticleLayout Posterior Reverse SDE
    SamplingPlan ScoreModel Settings Simulator TrajectoryDataset VectorLayout build_model evaluate filter_record
    final_states fit fit_prior generate load_run metrics noising parameter plots read_final_states reconstruct solve
    thermodynamics to_arviz train_run weigh
"""


def run(code):
    """Run Python code in a process of its own and return what it prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_names_are_these():
    assert sorted(pi.__all__) == sorted(NAMES.split())
    assert set(dir(pi)) == {*pi.__all__, "__version__"}


@pytest.mark.parametrize("name", NAMES.split())
def test_each_name_loads(name):
    assert getattr(pi, name) is getattr(pi, name)
    assert getattr(pi, name).__doc__


@pytest.mark.parametrize("name", ["metrics", "noising", "plots", "thermodynamics"])
def test_a_module_shows_its_public_names_alone(name):
    module = getattr(pi, name)
    assert dir(module) == sorted(module.__all__)


def test_nothing_is_loaded_before_it_is_used():
    code = """if True:
        import sys, physinv as pi
        dir(pi)
        print('torch' in sys.modules)
        pi.Budget
        print('physinv.training.loop' in sys.modules)
        from physinv import *
        print(solve.__module__)
    """
    assert run(code).splitlines() == ["False", "False", "physinv.equations.solve"]


def test_a_wrong_name_says_where_the_right_ones_are():
    with pytest.raises(AttributeError, match="no attribute 'Simulater'; did you mean `Simulator`"):
        _ = pi.Simulater
