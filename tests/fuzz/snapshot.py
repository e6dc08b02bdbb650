"""What lies in a folder, to tell whether a command changed what it should not."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

Snapshot = dict[str, tuple[str, ...]]


def snapshot(folder: Path) -> Snapshot:
    """Each path below a folder with its type, mode, and content; links are not followed."""
    found: Snapshot = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            found[path.relative_to(folder).as_posix()] = _entry(path)
    return found


def changed(before: Snapshot, after: Snapshot, allowed: Iterable[str] = ()) -> list[str]:
    """What was made, removed or changed outside of the allowed paths and what lies below them."""
    free = tuple(allowed)
    told = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name) or any(name == f or name.startswith(f"{f}/") for f in free):
            continue
        word = "made" if name not in before else "removed" if name not in after else "changed"
        told.append(f"{word} {name}")
    return told


def _entry(path: Path) -> tuple[str, ...]:
    info = path.lstat()
    mode = oct(stat.S_IMODE(info.st_mode))
    if stat.S_ISLNK(info.st_mode):
        return "link", os.readlink(path)
    if stat.S_ISREG(info.st_mode):
        return "file", mode, hashlib.sha256(path.read_bytes()).hexdigest()
    return ("folder" if stat.S_ISDIR(info.st_mode) else "other"), mode
