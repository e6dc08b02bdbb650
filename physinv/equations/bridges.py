"""Solve equations of physinv by the packages torchsde and torchdiffeq.

:func:`solve_torchsde` and :func:`solve_adaptive` have the signature of :func:`~physinv.equations.solve.solve`.
torchsde wants states ``(batch, channels)`` and increasing times; :class:`ForTorchsde` flattens the state and runs a
backward equation in ``s = horizon - t``.  torchdiffeq takes any ODE (``eta = 0``) in either direction.
"""

from __future__ import annotations

__all__ = ["ForTorchsde", "adaptive", "flow_field", "solve_adaptive", "solve_torchsde"]

import itertools
from collections.abc import Callable
from typing import TypeVar

import torch
import torchdiffeq
import torchsde
from jaxtyping import Float
from torch import Tensor

from physinv.equations.multiplicative import Multiplicative
from physinv.equations.sde import SDE, Reverse
from physinv.equations.solve import check_times

MOST = 2000
"""Steps between two times at which an adaptive solution gives up; smooth flows take tens."""

State = TypeVar("State", Tensor, tuple[Tensor, Tensor])


def solve_adaptive(
    flow: Reverse, x: Float[Tensor, "batch *state"], times: Float[Tensor, " time"], *, rtol: float, atol: float
) -> Float[Tensor, "batch time *state"]:
    """Solve the probability flow in either direction by the adaptive method of order 5(4) of Dormand and Prince.

    The error of a step is held below ``atol + rtol |x|`` in root mean square over the whole batch: states that are
    solved together share their steps.

    Args:
        flow: The reversal with ``eta = 0``.
        x: States at ``times[0]``, ``(batch, *state)``.
        times: Monotone times, in units of time.
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance of a step, in the unit of the state.

    Returns:
        States at all times, ``(batch, time, *state)``.

    Raises:
        ValueError: If ``eta`` is not 0, times are not monotone, or the flow does not stay finite.
    """
    field = flow_field(flow)
    check_times(flow, times.detach().to("cpu", torch.float64).tolist(), False)
    return adaptive(field, x, times, rtol=rtol, atol=atol).movedim(0, 1)


