"""Numbers that are known beside a vector: stored once, seen by the law of increments, reconstructed by none."""

import h5py
import numpy as np
import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import final_states, read_final_states
from physinv.data.process import process_of
from physinv.methods.problem import Problem
from physinv.methods.registry import fit_method
from physinv.models.increments import VectorIncrements
from physinv.models.learned_drift import start_drift
from physinv.models.networks.build import build_network
from physinv.processes.layout import VectorLayout, layout_from
from physinv.training.budget import Budget
from tests.recorded_cases import recorded

LAYOUT = VectorLayout("temperature", 2, "heater")


def heated(n, seed=0):
    """Two sensors that warm by 3 a unit of time where the heater is on, and cool by 3 where it is off: ``x_T`` alone
    leaves both open.
    """
    draw = np.random.default_rng(seed)
    heater = draw.integers(0, 2, n).astype(float)
    start = draw.normal(0, 2, (n, 2))
    steps = np.arange(3.0)[None, :, None] * (6 * heater - 3)[:, None, None] / 2
    noise = 0.05 * draw.normal(size=(n, 3, 2))
    noise[:, 0] = 0
    x = start[:, None] + steps + noise
    return np.concatenate([x, np.broadcast_to(heater[:, None, None], (n, 3, 1))], axis=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    splits = {"train": heated(400), "valid": heated(100, 1), "test": heated(50, 2)}
    return recorded(tmp_path_factory.mktemp("heated"), LAYOUT, [0.0, 0.5, 1.0], splits)


def test_the_layout_says_what_is_known():
    assert LAYOUT.shape == (3,)
    assert [name for name, _ in LAYOUT.parts()] == ["temperature", "heater"]
    x = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(LAYOUT.moving(x), x[:, :2])
    assert torch.equal(LAYOUT.set_moving(x[:, :2] + 1, x), torch.tensor([[1.0, 2, 2], [4, 5, 5]]))
    again = layout_from(**{k: v for k, v in LAYOUT.described().items() if k != "isotropic"})
    assert again == LAYOUT
    with pytest.raises(ValueError, match="must name each number once"):
        VectorLayout("a", 2, ("a",))


def test_it_is_stored_once_for_each_trajectory(data, tmp_path):
    path = next(data["test"].path.glob("*.hdf5"))
    with h5py.File(path) as file:
        assert file["t0_fields/heater"].shape == (50,)
        assert file["t0_fields/temperature"].shape == (50, 3, 2)
    again = TrajectoryDataset(data["test"].path)
    assert torch.equal(again.trajectories(), torch.from_numpy(heated(50, 2)).float())
    assert again.layout == LAYOUT


def test_increments_know_the_context(data):
    problem = Problem(
        process_of(data["train"]),
        data["train"],
        data["valid"],
        Settings(),
        Budget(steps=40),
        seed=0,
        device=torch.device("cpu"),
    )
    answer = fit_method("increments", problem)
    truth, final = (data["test"].states(i) for i in (0, -1))
    drawn = answer.sample(final, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn[..., 2], final[:, None, 2].expand(-1, 8))
    # Without the heater the increments are +3 or -3, with it their errors are those of the noise, .05.
    assert float((drawn[..., :2] - truth[:, None, :2]).abs().mean()) < 0.3
    other = final.clone()
    other[:, 2] = 1 - other[:, 2]
    turned = answer.sample(other, 8, generator=torch.Generator().manual_seed(0))
    moved = (turned - drawn)[..., :2].mean(1) * (2 * other[:, 2:] - 1)
    assert float((moved + 6).abs().mean()) < 0.5  # warming took 3 from below, cooling 3 from above


def test_the_law_of_vectors_without_context_has_no_place_for_it():
    plain = VectorLayout("x", 2)
    sizes = VectorIncrements.sizes(plain)
    law = VectorIncrements(build_network(plain, *sizes, Settings(), seed=0), plain)
    assert "known" not in law.state_dict()
    assert VectorIncrements.sizes(LAYOUT)[0] == sizes[0] + 1


def test_learned_physics_has_no_drift_of_what_is_known(data):
    drift = start_drift(data["train"], Settings())
    x = data["train"].states(0)[:50]
    f = drift.drift(x, torch.zeros(50)).detach()
    assert bool(f.isfinite().all())
    assert float(f[:, 2].abs().max()) < 1e-4
    assert float((f[:, :2] - (6 * x[:, 2:] - 3)).abs().mean()) < 0.3
    assert float(drift.noise[2]) == 0


def test_observations_bring_it(tmp_path):
    given = final_states([[1.0, 2.0, 1.0]], LAYOUT).states
    np.savez(tmp_path / "named.npz", temperature=[[1.0, 2.0]], heater=[1.0])
    (tmp_path / "table.csv").write_text("a,b,heater\n1,2,1\n")
    for name in ("named.npz", "table.csv"):
        assert torch.equal(read_final_states([tmp_path / name], LAYOUT, 1.0).states, given), name
    np.save(tmp_path / "bare.npy", [[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"must hold states of shape \(batch, 3\)"):
        read_final_states([tmp_path / "bare.npy"], LAYOUT, 1.0)
