"""The verbs of `physinv benchmark`, in this process and as the installed command."""

import json
import shutil
from pathlib import Path

import pytest
from command_cases import run_cell, run_command

from physinv.cli.app import main
from physinv.comparison import journal
from physinv.comparison.cells import check_benchmark
from physinv.comparison.recipe import load_benchmark, quickened
from physinv.comparison.shipped import draft_recipe, find_benchmark, shipped_recipes
from physinv.comparison.workers import Processes
from physinv.methods.registry import method_names

ROOT = Path(__file__).resolve().parents[2]
RECIPES = shipped_recipes()


def test_a_recipe_is_the_same_in_every_working_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    main(["benchmark", "recipe", "burgers"])
    shown = run_command("benchmark recipe burgers", cwd=tmp_path)
    assert shown.stdout == capsys.readouterr().out
    (tmp_path / "copy.toml").write_text(shown.stdout)
    benchmark = load_benchmark(tmp_path / "copy.toml")
    assert benchmark == find_benchmark("burgers")
    assert len(benchmark.methods) == 15
    assert benchmark.seeds == [0, 1, 2]


def test_without_a_recipe_the_command_says_what_there_is_and_how_to_write_one(tmp_path, capsys):
    done = run_command("benchmark kpz", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for word in (*RECIPES, "physinv benchmark recipe kpz > mine.toml"):
        assert word in done.stderr
    with pytest.raises(SystemExit):
        main(["benchmark", "burger"])
    assert "did you mean `burgers`?" in capsys.readouterr().err
    (tmp_path / "kpz.toml").write_text(draft_recipe("kpz"))
    benchmark = load_benchmark(tmp_path / "kpz.toml")
    check_benchmark(benchmark)
    assert quickened(benchmark).splits.train == 500
    assert not list(tmp_path.glob("benchmarks"))


WALK = '''
from dataclasses import dataclass

import torch

from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class Walk(Simulator):
    """Nothing but noise."""

    title, equation = "walk", "dx = dW"
    layout = VectorLayout("x", 2)

    def drift(self, x, t):
        return 0 * x

    def diffusion(self, t):
        return 1.0

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 2), generator=generator, device=device, dtype=dtype)
'''


def test_a_process_from_outside_is_refused_with_the_command_that_writes_its_recipe(tmp_path, monkeypatch, capsys):
    (tmp_path / "walk.py").write_text(WALK)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["benchmark", "walk:Walk"])
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "`physinv benchmark recipe walk:Walk > mine.toml`, then `physinv benchmark mine.toml`" in told
    main(["benchmark", "recipe", "walk:Walk"])
    Path("mine.toml").write_text(capsys.readouterr().out)
    benchmark = find_benchmark("mine.toml")
    assert benchmark.simulator == "walk:Walk"
    check_benchmark(benchmark)
    with pytest.raises(SystemExit):
        main(["benchmark", "recipe", "walk:Wlak"])
    assert "simulator `walk:Wlak` can't be imported" in capsys.readouterr().err


MINE = '''
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Still:
    factor: float

    def mean(self, final: Tensor) -> Tensor:
        return self.factor * final

    def sample(self, final, n, *, generator=None):
        return self.mean(final)[:, None].expand(-1, n, *final.shape[1:])


def fit_still(problem, *, factor: float = 1.0):
    """The observation itself."""
    return Still(factor)


def fit_nothing(problem):
    return None
'''


