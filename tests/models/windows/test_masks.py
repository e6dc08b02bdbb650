"""Masks of entries: none is empty, each kind occurs, and time has no direction in their law."""

import torch

from physinv.models.windows.masks import draw_masks

N = 20_000


def test_beginnings_are_as_likely_as_ends(generator):
    """Of three frames: the first one or two against the last one or two, in five standard errors of the difference."""
    masks = draw_masks(N, 3, 1, generator=generator, device=torch.device("cpu"))[:, :, 0]
    assert bool(masks.any(1).all())
    for first in ((True, False, False), (True, True, False)):
        there, reverse = ((masks == torch.tensor(m)).all(1).sum().item() for m in (first, first[::-1]))
        assert there > N / 40  # blocks alone are a fifth of the masks, of four patterns
        assert abs(there - reverse) < 5 * (there + reverse) ** 0.5


def test_frames_places_and_single_entries_are_hidden(generator):
    masks = draw_masks(N, 3, 4, generator=generator, device=torch.device("cpu"))
    whole = (masks == masks[:, :, :1]).all((1, 2)), (masks == masks[:, :1]).all((1, 2))
    for kind in (*whole, ~whole[0] & ~whole[1]):
        assert float(kind.double().mean()) > 0.15  # at least a fifth, less what falls together by chance
