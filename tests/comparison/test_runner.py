"""The runner: every cell once, whatever is killed in between."""

import signal
import subprocess
import time

import pytest
import torch
from command_cases import exit_code, run_cell, started
from comparison_cases import small

from physinv.comparison import journal
from physinv.comparison.cells import Cell, cells
from physinv.comparison.recipe import load_benchmark
from physinv.comparison.runner import pending, run_benchmark
from physinv.comparison.workers import Processes, default_jobs
from physinv.config.devices import cores
from physinv.config.seeds import seeds
from physinv.data.recipe import Splits
from physinv.processes.parameters import build
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One finished run with a method that does not apply."""
    out = tmp_path_factory.mktemp("results") / "ou"
    benchmark = small(methods=["exact", "linear", "fno"], seeds=[1])
    heard = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "run", run_cell)
        failed = run_benchmark(
            benchmark, out, device=CPU, jobs=2, progress=lambda done, text: heard.append((done, text))
        )
    return benchmark, out, failed, heard


def test_a_run_leaves_one_record_per_cell_with_all_that_is_needed_to_judge_it(results):
    benchmark, out, failed, heard = results
    records = journal.read(out / "cells.jsonl")
    assert failed == 0
    assert len(records) == 3
    assert {r["key"] for r in records} == {c.key for c in cells(benchmark)}
    assert heard[-1][0] == 1
    for r in records:
        assert set(r["versions"]) >= {"physinv", "torch", "numpy"}
        assert {"commit", "hardware", "device", "threads", "date"} <= set(r)
        if r["method"] == "fno":
            assert r["error"].startswith("does not apply: ")
        else:
            assert r["error"] is None
            assert r["cost"]["observations"] == 60
            assert 100 < r["cost"]["peak_memory_mb"] < 4000  # a Python with torch, no more
    assert not (out / ".work").exists()
    assert sorted(p.name for p in (out / "examples").iterdir()) == ["exact.npz", "linear.npz"]


def test_the_figures_of_a_cell_are_those_of_the_same_metrics_by_hand(results, tmp_path):
    """The exact method, drawn again here from the same seed and data."""
    from physinv.data.dataset import TrajectoryDataset
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan
    from physinv.evaluation import metrics

    benchmark, out, _, _ = results
    (record,) = (r for r in journal.read(out / "cells.jsonl") if r["method"] == "exact" and r["seed"] == 1)
    simulator = build(OrnsteinUhlenbeck, benchmark.parameters)
    generate(DatasetPlan(simulator, benchmark.splits.model_dump(), 1, "ornstein-uhlenbeck"), tmp_path / "d")
    test = TrajectoryDataset(tmp_path / "d" / "data" / "test").load()
    truth, final = test.states(0, limit=60), test.states(-1, limit=60)
    generator = seeds(1).child("comparison", "samples").generator()
    samples = simulator.exact().sample(final, 4, generator=generator)
    assert record["metrics"]["crps"] == pytest.approx(float(metrics.crps(samples, truth)), rel=1e-6)
    assert record["metrics"]["energy_score"] == pytest.approx(float(metrics.energy_score(samples, truth)), rel=1e-6)
    assert record["metrics"]["log_prob"] == pytest.approx(
        float(simulator.exact().log_prob(truth, final).mean() / truth[0].numel()), rel=1e-5
    )


def test_nothing_is_done_twice_and_a_wider_recipe_does_only_what_is_new(results):
    benchmark, out, _, _ = results
    before = (out / "cells.jsonl").read_bytes()
    assert pending(benchmark, out) == []
    assert run_benchmark(benchmark, out, device=CPU, jobs=1) == 0
    assert (out / "cells.jsonl").read_bytes() == before
    wider = small(methods=["exact", "linear", "fno", "physics"], seeds=[1, 2])
    assert [(c.method, c.config["seed"]) for c in pending(wider, out) if c.config["seed"] == 1] == [("physics", 1)]
    assert len(pending(wider, out)) == 5


def test_results_of_another_recipe_are_put_aside_not_lost(results, tmp_path):
    _, out, _, _ = results
    place = tmp_path / "copy"
    place.mkdir()
    (place / "cells.jsonl").write_bytes((out / "cells.jsonl").read_bytes())
    other = small(methods=["exact", "linear", "fno"], seeds=[1], samples=5)
    run_benchmark(other, place, device=CPU, only=[])
    assert journal.read(place / "cells.jsonl") == []
    assert len(journal.read(place / "superseded.jsonl")) == 3
    first = small(methods=["exact", "linear", "fno"], seeds=[1])
    run_benchmark(first, place, device=CPU, only=[])  # the first recipe again: its results come back
    assert len(journal.read(place / "cells.jsonl")) == 3
    assert journal.read(place / "superseded.jsonl") == []


def test_cells_on_other_data_than_the_latest_of_their_seed_are_run_again(results, tmp_path, monkeypatch):
    """As after an update that makes other data of a seed: a new method is run, and the older ones after it."""
    _, out, _, _ = results
    monkeypatch.setattr(Processes, "run", run_cell)
    (tmp_path / "cells.jsonl").touch()
    before = {record["method"]: record for record in journal.read(out / "cells.jsonl")}
    for method in ("exact", "fno"):
        older = {"data": "of an earlier version", "date": "2026-01-02T03:04:05+00:00"}
        journal.append(tmp_path / "cells.jsonl", {**before[method], **older})
    benchmark = small(methods=["exact", "linear", "fno"], seeds=[1])
    assert [cell.method for cell in pending(benchmark, tmp_path)] == ["linear"]
    run_benchmark(benchmark, tmp_path, device=CPU, jobs=1)
    after = {record["method"]: record for record in journal.read(tmp_path / "cells.jsonl")}
    assert after["exact"]["data"] == after["linear"]["data"] == before["exact"]["data"]
    assert after["fno"]["data"] == "of an earlier version"  # which does not apply, whatever the data
    assert pending(benchmark, tmp_path) == []


def test_a_recipe_that_cannot_be_built_touches_no_results(results, tmp_path):
    _, out, _, _ = results
    place = tmp_path / "copy"
    place.mkdir()
    before = (out / "cells.jsonl").read_bytes()
    (place / "cells.jsonl").write_bytes(before)
    with pytest.raises(ValueError, match="has no parameter `temperatur`"):
        run_benchmark(small(parameters={"temperatur": 1}), place, device=CPU)
    assert (place / "cells.jsonl").read_bytes() == before
    assert {p.name for p in place.iterdir()} == {"cells.jsonl"}


@pytest.mark.parametrize("name", ["recipe.json", "table.md", ".work"])
def test_files_of_others_with_names_of_results_are_not_touched(name, tmp_path):
    (tmp_path / name).write_text("[1]")
    with pytest.raises(FileExistsError, match=f"{name} is not of a benchmark, and is not replaced; choose another"):
        run_benchmark(small(), tmp_path, device=CPU)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "[1]")]


def test_a_killed_run_goes_on_and_its_cells_die_with_it(tmp_path):
    """SIGKILL in the middle of a long cell: what was finished stays, the orphan ends, the lock is free."""
    recipe = tmp_path / "b.toml"
    recipe.write_text(
        'simulator = "ornstein-uhlenbeck"\nmethods = ["exact", "physinv"]\nbudget = 600\nobservations = 20\n'
        "[splits]\ntrain = 100\nvalid = 20\ntest = 20\n"
    )
    out = tmp_path / "out"
    with started(f"benchmark run {recipe} --out {out} --jobs 1", cwd=tmp_path) as (process, _, _):
        deadline = time.monotonic() + 240
        while not list((out / ".work").glob("*.run")) or len(journal.read(out / "cells.jsonl")) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with pytest.raises(BlockingIOError, match="is being written by"):
            run_benchmark(load_benchmark(recipe), out, device=CPU, only=["exact"])
        process.kill()
        assert exit_code(process) == -signal.SIGKILL
    assert [c.method for c in pending(load_benchmark(recipe), out)] == ["physinv"]
    deadline = time.monotonic() + 60
    while _working(out):
        assert time.monotonic() < deadline, "the cell goes on without its runner"
        time.sleep(0.2)
    assert run_benchmark(load_benchmark(recipe), out, device=CPU, only=["exact"]) == 0


def _working(out):
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return any("physinv.comparison.cell" in line and str(out) in line for line in listed.splitlines())


def test_a_cell_that_fails_leaves_its_log_and_is_tried_again(tmp_path, monkeypatch):
    """Depth 9 asks for grids that this field does not have: the U-Net refuses."""
    benchmark = small(
        simulator="heat",
        parameters={"size": 8, "dimension": 1, "steps": 2},
        methods=["physinv"],
        settings={"depth": 9},
    )
    monkeypatch.setattr(Processes, "run", run_cell)
    assert run_benchmark(benchmark, tmp_path / "r", device=CPU, jobs=1) == 1
    (record,) = journal.read(tmp_path / "r" / "cells.jsonl")
    assert record["error"].startswith("failed: ")
    assert "depth" in record["error"]
    assert "Traceback" in next((tmp_path / "r" / "logs").iterdir()).read_text()
    assert len(pending(benchmark, tmp_path / "r")) == 1


def test_memory_bounds_the_number_of_cells_at_a_time():
    one = Cell(small(), "linear", 0)
    assert 1 <= default_jobs([one], CPU) <= cores()
    assert default_jobs([one], torch.device("meta")) == 1
    huge = small(
        simulator="heat", parameters={"size": 256, "steps": 512}, splits=Splits(train=10**6, valid=1, test=100)
    )
    assert default_jobs([Cell(huge, "linear", 0)], CPU) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"splits": Splits(train=10**14, valid=20, test=100)},
            r"a dataset of 10{8}\d* trajectories takes .* of disk",
        ),
        ({"samples": 10**14}, r"`samples` = 10+ of \d+ observations takes .* of memory, .* are free; take fewer"),
    ],
    ids=["splits", "samples"],
)
def test_what_fits_nowhere_touches_no_results(changes, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        run_benchmark(small(**changes), tmp_path / "out", device=torch.device("cpu"))
    assert not (tmp_path / "out").exists()
