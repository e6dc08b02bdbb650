"""The commands of the guide are true: they are run as they stand, with training cut to a few updates."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import typer
from recorded_cases import recorded

from physinv.cli import app as cli
from physinv.processes.layout import FieldLayout
from simulators.fields.burgers import Burgers

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


QUICK = "--steps 20 --set validate_windows=64 --set validate_every=10 --set batch=32 --set width=8"


def run_blocks(page, capsys):
    """Run the commands of a page of the guide as they stand, training and densities cut short; what they print."""
    for block in re.findall(r"```console\n(.*?)```", (GUIDE / page).read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            words = re.sub(r"--budget \S+", QUICK, line.removeprefix("$ physinv "))
            cli.main((f"{words} --certify 2" if words.startswith("reconstruct ") else words).split())
    return capsys.readouterr().out


def test_missing_points(tmp_path, monkeypatch, capsys):
    """A small sea with land, its latitude between walls, its longitude around the globe."""
    monkeypatch.chdir(tmp_path)
    rng, mask = np.random.default_rng(0), np.ones((5, 7), dtype=bool)
    mask[:2, :2] = False
    layout = FieldLayout("sst", ("lat", "lon"), [range(5), range(7)], "WALL,PERIODIC", mask=mask)
    values = {split: rng.normal(size=(n, 3, 1, 5, 7)) for split, n in (("train", 40), ("valid", 20), ("test", 4))}
    recorded(Path("sea"), layout, [0.0, 1.0, 2.0], values)
    assert "recorded, auto (" in run_blocks("missing_points.md", capsys)
    with h5py.File("sea.hdf5") as file:
        assert np.array_equal(np.isnan(file["samples"][0, 0, 0]), ~mask)


def test_imported_physics(tmp_path, monkeypatch, capsys):
    """Burgers on a box of length 1, as others would have written it."""
    monkeypatch.chdir(tmp_path)
    states = Burgers(size=16, viscosity=0.01 * 4 * np.pi**2, noise=0.5, horizon=0.5, steps=5).simulate(
        40, generator=torch.Generator().manual_seed(0)
    )
    with h5py.File("flows.hdf5", "w") as file:
        file["tensor"] = states[:, :, 0].numpy() / (2 * np.pi)
        file["t-coordinate"], file["x-coordinate"] = np.linspace(0, 0.5, 6), np.arange(16) / 16
    rows = [f"{t},{np.sin(t / 9)},{np.cos(t / 9)},{np.sin(t / 5)},{t % 30 > 15:d}" for t in range(200)]
    Path("log.csv").write_text("\n".join(["time,T1,T2,T3,heater", *rows]))
    out = run_blocks("imported_physics.md", capsys)
    assert "physics of `tensor`: residuals of mean " in out
    checks = json.loads(Path("flows-run/run.json").read_text("utf-8"))["physics_check"]
    # the noise is fitted, and 40 x 5 x 10 noisy modes leave no correlation beyond 4.5 standard errors
    assert checks[0]["variance"] == pytest.approx(1, abs=0.01)
    assert abs(checks[0]["autocorrelation"]) < 4.5 / 2000**0.5 + 0.05


PAGES = [GUIDE.parents[1] / "README.md", *GUIDE.parent.rglob("*.md"), *GUIDE.parents[1].glob("*/**/README.md")]
COMMAND = re.compile(r"^(?:    |\$ )physinv ([a-z].*?)(?:\s+#.*|\s+>.*)?$", re.MULTILINE)
COMMANDS = sorted({line for page in PAGES if "_build" not in page.parts for line in COMMAND.findall(page.read_text())})


def test_pages_show_commands():
    assert len(COMMANDS) > 50


@pytest.fixture(scope="module")
def dry():
    """The program with verbs that only say that they were called, and the list in which they do."""
    command, taken = typer.main.get_command(cli.app), []
    verbs = list(command.commands.values())
    for verb in verbs:
        verbs += getattr(verb, "commands", {}).values()
        verb.callback = lambda **values: taken.append(values)
    return command, taken


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_a_page_shows_is_one_that_the_program_takes(line, dry):
    """Verbs, arguments and options, without running them."""
    command, taken = dry
    taken.clear()
    command(args=line.split(), standalone_mode=False)
    assert taken
