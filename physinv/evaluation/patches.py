"""A two-sample test of small patches: do samples look like true states from close by?"""

from __future__ import annotations

__all__ = ["draw_patches", "patch_c2st", "patch_size"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import home_of
from physinv.evaluation.two_sample import c2st

_SIDE = {1: 16, 2: 8, 3: 4}  # points along each side of a patch, by the number of space axes
_WIDTH = 64  # hidden units of the classifier: an eighth of the time of 256, and no less able here


def patch_size(space: tuple[int, ...]) -> tuple[int, ...]:
    """Return the points of a patch along each axis: 16 on a line, 8 x 8 in the plane, 4 x 4 x 4 in space, or fewer.

    Args:
        space: Points of the field along each axis.

    Example:
        >>> patch_size((32, 32)), patch_size((12,))
        ((8, 8), (12,))
    """
    return tuple(min(_SIDE[len(space)], n) for n in space)


def draw_patches(
    x: Float[Tensor, "batch channels *space"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "batch channels *patch"]:
    """Draw one patch of each field, at a random place inside.

    Args:
        x: Fields of 1 to 3 space axes.
        generator: Source of the places.

    Returns:
        Patches, with all channels.
    """
    space = tuple(x.shape[2:])
    side = patch_size(space)
    home = home_of(generator, x)
    for axis, (n, width) in enumerate(zip(space, side, strict=True), start=2):
        first = torch.randint(n - width + 1, (len(x),), generator=generator, device=home).to(x.device)
        index = first[:, None] + torch.arange(width, device=x.device)
        shape = [len(x), *[width if a == axis else 1 for a in range(1, x.ndim)]]
        x = x.gather(axis, index.reshape(shape).expand(*x.shape[:axis], width, *x.shape[axis + 1 :]))
    return x


def patch_c2st(
    samples: Float[Tensor, "n channels *space"],
    truth: Float[Tensor, "n channels *space"],
    *,
    generator: torch.Generator | None = None,
) -> tuple[float, float]:
    """Return the held-out accuracy of a classifier that tells patches of samples from patches of truths.

    One patch is taken of each field, at a place of its own, so that patches are independent but for the pair of a
    sample and its truth, which is held out together.  The classifier (:func:`~physinv.evaluation.two_sample.c2st`, with
    64 hidden units) sees the patch and the absolute differences of its neighbouring points.

    Args:
        samples: One sample for each observation.
        truth: The true states.
        generator: Source of places, folds and first weights of the classifier.

    Returns:
        The accuracy, .5 for samples that cannot be told from truths, and its standard error then.

    Raises:
        ValueError: If the shapes differ, or there are too few fields for 5 folds.
    """
    ours, theirs = (_features(draw_patches(x, generator=generator)) for x in (samples, truth))
    accuracy = c2st(ours, theirs, paired=True, width=_WIDTH, generator=generator)
    return float(accuracy), math.sqrt(0.25 / (2 * len(truth)))


def _features(patch: Tensor) -> Tensor:
    """The numbers of patches, and the absolute differences of neighbours along each axis."""
    steps = [patch.diff(dim=axis).abs().flatten(1) for axis in range(2, patch.ndim)]
    return torch.cat([patch.flatten(1), *steps], dim=1)
