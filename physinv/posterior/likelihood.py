"""Log-likelihoods by the probability flow: ``log p_0(x) = log p_T(x_T) + int_0^T div v dt`` along ``dx/dt = v``."""

from __future__ import annotations

__all__ = ["Density", "Divergence", "exact", "hutchinson", "log_prob", "rademacher", "transition_log_prob"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.bridges import adaptive, flow_field
from physinv.equations.sde import Linear, Reverse
from physinv.laws.gaussian import gaussian_log_prob

Density = Callable[[Tensor], Tensor]
"""``x -> log p(x)``, shapes ``(batch, *state) -> (batch,)``."""

Divergence = Callable[[Callable[[Tensor], Tensor], Tensor], tuple[Tensor, Tensor]]
"""``(v, x) -> (v(x), div v(x))``, shapes ``(batch, *state)`` and ``(batch,)``; ``v`` acts on each state by itself."""

NUMBERS = 2**20
"""Numbers in work at once when products with a Jacobian are taken side by side."""


@torch.no_grad()
def log_prob(
    flow: Reverse,
    x: Float[Tensor, "batch *state"],
    span: tuple[float, float],
    base: Density,
    *,
    divergence: Divergence | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Float[Tensor, " batch"]:
    """``log p_t0(x)`` where ``span = (t0, T)``: carried by the flow to ``T``, where ``base`` is the log density.

        log p_t0(x) = base(x_T) + int_t0^T div v(x_t, t) dt,    v = f - g^2/2 s

    (Chen et al. 2018, eq. 8; Song et al. 2021, eq. 39), by the adaptive method of Dormand and Prince on ``(x, log p)``.
    It runs in ``sqrt(t)``, in which a score that grows like ``1/sqrt(t)`` towards its start is smooth.
    ``divergence`` defaults to :func:`exact`, as many vector-Jacobian products as the state has numbers;
    :func:`hutchinson` needs one per probe.  Not differentiable.

    Starts without a density (point masses, fields with modes of no power) have none at ``t0 = 0`` either: give a
    ``t0 > 0``, and get the density of ``x`` as a state at ``t0``.  ValueError where the flow does not stay finite.
    """
    t0, last = span
    if not 0 <= t0 < last:
        raise ValueError(f"`span` must be (t0, T) with 0 <= t0 < T, got ({t0:g}, {last:g}).")
    field, divergence = flow_field(flow), exact if divergence is None else divergence

    def rate(root: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        v, div = divergence(lambda y: 2 * root.to(y.dtype) * field(root**2, y), state[0])
        return v, div

    roots = torch.tensor([t0, last], dtype=torch.float64, device=x.device).sqrt()
    ends, gains = adaptive(rate, (x, x.new_zeros(len(x))), roots, rtol=rtol, atol=atol)
    out: Tensor = base(ends[-1]) + gains[-1]
    return out


def exact(v: Callable[[Tensor], Tensor], x: Float[Tensor, "batch *state"]) -> tuple[Tensor, Tensor]:
    """``div v = sum_i e_i . J e_i``, one product for each number of the state."""
    value, quadratic = _pullback(v, x)
    n, div = x[0].numel(), x.new_zeros(len(x))
    for part in torch.split(torch.arange(n, device=x.device), _side_by_side(x)):
        unit = torch.nn.functional.one_hot(part, n).to(x).reshape(-1, 1, *x.shape[1:])
        div = div + quadratic(unit.expand(-1, *x.shape)).sum(0)
    return value, div


def hutchinson(probes: Float[Tensor, "probes batch *state"]) -> Divergence:
    """``div v ~ mean_k z_k . J z_k``, unbiased for ``E z z^T = 1`` (Hutchinson 1990); variance over ``1/probes``.

    The probes stay the same along the whole flow, so that what is integrated is smooth (Grathwohl et al. 2019).
    """

    def estimate(v: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        if probes.shape[1:] != x.shape:
            raise ValueError(f"`probes` must have the shape (n, *{tuple(x.shape)}), got {tuple(probes.shape)}.")
        value, quadratic = _pullback(v, x)
        return value, torch.cat([quadratic(z) for z in torch.split(probes, _side_by_side(x))]).mean(0)

    return estimate


def rademacher(
    like: Float[Tensor, "batch *state"], probes: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "probes batch *state"]:
    """Independent signs ``+-1``: of all probes those with the smallest variance of ``z . J z`` (Hutchinson 1990)."""
    if probes < 1:
        raise ValueError(f"`probes` must be at least 1, got {probes}.")
    coins = torch.randint(0, 2, (probes, *like.shape), generator=generator, device=like.device)
    return (2 * coins - 1).to(like.dtype)


def transition_log_prob(
    sde: Linear, x: Float[Tensor, "batch *state"], later: Float[Tensor, "batch *state"], dt: float
) -> Float[Tensor, " batch"]:
    """``log p(x_{t + dt} = later | x_t = x)``: ``N(e^{r dt} y, q(dt))`` per mode, exact."""
    if not (sde.noise > 0 and dt > 0):
        raise ValueError(f"`sde.noise` and `dt` must be positive for a density, got {sde.noise:g} and {dt:g}.")
    t = x.new_full((1,), dt)
    return gaussian_log_prob(sde.modes(later) - sde.decay(t, x) * sde.modes(x), sde.variance(t, x), x)


def _side_by_side(x: Tensor) -> int:
    return max(1, NUMBERS // x.numel())


def _pullback(v: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """``v(x)``, and ``z (probes, batch, *state) -> z . J z (probes, batch)``, gradients of one evaluation."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = v(x)

    def quadratic(z: Tensor) -> Tensor:
        (rows,) = torch.autograd.grad(value, x, z, retain_graph=True, is_grads_batched=True)
        return (rows * z).flatten(2).sum(-1)

    return value.detach(), quadratic
