"""Patches are cut where they are said to be, and a classifier finds speckle that hides in the law of single points."""

import pytest
import torch

from physinv.evaluation.patches import draw_patches, patch_c2st, patch_size


@pytest.mark.parametrize("space", [(20,), (12, 9), (6, 5, 4)])
def test_patches_are_parts_of_their_fields(space, generator):
    field = torch.arange(1.0, 1.0 + torch.Size(space).numel()).reshape(1, 1, *space).repeat(50, 2, *[1] * len(space))
    field[:, 1] *= -1
    patches = draw_patches(field, generator=generator)
    assert patches.shape == (50, 2, *patch_size(space))
    assert torch.equal(patches[:, 0], -patches[:, 1])
    strides = torch.tensor(field[0, 0].stride())
    for axis, stride in enumerate(strides.tolist(), start=1):
        assert (patches[:, 0].diff(dim=axis) == stride).all()
    if len(space) == 1:
        assert len(patches[:, 0, 0].unique()) == 5  # all places, and only those inside


def test_equal_laws_cannot_be_told_apart_and_speckle_can(generator):
    """Signs of smooth waves with random phases, against the same plus white noise of 30 %."""
    n, x = 100, torch.arange(32) * (2 * torch.pi / 32)

    def fields():
        phase = 2 * torch.pi * torch.rand((2, n, 1, 1, 1), generator=generator)
        return ((x[:, None] + phase[0]).sin() + (x + phase[1]).sin()).sign()

    truth, same = fields(), fields()
    accuracy, error = patch_c2st(same, truth, generator=generator)
    assert error == pytest.approx(0.5 / 200**0.5)
    assert abs(accuracy - 0.5) < 4 * error
    speckled = same + 0.3 * torch.randn(same.shape, generator=generator)
    assert patch_c2st(speckled, truth, generator=generator)[0] > 0.9
