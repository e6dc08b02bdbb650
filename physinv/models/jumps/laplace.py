"""Noise with the correlations that the physics gives: Laplace's approximation around a learned mean.

Around an earlier state ``m`` let ``F`` be the physics without noise from ``s`` to ``t``, ``R`` the power of what the
noise adds until then and ``P`` that of the states before, both mode by mode. In the modes ``E`` that are uncertain

    -log p(c | x_t) = |F(m + E c) + b - x_t|^2_R / 2 + |m + E c - mu|^2_P / 2 + const,

two steps of Gauss and Newton lead from the learned mean to its minimum, and the inverse of the Hessian ``J^T R^-1 J +
P^-1`` is the covariance of the noise. ``J`` comes from differences of runs, one for each mode: this is for fields whose
earlier state has few uncertain modes.
"""

from __future__ import annotations

__all__ = ["Forward", "laplace_noise", "mode_basis"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.fourier import fourier, inverse_fourier, multiplicity

_STEPS = 2  # of Gauss and Newton
_DIFFERENCE = 1e-2  # of the standard deviation of a mode: the step of a derivative, far above rounding
_FAR = 3.0  # standard deviations of a mode by which one step may move it


@dataclass(frozen=True)
class Forward:
    """What is known about the way from an earlier to a later time.

    Args:
        misfit: ``F(x) + b - x_t`` in the moving channels, of the moving channels ``x`` of earlier states, and ``x_t``.
        noise: Power ``R`` of what it adds in each mode, ``(channels, *modes)``.
        mean: Mean ``mu`` of earlier states, ``(channels, *space)``.
        prior: Power ``P`` of earlier states in each mode, ``(channels, *modes)``.
        basis: Orthonormal fields ``E`` of the uncertain modes, ``(count, channels, *space)``.
    """

    misfit: Callable[[Tensor, Tensor], Tensor]
    noise: Tensor
    mean: Tensor
    prior: Tensor
    basis: Tensor


def mode_basis(
    free: Float[Tensor, "channels *modes"], space: tuple[int, ...]
) -> Float[Tensor, "count channels *space"]:
    """Return orthonormal real fields that span the modes of a mask.

    Args:
        free: 1 for modes that count, 0 for others.
        space: Grid points along each axis.

    Returns:
        One field for each sine and cosine.

    Example:
        >>> mode_basis(torch.tensor([[0.0, 1.0, 0.0]]), (4,)).shape
        torch.Size([2, 1, 4])
    """
    places = free.nonzero()
    unit = torch.zeros(2 * len(places), *free.shape, dtype=torch.complex64, device=free.device)
    for i, place in enumerate(places.tolist()):
        unit[(2 * i, *place)], unit[(2 * i + 1, *place)] = 1.0, 1.0j
    fields = inverse_fourier(unit, space).flatten(1).double()
    # Modes that are their own conjugates, or whose conjugate is listed too, give the same field twice or none.
    left, size, _ = torch.linalg.svd(fields.T, full_matrices=False)
    kept = left[:, size > 1e-4 * size.max()] if len(size) else left
    return kept.T.reshape(-1, len(free), *space).float()


@torch.no_grad()
def laplace_noise(
    forward: Forward,
    mean: Float[Tensor, "batch channels *space"],
    later: Float[Tensor, "batch *state"],
    draws: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch draws channels *space"]:
    """Draw noise with the correlations of Laplace's approximation, and unit variance at every point.

    Args:
        forward: The physics between the two times.
        mean: Learned means of the earlier states.
        later: Later states.
        draws: Draws for each state.
        generator: Source of the noise, on the device of ``mean``.

    Returns:
        Noise for each draw; where the physics fails, it is not finite.
    """
    E = forward.basis.flatten(1)
    prior = _mode_powers(forward.prior, forward.basis)
    c = (mean - forward.mean).flatten(1) @ E.T
    rest = mean.flatten(1) - c @ E
    for step in range(_STEPS + 1):
        start = (rest + c @ E).reshape(mean.shape)
        gap, J = _linearised(forward, start, later, prior)
        H = (J.mT @ J + torch.diag(1 / prior)).double()
        if step == _STEPS:
            break
        slope = (J.mT @ gap[..., None])[..., 0] + c / prior
        move = torch.linalg.solve(H, slope.double()).to(c)
        far = _FAR * prior.sqrt()
        c = c - torch.maximum(torch.minimum(move, far), -far)
    root = torch.linalg.cholesky(torch.linalg.inv(H)).to(c)
    z = torch.randn(len(mean), draws, len(E), generator=generator, dtype=mean.dtype, device=mean.device)
    noise = z @ root.mT @ E
    deviation = (root.mT @ E).square().sum(1).sqrt()
    out = noise / deviation[:, None].clamp(min=torch.finfo(noise.dtype).tiny)
    return out.reshape(len(mean), draws, *mean.shape[1:])


def _linearised(forward: Forward, start: Tensor, later: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """``R^(-1/2) (F(start) + b - x_t)``, and its derivative with respect to every mode."""
    count, step = len(forward.basis), _DIFFERENCE * prior.sqrt()
    moved = start[:, None] + step.reshape(-1, *[1] * (start.ndim - 1)) * forward.basis
    every = torch.cat([start[:, None], moved], dim=1)
    context = later[:, None].expand(-1, count + 1, *later.shape[1:])
    gap = forward.misfit(every.flatten(0, 1), context.flatten(0, 1))
    white = _white(forward, gap).unflatten(0, (len(start), count + 1))
    return white[:, 0], ((white[:, 1:] - white[:, :1]) / step[:, None]).mT


def _white(forward: Forward, gap: Tensor) -> Tensor:
    """Misfits in units of the noise: real and imaginary parts of all modes, as often as they count."""
    parts = torch.view_as_real(fourier(gap) / forward.noise.sqrt() * multiplicity(gap).sqrt())
    return parts.flatten(1)


def _mode_powers(power: Tensor, basis: Tensor) -> Tensor:
    """Variance of the coefficient of each basis field."""
    weight = fourier(basis).abs().square() * multiplicity(basis)
    return (weight * power).flatten(1).sum(1)
