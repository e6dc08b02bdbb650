"""What a mutation gets and gives, and the registry of all mutations.

A mutation is a function of an :class:`Attempt`: it changes the file ``attempt.target`` in place, or the words of the
command in ``attempt.argv``, with the random numbers ``attempt.random`` alone, and returns what the command must do.
``@mutation("family")`` adds it to a family; each scenario (scenarios.py) names the families that apply to its file.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Expected:
    """What a command must do.

    Args:
        refuse: It may say exit 2.
        accept: It may say exit 0.
        known: With exit 0 its content must be that of the untouched file, or of ``twin``.
        twin: Words of another command, on untouched files, that has the right content.
    """

    refuse: bool = True
    accept: bool = True
    known: bool = True
    twin: tuple[str, ...] = ()


SAME = Expected()
"""The content of the untouched file, or a refusal."""

REFUSED = Expected(accept=False)
"""A refusal and nothing else."""

KEPT = Expected(refuse=False)
"""The content of the untouched file: the mutation changes nothing that matters."""

ANY = Expected(known=False)
"""A refusal, or another content that nobody else knows: the file says something else now, and says it validly."""


@dataclass
class Attempt:
    """A case before the command is given.

    Args:
        work: Working folder of the command.
        target: The file, or folder, to mutate.
        argv: Words of the command.
        random: Source of all random numbers.
        sealed: Whether the file carries checksums, so that no change of content may go unnoticed.
        outside: A folder beside the working folder, with files that no command may read or change.
    """

    work: Path
    target: Path
    argv: list[str]
    random: random.Random
    sealed: bool
    outside: Path

    @property
    def changed(self) -> Expected:
        """What must happen after a change of values that leaves the file valid."""
        return SAME if self.sealed else ANY


class InapplicableError(Exception):
    """Say that a file has nothing that a mutation could change."""


Act = Callable[[Attempt], Expected]


@dataclass(frozen=True)
class Mutation:
    """A named mutation."""

    name: str
    act: Act


FAMILIES: dict[str, list[Mutation]] = {}


def mutation(*families: str) -> Callable[[Act], Act]:
    """Add a function to families of mutations, under its own name."""

    def add(act: Act) -> Act:
        for family in families:
            enlist(family, act.__name__.strip("_").replace("_", "-"), act)
        return act

    return add


def enlist(family: str, name: str, act: Act) -> None:
    """Add a mutation to a family under a name."""
    FAMILIES.setdefault(family, []).append(Mutation(name, act))
