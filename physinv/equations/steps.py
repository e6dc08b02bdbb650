"""Steps of solvers: the type :class:`Step`, and the standard schemes for any :class:`~physinv.equations.sde.SDE`.

A step advances states from ``t0`` to ``t1``; it goes backward in time where ``t1 - t0`` is negative.  Orders
are stated for smooth drifts and constant noise amplitude ``g``, and measured in the tests.

===================  ==========  ============  =====  =====================================================
step                 weak order  strong order  draws  for
===================  ==========  ============  =====  =====================================================
:data:`euler`        1           1 (1/2)       1      every SDE (1/2: noise that depends on the state)
:data:`milstein`     1           1             1      every SDE; more than ``euler`` for ``Multiplicative``
:data:`heun`         2           1             1      additive noise
:data:`srk3`         3           1             2      additive noise
:data:`exponential`  exact       exact         1      ``Linear``
===================  ==========  ============  =====  =====================================================
"""

from __future__ import annotations

__all__ = [
    "SRK3",
    "Advance",
    "LogDensity",
    "Step",
    "Tableau",
    "euler",
    "exponential",
    "heun",
    "in_parts",
    "milstein",
    "srk3",
]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, addcmul, where

from physinv.equations.broadcast import by_parts, match, once
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.multiplicative import Multiplicative
from physinv.equations.noise_density import euler_log_density
from physinv.equations.sde import SDE, Linear, Reverse

Advance = Callable[[SDE, Tensor, Tensor, Tensor, Tensor], Tensor]
"""``(sde, x, t0, t1, dw) -> x(t1)``: what a :class:`Step` does."""

LogDensity = Callable[[SDE, Tensor, Tensor, Tensor, Tensor], Tensor]
"""``(sde, x, t0, t1, reached) -> log q(reached | x)``, one number in nats for each state."""


