"""``solve(sde, x, times)``: one loop for simulation (times increase) and reconstruction (times decrease)."""

from __future__ import annotations

__all__ = [
    "Step",
    "check_times",
    "ends",
    "euler",
    "exponential",
    "gather",
    "heun",
    "march",
    "milstein",
    "solve",
    "srk3",
]

import itertools
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import States, Times, as_states, as_times, check_generator, check_instance
from physinv.equations.check_sde import check_shapes, state_shape
from physinv.equations.sde import SDE, Linear, Reverse
from physinv.equations.steps import Step, euler, exponential, heun, milstein, srk3

_RESOLVED = 1e-3  # of a step: rounding of its times that is tolerated before they are taken in float64


def solve(
    sde: SDE,
    x: States,
    times: Times,
    *,
    step: Step | None = None,
    noise: bool = True,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch time *state"]:
    """Solve an SDE from given states through given times, one step from each time to the next.

    Args:
        sde: The equation: a process (increasing times), or its ``Reverse`` (decreasing times).
        x: States at ``times[0]``, ``(batch, *state)``: a tensor, or an array or lists, of which one is made.
        times: Two or more times in units of time, strictly monotone.  float64 where their origin is far away: the
            length of a step is the difference of its times in float64 (see :func:`march`).
        step: The scheme.  Default: :data:`~physinv.equations.steps.euler`.
        noise: False leaves out ``dW``.  Of ``Reverse(sde, score)`` that is the noise-free reversal.
        generator: Source of the noise, on the device of ``x``.

    Returns:
        The states at all ``times``, ``x`` first: ``(batch, time, *state)``.

    Raises:
        ValueError: If ``times`` are not strictly monotone, or run against the direction of the equation; or if an
            argument is of another kind or shape, in one line that says what to give.

    Example:
        >>> from physinv.equations.sde import SDE
        >>> from physinv.equations.steps import heun
        >>> class Decay(SDE):
        ...     def drift(self, x, t):
        ...         return -x
        ...     def diffusion(self, t):
        ...         return torch.zeros_like(t)
        >>> times = torch.linspace(0, 1, 11, dtype=torch.float64)
        >>> round(float(solve(Decay(), torch.ones(1, 1), times, step=heun)[0, -1]), 3)  # e^-1 = .368
        0.369
    """
    states = march(sde, x, times, step=step, noise=noise, generator=generator)
    first = next(states)
    if len(as_states(first, "x", finite=True)) and not isinstance(sde, Reverse):  # whose score may be dear
        check_shapes(sde, first, first.new_full((len(first),), float(times[0])))
    return gather(itertools.chain([first], states), len(times))


def gather(states: Iterator[Float[Tensor, "batch *state"]], count: int) -> Float[Tensor, "batch count *state"]:
    """Stack states that come one after another along a new second axis.

    While no gradients are recorded each state is written to its place as it comes: half the memory of a stack, and no
    copy of everything at the end.  (Autograd would copy all of it for the derivatives, once per state.)

    Args:
        states: The states, each ``(batch, *state)``.
        count: How many states there are.

    Returns:
        All states, ``(batch, count, *state)``.

    Raises:
        ValueError: If there are more or fewer than ``count`` states.
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
    x: States,
    times: Times,
    *,
    step: Step | None = None,
    noise: bool = True,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "batch *state"]]:
    """Yield the states of :func:`solve` one after another: memory for one state, however many steps.

    Times reach the step in the precision of the states, as long as it resolves the length of the step to a thousandth.
    Else (an origin far away, such as seconds since 1970, or very many steps) they come in float64: the length of a step
    is right, and ``drift(x, t)`` and ``diffusion(t)`` get times with all their digits.  States stay what they are.

    Args:
        sde: The equation.
        x: States at ``times[0]``, ``(batch, *state)``.
        times: Strictly monotone times, in units of time.
        step: The scheme.  Default: :data:`~physinv.equations.steps.euler`.
        noise: False leaves out ``dW``.
        generator: Source of the noise, on the device of ``x``.

    Returns:
        An iterator over ``x`` itself and the state at each further time, ``(batch, *state)``.

    Raises:
        ValueError: If ``times`` are not strictly monotone, or run against the direction of the equation; or if an
            argument is of another kind or shape, in one line that says what to give.
    """
    check_instance(sde, SDE, "sde", "give solve(sde, x, times)")
    check_generator(generator)
    check_instance(noise, bool, "noise", "give True or False")
    step = euler if step is None else step
    check_instance(step, Step, "step", "import one from physinv.equations.steps, such as heun")
    x = as_states(x, "x", state_shape(sde))
    grid = as_times(times).detach().cpu().tolist()
    check_times(sde, grid, noise)
    if step.in_modes and isinstance(sde, Linear):
        return _march_modes(sde, x, grid, noise, generator)
    return _march(sde, x, grid, step, noise, generator)


def _march(
    sde: SDE, x: Tensor, grid: list[float], step: Step, noise: bool, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Steps in the state itself; the first one shows whether the parts of the equation have the shape of the state."""
    if len(x) > 1 and len(x) in x.shape[1:]:  # a missing axis would broadcast unseen
        check_shapes(sde, x[:1], x.new_full((1,), grid[0]))
    noise = noise and not (isinstance(sde, Reverse) and sde.eta == 0)
    still = x.new_zeros(()).expand(step.draws, *x.shape)
    yield x
    for a, b in itertools.pairwise(grid):
        t0, t1 = ends(x, a, b)
        dw = still
        if noise:
            dw = torch.randn((step.draws, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
            dw = dw.mul_(math.sqrt(abs(b - a)))
        try:
            reached = step(sde, x, t0, t1, dw)
        except (RuntimeError, TypeError, AttributeError):  # of a shape that does not fit, or of what is no tensor
            check_shapes(sde, x, t0)
            raise
        if reached.shape != x.shape:
            check_shapes(sde, x, t0)
            raise ValueError(f"`step` must return states of shape {tuple(x.shape)}, got {tuple(reached.shape)}.")
        x = reached if reached.dtype == x.dtype else reached.to(x.dtype)  # a drift may have used times in float64
        yield x


def _march_modes(
    sde: Linear, x: Tensor, grid: list[float], noise: bool, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Steps of :data:`exponential`, without leaving the basis between them.

    Decay and noise of steady processes are computed once for each length of step that occurs, up to relative
    differences of 1e-9.
    """
    yield x
    y = sde.modes(x)
    known: dict[str, tuple[Tensor, Tensor]] = {}
    for a, b in itertools.pairwise(grid):
        key = f"{b - a:.9e}" if sde.steady else f"{a} {b}"
        if key not in known:
            t0, t1 = (0.0, x.new_tensor(b - a)) if sde.steady else ends(x[:1], a, b)
            spread = (sde.variance(t0, t1, x) / x.new_tensor(b - a)).sqrt() * math.sqrt(abs(b - a))
            known[key] = sde.decay(t0, t1, x), spread.to(y.dtype)
        decay, spread = known[key]
        y = decay * y
        if noise:
            dw = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            y = torch.addcmul(y, spread, sde.modes(dw))
        yield sde.unmodes(y, x)


def ends(
    x: Float[Tensor, "batch *state"], a: float, b: float
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return the times of a step for every state, in the precision that :func:`march` gives them to the step.

    Args:
        x: States.
        a: Time at which the step begins.
        b: Time at which it ends.
    """
    rounding = torch.finfo(x.dtype).eps / _RESOLVED
    clock = x.dtype if max(abs(a), abs(b)) * rounding <= abs(b - a) else torch.float64
    t0, t1 = (x.new_full((1,), t, dtype=clock).expand(len(x)) for t in (a, b))
    return t0, t1


def check_times(sde: SDE, grid: list[float], noise: bool) -> None:
    """Refuse times that a solver cannot follow.

    Args:
        sde: The equation.
        grid: The times, in units of time.
        noise: Whether the noise is on: without it an equation may be solved either way.

    Raises:
        ValueError: If the times are not strictly monotone, or run against the direction of the equation.
    """
    gaps = [b - a for a, b in itertools.pairwise(grid)]
    if not gaps or not (all(d > 0 for d in gaps) or all(d < 0 for d in gaps)):
        told = ", ".join(f"{t:g}" for t in grid[:4])
        got = f"{len(grid)}; add the last one" if len(grid) < 2 else f"{told} ...; sort them"
        raise ValueError(
            f"`times` must hold two or more numbers, strictly increasing or strictly decreasing, got {got}."
        )
    if noise and sde.direction * gaps[0] < 0:
        if sde.direction > 0:
            raise ValueError("`times` decrease, but this SDE runs forward; wrap it in Reverse(sde, score) to go back.")
        raise ValueError("`times` increase, but a Reverse SDE runs from T to 0; give decreasing times.")
