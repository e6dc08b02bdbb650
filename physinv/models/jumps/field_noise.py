"""The noise of draws of fields: deviation times stationary noise, with the spectrum of the errors that were made."""

from __future__ import annotations

__all__ = ["COPIES", "FieldNoise", "best_factor", "filter_modes", "noise_spectrum"]

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from physinv.equations.fourier import filtered, fourier
from physinv.laws.wiener import mirrored

_FACTORS = (0.5, 2.0)  # of the deviation, at least and at most
COPIES = 16
"""Draws for each error that noise is fitted to."""


class FieldNoise(nn.Module):
    """Noise of fields, for each jump of a table: ``factor P(deviation xi)`` with stationary noise ``xi``.

    ``xi`` has unit variance and the spectrum of errors in units of their deviation.  ``P`` leaves out the modes that
    are known, into which the product with a deviation that varies in space moves power.

    Args:
        jumps: Number of jumps.
        channels: Moving channels.
        periodic: Whether the box is periodic; noise between walls is cut from a periodic box of twice the size.
        modes: Shape of the modes of such a box.
    """

    spectrum: Float[Tensor, "jumps channels *modes"]
    factor: Float[Tensor, "jumps channels *one"]

    def __init__(self, jumps: int, channels: int, periodic: bool, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.periodic = periodic
        self.register_buffer("spectrum", torch.ones(jumps, channels, *modes))
        self.register_buffer("factor", torch.ones(jumps, channels, *[1] * len(modes)))

    def draw(
        self,
        deviation: Float[Tensor, "batch channels *space"],
        free: Float[Tensor, "channels *modes"],
        jump: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Draw noise.

        Args:
            deviation: Standard deviation at every point.
            free: 1 in modes that are not known, 0 in those that are.
            jump: Number of the jump.
            generator: Source of randomness, on the device of ``deviation``.

        Returns:
            Noise of these deviations.
        """
        space = deviation.shape[2:] if self.periodic else tuple(2 * n for n in deviation.shape[2:])
        z = torch.randn(
            (*deviation.shape[:2], *space), generator=generator, dtype=deviation.dtype, device=deviation.device
        )
        xi = _cut(filtered(z, self.spectrum[jump].sqrt()), deviation)
        return self.factor[jump] * filter_modes(deviation * xi, free, self.periodic)

    def fit(
        self,
        gap: Float[Tensor, "n channels *space"],
        deviation: Float[Tensor, "n channels *space"],
        free: Float[Tensor, "channels *modes"],
        jump: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        """Fit spectrum and factor to errors.

        Args:
            gap: Errors of means.
            deviation: Their deviations, as they were predicted.
            free: 1 in modes that are not known.
            jump: Number of the jump.
            generator: Source of the draws that the errors are compared with.
        """
        self.spectrum[jump] = noise_spectrum(gap / deviation, self.periodic)
        self.factor[jump] = 1.0

        wide = deviation.repeat(COPIES, *[1] * (gap.ndim - 1))
        drawn = self.draw(wide, free, jump, generator=generator).reshape(COPIES, *gap.shape)
        self.factor[jump] = best_factor(drawn, gap)


def best_factor(drawn: Float[Tensor, "copies n channels *space"], gap: Float[Tensor, "n channels *space"]) -> Tensor:
    """Find the factors with which noise is as large as errors, by the means of their moduli.

    Args:
        drawn: Draws of the noise for each error.
        gap: Errors of means.

    Returns:
        One factor for each channel, ``(channels, *one)``.
    """
    size, noise = (x.abs().movedim(x.ndim - gap.ndim + 1, 0).flatten(1).mean(1) for x in (gap, drawn))
    factor = size / noise.clamp(min=torch.finfo(noise.dtype).tiny)
    return factor.clamp(*_FACTORS).reshape(-1, *[1] * (gap.ndim - 2))


def noise_spectrum(z: Float[Tensor, "n channels *space"], periodic: bool) -> Float[Tensor, "channels *modes"]:
    """Estimate the spectrum of stationary noise of unit variance from examples.

    With walls it is the spectrum of the autocorrelation, which fades out linearly to the distance of the walls, where
    few pairs of points are left to estimate it from, on a periodic box of twice the size.

    Args:
        z: Examples, of mean 0 and about unit variance.
        periodic: Whether they are periodic.

    Returns:
        Power of every mode; white noise has 1, and a channel that is 0 in all examples 0.

    Example:
        >>> noise_spectrum(torch.tensor([[[1.0, -1.0, 1.0, -1.0]]]), True)  # only the shortest wave
        tensor([[0., 0., 4.]])
    """
    if not periodic:  # zeros beyond the walls: then the periodic autocorrelation is that of the field times a triangle
        z = functional.pad(z, [v for n in reversed(z.shape[2:]) for v in (0, n)])
    power = fourier(z).abs().square().mean(0)
    points = z[0, 0].numel()
    total = z.square().mean(0).flatten(1).sum(1)
    share = torch.where(total > points * torch.finfo(z.dtype).tiny, points / total, torch.zeros_like(total))
    return power * share.reshape(-1, *[1] * (z.ndim - 2))


def filter_modes(
    x: Float[Tensor, "batch channels *space"], gain: Tensor, periodic: bool
) -> Float[Tensor, "batch channels *space"]:
    """Multiply every mode of fields by a gain; fields with walls are continued by their mirror image.

    Args:
        x: Fields.
        gain: Factors, broadcastable against the modes of ``x``, or of twice the points along each axis.
        periodic: Whether the box is periodic.

    Returns:
        Fields of the shape of ``x``.
    """
    return _cut(filtered(mirrored(x, periodic), gain), x)


def _cut(x: Tensor, like: Tensor) -> Tensor:
    """The first points along every axis, as many as another field has."""
    for axis, n in enumerate(like.shape[2:], 2):
        x = x.narrow(axis, 0, n)
    return x
