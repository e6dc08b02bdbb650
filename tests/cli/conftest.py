"""Shared by the tests of the command line."""

import pytest

from physinv.cli import app as cli


@pytest.fixture
def physinv(capsys, monkeypatch):
    """Run the command; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        capsys.readouterr()
        code = 0
        try:
            cli.main([str(w) for w in words])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run
