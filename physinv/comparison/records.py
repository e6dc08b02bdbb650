"""The records of a benchmark, one per cell (method, seed, study point), and means over the seeds.

A folder of results holds ``cells.jsonl``, one JSON object per line.  A later line replaces earlier ones of the same
cell; a line cut short by a kill is skipped.
"""

from __future__ import annotations

__all__ = ["SCHEMA", "CellRecord", "StudyPoint", "Summary", "order", "points", "read_records", "summarise"]

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from physinv.comparison.journal import lines
from physinv.config.inputs import describe

SCHEMA = 1

_LONGEST = 20_000  # characters of a name or an error
_LARGEST = 1e150  # from which on the square of a number, in standard errors, is none


@dataclass(frozen=True)
class StudyPoint:
    """One point of a study.

    Args:
        name: Name of the study.
        key: The setting that was changed.
        value: Its value.
        label: Its name on an axis.
    """

    name: str
    key: str
    value: float | str
    label: str = ""


@dataclass(frozen=True)
class CellRecord:
    """The results of one cell.

    Args:
        key: Name of the cell.
        system: Name of the simulator.
        method: Name of the method.
        seed: Seed of data, training and sampling.
        study: Point of a study; None for the main table.
        metrics: Finite metrics by name.
        lost: Names of metrics that were NaN or infinite.
        curves: Curves by name.
        cost: Finite costs by name.
        error: Why there is no result; None if there is one.
        options: Options of the method.
        origin: Commit, versions, hardware, device, threads and date, as text.
        notes: What the answer said of itself, such as the method that was chosen.
        data: Checksum of the test split; empty in records of earlier versions.
    """

    key: str
    system: str
    method: str
    seed: int
    study: StudyPoint | None
    metrics: Mapping[str, float]
    lost: tuple[str, ...]
    curves: Mapping[str, tuple[float, ...]]
    cost: Mapping[str, float]
    error: str | None
    options: Mapping[str, Any]
    origin: Mapping[str, str]
    notes: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""


_ONE_SEED = 0.02  # relative difference below which figures of a single seed count as level


