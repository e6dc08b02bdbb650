"""Commands whose standard streams are closed, full, or hold few characters, and whose folder is gone."""

import os
import subprocess
import sys

import pytest

from physinv.cli.terminal.streams import stand_in

RUN = f"{sys.executable} -c 'from physinv.cli import main; main()'"


def told(words, cwd, **more):
    """What a shell gets from the command."""
    line = f"{RUN} {words}"
    return subprocess.run(line, shell=True, cwd=cwd, capture_output=True, env=os.environ | more)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--version >&-", 0),  # was a traceback
        ("--version <&- >&- 2>&-", 0),
        ("nothing >&-", 2),
        ("info nothing 2>/dev/full", 2),  # was 120
        ("--version >/dev/full 2>/dev/full", 2),
    ],
)
def test_a_stream_that_leads_nowhere_changes_no_exit_code(words, code, tmp_path):
    found = told(words, tmp_path)
    assert found.returncode == code
    assert b"Traceback" not in found.stderr


def test_what_cannot_be_printed_names_the_stream(tmp_path):
    done = told("--version >/dev/full", tmp_path)
    assert done.stderr.startswith(b"physinv: standard output: No space left on device; free some space")


def test_a_width_of_the_terminal_that_is_no_number_is_forgotten(monkeypatch):
    monkeypatch.setenv("COLUMNS", "²")  # a digit, and yet no number, over which rich fails
    stand_in()
    assert "COLUMNS" not in os.environ


def test_characters_that_a_stream_cannot_hold_are_written_as_escapes(tmp_path):
    """A table has lines, and the name of a folder an accent."""
    (tmp_path / "é").mkdir()
    found = told("simulators", tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"heat" in found.stdout
    found = told("info é", tmp_path, PYTHONIOENCODING="ascii:strict")
    assert found.returncode == 2
    assert found.stderr.count(b"\n") == 1
    assert b"\\xe9" in found.stderr


def test_a_working_folder_that_was_removed_is_said(tmp_path):
    """Before, a library of torch ended the program, with a line about itself."""
    line = f"mkdir gone; cd gone; rmdir ../gone; {RUN} info x"
    found = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True)
    assert (found.returncode, found.stderr.count(b"\n")) == (2, 1)
    assert b"the working folder was removed" in found.stderr


def test_a_limit_of_file_sizes_leaves_no_compiled_module_cut_off(tmp_path):
    """Python before 3.13 writes as much of them as fits, in silence: the next command could import nothing."""
    sizes = []
    for limit in ("unlimited", "8"):
        line = f"ulimit -f {limit}; {RUN} --version"
        env = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path / limit), "PYTHONDONTWRITEBYTECODE": ""}
        assert subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, env=env).returncode == 0
        found = (tmp_path / limit).rglob("*.pyc")
        sizes.append({p.relative_to(tmp_path / limit): p.stat().st_size for p in found})
    whole, limited = sizes
    assert len(limited) < len(whole) / 2
    assert not [p for p, size in limited.items() if "physinv" in p.parts and size != whole[p]]
