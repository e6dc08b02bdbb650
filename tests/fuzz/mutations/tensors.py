"""Safetensors files: headers of any shape, sizes that the file does not hold, tensors that are others."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from tests.fuzz.attempt import REFUSED, SAME, Act, Attempt, Expected, InapplicableError, enlist, mutation
from tests.fuzz.mutations.json_texts import OTHER, WRONG, Change


def _parts(attempt: Attempt) -> tuple[str, bytes]:
    """The header's text and the numbers behind it."""
    data = attempt.target.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + size].decode(), data[8 + size :]


def _write(attempt: Attempt, header: str, rest: bytes) -> None:
    text = header.encode("utf-8", "surrogatepass")
    attempt.target.write_bytes(struct.pack("<Q", len(text)) + text + rest)


def _of_header(change: Change, wrong: bool) -> Act:
    def act(attempt: Attempt) -> Expected:
        header, rest = _parts(attempt)
        _write(attempt, change(header, attempt.random), rest)
        return SAME if wrong else attempt.changed

    return act


for names, is_wrong in ((OTHER, False), (WRONG, True)):
    for label, one in names.items():
        enlist("safetensors", f"header-{label}", _of_header(one, is_wrong))


@mutation("safetensors")
def header_of_another_length(attempt: Attempt) -> Expected:
    """A header that says it is longer than the file, or shorter than itself."""
    data = attempt.target.read_bytes()
    size = attempt.random.choice((0, 1, 7, len(data), 2**31, 2**40, 2**63, 2**64 - 1))
    attempt.target.write_bytes(struct.pack("<Q", size) + data[8:])
    return SAME if attempt.target.parts[-2:] == ("out", "model.safetensors") else REFUSED  # which is written anew


@mutation("safetensors")
def tensor_declared_otherwise(attempt: Attempt) -> Expected:
    """A tensor of another shape, type or place than its numbers have."""
    header, rest = _parts(attempt)
    told: dict[str, Any] = json.loads(header)
    names = [n for n in told if n != "__metadata__"]
    entry = told[attempt.random.choice(names)]
    first, last = entry["data_offsets"]
    match attempt.random.randrange(6):
        case 0:
            entry["shape"] = attempt.random.choice(([10**12], [-1], [0], [2**63], entry["shape"][::-1], [1, 1, 1, 1]))
        case 1:
            entry["data_offsets"] = [first, last + 10**12]
        case 2:
            entry["data_offsets"] = [last, first]
        case 3:
            entry["dtype"] = attempt.random.choice(("F64", "BF16", "I32", "BOOL", "F8_E4M3", "X9", "f32", 4))
        case 4:
            entry["data_offsets"] = attempt.random.choice(([-4, last], [0, 0], [], [first], "0:4"))
        case _:
            told[attempt.random.choice(names)]["data_offsets"] = [first, last]
    _write(attempt, json.dumps(told), rest)
    return attempt.changed


@mutation("safetensors")
def tensor_renamed_or_missing(attempt: Attempt) -> Expected:
    """A tensor is missing, has another name or another shape, or there is one too many."""
    tensors, metadata = _load(attempt)
    name = attempt.random.choice(sorted(tensors))
    match attempt.random.randrange(4):
        case 0:
            del tensors[name]
        case 1:
            tensors[f"{name}.x"] = tensors.pop(name)
        case 2:
            tensors[name] = np.zeros((*tensors[name].shape, 2), tensors[name].dtype)
        case _:
            tensors["more"] = np.zeros(3, "f4")
    _save(attempt, tensors, metadata)
    return attempt.changed


@mutation("safetensors")
def not_finite(attempt: Attempt) -> Expected:
    """Weights that are NaN or infinite."""
    tensors, metadata = _load(attempt)
    names = sorted(n for n, x in tensors.items() if x.dtype.kind == "f" and x.size)
    if not names:
        raise InapplicableError
    x = np.array(tensors[attempt.random.choice(names)])
    x.reshape(-1)[attempt.random.randrange(x.size) :] = attempt.random.choice((np.nan, np.inf))
    tensors[attempt.random.choice(names)] = x
    for name in names:
        if tensors[name].shape == x.shape:
            tensors[name] = x
    _save(attempt, tensors, metadata)
    return attempt.changed


@mutation("safetensors")
def other_numbers(attempt: Attempt) -> Expected:
    """All numbers of a tensor are others."""
    tensors, metadata = _load(attempt)
    name = attempt.random.choice(sorted(tensors))
    tensors[name] = np.asarray(tensors[name] * attempt.random.choice((0, 1e20, -1)), tensors[name].dtype)
    _save(attempt, tensors, metadata)
    return attempt.changed


def _load(attempt: Attempt) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors.numpy import load_file

    header, _ = _parts(attempt)
    return dict(load_file(attempt.target)), json.loads(header).get("__metadata__", {})


def _save(attempt: Attempt, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, attempt.target, metadata)
