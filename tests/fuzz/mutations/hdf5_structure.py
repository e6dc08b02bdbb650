"""HDF5 files whose objects are missing, of another kind, type, shape or size than they should be."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from tests.fuzz.attempt import ANY, REFUSED, SAME, Attempt, Expected, InapplicableError, mutation

HUGE = 10**12
STATES = ("t0_fields", "t1_fields", "t2_fields")


def objects(file: h5py.File) -> list[str]:
    """Names of all groups and datasets, in the order of the file."""
    names: list[str] = []
    file.visit(names.append)
    return sorted(names)


def datasets(file: h5py.File, kinds: str = "iufbSUVO") -> list[str]:
    """Names of all datasets of some kinds of numbers."""
    return [n for n in objects(file) if isinstance(file[n], h5py.Dataset) and file[n].dtype.kind in kinds]


def essential(name: str) -> bool:
    """Whether states, or what came of them, are in a dataset."""
    return name.startswith(STATES) or name in ("samples", "observation", "tensor", "u")


def one(attempt: Attempt, names: list[str]) -> str:
    """One of the names, half of the time an essential one."""
    best = [n for n in names if essential(n)]
    if not names:
        raise InapplicableError
    return attempt.random.choice(best if best and attempt.random.random() < 0.5 else names)


def replaced(file: h5py.File, name: str, **how: Any) -> None:
    """Put another dataset in the place of one, with its attributes."""
    attrs = dict(file[name].attrs)
    del file[name]
    made = file.create_dataset(name, **how)
    for key, value in attrs.items():
        if key not in ("REFERENCE_LIST", "DIMENSION_LIST", "CLASS", "NAME"):
            made.attrs[key] = value


@mutation("hdf5")
def object_removed(attempt: Attempt) -> Expected:
    """A group or dataset is not there."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, objects(file))
        del file[name]
    return attempt.changed


@mutation("hdf5")
def object_renamed(attempt: Attempt) -> Expected:
    """A group or dataset has another name."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, objects(file))
        other = attempt.random.choice((f"{name}_", "..x", "\x1b[31m", "n" * 3000, ". ", "ä"))
        file.move(name, other)
    return attempt.changed


@mutation("hdf5")
def dataset_is_a_group(attempt: Attempt) -> Expected:
    """A group where a dataset should be."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, datasets(file))
        del file[name]
        file.create_group(name)
    return attempt.changed


@mutation("hdf5")
def group_is_a_dataset(attempt: Attempt) -> Expected:
    """A dataset where a group should be."""
    with h5py.File(attempt.target, "r+") as file:
        groups = [n for n in objects(file) if isinstance(file[n], h5py.Group)]
        name = one(attempt, groups)
        del file[name]
        file[name] = attempt.random.choice((1.0, "text", [1, 2, 3]))
    return attempt.changed


@mutation("hdf5")
def named_type(attempt: Attempt) -> Expected:
    """A named type where a dataset should be."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, datasets(file))
        del file[name]
        file[name] = np.dtype("f8")
    return attempt.changed


@mutation("hdf5")
def other_type(attempt: Attempt) -> Expected:
    """A dataset of another type, whose numbers can't be the same."""
    pair = np.dtype([("a", "f4"), ("b", "i4")])
    types: tuple[Any, ...] = ("S4", pair, np.dtype("V8"), "c8", "?", h5py.string_dtype(), h5py.ref_dtype, "i1", "u8")
    types += (h5py.vlen_dtype(np.float32), h5py.enum_dtype({"A": 0, "B": 1}), np.dtype(("f4", (2,))))
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, datasets(file))
        shape = file[name].shape
        replaced(file, name, shape=shape, dtype=attempt.random.choice(types))
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def other_precision(attempt: Attempt) -> Expected:
    """The same numbers in another precision or byte order."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, datasets(file, "f"))
        values = file[name][()]
        replaced(file, name, data=values, dtype=attempt.random.choice((">f4", "f8", ">f8", "f2")))
    return attempt.changed


@mutation("hdf5")
def other_shape(attempt: Attempt) -> Expected:
    """A dataset with other axes, or another length of one."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, [n for n in datasets(file, "iufb") if file[n].ndim])
        x = file[name][...]
        axis = attempt.random.randrange(x.ndim)
        others = (x[None], x[..., None], x.T, x.ravel(), x.take(range(x.shape[axis] - 1), axis))
        others += (x.take([], axis), x.take([0], axis), np.concatenate([x, x], axis), np.squeeze(x)[..., None])
        chosen = attempt.random.choice(others)
        replaced(file, name, data=chosen)
    channel = name == "tensor" and chosen.shape == (*x.shape, 1)  # one channel, as PDEBench writes it
    return REFUSED if essential(name) and chosen.shape != x.shape and not channel else attempt.changed


