"""Log-likelihoods by the probability flow: ``log p_0(x) = log p_T(x_T) + int_0^T div v dt`` along ``dx/dt = v``."""

from __future__ import annotations

__all__ = [
    "Density",
    "Divergence",
    "divergence_for",
    "exact",
    "flow_log_prob",
    "hutchinson",
    "log_prob",
    "rademacher",
    "transition_log_prob",
]

import itertools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.bridges import adaptive, flow_field
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import Linear, Reverse

Density = Callable[[Tensor], Tensor]
"""``x -> log p(x)``, shapes ``(batch, *state) -> (batch,)``."""

Divergence = Callable[[Callable[[Tensor], Tensor], Tensor], tuple[Tensor, Tensor]]
"""``(v, x) -> (v(x), div v(x))``, shapes ``(batch, *state)`` and ``(batch,)``; ``v`` acts on each state by itself."""

EXACT_DIVERGENCE = 64
"""Numbers of a state up to which a divergence is computed by as many products with its Jacobian."""

MAX_NUMBERS = 2**20
"""Numbers computed at the same time when products with a Jacobian are taken side by side."""

_INSIDE = 1e-6  # of an interval between two kinks: by which times stay away from both
_SMALL = 1e-8  # of sqrt(T): variance that noise brings until then is less than that of any number that varies


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
    """Return log densities by the probability flow.

        log p_t0(x) = base(x_T) + int_t0^T div v(x_t, t) dt,    v = f - g^2/2 s

    The adaptive method of Dormand and Prince solves for ``(x, log p)`` in the variable ``sqrt(t)``, in which a score
    that grows like ``1/sqrt(t)`` towards t = 0 is smooth.  The result is not differentiable.

    Initial laws without a density (point masses, fields with modes of no power) have none at ``t0 = 0`` either, and are
    refused there: give a ``t0 > 0`` to get the density of ``x`` as a state at ``t0``.

    Args:
        flow: The probability flow ``Reverse(sde, score, eta=0)``.
        x: States at ``t0``.
        span: Times ``(t0, T)``.
        base: Log density at T.
        divergence: How the divergence is computed: :func:`exact` (None), which takes one vector-Jacobian product for
            each number of the state, or :func:`hutchinson`, which takes one for each probe.
        rtol: Relative tolerance of the solver.
        atol: Tolerance of the solver beside that: of states in units of their root mean square, of densities in nats.

    Raises:
        ValueError: If ``span`` is not increasing from at least 0, the law at 0 has no density, or the flow does not
            stay finite.

    References:
        Chen et al. (2018), Neural ordinary differential equations, eq. 8; Song et al. (2021), Score-based generative
        modeling through stochastic differential equations, eq. 39.
    """
    t0, last = span
    if not 0 <= t0 < last:
        raise ValueError(f"`span` must be (t0, T) with 0 <= t0 < T, got ({t0:g}, {last:g}).")
    field = flow_field(flow)

    def by_root(root: Tensor, x: Tensor) -> Tensor:
        return 2 * root.to(x.dtype) * field(root**2, x)

    if t0 == 0 and (flat := _without_power(by_root, x, last**0.5, divergence or exact)) > 0.5:
        raise ValueError(
            f"the law has no density at t = 0, where {flat:.0f} or so of the {x[0].numel()} numbers of a state do not "
            f"vary; give `span` = (t0, {last:g}) with t0 > 0 for the density of states at t0."
        )
    kinks = [t**0.5 for t in flow.sde.kinks]
    ends = (t0**0.5, last**0.5)
    return flow_log_prob(by_root, x, ends, base, kinks=kinks, divergence=divergence, rtol=rtol, atol=atol)


