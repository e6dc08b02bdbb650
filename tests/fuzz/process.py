"""Run the command in a forked child that has everything imported, under limits of time, memory and disk.

A worker imports the package once and forks for each command: a fork costs milliseconds, a start of Python with torch
seconds, and a child that crashes, hangs or eats memory takes nothing with it.  Memory is measured as what is resident:
torch reserves far more addresses than it uses, so a limit on these (RLIMIT_AS) is only the net under the watch.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import os
import pkgutil
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

MOST_SECONDS = 30.0  # of processor time; hanging counts below
MOST_IDLE = 30.0  # seconds of sleep, not of waiting for a processor that others use
MOST_MEGABYTES = 1000.0
MOST_DISK = 500e6  # bytes that a command may write
NET = 8 << 30  # bytes of addresses beyond those of the worker
_BUSY = ("R", "D")  # states of a thread that does not sleep
TICK = 0.04  # seconds between two looks at the child
CACHE = Path(tempfile.gettempdir()) / "physinv-fuzz-cache"


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (None after a signal), what it used and what it printed."""

    code: int | None
    signal: int
    seconds: float
    megabytes: float
    out: str
    err: str
    stopped: str = ""  # the limit that it broke

    @property
    def how(self) -> str:
        """The end in words."""
        if self.stopped:
            return self.stopped
        return f"exit {self.code}" if self.code is not None else f"signal {signal.Signals(self.signal).name}"


def preload() -> None:
    """Import what any verb may need, and make what all share, so that children find it."""
    import physinv
    import simulators

    for package in (physinv, simulators):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in ("matplotlib.pyplot", "scipy.io", "scipy.stats", "xarray", "pandas", "h5netcdf", "zarr"):
        importlib.import_module(name)
    import torch
    import typer

    from physinv.cli.app import app, main
    from physinv.methods.own import training
    from physinv.posterior.several_times.twisted import TwistedReversal

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # imports a compiler, which takes seconds

    # How good answers are does not matter here: trials of those to records, on 48 new trajectories and then on 288,
    # took ten seconds of each such command.
    TwistedReversal.tried = 2
    judges = training.judges
    training.judges = lambda problem, *, simulate: tuple(x[:16] for x in judges(problem, simulate=simulate))

    # The words of the command and the entry points of packages are the same for all children.
    typer.main.get_command = cache(typer.main.get_command)
    typer.main.get_command(app)
    metadata.entry_points = cache(metadata.entry_points)
    metadata.entry_points(group="physinv.simulators")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        main(["info", "nowhere"])  # imports what reads words
    _leave_to_parent()
    gc.freeze()  # so that children do not copy what they only look through


def _leave_to_parent() -> None:
    """Take from children what packages do at the end for objects of the parent, which is none of their files."""
    from torch._dynamo.utils import dump_compile_times

    atexit.unregister(dump_compile_times)
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False


def command(argv: Sequence[str], cwd: Path, prepare: Callable[[], None] = lambda: None) -> Ended:
    """Run ``physinv ARGV`` in a child, as the installed command does."""

    def run() -> None:
        from physinv.cli import main

        prepare()
        main(list(argv))

    return forked(run, cwd)


def forked(run: Callable[[], None], cwd: Path) -> Ended:
    """Call a function in a child whose working folder is ``cwd``, and watch it."""
    beside = cwd.parent
    paths = [beside / "stdout", beside / "stderr"]
    sys.stdout.flush()
    sys.stderr.flush()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(run, cwd, paths)  # does not return
    stopped = _watch(pid, begun, cwd)
    _, status, used = os.wait4(pid, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # whatever it left behind
    texts = [p.read_text("utf-8", "replace") if p.exists() else "" for p in paths]
    seconds, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    if not stopped and megabytes > MOST_MEGABYTES:
        stopped = f"took {megabytes:.0f} MB"
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    return Ended(code, os.WTERMSIG(status) if code is None else 0, seconds, megabytes, *texts, stopped)


def _child(run: Callable[[], None], cwd: Path, paths: Sequence[Path]) -> None:
    """The life of a child; it ends as a process does for its files, without the destructors of torch."""
    code = 70
    try:
        os.setsid()
        os.chdir(cwd)
        temporary = cwd.parent / "tmp"
        temporary.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = str(temporary)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(CACHE)  # torch makes it whatever it is asked for
        tempfile.tempdir = None
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for number, path in enumerate(paths, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (addresses + NET, addresses + NET))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        _close_hdf5()
        os._exit(code)


def _close_hdf5() -> None:
    """Write what HDF5 holds back, as its handler does when a process ends; the other handlers cost .3 s and no file."""
    maps = Path("/proc/self/maps").read_text()
    for library in {line.split()[-1] for line in maps.splitlines() if "/libhdf5-" in line or "/libhdf5.so" in line}:
        ctypes.CDLL(library).H5close()


def _watch(pid: int, begun: float, folder: Path) -> str:
    """Wait for a child; end it where it breaks a limit, and say which."""
    handle = os.pidfd_open(pid)
    looked = last = begun
    idle = 0.0
    try:
        while not select.select([handle], [], [], TICK)[0]:
            now = time.monotonic()
            broken = ""
            megabytes, seconds, runs = _use(pid)
            idle, last = idle + (0.0 if runs else now - last), now
            if megabytes > MOST_MEGABYTES:
                broken = f"took more than {MOST_MEGABYTES:.0f} MB"
            elif seconds > MOST_SECONDS:
                broken = f"took more than {MOST_SECONDS:.0f} s"
            elif idle > MOST_IDLE:
                broken = f"waited more than {MOST_IDLE:.0f} s"
            elif now > looked + 0.5:
                looked = now
                if _disk(folder) > MOST_DISK:
                    broken = f"wrote more than {MOST_DISK / 1e6:.0f} MB"
            if broken:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)
                return broken
    finally:
        os.close(handle)
    return ""


def _use(pid: int) -> tuple[float, float, bool]:
    """Resident megabytes and processor seconds of a process, and whether it runs, would like to or waits for a disk."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError, ValueError):
        return 0.0, 0.0, True
    ticks = int(fields[11]) + int(fields[12])
    runs = fields[0] in _BUSY or any(_state(task) in _BUSY for task in _threads(pid))
    runs = runs or any(_use(child)[2] for task in _threads(pid) for child in _children(task))
    return pages * resource.getpagesize() / 2**20, ticks / os.sysconf("SC_CLK_TCK"), runs


def _threads(pid: int) -> list[Path]:
    """The threads of a process."""
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _state(task: Path) -> str:
    """What a thread does: R runs or would like to, D waits for a disk, S sleeps, and others."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _children(task: Path) -> list[int]:
    """The processes that a thread began and may wait for, such as those of a benchmark."""
    try:
        return [int(word) for word in (task / "children").read_text().split()]
    except (OSError, ValueError):
        return []


def _disk(folder: Path) -> float:
    """Bytes that the files below a folder take up."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total
