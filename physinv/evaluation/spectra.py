"""Spectra of periodic fields, their error in a reconstruction, and the spectrum of an ensemble's spread.

Fields are ``(batch, channels, *space)``, one to three space axes of physical length 2 pi each: wave numbers k are
vectors of integers.  NumPy's arrays do as well as tensors.  Shell j holds the modes with ``j <= |k| < j + 1``.
"""

from __future__ import annotations

__all__ = ["EnsembleSpectra", "ensemble_spectra", "radial_spectrum", "spectral_error"]

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Numbers
from physinv.equations.fourier import full_fourier, squared_wavenumbers
from physinv.evaluation.ensembles import check_finite, check_pair, ensemble, numbers


def spectral_error(estimate: Numbers, truth: Numbers) -> Float[Tensor, ""]:
    """Return the error of log spectra, ``mean_n mean_j |ln P_j(e_n) - ln P_j(t_n)|``.

    ``P_j(u)`` is the mean over shell j of ``|Re ifft u|``: amplitudes, not powers.  Shells are j = 1 ... min(10,
    n/2 - 1) with the shortest space axis n; the average is over fields, channels and shells.

    Args:
        estimate: One field for each truth.
        truth: The true fields.

    Returns:
        A scalar.  Two independent 32 x 32 Gaussian random fields with power |k|^-4 differ by .24; the posterior mean of
        the heat equation, far too smooth, by 5.76.  It is computed in float64, but a field *stored* in float32 has
        noise of about 1e-9 per mode, which flatters very smooth estimates.  A field with an empty shell has infinity.

    Raises:
        ValueError: If the shapes differ, a number is not finite, or an axis has fewer than 4 points.

    References:
        Holzschuh, Vegetti and Thuerey (2023), Solving inverse physics problems with score matching, section 3.2.
    """
    estimate, truth = check_pair(estimate, truth)
    check_finite(estimate=estimate, truth=truth)
    last = min(10, min(_space(truth, "truth")) // 2 - 1)
    if last < 1:
        raise ValueError(f"`truth` must have at least 4 points along each space axis, got {tuple(truth.shape)}.")
    e, t = (_shell_means(_modes(u).real.abs())[1][..., 1 : last + 1].log() for u in (estimate, truth))
    return (e - t).abs().mean()


def radial_spectrum(field: Numbers) -> tuple[Float[Tensor, " shells"], Float[Tensor, "batch channels shells"]]:
    """Return the power spectrum of fields by shells of wave numbers.

    Args:
        field: Fields of 1 to 3 space axes.

    Returns:
        Mean ``|k|`` of the shells 0 ... n/2, n the shortest space axis, and the mean power ``|u_k|^2`` in each, in
        float64, with ``u_k = 1/N sum_x u(x) e^{-ikx}``.  Over *all* modes ``sum_k |u_k|^2 = mean_x u(x)^2`` (Parseval).

    Raises:
        ValueError: If the fields do not have 1 to 3 space axes, or a number is not finite.
    """
    field = numbers(field, "field")
    check_finite(field=field)
    k, power = _shell_means(_modes(field).abs().square())
    last = min(_space(field)) // 2
    return k[: last + 1], power[..., : last + 1]


class EnsembleSpectra(NamedTuple):
    """Mean power over the batch in each shell, as :func:`ensemble_spectra` returns it.

    Attributes:
        truth: Power of the truths.
        samples: Power of the members.
        mean: Power of the ensemble means.
        spread: Power of the members' deviations from their mean.
        error: Power of the errors of the ensemble means.
    """

    truth: Float[Tensor, "channels shells"]
    samples: Float[Tensor, "channels shells"]
    mean: Float[Tensor, "channels shells"]
    spread: Float[Tensor, "channels shells"]
    error: Float[Tensor, "channels shells"]


def ensemble_spectra(samples: Numbers, truth: Numbers) -> tuple[Float[Tensor, " shells"], EnsembleSpectra]:
    """Return the power spectra of truth, members, ensemble mean, spread and error, averaged over the batch.

        spread = K/(K - 1) mean_i P(x_i - mean),    error = K/(K + 1) P(y - mean),    K members x_i, mean over i

    Both estimate the posterior's variance per mode without bias if truth and members are exchangeable, so
    ``spread = error`` shell by shell for a calibrated ensemble.  Below it, the ensemble is too narrow or biased at that
    scale.

    Args:
        samples: K >= 2 fields for each truth.
        truth: The true fields.

    Returns:
        Mean ``|k|`` of the shells, and the spectra.

    Raises:
        ValueError: If the shapes do not match, there are fewer than 2 members, or a number is not finite.

    References:
        Leutbecher and Palmer (2008), Ensemble forecasting.
    """
    samples, truth = ensemble(samples, truth, least=2)
    _space(truth, "truth")
    count, mean = samples.shape[1], samples.mean(dim=1)
    k, real = radial_spectrum(truth)

    def power(field: Tensor) -> Tensor:
        return radial_spectrum(field)[1].mean(dim=0)

    return k, EnsembleSpectra(
        truth=real.mean(dim=0),
        samples=power(samples.flatten(0, 1)),
        mean=power(mean),
        spread=count / (count - 1) * power((samples - mean[:, None]).flatten(0, 1)),
        error=count / (count + 1) * power(truth - mean),
    )


def _space(field: Tensor, name: str = "field") -> tuple[int, ...]:
    if not 3 <= field.ndim <= 5 or 0 in field.shape:
        raise ValueError(
            f"`{name}` must have shape (batch, channels, *space) with 1 to 3 space axes, got {tuple(field.shape)}."
        )
    return tuple(field.shape[2:])


def _modes(field: Tensor) -> Tensor:
    _space(field)
    return full_fourier(field.double()) / math.sqrt(math.prod(field.shape[2:]))


def _shell_means(modes: Tensor) -> tuple[Tensor, Tensor]:
    """Means over each shell of ``|k|`` and of ``modes`` ``(..., *space)``: ``(shells,)`` and ``(..., shells)``."""
    k = squared_wavenumbers(tuple(modes.shape[2:]), device=modes.device, full=True).sqrt().flatten()
    shell = (k + 1e-9).long()  # sqrt rounds correctly, so integer |k| are exact; the margin costs nothing
    count = torch.bincount(shell).to(k.dtype)
    total = modes.new_zeros(*modes.shape[:2], len(count)).index_add_(2, shell, modes.flatten(2))
    return torch.bincount(shell, weights=k) / count, total / count
