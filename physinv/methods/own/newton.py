"""Gauss-Newton steps with the known physics from a learned mean, and draws with the covariance that the physics gives.

A network gives a mean that is near the posterior's for any observation.  Where much is observed of a large field, and
the physics is known, a few Gauss-Newton steps on the cost function of the initial state and of the noise on the way
(:mod:`~physinv.methods.classical.noisy_path`) lead further than any training that a budget allows, and the derivative
of the physics there gives the correlations of the draws.

Where the prior is far from Gaussian, or the physics far from linear over the width of the posterior, steps lead astray:
validation observations decide, and say how wide draws are (:func:`try_newton`).
"""

from __future__ import annotations

__all__ = ["FirstGuess", "Newton", "Tried", "load_newton", "try_newton"]

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.evaluation.metrics import crps_map
from physinv.methods.classical.curvature import Curvature, fit_curvature
from physinv.methods.classical.gaussian_prior import load_gaussian_prior
from physinv.methods.classical.lanczos import lanczos_draws
from physinv.methods.classical.minimise import gauss_newton
from physinv.methods.classical.noisy_path import fit_noisy_path
from physinv.methods.own.ways import clearly_better
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, below, prefixed
from physinv.models.jumps.field_noise import best_factor
from physinv.processes.layout import StateLayout

_OUTER, _INNER = 3, 16  # Gauss-Newton steps, and products with the derivative of the physics for each of them
_PRODUCTS = 10  # of each draw
_RUNS, _FEWEST_RUNS = 2**18, 32  # numbers in the states that the noise of the physics is fitted to, fewest states
_AT_ONCE = {"cpu": 2**17}  # numbers in the states whose derivatives are taken at the same time
_ELSEWHERE = 2**22
_DRAWS = 2  # of each observation that is judged
_FEWEST = 2  # observations that are judged, at least
_LATE = 2.0  # times the seconds there are for it that these may take
_COST = _OUTER * (6 * _INNER + 10) + _DRAWS * 6 * _PRODUCTS  # runs of the physics that one of them takes, about


