"""Random masks of trajectories: which entries are known."""

from __future__ import annotations

__all__ = ["draw_masks"]

import torch
from jaxtyping import Bool
from torch import Tensor

_KINDS = 5


def draw_masks(
    count: int, frames: int, numbers: int, *, generator: torch.Generator | None, device: torch.device
) -> Bool[Tensor, "count time number"]:
    """Draw which entries of trajectories are known.

    Each mask is, with equal chances: single entries; whole frames; all frames up to one (the rest is a forecast) or
    from one on; sensors that see all of the time; sensors that see some of the frames.  Shares are uniform.  At least
    one entry is known.

    Args:
        count: Number of masks.
        frames: Frames of a trajectory.
        numbers: Numbers of a state.
        generator: Source of randomness.
        device: Where they are needed.

    Returns:
        True where an entry is known.

    Example:
        >>> draw_masks(3, 5, 2, generator=None, device=torch.device("cpu")).flatten(1).any(1).all().item()
        True
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    kind = (uniform(count, 1, 1) * _KINDS).long()
    entries = uniform(count, frames, numbers) < uniform(count, 1, 1)
    at_times, at_places = (
        uniform(count, frames, 1) < uniform(count, 1, 1),
        uniform(count, 1, numbers) < uniform(count, 1, 1),
    )
    until = (uniform(count, 1, 1) * (frames - 1)).long() + 1
    place = torch.arange(frames, device=device)[:, None]
    block = torch.where(uniform(count, 1, 1) < 0.5, place < until, place >= until)
    choices = [entries, at_times, block, at_places, at_times & at_places]
    found = sum((kind == i) & choice for i, choice in enumerate(choices)).bool()  # type: ignore[union-attr]
    one = (uniform(count) * frames * numbers).long().clamp(max=frames * numbers - 1)
    empty = ~found.flatten(1).any(1)
    alone = torch.nn.functional.one_hot(one, frames * numbers).bool().reshape(found.shape)
    return found | (alone & empty[:, None, None])
