"""The page on priors is true: its commands and its Python run as they stand."""

import re
from pathlib import Path

import h5py

from physinv.cli import app as cli
from physinv.posterior.reconstruction import read_reconstruction

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "priors.md").read_text("utf-8")


def test_a_newcomer_may_follow_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^\$ physinv (.*)$", PAGE, re.MULTILINE)
    assert [line.split()[0] for line in lines] == [
        "generate",
        "train",
        "generate",
        "reconstruct",
        "evaluate",
        "reconstruct",
        "info",
    ]
    for line in lines:
        cli.main(line.split())
    said = capsys.readouterr().out
    assert "crps" in said
    assert "prior" in said

    # Heat is Gaussian: the guided draws are those of the exact posterior, but for a spectrum from 200 fields.
    found = read_reconstruction(tmp_path / "dps.hdf5")
    assert found.info["run"]["prior"]["run"] == "prior"
    assert found.info["parameters"]["diffusivity"] == 1.5
    with h5py.File("two-times.hdf5") as file:
        assert file["seen"].shape == (8, 32)

    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "priors.md", "exec"), names)
    assert names["samples"].shape == (2, 8, 1, 8, 8)
    assert names["scores"].shape == (16, 1, 8, 8)
