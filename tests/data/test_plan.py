"""A plan says everything about a dataset before it is made, and refuses what can't be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan, differences
from physinv.data.recipe import Recipe, Splits
from physinv.processes.simulator import Simulator
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=3, steps=10)


@dataclass(frozen=True)
class Own(OrnsteinUhlenbeck):
    """A process that nobody registered."""


def test_the_name_is_that_of_the_registered_class() -> None:
    assert DatasetPlan(OU, {"train": 3}).name == "ornstein-uhlenbeck"
    assert DatasetPlan(Heat(), {"train": 3}).config["simulator"] == "heat"
    assert DatasetPlan(OU, {"train": 3}, name="mine").shards[0].file == "mine_000.hdf5"


def test_a_number_of_hundreds_of_digits_is_refused_like_any_that_is_too_large() -> None:
    with pytest.raises(ValueError, match=r"^`splits` ask for 10{400} trajectories, .* are the most; take fewer"):
        DatasetPlan(OU, {"train": 10**400})


def test_an_unregistered_class_is_named_by_its_place(tmp_path: Path) -> None:
    plan = DatasetPlan(Own(dim=3, steps=10), {"train": 3})
    assert plan.name == f"{__name__}:Own"
    assert plan.shards[0].file == "own_000.hdf5"
    out = generate(plan, tmp_path / "own")
    assert [p.name for p in (out / "data" / "train").iterdir()] == ["own_000.hdf5"]

    @dataclass(frozen=True)
    class Hidden(OrnsteinUhlenbeck):
        """A process that can't be imported."""

    with pytest.raises(ValueError, match=r"got .*<locals>\.Hidden'; give `name`, or define the class at the top"):
        DatasetPlan(Hidden(dim=3, steps=10), {"train": 3})


def test_files_and_parts_add_up() -> None:
    chunk_bytes = 11 * 3 * 4 * 10  # ten trajectories
    plan = DatasetPlan(OU, {"test": 9, "train": 65}, seed=4, trajectories_per_shard=20, chunk_bytes=chunk_bytes)
    assert [(s.split, s.number, s.count) for s in plan.shards] == [
        ("train", 0, 17),
        ("train", 1, 16),
        ("train", 2, 16),
        ("train", 3, 16),
        ("test", 0, 9),
    ]
    assert plan.total == 74
    assert plan.trajectory_bytes == 11 * 3 * 4
    assert all(n <= 10 for shard in plan.shards for n, _ in shard.chunks)
    seeds = [seed for shard in plan.shards for _, seed in shard.chunks]
    assert len(set(seeds)) == len(seeds) == 9
    assert plan.config_of(plan.shards[1])["shard"] == 1


@pytest.mark.parametrize(
    ("simulator", "train", "files", "most"),
    [
        (OU, 10_000, 20, 500),  # as many as there always were
        (OU, 100_000, 10, 10_000),
        (OU, 10_500, 2, 10_000),
        (Heat(), 10_500, 21, 500),  # 132 KiB each
    ],
)
def test_many_small_trajectories_share_a_file(simulator: Simulator, train: int, files: int, most: int) -> None:
    plan = DatasetPlan(simulator, {"train": train, "valid": 100})
    assert len(plan.shards) == files + 1
    assert all(shard.count <= most for shard in plan.shards)
    assert plan.config["trajectories_per_shard"] == most
    few = DatasetPlan(simulator, {"train": train, "valid": 100}, trajectories_per_shard=200)
    assert max(shard.count for shard in few.shards) <= 200


def test_a_plan_is_a_value() -> None:
    plan = DatasetPlan(OU, {"train": 3}, device=torch.device("cpu"))
    assert plan.config == DatasetPlan(OU, {"train": 3}, name="ornstein-uhlenbeck").config
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.seed = 1  # type: ignore[misc]
    assert dataclasses.replace(plan, seed=1).config["seed"] == 1
    assert differences(plan.config, dataclasses.replace(plan, seed=1).config) == "`seed` is 0 there, 1 here"


def test_recipes_become_plans() -> None:
    splits = Splits(train=4, valid=2, test=2)
    recipe = Recipe(simulator="ornstein-uhlenbeck", parameters={"dim": 3, "steps": 10}, splits=splits, seed=5)
    plan = DatasetPlan(OU, {"train": 4, "valid": 2, "test": 2}, seed=5)
    assert recipe.plan().config == plan.config
    with pytest.raises(ValueError, match=r"has no parameter `dimm`; did you mean `dim`\?"):
        Recipe(simulator="ornstein-uhlenbeck", parameters={"dimm": 3}, splits=splits).plan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"splits": {"valid": 3}}, "`splits` must name train and may name valid and test, got valid."),
        ({"splits": {"train": 3, "trial": 1}}, "`splits` must name train, valid or test, got `trial`; did you mean"),
        ({"splits": {"train": 3, "test": 0}}, "`splits.test` must be at least 1, got 0."),
        ({"seed": -1}, "`seed` must be between 0 and 2^63 - 1, got -1."),
        ({"trajectories_per_shard": 0}, "`trajectories_per_shard` must be at least 1, got 0."),
        ({"name": "../ou"}, "`name` must consist of letters"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        DatasetPlan(**{"simulator": OU, "splits": {"train": 3}, **arguments})  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_no_disk_holds_is_refused_before_files_are_listed() -> None:
    expected = r"^`splits` ask for 99999999999999 trajectories, 13\.2 PB on disk in 10000000000 files, 100000 are"
    with pytest.raises(ValueError, match=expected):
        DatasetPlan(OU, {"train": 99999999999999})  # of 11 times x 3 numbers of 4 bytes
    assert len(DatasetPlan(OU, {"train": 99999999999999 // 10**6}, trajectories_per_shard=10**5).shards) == 1000


def test_what_no_memory_holds_is_refused_before_states_are_made() -> None:
    expected = (
        r"^`simulator` makes trajectories of 33 times x 1 x 30000 x 30000 numbers: each needs 119 GB of memory, 68\."
    )
    with pytest.raises(ValueError, match=expected):
        DatasetPlan(Heat(size=30_000, steps=32), {"train": 1})
    for name in ("size", "steps"):
        with pytest.raises(ValueError, match=rf"^`{name}` of Heat must be at most 2097152, got 1000000000\.$"):
            Heat(**{name: 10**9})


def test_memory_of_this_machine_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physinv.data.resume.os.sysconf", lambda name: 10)  # 10 pages of 10 bytes
    with pytest.raises(
        ValueError, match=r"^`simulator` makes trajectories that need 132 bytes of memory each, this machine"
    ):
        generate(DatasetPlan(OU, {"train": 3}), tmp_path)
    assert list(tmp_path.iterdir()) == []
