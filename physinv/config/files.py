"""Files that appear whole or not at all, and reading them back with one line for whatever is wrong."""

from __future__ import annotations

__all__ = [
    "MOST_TEXT",
    "as_json",
    "check_regular",
    "fsync_folder",
    "load_tensors",
    "publish",
    "read_json",
    "read_toml",
    "save_tensors",
    "sha256",
    "write_atomically",
    "write_text",
]

import dataclasses
import hashlib
import json
import math
import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from physinv.config.checksums import of_tensors
from physinv.config.failures import as_os_error
from physinv.config.json_text import read_object
from physinv.config.outputs.refusals import check_replaced
from physinv.config.outputs.temporary import sweep, temporary_path

MOST_TEXT = 2**26
"""Bytes that JSON, lines of it, or TOML have at most: longer files are not read to find out what they are."""

_DEEPEST = 100  # parts of a key of TOML
_COMPLEX = ":complex"  # ending of the names of complex tensors in files
_HEADER = "physinv"  # the entry of the header that holds all of our own
_EARLIER = {"format", "counters"}  # one of which is in the header of each file of earlier versions
_REMEDY = "put back a copy, or make it anew"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that appears under its name only when it is complete.

    A process that is killed, or a disk that is full, leaves no file at ``path``, or the older one as it was.  What
    killed processes left of the same file is removed.

    Args:
        path: The file to write; its folder must exist.
        write: Function that fills the temporary file whose path it is called with.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "note.txt", lambda temporary: temporary.write_text("done"))
        ...     [path.name for path in Path(folder).iterdir()]
        ['note.txt']
    """
    check_replaced(path)
    temporary = temporary_path(path)
    sweep(path.parent, path.name)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # that of any new file here, whatever the library that writes chooses
        write(temporary)
        if temporary.stat().st_mode != mode:
            temporary.chmod(mode)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8, whole or not at all.

    Args:
        path: The file to write; its folder must exist.
        text: All of its content.
    """
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


def publish(temporary: Path, path: Path) -> None:
    """Flush a complete temporary file to disk and rename it in one step.

    Args:
        temporary: The closed file.
        path: Its name from now on; a file of this name is replaced.

    Raises:
        FileExistsError: If it is the name of a pipe or a device.
    """
    check_replaced(path)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, so that they survive a power failure as well.

    Args:
        folder: The folder.
    """
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def as_json(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Return dataclasses as JSON holds them: numbers that are not finite, which JSON does not know, become null.

    Args:
        rows: Instances of dataclasses whose fields are plain.

    Example:
        >>> @dataclasses.dataclass
        ... class Row:
        ...     value: float
        >>> as_json([Row(1.0), Row(float("nan"))])
        [{'value': 1.0}, {'value': None}]
    """
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in dataclasses.asdict(row).items()}
        for row in rows
    ]


def check_regular(path: Path, most: int | None = None) -> None:
    """Refuse to read from pipes, which may wait for ever, from devices, which may never end, and what is too long.

    Args:
        path: What is to be read; nothing is said of a path that is not there, or a folder.
        most: Bytes that a file may have; None: any number.

    Raises:
        ValueError: If it is neither a file nor a folder, or longer.
    """
    try:
        found = path.stat()
    except OSError:  # said by who opens it
        return
    mode = found.st_mode
    if most is not None and stat.S_ISREG(mode) and found.st_size > most:
        raise ValueError(
            f"{path} has {found.st_size} bytes, text of this kind has {most} at most; it is damaged, or no such file."
        )
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise ValueError(f"{path} is {kind}, not a file; write what it holds into a file, and give that.")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid JSON.
    """
    check_regular(path, MOST_TEXT)
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}.") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is damaged: it is not valid JSON.") from None


def read_toml(path: Path, *, kind: str = "file", hint: str = "give the path of a TOML file.") -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.
        kind: What it is, for the message where there is none.
        hint: What to do where there is none.

    Returns:
        Its keys and values.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid TOML.
    """
    check_regular(path, MOST_TEXT)
    try:
        text = path.read_text("utf-8")
        if any(_is_deep(line) for line in text.splitlines()):
            raise RecursionError
        return tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no {kind} {path}; {hint}") from None
    except RecursionError:
        raise ValueError(f"{path} is not valid TOML that can be read: it is nested too deep.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None


def _is_deep(line: str) -> bool:
    """Whether a line of TOML has a key of very many parts, for which memory grows with their square."""
    key = line.partition("=")[0]
    return "," not in key and key.count(".") > _DEEPEST


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write tensors into a safetensors file, whole or not at all.

    The format knows no complex numbers of double precision: complex tensors are stored as pairs of real numbers under
    names that end in ``:complex``.  It writes a header of several entries in any order: for the same bytes all text is
    in one, as JSON, together with the checksum of everything.

    Args:
        path: The file to write.
        tensors: Tensors by name, of any shape, on any device.
        header: Text by name, which the file holds beside them.
    """
    flat: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        whole = tensor.detach().cpu().contiguous()
        if (place := whole.untyped_storage().data_ptr()) in places:
            whole = whole.clone()  # the library refuses two tensors in one place of memory
        places.add(place)
        stored = {name + _COMPLEX: torch.view_as_real(whole.resolve_conj())} if whole.is_complex() else {name: whole}
        flat |= stored
    told = json.dumps({"header": dict(header), "sha256": of_tensors(flat, header)}, sort_keys=True)

    def write(temporary: Path) -> None:
        try:
            save_file(flat, temporary, metadata={_HEADER: told})
        except SafetensorError as error:
            raise as_os_error(error, path) or error from None

    write_atomically(path, write)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file; no code in it is ever executed.

    Args:
        path: The file.

    Returns:
        The tensors by name, on the CPU, and the text in its header.

    Raises:
        ValueError: If there is no such file, it is damaged, or it does not have the checksum that it was written with;
            files of earlier versions have none.
        OSError: If the system refuses to read it.
    """
    check_regular(path)
    try:
        with _name_in_utf8(path) as name, safe_open(name, framework="pt") as file:
            flat, header = {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        if (refused := as_os_error(error, path)) is not None:
            raise refused from None
        raise ValueError(f"{path} is not a readable safetensors file ({error}); it may be truncated.") from None
    if _HEADER in header:
        told = read_object(header[_HEADER], f"the header of {path}")
        own = told.get("header")
        if not isinstance(own, dict) or told.get("sha256") != of_tensors(flat, own):
            raise ValueError(f"{path} is damaged: it does not have the checksum that it was written with; {_REMEDY}.")
        header = own
    elif header and not header.keys() & _EARLIER:  # one changed bit of its name takes the entry away
        raise ValueError(f"{path} is damaged: its header lacks the entry `{_HEADER}`; {_REMEDY}.")
    try:
        return {_whole_name(k): torch.view_as_complex(v) if _is_pair(k) else v for k, v in flat.items()}, header
    except RuntimeError as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def sha256(path: Path) -> str:
    """Compute the SHA-256 checksum of a file, as hexadecimal text.

    Args:
        path: The file, which is read a part at a time.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _name_in_utf8(path: Path) -> Iterator[str]:
    """A name by which a library finds a file that takes no others: of a path of other bytes, that of an open file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
        return
    yield str(path)


def _is_pair(name: str) -> bool:
    """Whether a tensor in a file holds complex numbers, as pairs of real ones."""
    return name.endswith(_COMPLEX)


def _whole_name(name: str) -> str:
    """The name of a tensor, whatever is stored of it."""
    return name.removesuffix(_COMPLEX)
