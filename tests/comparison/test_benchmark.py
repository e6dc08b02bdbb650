"""The runner: every cell once, whatever is killed in between; recipes that are refused in one line; honest costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from physinv import methods as baselines
from physinv.cli.app import main
from physinv.comparison import journal
from physinv.comparison.cell import Job, _counted, run_cell
from physinv.comparison.cells import Cell, cells, check_methods
from physinv.comparison.recipe import Benchmark, changed, load_benchmark, quickened
from physinv.comparison.records import read_records
from physinv.comparison.runner import _jobs, pending, run_benchmark
from physinv.comparison.scores import Drawn, score
from physinv.data.recipe import Splits
from physinv.processes.simulator import build
from physinv.reports.tables import failures
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
RECIPES = sorted((ROOT / "benchmarks").glob("*.toml"))


def small(**changes):
    """A comparison that takes seconds."""
    base = {
        "simulator": "ornstein-uhlenbeck",
        "parameters": {"steps": 4},
        "splits": Splits(train=300, valid=50, test=60),
        "methods": ["exact", "linear"],
        "budget": 0.1,
        "observations": 60,
        "samples": 4,
    }
    return Benchmark(**(base | changes))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One finished run with a method that does not apply."""
    out = tmp_path_factory.mktemp("results") / "ou"
    benchmark = small(methods=["exact", "linear", "fno"], seeds=[0, 1])
    heard = []
    failed = run_benchmark(benchmark, out, device=CPU, jobs=2, progress=lambda done, text: heard.append((done, text)))
    return benchmark, out, failed, heard


def test_a_run_leaves_one_record_per_cell_with_all_that_is_needed_to_judge_it(results):
    benchmark, out, failed, heard = results
    records = journal.read(out / "cells.jsonl")
    assert failed == 0
    assert len(records) == 6
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
    from physinv.evaluation import metrics

    benchmark, out, _, _ = results
    (record,) = (r for r in journal.read(out / "cells.jsonl") if r["method"] == "exact" and r["seed"] == 1)
    simulator = build(OrnsteinUhlenbeck, benchmark.parameters)
    generate(simulator, "ornstein-uhlenbeck", benchmark.splits.model_dump(), 1, tmp_path / "d")
    test = TrajectoryDataset(tmp_path / "d" / "data" / "test").load()
    truth, final = test.states(0, limit=60), test.states(-1, limit=60)
    samples = simulator.exact().sample(final, 4, generator=torch.Generator().manual_seed(1))
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
    wider = small(methods=["exact", "linear", "fno", "physics"], seeds=[0, 1])
    assert [c.method for c in pending(wider, out)] == ["physics", "physics"]


def test_results_of_another_recipe_are_put_aside_not_lost(results, tmp_path):
    _, out, _, _ = results
    place = tmp_path / "copy"
    place.mkdir()
    (place / "cells.jsonl").write_bytes((out / "cells.jsonl").read_bytes())
    other = small(methods=["exact", "linear", "fno"], seeds=[0, 1], samples=5)
    run_benchmark(other, place, device=CPU, only=[])
    assert journal.read(place / "cells.jsonl") == []
    assert len(journal.read(place / "superseded.jsonl")) == 6
    first = small(methods=["exact", "linear", "fno"], seeds=[0, 1])
    run_benchmark(first, place, device=CPU, only=[])  # the first recipe again: its results come back
    assert len(journal.read(place / "cells.jsonl")) == 6
    assert journal.read(place / "superseded.jsonl") == []


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


def test_few_observations_that_differ_are_no_atoms(generator):
    """Eight fields and a biased ensemble without spread: moved to the nearest truth it would look perfect."""
    truth = torch.randn(8, 1, 6, 6, generator=generator)
    samples = (truth + 0.3)[:, None] + 1e-3 * torch.randn(8, 9, 1, 6, 6, generator=generator)
    metrics, _ = score(Drawn(truth, truth, samples, samples.mean(1)), Heat(size=6), truth.mean(0), seed=0)
    assert metrics["coverage_90"] == pytest.approx(
        0.5
    )  # all truths below all members: half of that rank counts as inside


