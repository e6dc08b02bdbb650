"""The commands of the guide are true: they are run as they stand, with training cut to a few updates."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer

from physinv.cli import app as cli

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"


def test_recorded_data(tmp_path, monkeypatch, capsys):
    """The commands for PDEBench's file, on a small one of the same name and layout."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with h5py.File("1D_Burgers_Sols_Nu0.01.hdf5", "w") as file:
        steps = rng.normal(size=(100, 41, 16)).astype("f4") * 0.1
        steps[:, 0] *= 10
        file["tensor"] = np.cumsum(steps, axis=1)
        file["t-coordinate"], file["x-coordinate"] = np.linspace(0, 1, 42), np.arange(16) / 16
    block = re.search(r"```console\n(.*?)```", (GUIDE / "recorded_data.md").read_text("utf-8"), re.DOTALL)[1]
    quick = "--steps 20 --set validate_windows=64 --set batch=256 --set width=8 --set components=1"
    lines = [re.sub(r"--budget \S+", quick, line.removeprefix("$ physinv ")) for line in block.splitlines()]
    assert [line.split()[0] for line in lines] == ["import", "train", "reconstruct", "evaluate"]
    for line in lines:
        cli.main(line.split())
    table = capsys.readouterr().out
    assert "recorded, auto (" in table
    assert "reconstruction_mse" not in table


PAGES = [GUIDE.parents[1] / "README.md", *GUIDE.parent.rglob("*.md"), *GUIDE.parents[1].glob("*/**/README.md")]
COMMAND = re.compile(r"^(?:    |\$ )physinv ([a-z].*?)(?:\s+#.*|\s+>.*)?$", re.MULTILINE)
COMMANDS = sorted({line for page in PAGES if "_build" not in page.parts for line in COMMAND.findall(page.read_text())})


def test_pages_show_commands():
    assert len(COMMANDS) > 50


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_a_page_shows_is_one_that_the_program_takes(line):
    """Verbs, arguments and options, without running them."""
    command, taken = typer.main.get_command(cli.app), []
    verbs = list(command.commands.values())
    for verb in verbs:
        verbs += getattr(verb, "commands", {}).values()
        verb.callback = lambda **values: taken.append(values)
    command(args=line.split(), standalone_mode=False)
    assert taken
