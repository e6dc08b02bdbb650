"""NumPy and MATLAB arrays: headers that lie, types without numbers, numbers that are none."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.attempt import ANY, KEPT, REFUSED, SAME, Attempt, Expected, mutation


class Trap:
    """An object whose unpickling makes a file, which shows that code ran."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("code-ran"),)


def header(shape: str, descr: str = "'<f4'", order: str = "False", version: bytes = b"\x01\x00") -> bytes:
    """The head of a .npy file with a header of any text."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text = text.ljust(-(-len(text) // 64) * 64 + 53) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


@mutation("npy")
def header_lies(attempt: Attempt) -> Expected:
    """More numbers than the file holds, or a number that none can be."""
    shape = attempt.random.choice(
        ("(1000000000000,)", "(-1, 5)", "(2, 10**9)", "(9223372036854775807, 3)", "(1.5,)", "'x'", "None", "[3, 2]")
    )
    attempt.target.write_bytes(header(shape) + bytes(400))
    return REFUSED


@mutation("npy")
def header_is_code(attempt: Attempt) -> Expected:
    """A header that is an expression, or a very deep one."""
    deep = "(" * 5000 + ")" * 5000
    shape = attempt.random.choice(
        ("__import__('os').system('touch code-ran')", deep, "(1,)*10**9", "{}", "((((1,),),),)")
    )
    attempt.target.write_bytes(header(shape) + bytes(400))
    return REFUSED


@mutation("npy")
def type_without_numbers(attempt: Attempt) -> Expected:
    """Objects, text, dates or records in the place of numbers."""
    kinds = ("'|O'", "'<U7'", "'|S4'", "'<M8[s]'", "[('a', '<f4'), ('b', '<i4')]", "'|V4'", "'<x4'", "7", "'<m8'")
    attempt.target.write_bytes(header("(6, 5, 8)", attempt.random.choice(kinds)) + bytes(20_000))
    return REFUSED


@mutation("npy")
def pickled(attempt: Attempt) -> Expected:
    """Python objects, whose loading would run code."""
    attempt.target.write_bytes(header("(1,)", "'|O'") + pickle.dumps([Trap()]))
    return REFUSED


@mutation("npy")
def version(attempt: Attempt) -> Expected:
    """A version of the format that there is not."""
    attempt.target.write_bytes(header("(3, 2)", version=attempt.random.choice((b"\x09\x09", b"\x00\x00"))) + bytes(24))
    return REFUSED


@mutation("npy")
def same_numbers(attempt: Attempt) -> Expected:
    """The same numbers in another order, precision or format version."""
    x = np.load(attempt.target)
    same = (np.asfortranarray(x), x.astype(">f8"), x.astype("<f8"), x.astype(">f4"))
    with attempt.target.open("wb") as file:
        np.lib.format.write_array(
            file, attempt.random.choice(same), version=attempt.random.choice(((1, 0), (2, 0), (3, 0)))
        )
    return KEPT


@mutation("npy")
def not_finite(attempt: Attempt) -> Expected:
    """A number is infinite, or too large for the files of a dataset."""
    x = np.load(attempt.target).astype("f8")
    x.reshape(-1)[attempt.random.randrange(x.size)] = attempt.random.choice((np.inf, -np.inf, 1e300))
    np.save(attempt.target, x)
    return REFUSED


@mutation("npy")
def other_array(attempt: Attempt) -> Expected:
    """Numbers of another kind or another number of axes."""
    x = np.load(attempt.target)
    others = (x.astype("c8"), x.astype("i4"), x > 0, x[..., :0], x[:0], x[None], x.ravel(), np.float32(3.0), x * np.nan)
    others += (x.astype("f2"), x.astype("u1"), np.zeros((1,) * 20, "f4"), x * 0, x[:1], x[:, :1], x.astype("g"))
    np.save(attempt.target, attempt.random.choice(others))
    return ANY


@mutation("mat")
def matlab_kinds(attempt: Attempt) -> Expected:
    """Cells, structures, text, sparse and complex numbers, or nothing at all."""
    from scipy.io import savemat
    from scipy.sparse import csr_matrix

    cell = np.empty(2, object)
    cell[:] = [np.zeros(3), "x"]
    kinds: tuple[dict[str, Any], ...] = ({"u": cell}, {"u": {"a": np.zeros(3)}}, {"u": "text"}, {"u": np.zeros((0, 0))})
    kinds += ({"u": csr_matrix(np.eye(4))}, {}, {"u": np.full((6, 5, 8), np.nan)})
    savemat(attempt.target, attempt.random.choice(kinds))
    return REFUSED


@mutation("mat")
def matlab_compressed(attempt: Attempt) -> Expected:
    """The same numbers, compressed."""
    from scipy.io import loadmat, savemat

    kept = {k: v for k, v in loadmat(attempt.target).items() if not k.startswith("__")}
    savemat(attempt.target, kept, do_compression=True)
    return KEPT


@mutation("mat")
def matlab_sizes(attempt: Attempt) -> Expected:
    """A size in the file is another one."""
    data = bytearray(attempt.target.read_bytes())
    at = 128 + 4 * attempt.random.randrange(14)
    data[at : at + 4] = attempt.random.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", bytes(4), b"\x01\x00\x00\x00"))
    attempt.target.write_bytes(data)
    return ANY


@mutation("netcdf3")
def netcdf_sizes(attempt: Attempt) -> Expected:
    """A length in the head of the file is another one."""
    data = bytearray(attempt.target.read_bytes())
    at = 4 * attempt.random.randrange(1, 60)
    data[at : at + 4] = attempt.random.choice((b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", bytes(4), b"\x00\x0f\x42\x40"))
    attempt.target.write_bytes(data)
    return ANY


@mutation("netcdf3")
def netcdf_missing(attempt: Attempt) -> Expected:
    """Numbers that are missing values."""
    import xarray as xr

    data = xr.load_dataset(attempt.target, engine="scipy")
    name = attempt.random.choice(sorted(map(str, data.data_vars)))
    data[name] = data[name] * attempt.random.choice((np.nan, np.inf))
    attempt.target.unlink()
    data.to_netcdf(attempt.target, engine="scipy", format="NETCDF3_64BIT")
    return SAME
