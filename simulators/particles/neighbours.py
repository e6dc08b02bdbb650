"""Find pairs of particles that may interact: all pairs, or by a cell list, whose cost is linear in their number.

Both return, batched over trajectories, ``gaps (batch, n, m, d)`` from ``m`` candidates to each particle, the indices of
the candidates ``(batch, n, m)`` (or None: all particles in order), and which of them are real, ``(batch or 1, n, m)``.
"""

from __future__ import annotations

__all__ = ["Number", "Pairs", "all_pairs", "cell_pairs", "cells_per_side", "nearest_image"]

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Number = float | Tensor


class Pairs(NamedTuple):
    """Candidates for interaction of each particle; ``gaps`` point from the candidate to the particle."""

    gaps: Float[Tensor, "batch n m d"]
    who: Int64[Tensor, "batch n m"] | None
    real: Bool[Tensor, "#batch n m"]

    def take(self, values: Float[Tensor, "batch n"]) -> Float[Tensor, "batch #n m"]:
        """Return the values that belong to the candidates.

        Args:
            values: One number for each particle.
        """
        if self.who is None:
            return values[:, None]
        return values.gather(1, self.who.flatten(1)).view(self.who.shape)


def nearest_image(gaps: Float[Tensor, "*batch d"], box: Number | None) -> Float[Tensor, "*batch d"]:
    """Return the shortest of all periodic images of displacements.

    Args:
        gaps: Displacements, in units of length.
        box: Side of the periodic box; None: open space.
    """
    return gaps if box is None else gaps - box * (gaps.detach() / box).round()


def all_pairs(q: Float[Tensor, "batch n d"], box: Number | None) -> Pairs:
    """Pair every particle with every other, at a cost of ``n^2``.

    Args:
        q: Positions.
        box: Side of the periodic box; None: open space.

    Returns:
        The candidates of each particle.
    """
    gaps = nearest_image(q[:, :, None] - q[:, None], box)
    return Pairs(gaps, None, ~torch.eye(q.shape[1], dtype=torch.bool, device=q.device)[None])


def cells_per_side(reach: float, box: float | None, count: int, dimension: int) -> int:
    """Count the cells along one side of the table, none of them smaller than ``reach``.

    Args:
        reach: Range of the interaction, in units of length.
        box: Side of the periodic box; None: open space, wrapped around a torus of about one cell per particle.
        count: Number of particles.
        dimension: Dimension of space.

    Returns:
        Cells along one side.
    """
    if box is not None:
        return min(int(box / reach), max(3, math.ceil(math.pow(4 * count, 1 / dimension))))
    return max(3, math.ceil(math.pow(count, 1 / dimension)))


def cell_pairs(q: Float[Tensor, "batch n d"], box: Number | None, reach: Number, *, side: int, capacity: int) -> Pairs:
    """Find candidates in the cell of each particle and the cells around it.

    Every trajectory has ``side^d`` cells with room for ``capacity`` particles, in one table that is filled by sorting;
    ``side`` at least 3.  Where a cell overflows, the gaps of that trajectory are NaN: nothing is left out silently.
    Pairs beyond ``reach`` may be missing.

    Args:
        q: Positions.
        box: Side of the periodic box; None: open space.
        reach: Range of the interaction, in units of length.
        side: Cells along one side, at least 3.
        capacity: Particles for which a cell has room.

    Returns:
        The candidates of each particle.

    References:
        Hockney and Eastwood (1981), section 8-4.
    """
    batch, n, d = q.shape
    width = (box if box is not None else reach * side) / side
    place = (q.detach() / width).floor().long() % side
    weight = side ** torch.arange(d, device=q.device)
    total = side**d
    key = (place * weight).sum(-1)

    order = key.argsort(dim=1)
    ordered = key.gather(1, order)
    cells = torch.arange(total, device=q.device).expand(batch, total).contiguous()
    first = torch.searchsorted(ordered, cells)
    rank = torch.arange(n, device=q.device) - first.gather(1, ordered)
    slot = torch.where(rank < capacity, ordered * capacity + rank, total * capacity)
    table = order.new_full((batch, total * capacity + 1), n).scatter(1, slot, order)[:, :-1]
    table = table.view(batch, total, capacity)

    one = torch.arange(-1, 2, device=q.device)
    shifts = torch.stack(torch.meshgrid(*[one] * d, indexing="ij"), dim=-1).view(-1, d)
    around = (((place[:, :, None] + shifts) % side) * weight).sum(-1)
    index = table.gather(1, around.flatten(1)[..., None].expand(-1, -1, capacity)).view(batch, n, -1)
    real = (index < n) & (index != torch.arange(n, device=q.device)[:, None])
    index = index.clamp(max=n - 1)
    others = q.gather(1, index.flatten(1)[..., None].expand(-1, -1, d)).view(batch, n, -1, d)
    gaps = nearest_image(q[:, :, None] - others, box)
    overflow = (rank >= capacity).any(1)
    return Pairs(torch.where(overflow[:, None, None, None], torch.nan, gaps), index, real)
