"""Reference law of nonlinear physics: the physics run backward over a stored interval, then smoothed by a regression.

Over the stored interval from s to t > s let ``b(x_t)`` be the state that the physics alone leads back to from ``x_t``.
Mode by mode (Fourier coefficients of periodic fields, components otherwise) a linear regression on the data gives

    E[x_s | x_t] = m_s + K (b(x_t) - m_b),    K = Cov(x_s, b) / S_b,    C = S_s - K^2 S_b,

the smoother of Rauch, Tung and Striebel (1965) with the physics' own backward map in place of its linear inverse.  It
is exact for linear physics with Gaussian data.

The step back stays bounded whatever the physics does.  (1) In modes where the physics backward explains less variance
of ``x_s`` than ``x_t`` itself does, ``b`` is ``x_t``.  (2) No gain exceeds what the data show, ``K^2 S_b <= S_s``.
(3) No mode of ``b`` or of the result exceeds twice the largest modulus in the data.  (4) Physics may also diverge at
single points, which leaves all modes small (a reaction that saturates forward explodes backward); so the values of
``b`` are clamped to the range of the earlier states, in intervals where ``b`` then explains more of them.

==========  =================  =================================================================================
Symbol      Buffer             Meaning
==========  =================  =================================================================================
x_t, x_s                       State at the end t and at the start s of a stored interval of length dt
b                              State at s that predicts ``x_s``: physics backward, or ``x_t``
m_s, S_s    mean, power        Mean of the state, variance of its modes
m_b, S_b    back_mean,         Mean of ``b``, variance of its modes
            back_power
K           gain               Regression coefficient of ``x_s`` on ``b``
C                              Variance of ``x_s`` that the regression leaves (:meth:`SmootherReference.spread`)
rho                            Share of the variance that it explains, ``K^2 S_b / S_s``
o                              First half of the network's output, the correction of the mean
sigma                          Standard deviation of the noise in units of ``C^(1/2)``, from the network's second half
L           noise_scale        Factor of the noise variance ``C sigma^2``, fitted to validation data
..          trusted            Modes in which ``b`` is the physics backward, not ``x_t``
..          reach,             Largest modulus allowed of a mode of the state (of ``b``) minus its mean: twice the
            back_reach         largest in the data
..          box                Lowest and highest values to which the physics backward is clamped, per channel
==========  =================  =================================================================================

References:
    Rauch, Tung and Striebel (1965), Maximum likelihood estimates of linear dynamic systems.
"""

from __future__ import annotations

