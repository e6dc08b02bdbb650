"""The page about unknown parameters is true: its commands run, and its table of parameters is that of the processes."""

import dataclasses
import re
from pathlib import Path

import torch

from physinv.cli import app as cli
from physinv.data.recipe import Recipe, Splits
from physinv.processes.registry import simulators

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "unknown_parameters.md").read_text("utf-8")
QUICK = "--steps 20 --set validate_windows=64 --set batch=32 --set width=8"


def test_commands_run_as_they_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines():
        words = re.sub(r"--budget \S+", QUICK, line.removeprefix("$ physinv "))
        words = words.replace("size=16", "size=6").replace("--limit 100", "--limit 45")
        words = words.replace("--method physinv", "--method linear")  # which takes no training beyond that of the law
        few = " --train 60 --valid 20 --test 45" if words.startswith("generate") else ""
        cli.main((words + few).split())
    out = capsys.readouterr().out
    for name in re.findall(r"^\| `(\w+)` \|", PAGE[PAGE.index("## What evaluate says") :], re.MULTILINE):
        assert name.replace("NAME", "diffusivity")[:16] in out, name


def test_the_table_names_every_parameter_that_can_vary():
    rows = re.findall(r"^\| (`.*`) \| (`.*`) \|$", PAGE[PAGE.index("## Which parameters") :], re.MULTILINE)
    told = {
        (process, name)
        for left, right in rows
        for process in re.findall(r"`([\w-]+)`", left)
        for name in re.findall(r"`(\w+)`", right)
    }
    found = {
        (process, f.name)
        for process, cls in simulators().items()
        for f in dataclasses.fields(cls)
        if f.metadata.get("varies") and cls.__module__.startswith("simulators.")
    }
    assert told == found
    for process, cls in simulators().items():
        for f in dataclasses.fields(cls):
            if f.metadata.get("varies") and cls.__module__.startswith("simulators."):
                assert re.search(rf"{f.name}: .*May have a prior\.", cls.__doc__), (process, f.name)


def test_the_python_of_the_page_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found = {}
    exec(block.replace("(100)", "(6)"), found)
    assert found["states"].shape == (6, 33, 2, 16, 16)
    assert found["exact"].shape == (6, 16, 2, 16, 16)
    assert torch.equal(found["values"], found["states"][:, 0, 1, 0, :1])


def test_recipes_have_the_same_priors():
    splits = Splits(train=1, valid=1, test=1)
    recipe = Recipe(simulator="heat", parameters={"diffusivity": {"log_uniform": [0.5, 4.0]}}, splits=splits)
    plan = recipe.plan()
    assert plan.simulator.unknown == ("diffusivity",)
    assert plan.name == "heat"
