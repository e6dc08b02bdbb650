"""Frames: each state of a batch seen from elsewhere, through a symmetry of the process and shifted on its grid."""

from __future__ import annotations

__all__ = ["Frames", "choose", "moved", "turned"]

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physinv.equations.sde import SDE


class Frames(NamedTuple):
    """For each state the number of its image in ``sde.images``, and by how many points its grid is shifted."""

    image: Int[Tensor, " batch"]
    shift: Int[Tensor, "batch axes"]


def choose(sde: SDE, x: Float[Tensor, "batch *state"], stride: int, z: Float[Tensor, " batch"]) -> Frames:
    """A frame for every state of ``x``: all images and all shifts below ``stride`` along each axis, equally likely.

    The choice is made by ``z``, a standard normal number per state; for 0 it is the state as it is.
    """
    axes, images = x.ndim - 2, len(sde.images(x[:1]))
    count = images * stride**axes
    number = ((torch.special.ndtr(z) + 0.5) % 1 * count).long().clamp(max=count - 1)
    image, shifts = number // stride**axes, []
    for _ in range(axes):
        shifts.append(number % stride)
        number = number // stride
    return Frames(image, torch.stack(shifts, dim=1) if shifts else image.new_zeros(len(x), 0))


def turned(sde: SDE, x: Float[Tensor, "batch *state"], image: Tensor) -> Float[Tensor, "batch *state"]:
    """Each state replaced by its image with this number; again, and it is back (images are their own inverse)."""
    images = sde.images(x)
    return x if len(images) == 1 else torch.stack(images)[image, torch.arange(len(x), device=x.device)]


def moved(x: Float[Tensor, "batch channels *space"], shift: Tensor) -> Float[Tensor, "batch channels *space"]:
    """Each field shifted around its periodic grid by ``shift (batch, axes)`` points, as ``torch.roll`` does."""
    for axis, by in enumerate(shift.unbind(1), 2):
        n = x.shape[axis]
        source = (torch.arange(n, device=x.device) - by[:, None]) % n
        x = x.gather(axis, source.reshape(len(x), *[n if a == axis else 1 for a in range(1, x.ndim)]).expand_as(x))
    return x
