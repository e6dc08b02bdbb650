"""How long chains of Monte Carlo will take for a record, said before they begin: from the time of one gradient."""

from __future__ import annotations

__all__ = ["waiting"]

import time
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.monte_carlo.chain import LEAPS
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.path import PathObjective, gradients
from physinv.methods.problem import RecordAnswer

_LEAST_SAID = 30.0  # seconds of all trajectories below which nothing is said
_DEGREES, _MOVES = 8, 6  # of populations that are annealed: few degrees, and the iterations of each
_LONGER = 2.5  # how many times the gradients of an iteration may grow
_MINUTE = 120.0  # seconds from which on minutes are said


def waiting(answer: RecordAnswer, y: Float[Tensor, "batch seen"], n: int, count: int) -> str | None:
    """Return a sentence on how long draws will take.

    Args:
        answer: The answer to the record.
        y: Observed numbers.
        n: Draws for each trajectory.
        count: Number of trajectories.

    Returns:
        The sentence; None for answers other than chains, and where they take half a minute at most.
    """
    if not isinstance(answer, PathPosterior) or answer.record is None:
        return None
    like = y.new_zeros((1, *answer.model.simulator.shape))
    objective = PathObjective(answer.model, like, answer.record, y[:1])
    paths = answer.chains * max(1, answer.particles)
    every = objective.repeated(paths)
    start = like.new_zeros((paths, objective.numbers))
    for _ in range(2):  # the first one is slower
        begun = time.perf_counter()
        gradients(every, start)
        spent = time.perf_counter() - begun

    # Looks at the diagnostics, the first of which may be the last.
    asked = replace(answer, iterations=max(answer.iterations, -(-n // answer.chains)))
    first = asked.iterations // max(1, answer.particles)
    every_look = [first * 2 ** max(0, look - 1) for look in range(answer.most)]
    begin = _DEGREES * _MOVES if answer.particles else 2 * answer.warm_up
    least = (begin + first) * LEAPS * spent
    most = (begin + sum(every_look) * (1 if answer.particles else _LONGER)) * LEAPS * spent
    if least * count < _LEAST_SAID:
        return None
    unit, size = ("minutes", 60.0) if most > _MINUTE else ("s", 1.0)
    return (
        f"chains of Monte Carlo take some {least / size:.2g} to {most / size:.2g} {unit} for each of {count} "
        "trajectories here; ask for fewer by `--limit`, or take gauss-newton, importance or a trained run."
    )
