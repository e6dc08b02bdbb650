"""The page on observations at several times is true: its commands, its file and its Python run as they stand."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from physinv.cli import app as cli
from physinv.data.dataset import TrajectoryDataset

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "several_times.md"


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.mark.usefixtures("few_judges", "few_trials")
def test_a_newcomer_may_follow_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^\$ physinv (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    verbs = ["generate", "reconstruct", "evaluate", "reconstruct", "reconstruct", "evaluate"]
    verbs += ["generate", "train", "reconstruct", "evaluate"]
    assert [line.split()[0] for line in lines] == verbs
    for line in lines[:3]:
        cli.main(line.split())

    # Numbers of one's own under the names of the page.
    x = TrajectoryDataset("heat/data/test").trajectories(slice(0, 2)).numpy()[:, :, 0]
    mask = np.zeros((8, 8), dtype=bool)
    mask[1::3, ::2] = True
    np.save("sensors.npy", mask)
    np.save("early.npy", x[:, 2, ::2, ::2])
    np.save("late.npy", x[:, 4][:, mask])
    Path("record.toml").write_text(blocks("toml")[0])
    cli.main(lines[3].split())
    said = capsys.readouterr().out
    assert "crps" in said
    assert "own.hdf5" in said
    with h5py.File("several.hdf5") as file, h5py.File("own.hdf5") as own:
        assert {"samples", "frames", "time", "seen", "truth", "frames_truth"} <= set(file)
        assert file["frames"].shape == (8, 16, 5, 1, 8, 8)
        assert own["time"][:].tolist() == [0.2, 0.4]

        # Laplace's law is exact here: the mean state at the last time is near what was seen of it, with noise .03.
        gap = own["frames"][:, :, 0, 0].mean(1)[:, mask] - own["seen"][:, 16:]
        assert float(np.sqrt(np.mean(gap**2))) < 0.03

    # Noise that nobody knows: its level is drawn with the states, and scored beside them.
    for line in lines[4:6]:
        cli.main(line.split())
    assert "observed_noise" in capsys.readouterr().out

    # A run that is trained for records.
    for line in lines[6:9]:
        cli.main(line.replace("--budget 60s", "--steps 20").split())
    with h5py.File("any.hdf5") as file:
        assert file["samples"].shape == (8, 16, 1, 16)
        assert file["seen"].shape == (8, 16)
    capsys.readouterr()

    # Without truth: where the samples lead.
    cli.main(lines[9].split())
    said = capsys.readouterr().out
    assert "run forward" in said
    assert "record.toml 0" in said
    with h5py.File("unknown.hdf5") as file:
        assert file["samples"].shape[0] == 8


def test_the_python_runs():
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["start"].shape == (2, 16, 1, 8, 8)
    assert names["trajectories"].shape == (2, 16, 4, 1, 8, 8)
    assert float(names["deviation"][1].mean()) < float(names["deviation"][0].mean())
