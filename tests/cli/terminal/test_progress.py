"""Progress: a bar on a terminal; elsewhere plain lines with the phase, soon the first, then rarely."""

import threading

import pytest

from physinv.cli.terminal import progress as module
from physinv.cli.terminal.progress import progress


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST", 0.02)
    monkeypatch.setattr(module, "PAUSE", 0.1)


def wait(seconds):
    threading.Event().wait(seconds)


def test_lines_come_while_one_computation_takes_long(quick, capsys):
    with progress("training") as report:
        report.phase("fit of the reference law")
        wait(0.05)
        report(0.25, "step [5]")
        wait(0.12)
    first, second, *more = capsys.readouterr().err.splitlines()
    assert first == "training: fit of the reference law, 0 s"
    assert second == "training: fit of the reference law, 25%, step [5], 0 s"
    assert not more


def test_a_failure_before_the_first_line_stays_alone(capsys):
    def failing():
        with progress("training") as report:
            report(0.5)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    assert capsys.readouterr().err == ""
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("progress")]


def test_a_terminal_shows_a_bar_with_the_phase(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress("training") as report:
        report.phase("choice")
        report(0.5, "step 3")
    shown = capsys.readouterr().err
    assert "training: choice" in shown
    assert "50 %" in shown


def test_where_no_more_threads_are_allowed_there_are_no_lines(monkeypatch, capsys):
    def fail(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with progress("working") as report:
        report(0.5)
    assert capsys.readouterr().err == ""