def test_a_figure_that_is_not_finite_is_told(tmp_path):
    raw = {
        "schema": 1,
        "key": "k",
        "system": "s",
        "method": "linear",
        "seed": 0,
        "metrics": {"crps": 0.1, "c2st": None},
    }
    (tmp_path / "cells.jsonl").write_text(json.dumps(raw) + "\n")
    (record,) = read_records(tmp_path)
    assert record.lost == ("c2st",)
    assert failures([record]) == ["linear (seed 0): c2st not finite, left out of the means"]


def test_a_torn_line_is_no_result_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "cells.jsonl"
    journal.append(path, {"key": "a", "v": 1, "error": None})
    with path.open("a") as file:
        file.write('{"key": "b", "v"')
    journal.append(path, {"key": "c", "v": 3, "error": None})
    journal.append(path, {"key": "a", "v": 4, "error": None})
    assert journal.read(path) == [{"key": "a", "v": 4, "error": None}, {"key": "c", "v": 3, "error": None}]


def test_a_line_that_is_no_record_is_refused(tmp_path):
    for line in ("3", '{"v": 1}'):
        (tmp_path / "cells.jsonl").write_text(line + "\n")
        with pytest.raises(ValueError, match="holds a line that is no record"):
            journal.read(tmp_path / "cells.jsonl")


def test_a_killed_run_goes_on_and_its_cells_die_with_it(tmp_path):
    """SIGKILL in the middle of a long cell: what was finished stays, the orphan ends, the lock is free."""
    recipe = tmp_path / "b.toml"
    recipe.write_text(
        'simulator = "ornstein-uhlenbeck"\nmethods = ["exact", "physinv"]\nbudget = 600\nobservations = 20\n'
        "[splits]\ntrain = 100\nvalid = 20\ntest = 20\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "physinv", "benchmark", "run", str(recipe), "--out", str(out), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list((out / ".work").glob("*.run")) or len(journal.read(out / "cells.jsonl")) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with pytest.raises(BlockingIOError, match="in use by another run"):
            run_benchmark(load_benchmark(recipe), out, device=CPU, only=["exact"])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [c.method for c in pending(load_benchmark(recipe), out)] == ["physinv"]
    deadline = time.monotonic() + 60
    while _working(out):
        assert time.monotonic() < deadline, "the cell goes on without its runner"
        time.sleep(0.2)
    assert run_benchmark(load_benchmark(recipe), out, device=CPU, only=["exact"]) == 0


def _working(out):
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return any("physinv.comparison.cell" in line and str(out) in line for line in listed.splitlines())


def test_a_cell_that_fails_leaves_its_log_and_is_tried_again(tmp_path):
    """Depth 9 asks for grids that this field does not have: the U-Net refuses."""
    benchmark = small(
        simulator="heat",
        parameters={"size": 8, "dimension": 1, "steps": 2},
        methods=["physinv"],
        settings={"depth": 9},
    )
    assert run_benchmark(benchmark, tmp_path / "r", device=CPU, jobs=1) == 1
    (record,) = journal.read(tmp_path / "r" / "cells.jsonl")
    assert record["error"].startswith("failed: ")
    assert "depth" in record["error"]
    assert "Traceback" in next((tmp_path / "r" / "logs").iterdir()).read_text()
    assert len(pending(benchmark, tmp_path / "r")) == 1


def test_network_evaluations_and_weights_are_counted_whoever_calls():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))

        def forward(self, x):
            return self.network(x)

    class Keyworded(Wrapped):
        def forward(self, *, x):
            return self.network(x)

    model = Wrapped()
    with _counted() as count:
        model(torch.zeros(5, 2))
        model.network(torch.zeros(7, 2))
        nn.ReLU()(torch.zeros(9))  # nothing to learn: no network
        Keyworded()(x=torch.zeros(4, 2))
    assert count.states == 16
    assert list(count.weights.values()) == [17, 17]  # 2 x 3 + 3 + 3 x 2 + 2, of each of the two networks
    model(torch.zeros(5, 2))
    assert count.states == 16


def test_one_solver_step_of_one_draw_is_one_evaluation(tmp_path):
    """physinv takes one evaluation a step (two images of the symmetry are one call each): 8 stored steps."""
    from physinv.data.generate import generate

    config = Cell(small(methods=["physinv"], parameters={"steps": 8}, observations=20), "physinv", 0).config
    simulator = build(OrnsteinUhlenbeck, config["parameters"])
    generate(simulator, "ornstein-uhlenbeck", config["splits"], 0, tmp_path / "d")
    result = run_cell(Job(config, str(tmp_path / "d" / "data"), "", None, "cpu", 1))
    assert result["cost"]["network_evaluations"] == 8
    assert result["metrics"]["physics_residual"] == pytest.approx(1, abs=0.5)


