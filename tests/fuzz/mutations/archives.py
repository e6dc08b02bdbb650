"""Archives and folders of arrays: npz, torch, Zarr."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.attempt import ANY, KEPT, REFUSED, SAME, Act, Attempt, Expected, InapplicableError, enlist, mutation
from tests.fuzz.mutations.arrays import Trap, header
from tests.fuzz.mutations.json_texts import OTHER, WRONG, Change

MANY = 2 * 10**9  # bytes that a bomb declares and unpacks to


@mutation("npz")
def same_arrays(attempt: Attempt) -> Expected:
    """The same arrays, compressed or in another precision."""
    arrays = dict(np.load(attempt.target))
    if attempt.random.random() < 0.5:
        np.savez_compressed(attempt.target, **arrays)
    else:
        np.savez(attempt.target, **{k: v.astype(">f8") if v.dtype.kind in "iuf" else v for k, v in arrays.items()})
    return KEPT


@mutation("npz")
def member_lies(attempt: Attempt) -> Expected:
    """An array in the archive that declares more than it holds, or Python objects."""
    arrays = dict(np.load(attempt.target))
    bad = (header("(1000000000000,)") + bytes(99), header("(1,)", "'|O'") + pickle.dumps([Trap()]), b"", b"\x93NUMPY")
    bad += (header("(10**9, 2)") + bytes(9), header("(6, 5, 8)")[:40])
    _zip(attempt.target, {**{f"{k}.npy": _npy(v) for k, v in arrays.items()}, "u.npy": attempt.random.choice(bad)})
    return REFUSED


@mutation("npz")
def member_names(attempt: Attempt) -> Expected:
    """Members with names that lead out of the folder, twice, or odd."""
    arrays = {f"{k}.npy": _npy(v) for k, v in np.load(attempt.target).items()}
    name = attempt.random.choice(("../../code-ran.npy", "/code-ran.npy", "", "\x1b[2J.npy", "n" * 3000 + ".npy", "a/b"))
    _zip(attempt.target, {**arrays, name: _npy(np.zeros(3))})
    return ANY


@mutation("npz")
def archive_bomb(attempt: Attempt) -> Expected:
    """An array of two gigabytes in an archive of two megabytes."""
    _bomb(attempt.target, "u.npy", header(f"(6, 5, {MANY // 120})"))
    return REFUSED


@mutation("npz", "torch")
def member_missing(attempt: Attempt) -> Expected:
    """A member of the archive is not there, or of another length."""
    with zipfile.ZipFile(attempt.target) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    name = attempt.random.choice(sorted(members))
    members[name] = members[name][: len(members[name]) // 2]
    if attempt.random.random() < 0.5:
        del members[name]
    _zip(attempt.target, members)
    return SAME


@mutation("torch")
def torch_objects(attempt: Attempt) -> Expected:
    """Objects whose loading would run code, or that hold no tensors."""
    import torch

    kinds: tuple[Any, ...] = (
        Trap(),
        {"u": Trap()},
        [1, 2],
        {},
        "text",
        None,
        3.5,
        {"u": "text"},
        {"u": [torch.ones(3)]},
    )
    torch.save(attempt.random.choice(kinds), attempt.target)
    return REFUSED


@mutation("torch")
def torch_plain_pickle(attempt: Attempt) -> Expected:
    """A pickle without an archive around it."""
    attempt.target.write_bytes(pickle.dumps(Trap()))
    return REFUSED


@mutation("torch")
def torch_tensors(attempt: Attempt) -> Expected:
    """Tensors of other kinds: sparse, complex, of no size, NaN, on no device."""
    import torch

    u = _tensor(attempt)
    kinds = (u.to_sparse(), u.to(torch.complex64), u[:0], u * float("nan"), u > 0, u.int(), torch.empty(0))
    kinds += (torch.empty(u.shape, device="meta"), u.to(torch.float8_e4m3fn), u[0, 0, 0], u.to_sparse().coalesce())
    torch.save({"u": attempt.random.choice(kinds)}, attempt.target)
    return ANY


@mutation("torch")
def torch_expanded(attempt: Attempt) -> Expected:
    """A tensor of one number that is shown ten thousand million times."""
    import torch

    torch.save({"u": torch.zeros(1, 1, 1).expand(6, 5, 2 * 10**9)}, attempt.target)
    return REFUSED


@mutation("torch")
def torch_same(attempt: Attempt) -> Expected:
    """The same tensor as a parameter, a view, in double precision, or in the older format."""
    import torch

    u = _tensor(attempt)
    kinds = (u.double(), torch.nn.Parameter(u), u.transpose(0, 1).contiguous().transpose(0, 1))
    torch.save(
        {"u": attempt.random.choice(kinds)},
        attempt.target,
        _use_new_zipfile_serialization=attempt.random.random() < 0.7,
    )
    return KEPT


def _tensor(attempt: Attempt) -> Any:
    import torch

    return torch.load(attempt.target, weights_only=True)["u"]


def _metadata(attempt: Attempt) -> Path:
    found = sorted(p for p in attempt.target.rglob("*") if p.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup"))
    if not found:
        raise InapplicableError
    return attempt.random.choice(found)


def _chunk(attempt: Attempt) -> Path:
    found = sorted(p for p in attempt.target.rglob("*") if p.is_file() and "/c/" in p.as_posix())
    if not found:
        raise InapplicableError
    return attempt.random.choice(found)


def _of_metadata(change: Change) -> Act:
    def act(attempt: Attempt) -> Expected:
        path = _metadata(attempt)
        path.write_text(change(path.read_text("utf-8"), attempt.random), "utf-8", "surrogatepass")
        return ANY

    return act


for label, one in {**OTHER, **WRONG}.items():
    enlist("zarr", f"metadata-{label}", _of_metadata(one))


@mutation("zarr")
def zarr_chunk_missing(attempt: Attempt) -> Expected:
    """A chunk that was never written, which reads as zeros."""
    path = _chunk(attempt)
    path.unlink()
    return REFUSED if "/u/" in path.as_posix() else SAME


@mutation("zarr")
def zarr_chunk_damaged(attempt: Attempt) -> Expected:
    """A chunk that is cut, noise, or a folder."""
    path = _chunk(attempt)
    data = path.read_bytes()
    match attempt.random.randrange(3):
        case 0:
            path.write_bytes(data[: len(data) // 2])
        case 1:
            path.write_bytes(attempt.random.randbytes(len(data)))
        case _:
            path.unlink()
            path.mkdir()
    return REFUSED if "/u/" in path.as_posix() else ANY


@mutation("zarr")
def zarr_chunk_outside(attempt: Attempt) -> Expected:
    """A chunk that is a link to a file in another folder."""
    path = _chunk(attempt)
    secret = attempt.outside / "secret.chunk"
    shutil.copyfile(path, secret)
    path.unlink()
    path.symlink_to(secret)
    return REFUSED


@mutation("zarr")
def zarr_declared_huge(attempt: Attempt) -> Expected:
    """An array that declares far more than its chunks hold."""
    path = attempt.target / "u" / "zarr.json"
    told = json.loads(path.read_text("utf-8"))
    told["shape"][attempt.random.randrange(len(told["shape"]))] = attempt.random.choice((10**7, 10**12))
    path.write_text(json.dumps(told), "utf-8")
    return REFUSED


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def _bomb(path: Path, name: str, head: bytes) -> None:
    """An archive of one member: a head and zeros, packed once and repeated."""
    piece = 2**24
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(piece)) + packer.flush(zlib.Z_FULL_FLUSH)
    times = MANY // piece
    data = packed + block * times + packer.flush(zlib.Z_FINISH)
    check, zeros = zlib.crc32(head), bytes(piece)
    for _ in range(times):
        check = zlib.crc32(zeros, check)
    sizes = struct.pack("<III", check, len(data), len(head) + piece * times)
    place, count = name.encode(), struct.pack("<HH", len(name), 0)
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes + count + place
    central = b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33) + sizes + count
    central += struct.pack("<HHHII", 0, 0, 0, 0, 0) + place
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    path.write_bytes(local + data + central + end)
