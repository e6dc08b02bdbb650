"""Reference laws ``q_t``, fitted to the data's moments, around which a score network learns the remainder.

The score model is ``s(x, t) = grad log q_t(x) + lift(network(features(x, t), t))``.  A reference supplies the three
parts: its score, scale-free features of the state for the network, and the unit in which the network's output counts.
This is to physical marginals what the preconditioning of Karras et al. (2022) is to noised images: with the right
reference nothing is left to learn, and otherwise the network sees inputs and targets of order one.

``LinearReference``    Gaussian, moments of ``x_0`` carried exactly through a linear SDE (fields and stiff modes)
``SmootherReference``  how each state follows from the next one, mode by mode (fields):
:mod:`physinv.models.references.smoother` ``SpectralReference``  Gaussian, mean and power spectrum of the data at every
stored time (periodic fields, no dynamics) ``MixtureReference``   Gaussian mixture, one component per cluster of starts
(vectors): :mod:`physinv.models.references.mixture` ``LowRankReference``   Gaussian, low rank plus diagonal (large
vectors): :mod:`physinv.models.references.low_rank` ``ParticleReference``  Gaussian, exchangeable within each species
(particles): :mod:`physinv.models.references.particles`
"""

from __future__ import annotations

__all__ = ["LinearReference", "ReferenceLaw", "SpectralReference", "between"]

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.fourier import filtered, fourier, multiplicity
from physinv.equations.sde import Linear, match
from physinv.laws.gaussian import gaussian_log_prob


class ReferenceLaw(nn.Module, ABC):
    """A reference law ``q_t`` for states of one shape; ``channels_in`` and ``channels_out`` size the network."""

    channels_in: int
    channels_out: int

    @abstractmethod
    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """``grad log q_t(x)``."""

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """``log q_t(x)``, normalised."""

    @abstractmethod
    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Inputs of order one for the network, ``(batch, channels_in, *space)``."""

    @abstractmethod
    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Turn the network's output, of order one, into a contribution to the score."""


class Spectrum(NamedTuple):
    """Per mode: signal gain ``a`` (prior to now), prior power, accumulated noise ``v``, power now."""

    a: Tensor
    prior: Tensor
    v: Tensor
    now: Tensor


class LinearReference(ReferenceLaw):
    """``N(a mean0, a^2 power0 + v)`` mode by mode, for a :class:`~physinv.equations.sde.Linear` SDE.

    ``mean0 (*state)`` and ``power0 (*modes)``: mean and power per orthonormal mode of the data's initial states.
    The network's output counts in units of ``sqrt(a^2 S_0 / (S v))``: by Tweedie's formula this is the size that
    the score's non-Gaussian part can have when ``E[x_0 | x_t]`` is off the Wiener estimate by its standard error.
    Modes that have forgotten the prior therefore stay exactly Gaussian, whatever the network says.
    """

    mean0: Tensor
    power0: Tensor

    def __init__(self, sde: Linear, mean0: Float[Tensor, "*state"], power0: Tensor) -> None:
        super().__init__()
        self.sde = sde
        self.channels_in, self.channels_out = 2 * mean0.shape[0], mean0.shape[0]
        self.register_buffer("mean0", mean0)
        self.register_buffer("power0", power0)

    def spectrum(self, t: Float[Tensor, " batch"], like: Float[Tensor, "batch *state"]) -> Spectrum:
        """Gains and powers at times ``t``, each ``(batch, *modes)``."""
        a, v = self.sde.decay(t, like), self.sde.variance(t, like)
        now = (a**2 * self.power0 + v).clamp(min=torch.finfo(like.dtype).tiny)
        return Spectrum(a, self.power0, v, now)

    def centred(self, x: Tensor, t: Tensor) -> tuple[Tensor, Spectrum]:
        """Modes of ``x`` minus those of the mean at ``t``, and the spectrum there."""
        s = self.spectrum(t, x)
        return self.sde.modes(x) - s.a * self.sde.modes(self.mean0[None]), s

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        y, s = self.centred(x, t)
        return -self.sde.unmodes(y / s.now, x)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        y, s = self.centred(x, t)
        return gaussian_log_prob(y, s.now, x)

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """The state and its Wiener estimate ``E_q[x_0 | x_t]``, each over its own root mean square."""
        y, s = self.centred(x, t)
        wiener = s.a * s.prior / s.now
        now = self.sde.unmodes(y, x) / _rms(s.now, x, paired=y.is_complex())
        estimate = self.sde.unmodes(wiener * y, x) / _rms(wiener**2 * s.now, x, paired=y.is_complex())
        return torch.cat([now, estimate], dim=1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        s = self.spectrum(t, x)
        tiny = torch.finfo(x.dtype).tiny
        return self.sde.unmodes((s.a**2 * s.prior / s.now / s.v.clamp(min=tiny)).sqrt() * self.sde.modes(out), x)


class SpectralReference(ReferenceLaw):
    """``N(mean_t, power_t)`` in Fourier space, interpolated linearly between the stored ``times``.

    ``mean (time, *state)``, ``power (time, *modes)``.  Features are the state over its root mean square and the
    whitened state; the network's output counts in units of ``power^(-1/2)``.
    """

    times: Tensor
    mean: Tensor
    power: Tensor

    def __init__(self, times: Float[Tensor, " time"], mean: Float[Tensor, "time *state"], power: Tensor) -> None:
        super().__init__()
        self.channels_in, self.channels_out = 2 * mean.shape[1], mean.shape[1]
        self.register_buffer("times", times)
        self.register_buffer("mean", mean)
        self.register_buffer("power", power)

    def _at(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        power = between(self.times, self.power, t).clamp(min=torch.finfo(x.dtype).tiny)
        return x - between(self.times, self.mean, t), power

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        centred, power = self._at(t, x)
        return -filtered(centred, 1 / power)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        centred, power = self._at(t, x)
        return gaussian_log_prob(fourier(centred), power, x)

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        centred, power = self._at(t, x)
        return torch.cat([centred / _rms(power, x), filtered(centred, power.rsqrt())], dim=1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        return filtered(out, self._at(t, x)[1].rsqrt())


def _rms(power: Tensor, like: Tensor, *, paired: bool = True) -> Tensor:
    """Root mean square over space of fields with ``power`` per orthonormal mode, ``(batch, channels, 1, ...)``.

    ``paired``: modes of a real FFT, some of which stand for two.
    """
    if like.ndim > 2:
        power = power * (multiplicity(like) if paired else 1) / like[0, 0].numel()
        power = power.sum(dim=tuple(range(2, power.ndim)), keepdim=True)
    else:
        power = power.mean(dim=1, keepdim=True)
    return power.clamp(min=torch.finfo(power.dtype).tiny).sqrt()


def between(times: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """Linear interpolation of ``table (time, ...)`` at ``t (batch,)``; constant beyond the ends."""
    i = torch.searchsorted(times, t.to(times.dtype).contiguous()).clamp(1, len(times) - 1)
    w = ((t - times[i - 1]) / (times[i] - times[i - 1])).clamp(0, 1)
    w = match(w, table[i])
    return (1 - w) * table[i - 1] + w * table[i]
