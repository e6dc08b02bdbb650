"""The reference for nonlinear physics: how a state follows from the next one, physics run backward and then smoothed.

Let ``b(x)`` be the state at the end of a stored interval taken back to its start by the physics alone; in modes where
that tells less about the start than ``x`` itself does, ``b`` is ``x``.  Mode by mode (Fourier coefficients of periodic
fields, components otherwise) a linear regression on the data gives

    E[x_s | x_t] = m_s + K (b(x_t) - m_b),    K = Cov(x_s, b) / S_b,    C = S_s - K^2 S_b,

the smoother of Rauch, Tung and Striebel (1965) with the physics' own backward map in the place of its inverse.  No gain
exceeds what the data show, ``K^2 S_b <= S_s``, and no mode of ``b`` or of the result exceeds twice the largest seen:
where the physics amplifies noise or blows up, that is taken back, and the reversal stays bounded whatever the physics
does.  Where it blows up at points (a reaction that saturates forward explodes backward), all modes stay small; so ``b``
is cut to the range of values of the states before, on intervals where it then tells more about them.
It is exact for linear physics with Gaussian data.
"""

from __future__ import annotations

__all__ = ["Basis", "SmootherReference", "Tables", "from_modes", "taken_back", "to_modes"]

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.fourier import fourier, inverse_fourier
from physinv.equations.sde import SDE, match
from physinv.laws.gaussian import gaussian_log_prob
from physinv.models.references.base import ReferenceLaw, between

Basis = Literal["fourier", "identity"]
_KNOWN = 1e-7  # share of a mode's variance below which the step is taken for deterministic
_HUGE = 1e15  # physics that got this far backward has blown up: squares and sums are to stay finite


class Tables(NamedTuple):
    """What :func:`~physinv.models.references.fit_smoother.fit_smoother` reads off the data, per stored time or per
    interval.

    ``mean (time, *state)``, ``power (time, *modes)``, ``reach (time, *modes)``: mean, variance and twice the largest
    modulus of the states' modes; the same of ``b``, ``(interval, ...)``; ``box (interval, 2, channels, *1)``: what the
    physics' values are cut to; ``gain``: K; ``trusted``: 1 where ``b`` is the physics, 0 where it is ``x``; ``left``:
    the share of C that remains once the network has had its say (1 before training, see
    :func:`~physinv.reversal.smoother_noise.calibrate`).
    """

    times: Tensor
    mean: Tensor
    power: Tensor
    reach: Tensor
    back_mean: Tensor
    back_power: Tensor
    back_reach: Tensor
    box: Tensor
    gain: Tensor
    trusted: Tensor
    left: Tensor


