"""Open HDF5 files that may come from anywhere."""

from __future__ import annotations

__all__ = ["open_file"]

import re
from pathlib import Path

import h5py

from physinv.config.failures import as_os_error
from physinv.config.files import check_regular
from physinv.data.hdf5.blocks import CheckedFile, check_end, sealed_size
from physinv.data.hdf5.heaps import check_heaps
from physinv.data.hdf5.links import refuse_foreign


def open_file(path: Path, *, verify: bool = True, known: bool = False) -> h5py.File:
    """Open an HDF5 file for reading.

    Args:
        path: The file.
        verify: Whether what is read is compared with the checksums of the file; files that have none are not.
        known: Whether the file was opened before, and found to keep its numbers to itself.

    Returns:
        The file, open for reading.

    Raises:
        FileNotFoundError: If there is none.
        PermissionError: If it may not be read.
        BlockingIOError: If another process writes to it.
        ValueError: If it is not HDF5, damaged, or leads to numbers in files elsewhere.
    """
    check_regular(path)
    try:
        sealed = verify and path.is_file() and sealed_size(path) is not None
        if verify and path.is_file() and not sealed:
            check_end(path)
            if not known:
                check_heaps(path)
        file = _checked(path) if sealed else h5py.File(path, "r")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; make it with `physinv generate`.") from None
    except BlockingIOError:
        raise BlockingIOError(f"{path} is being written by another process; wait until that has finished.") from None
    except PermissionError:
        raise PermissionError(f"{path} can't be read: permission denied.") from None
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # of the system, not of HDF5
            raise
        if (refused := as_os_error(error, path)) is not None:
            raise refused from None
        raise _damaged(path, error) from None
    try:
        if not known:
            refuse_foreign(path, file)
    except BaseException as error:
        file.close()
        if isinstance(error, (OSError, RuntimeError, KeyError)):  # what HDF5 says of damage
            raise _damaged(path, error) from None
        raise
    return file


def _checked(path: Path) -> h5py.File:
    raw = CheckedFile(path)
    try:
        return h5py.File(raw, "r")
    except BaseException:
        raw.close()
        raise


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = re.sub(r"^.*?\(|\)\s*$", "", (str(error).splitlines() or [type(error).__name__])[0])
    return ValueError(f"{path} is not a whole HDF5 file ({reason}); copy or generate it again.")