def test_what_diverged_is_counted_and_replaced():
    heat = Heat(size=16, dimension=1, steps=2)
    run = heat.simulate(40, generator=torch.Generator().manual_seed(0))
    truth, final = run[:, 0], run[:, -1]
    samples = heat.exact().sample(final, 4, generator=torch.Generator().manual_seed(1))
    whole, _ = score(Drawn(truth, final, samples, samples.mean(1)), heat, truth.mean(0), seed=0)
    samples[:10, 0] = torch.nan
    samples[10:20, 1] = 1e9
    broken, curves = score(Drawn(truth, final, samples, samples.mean(1)), heat, truth.mean(0), seed=0)
    assert whole["diverged"] == 0
    assert broken["diverged"] == pytest.approx(20 / 160)
    assert all(torch.tensor(v).isfinite().all() for v in curves.values())
    assert whole["crps"] < broken["crps"] < 10 * whole["crps"]


def test_an_estimate_without_spread_scores_its_absolute_error():
    heat = Heat(size=16, dimension=1, steps=2)
    run = heat.simulate(40, generator=torch.Generator().manual_seed(0))
    guess = heat.exact().mean(run[:, -1])
    found, _ = score(Drawn(run[:, 0], run[:, -1], guess[:, None].expand(-1, 4, 1, 16), guess), heat, guess[0], seed=0)
    assert found["crps"] == pytest.approx(float((guess - run[:, 0]).abs().mean()), rel=1e-6)
    assert not {"coverage_90", "calibration_error", "spread_skill", "tarp_p"} & set(found)


def test_a_draw_near_a_point_of_the_prior_is_a_hit():
    """Fair coins, missed by 1e-4: calibrated, where ranks of the bare numbers say that all are too low."""
    from simulators.vectors.quadratic import Quadratic

    coin = torch.Generator().manual_seed(0)
    truth = torch.randint(2, (400, 1), generator=coin) * 2.0 - 1
    samples = torch.randint(2, (400, 9, 1), generator=coin) * 2.0 - 1 - 1e-4
    found, _ = score(Drawn(truth, truth, samples, samples.mean(1)), Quadratic(steps=4), truth.mean(0), seed=0)
    # five standard errors of a share of 400; ties count as fractions, so its variance is below that of a coin
    assert found["coverage_90"] == pytest.approx(0.9, abs=5 * (0.09 / 400) ** 0.5)
    assert found["sbc_p"] > 1e-3


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_is_whole(path):
    benchmark = load_benchmark(path)
    check_methods(benchmark)
    every = list(cells(benchmark))
    assert len({c.key for c in every}) == len(every)
    check_methods(quickened(benchmark))
    assert not quickened(benchmark).studies


def test_a_study_changes_one_thing():
    study = {"name": "horizon", "key": "parameters.horizon", "values": [1.0, 3.0], "methods": ["linear"], "seeds": [4]}
    main_cell, _, one, three = cells(small(studies=[study]))
    assert (one.method, one.seed, one.value) == ("linear", 4, 1.0)
    assert main_cell.study is None
    assert one.config["parameters"] == {"steps": 4, "horizon": 1.0}
    assert {k for k in one.config if one.config[k] != three.config[k]} == {"parameters"}
    assert one.data_key != three.data_key


