"""Numbered faults and kills: which call of which command fails, and how."""

from __future__ import annotations

import errno
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

SEED = 21
KILL = -1
ERRORS = {
    "open": (errno.EACCES, errno.EIO, errno.EMFILE),
    "create": (errno.ENOSPC, errno.EACCES, errno.EIO, errno.EMFILE),
    "opendir": (errno.EACCES, errno.EMFILE),
    "read": (errno.EIO,),
    "write": (errno.ENOSPC, errno.EIO),
    "fsync": (errno.EIO, errno.ENOSPC),
    "truncate": (errno.ENOSPC, errno.EIO),
    "rename": (errno.EACCES, errno.ENOSPC, errno.EIO),
    "unlink": (errno.EACCES, errno.EIO),
    "mkdir": (errno.ENOSPC, errno.EACCES),
    "link": (errno.ENOSPC, errno.EACCES),
    "chmod": (errno.EACCES,),
    "flock": (errno.EIO,),
    "stat": (errno.EACCES, errno.EIO),
    "close": (errno.EIO,),
}
"""What each kind of call can fail with."""


@dataclass(frozen=True)
class Call:
    """A file-system call that a command makes: its number, its kind, and the path, without what varies."""

    number: int
    kind: str
    writes: bool
    path: str

    @property
    def role(self) -> str:
        """The kind and the path without numbers of processes, files and chunks."""
        return f"{self.kind} {re.sub('[0-9]+', '0', self.path)}"


def parse(lines: Sequence[str]) -> list[Call]:
    """The calls in the log of calls.c."""
    found = []
    for line in lines:
        number, kind, writes, path = line.split(" ", 3)
        kind = "create" if kind == "open" and writes == "1" else kind
        found.append(Call(int(number), kind, writes == "1", path))
    return found


def order(name: str, calls: Sequence[Call]) -> list[tuple[Call, int]]:
    """All faults of a command, as calls and error numbers, those of different kinds first."""
    rng = random.Random(f"{SEED} {name}")
    groups: dict[tuple[str, int], list[tuple[Call, int]]] = {}
    for call in calls:
        for code in ERRORS[call.kind]:
            groups.setdefault((call.role, code), []).append((call, code))
    decks = list(groups.values())
    rng.shuffle(decks)
    for deck in decks:
        rng.shuffle(deck)
    longest = max(map(len, decks), default=0)
    return [deck[i] for i in range(longest) for deck in decks if i < len(deck)]


def kills(calls: Sequence[Call], count: int) -> list[Call]:
    """Calls before which to kill: those that change something, evenly from the first to the last."""
    changing = [c for c in calls if c.writes or c.kind in ("unlink", "close", "chmod")] or list(calls)
    last = len(changing) - 1
    return [changing[round(i * last / max(1, count - 1))] for i in range(min(count, len(changing)))]
