"""Where a training writes: into the folder of its run, or beside a run that it replaces when it is finished.

A run that is overwritten stays whole until the new one is: that is trained in a hidden folder inside, which takes the
place of the old files at the end (:mod:`physinv.config.outputs.replace`).  Stopped before that, ``resume`` goes on with
it.
"""

from __future__ import annotations

__all__ = ["Opening", "finish", "place_of", "replacement"]

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from physinv.config.outputs.refusals import OVERWRITE
from physinv.config.outputs.replace import complete, staging, swap
from physinv.runs.files import check_unused, files_of
from physinv.runs.run_json import check_same, is_begun, read_info, write_info

_ANSWER = ".physinv-answer"  # where the last files of a run are written, which appear together


def replacement(run: Path) -> Path | None:
    """Return where a run is trained that is to replace the one in a folder, or None.

    Args:
        run: Folder of the run.
    """
    return staging(run) if is_begun(staging(run)) else None


def place_of(run: Path, info: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Path:
    """Return the folder that a training writes into; the caller holds the lock of the run.

    Args:
        run: Folder of the run.
        info: What run.json would say.
        resume: Whether to go on with a run that was begun, first of all with one that is to replace another.
        overwrite: Whether to replace a run that is there.

    Returns:
        The folder of the run, or the hidden one inside it of a run that replaces another.

    Raises:
        FileExistsError: If there is a run in the folder, or a part of one, and neither ``resume`` nor ``overwrite`` is
            set.
        ValueError: If the run to resume was begun with other data or settings.
    """
    complete(run)
    new, begun = staging(run), is_begun(run)
    if overwrite:
        if new.exists():
            shutil.rmtree(new)
        return new if files_of(run) else run
    if resume and replacement(run) and (not begun or _fits(new, info)):
        check_same(new, info)
        return new
    if begun:
        check_same(run, info)
        if not resume:
            raise FileExistsError(
                f"{run} holds a run already; add `--resume` (Python: `resume=True`) to go on with it, or {OVERWRITE}."
            )
        return run
    check_unused(run)
    return run


@contextmanager
def finish(run: Path, place: Path) -> Iterator[Path]:
    """Put the last files of a run, which are written inside the block, into their place all at once.

    Args:
        run: Folder of the run.
        place: Where it was trained (:func:`place_of`).

    Yields:
        The folder to write them into.
    """
    if place != run:
        yield place
        swap(place, run, files_of(run))
        return
    folder = run / _ANSWER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
        swap(folder, run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Opening:
    """Makes the folder of a training ready once, before anything is written into it: run.json comes first.

    Of a run that goes on run.json keeps its notes, which belong to the answer that is there until the end.

    Args:
        place: The folder.
        info: What run.json says.
        resume: Whether a run that is there goes on.
    """

    def __init__(self, place: Path, info: Mapping[str, Any], *, resume: bool) -> None:
        self.place, self.info, self.resume, self.ready = place, info, resume, False

    def __call__(self) -> None:
        """Make it ready, the first time."""
        if self.ready:
            return
        self.ready = True
        self.place.mkdir(parents=True, exist_ok=True)
        old = read_info(self.place) if self.resume and is_begun(self.place) else {}
        grown = old | {k: self.info[k] for k in ("steps", "budget")} if old else dict(self.info)
        if grown != old:
            write_info(self.place, grown)


def _fits(run: Path, info: Mapping[str, Any]) -> bool:
    """Whether the run in a folder can go on as one that is described so."""
    try:
        check_same(run, info)
    except ValueError:
        return False
    return True
