"""Several axes of samples as one: members of an ensemble and their starts, parameters and repetitions."""

from __future__ import annotations

__all__ = ["one_sample_axis"]

import math
from collections.abc import Sequence

import xarray as xr

from physinv.config.devices import check_memory
from physinv.data.sources.roles import role_of

_TOGETHER = "trajectory"


def one_sample_axis(
    source: xr.Dataset, names: Sequence[str], dims: Sequence[str], path: str
) -> tuple[xr.Dataset, list[str], list[str]]:
    """Call the axes of samples of states ``sample``, and put several of them together, in memory.

    What a file stores along an axis that is called otherwise, such as ``nu``, is a number that is known of each sample.

    Args:
        source: All variables.
        names: Those that make up a state.
        dims: Names of their axes that the user gave, in the order of the file; empty if none.
        path: The file, for messages.

    Returns:
        The variables, names of the axes in their new order (none where none were given), and what was understood.
    """
    whole = max((source[name] for name in names), key=lambda a: a.ndim)
    called = dict(zip(map(str, whole.dims), dims, strict=False)) if len(dims) == whole.ndim else {}
    roles = {
        d: role_of(called.get(d, d), source[d].attrs if d in source.variables and d not in called else None)
        for d in map(str, whole.dims)
    }
    along = [d for d, role in roles.items() if role == "sample"]
    plain = [d for d in along if d in source.variables and role_of(d) in ("sample", "time")]  # no physics
    if len(along) < 2:
        known = [d for d in along if d in called and d in source.variables and d not in plain]
        if known and _TOGETHER not in source.variables:
            source = source.drop_indexes(known[0]).rename_dims({known[0]: _TOGETHER})
        return source, list(dims), []
    used = [str(n) for n in source.variables if n not in plain and set(along) & set(map(str, source[n].dims))]
    states = [source[n] for n in names]
    check_memory(sum(a.dtype.itemsize * math.prod(a.shape) for a in states), f"the states of {path}", "give a part")
    own = source[[n for n in used if n not in along]].drop_vars(plain, errors="ignore").reset_coords()
    beside = {d: source[d].variable for d in along if d in source.variables and d not in plain}
    stacked = own.drop_vars(along, errors="ignore").assign({f"{d}_": v for d, v in beside.items()})
    stacked = stacked.stack({_TOGETHER: along}, create_index=False)
    stacked = stacked.rename({f"{d}_": d for d in beside})
    rest = source.drop_vars([*used, *plain])
    merged = xr.Dataset({**rest.variables, **stacked.variables}, attrs=source.attrs)
    order = [*(called[d] for d in called if d not in along), _TOGETHER] if called else []
    many = " x ".join(str(whole.sizes[d]) for d in along)
    return merged, order, [f"the {many} along {', '.join(called.get(d, d) for d in along)} are taken for samples"]
