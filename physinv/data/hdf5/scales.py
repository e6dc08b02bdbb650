"""Dimension scales of HDF5 arrays; attributes of other types, at which the library itself would crash, are refused."""

from __future__ import annotations

__all__ = ["axis_names", "is_scale"]

import h5py


def is_scale(item: h5py.Dataset) -> bool:
    """Return whether an array is a dimension scale.

    Args:
        item: The array.
    """
    if "CLASS" in item.attrs and not _is_text(item, "CLASS"):
        return False
    return bool(h5py.h5ds.is_scale(item.id))


def axis_names(item: h5py.Dataset) -> list[str | None]:
    """Return the names of the axes of an array, by their dimension scales or labels.

    Args:
        item: The array.

    Returns:
        For every axis the name of its first scale, with the group above, else its label; None without both.

    Raises:
        ValueError: If its scales or labels are stored as anything else.
    """
    _check(item)
    names: list[str | None] = []
    for i in range(item.ndim):
        dim = item.dims[i]
        try:
            names.append(dim[0].name if len(dim) else (dim.label or None))
        except RuntimeError:  # it was deleted
            raise ValueError(f"the dimension scale of axis {i} of {item.name!r} is missing") from None
    return names


def _check(item: h5py.Dataset) -> None:
    """Refuse attributes of dimension scales that are no lists of references, or no texts, one for each axis."""
    if "DIMENSION_LIST" in item.attrs:
        stored = h5py.h5a.open(item.id, b"DIMENSION_LIST")
        kind = stored.get_type()
        listed = isinstance(kind, h5py.h5t.TypeVlenID) and isinstance(kind.get_super(), h5py.h5t.TypeReferenceID)
        if not listed or stored.shape != (item.ndim,):
            raise ValueError(f"the attribute `DIMENSION_LIST` of {item.name!r} is no list of references for each axis")
    if "DIMENSION_LABELS" in item.attrs and not _is_text(item, "DIMENSION_LABELS", (item.ndim,)):
        raise ValueError(f"the attribute `DIMENSION_LABELS` of {item.name!r} is no text for each axis")


def _is_text(item: h5py.Dataset, name: str, shape: tuple[int, ...] = ()) -> bool:
    """Whether an attribute holds texts in UTF-8, of this shape."""
    stored = h5py.h5a.open(item.id, name.encode())
    if not isinstance(stored.get_type(), h5py.h5t.TypeStringID) or stored.shape != shape:
        return False
    value = item.attrs[name]
    texts = value.ravel().tolist() if shape else [value]
    try:
        for text in texts:
            (text.decode() if isinstance(text, bytes) else str(text)).encode()
    except UnicodeError:
        return False
    return True
