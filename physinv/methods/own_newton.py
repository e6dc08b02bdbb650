"""Gauss-Newton steps with the known physics from a learned mean, and draws with the covariance that the physics gives.

A network gives a mean that is near the posterior's for any observation.  Where much is observed of a large field, and
the physics is known, a few Gauss-Newton steps on the cost function of the initial state and of the noise on the way
(:mod:`~physinv.methods.classical.noisy_path`) lead further than any training that a budget allows, and the derivative
of the physics there gives the correlations of the draws.  On each scale a regression on validation observations says
which share of the correction is right, and how wide draws are.

Where the prior is far from Gaussian, or the physics far from linear over the width of the posterior, steps lead astray:
the same observations decide (:func:`try_newton`).
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

from physinv.equations.fourier import fourier, squared_wavenumbers
from physinv.evaluation.metrics import crps_map
from physinv.laws.wiener import mirrored
from physinv.methods.classical.gaussian_prior import (
    FittedCovariance,
    GaussianPrior,
    fit_gaussian_prior,
    load_gaussian_prior,
)
from physinv.methods.classical.lanczos import lanczos_draws
from physinv.methods.classical.minimise import Precondition, gauss_newton
from physinv.methods.classical.noisy_path import NoisyPath, PathCost, fit_noisy_path
from physinv.methods.classical.record_objective import average_inverse
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, below, prefixed
from physinv.models.jumps.field_noise import filter_modes
from physinv.processes.layout import StateLayout

_OUTER, _INNER = 4, 8  # Gauss-Newton steps, and products with the derivative of the physics for each of them
_PRODUCTS = 10  # of each draw
_RUNS, _FEWEST_RUNS = 2**18, 32  # numbers in the states that the noise of the physics is fitted to, fewest states
_PROBED, _PROBES = 4, 24  # validation states whose derivatives precondition the steps, and products with all of them
_AT_ONCE = {"cpu": 2**17}  # numbers in the states whose derivatives are taken at the same time
_ELSEWHERE = 2**22
_FEW_MODES = 16.0  # of a scale, from which share and width are known there
_WIDEST = 4.0  # factor of draws
_DRAWS = 2  # of each observation that is judged
_FEWEST = 2  # observations that are judged, at least
_LATE = 2.0  # times the seconds there are for it that these may take
_DOUBT, _WORTH = 2.0, 0.01  # standard errors, and share of an error, by which the steps have to be better
_COST = _OUTER * (10 * _INNER + 10) + _DRAWS * 10 * _PRODUCTS  # runs of the physics that one of them takes, about


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
    """A learned mean, corrected by the end of the steps (``mean``), and draws around it (``sample``).

    Args:
        start: What gives the learned mean.
        path: The physics with its noise.
        prior: The Gaussian prior.
        average: The inverse Hessian as it is on average, which preconditions everything.
        share: Share of the correction that is right, in every mode of what moves.
        width: Factor of the draws, likewise.
    """

    start: FirstGuess
    path: NoisyPath
    prior: GaussianPrior
    average: FittedCovariance
    share: Float[Tensor, "moving *modes"]
    width: Float[Tensor, "moving *modes"]

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.corrected(self.ends(final), final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        end = self.ends(final)
        return self.around(self.corrected(end, final), self.noise(end, final, n, generator=generator))

    def ends(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return where the steps end, in the coordinates of the cost function.

        They begin at the learned mean, or at the prior's where that has the lower cost.

        Args:
            final: Observed final states ``x_T``.
        """
        parts = []
        for x in torch.split(final, self._at_once(final)):
            cost = self._cost(x)
            guess = cost.without_noise(self.start.mean(x))
            nothing = torch.zeros_like(guess)
            worse = cost.value(nothing) < cost.value(guess)
            begin = torch.where(worse[:, None], nothing, guess)
            parts.append(gauss_newton(cost, begin, outer=_OUTER, inner=_INNER))
        return torch.cat(parts)

    def corrected(
        self, end: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """Return the learned mean and the share of the correction that is right.

        Args:
            end: Where the steps end.
            final: Observed final states ``x_T``.
        """
        layout, start = self.prior.layout, self.start.mean(final)
        step = layout.moving(self._cost(final).initial(end) - start)
        step = filter_modes(step, self.share.to(step), layout.periodic)
        return layout.set_moving(layout.moving(start) + step, start)

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
            Noise of what moves.
        """
        parts, every = [], (x.repeat_interleave(n, 0) for x in (end, final))
        size = self._at_once(final)
        for u, x in zip(*(torch.split(v, size) for v in every), strict=True):
            z = torch.randn(u.shape, generator=generator, dtype=u.dtype, device=u.device)
            drawn = lanczos_draws(
                self._cost(x).linearise(u), lambda v: self._mapped(v, self.average.root), z, _PRODUCTS
            )
            first = drawn[:, : self.prior.mean.numel()]
            parts.append(self.prior.covariance.root(first.reshape(-1, *self.prior.mean.shape)))
        wide = filter_modes(torch.cat(parts), self.width.to(final), self.prior.layout.periodic)
        return wide.reshape(len(final), n, *wide.shape[1:])

    def around(
        self, mean: Float[Tensor, "batch *state"], noise: Float[Tensor, "batch n *moving"]
    ) -> Float[Tensor, "batch n *state"]:
        """Return samples of a mean and noise.

        Args:
            mean: Corrected means.
            noise: What :meth:`noise` returned.
        """
        every = mean.repeat_interleave(noise.shape[1], 0).reshape(*noise.shape[:2], *mean.shape[1:])
        layout = self.prior.layout
        return layout.set_moving(layout.moving(every) + noise, every)

    def tensors(self) -> dict[str, Tensor]:
        """Return the law of the noise, prior, average inverse Hessian, share and width."""
        found = prefixed("path", self.path.tensors()) | prefixed("prior", self.prior.tensors())
        return found | prefixed("average", self.average.parts) | {"share": self.share, "width": self.width}

    def _cost(self, final: Tensor) -> PathCost:
        return PathCost(self.path, self.prior, final, precondition=lambda v: self._mapped(v, self.average.apply))

    def _mapped(self, v: Tensor, by: Precondition) -> Tensor:
        """A map of fields, whose parts of the time count as channels, applied to coordinates."""
        channels, *space = self.prior.mean.shape
        return by(v.reshape(len(v), self.path.parts * channels, *space)).flatten(1)

    def _at_once(self, final: Tensor) -> int:
        numbers = _AT_ONCE.get(final.device.type, _ELSEWHERE)
        return max(1, numbers // (self.prior.layout.copies_per_step * math.prod(final.shape[1:])))


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
        return replace(self, newton=self.newton if _better(self.scores, learned) else None, notes=notes)


def try_newton(
    problem: Problem,
    start: FirstGuess,
    truth: Float[Tensor, "n *state"],
    final: Float[Tensor, "n *state"],
    *,
    seconds: float | None,
    generator: torch.Generator | None = None,
) -> Tried:
    """Take the steps from a learned mean for observations whose truth is known, and fit share and width to these.

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
        newton = _unfitted(problem, start, path, generator)

        # As many observations as there is time for, the first ones alone at first.
        count = len(final) if seconds is None else max(_FEWEST, min(len(final), int(seconds / (each * _COST))))
        if seconds is not None and each * _COST * count > _LATE * seconds:
            return _untried(f"{count} observations would take {each * _COST * count:.0f} s", truth)
        end = newton.ends(final[:_FEWEST])
        for last in (_FEWEST, count):
            if last > len(end):
                end = torch.cat([end, newton.ends(final[len(end) : last])])
            newton = _with_share(newton, end, truth[:last], final[:last])
            mean, before = newton.corrected(end, final[:last]), start.mean(final[:last])
            errors = [_distance(layout, x, truth[:last]) for x in (mean, before)]
            notes = {"observations": len(mean), "error": _mean(errors[0]), "error of the start": _mean(errors[1])}
            if not _better(*errors):
                return Tried(None, truth.new_zeros(0), notes)
    except NotApplicableError as error:
        return _untried(str(error), truth)
    except RuntimeError as error:  # steps of the solver that cannot be differentiated
        return _untried(str(error).splitlines()[0], truth)

    # Draws as wide as the errors of the corrected means, and their scores.
    seen, real = final[:count], truth[:count]
    noise = newton.noise(end, seen, _DRAWS, generator=generator)
    newton = _with_width(newton, layout.moving(real - mean), noise)
    noise = filter_modes(noise.flatten(0, 1), newton.width, layout.periodic).reshape(noise.shape)
    samples = newton.around(mean, noise)
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
    path = NoisyPath.from_tensors(setup.simulator, below("path", tensors))
    prior = load_gaussian_prior(setup, below("prior", tensors))
    average = FittedCovariance.from_tensors(below("average", tensors))
    return Newton(start, path, prior, average, tensors["share"], tensors["width"])


def _unfitted(problem: Problem, start: FirstGuess, path: NoisyPath, generator: torch.Generator | None) -> Newton:
    """Steps whose correction counts whole, preconditioned by derivatives at a few validation states."""
    prior, layout = fit_gaussian_prior(problem), problem.train.layout
    final = problem.valid.states(-1, limit=_PROBED)
    cost = PathCost(path, prior, final)
    local = cost.linearise(cost.without_noise(problem.valid.states(0, limit=_PROBED)))
    channels, *space = prior.mean.shape
    shape = (path.parts * channels, *space)
    average = average_inverse(local, shape, layout, -(-_PROBES // len(final)), generator)
    one = torch.ones_like(fourier(mirrored(layout.moving(final[:1]), layout.periodic)).real[0])
    return Newton(start, path, prior, average, one, one)


def _with_share(newton: Newton, end: Tensor, truth: Tensor, final: Tensor) -> Newton:
    """The share of the correction that is right on every scale: a regression of what the learned mean misses on it."""
    layout, start = newton.prior.layout, newton.start.mean(final)
    corrected = replace(newton, share=torch.ones_like(newton.share)).corrected(end, final)
    missing, step = (fourier(mirrored(layout.moving(x - start), layout.periodic)) for x in (truth, corrected))
    product, square = (missing * step.conj()).real.sum(0), step.abs().square().sum(0)
    return replace(newton, share=_ratio(product, square, len(truth), layout, final).clamp(0, 1))


def _with_width(newton: Newton, gap: Tensor, noise: Tensor) -> Newton:
    """The factor with which noise has the power of errors on every scale."""
    layout = newton.prior.layout
    power, drawn = (fourier(mirrored(x, layout.periodic)).abs().square().mean(0) for x in (gap, noise.flatten(0, 1)))
    ratio = _ratio(power, drawn, len(gap), layout, gap)
    return replace(newton, width=ratio.clamp(_WIDEST**-2, _WIDEST**2).sqrt())


def _ratio(
    above: Tensor, below: Tensor, count: int, layout: StateLayout, like: Tensor
) -> Float[Tensor, "moving *modes"]:
    """The ratio of two powers on every shell of wave numbers; few modes are drawn towards the ratio of all."""
    space = tuple(like.shape[2:]) if layout.periodic else tuple(2 * n for n in like.shape[2:])
    shell = squared_wavenumbers(space).sqrt().round().long().flatten().to(above.device)
    empty = above.new_zeros(len(above), int(shell.max()) + 1, dtype=torch.float64)
    tiny = torch.finfo(torch.float32).tiny
    sums, squares, modes = (
        empty.index_add(1, shell, v.double().flatten(1)) for v in (above, below, torch.ones_like(below))
    )
    overall = sums.sum(1, keepdim=True) / squares.sum(1, keepdim=True).clamp(min=tiny)
    weight = _FEW_MODES / count * squares / modes.clamp(min=1)
    ratio = (sums + weight * overall) / (squares + weight).clamp(min=tiny)
    return ratio[:, shell].reshape(above.shape).to(like)


def _untried(why: str, like: Tensor) -> Tried:
    """No steps, and why."""
    return Tried(None, like.new_zeros(0), {"failed": why})


def _distance(layout: StateLayout, x: Tensor, truth: Tensor) -> Float[Tensor, " n"]:
    """Root mean square of the errors of each state."""
    return layout.scored(x - truth).square().flatten(1).mean(1).sqrt()


def _mean(x: Tensor) -> float:
    """The mean, in few digits."""
    return round(float(x.mean()), 5)


def _better(ours: Float[Tensor, " n"], theirs: Float[Tensor, " n"]) -> bool:
    """Whether errors are smaller than others by more than the doubt about that, and by enough to be worth it."""
    gain = theirs.double() - ours.double()
    doubt = _DOUBT * float(gain.std()) / math.sqrt(len(gain))
    return float(gain.mean()) > doubt + _WORTH * float(theirs.double().mean())
