"""Which objective a score is trained with: by its name, by the reference law, or by a function of the user's own."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.sde import SDE
from physinv.models.build import build_model
from physinv.models.references.base import ReferenceLaw
from physinv.models.score import ScoreModel
from physinv.reversal.smoother_noise import calibrate_noise
from physinv.training.objectives.base import Batch, Objective
from physinv.training.objectives.choose import check_objective, choose_objective
from physinv.training.objectives.denoising import denoising_loss
from physinv.training.objectives.implicit import implicit_loss, sliced_loss, sliced_vr_loss
from physinv.training.objectives.registry import OBJECTIVES, find_objective
from physinv.training.objectives.smoother import smoother_loss
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

PLAIN = torch.nn.Identity()  # no score model: there is no reference law to ask


@pytest.fixture(scope="module")
def smoothed(tmp_path_factory):
    """Physics and a model around a smoother."""
    folder, sim = tmp_path_factory.mktemp("burgers"), Burgers(size=16, steps=3, inner=2)
    generate(DatasetPlan(sim, {"train": 20}, 0, "burgers"), folder / "d")
    return sim, build_model(sim, TrajectoryDataset(folder / "d" / "data" / "train").load(), Settings(width=4, depth=1))


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("implicit", implicit_loss),
        ("sliced", sliced_loss),
        ("sliced-vr", sliced_vr_loss),
        ("denoising", denoising_loss),
        ("trajectory", trajectory_loss),
        ("smoother", smoother_loss),
    ],
)
def test_names(name, want):
    assert choose_objective(Settings(loss=name), Heat(), PLAIN).loss is want


def test_auto_denoises_where_the_kernel_is_known():
    linear, other = OrnsteinUhlenbeck(), DoubleWell()
    assert choose_objective(Settings(), linear, PLAIN).loss is denoising_loss
    assert choose_objective(Settings(), linear, PLAIN).window is None  # all stored times
    assert choose_objective(Settings(), other, PLAIN).loss is trajectory_loss
    assert choose_objective(Settings(), other, PLAIN).window == 2
    both = choose_objective(Settings(loss="bidirectional"), other, PLAIN).loss
    assert both.func is trajectory_loss
    assert both.keywords == {"bidirectional": True}


@pytest.mark.parametrize("name", ["auto", "trajectory", "smoother"])
def test_a_smoother_has_its_own_trajectory_loss(name, smoothed):
    sim, model = smoothed
    chosen = choose_objective(Settings(loss=name), sim, model)
    assert chosen.loss is smoother_loss
    assert chosen.backward_cache
    assert chosen.finish is calibrate_noise


def test_a_smoother_is_calibrated_whatever_it_was_trained_with(smoothed):
    sim, model = smoothed

    def mine(score, sde, batch):
        return smoother_loss(score, sde, batch)

    for chosen in (
        choose_objective(Settings(loss="implicit"), sim, model),
        choose_objective(Settings(), sim, model, mine),
        choose_objective(Settings(), sim, model, Objective(mine)),
    ):
        assert not chosen.backward_cache
        assert chosen.finish is calibrate_noise
    assert choose_objective(Settings(), sim, model, smoother_loss).backward_cache  # its own, however it is given
    assert choose_objective(Settings(), DoubleWell(), PLAIN, mine).finish is None


def test_a_reference_law_of_the_users_own_asks_for_its_objective():
    class Mine(ReferenceLaw):
        name, channels_in, channels_out = "mine", 1, 1
        suits = fit = score = log_prob = features = lift = None

        def objective(self, sde: SDE) -> str:
            return "sliced"

    model = ScoreModel(Mine(), PLAIN, (0.1, 1.0))
    assert choose_objective(Settings(), OrnsteinUhlenbeck(), model).loss is sliced_loss
    assert choose_objective(Settings(loss="implicit"), OrnsteinUhlenbeck(), model).loss is implicit_loss


def test_objectives_from_outside(tmp_path, monkeypatch):
    (tmp_path / "own_objective.py").write_text("def loss(score, sde, batch):\n    return batch.states.sum()\n")
    monkeypatch.chdir(tmp_path)
    found = choose_objective(Settings(loss="own_objective:loss"), Heat(), PLAIN)
    assert float(found.loss(None, None, Batch(torch.ones(2, 2, 3), torch.zeros(2, 2)))) == 12
    check_objective(Settings(loss="own_objective:loss"))
    with pytest.raises(ValueError, match="objective `own_objective:gone` can't be imported"):
        check_objective(Settings(loss="own_objective:gone"))


@pytest.mark.parametrize("name", ["os:system", "json:loads", "builtins:dict"])
def test_functions_of_other_arguments_are_no_objectives(name):
    with pytest.raises(ValueError, match=r"must be an Objective or a function \(score, sde, batch\) -> loss"):
        check_objective(Settings(loss=name))


def test_unknown_names_are_refused_with_the_nearest_one():
    check_objective(Settings())
    with pytest.raises(ValueError, match="there is no objective `denoise`; did you mean `denoising`"):
        check_objective(Settings(loss="denoise"))
    with pytest.raises(ValueError, match="must be an Objective or a function"):
        OBJECTIVES.register("number", 3)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_every_registered_name_is_found(name):
    assert find_objective(name) == OBJECTIVES.find(name)