class SmootherReference(ReferenceLaw):
    """``N(mean_t, power_t)`` at the stored ``times``, and the smoother from each of them to the one before.

    Features are the state over its root mean square, its modes each over their own, and ``x - E[x_s | x]`` in units of
    ``C^(1/2)``.  The network's output counts in units of ``C^(1/2) (dt/t)^(1/2)`` of the step, the size that the
    correction has if all noise since 0 is still to be told from the signal; a second half of it is the logarithm of
    ``sigma``, the size of what the step can't know, in units of ``C^(1/2)``.
    """

    times: Tensor
    mean: Tensor
    power: Tensor
    reach: Tensor
    back_mean: Tensor
    back_power: Tensor
    back_reach: Tensor
    box: Tensor
    gain: Tensor
    trusted: Tensor
    left: Tensor
    unit: Tensor

    def __init__(self, sde: SDE, basis: Basis, tables: Tables) -> None:
        super().__init__()
        self.sde, self.basis = sde, basis
        channels = tables.mean.shape[1]
        self.channels_in, self.channels_out = 3 * channels, 2 * channels
        for name, table in tables._asdict().items():
            self.register_buffer(name, table)
        self.register_buffer("unit", self._unit(), persistent=False)
        self.physical = bool(tables.trusted.any())

    def modes(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        """Coefficients of ``x`` in the basis, orthonormal."""
        return to_modes(self.basis, x)

    def unmodes(self, y: Tensor, like: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Inverse of :meth:`modes`."""
        return from_modes(self.basis, y, tuple(like.shape[2:]))

    def interval(self, t: Float[Tensor, " batch"]) -> Tensor:
        """Number of the stored interval that ends at ``t`` (or in which ``t`` lies)."""
        return torch.searchsorted(self.times, (t * (1 - 1e-5)).contiguous()).clamp(1, len(self.times) - 1) - 1

    def smoothed(
        self,
        x: Float[Tensor, "batch *state"],
        t: Float[Tensor, " batch"],
        eta2: float = 1.0,
        back: Float[Tensor, "batch *state"] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Modes of the state one stored interval before ``t``: the reference's mean, and variance, of the reversal.

        With ``rho = K^2 S_b / S_s``: ``m_s + sign(K) (S_s/S_b)^(1/2) rho^(eta^2/2) (b - m_b)`` and
        ``S_s (1 - rho^(eta^2))``: for ``eta = 1`` the smoother, for ``eta = 0`` the transport of one Gaussian to the
        other.  ``back``: ``x`` taken back by the physics, where that is known already.
        """
        i = self.interval(t)
        b = self.modes(x)
        if self.physical:
            back = taken_back(self.sde, x, t, self.times[i + 1] - self.times[i]) if back is None else back
            b = torch.where(self.trusted[i], self.modes(boxed(back, self.box[i])), b)
        b = limited(b - self.modes(self.back_mean[i]), self.back_reach[i])
        K, before, after = self.gain[i], self.power[i], self.back_power[i]
        rho = (K**2 * after / before).clamp(max=1.0)
        factor = K if eta2 == 1 else K.sign() * (before / after).sqrt() * rho ** (eta2 / 2)
        variance = self.spread()[i] if eta2 == 1 else before * (1 - rho**eta2)
        return self.modes(self.mean[i]) + factor * b, variance

    def bounded(self, y: Tensor, t: Float[Tensor, " batch"]) -> Tensor:
        """Modes ``y`` of a state one stored interval before ``t``, kept within reach."""
        i = self.interval(t)
        mean = self.modes(self.mean[i])
        return mean + limited(y - mean, self.reach[i])

    def whiten(self, gap: Float[Tensor, "batch *state"], i: Tensor) -> Float[Tensor, "batch *state"]:
        """A difference of states at the start of interval ``i`` in units of its ``C^(1/2)``; 0 where C is 0."""
        return self.unmodes(_inverse_root(self.spread()[i]) * self.modes(gap), gap)

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return -self.unmodes(self.modes(x - between(self.times, self.mean, t)) / self._power(t), x)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return gaussian_log_prob(self.modes(x - between(self.times, self.mean, t)), self._power(t), x)

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        return self.features_of(x, t, self.smoothed(x, t)[0])

    def features_of(self, x: Float[Tensor, "batch *state"], t: Tensor, smoothed: Tensor) -> Tensor:
        """:meth:`features`, where the modes of ``E[x_s | x]`` are known already."""
        centred, power = x - between(self.times, self.mean, t), self._power(t)
        rms = power.mean(dim=tuple(range(2, power.ndim)), keepdim=True).sqrt()
        step = _inverse_root(self.spread()[self.interval(t)]) * (self.modes(x) - smoothed)
        parts = [centred / rms, self.unmodes(self.modes(centred) * power.rsqrt(), x), self.unmodes(step, x).asinh()]
        return torch.cat(parts, dim=1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        return self.unmodes(self.unit[self.interval(t)] * self.modes(out.chunk(2, dim=1)[0]), x)

    def alive(self, i: int) -> Tensor:
        """Which modes are uncertain at the start of interval ``i``, and have a power that is no mere floor."""
        power = self.power[i]
        return (self.spread()[i] > 0) & (3.9 * power <= self.reach[i] ** 2)  # the largest square is reach^2 / 4

    def _power(self, t: Tensor) -> Tensor:
        return between(self.times, self.power, t)

    def spread(self) -> Tensor:
        """``C (interval, *modes)``; 0 where the step is deterministic."""
        C = self.power[:-1] - self.gain**2 * self.back_power
        return torch.where(self.power[:-1] * _KNOWN < C, C, torch.zeros_like(C))

    def _unit(self) -> Tensor:
        """``C^(1/2) (dt/t)^(1/2) / q``: what the network adds to a step, as a score; 0 for modes without noise."""
        dt, end = self.times.diff(), self.times[1:]
        probe = torch.zeros_like(self.mean[1:])
        if self.basis == "identity":
            probe = probe + 1.0
        else:
            probe.flatten(2)[..., 0] = 1.0  # an impulse: all modes alike
        q = (self.modes(self.sde.apply_covariance(probe, self.times[:-1], end)) / self.modes(probe)).real
        noisy = q > 1e-12 * q.max()
        size = self.spread().sqrt() * match((dt / end).sqrt(), q)
        return torch.where(noisy, size / torch.where(noisy, q, torch.ones_like(q)), torch.zeros_like(q))


def to_modes(basis: Basis, x: Float[Tensor, "batch *state"]) -> Tensor:
    """Orthonormal coefficients of ``x (batch, channels, *space)``: of the real FFT over space, or ``x`` itself."""
    return x if basis == "identity" else fourier(x)


def from_modes(basis: Basis, y: Tensor, space: tuple[int, ...]) -> Float[Tensor, "batch *state"]:
    """Inverse of :func:`to_modes` for states over a grid of sides ``space``."""
    return y if basis == "identity" else inverse_fourier(y, space)


def taken_back(sde: SDE, x: Float[Tensor, "batch *state"], t: Tensor, dt: Tensor) -> Float[Tensor, "batch *state"]:
    """``dx/dt = f`` from ``t`` back to ``t - dt``, in ``sde.substeps`` steps; 0 where that came near infinity."""
    n = sde.substeps
    for j in range(n):
        x = sde.drift_flow(x, t - dt * (j / n), t - dt * ((j + 1) / n))
    return torch.where(x.abs() < _HUGE, x, torch.zeros_like(x))


def limited(y: Tensor, reach: Tensor) -> Tensor:
    """``y`` with every modulus cut to ``reach``, finite."""
    least = reach.clamp(min=torch.finfo(reach.dtype).tiny)
    return y * (reach / torch.maximum(y.abs(), least))


def boxed(x: Float[Tensor, "batch *state"], box: Tensor) -> Float[Tensor, "batch *state"]:
    """``x`` with every value cut to ``box ([batch], 2, channels, *1)``, lowest and highest."""
    low, high = box.unbind(-x.ndim)
    return x.clamp(low, high)


def _inverse_root(C: Tensor) -> Tensor:
    """``C^(-1/2)``, and 0 where C is 0."""
    return torch.where(C > 0, torch.where(C > 0, C, torch.ones_like(C)).rsqrt(), torch.zeros_like(C))
