"""How long Monte Carlo will take for a record, said before it begins: by one gradient, or few particles."""

from __future__ import annotations

__all__ = ["waiting"]

import time
import warnings
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.monte_carlo.chain import LEAPS
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.particle_smoother import ParticleSmoother
from physinv.methods.classical.monte_carlo.path import PathObjective, gradients
from physinv.methods.problem import RecordAnswer

_LEAST_SAID = 30.0  # seconds of all trajectories below which nothing is said
_DEGREES, _MOVES = 8, 6  # of populations that are annealed: few degrees, and the iterations of each
_LONGER = 2.5  # how many times the gradients of an iteration may grow
_PART, _FEWEST = 50, 2000  # share of the particles, and how many, whose time is taken
_MINUTE = 120.0  # seconds from which on minutes are said


def waiting(answer: RecordAnswer, y: Float[Tensor, "batch seen"], n: int, count: int) -> str | None:
    """Return a sentence on how long draws will take.

    Args:
        answer: The answer to the record.
        y: Observed numbers.
        n: Draws for each trajectory.
        count: Number of trajectories.

    Returns:
        The sentence; None for answers other than chains and particles, and where they take half a minute at most.
    """
    if isinstance(answer, ParticleSmoother):
        return _of_particles(answer, y, n, count)
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
    unit, size = _unit(most)
    return (
        f"chains of Monte Carlo take some {least / size:.2g} to {most / size:.2g} {unit} for each of {count} "
        "trajectories here; ask for fewer by `--limit`, or take gauss-newton, importance or a trained run."
    )


def _of_particles(answer: ParticleSmoother, y: Tensor, n: int, count: int) -> str | None:
    """The time of particles, as many times that of some of them as there are."""
    some = replace(answer, particles=max(_FEWEST, answer.particles // _PART))
    if some.particles >= answer.particles:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # they are too few by intention
        begun = time.perf_counter()
        some.sample_at(y[:1], n, [0.0], generator=torch.Generator(y.device).manual_seed(0))
        each = (time.perf_counter() - begun) * answer.particles / some.particles
    if each * count < _LEAST_SAID:
        return None
    unit, size = _unit(each)
    return (
        f"{answer.particles} particles take some {each / size:.2g} {unit} for each of {count} trajectories here; ask "
        "for fewer by `--limit` or `--option runs=`, or take gauss-newton or a trained run."
    )


def _unit(seconds: float) -> tuple[str, float]:
    """The unit in which a time is said, and its seconds."""
    return ("minutes", 60.0) if seconds > _MINUTE else ("s", 1.0)