@dataclass(frozen=True)
class Step:
    """One step of a solver, ``step(sde, x, t0, t1, dw) -> x(t1)``, with its order and its demand for noise.

    Args:
        advance: The function that makes the step.  Its arguments are the equation, the states ``x (batch, *state)``,
            the times ``t0`` and ``t1 (batch,)`` in units of time, and the noise ``dw (draws, batch, *state)``:
            independent normal numbers of variance ``|t1 - t0|``, of which ``dw[0]`` is the increment of the Brownian
            motion.  All zeros switch the noise off.  Times come in float64 where the precision of the states cannot
            tell ``t0`` from ``t1`` well enough (see :func:`~physinv.equations.solve.march`), so take differences of
            them with :func:`~physinv.equations.broadcast.match`, which returns to the precision of the states.
        weak_order: Order p of the scheme: errors of expectations are ``O(dt^p)``.  ``math.inf`` where steps of any
            length are exact in law.
        draws: Number of independent Gaussian states that one step consumes.
        density: The log density of the states that the step reaches; None: it has none, or none that is known.
        in_modes: Whether solvers take it in the modes of linear equations, from the first time to the last, where it
            is the exact step of each mode.

    Example:
        A step of one's own, Euler's method with the noise applied first:

        >>> def kicked(sde, x, t0, t1, dw):
        ...     y = x + sde.disturb(x, dw[0], t0)
        ...     return y + sde.drift(y, t0) * match(t1 - t0, x)
        >>> Step(kicked, weak_order=1.0).draws
        1
    """

    advance: Advance
    weak_order: float
    draws: int = 1
    density: LogDensity | None = None
    in_modes: bool = False

    def __call__(self, sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
        """Return the states at ``t1``.

        Args:
            sde: The equation.
            x: States at ``t0``, ``(batch, *state)``.
            t0: Times at which the step begins, ``(batch,)``.
            t1: Times at which it ends, ``(batch,)``.
            dw: Noise, ``(draws, batch, *state)``, of variance ``|t1 - t0|``.

        Returns:
            States at ``t1``, of the shape of ``x``.
        """
        return self.advance(sde, x, t0, t1, dw)

    def log_density(self, sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, reached: Tensor) -> Tensor:
        """Return ``log q(reached | x)``, the log density with which the step goes from ``x`` to given states.

        Args:
            sde: The equation.
            x: States at ``t0``, ``(batch, *state)``.
            t0: Times at which the step begins, ``(batch,)``.
            t1: Times at which it ends, ``(batch,)``.
            reached: States at ``t1``, ``(batch, *state)``.

        Returns:
            Nats, float64, ``(batch,)``; minus infinity where the step cannot lead.

        Raises:
            ValueError: If the step has no density, or none that is known; one line says which steps have one.
        """
        if self.density is None:
            name = getattr(self.advance, "__name__", "this").strip("_")
            raise ValueError(
                f"step `{name}` has no log density that is known; take euler, exponential, split or transport."
            )
        if isinstance(sde, Reverse) and sde.eta == 0:
            raise ValueError("`eta` = 0 is deterministic and has no log density, got a probability flow; take eta = 1.")
        return self.density(sde, x, t0, t1, reached)


def in_parts(step: Step, size: int | None) -> Step:
    """Return a step that advances the states part by part, which bounds its memory and does not change its results.

    Args:
        step: A step that advances each state by itself.
        size: States of a part; None: all of them.

    Returns:
        The same step.  Its noise is drawn for all states together, by whoever calls it.

    Example:
        >>> in_parts(euler, 100).draws
        1
    """

    def advance(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
        def part(x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
            return step(sde, x, t0, t1, dw.transpose(0, 1))

        return by_parts(part, size, x, t0, t1, dw.transpose(0, 1))

    return step if size is None else Step(advance, step.weak_order, step.draws, step.density)


def _euler(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    dt = match(t1 - t0, x)
    return x + sde.drift(x, t0) * dt + sde.disturb(x, dw[0], t0)


def _milstein(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    physics, eta = (sde.sde, sde.eta) if isinstance(sde, Reverse) else (sde, 1.0)
    y = _euler(sde, x, t0, t1, dw)
    if not isinstance(physics, Multiplicative):
        return y
    # g g'/2 (dW^2 - |dt|) with g g' = (g^2)'/2; all zeros mean that the noise is off
    spread = where(dw[0] == 0, 0.0, dw[0] ** 2 - match((t1 - t0).abs(), x))
    return y + eta**2 / 4 * physics.spurious(x, t0) * spread


def _heun(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    dt = match(once(t1) - once(t0), x)
    noise = (sde.diffuse(dw[0], t0) + sde.diffuse(dw[0], t1)) / 2
    f0, start = sde.drift(x, t0), x + noise
    f1 = sde.drift(addcmul(start, dt, f0), t1)
    return addcmul(start, dt, f0 + f1, value=1 / 2)


class Tableau(NamedTuple):
    """Coefficients of an explicit Runge-Kutta method for additive noise.

    Stage i starts from ``x + n_i dW + s_i (n_i (1 - n_i))^(1/2) dZ + dt sum_j a_ij f_j``, with ``dW`` and ``dZ``
    independent, at the time ``t0 + n_i dt``; the step is ``x + dt sum_i w_i f_i + dW``.

    Attributes:
        nodes: ``n_i``.
        weights: ``w_i``.
        stages: ``a_ij``, row by row.
        signs: ``s_i``, -1, 0 or 1.
    """

    nodes: tuple[float, ...]
    weights: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    signs: tuple[float, ...]


# With the noise J_i = b_i dW + c_i dZ in stage i, b = n and b^2 + c^2 = n, weak order 3 for additive noise needs,
# besides the ODE conditions of order 3, (sum w c)^2 = 1/12 and sum w_i a_ij (b_i b_j + c_i c_j) = 1/6.  Given the nodes
# 0, .1, .5 these fix the rest.
SRK3 = Tableau(
    nodes=(0.0, 0.1, 0.5, 0.6831024436486891),
    weights=(0.14774293325538224, 0.1409338715781887, 0.0, 0.7113231951664291),
    stages=((), (0.1,), (0.0, 0.5), (0.06505654679874445, 0.18679457083604611, 0.43125132601389854)),
    signs=(0.0, -1.0, 1.0, 1.0),
)
"""The coefficients of :data:`srk3`."""


def _srk3(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    dt = match(t1 - t0, x)
    first, second = (sde.diffuse(w, (t0 + t1) / 2) for w in dw)
    slopes: list[Tensor] = []
    for n, row, sign in zip(SRK3.nodes, SRK3.stages, SRK3.signs, strict=True):
        stage = x + n * first + sign * math.sqrt(n * (1 - n)) * second
        for a, f in zip(row, slopes, strict=True):
            stage = stage + a * dt * f
        slopes.append(sde.drift(stage, t0 + n * (t1 - t0)))
    for w, f in zip(SRK3.weights, slopes, strict=True):
        x = x + w * dt * f
    return x + first


def _exponential(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    if not isinstance(sde, Linear):
        raise ValueError(f"`exponential` solves Linear SDEs only, got {type(sde).__name__}; take euler, heun or srk3.")
    scale = (sde.variance(t0, t1, x) / match(t1 - t0, x)).sqrt()
    return sde.unmodes(sde.decay(t0, t1, x) * sde.modes(x) + scale * sde.modes(dw[0]), x)


def _exponential_density(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, reached: Tensor) -> Tensor:
    if not isinstance(sde, Linear):
        raise ValueError(f"`exponential` solves Linear SDEs only, got {type(sde).__name__}; take euler.")
    like, t0, t1 = x.double(), t0.double(), t1.double()
    variance = sde.variance(t0, t1, like)
    if not bool((variance > 0).any()):
        raise ValueError("`noise` must be positive for a log density, got a process without noise.")
    return gaussian_log_prob(sde.modes(reached.double()) - sde.decay(t0, t1, like) * sde.modes(like), variance, like)


euler = Step(_euler, weak_order=1.0, density=euler_log_density)
"""Euler-Maruyama method ``x + f dt + g dW`` (Maruyama 1955): weak order 1; strong 1 for additive noise, else 1/2."""

milstein = Step(_milstein, weak_order=1.0)
"""Euler's step plus ``g g'/2 (dW^2 - |dt|)`` for noise that depends on the state (Milstein 1975): strong order 1."""

heun = Step(_heun, weak_order=2.0)
"""Stochastic Heun method for additive noise (Kloeden and Platen 1992, section 15.1): weak order 2, strong order 1."""

srk3 = Step(_srk3, weak_order=3.0, draws=2)
"""Four-stage Runge-Kutta method of weak order 3 for additive noise (in the sense of Debrabant 2010)."""

exponential = Step(_exponential, weak_order=math.inf, density=_exponential_density, in_modes=True)
"""Exact step of a :class:`~physinv.equations.sde.Linear` SDE, of any length: decay and accumulated noise per mode."""
