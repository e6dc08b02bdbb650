"""Work that is killed, in process, before any call of the file system."""

import itertools
import os

CALLS = ("rename", "replace", "unlink", "rmdir", "mkdir")


class KilledError(BaseException):
    """Ends the work as a kill would, past all handlers of errors."""


def kill_at(patch, stop):
    """Let the call of the file system number ``stop``, and all that follow, kill the work before they do anything."""
    done = 0

    def fatal(call):
        def one(*args, **options):
            nonlocal done
            done += 1
            if done >= stop:
                raise KilledError
            return call(*args, **options)

        return one

    for name in CALLS:
        patch.setattr(os, name, fatal(getattr(os, name)))


def killed_everywhere(monkeypatch, work):
    """Call ``work(number)``, killed at one call of the file system after another, until it is not killed any more.

    Yields:
        The number of each attempt, after it ended; the last one was not killed.
    """
    for stop in itertools.count(1):
        with monkeypatch.context() as patch:
            kill_at(patch, stop)
            try:
                work(stop)
                killed = False
            except KilledError:
                killed = True
        yield stop
        if not killed:
            return


def content(folder):
    """All files of a folder by name, but hidden ones and those in hidden folders."""
    names = {p: p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    return {
        name.as_posix(): p.read_bytes() for p, name in names.items() if not any(x.startswith(".") for x in name.parts)
    }