@runtime_checkable
class FirstGuess(Protocol):
    """An estimate of initial states that steps start from."""

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the best single estimate of the initial states.

        Args:
            final: Observed final states ``x_T``.
        """


@dataclass(frozen=True)
class Newton(Answer):
    """The end of the steps (``mean``), and draws around it (``sample``).

    Args:
        start: What gives the learned mean.
        curvature: The cost function that the steps lower, with what preconditions it.
        width: Factor of the deviations of Laplace's draws, for each channel that moves.
    """

    start: FirstGuess
    curvature: Curvature
    width: Float[Tensor, "moving *one"]

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.curvature.cost(final).initial(self.ends(final))

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        end = self.ends(final)
        noise = self.width.to(final) * self.noise(end, final, n, generator=generator)
        return self.around(self.curvature.cost(final).initial(end), noise)

    def ends(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return where the steps end, in the coordinates of the cost function.

        They begin at the learned mean, or at the prior's where that has the lower cost.

        Args:
            final: Observed final states ``x_T``.
        """
        parts = []
        for x in torch.split(final, self._at_once(final)):
            cost = self.curvature.cost(x)
            guess = cost.without_noise(self.start.mean(x))
            nothing = torch.zeros_like(guess)
            worse = ~(cost.value(guess) <= cost.value(nothing))  # or not a number
            begin = torch.where(worse[:, None], nothing, guess)
            parts.append(gauss_newton(cost, begin, outer=_OUTER, inner=_INNER))
        return torch.cat(parts)

    def noise(
        self,
        end: Float[Tensor, "batch d"],
        final: Float[Tensor, "batch *state"],
        n: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n *moving"]:
        """Draw from Laplace's Gaussian at the ends of the steps, without its mean.

        Args:
            end: Where the steps end.
            final: Observed final states ``x_T``.
            n: Draws for each observation.
            generator: Source of randomness.

        Returns:
            Noise of what moves, as wide as the curvature says.
        """
        prior, size, parts = self.curvature.prior, self._at_once(final), []
        every = (x.repeat_interleave(n, 0) for x in (end, final))
        for u, x in zip(*(torch.split(v, size) for v in every), strict=True):
            z = torch.randn(u.shape, generator=generator, dtype=u.dtype, device=u.device)
            local = self.curvature.cost(x).linearise(u)
            drawn = lanczos_draws(local, self.curvature.root, z, _PRODUCTS)[:, : prior.mean.numel()]
            parts.append(prior.covariance.root(drawn.reshape(-1, *prior.mean.shape)))
        found = torch.cat(parts)
        return found.reshape(len(final), n, *found.shape[1:])

    def around(
        self, mean: Float[Tensor, "batch *state"], noise: Float[Tensor, "batch n *moving"]
    ) -> Float[Tensor, "batch n *state"]:
        """Return samples of a mean and noise.

        Args:
            mean: Means.
            noise: Noise of what moves.
        """
        every = mean.repeat_interleave(noise.shape[1], 0).reshape(*noise.shape[:2], *mean.shape[1:])
        return self.layout.set_moving(self.layout.moving(every) + noise, every)

    def tensors(self) -> dict[str, Tensor]:
        """Return prior, curvature and width."""
        found = prefixed("curvature", self.curvature.tensors()) | prefixed("prior", self.curvature.prior.tensors())
        return found | {"width": self.width}

    @property
    def layout(self) -> StateLayout:
        """The layout of the states."""
        return self.curvature.prior.layout

    def _at_once(self, final: Tensor) -> int:
        numbers = _AT_ONCE.get(final.device.type, _ELSEWHERE)
        return max(1, numbers // (self.layout.copies_per_step * math.prod(final.shape[1:])))


@dataclass(frozen=True)
class Tried:
    """What became of the steps on validation observations.

    Args:
        newton: The steps; None: they do not apply, or end farther from the truth than they start.
        scores: CRPS of their draws for each observation; empty without steps.
        notes: The figures that decided, or why there are none, fit for JSON.
    """

    newton: Newton | None
    scores: Float[Tensor, " n"]
    notes: Mapping[str, float | int | str]

    def compared(self, learned: Float[Tensor, " n"]) -> Tried:
        """Return what is left of the steps beside a learned answer: nothing, unless they are clearly better.

        Steps cost more per sample than networks do, so they have to be better by 1 % and two standard errors.

        Args:
            learned: CRPS of draws of the learned answer for the same observations.
        """
        notes = {**self.notes, "CRPS of what was learned": _mean(learned)}
        return replace(self, newton=self.newton if clearly_better(self.scores, learned) else None, notes=notes)


def try_newton(
    problem: Problem,
    start: FirstGuess,
    truth: Float[Tensor, "n *state"],
    final: Float[Tensor, "n *state"],
    *,
    seconds: float | None,
    generator: torch.Generator | None = None,
) -> Tried:
    """Take the steps from a learned mean for observations whose truth is known, and fit the width of draws to these.

    Args:
        problem: The process and its data; final states are observed whole.
        start: What gives the learned mean.
        truth: Initial states that no training has seen.
        final: Their final states.
        seconds: Time that this may take; None: as much as it needs.
        generator: Source of the draws, on the device of the data.

    Returns:
        The steps, and the scores of their draws.
    """
    layout, begun = problem.train.layout, time.perf_counter()
    runs = min(problem.train.n_trajectories, max(_RUNS // math.prod(layout.shape), _FEWEST_RUNS))
    try:
        path = fit_noisy_path(problem, trajectories=runs)
        each = (time.perf_counter() - begun) / runs
        one = torch.ones(len(path.bias[0]), *[1] * len(layout.space), device=final.device)
        newton = Newton(start, fit_curvature(problem, path, generator=generator), one)

        # As many observations as there is time for, the first ones alone at first.
        count = len(final) if seconds is None else max(_FEWEST, min(len(final), int(seconds / (each * _COST))))
        if seconds is not None and each * _COST * count > _LATE * seconds:
            return _untried(f"{count} observations would take {each * _COST * count:.0f} s", truth)
        end = newton.ends(final[:_FEWEST])
        for last in (_FEWEST, count):
            if last > len(end):
                end = torch.cat([end, newton.ends(final[len(end) : last])])
            mean, before = newton.curvature.cost(final[:last]).initial(end), start.mean(final[:last])
            errors = [_distance(layout, x, truth[:last]) for x in (mean, before)]
            notes = {"observations": len(mean), "error": _mean(errors[0]), "error of the start": _mean(errors[1])}
            if not clearly_better(*errors):
                return Tried(None, truth.new_zeros(0), notes)
    except NotApplicableError as error:
        return _untried(str(error), truth)
    except RuntimeError as error:  # steps of the solver that cannot be differentiated
        return _untried(str(error).splitlines()[0], truth)

    # Draws as wide as the errors of the ends, and their scores.
    seen, real = final[:count], truth[:count]
    noise = newton.noise(end, seen, _DRAWS, generator=generator)
    newton = replace(newton, width=best_factor(noise.transpose(0, 1), layout.moving(real - mean)))
    samples = newton.around(mean, newton.width * noise)
    scores = crps_map(layout.scored(samples), layout.scored(real)).flatten(1).mean(1)
    return Tried(newton, scores, notes | {"CRPS": _mean(scores)})


def load_newton(setup: Setup, tensors: Mapping[str, Tensor], start: FirstGuess) -> Newton:
    """Make the steps of a stored answer again.

    Args:
        setup: What the run knows.
        tensors: What :meth:`Newton.tensors` returned.
        start: What gives the learned mean.

    Returns:
        The steps.
    """
    prior = load_gaussian_prior(setup, below("prior", tensors))
    curvature = Curvature.from_tensors(setup.simulator, prior, below("curvature", tensors))
    return Newton(start, curvature, tensors["width"])


def _untried(why: str, like: Tensor) -> Tried:
    """No steps, and why."""
    return Tried(None, like.new_zeros(0), {"failed": why})


def _distance(layout: StateLayout, x: Tensor, truth: Tensor) -> Float[Tensor, " n"]:
    """Root mean square of the errors of each state."""
    return layout.scored(x - truth).square().flatten(1).mean(1).sqrt()


def _mean(x: Tensor) -> float:
    """The mean, in few digits."""
    return round(float(x.mean()), 5)