def flow_log_prob(
    velocity: Callable[[Tensor, Tensor], Tensor],
    x: Float[Tensor, "batch *state"],
    span: tuple[float, float],
    base: Density,
    *,
    kinks: Sequence[float] = (),
    divergence: Divergence | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    differentiable: bool = False,
) -> Float[Tensor, " batch"]:
    """Return log densities of states that a flow transports to a law whose density is known.

        log p_a(x) = base(x_b) + int_a^b div v(x_s, s) ds    along    dx/ds = v(x, s)

    Args:
        velocity: ``v(s, x)``, for one number s and states.
        x: States at ``a``.
        span: ``(a, b)``, increasing.
        base: Log density at ``b``.
        kinks: Increasing values of ``s`` at which the velocity jumps.
        divergence: How the divergence is computed: :func:`exact` (None) or :func:`hutchinson`.
        rtol: Relative tolerance of the solver.
        atol: Tolerance of the solver beside that: of states in units of their root mean square, of densities in nats.
        differentiable: Whether gradients are kept, of what ``velocity`` and ``base`` depend on, through every step.

    Raises:
        ValueError: If the flow does not stay finite.

    References:
        Chen et al. (2018), Neural ordinary differential equations, eq. 8.
    """
    divergence = exact if divergence is None else divergence

    def between(low: float, high: float) -> Callable[[Tensor, tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]:
        def rate(s: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            inside = s.clamp(low, high)  # the solver may probe beyond the end for its first step
            return divergence(lambda y: velocity(inside, y), state[0])

        return rate

    # From kink to kink.  Times stay off both, so that rounding to float32 does not show the velocity of the other side.
    places = [span[0], *(s for s in kinks if span[0] < s < span[1]), span[1]]
    rounding = 4 * torch.finfo(torch.float32).eps * span[1]
    # The tolerance of the states is in units of their root mean square, that of the density in nats.
    size = float(x.detach().double().square().mean().sqrt())
    with torch.set_grad_enabled(differentiable):
        x = x.detach().requires_grad_() if differentiable and not x.requires_grad else x
        state = x, x.new_zeros(len(x))
        for a, b in itertools.pairwise(places):
            ends = torch.tensor((a, b), dtype=torch.float64, device=x.device)
            margin = max(_INSIDE * (b - a), min(rounding, (b - a) / 4)) if len(places) > 2 else 0.0
            field = between(a + margin, b - margin)
            reached, gains = adaptive(field, state, ends, rtol=rtol, atol=(atol * (size or 1.0), atol))
            state = reached[-1], gains[-1]
        out: Tensor = base(state[0]) + state[1]
    return out


def divergence_for(x: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None) -> Divergence:
    """Return the exact divergence for states of up to 64 numbers, an estimate by one random probe for larger ones.

    Args:
        x: States of the shape in question.
        generator: Source of the probe, on the device of ``x``.
    """
    few = x[0].numel() <= EXACT_DIVERGENCE
    return exact if few else hutchinson(rademacher(x, 1, generator=generator))


def exact(v: Callable[[Tensor], Tensor], x: Float[Tensor, "batch *state"]) -> tuple[Tensor, Tensor]:
    """Return the value of a vector field and its divergence ``sum_i e_i . J e_i``.

    Args:
        v: Vector field, which acts on each state of the batch by itself.
        x: States.

    Returns:
        ``v(x)``, ``(batch, *state)``, and ``div v(x)``, ``(batch,)``.

    Example:
        >>> value, divergence = exact(lambda x: x**2, torch.tensor([[1.0, 2.0]]))
        >>> divergence  # 2 * 1 + 2 * 2
        tensor([6.])
    """
    value, quadratic = _pullback(v, x)
    n, div = x[0].numel(), x.new_zeros(len(x))
    for part in torch.split(torch.arange(n, device=x.device), _side_by_side(x)):
        unit = torch.nn.functional.one_hot(part, n).to(x).reshape(-1, 1, *x.shape[1:])
        div = div + quadratic(unit.expand(-1, *x.shape)).sum(0)
    return value, div


def hutchinson(probes: Float[Tensor, "probes batch *state"]) -> Divergence:
    """Return an unbiased estimator of the divergence, ``mean_k z_k . J z_k`` with probes ``E z z^T = 1``.

    Its variance falls like one over the number of probes.  The probes stay the same along the whole flow, so that the
    integrand is smooth.

    Args:
        probes: Random probes ``z_k``, such as those of :func:`rademacher`.

    Returns:
        A function as :func:`exact`, which raises ValueError for states of another shape than the probes.

    References:
        Hutchinson (1990), A stochastic estimator of the trace of the influence matrix; Grathwohl et al. (2019), FFJORD.
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
    """Draw probes of independent signs, which have the smallest variance of ``z . J z`` of all probes.

    Args:
        like: States of the shape in question.
        probes: Number of probes for each state.
        generator: Source of randomness, on the device of ``like``.

    Returns:
        Numbers +1 and -1, ``(probes, batch, *state)``.

    Raises:
        ValueError: If ``probes`` is smaller than 1.

    References:
        Hutchinson (1990), A stochastic estimator of the trace of the influence matrix.
    """
    if probes < 1:
        raise ValueError(f"`probes` must be at least 1, got {probes}.")
    coins = torch.randint(0, 2, (probes, *like.shape), generator=generator, device=like.device)
    return (2 * coins - 1).to(like.dtype)


def transition_log_prob(
    sde: Linear, x: Float[Tensor, "batch *state"], later: Float[Tensor, "batch *state"], dt: float
) -> Float[Tensor, " batch"]:
    """Return the transition log density ``log p(x_{t + dt} = later | x_t = x)`` of a linear SDE, exactly.

    Per mode the later state is ``N(e^{r dt} y, q(dt))``.

    Args:
        sde: The linear process.
        x: States at t.
        later: One later state for each state.
        dt: Time between them.

    Raises:
        ValueError: If noise or ``dt`` is not positive, so that there is no density.
    """
    if not (sde.noise > 0 and dt > 0):
        raise ValueError(f"`sde.noise` and `dt` must be positive for a density, got {sde.noise:g} and {dt:g}.")
    t = x.new_full((1,), dt)
    return gaussian_log_prob(sde.modes(later) - sde.decay(0.0, t, x) * sde.modes(x), sde.variance(0.0, t, x), x)


def _without_power(
    velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, last: float, divergence: Divergence
) -> float:
    """How many numbers of a state have no variance at t = 0, in the mean over states.

    The noise drives each of them apart like sqrt(t), so that the divergence in the variable sqrt(t) is one over it.
    """
    root = torch.tensor(_SMALL * last, dtype=torch.float64, device=x.device)
    _, found = divergence(lambda y: velocity(root, y), x)
    return float((root * found.double()).mean())


def _side_by_side(x: Tensor) -> int:
    """Number of products with a Jacobian at ``x`` that are taken at the same time."""
    return max(1, MAX_NUMBERS // x.numel())


def _pullback(v: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """``v(x)``, and the function ``z (probes, batch, *state) -> z . J z (probes, batch)``, from one evaluation of v.

    Both can be differentiated further where ``x`` is part of a graph."""
    kept = torch.is_grad_enabled() and x.requires_grad
    with torch.enable_grad():
        x = x if kept else x.detach().requires_grad_()
        value = v(x)

    def quadratic(z: Tensor) -> Tensor:
        if kept:  # second derivatives of normalisations and convolutions do not batch
            each = [torch.autograd.grad(value, x, one, retain_graph=True, create_graph=True)[0] for one in z]
            return (torch.stack(each) * z).flatten(2).sum(-1)
        (rows,) = torch.autograd.grad(value, x, z, retain_graph=True, is_grads_batched=True)
        return (rows * z).flatten(2).sum(-1)

    return value if kept else value.detach(), quadratic