__all__ = ["SmootherReference"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seed
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import match
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE
from physinv.laws.covariance import Covariance, diagonal
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.smoother_tables import (
    Basis,
    Tables,
    clamp_modulus,
    clamp_values,
    fit_smoother_tables,
    from_modes,
    physics_backward,
    to_modes,
)
from physinv.models.references.tables import between
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    from typing import Self

_TIME_TOLERANCE = 1e-3  # largest error of a step's times, in lengths of the stored interval
_MIN_RESIDUAL_SHARE = 1e-7  # C / S_s below which the step counts as deterministic: float32 resolves no less


class SmootherReference(ReferenceLaw):
    """The Gaussians ``N(mean_t, power_t)`` at the stored times, and the smoother from each time to the one before.

    Features are the state over its root mean square, its modes each over their own, and ``x - E[x_s | x]`` in units of
    ``C^(1/2)``.  The first half of the network's output counts in units of ``C^(1/2) (dt/t)^(1/2)``, the size of the
    correction if all noise since 0 is still to be separated from the signal.  The second half is ``log sigma``, the
    logarithm of the noise that the step adds, in units of ``C^(1/2)``.

    Args:
        sde: The physics.
        basis: ``"fourier"`` for periodic fields, ``"identity"`` where modes are components.
        tables: The fitted regression, one buffer for each table (see the table of the module).

    Attributes:
        unit: Unit of the network's output as a score, ``(interval, *modes)``.
        physical: Whether any mode uses the physics backward.
    """

    name: ClassVar[str] = "smoother"
    is_score: ClassVar[bool] = False

    def __init__(self, sde: SDE, basis: Basis, tables: Tables) -> None:
        super().__init__()
        self.sde, self.basis = sde, basis
        channels = tables.mean.shape[1]
        self.channels_in, self.channels_out = 3 * channels, 2 * channels
        for name, table in tables._asdict().items():
            self.register_buffer(name, table)
        self.register_buffer("unit", self._unit(), persistent=False)
        self.physical = bool(tables.trusted.any())

    @classmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        """Tell whether the state is a field."""
        return cls.name in layout.references

    @classmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0) -> Self:
        """Regress each stored state on the next one: by Fourier modes if the field is periodic, else by components."""
        return cls(sde, data.layout.basis, fit_smoother_tables(sde, data, data.layout.basis))

    @classmethod
    def from_tensors(cls, sde: SDE, tensors: Mapping[str, Tensor]) -> Self:
        """Make the law again from its buffers, whose shapes tell the basis."""
        basis: Basis = "identity" if tensors["power"].shape == tensors["mean"].shape else "fourier"
        return cls(sde, basis, Tables(*(tensors[name] for name in Tables._fields)))

    def modes(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        """Return the orthonormal coefficients of states in the basis.

        Args:
            x: States.
        """
        return to_modes(self.basis, x)

    def unmodes(self, y: Tensor, like: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the states with given coefficients: the inverse of :meth:`modes`.

        Args:
            y: Coefficients, ``(batch, *modes)``.
            like: States of the shape in question.
        """
        return from_modes(self.basis, y, tuple(like.shape[2:]))

    def interval(self, t: Float[Tensor, " batch"]) -> Tensor:
        """Return the index of the stored interval that ends at ``t`` (or contains it).

        Args:
            t: Times.
        """
        inside = (t * (1 - 1e-5)).to(self.times.dtype).contiguous()
        return torch.searchsorted(self.times, inside).clamp(1, len(self.times) - 1) - 1

    def smoothed(
        self,
        x: Float[Tensor, "batch *state"],
        t: Float[Tensor, " batch"],
        eta2: float = 1.0,
        back: Float[Tensor, "batch *state"] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the modes of the state one stored interval earlier.

            mean = m_s + sign(K) (S_s/S_b)^(1/2) rho^(eta^2/2) (b - m_b),    variance = S_s (1 - rho^(eta^2))

        For ``eta = 1`` this is the smoother, for ``eta = 0`` the map that transports one Gaussian to the other.

        Args:
            x: States ``x_t``.
            t: Ends of stored intervals.
            eta2: ``eta^2`` of the reverse process.
            back: ``x`` taken backward by the physics, if it was computed before.

        Returns:
            Mean ``(batch, *modes)`` and variance ``(batch, *modes)``.
        """
        i = self.interval(t)
        b = self.modes(x)
        if self.physical:
            back = physics_backward(self.sde, x, t, self.times[i + 1] - self.times[i]) if back is None else back
            b = torch.where(self.trusted[i], self.modes(clamp_values(back, self.box[i])), b)
        b = clamp_modulus(b - self.modes(self.back_mean[i]), self.back_reach[i])
        K, before, after = self.gain[i], self.power[i], self.back_power[i]
        rho = (K**2 * after / before).clamp(max=1.0)
        factor = K if eta2 == 1 else K.sign() * (before / after).sqrt() * rho ** (eta2 / 2)
        variance = self.spread()[i] if eta2 == 1 else before * (1 - rho**eta2)
        return self.modes(self.mean[i]) + factor * b, variance

    def bounded(self, y: Tensor, t: Float[Tensor, " batch"]) -> Tensor:
        """Limit the modes of a state one stored interval before ``t`` to their reach.

        Args:
            y: Coefficients of the earlier state, ``(batch, *modes)``.
            t: Ends of stored intervals.

        Returns:
            Coefficients ``(batch, *modes)``, none of which exceeds its reach.
        """
        i = self.interval(t)
        mean = self.modes(self.mean[i])
        return mean + clamp_modulus(y - mean, self.reach[i])

    def whiten(self, gap: Float[Tensor, "batch *state"], i: Tensor) -> Float[Tensor, "batch *state"]:
        """Return differences of states at the start of an interval in units of ``C^(1/2)``; 0 in modes where C is 0.

        Args:
            gap: Differences of states.
            i: Index of the interval, ``(batch,)``.
        """
        return self.unmodes(_inverse_root(self.spread()[i]) * self.modes(gap), gap)

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score of ``N(mean_t, power_t)``."""
        return -self.unmodes(self.modes(x - between(self.times, self.mean, t)) / self._power(t), x)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the log density of ``N(mean_t, power_t)``."""
        return gaussian_log_prob(self.modes(x - between(self.times, self.mean, t)), self._power(t), x)

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Return the scaled state, the whitened state, and ``x - E[x_s | x]`` in units of ``C^(1/2)``, the last through
        asinh.
        """
        return self.features_of(x, t, self.smoothed(x, t)[0])

    def features_of(self, x: Float[Tensor, "batch *state"], t: Tensor, smoothed: Tensor) -> Tensor:
        """Return :meth:`features`, with the smoothed state computed before.

        Args:
            x: States.
            t: Ends of stored intervals, ``(batch,)``.
            smoothed: Modes of ``E[x_s | x]``, ``(batch, *modes)``.
        """
        centred, power = x - between(self.times, self.mean, t), self._power(t)
        rms = power.mean(dim=tuple(range(2, power.ndim)), keepdim=True).sqrt()
        step = _inverse_root(self.spread()[self.interval(t)]) * (self.modes(x) - smoothed)
        parts = [centred / rms, self.unmodes(self.modes(centred) * power.rsqrt(), x), self.unmodes(step, x).asinh()]
        return torch.cat(parts, dim=1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Turn the first half of the network's output into a contribution to the score."""
        return self.unmodes(self.unit[self.interval(t)] * self.modes(out.chunk(2, dim=1)[0]), x)

    def mean_at(self, t: float) -> Float[Tensor, "1 *state"]:
        """Return the mean at one time, interpolated between the stored ones."""
        return between(self.times, self.mean, self.times.new_full((1,), t))

    def covariance_at(self, t: float) -> Covariance:
        """Return the covariance at one time, diagonal in the modes."""
        return diagonal(self.modes, self.unmodes, self._power(self.times.new_full((1,), t)))

    def default_step(self, sde: SDE) -> str:
        """Return ``smooth``, the step that takes the smoother over one stored interval."""
        return "smooth"

    def objective(self, sde: SDE) -> str:
        """Return ``smoother``, the objective of steps over stored intervals."""
        return "smoother"

    def check_times(self, times: Float[Tensor, " time"]) -> None:
        """Raise ValueError unless consecutive times are ends of stored intervals."""
        t = times.to("cpu", torch.float32).to(self.times.device)
        self.check_steps(t[1:], t[:-1])

    def check_steps(self, t0: Float[Tensor, " batch"], t1: Float[Tensor, " batch"]) -> None:
        """Check that every step goes backward over one of the stored intervals.

        Args:
            t0: Ends of the steps' intervals, from which the steps start.
            t1: Starts of the intervals, which the steps reach.

        Raises:
            ValueError: If a step is none of the stored intervals.
        """
        i = self.interval(t0.to(self.times))
        dt = self.times[i + 1] - self.times[i]
        if bool(((t0 - self.times[i + 1]).abs() + (t1 - self.times[i]).abs() > _TIME_TOLERANCE * dt).any()):
            raise ValueError(
                f"`times` must be the {len(self.times)} stored ones, {len(self.times) - 1} steps: "
                "the reversal of nonlinear physics was learned from each to the one before."
            )

    def uncertain_modes(self, i: int) -> Tensor:
        """Tell which modes are uncertain at the start of an interval, and hold more than rounding errors.

        Args:
            i: Index of the interval.

        Returns:
            True for such modes, ``(*modes)``.
        """
        power = self.power[i]
        return (self.spread()[i] > 0) & (3.9 * power <= self.reach[i] ** 2)  # the largest |y|^2 seen is reach^2 / 4

    def _power(self, t: Tensor) -> Tensor:
        """Variance of the modes at ``t``."""
        return between(self.times, self.power, t)

    def spread(self) -> Tensor:
        """Return the variance ``C (interval, *modes)`` that the regression leaves; 0 in deterministic modes."""
        C = self.power[:-1] - self.gain**2 * self.back_power
        return torch.where(self.power[:-1] * _MIN_RESIDUAL_SHARE < C, C, torch.zeros_like(C))

    def _unit(self) -> Tensor:
        """``C^(1/2) (dt/t)^(1/2) / q``: unit of the network's output as a score; 0 for modes without noise."""
        dt, end = self.times.diff(), self.times[1:]
        probe = torch.zeros_like(self.mean[1:])
        if self.basis == "identity":
            probe = probe + 1.0
        else:
            probe.flatten(2)[..., 0] = 1.0  # an impulse: equal in all modes
        q = (self.modes(self.sde.apply_covariance(probe, self.times[:-1], end)) / self.modes(probe)).real
        noisy = q > 1e-12 * q.max()
        size = self.spread().sqrt() * match((dt / end).sqrt(), q)
        return torch.where(noisy, size / torch.where(noisy, q, torch.ones_like(q)), torch.zeros_like(q))


def _inverse_root(C: Tensor) -> Tensor:
    """``C^(-1/2)``, and 0 where C is 0."""
    return torch.where(C > 0, torch.where(C > 0, C, torch.ones_like(C)).rsqrt(), torch.zeros_like(C))
