"""What an axis stands for: samples, time, components of a vector, particles, or space.

Attributes of the climate and forecast conventions (``axis``, ``standard_name``, ``units``) say it, else the name does.
"""

from __future__ import annotations

__all__ = ["Role", "is_longitude", "name_and_unit", "names_of", "role_of", "same_unit", "word_of"]

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from physinv.data.sources.build import is_unnamed

Role = Literal["sample", "time", "component", "particle", "space", "unnamed"]
"""What an axis stands for."""

_WORDS: dict[Role, tuple[str, ...]] = {
    "sample": (
        *("sample", "samples", "trajectory", "trajectories", "traj", "batch", "case", "run", "simulation", "sim"),
        *("member", "members", "ensemble", "realization", "realisation", "number", "n", "cases", "runs", "simulations"),
        *("observation", "observations", "observation_index", "obs", "event", "events", "experiment", "experiments"),
        *(
            "ens",
            "ensemble_member",
            "ens_member",
            "trial",
            "trials",
            "seed",
            "seeds",
            "repetition",
            "repetitions",
            "rep",
        ),
        *(
            "reps",
            "replicate",
            "replicates",
            "shot",
            "shots",
            "draw",
            "draws",
            "chain",
            "chains",
            "patient",
            "patients",
        ),
        *("subject", "subjects"),
    ),
    "time": (
        *("time", "times", "t", "tt", "date", "datetime", "timestamp", "valid_time", "t-coordinate", "seconds"),
        *("datum", "zeit", "zeitstempel", "uhrzeit", "date_time", "unix_time", "elapsed", "elapsed_time", "time_utc"),
        *("step", "lead_time", "frame", "frames"),
    ),
    "component": ("component", "components", "channel", "channels", "feature", "features", "coordinate", "c"),
    "particle": ("particle", "particles", "atom", "atoms"),
}


_UNIT = re.compile(r"(.*?\S)(?:\s*\[([^][]+)\]|\s+\(([^()]+)\))")  # speed [m/s], speed (m/s)
_OF_TIME = re.compile(r"[munµ]?s|secs?|seconds?|min(ute)?s?|h|hrs?|hours?|d|days?|months?|y|yrs?|years?|utc|gmt", re.I)

_FACTOR = re.compile(r"(/?)\s*([^\W\d_]+)(?:\^|\*\*)?([-+]?\d+)?")  # of a unit: s-2, s^-2, /s2
_SPELLED = tuple(
    words.split("|")
    for words in (
        *("s|sec|secs|second", "min|minute", "h|hr|hrs|hour", "d|day", "y|yr|yrs|year", "m|metre|meter", "K|kelvin"),
        *("C|degc|deg_c|celsius|degree_celsius|degrees_celsius|°c", "degree|deg|°", "%|percent", "1||-|dimensionless"),
        *("degree_north|degrees_north|degree_n|degrees_n", "degree_east|degrees_east|degree_e|degrees_e"),
    )
)
"""Spellings of one unit, in small letters but for those of one."""


def role_of(axis: str, attrs: Mapping[str, Any] | None = None) -> Role:
    """Say what an axis stands for.

    Args:
        axis: Its name.
        attrs: Attributes of its coordinate, if it has one.

    Returns:
        The role; ``"space"`` for any name that is not one of the others.

    Example:
        >>> role_of("Time"), role_of("lat"), role_of("axis_0"), role_of("valid", {"units": "days since 1800-01-01"})
        ('time', 'space', 'unnamed', 'time')
        >>> role_of("t [ms]"), role_of("T [degC]")
        ('time', 'space')
    """
    told = dict(attrs or {})
    since = " since " in str(told.get("units", ""))
    if since or told.get("axis") == "T" or told.get("standard_name") == "time":
        return "time"
    if told.get("standard_name") == "realization":
        return "sample"
    if is_unnamed(axis):
        return "unnamed"
    name, unit = name_and_unit(axis.lower())
    word = name.rpartition("/")[2].replace(" ", "_").removesuffix("_id").removesuffix("_#")
    if word.startswith("component_"):
        return "component"
    role: Role = next((role for role, words in _WORDS.items() if word in words), "space")
    return "space" if role == "time" and unit and not _OF_TIME.fullmatch(unit) else role


def is_longitude(axis: str, attrs: Mapping[str, Any]) -> bool:
    """Return whether an axis is that of longitude.

    Args:
        axis: Its name.
        attrs: Attributes of its coordinate.
    """
    units = str(attrs.get("units", "")).lower().replace("degrees", "degree")
    named = axis.lower() in ("lon", "longitude") and not units
    return attrs.get("standard_name") == "longitude" or units in ("degree_east", "degree_e") or named


def names_of(given: str | Sequence[str] | None) -> list[str]:
    """Return the names in ``"a,b"``; a list of them passes through, None is empty.

    Args:
        given: Names.
    """
    if given is None:
        return []
    words = given.split(",") if isinstance(given, str) else list(given)
    return [w.strip() for w in words if w.strip()]


def name_and_unit(head: str) -> tuple[str, str]:
    """Split the head of a column into a name and a unit in brackets; what is a number there is no unit.

    Args:
        head: Such as ``"speed [m/s]"`` or ``"speed (m/s)"``.

    Returns:
        The name, and the unit, or nothing.

    Example:
        >>> name_and_unit("speed [m/s]"), name_and_unit("u[0]"), name_and_unit("f(x)")
        (('speed', 'm/s'), ('u[0]', ''), ('f(x)', ''))
    """
    match = _UNIT.fullmatch(head.strip())
    unit = "" if match is None else (match[2] or match[3]).strip()
    return (head, "") if match is None or not unit or unit.lstrip("+-").isdigit() else (match[1], unit)


def same_unit(one: str, other: str) -> bool:
    """Return whether two texts spell one unit.

    Args:
        one: A unit.
        other: Another.

    Example:
        >>> same_unit("h", "hours"), same_unit("m/s", "m s-1"), same_unit("m", "km"), same_unit("mM", "MM")
        (True, True, False, False)
    """
    return _spelled(one) == _spelled(other)


def _spelled(unit: str) -> str:
    """The first spelling of a unit; of products and quotients their factors and powers, where these are plain."""
    word = unit.strip() if len(unit.strip()) == 1 else unit.strip().lower()
    for known in (word, word.removesuffix("s") if len(word) > 2 else word):
        if found := next((words[0] for words in _SPELLED if known in words), None):
            return found
    plain = re.sub(r"^1\s*(?=/)", "", unit.strip())
    factors = [(base, (-1 if over else 1) * int(power or 1)) for over, base, power in _FACTOR.findall(plain)]
    return str(sorted(factors)) if not re.sub(r"[\s*.·]+", "", _FACTOR.sub("", plain)) else plain


def word_of(name: str) -> str:
    """Return a name that HDF5 and options on the command line take.

    Args:
        name: Any text.

    Example:
        >>> word_of("speed [m/s]")
        'speed_m_s'
    """
    return re.sub(r"[^\w\-]+", "_", name).strip("_") or "value"
