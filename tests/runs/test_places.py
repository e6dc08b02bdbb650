"""A run is replaced as a whole, by one that can be gone on with, and two never train in one folder."""

import shutil

import pytest
from kill_cases import content, killed_everywhere

from physinv.cli.info import describe_path
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.runs.places import replacement
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

pytestmark = pytest.mark.usefixtures("few_judges")

TINY = {"width": 8, "depth": 1, "batch": 32, "validate_every": 2, "validate_windows": 32}


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    generate(
        DatasetPlan(OrnsteinUhlenbeck(dim=2, steps=2), {"train": 40, "valid": 20}, 0, "ornstein-uhlenbeck"), folder
    )
    return [TrajectoryDataset(folder / "data" / split) for split in ("train", "valid")]


def train(run, data, method="linear", steps=4, settings=TINY, **options):
    return train_run(run, *data, method=method, settings=settings, budget=Budget(steps=steps), **options)


def stop_at(share):
    def progress(done, record):
        if done >= share:
            raise StopError

    return progress


def test_a_kill_at_any_call_leaves_the_old_run_or_the_new_one(data, tmp_path, monkeypatch):
    train(tmp_path / "old", data)
    train(tmp_path / "new", data, seed=1)
    (tmp_path / "old" / "notes.txt").write_text("of the user")
    old, run, seen = content(tmp_path / "old"), tmp_path / "run", set()
    new = {**content(tmp_path / "new"), "notes.txt": old["notes.txt"]}
    shutil.copytree(tmp_path / "old", run)
    for number in killed_everywhere(monkeypatch, lambda number: train(run, data, seed=1, overwrite=True)):
        assert describe_path(run)["whole"]  # reading completes what was decided
        found = content(run)
        assert found in (old, new), number
        seen.add(found == new)
        if replacement(run) is not None:  # the new one is as good as ever
            train(run, data, seed=1, resume=True)
            assert content(run) == new
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "old", run)
    assert seen == {False, True}


@pytest.mark.parametrize("physics", ["simulator", "learned"])
def test_a_replacement_that_was_stopped_is_gone_on_with(physics, data, tmp_path):
    """The old run stays whole meanwhile; resumed, the new one has the bytes of one that nobody stopped."""
    settings = {**TINY, "physics": physics}
    new = {"method": "physinv", "settings": settings, "seed": 1, "steps": 8}
    train(tmp_path / "whole", data, **new)
    run = tmp_path / "run"
    train(run, data)
    old = content(run)
    with pytest.raises(StopError):
        train(run, data, **new, overwrite=True, progress=stop_at(0.6))
    assert content(run) == old
    assert load_run(run).method == "linear"
    assert "`train --resume` goes on with it" in describe_path(run)["replacement"]

    train(run, data, resume=True)  # the old one goes on, too, since only it is described so
    assert load_run(run).method == "linear"
    train(run, data, **new, resume=True)
    assert content(run)["model.safetensors"] == content(tmp_path / "whole")["model.safetensors"]
    assert content(run).keys() == content(tmp_path / "whole").keys()
    assert not list(run.glob(".physinv*"))
    assert "replacement" not in describe_path(run)


def test_overwriting_begins_afresh(data, tmp_path):
    run = tmp_path / "run"
    train(run, data)
    for seed in (1, 2):  # the second replacement has nothing of the first
        with pytest.raises(StopError):
            train(run, data, "physinv", seed=seed, overwrite=True, progress=stop_at(0))
    train(run, data, "physinv", seed=1, overwrite=True)
    train(tmp_path / "whole", data, "physinv", seed=1)
    assert content(run)["model.safetensors"] == content(tmp_path / "whole")["model.safetensors"]


def test_a_kill_at_any_call_of_a_run_that_goes_on_keeps_an_answer(data, tmp_path, monkeypatch):
    """Extended to a larger budget, a finished run stays finished, with the old answer or the new one."""
    old, new, run = tmp_path / "old", tmp_path / "new", tmp_path / "run"
    train(old, data, "regression", steps=2)
    shutil.copytree(old, new)
    train(new, data, "regression", steps=3, resume=True)
    shutil.copytree(old, run)
    answers = [(folder / "model.safetensors").read_bytes() for folder in (old, new)]

    def work(number):
        train(run, data, "regression", steps=3, resume=True)

    for number in killed_everywhere(monkeypatch, work):
        assert describe_path(run)["whole"], number
        assert (run / "model.safetensors").read_bytes() in answers
        shutil.rmtree(run)
        shutil.copytree(old, run)


def test_files_of_a_run_without_its_description_are_refused(data, tmp_path):
    run = tmp_path / "run"
    train(run, data)
    (run / "run.json").unlink()
    before = content(run)
    for options in ({}, {"resume": True}):
        with pytest.raises(FileExistsError, match=r"run holds summary\.safetensors of a run without its run\.json"):
            train(run, data, **options)
        assert content(run) == before
    train(run, data, overwrite=True)
    assert load_run(run).method == "linear"


def test_two_at_once_are_refused(data, tmp_path):
    told = []

    def second(done, record):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(BlockingIOError, match=r"run is being written by `physinv train` \(process \d+ on "):
                train(tmp_path / "run", data, **options)
        told.append(record.step)

    train(tmp_path / "run", data, "regression", progress=second)
    assert 0 in told
    train(tmp_path / "alone", data, "regression")
    assert content(tmp_path / "run")["model.safetensors"] == content(tmp_path / "alone")["model.safetensors"]
