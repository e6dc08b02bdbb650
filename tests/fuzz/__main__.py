"""Run numbered cases: ``python -m tests.fuzz --count 3000``, one again: ``python -m tests.fuzz --case 1234``."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.cases import SEED, case, flip
from tests.fuzz.pool import BROKEN, Pool


def main() -> int:
    """Run what the command line asks for; the exit code is 1 where anything falls short."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=0, help="number of cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, action="append", default=[], help="run this case; its folder is kept")
    parser.add_argument("--flips", type=int, default=0, help="number of flips of single bits, over all kinds of files")
    parser.add_argument("--flip", type=int, action="append", default=[], help="run this flip; its folder is kept")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed has other cases under the same numbers")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no case after so many")
    parser.add_argument("--list", action="store_true", help="only name the cases")
    given = parser.parse_args()
    span = range(given.first, given.first + given.count)
    cases, flips = [*given.case, *span], [*given.flip, *range(given.first, given.first + given.flips)]
    if given.list:
        for number in cases:
            print(case(number, given.seed))
        for number in flips:
            print(flip(number, given.seed))
        return 0
    keep = bool(given.case or given.flip)
    folder = Path(tempfile.mkdtemp(prefix="physinv-fuzz-"))
    begun, short = time.monotonic(), 0
    with Pool("tests.fuzz.worker", folder, given.jobs, ["keep"] * keep) as pool:
        for word, numbers in (("case", cases), ("flip", flips)):
            if numbers:
                requests = _until(begun + given.seconds, [[word, number, given.seed] for number in numbers])
                short += _report(word, pool.run(requests), tell_all=keep)
    print(f"{time.monotonic() - begun:.0f} s", f"in {folder}" if keep else "")
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if short else 0


def _until(end: float, requests: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """The requests that begin before a time of the monotonic clock."""
    for request in requests:
        if time.monotonic() > end:
            print(f"the time is over before {request[0]} {request[1]}: go on with --first {request[1]}", flush=True)
            return
        yield request


def _report(word: str, replies: Iterable[tuple[list[Any], dict[str, Any]]], tell_all: bool) -> int:
    """Print what fell short, and at the end how many did."""
    count, short, slowest, largest = 0, 0, 0.0, 0.0
    ends: dict[str, int] = {}
    for request, reply in replies:
        count += 1
        if BROKEN in reply:
            short += 1
            print(f"{word} {request[1]}: the fuzzer itself failed:\n{reply[BROKEN]}", flush=True)
            continue
        one = reply["answer"]
        ends[one["how"]] = ends.get(one["how"], 0) + 1
        slowest, largest = max(slowest, one["seconds"]), max(largest, one["megabytes"])
        if one["reason"] or tell_all:
            short += bool(one["reason"])
            print(describe(word, one), flush=True)
    print(f"{word}s: {short} of {count} fall short; {ends}; slowest {slowest} s, largest {largest} MB")
    return short


def describe(word: str, one: dict[str, Any]) -> str:
    """A case and what became of it, in three lines."""
    head = f"{word} {one['number']}: {one['scenario']}, {one['mutation']}"
    if one["target"]:
        head += f" of {one['target']}"
    return f"{head}\n  {one['command']}\n  {one['reason'] or 'as it must be: ' + one['how'] + ' ' + one['line']}"


if __name__ == "__main__":
    sys.exit(main())