def test_keys_do_not_depend_on_the_company():
    alone = next(cells(small(methods=["linear"])))
    assert alone.key in {c.key for c in cells(small(seeds=[3, 0])) if c.method == "linear" and c.seed == 0}
    assert alone.key != Cell(small(budget=0.2), "linear", 0).key
    assert alone.key == Cell(small(options={"ensemble-kalman": {"members": 9}}), "linear", 0).key


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("budgt = 3", "unknown key `budgt`; did you mean `budget`?"),
        ("budget = -1.0", "`budget` must be greater than 0, got -1.0"),
        ("observations = 70", "`observations` must be at most the 60 of `splits.test`"),
        ('methods = ["liner"]', "there is no method `liner`; did you mean `linear`?"),
        ('settings = { loss = "denoise" }', "there is no objective `denoise`; did you mean `denoising`?"),
        (
            "[options.ensemble-kalman]\nmember = 3",
            "method `ensemble-kalman` has no option `member`; did you mean `members`?",
        ),
        ('[[studies]]\nname = "a"\nkey = "parameter.horizon"\nvalues = [1]', "did you mean `parameters`?"),
        (
            '[[studies]]\nname = "a"\nkey = "options.ensemble-kalman.member"\nvalues = [9]',
            "method `ensemble-kalman` has no option `member`; did you mean `members`?",
        ),
        (
            '[[studies]]\nname = "a"\nkey = "budget"\nvalues = [1.0, 1.0]',
            "values of study a must be different, got 1.0 twice",
        ),
        ("seeds = [0, 1, 0]", "seeds must be different, got 0 twice"),
        ('methods = ["linear", "linear"]', "methods must be different, got linear twice"),
        ("budget = inf", "`budget` must be a finite number, got inf"),
        ("budget = [", "is not valid TOML"),
    ],
)
def test_bad_recipes_are_refused_in_one_line(tmp_path, capsys, text, says):
    lines = {
        "simulator": '"ornstein-uhlenbeck"',
        "methods": '["linear"]',
        "budget": "1.0",
        "observations": "20",
    }
    lines = {k: v for k, v in lines.items() if not text.startswith(k)}
    path = tmp_path / "b.toml"
    split = "[splits]\ntrain = 100\nvalid = 20\ntest = 60\n"
    head = "\n".join(f"{k} = {v}" for k, v in lines.items()) + "\n"
    path.write_text(head + split + text if text.startswith("[") else head + text + "\n" + split)
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", str(path), "--out", str(tmp_path / "o")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert says in error.replace("\n", " ")
    assert "Traceback" not in error
    assert not (tmp_path / "o").exists()


def test_unknown_parts_of_a_benchmark_are_refused():
    with pytest.raises(ValueError, match=r"`budgets\.x` names no part of a benchmark; did you mean `budget`"):
        changed(small(), "budgets.x", 3)
    with pytest.raises(ValueError, match="must name a single value"):
        changed(small(), "budget.x", 3)


def test_the_command_line_runs_reports_and_compares(tmp_path, capsys, monkeypatch):
    path = tmp_path / "tiny.toml"
    path.write_text(
        'simulator = "ornstein-uhlenbeck"\nmethods = ["exact", "linear"]\nbudget = 1\nobservations = 20\nsamples = 4\n'
        "[splits]\ntrain = 100\nvalid = 20\ntest = 20\n[quick]\nsamples = 3\n"
    )
    main(["benchmark", str(path), "--out", str(tmp_path / "a"), "--json", "--jobs", "2"])
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["methods"]) == {"exact", "linear"}
    assert (tmp_path / "a" / "report.html").stat().st_size > 10_000
    main(["benchmark", "report", str(tmp_path / "a")])
    assert "exact" in capsys.readouterr().out
    shutil.copytree(tmp_path / "a", tmp_path / "benchmarks" / "results" / "tiny")
    monkeypatch.chdir(tmp_path)
    main(["benchmark", "report", "tiny"])  # by name
    assert "exact" in capsys.readouterr().out
    main(["benchmark", "compare", "a", "tiny", "--json"])
    json.loads(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main(["benchmark", "report", "tinny"])
    assert "got tinny; run the benchmark first" in capsys.readouterr().err
    main(["benchmark", "methods", "--json"])
    assert set(json.loads(capsys.readouterr().out)) == set(baselines.METHODS)
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", "nothing-of-this-name"])
    assert stopped.value.code == 2
    assert "there is no benchmark or simulator" in capsys.readouterr().err


def test_memory_bounds_the_number_of_cells_at_a_time():
    one = Cell(small(), "linear", 0)
    assert 1 <= _jobs([one], CPU) <= (os.cpu_count() or 1)
    assert _jobs([one], torch.device("meta")) == 1
    huge = small(
        simulator="heat", parameters={"size": 256, "steps": 512}, splits=Splits(train=10**6, valid=1, test=100)
    )
    assert _jobs([Cell(huge, "linear", 0)], CPU) == 1
