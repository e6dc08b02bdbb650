"""Let file-system calls fail and kill commands: ``python -m tests.faults --faults 300 --kills 20``.

``python -m tests.faults --only "train over"`` restricts both to one command, and ``--call 17 --error ENOSPC`` (or
``KILL``) to one call of it.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.deeds import deeds
from tests.faults.faults import KILL, Call, kills, order, parse
from tests.faults.library import build
from tests.fuzz.pool import BROKEN, Pool


def main() -> int:
    """Run what the command line asks for; the exit code is 1 where anything falls short."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=300, help="number of faults, over all commands")
    parser.add_argument("--kills", type=int, default=20, help="number of kills of each command")
    parser.add_argument("--only", help="only this command: " + ", ".join(deed.name for deed in deeds()))
    parser.add_argument("--call", type=int, help="number of the only call")
    parser.add_argument("--error", default="EIO", help="how it fails: a name of errno, or KILL")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time")
    given = parser.parse_args()
    folder, begun = Path(tempfile.mkdtemp(prefix="physinv-faults-")), time.monotonic()
    with open_pool(folder, given.jobs) as pool:
        names = [deed.name for deed in deeds() if given.only in (None, deed.name)]
        calls = planned(pool, names)
        if given.call is not None:
            code = KILL if given.error == "KILL" else getattr(errno, given.error)
            wanted: list[list[Any]] = [["fault", given.only, given.call, code]]
        else:
            wanted = chosen(calls, given.faults, given.kills)
        short = 0
        for request, reply in pool.run(wanted):
            if reason := reply.get(BROKEN) or reply["answer"]:
                short += 1
                print(describe(request, calls, reason), flush=True)
        print(f"{short} of {len(wanted)} faults and kills fall short; {time.monotonic() - begun:.0f} s")
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if short else 0


def open_pool(folder: Path, jobs: int, base: Path | None = None) -> Pool:
    """Workers with the library of failing calls."""
    library = build(folder)
    return Pool("tests.faults.worker", folder, jobs, [str(library)], {"LD_PRELOAD": str(library)}, base)


def planned(pool: Pool, names: Sequence[str]) -> dict[str, list[Call]]:
    """The file-system calls of commands, by their names."""
    found: dict[str, list[Call]] = {}
    for request, reply in pool.run(["plan", name] for name in names):
        if BROKEN in reply:
            raise RuntimeError(reply[BROKEN])
        found[request[1]] = parse(reply["answer"])
    return {name: found[name] for name in names}


def chosen(calls: dict[str, list[Call]], faults: int, killed: int) -> list[list[Any]]:
    """Requests for so many faults, the commands in turn, and so many kills of each command."""
    failing = {deed.name for deed in deeds() if deed.faults}
    decks = [
        [["fault", name, call.number, code] for call, code in order(name, own)]
        for name, own in calls.items()
        if name in failing
    ]
    turns = (one for group in itertools.zip_longest(*decks) for one in group if one is not None)
    deaths = [["fault", name, call.number, KILL] for name, own in calls.items() for call in kills(own, killed)]
    return [*itertools.islice(turns, faults), *deaths]


def describe(request: Sequence[Any], calls: dict[str, list[Call]], reason: str) -> str:
    """A fault and what was wrong with it."""
    _, name, number, code = request
    call = next((c for c in calls.get(name, []) if c.number == number), None)
    how = "KILL" if code == KILL else errno.errorcode[code]
    at = f"{call.kind} {call.path}" if call else "call"
    return f'--only "{name}" --call {number} --error {how}: {at}\n  {reason}'


if __name__ == "__main__":
    sys.exit(main())
