"""The README on own processes and own data is true: its code, entry point and commands are run as they stand."""

import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from physinv.cli import app as cli
from physinv.processes.registry import find

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def section():
    text = (ROOT / "README.md").read_text("utf-8")
    return re.search(r"## Bring your own process.*?(?=\n## )", text, re.DOTALL)[0]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory that Python imports from, as an environment of the user's own would be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder, section):
    """What pip would leave behind for the README's package: its module, and metadata with the entry point."""
    (folder / "pendulum.py").write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    entry = re.search(r'```toml\n\[project\.entry-points\."physinv\.simulators"\]\n(.*?)```', section, re.DOTALL)[1]
    info = folder / "my_processes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-processes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[physinv.simulators]\n" + entry.replace('"', ""))


def commands(section, first):
    """The block of indented commands that starts with ``first``, training cut to a few updates."""
    block = next(b for b in re.findall(r"(?:^    physinv .*\n?)+", section, re.MULTILINE) if first in b.splitlines()[0])
    quick = "--steps 20 --set validate_windows=64 --set batch=256 --set width=8 --set components=1"
    return [re.sub(r"--budget \S+", quick, line.strip().removeprefix("physinv ")) for line in block.splitlines()]


def test_own_simulator(section, here, capsys):
    install(here, section)
    source = (here / "pendulum.py").read_text()
    assert len([line for line in source.splitlines() if line.strip()]) < 30
    lines = commands(section, "generate")
    assert [line.split()[0] for line in lines] == ["generate", "train", "reconstruct", "evaluate"]
    for line in lines:
        cli.main(line.split())
    table = capsys.readouterr().out
    assert "pendulum, sde, 32 steps" in table
    assert "reconstruction_mse" in table
    pendulum = find("pendulum")()
    assert pendulum.damping == 0.3
    sys.modules.pop("pendulum")
    with h5py.File("pendulum.hdf5") as file:
        truth, samples = file["truth"][:], file["samples"][:]
    # the prior's mean alone has relative error 1, linear regression .68, the model trained for 400 updates .60
    assert np.linalg.norm(samples.mean(1) - truth) / np.linalg.norm(truth) < 0.85


def test_own_data(section, here, capsys):
    """The commands for PDEBench's file, on a small one of the same name and layout."""
    rng = np.random.default_rng(0)
    with h5py.File("1D_Burgers_Sols_Nu0.01.hdf5", "w") as file:
        steps = rng.normal(size=(100, 41, 16)).astype("f4") * 0.1
        steps[:, 0] *= 10
        file["tensor"] = np.cumsum(steps, axis=1)
        file["t-coordinate"], file["x-coordinate"] = np.linspace(0, 1, 42), np.arange(16) / 16
    lines = commands(section, "import")
    assert [line.split()[0] for line in lines] == ["import", "train", "reconstruct", "evaluate"]
    for line in lines:
        cli.main(line.split())
    table = capsys.readouterr().out
    assert "recorded, sde, 4 steps" in table
    assert "reconstruction_mse" not in table