def test_a_method_from_outside_is_compared_by_its_place(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "b.toml").write_text(
        'simulator = "ornstein-uhlenbeck"\nmethods = ["exact", "linear"]\nbudget = 1.0\nobservations = 20\n'
        'samples = 4\n[splits]\ntrain = 100\nvalid = 20\ntest = 20\n[options."mine:fit_still"]\nfactor = 0.5\n'
    )
    words = ("benchmark", "b.toml", "--out", "o", "--jobs", "2", "--methods")
    done = run_command((*words, "mine:fit_still,mine:fit_nothing", "--json"), cwd=tmp_path)
    assert done.returncode == 2  # one of them failed
    assert set(json.loads(done.stdout)["methods"]) == {"mine:fit_still", "mine:fit_nothing"}
    records = {r["method"]: r for r in journal.read(tmp_path / "o" / "cells.jsonl")}
    assert records["mine:fit_still"]["options"] == {"factor": 0.5}
    assert "must return an answer with `sample` and `mean`, got None" in records["mine:fit_nothing"]["error"]
    assert "The observation itself." not in (tmp_path / "b.toml").read_text()
    assert "The observation itself." in (tmp_path / "o" / "report.html").read_text()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([*words, "mine:fit_stil"])
    told = capsys.readouterr().err
    assert (stopped.value.code, told.count("\n")) == (2, 1)
    assert "method `mine:fit_stil` can't be imported" in told


def test_a_comparison_with_something_worse_exits_with_1(tmp_path, monkeypatch, capsys):
    def record(seed, crps):
        metrics = {"crps": crps, "energy_score": 0.3}
        shared = {"schema": 1, "system": "s", "method": "linear", "curves": {}, "cost": {}, "error": None}
        return json.dumps({"key": f"{seed}", "seed": seed, "metrics": metrics, **shared}) + "\n"

    for name, shift in (("a", 0.0), ("b", 0.0), ("c", 0.1)):
        (tmp_path / name).mkdir()
        text = "".join(record(seed, 0.2 + 1e-4 * (seed % 3) + shift) for seed in range(4))
        (tmp_path / name / "cells.jsonl").write_text(text)
    worse = run_command("benchmark compare a c", cwd=tmp_path)
    assert worse.returncode == 1
    assert "worse" in worse.stdout
    assert worse.stderr == ""
    monkeypatch.chdir(tmp_path)
    main(["benchmark", "compare", "a", "b"])  # nothing is worse
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", "compare", "a", "c", "--json"])
    assert stopped.value.code == 1
    assert json.loads(capsys.readouterr().out)["worse"]


def test_the_command_line_runs_reports_and_compares(tmp_path, capsys, monkeypatch):
    path = tmp_path / "tiny.toml"
    path.write_text(
        'simulator = "ornstein-uhlenbeck"\nmethods = ["exact", "linear"]\nbudget = 1\nobservations = 20\nsamples = 4\n'
        "[splits]\ntrain = 100\nvalid = 20\ntest = 20\n[quick]\nsamples = 3\n"
    )
    monkeypatch.setattr(Processes, "run", run_cell)
    main(["benchmark", str(path), "--out", str(tmp_path / "a"), "--json", "--jobs", "2"])
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["methods"]) == {"exact", "linear"}
    assert (tmp_path / "a" / "report.html").stat().st_size > 10_000
    shutil.copytree(tmp_path / "a", tmp_path / "benchmarks" / "results" / "tiny")
    drawn = []  # both reports have been drawn once; here it is which folder they are of
    monkeypatch.setattr("physinv.reports.report.write_report", lambda folder: drawn.append(folder) or [folder])
    monkeypatch.chdir(tmp_path)
    for name, folder in ((str(tmp_path / "a"), tmp_path / "a"), ("tiny", Path("benchmarks/results/tiny"))):
        main(["benchmark", "report", name])
        assert "exact" in capsys.readouterr().out
        assert drawn[-1] == folder
    main(["benchmark", "compare", "a", "tiny", "--json"])
    json.loads(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main(["benchmark", "report", "tinny"])
    assert "got tinny; run the benchmark first" in capsys.readouterr().err
    main(["benchmark", "methods", "--json"])
    assert set(json.loads(capsys.readouterr().out)) == set(method_names())
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", "nothing-of-this-name"])
    assert stopped.value.code == 2
    assert "there is no recipe `nothing-of-this-name`" in capsys.readouterr().err
