"""Gaussian reference law of periodic fields without dynamics: mean and power spectrum at every stored time."""

from __future__ import annotations

__all__ = ["SpectralReference", "fit_spectra"]

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.laws.gaussian import gaussian_log_prob
from physinv.laws.observation import Covariance, diagonal
from physinv.models.references.base import ReferenceLaw, between
from physinv.models.references.linear import power_spectrum, root_mean_square
from physinv.processes.layout import StateLayout


class SpectralReference(ReferenceLaw):
    """The Gaussian reference law ``N(mean_t, power_t)`` in Fourier space, linear between the stored times.

    Features are the state over its root mean square and the whitened state; the network's output counts in units of
    ``power^(-1/2)``.

    Args:
        times: Stored times.
        mean: Means.
        power: Variance of each orthonormal mode of the real FFT, ``(time, *modes)``.
    """

    name: ClassVar[str] = "spectral"

    times: Tensor
    mean: Tensor
    power: Tensor

    def __init__(self, times: Float[Tensor, " time"], mean: Float[Tensor, "time *state"], power: Tensor) -> None:
        super().__init__()
        self.channels_in, self.channels_out = 2 * mean.shape[1], mean.shape[1]
        self.register_buffer("times", times)
        self.register_buffer("mean", mean)
        self.register_buffer("power", power)

    @classmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        """Tell whether the state is periodic."""
        return layout.periodic

    @classmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: int = 0) -> SpectralReference:
        """Fit mean and power spectrum at every stored time."""
        return fit_spectra(sde, data)

    def _at(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Centred states, and the variance of their modes."""
        power = between(self.times, self.power, t).clamp(min=torch.finfo(x.dtype).tiny)
        return x - between(self.times, self.mean, t), power

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        """Multiply each Fourier mode by a gain."""
        space = tuple(range(2, x.ndim))
        y = torch.fft.rfftn(x, dim=space, norm="ortho") * gain
        out: Tensor = torch.fft.irfftn(y, s=x.shape[2:], dim=space, norm="ortho")
        return out

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``-(y - m) / power``, mode by mode."""
        centred, power = self._at(t, x)
        return -self._filter(centred, 1 / power)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the log density ``log q_t(x)``, mode by mode."""
        centred, power = self._at(t, x)
        return gaussian_log_prob(torch.fft.rfftn(centred, dim=tuple(range(2, x.ndim)), norm="ortho"), power, x)

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Return the centred state over its root mean square, and the whitened state."""
        centred, power = self._at(t, x)
        return torch.cat([centred / root_mean_square(power, x), self._filter(centred, power.rsqrt())], dim=1)

    def mean_at(self, t: float) -> Float[Tensor, "1 *state"]:
        """Return the mean at one time."""
        return between(self.times, self.mean, self.times.new_full((1,), t))

    def covariance_at(self, t: float) -> Covariance:
        """Return the covariance, diagonal in Fourier modes."""
        space = tuple(range(2, self.mean.ndim))
        power = between(self.times, self.power, self.times.new_full((1,), t))

        def modes(x: Tensor) -> Tensor:
            y: Tensor = torch.fft.rfftn(x, dim=space, norm="ortho")
            return y

        def unmodes(y: Tensor, like: Tensor) -> Tensor:
            x: Tensor = torch.fft.irfftn(y, s=like.shape[2:], dim=space, norm="ortho")
            return x

        return diagonal(modes, unmodes, power.clamp(min=torch.finfo(power.dtype).tiny))

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Multiply each mode of the network's output by ``power^(-1/2)``."""
        return self._filter(out, self._at(t, x)[1].rsqrt())


def fit_spectra(sde: SDE, data: TrajectoryDataset) -> SpectralReference:
    """Fit mean and power spectrum of periodic fields at every stored time.

    Args:
        sde: The process whose symmetries multiply the data.
        data: Trajectories.
    """

    def modes(x: Tensor) -> Tensor:
        y: Tensor = torch.fft.rfftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")
        return y

    parts = [power_spectrum(modes, sde, data.states(i)) for i in range(len(data.times))]
    return SpectralReference(data.times.float(), *(torch.stack(table) for table in zip(*parts, strict=True)))
