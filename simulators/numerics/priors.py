"""Initial states far from Gaussian that several fields share."""

from __future__ import annotations

__all__ = ["spots"]

import torch
from jaxtyping import Float
from torch import Tensor


def spots(
    z: Float[Tensor, "batch channel *space"],
    generator: torch.Generator | None = None,
    *,
    periodic: bool = True,
    most: int = 5,
) -> Float[Tensor, "batch channel *space"]:
    """Up to ``most`` Gaussian bumps of height +-1 to +-2 and width .04 to .1 of the box, in the place of ``z``.

    The k-th is present with probability ``1 - .8 (k - 1) / (most - 1)``: 1, .8, .6, .4, .2 for five.  In a ``periodic``
    box they wrap around and the spatial mean is removed; between walls neither.  Of ``z`` only shape, device and
    dtype count.
    """
    batch, dim, n = len(z), z.ndim - 2, z.shape[-1]
    draw = torch.rand((batch, most, dim + 3), generator=generator, device=z.device, dtype=z.dtype)
    x = (torch.arange(n, device=z.device, dtype=z.dtype) + (0.0 if periodic else 0.5)) / n
    width = 0.04 + 0.06 * draw[..., dim]
    field = torch.ones((batch, most, *[1] * dim), device=z.device, dtype=z.dtype)
    for axis in range(dim):
        gap = x - draw[..., axis, None]
        if periodic:
            gap = gap - gap.round()
        bump = torch.exp(-(gap**2) / (2 * width[..., None] ** 2))
        field = field * bump.reshape(batch, most, *[n if a == axis else 1 for a in range(dim)])
    present = draw[..., dim + 1] < torch.linspace(1.0, 0.2, most, device=z.device, dtype=z.dtype)
    u = 2 * draw[..., dim + 2] - 1
    amplitude = present * (u + u.sign())
    total = (amplitude.reshape(batch, most, *[1] * dim) * field).sum(1, keepdim=True)
    return total - total.mean(dim=tuple(range(1, z.ndim)), keepdim=True) if periodic else total
