"""Refuse HDF5 files that lead elsewhere: to numbers in other files, which whoever opens them did not mean to read."""

from __future__ import annotations

__all__ = ["refuse_foreign", "source_of"]

from pathlib import Path

import h5py

_MOST_LINKS = 10**6  # names in a file; each costs some microseconds


def refuse_foreign(path: Path, file: h5py.File) -> None:
    """Refuse a file that keeps numbers in files outside of it, but for virtual datasets of files beside it.

    Nothing that a file refers to is opened before it is known to lie in the folder of the file, or below.

    Args:
        path: The file.
        file: The same, open for reading.

    Raises:
        ValueError: If it holds an external link or a dataset with external storage, or a virtual dataset takes numbers
            from a file elsewhere, or from a file that does any of this itself.
    """
    _refuse(path, file, {path.resolve()})


def source_of(path: Path, name: str, source: str) -> Path:
    """Return the file beside ``path`` from which a virtual dataset takes numbers.

    HDF5 looks for it in the folder of the path and in the working directory; both ways must lead below the folder.

    Args:
        path: The file that holds the dataset.
        name: Name of the dataset, for messages.
        source: Name of the other file, as the dataset has it; ``"."`` is the file itself.

    Returns:
        The file, which need not exist.

    Raises:
        ValueError: If it is not below the folder of ``path``.
    """
    if source == ".":
        return path
    folders = [path.parent.resolve(), path.resolve().parent]
    for folder in folders:
        if not any(home in (folder / source).resolve().parents for home in folders):
            raise ValueError(
                f"`{name}` of {path} takes numbers from {source}, which is not beside it; copy that file there, or "
                "write all numbers into one file."
            )
    return next((folder / source for folder in folders if (folder / source).is_file()), path.parent / source)


def _refuse(path: Path, file: h5py.File, seen: set[Path]) -> None:
    found: list[bytes] = []

    def look(name: bytes, info: h5py.h5l.LinkInfo) -> bytes | None:
        if info.type == h5py.h5l.TYPE_HARD:
            found.append(name)
        foreign = info.type not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT)
        return name if foreign or len(found) > _MOST_LINKS else None  # ends the visit

    if (ended := file.id.links.visit(look, info=True)) is not None:
        if len(found) > _MOST_LINKS:
            raise ValueError(f"{path} holds more than {_MOST_LINKS} names; write fewer, larger arrays.")
        raise ValueError(f"`{_text(ended)}` of {path} is a link to another file; write all into this one.")
    for name in found:
        item = h5py.h5o.open(file.id, name)
        if isinstance(item, h5py.h5d.DatasetID):
            _refuse_storage(path, _text(name), item.get_create_plist(), seen)


def _refuse_storage(path: Path, name: str, made: h5py.h5p.PropDCID, seen: set[Path]) -> None:
    if made.get_external_count():
        raise ValueError(f"`{name}` of {path} keeps its numbers in another file; write them into this one.")
    if made.get_layout() != h5py.h5d.VIRTUAL:
        return
    for source in dict.fromkeys(made.get_virtual_filename(i) for i in range(made.get_virtual_count())):
        other = source_of(path, name, source)
        if other.is_file() and other.resolve() not in seen:
            seen.add(other.resolve())
            with h5py.File(other, "r") as file:
                _refuse(other, file, seen)


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