@mutation("hdf5")
def no_space(attempt: Attempt) -> Expected:
    """A dataset that declares no numbers, or a single one."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, datasets(file, "iuf"))
        data = h5py.Empty("f4") if attempt.random.random() < 0.5 else 1.0
        replaced(file, name, data=data)
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def declared_huge(attempt: Attempt) -> Expected:
    """A dataset that declares far more numbers than the file holds."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, [n for n in datasets(file, "iuf") if file[n].ndim])
        shape = list(file[name].shape)
        shape[attempt.random.randrange(len(shape))] = attempt.random.choice((10**6, 10**9, HUGE))
        while np.prod([float(n) for n in shape]) > 1e18:
            shape[int(np.argmax(shape))] //= 1000
        chunks = tuple(min(n, 8) for n in shape)
        replaced(file, name, shape=tuple(shape), chunks=chunks, dtype="f4")
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def all_declared_huge(attempt: Attempt) -> Expected:
    """States, numbers and seeds of trajectories that all declare the same many rows."""
    many = attempt.random.choice((10**6, 10**9, HUGE))
    with h5py.File(attempt.target, "r+") as file:
        names = [n for n in datasets(file, "iuf") if file[n].ndim and not n.startswith("dimensions")]
        count = max((file[n].shape[0] for n in names if essential(n)), default=0)
        for name in names:
            if file[name].shape[0] == count:
                shape = (many, *file[name].shape[1:])
                chunks = (1, *(min(n, 8) for n in shape[1:]))
                replaced(file, name, shape=shape, chunks=chunks, dtype=file[name].dtype)
        if "n_trajectories" in file.attrs:
            file.attrs["n_trajectories"] = many
    return REFUSED


@mutation("hdf5")
def attribute_removed(attempt: Attempt) -> Expected:
    """An attribute is not there."""
    with h5py.File(attempt.target, "r+") as file:
        item, key = _attribute(attempt, file)
        del item.attrs[key]
    return attempt.changed


@mutation("hdf5")
def attribute_of_another_type(attempt: Attempt) -> Expected:
    """An attribute of any type but its own."""
    with h5py.File(attempt.target, "r+") as file:
        item, key = _attribute(attempt, file)
        values: tuple[Any, ...] = (-1, 0, 2**62, 1.5, float("nan"), "x", "", b"\xff\xfe", "\x1b[2J", "y" * 9000)
        values += (h5py.Empty("f4"), h5py.Empty("S1"), [1, 2, 3], ["a", "b"], [[1.0]], True, np.zeros((3, 0)))
        values += (np.zeros(2, dtype=[("a", "f4")]), file.ref, 1j, np.void(b"abc"))
        value = attempt.random.choice(values)
        del item.attrs[key]
        item.attrs[key] = value
    return attempt.changed


def _attribute(attempt: Attempt, file: h5py.File) -> tuple[Any, str]:
    found = [(n, k) for n in ("/", *objects(file)) for k in file[n].attrs]
    ours = [(n, k) for n, k in found if n in ("/", "physinv")]
    if not found:
        raise InapplicableError
    name, key = attempt.random.choice(ours if ours and attempt.random.random() < 0.5 else found)
    return file[name], key


@mutation("hdf5")
def stored_otherwise(attempt: Attempt) -> Expected:
    """The same numbers compressed, in other chunks, or in one piece."""
    ways: tuple[dict[str, Any], ...] = ({"compression": "gzip"}, {"compression": "lzf", "shuffle": True}, {})
    ways += ({"chunks": True}, {"fletcher32": True}, {"maxshape": True})
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, [n for n in datasets(file, "iuf") if file[n].size])
        values = file[name][()]
        how = dict(attempt.random.choice(ways)) if values.ndim else {}
        if "maxshape" in how:
            how["maxshape"] = (None,) * values.ndim
        replaced(file, name, data=values, **how)
    return SAME


@mutation("hdf5")
def never_written(attempt: Attempt) -> Expected:
    """Chunks that nobody wrote, which read as zeros."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, [n for n in datasets(file, "f") if file[n].ndim and file[n].shape[0] > 1])
        x = file[name][...]
        replaced(file, name, shape=x.shape, dtype=x.dtype, chunks=(1, *x.shape[1:]))
        written = attempt.random.randrange(len(x))
        file[name][:written] = x[:written]
    return REFUSED if essential(name) else attempt.changed


@mutation("hdf5")
def unknown_filter(attempt: Attempt) -> Expected:
    """Numbers packed by a filter that this machine has not."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, [n for n in datasets(file, "f") if file[n].ndim])
        x = file[name][...]
        del file[name]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(x.shape)
        plist.set_filter(32_999, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        space, kind = h5py.h5s.create_simple(x.shape), h5py.h5t.py_create(x.dtype)
        data = h5py.h5d.create(file.id, name.encode(), kind, space, plist)
        data.write_direct_chunk((0,) * x.ndim, x.tobytes(), 0)
    return SAME


@mutation("hdf5")
def bomb(attempt: Attempt) -> Expected:
    """Two gigabytes of zeros in a file of megabytes: compressed, and declared."""
    rows = 2 * 10**9 // (4 * 10**6)
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, [n for n in datasets(file, "f") if essential(n)])
        tail = file[name].shape[2:]
        row = (max(1, 10**6 // math.prod(tail)), *tail)
        shape = (rows, *row)
        replaced(file, name, shape=shape, dtype="f4", chunks=(1, *row), compression="gzip")
        data = file[name]
        data[0] = 0
        _, packed = data.id.read_direct_chunk((0,) * len(shape))
        for i in range(1, rows):
            data.id.write_direct_chunk((i, *([0] * (len(shape) - 1))), packed)
    return REFUSED


@mutation("hdf5")
def crowded(attempt: Attempt) -> Expected:
    """Thousands of other objects, or groups a thousand deep."""
    with h5py.File(attempt.target, "r+") as file:
        if attempt.random.random() < 0.5:
            for i in range(3000):
                file.create_group(f"more/{i}")
        else:
            file.create_group("/".join("d" * 1000))
    return SAME


@mutation("hdf5-foreign")
def many_variables(attempt: Attempt) -> Expected:
    """Thousands of variables."""
    with h5py.File(attempt.target, "r+") as file:
        for i in range(2000):
            file[f"v{i}"] = np.zeros(3, "f4")
    return ANY
