"""What is printed: names and values of others are shown, and never obeyed by a terminal or longer than a line."""

import pytest

from physinv.cli.terminal import console
from physinv.evaluation.evaluate import Row


@pytest.mark.parametrize("show", [console.say, console.note, console.fail])
def test_control_characters_are_marked(show, capsys):
    show("in \x1b[2J\x07[bold]ä\x9b.hdf5")
    shown = "".join(capsys.readouterr())
    assert shown.endswith("in \ufffd[2J\ufffd[bold]ä\ufffd.hdf5\n")


def test_so_they_are_in_tables(capsys):
    console.mapping({"a\x1b": "b\x1bc"}, as_json=False)
    assert "b\ufffdc" in capsys.readouterr().out


@pytest.mark.parametrize("show", [console.say, console.note, console.fail])
def test_colons_of_a_name_are_no_picture(show, capsys):
    show("run in a:b: 1 step")
    assert "".join(capsys.readouterr()).endswith("run in a:b: 1 step\n")


def test_nor_are_they_in_tables(capsys):
    console.mapping({"path": "a:b:"}, as_json=False)
    assert "a:b:" in capsys.readouterr().out


def test_an_error_is_one_line_whatever_it_names(capsys):
    console.fail("there is no a\nb.hdf5")
    assert capsys.readouterr().err == "physinv: there is no a\ufffdb.hdf5\n"


def test_long_errors_keep_both_ends(capsys):
    console.fail(f"there is no simulator {'n' * 5000}; did you mean heat?")
    line = capsys.readouterr().err
    assert len(line) < 1100
    assert line.startswith("physinv: there is no simulator nnn")
    assert line.endswith("nnn; did you mean heat?\n")


def test_a_table_of_metrics_with_every_column_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [
        Row("reconstruction_mse", 4.514321e-4, 4.40871e-4, "low", "about"),
        Row("energy_score", 1234.567, 1.234567e-3, "high", "about", 1.234567e-3, 98712.34, -12.3456),
    ]
    console.metrics(rows, "a title")
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert out.split()[2:9] == ["metric", "samples", "exact", "climatology", "persistence", "linear", "best"]
    assert all(word in out for word in ("0.0004514", "0.001235", "9.871e+04", "-12.35", "high"))


@pytest.mark.parametrize("columns", ["0", "1", "40"])
def test_no_figure_is_cut_off_in_a_narrow_window(columns, capsys, monkeypatch):
    found = []
    for width in ("80", columns):
        monkeypatch.setenv("COLUMNS", width)
        console.metrics([Row("energy_score", 1234.567, 1.234567e-3, "high", "about", 1.2e-3, 98712.34, -12.3)], "title")
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
