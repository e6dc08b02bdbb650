"""Something else lies where a file should: links, pipes, devices, folders, files without permission."""

from __future__ import annotations

import os
import shutil

from tests.fuzz.attempt import ANY, KEPT, SAME, Attempt, Expected, InapplicableError, mutation


def _removed(attempt: Attempt) -> None:
    if attempt.target.is_dir():
        shutil.rmtree(attempt.target)
    else:
        attempt.target.unlink()


@mutation("places")
def missing(attempt: Attempt) -> Expected:
    """It is not there."""
    _removed(attempt)
    return _gone(attempt)


@mutation("places")
def folder(attempt: Attempt) -> Expected:
    """A folder of its name."""
    _removed(attempt)
    attempt.target.mkdir()
    return SAME


@mutation("places")
def link_to_itself(attempt: Attempt) -> Expected:
    """A link that leads to itself."""
    _removed(attempt)
    attempt.target.symlink_to(attempt.target.name)
    return _gone(attempt)


@mutation("places")
def dangling_link(attempt: Attempt) -> Expected:
    """A link that leads nowhere."""
    _removed(attempt)
    attempt.target.symlink_to("not/there")
    return _gone(attempt)


@mutation("places")
def pipe(attempt: Attempt) -> Expected:
    """A pipe that nobody writes into: opening it waits for ever."""
    _removed(attempt)
    os.mkfifo(attempt.target)
    return SAME


@mutation("places")
def endless(attempt: Attempt) -> Expected:
    """A device that never ends."""
    _removed(attempt)
    attempt.target.symlink_to(attempt.random.choice(("/dev/zero", "/dev/urandom")))
    return SAME


@mutation("places")
def null(attempt: Attempt) -> Expected:
    """A device that holds nothing."""
    _removed(attempt)
    attempt.target.symlink_to("/dev/null")
    return SAME


@mutation("places")
def forbidden(attempt: Attempt) -> Expected:
    """No permission to read it."""
    if os.geteuid() == 0 or not attempt.target.is_file():
        raise InapplicableError
    attempt.target.chmod(0)
    return SAME


@mutation("places")
def link_to_the_file(attempt: Attempt) -> Expected:
    """A link to the file under another name: as good as the file."""
    moved = attempt.target.with_name(f"real-{attempt.target.stem}.moved")
    attempt.target.rename(moved)
    attempt.target.symlink_to(moved.name)
    return SAME if attempt.argv[0] == "generate" else KEPT  # which may say that there is nothing left to do


@mutation("places")
def another_format(attempt: Attempt) -> Expected:
    """A file of another format under its name."""
    _removed(attempt)
    others = (b"PK\x03\x04" + bytes(60), b"\x89HDF\r\n\x1a\n" + bytes(600), b"\x93NUMPY\x01\x00v\x00{", b"CDF\x01" * 9)
    others += (b"\x1f\x8b\x08\x00" + bytes(30), b"%PDF-1.7\n", b"\x80\x04K\x01.", b"GRIB" + bytes(99), b"{}", b"[[[")
    attempt.target.write_bytes(attempt.random.choice(others))
    return SAME  # a command that makes the file anew may do so


def _gone(attempt: Attempt) -> Expected:
    """Without its model a run is one in the making, without its log less is known of it, which `info` may say."""
    return ANY if attempt.target.name in ("model.safetensors", "log.jsonl") else SAME