@dataclass(frozen=True)
class Summary:
    """The mean of a number over the seeds.

    Args:
        mean: The mean.
        error: Its standard error ``sd / sqrt(n)``; None for one seed, which has no spread.
        n: Number of seeds.
        values: Values by seed and checksum of the data, as far as they are known.
    """

    mean: float
    error: float | None
    n: int
    values: Mapping[tuple[int, str], float] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(values: Mapping[tuple[int, str], float]) -> Summary:
        """Summarise the values of one or more seeds.

        Args:
            values: Values by seed and checksum of the data.

        Returns:
            Mean and standard error.
        """
        n, x = len(values), list(values.values())
        error = statistics.stdev(x) / math.sqrt(n) if n > 1 else None
        return Summary(statistics.fmean(x), error, n, values)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON, values by seed."""
        by_seed = {str(seed): value for (seed, _), value in self.values.items()}
        return {"mean": self.mean, "error": self.error, "n": self.n, "values": by_seed}

    def gap(self, other: Summary) -> float:
        """Return the noise of the seeds: how far two means may differ by chance.

        Seeds fix data and observations for all methods, so differences are paired: half the 95 % interval of the mean
        difference over the common seeds (Student's t: 12.7 standard errors for two seeds, 4.3 for three).  Another
        version may make other data of a seed, which are none in common.  Without two in common, two standard errors of
        the difference of independent means; one seed has no standard error: the gap is then at least 2 % of the larger
        mean, by convention.

        Args:
            other: The other mean.

        Returns:
            A difference in the unit of the means.
        """
        common = self.values.keys() & other.values.keys()
        if len(common) > 1:
            gaps = [self.values[key] - other.values[key] for key in common]
            return float(stdtrit(len(gaps) - 1, 0.975)) * statistics.stdev(gaps) / math.sqrt(len(gaps))
        known = 2 * math.hypot(self.error or 0.0, other.error or 0.0)
        if self.n > 1 and other.n > 1:
            return known
        return max(known, _ONE_SEED * max(abs(self.mean), abs(other.mean)))


def read_records(folder: Path) -> list[CellRecord]:
    """Read the records of a folder of results, the latest one of each cell.

    Args:
        folder: The folder, which holds ``cells.jsonl``.

    Returns:
        The records.

    Raises:
        ValueError: If there is no such file, or it is damaged.
    """
    path = folder / "cells.jsonl"
    if not path.is_file():
        raise ValueError(f"`folder` must hold cells.jsonl, got {folder}; run the benchmark first.")
    cells: dict[tuple[str, int, StudyPoint | None], CellRecord] = {}
    for place, raw in lines(path):
        record = _record(raw, place)
        cells.pop(cell := (record.method, record.seed, record.study), None)
        cells[cell] = record
    return list(cells.values())


def summarise(records: Iterable[CellRecord], study: StudyPoint | None = None) -> dict[str, dict[str, Summary]]:
    """Average records over the seeds.

    Costs are those of the cells and two more: ``total_seconds`` (training and sampling) and ``sample_seconds``
    (sampling per sample and observation).

    Args:
        records: Records of one system.
        study: Point of a study; None for the main table.

    Returns:
        Summaries by method and by metric or cost; methods without a number have none.
    """
    values: dict[str, dict[str, dict[tuple[int, str], float]]] = {}
    for record in records:
        if record.study == study:
            own = values.setdefault(record.method, {})
            if record.error is None:
                for name, value in {**record.metrics, **record.cost, **_more_costs(record.cost)}.items():
                    own.setdefault(name, {})[record.seed, record.data] = value
    return {method: {name: Summary.of(v) for name, v in own.items()} for method, own in values.items()}


def order(summaries: Mapping[str, Mapping[str, Summary]]) -> list[str]:
    """Sort methods for tables.

    Args:
        summaries: Summaries by method.

    Returns:
        The exact posterior, then methods from the lowest CRPS to the highest, then those without one.
    """

    def rank(method: str) -> tuple[bool, float, str]:
        crps = summaries[method].get("crps")
        return method != "exact", crps.mean if crps else math.inf, method

    return sorted(summaries, key=rank)


def points(records: Iterable[CellRecord]) -> dict[str, list[StudyPoint]]:
    """List the points of each study.

    Args:
        records: Records of one system.

    Returns:
        Points by study, in increasing order where their values are numbers.
    """
    out: dict[str, list[StudyPoint]] = {}
    for study in dict.fromkeys(r.study for r in records if r.study):
        out.setdefault(study.name, []).append(study)
    for some in out.values():
        some.sort(key=lambda s: (isinstance(s.value, str), s.value if isinstance(s.value, float) else 0.0))
    return out


def _record(raw: Any, place: str) -> CellRecord:
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else raw
        raise ValueError(f"`schema` must be {SCHEMA}, got {found!r} in {place}; run the benchmark again.")
    try:
        metrics, cost, curves = (_object(raw, key) for key in ("metrics", "cost", "curves"))
        study, seed, failed = raw.get("study"), raw["seed"], raw.get("error")
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise ValueError(f"`seed` must be a whole number from 0, got {describe(seed)}")
        return CellRecord(
            key=_name(raw, "key"),
            system=_name(raw, "system"),
            method=_name(raw, "method"),
            seed=seed,
            study=None if study is None else _study(study),
            metrics=_finite(metrics),
            lost=tuple(k for k, v in metrics.items() if k not in _finite(metrics)),
            curves={k: tuple(map(_number, v)) for k, v in curves.items() if v},
            cost=_finite(cost),
            error=None if failed is None else _shown(str(failed)),
            options=_object(raw, "options"),
            notes=_object(raw, "notes"),
            data=_printable(raw.get("data", ""), "`data`"),
            origin={k: _text(raw.get(k)) for k in ("commit", "versions", "hardware", "device", "threads", "date")},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{place} is no cell of a benchmark ({type(error).__name__}: {error}); remove it.") from None


def _object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A value that is an object with printable names, or empty."""
    found = raw.get(key) or {}
    if not isinstance(found, dict):
        raise ValueError(f"`{key}` must be an object, got {describe(found)}")
    return {_printable(name, f"names in `{key}`"): value for name, value in found.items()}


def _name(raw: Mapping[str, Any], key: str) -> str:
    return _printable(raw[key], f"`{key}`")


def _printable(text: Any, what: str) -> str:
    """Text without control characters, which a terminal would execute."""
    if not isinstance(text, str) or text != _shown(text):
        raise ValueError(f"{what} must be printable text of at most {_LONGEST} characters, got {describe(text)}")
    return str(text)


def _shown(text: str) -> str:
    """The printable characters of a text, and marks for the others."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text[:_LONGEST])


def _study(raw: Any) -> StudyPoint:
    if not isinstance(raw, dict):
        raise ValueError(f"`study` must be an object, got {describe(raw)}")
    value = raw["value"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _number(value)
    elif not isinstance(value, str):
        value = json.dumps(value)
    else:
        value = _printable(value, "`value`")
    name, key = _name(raw, "name"), _name(raw, "key")
    return StudyPoint(name, key, value, _printable(raw.get("label") or key, "`label`"))


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that means can be taken of."""
    return {k: x for k, v in numbers.items() if abs(x := _number(v)) < _LARGEST}


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"metrics, curves and costs must be numbers, got {describe(value)}")
    if isinstance(value, float) and math.isnan(value):
        return value
    return float(value) if abs(value) < _LARGEST else math.inf if value > 0 else -math.inf


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return "" if value is None else str(value)


def _more_costs(cost: Mapping[str, float]) -> dict[str, float]:
    out: dict[str, float] = {}
    training, sampling = cost.get("training_seconds", 0.0), cost.get("sampling_seconds")
    if sampling is not None:
        out["total_seconds"] = training + sampling
        if number := cost.get("observations", 0) * cost.get("samples", 0):
            out["sample_seconds"] = sampling / number
    return out
