"""Transform states by symmetries of the process and by shifts of their periodic grid, one such *view* for each state.

A trained network obeys the symmetries of a process only approximately.  Samples of a step that transforms each state by
a random view, and the result back, have the symmetries exactly in law.
"""

from __future__ import annotations

__all__ = ["Views", "choose_views", "reflected", "shifted"]

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physinv.equations.sde import SDE


class Views(NamedTuple):
    """Hold one view, a symmetry and a shift, for each state of a batch.

    Attributes:
        image: Index of the symmetry in ``sde.images``; 0 is the state as it is.
        shift: Number of grid points by which the state is shifted along each space axis.
    """

    image: Int[Tensor, " batch"]
    shift: Int[Tensor, "batch axes"]


def choose_views(sde: SDE, x: Float[Tensor, "batch *state"], stride: int, z: Float[Tensor, " batch"]) -> Views:
    """Choose a view for every state: all symmetries and all shifts below a stride are equally likely.

    Args:
        sde: The process, whose symmetries :meth:`~physinv.equations.sde.SDE.images` gives.
        x: States, ``(batch, *state)``; fields have space axes after the channel.
        stride: Number of different shifts along each space axis: 0 to ``stride - 1`` grid points.
        z: One standard normal number for each state, which makes the choice; 0 chooses the state as it is.

    Returns:
        The views.

    Example:
        >>> from simulators.fields.heat import Heat
        >>> x = torch.zeros(2, 1, 8)
        >>> views = choose_views(Heat(size=8, dimension=1), x, 4, torch.tensor([0.0, -0.1]))
        >>> views.image.tolist(), views.shift.tolist()
        ([0, 1], [[0], [3]])
    """
    axes, images = x.ndim - 2, len(sde.images(x[:1]))
    count = images * stride**axes
    number = ((torch.special.ndtr(z) + 0.5) % 1 * count).long().clamp(max=count - 1)
    image, shifts = number // stride**axes, []
    for _ in range(axes):
        shifts.append(number % stride)
        number = number // stride
    return Views(image, torch.stack(shifts, dim=1) if shifts else image.new_zeros(len(x), 0))


def reflected(
    sde: SDE, x: Float[Tensor, "batch *state"], image: Int[Tensor, " batch"]
) -> Float[Tensor, "batch *state"]:
    """Apply a symmetry of the process to every state.

    Args:
        sde: The process, whose symmetries :meth:`~physinv.equations.sde.SDE.images` gives.
        x: States, ``(batch, *state)``.
        image: Index of the symmetry for each state.

    Returns:
        The images, ``(batch, *state)``.  Symmetries are their own inverses: applied twice they give ``x``.
    """
    images = sde.images(x)
    return x if len(images) == 1 else torch.stack(images)[image, torch.arange(len(x), device=x.device)]


def shifted(
    x: Float[Tensor, "batch channels *space"], shift: Int[Tensor, "batch axes"]
) -> Float[Tensor, "batch channels *space"]:
    """Shift every field around its periodic grid, as ``torch.roll`` does.

    Args:
        x: Fields, ``(batch, channels, *space)``.
        shift: Number of grid points along each space axis, for each field; any integer.

    Returns:
        Fields of the shape of ``x``.

    Example:
        >>> shifted(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[1]]))
        tensor([[[3., 1., 2.]]])
    """
    for axis, by in enumerate(shift.unbind(1), 2):
        n = x.shape[axis]
        source = (torch.arange(n, device=x.device) - by[:, None]) % n
        x = x.gather(axis, source.reshape(len(x), *[n if a == axis else 1 for a in range(1, x.ndim)]).expand_as(x))
    return x
