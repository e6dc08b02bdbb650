"""Commands in processes of their own that need not import torch again: forked from one that has imported physinv.

Working directory, environment, limits, standard streams, signals and exit code are those that a shell would see.
Starting and importing take three seconds and are tested by themselves (tests/cli/test_exit_codes.py).
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "physinv.cli.app",
        "physinv.comparison.cell",
        "physinv.comparison.runner",
        "physinv.evaluation.evaluate",
        "physinv.methods.own.method",
        "physinv.reports.plots",
        "physinv.runs.reconstruct",
        "physinv.runs.run",
        "scipy.stats",
        "torch._dynamo",  # which the first step of an optimiser imports: two seconds
    ]
)


def run_command(*lines, cwd, env=None, limit=None):
    """Run lines of the command one after the other in one process: its exit code, and what it printed.

    ``env`` is added to the environment; no file may grow above ``limit`` bytes.
    """
    with started(*lines, cwd=cwd, env=env, limit=limit) as (process, out, err):
        code = exit_code(process)
        return subprocess.CompletedProcess(lines, code, out.read_text("utf-8"), err.read_text("utf-8"))


def run_code(code, *words, cwd):
    """Run Python code, or a script, with words on its command line: as :func:`run_command`."""
    with streams() as (out, err):
        code = exit_code(forked(python, [str(code), *map(str, words)], cwd, (out, err), {}, None))
        return subprocess.CompletedProcess(words, code, out.read_text("utf-8"), err.read_text("utf-8"))


@contextlib.contextmanager
def started_code(code, *, cwd):
    """Start Python code, which ends with the context: the process."""
    with streams() as outputs:
        process = forked(python, [code], cwd, outputs, {}, None)
        try:
            yield process
        finally:
            process.kill()


def stop_command(number, words, *, cwd, until="."):
    """Run a command until it shows progress and a file is there, and send a signal: as :func:`run_command`."""
    with started(words, cwd=cwd) as (process, out, err):
        deadline = time.monotonic() + 60
        while not ("\n" in err.read_text("utf-8") and Path(cwd, until).exists()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, number)
        code = exit_code(process)
        return subprocess.CompletedProcess(words, code, out.read_text("utf-8"), err.read_text("utf-8"))


def run_cell(processes, command, log):
    """Stand in for ``physinv.comparison.workers.Processes.run``."""
    return exit_code(forked(cell, command[-2:], os.getcwd(), (log, log), {}, None))


@contextlib.contextmanager
def started(*lines, cwd, env=None, limit=None):
    """Start lines of the command, which end with the context: the process, and the files that hold what it prints."""
    words = [line.split() if isinstance(line, str) else [str(word) for word in line] for line in lines]
    with streams() as (out, err):
        process = forked(lines_of_physinv, words, cwd, (out, err), env or {}, limit)
        try:
            yield process, out, err
        finally:
            process.kill()  # where it has not ended by itself


@contextlib.contextmanager
def streams():
    """Files for standard output and error."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "out"), Path(folder, "err")
        for path in paths:
            path.touch()
        yield paths


def forked(function, words, cwd, outputs, env, limit):
    """Start a function of words in a process of its own."""
    process = FORKS.Process(target=within, args=(function, words, str(cwd), [str(p) for p in outputs], env, limit))
    process.start()
    return process


def exit_code(process):
    """Wait for the end of a process."""
    process.join(300)
    assert process.exitcode is not None, "the command does not end"
    return process.exitcode


def within(function, words, cwd, outputs, env, limit):
    """Call a function of words with this working directory, these standard streams and this limit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the shell of a test may ignore
    reader, _ = os.pipe()  # a standard input that does not end
    os.dup2(reader, 0)
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(cwd)
    os.environ.update(env)
    if limit is not None:
        import resource

        sys.dont_write_bytecode = True  # Python would cut off compiled modules in silence, and break every later run
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    function(words)


def lines_of_physinv(lines):
    from physinv.cli import main

    for words in lines:
        main(words)


def python(words):
    code, *sys.argv[1:] = words
    if code.endswith(".py"):
        sys.argv[0] = code
        sys.path.insert(0, os.path.dirname(code))
        runpy.run_path(code, run_name="__main__")
    else:
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})


def cell(words):
    from physinv.comparison.cell import main

    sys.argv[1:] = words
    main()
