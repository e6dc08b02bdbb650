"""Files of figures are whole, repeatable and made without a display; refusals say what to do."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.figure
import pytest
import torch
from plot_cases import draw, small

from physinv.reports import plots as plot
from physinv.reports.plots import style

ROOT = Path(__file__).parents[3]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    """Saved again, drawn again under other settings, and in another process with other hashes and no display."""
    found = {}
    for suffix in (".png", ".pdf"):
        figure, path = small(), tmp_path / f"a{suffix}"
        plot.save(figure, path)
        found[suffix] = digest(path)
        plot.save(figure, path)
        assert digest(path) == found[suffix]
        with mpl.rc_context({"font.size": 20, "lines.linewidth": 5, "axes.grid": True, "savefig.dpi": 30}):
            plot.save(small(), path)
        assert digest(path) == found[suffix]
    code = (
        "import sys; from pathlib import Path; from plot_cases import plot, small;"
        "[plot.save(small(), Path(sys.argv[1] + s)) for s in ('.png', '.pdf')];"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    env = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    env |= {"PYTHONHASHSEED": "7", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/tests"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], cwd=ROOT, env=env, check=True)
    assert {s: digest(tmp_path / f"b{s}") for s in found} == found


def test_the_users_settings_survive(tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 20}):
        before = dict(mpl.rcParams)
        plot.save(plot.ranks(torch.tensor([3, 4, 5])), tmp_path / "a.png")
        assert dict(mpl.rcParams) == before


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, path = plot.ranks(torch.tensor([3, 4, 5])), tmp_path / "a.png"
    plot.save(figure, path)
    old = digest(path)

    def broken(target: Path, **_: object) -> None:
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        plot.save(figure, path)
    assert digest(path) == old
    assert list(tmp_path.iterdir()) == [path]


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    simulator, paths, samples = draw("OU 4-D")
    truth, layout = paths[:, 0], simulator.layout
    with pytest.raises(ValueError, match=r"a figure must end in \.png or \.pdf, got 'a\.jpg'"):
        plot.save(plot.ranks(torch.tensor([1, 2])), tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"`states` must hold 5 states of 1 axes each.*got shape \(41, 4\)"):
        plot.trajectory(paths[0], simulator.times[:5], layout)
    with pytest.raises(
        ValueError, match=r"`samples` must have shape \(n, K, \*state\).*\(5, 4, 4\); put the members on axis 1"
    ):
        style.check_members(samples.transpose(0, 1), truth)  # the public functions' types would catch it first here
    with pytest.raises(ValueError, match=r"`layout` must be that of a field"):
        plot.spectra(truth, truth, samples, layout)
    with pytest.raises(ValueError, match=r"`counts` must hold at least one rank"):
        plot.ranks(torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`records` must hold at least one record"):
        plot.training([])


@pytest.mark.filterwarnings("error")
def test_names_that_no_font_has_and_no_mathematics_are_drawn(tmp_path: Path) -> None:
    for name in (r"a$\frac$", "\udcff\x1b", "漢\nb"):
        figure = mpl.figure.Figure()
        axes = figure.subplots()
        axes.set(xlabel=name, ylabel="$x$")
        plot.save(plot.titled(figure, f"training of {name}"), tmp_path / "a.png")
        assert axes.yaxis.label.get_parse_math()  # of ours, which is mathematics
        assert axes.xaxis.label.get_parse_math() == ("frac" not in name)
