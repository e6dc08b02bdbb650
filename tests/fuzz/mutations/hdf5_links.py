"""HDF5 files that lead elsewhere: to themselves, to nothing, or to files that are not the reader's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np

from tests.fuzz.attempt import ANY, REFUSED, SAME, Attempt, Expected, InapplicableError, mutation
from tests.fuzz.mutations.hdf5_structure import datasets, essential, objects, one


def _taken(attempt: Attempt, file: h5py.File) -> tuple[str, np.ndarray]:
    """Remove a dataset of numbers; return its name and its numbers."""
    name = one(attempt, [n for n in datasets(file, "f") if file[n].ndim])
    x = file[name][...]
    del file[name]
    return name, x


def _elsewhere(attempt: Attempt, name: str, x: np.ndarray) -> Path:
    """A file outside the folder that holds numbers of this shape."""
    path = attempt.outside / "secret.hdf5"
    with h5py.File(path, "a") as file:
        if name not in file:
            file[name] = x + 1
    return path


def _way(attempt: Attempt, path: Path) -> str:
    """The path, absolute, relative, or by a link that lies beside the file."""
    match attempt.random.randrange(3):
        case 0:
            return str(path)
        case 1:
            return os.path.relpath(path, attempt.target.parent)
        case _:
            link = attempt.target.parent / "near.lnk"
            link.symlink_to(path)
            return link.name


@mutation("hdf5")
def soft_loop(attempt: Attempt) -> Expected:
    """Soft links that lead to each other."""
    with h5py.File(attempt.target, "r+") as file:
        name, _ = _taken(attempt, file)
        file[name] = h5py.SoftLink("/loop")
        file["loop"] = h5py.SoftLink(f"/{name}")
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def soft_dangling(attempt: Attempt) -> Expected:
    """A soft link to nothing."""
    with h5py.File(attempt.target, "r+") as file:
        name, _ = _taken(attempt, file)
        file[name] = h5py.SoftLink(attempt.random.choice(("/not/there", name, "../up", "\x1b[31m")))
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def soft_inside(attempt: Attempt) -> Expected:
    """A soft link to the dataset under another name in the same file."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, datasets(file, "f"))
        file.move(name, "moved_here")
        file[name] = h5py.SoftLink("/moved_here")
    return ANY if attempt.target.name.startswith("s") else SAME


@mutation("hdf5")
def group_in_itself(attempt: Attempt) -> Expected:
    """A group that holds itself, or the root."""
    with h5py.File(attempt.target, "r+") as file:
        groups = ["/", *(n for n in objects(file) if isinstance(file[n], h5py.Group))]
        group = file[attempt.random.choice(groups)]
        group["again"] = attempt.random.choice((group, file["/"]))
    return SAME


@mutation("hdf5")
def external_link(attempt: Attempt) -> Expected:
    """An external link to numbers in another folder."""
    with h5py.File(attempt.target, "r+") as file:
        name, x = _taken(attempt, file)
        path = _elsewhere(attempt, name, x)
        file[name] = h5py.ExternalLink(_way(attempt, path), name)
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def external_link_to_nothing(attempt: Attempt) -> Expected:
    """An external link to a file that is not there, is no HDF5, or never ends."""
    with h5py.File(attempt.target, "r+") as file:
        name, _ = _taken(attempt, file)
        place = attempt.random.choice(("nowhere.hdf5", "/etc/hostname", "/dev/zero", " ", attempt.target.name))
        file[name] = h5py.ExternalLink(place, "/data")
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def external_group(attempt: Attempt) -> Expected:
    """An external link in the place of a group, to a copy of it in another folder."""
    with h5py.File(attempt.target, "r+") as file:
        groups = [n for n in objects(file) if isinstance(file[n], h5py.Group) and len(file[n])]
        if not groups:
            raise InapplicableError
        name = attempt.random.choice(groups)
        path = attempt.outside / "group.hdf5"
        with h5py.File(path, "w") as other:
            file.copy(name, other, name="group")
        del file[name]
        file[name] = h5py.ExternalLink(_way(attempt, path), "/group")
    return REFUSED if name.startswith(("t0_fields", "t1_fields")) else SAME


@mutation("hdf5")
def external_storage(attempt: Attempt) -> Expected:
    """Numbers that are bytes of any file of the system."""
    with h5py.File(attempt.target, "r+") as file:
        name, x = _taken(attempt, file)
        path = attempt.outside / "secret.bin"
        path.write_bytes(np.full(x.size, 0.4242, x.dtype).tobytes())
        place = _way(attempt, path)
        file.create_dataset(name, shape=x.shape, dtype=x.dtype, external=[(place, 0, h5py.h5f.UNLIMITED)])
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def virtual_outside(attempt: Attempt) -> Expected:
    """A virtual dataset over numbers in another folder."""
    with h5py.File(attempt.target, "r+") as file:
        name, x = _taken(attempt, file)
        path = _elsewhere(attempt, name, x)
        layout = h5py.VirtualLayout(shape=x.shape, dtype=x.dtype)
        layout[...] = h5py.VirtualSource(_way(attempt, path), name, shape=x.shape)
        file.create_virtual_dataset(name, layout)
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def virtual_source_missing(attempt: Attempt) -> Expected:
    """A virtual dataset whose source is not there, and reads as zeros."""
    with h5py.File(attempt.target, "r+") as file:
        name, x = _taken(attempt, file)
        layout = h5py.VirtualLayout(shape=x.shape, dtype=x.dtype)
        layout[...] = h5py.VirtualSource(attempt.random.choice(("gone.hdf5", ".", "b.hdf5")), "gone", shape=x.shape)
        file.create_virtual_dataset(name, layout)
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def virtual_of_itself(attempt: Attempt) -> Expected:
    """A virtual dataset over itself."""
    with h5py.File(attempt.target, "r+") as file:
        name, x = _taken(attempt, file)
        layout = h5py.VirtualLayout(shape=x.shape, dtype=x.dtype)
        layout[...] = h5py.VirtualSource(".", name, shape=x.shape)
        file.create_virtual_dataset(name, layout)
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def whole_file_by_link(attempt: Attempt) -> Expected:
    """The file lies elsewhere, and its root is an external link to there."""
    moved = attempt.outside / "whole.hdf5"
    shutil.copyfile(attempt.target, moved)
    with h5py.File(attempt.target, "r+") as file:
        for name in list(file):
            del file[name]
            file[name] = h5py.ExternalLink(str(moved), f"/{name}")
    return REFUSED
