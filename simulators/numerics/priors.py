"""Draw initial states of several kinds, for the fields that share them."""

from __future__ import annotations

__all__ = ["PRIORS", "RandomField", "scalar_field", "spots"]

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.processes.simulator import Simulator
from simulators.numerics.spectral import gaussian_field

PRIORS = ("gaussian", "spots", "edges")
"""Kinds of initial states that :func:`scalar_field` makes."""


class RandomField(Simulator):
    """A process whose initial states are fields made of white noise; a subclass says how in :meth:`from_noise`."""

    @abstractmethod
    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        """Return initial states made of white noise.

        Args:
            z: White noise of the shape of the states, unit variance per point.
            generator: Source of further random numbers.
        """

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        z = torch.randn((batch, *self.shape), generator=generator, device=device, dtype=dtype)
        return self.from_noise(z, generator)


def scalar_field(
    prior: str,
    z: Float[Tensor, "batch channel *space"],
    slope: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch channel *space"]:
    """Draw initial states of a scalar on a periodic box.

    ============  ==============================================================================================
    ``gaussian``  Gaussian random field with power ``|k|^-slope``, no mean, unit variance per point
    ``spots``     one to five Gaussian bumps of height 1 to 2 and either sign (:func:`spots`), spatial mean removed
    ``edges``     the sign of such a random field: plateaus at +-1 with sharp edges, far from Gaussian
    ============  ==============================================================================================

    Args:
        prior: One of :data:`PRIORS`.
        z: White noise, ``(batch, channel, *space)``; of ``spots`` only its shape, device and dtype count.
        slope: Exponent of the power spectrum.
        generator: Source of further random numbers, for ``spots``.

    Returns:
        Fields of the shape of ``z``.
    """
    if prior == "spots":
        return spots(z, generator)
    field = gaussian_field(z, slope)
    return torch.where(field > 0, 1.0, -1.0).to(z.dtype) if prior == "edges" else field


def spots(
    z: Float[Tensor, "batch channel *space"],
    generator: torch.Generator | None = None,
    *,
    periodic: bool = True,
    most: int = 5,
) -> Float[Tensor, "batch channel *space"]:
    """Draw Gaussian bumps of height +-1 to +-2 and width .04 to .1 of the box at random places.

    The k-th is present with probability ``1 - .8 (k - 1) / (most - 1)``: 1, .8, .6, .4, .2 for five.

    Args:
        z: A tensor of the shape, device and dtype in question, ``(batch, channel, *space)``.
        generator: Source of the random numbers.
        periodic: True: bumps wrap around, and the spatial mean is removed.  False: grid points are the centres of cells
            between walls, and neither is done.
        most: Largest number of bumps.

    Returns:
        Fields ``(batch, 1, *space)``.
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