def solve_torchsde(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    times: Float[Tensor, " time"],
    *,
    dt: float,
    method: str = "srk",
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch time *state"]:
    """Solve an equation by a method of torchsde, in steps of at most ``dt``.

    Increasing times simulate, decreasing ones reconstruct; every one of ``times`` is hit by a step, none interpolated.
    ``generator`` gives the seed of torchsde's Brownian motion (Li et al. 2020), one for the whole path.

    Args:
        sde: The equation.
        x: States at ``times[0]``, ``(batch, *state)``.
        times: Monotone times, in units of time.
        dt: Longest step, in units of time.
        method: ``"euler"``, ``"milstein"`` or ``"srk"``.
        generator: Source of the seed of torchsde's Brownian motion, one for the whole path.

    Returns:
        States at all times, ``(batch, time, *state)``.

    Raises:
        ValueError: If ``dt`` or ``times`` do not fit, or the method is unknown to torchsde.

    References:
        Li et al. (2020), Scalable gradients for stochastic differential equations.
    """
    grid = times.detach().to("cpu", torch.float64).tolist()
    check_times(sde, grid, True)
    if not dt > 0:
        raise ValueError(f"`dt` must be positive, got {dt:g}.")
    back = grid[0] > grid[-1]
    y, equation = x.flatten(1), ForTorchsde(sde, tuple(x.shape[1:]), grid[0] if back else None)
    clock = [grid[0] - t for t in grid] if back else grid
    device = None if generator is None else generator.device
    brownian = torchsde.BrownianInterval(
        clock[0],
        clock[-1],
        size=y.shape,
        dtype=y.dtype,
        device=y.device,
        entropy=int(torch.randint(2**31 - 1, (), generator=generator, device=device)),
        levy_area_approximation="space-time",
    )
    states = [y]
    for a, b in itertools.pairwise(clock):
        span = torch.tensor([a, b], dtype=torch.float64, device=y.device)
        states.append(torchsde.sdeint(equation, states[-1], span, bm=brownian, dt=dt, method=method)[-1])
    return torch.stack(states, dim=1).reshape(len(x), len(grid), *x.shape[1:])


def adaptive(
    field: Callable[[Tensor, State], State],
    state: State,
    times: Float[Tensor, " time"],
    *,
    rtol: float,
    atol: float | tuple[float, float],
) -> State:
    """Solve ``dy/dt = field(t, y)`` by ``torchdiffeq.odeint`` (dopri5), with errors that say what to do.

    Steps end on every one of ``times``, so that ``field`` is never evaluated outside of them.

    Args:
        field: Right-hand side ``(t, y) -> dy/dt``.
        state: A tensor, or a pair of them, at ``times[0]``.
        times: Monotone times.
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance of a step; of a pair one for each.

    Returns:
        The state at all times, along a new first axis.

    Raises:
        ValueError: If the solution does not stay finite, or the step becomes too small.
    """
    if not (rtol > 0 and min(atol if isinstance(atol, tuple) else (atol,)) > 0):
        raise ValueError(f"`rtol` and `atol` must be positive, got {rtol:g} and {atol}.")
    t = times.double()
    try:
        solved: State = torchdiffeq.odeint(
            field, state, t, rtol=rtol, atol=atol, method="dopri5", options={"step_t": t[1:], "max_num_steps": MOST}
        )
    except AssertionError as error:
        if not str(error).startswith(("underflow in dt", "non-finite values", "max_num_steps")):
            raise
        raise ValueError(
            f"the flow became infinite, NaN, or steeper than {MOST} steps: stay further from its singular end, "
            "raise `rtol` and `atol`, or take float64."
        ) from error
    return solved


class ForTorchsde(torch.nn.Module):
    """Present an equation to torchsde: ``torchsde.sdeint(ForTorchsde(sde, shape), x.flatten(1), s)`` solves it.

    A ``Reverse`` is integrated in ``s = T - t`` from 0 to T, ``dx = -f(x, T - s) ds + g(T - s) dW``.

    Attributes:
        noise_type: Name of diagonal noise in torchsde.
        sde_type: Name of the sense of Ito in torchsde.

    Args:
        sde: The equation.
        shape: Shape of one state.
        horizon: Final time ``T`` of a ``Reverse``; None for equations that run forward.

    Raises:
        ValueError: If a ``Reverse`` comes without ``horizon``, or the noise is coloured.
    """

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, sde: SDE, shape: tuple[int, ...], horizon: float | None = None) -> None:
        super().__init__()
        if sde.direction < 0 and horizon is None:
            raise ValueError("`horizon` must be given for a Reverse SDE: torchsde integrates in s = horizon - t.")
        physics = sde.sde if isinstance(sde, Reverse) else sde
        if type(physics).diffuse is not SDE.diffuse and not isinstance(physics, Multiplicative):
            name = type(physics).__name__
            raise ValueError(f"the noise of {name} is coloured, torchsde needs it diagonal; take `solve`.")
        self.sde, self.shape, self.horizon = sde, tuple(shape), horizon

    def _time(self, s: Tensor | float, y: Tensor) -> Tensor:
        s = torch.as_tensor(s, dtype=y.dtype, device=y.device)
        return (s if self.horizon is None else self.horizon - s).expand(y.shape[0])

    def f(self, s: Tensor, y: Tensor) -> Tensor:
        """Return the drift, as torchsde calls it.

        Args:
            s: Time of torchsde.
            y: Flattened states, ``(batch, numbers)``.
        """
        sign = 1.0 if self.horizon is None else -1.0
        return sign * self.sde.drift(y.reshape(-1, *self.shape), self._time(s, y)).flatten(1)

    def g(self, s: Tensor, y: Tensor) -> Tensor:
        """Return the noise amplitude of each number, as torchsde calls it.

        Args:
            s: Time of torchsde.
            y: Flattened states, ``(batch, numbers)``.
        """
        x = y.reshape(-1, *self.shape)
        return self.sde.disturb(x, torch.ones_like(x), self._time(s, y)).flatten(1)


def flow_field(flow: Reverse) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the right-hand side ``(t, x) -> dx/dt`` of a probability flow, as ``torchdiffeq.odeint`` wants it.

    Args:
        flow: The reversal with ``eta = 0``.

    Raises:
        ValueError: If ``eta`` is not 0.
    """
    if flow.eta != 0:
        raise ValueError(f"`flow` must be deterministic, Reverse(sde, score, eta=0), got eta = {flow.eta:g}.")
    return lambda t, x: flow.drift(x, t.to(x.dtype).expand(x.shape[0]))
