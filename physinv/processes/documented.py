"""Docstrings of processes: parameters with symbol, unit and default, where ``help`` and the API pages show them."""

from __future__ import annotations

__all__ = ["with_parameters"]

import dataclasses
from typing import Any


def with_parameters(cls: type) -> str | None:
    """Return the docstring of a class of parameters, with a section ``Attributes`` that lists them.

    Meant for ``__init_subclass__``, when the fields of ``cls`` itself are not yet those of a dataclass.

    Args:
        cls: A class whose fields are made by :func:`~physinv.processes.parameters.parameter`.

    Returns:
        Its docstring, as it is if it has such a section already; None if it has none.
    """
    doc: str | None = cls.__dict__.get("__doc__")
    if doc is None or "\n    Attributes:\n" in doc:
        return doc
    fields: dict[str, dataclasses.Field[Any]] = dict(getattr(cls, "__dataclass_fields__", {}))
    fields |= {name: value for name, value in cls.__dict__.items() if isinstance(value, dataclasses.Field)}
    lines = [f"        {name}: {_about(field)}" for name, field in fields.items() if "doc" in field.metadata]
    return doc.rstrip() + "\n\n    Attributes:\n" + "\n".join(lines) + "\n    "


def _about(field: dataclasses.Field[Any]) -> str:
    about = field.metadata
    symbol = f" ``{about['symbol']}``" if about["symbol"] else ""
    unit = "" if about["unit"] == "1" else f", in {about['unit']}"
    choices = f": {', '.join(about['choices'])}" if about["choices"] else ""
    varies = "  May have a prior." if about.get("varies") else ""
    return f"{about['doc'][:1].upper()}{about['doc'][1:]}{symbol}{unit}{choices}.  Default {field.default!r}.{varies}"
