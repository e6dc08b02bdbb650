"""``solve(sde, x, times)``: one loop for simulation (times increase) and reconstruction (times decrease).

A :class:`Step` advances the state from ``t0`` to ``t1``; the sign of ``t1 - t0`` is all that tells forward from
backward.  Orders are stated for smooth drifts and constant ``g``, and measured in the tests.
"""

from __future__ import annotations

__all__ = ["Step", "check_times", "euler", "exponential", "gather", "heun", "march", "milstein", "solve", "srk3"]

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Linear, Multiplicative, Reverse, match

Advance = Callable[[SDE, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """One step of a solver: ``step(sde, x, t0, t1, dw) -> x(t1)``, shapes ``(batch, *state)`` and ``(batch,)``.

    ``dw`` has shape ``(draws, batch, *state)``: independent ``N(0, |t1 - t0|)`` numbers, the first of which is the
    increment of the Brownian motion.  All zeros switch the noise off.
    """

    advance: Advance
    weak_order: float
    draws: int = 1

    def __call__(self, sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
        return self.advance(sde, x, t0, t1, dw)


def solve(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    times: Float[Tensor, " time"],
    *,
    step: Step | None = None,
    noise: bool = True,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch time *state"]:
    """Solve ``sde`` from ``x`` at ``times[0]``, one step from each of ``times`` to the next; all states are returned.

    ``step`` defaults to :data:`euler`.  ``noise=False`` leaves out ``dW``: of ``Reverse(sde, score)`` that gives the
    posterior-mean flow.  Raises ValueError for times that are not strictly monotone, or that run against the
    direction of the equation.
    """
    return gather(march(sde, x, times, step=step, noise=noise, generator=generator), len(times))


def gather(states: Iterator[Float[Tensor, "batch *state"]], count: int) -> Float[Tensor, "batch count *state"]:
    """``count`` states side by side; ValueError if there are more or fewer.

    While no gradients are recorded each is written to its place as it comes: half the memory of a stack, and no copy of
    everything at the end.  (Autograd would copy all of it on the way back, once per state.)
    """
    if torch.is_grad_enabled():
        return torch.stack([x for x, _ in zip(states, range(count), strict=True)], dim=1)
    first = next(states)
    gathered = first.new_empty((len(first), count, *first.shape[1:]))
    for place, x in zip(gathered.unbind(1), itertools.chain([first], states), strict=True):
        place.copy_(x)
    return gathered


def march(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    times: Float[Tensor, " time"],
    *,
    step: Step | None = None,
    noise: bool = True,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "batch *state"]]:
    """As :func:`solve`, but yields one state after another: memory for one, however many steps."""
    step = euler if step is None else step
    grid = times.detach().to("cpu", torch.float64).tolist()
    check_times(sde, grid, noise)
    if step is exponential and isinstance(sde, Linear):
        yield from _march_modes(sde, x, grid, noise, generator)
        return
    noise = noise and not (isinstance(sde, Reverse) and sde.eta == 0)
    still = x.new_zeros(()).expand(step.draws, *x.shape)
    yield x
    for a, b in itertools.pairwise(grid):
        t0, t1 = x.new_full((x.shape[0],), a), x.new_full((x.shape[0],), b)
        dw = still
        if noise:
            dw = torch.randn((step.draws, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
            dw = dw.mul_(math.sqrt(abs(b - a)))
        x = step(sde, x, t0, t1, dw)
        yield x


def _march_modes(
    sde: Linear, x: Tensor, grid: list[float], noise: bool, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Steps of :data:`exponential`, without leaving the basis between them.

    Decay and noise are computed once for each length of step that occurs, up to relative differences of 1e-9.
    """
    yield x
    y = sde.modes(x)
    known: dict[str, tuple[Tensor, Tensor]] = {}
    for a, b in itertools.pairwise(grid):
        length = f"{b - a:.9e}"
        if length not in known:
            dt = x.new_tensor(b - a)
            spread = (sde.variance(dt, x) / dt).sqrt() * math.sqrt(abs(b - a))
            known[length] = sde.decay(dt, x), spread.to(y.dtype)
        decay, spread = known[length]
        y = decay * y
        if noise:
            dw = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            y = torch.addcmul(y, spread, sde.modes(dw))
        yield sde.unmodes(y, x)


def check_times(sde: SDE, grid: list[float], noise: bool) -> None:
    gaps = [b - a for a, b in itertools.pairwise(grid)]
    if not gaps or not (all(d > 0 for d in gaps) or all(d < 0 for d in gaps)):
        raise ValueError("`times` must hold two or more numbers, strictly increasing or strictly decreasing.")
    if noise and sde.direction * gaps[0] < 0:
        if sde.direction > 0:
            raise ValueError("`times` decrease, but this SDE runs forward; wrap it in Reverse(sde, score) to go back.")
        raise ValueError("`times` increase, but a Reverse SDE runs from T to 0; give decreasing times.")


def _euler(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    dt = match(t1 - t0, x)
    return x + sde.drift(x, t0) * dt + sde.disturb(x, dw[0], t0)


def _milstein(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    physics, eta = (sde.sde, sde.eta) if isinstance(sde, Reverse) else (sde, 1.0)
    y = _euler(sde, x, t0, t1, dw)
    if not isinstance(physics, Multiplicative):
        return y
    # g g'/2 (dW^2 - |dt|) with g g' = (g^2)'/2; all zeros mean that the noise is off
    spread = torch.where(dw[0] == 0, 0.0, dw[0] ** 2 - match((t1 - t0).abs(), x))
    return y + eta**2 / 4 * physics.spurious(x, t0) * spread


def _heun(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    dt = match(t1 - t0, x)
    noise = (sde.diffuse(dw[0], t0) + sde.diffuse(dw[0], t1)) / 2
    f0 = sde.drift(x, t0)
    f1 = sde.drift(x + f0 * dt + noise, t1)
    return x + (f0 + f1) / 2 * dt + noise


# Order conditions of srk3: with J_i = b_i dW + c_i dZ the noise in stage i, b = n (the nodes) and b^2 + c^2 = n, weak
# order 3 for additive noise needs, besides the ODE conditions of order 3, (sum w c)^2 = 1/12 and
# sum w_i a_ij (b_i b_j + c_i c_j) = 1/6.  Given nodes 0, .1, .5 these fix the rest.
_N = (0.0, 0.1, 0.5, 0.6831024436486891)
_W = (0.14774293325538224, 0.1409338715781887, 0.0, 0.7113231951664291)
_A = ((), (0.1,), (0.0, 0.5), (0.06505654679874445, 0.18679457083604611, 0.43125132601389854))
_SIGN = (0.0, -1.0, 1.0, 1.0)


def _srk3(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    dt = match(t1 - t0, x)
    first, second = (sde.diffuse(w, (t0 + t1) / 2) for w in dw)
    slopes: list[Tensor] = []
    for n, row, sign in zip(_N, _A, _SIGN, strict=True):
        stage = x + n * first + sign * math.sqrt(n * (1 - n)) * second
        for a, f in zip(row, slopes, strict=True):
            stage = stage + a * dt * f
        slopes.append(sde.drift(stage, t0 + n * (t1 - t0)))
    for w, f in zip(_W, slopes, strict=True):
        x = x + w * dt * f
    return x + first


def _exponential(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    if not isinstance(sde, Linear):
        raise ValueError(f"`exponential` solves Linear SDEs only, got {type(sde).__name__}; take euler, heun or srk3.")
    dt = t1 - t0
    scale = (sde.variance(dt, x) / match(dt, x)).sqrt()
    return sde.unmodes(sde.decay(dt, x) * sde.modes(x) + scale * sde.modes(dw[0]), x)


euler = Step(_euler, weak_order=1.0)
"""Euler-Maruyama (Maruyama 1955): ``x + f dt + g dW``.  Strong order 1 for additive noise, else 1/2; weak order 1."""

milstein = Step(_milstein, weak_order=1.0)
"""Euler with ``g g'/2 (dW^2 - |dt|)`` for noise that depends on the state (Milstein 1975).  Strong order 1."""

heun = Step(_heun, weak_order=2.0)
"""Stochastic Heun for additive noise (Kloeden and Platen 1992, section 15.1): weak order 2, strong order 1."""

srk3 = Step(_srk3, weak_order=3.0, draws=2)
"""Four-stage Runge-Kutta of weak order 3 for additive noise (in the sense of Debrabant 2010)."""

exponential = Step(_exponential, weak_order=math.inf)
"""Exact for :class:`~physinv.equations.sde.Linear` SDEs at any step: decay and accumulated noise, mode by mode."""
