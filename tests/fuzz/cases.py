"""Numbered cases: case N of a seed is the same on each machine, as long as scenarios and mutations are the same."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tests.fuzz.mutations  # noqa: F401  (fills the registry)
from tests.fuzz.attempt import FAMILIES, Attempt, Expected, InapplicableError, Mutation
from tests.fuzz.scenario import Scenario
from tests.fuzz.scenarios import scenarios

SEED = 21


@dataclass(frozen=True)
class Case:
    """One command on one mutated input, by its number."""

    number: int
    scenario: Scenario
    mutation: Mutation
    seed: str

    def __str__(self) -> str:
        return f"{self.number}: {self.scenario.name}, {self.mutation.name}"


@cache
def _dealt(seed: int) -> tuple[list[tuple[Scenario, Mutation]], ...]:
    """Pairs of scenario and mutation: per scenario all mutations, in an order of its own."""
    decks = []
    for one in scenarios():
        pairs = [(one, m) for family in one.families for m in FAMILIES[family]]
        random.Random(f"{seed} {one.name}").shuffle(pairs)
        decks.append(pairs)
    return tuple(decks)


def case(number: int, seed: int = SEED) -> Case:
    """The case of a number: scenarios take turns by their weights, and each goes through its mutations."""
    decks = _dealt(seed)
    weights = [deck[0][0].weight for deck in decks]
    # In a round each scenario gets its weight, fractions by chance that depends on the round alone.
    round_, before = 0, 0
    while True:
        rng = random.Random(f"{seed} round {round_}")
        turn = [i for i, w in enumerate(weights) for _ in range(int(w) + (rng.random() < w % 1))]
        rng.shuffle(turn)
        if number < before + len(turn):
            break
        round_, before = round_ + 1, before + len(turn)
    which, place = turn[number - before], number - before
    deck, earlier = decks[which], turn[:place].count(which)
    scenario, mutation = deck[(round_ * max(1, int(weights[which])) + earlier) % len(deck)]
    return Case(number, scenario, mutation, f"{seed} case {number}")


def flip(number: int, seed: int = SEED) -> Case:
    """The flip of a number: one bit of a file that may not change unnoticed; all such files take turns."""
    kept = [s for s in scenarios() if s.sealed and "bytes" in s.families]
    (only,) = FAMILIES["flips"]
    return Case(number, kept[number % len(kept)], only, f"{seed} flip {number}")


def set_up(one: Case, base: Path, folder: Path) -> tuple[Attempt, Expected, str]:
    """Copy the inputs of a case into a folder and mutate them; also return the name of the mutation.

    A mutation that finds nothing to change gives its turn to the next one of its scenario.
    """
    scenario, rng = one.scenario, random.Random(one.seed)
    others = [m for family in scenario.families for m in FAMILIES[family]]
    for mutation in (one.mutation, *random.Random(f"{one.seed} others").sample(others, len(others))):
        attempt = _fresh(scenario, base, folder, rng)
        if not attempt.target.exists():
            raise RuntimeError(f"{scenario.name}: there is no {scenario.target} to mutate")
        try:
            return attempt, mutation.act(attempt), mutation.name
        except InapplicableError:
            shutil.rmtree(folder)
    raise RuntimeError(f"no mutation applies to {one}")


def untouched(scenario: Scenario, base: Path, folder: Path) -> Attempt:
    """Copy the inputs of a scenario into a folder."""
    return _fresh(scenario, base, folder, random.Random(0))


def _fresh(scenario: Scenario, base: Path, folder: Path, rng: random.Random) -> Attempt:
    work, outside = folder / "work", folder / "outside"
    work.mkdir(parents=True)
    outside.mkdir()
    (folder / "tmp").mkdir()
    for need in scenario.needs:
        source, _, name = need.partition(">")
        place = work / (name or source)
        if (base / source).is_dir():
            shutil.copytree(base / source, place)
        else:
            shutil.copyfile(base / source, place)
    return Attempt(work, work / scenario.target, list(scenario.argv), rng, scenario.sealed, outside)
