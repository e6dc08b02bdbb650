"""A signal ends every verb with 130 or 143, and one line that says what is kept and how to go on."""

import contextlib
import multiprocessing
import os
import signal
import time

import pytest
from command_cases import stop_command

from physinv.cli.app import main
from physinv.cli.terminal.stopping import Stopped, heard, keeping


def stopped(number, *words, cwd, until="."):
    """Run the command until it shows progress and a file is there, send a signal, and return its exit code, its first
    and its last words.
    """
    done = stop_command(number, words, cwd=cwd, until=until)
    assert done.stdout == ""
    assert "\x1b" not in done.stderr  # no control characters where nobody looks on
    first, *_, last = done.stderr.splitlines()
    return done.returncode, first, last


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopping")
    words = f"generate heat --out {folder} --train 60 --valid 20 --test 10 --set size=8 --set steps=4"
    main(words.split())
    return folder / "heat"


def test_generate_keeps_finished_files(tmp_path):
    words = ("generate", "heat", "--train", 100000, "--out", tmp_path)
    code, first, last = stopped(signal.SIGINT, *words, cwd=tmp_path)
    assert code == 130
    assert first.startswith("simulating")
    assert last == f"physinv: interrupted: finished files in {tmp_path}/heat are kept; the same command goes on."


def test_train_keeps_its_checkpoint(data, tmp_path):
    words = ("train", data, "--out", "run", "--steps", 10**6, "--set", "width=4", "--set", "depth=1")
    code, first, last = stopped(signal.SIGTERM, *words, cwd=tmp_path, until="run/checkpoint.safetensors")
    assert code == 143
    assert first.startswith("training")
    assert last.startswith("physinv: terminated: run keeps step ")
    assert last.endswith("; the same command with --resume goes on.")


def test_reconstruct_keeps_nothing(data, tmp_path):
    words = ("reconstruct", "--method", "mcmc", "--train", data, "--data", data / "data" / "test", "--out", "r.hdf5")
    code, first, last = stopped(signal.SIGINT, *words, "--samples", 5000, cwd=tmp_path)
    assert code == 130
    assert first.startswith("reconstructing")
    assert last == "physinv: interrupted: nothing was written; the same command starts again."
    assert not list(tmp_path.iterdir())


def test_a_benchmark_keeps_finished_cells(tmp_path):
    (tmp_path / "b.toml").write_text(
        'simulator = "ornstein-uhlenbeck"\nmethods = ["linear", "physinv"]\nbudget = 100.0\nobservations = 20\n'
        "samples = 4\n[splits]\ntrain = 100\nvalid = 20\ntest = 20\n"
    )
    code, first, last = stopped(signal.SIGTERM, "benchmark", "b.toml", "--out", "o", "--jobs", 1, cwd=tmp_path)
    assert code == 143
    assert first.startswith("benchmark")
    assert last == "physinv: terminated: finished cells in o are kept; the same command goes on."


class Finalised:
    """Receives a signal while it is removed, where Python prints exceptions and forgets them."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_in_a_finaliser_is_heard_a_moment_later(capsys):
    known = [Finalised()]

    def work():
        known.clear()
        for _ in range(500):
            time.sleep(0.01)

    with pytest.raises(Stopped, match="terminated"), heard():
        work()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_verb_without_words_of_its_own(number, code, monkeypatch, capsys):
    monkeypatch.setattr("physinv.cli.info.describe_path", lambda path, verify: os.kill(os.getpid(), number))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as stop:
            main(["info", "x"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert stop.value.code == code
    assert capsys.readouterr().err.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # as it was


def test_no_handler_of_errors_takes_a_signal_for_one():
    def careless():
        with heard(), keeping(lambda: "all is kept"), contextlib.suppress(Exception):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match=r"terminated: all is kept\."):
        careless()


def test_what_cannot_be_read_does_not_hide_the_signal():
    def broken():
        raise ValueError("run.json is damaged")

    with pytest.raises(Stopped, match="interrupted: nothing was written"), keeping(broken):
        raise KeyboardInterrupt


def test_a_forked_process_ends_as_it_would_without_us():
    """Readers of data are forked; they expect KeyboardInterrupt, and die of SIGTERM."""
    context = multiprocessing.get_context("fork")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell of a test may ignore it
    try:
        with heard():
            children = [context.Process(target=_raise, args=(number,)) for number in (signal.SIGINT, signal.SIGTERM)]
            for child in children:
                child.start()
            for child in children:
                child.join(60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [child.exitcode for child in children] == [7, -signal.SIGTERM]


def _raise(number):
    try:
        os.kill(os.getpid(), number)
    except KeyboardInterrupt:
        os._exit(7)


def test_a_signal_is_heard_after_an_import_and_not_in_the_middle(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.2)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = []

    def work():
        from slow_to_import import whole

        found.append(whole)
        time.sleep(60)

    with heard() as hearer, pytest.raises(Stopped):
        work()
    assert found == [True]
    assert hearer.number == signal.SIGTERM
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_command_that_says_how_it_ended_is_not_stopped_again():
    """One signal was lost in a finaliser, and would be heard a moment later; another one comes."""
    with heard() as hearer:
        hearer.lost()
        hearer.done()
        hearer.lost()
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
    assert hearer.number == signal.SIGTERM


def test_two_signals_at_once_are_one_wish():
    """The second one comes while the first one's cleaning up goes on."""
    cleaned = []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            cleaned.append(True)

    with heard(), pytest.raises(Stopped):
        work()
    assert cleaned == [True]
