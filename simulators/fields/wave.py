"""Damped stochastic wave equation on a periodic box in 1 or 2 dimensions, solved exactly in Fourier space."""

from __future__ import annotations

__all__ = ["Wave", "WaveGaussian"]

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.fourier import fourier, inverse_fourier
from physinv.equations.gaussian import gaussian_log_prob
from physinv.laws.exact import ExactPosterior, States, check_ends, check_final
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import parameter
from simulators.numerics.oscillator import Block, inverse_root, noise_block, noise_root, product, propagator, transposed
from simulators.numerics.priors import PRIORS, RandomField, scalar_field
from simulators.numerics.spectral import gaussian_field, grid, power_law, squared_wavenumbers


@dataclass(frozen=True)
class Wave(RandomField):
    """The damped stochastic wave equation on ``[0, 2 pi]^dimension``, periodic:

        u_tt = speed^2 Laplace(u) - damping u_t + noise xi,

    with ``xi`` white on the grid.  Channels: ``displacement`` u and ``velocity`` w = u_t.  Noise acts on the velocity
    only and reaches the displacement through it.  Every Fourier mode is a noisy damped oscillator (Chandrasekhar 1943,
    section II.3), under-, over- or critically damped as ``speed k`` exceeds ``damping / 2`` or not; steps of any length
    are exact, by the matrix exponential and the accumulated noise of every mode.

    Initial displacement: see :func:`~simulators.numerics.priors.scalar_field`; the initial velocity is a Gaussian
    random field of power ``|k|^-slope`` and rms ``kick``.

    Expected behaviour: in equilibrium every mode has ``E|w|^2 = speed^2 k^2 E|u|^2 = noise^2 / (2 damping)``
    (equipartition).  Unlike heat, waves keep small scales as long as large ones.

    Limits: only the ``gaussian`` prior has an exact posterior.

    Good values: ``damping horizon`` from 1 to 4; each mode keeps the share ``e^{-damping horizon}`` of its energy, and
    the noise brings in the rest.
    """

    title: ClassVar[str] = "Stochastic wave equation with damping, periodic"
    equation: ClassVar[str] = "u_tt = speed^2 Laplace(u) - damping u_t + noise xi"
    weak_order: ClassVar[float] = math.inf

    horizon: float = parameter(4.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(128, "n", "grid points per axis", minimum=2)
    dimension: int = parameter(1, "d", "space dimensions (1 or 2)", minimum=1, maximum=2)
    speed: float = parameter(1.0, "c", "speed of the waves", unit="length/time", minimum=0)
    damping: float = parameter(0.5, "gamma", "damping rate of the velocity", unit="1/time", minimum=0)
    noise: float = parameter(1.5, "g", "noise amplitude per point", unit="displacement/time^3/2", minimum=0)
    prior: str = parameter("edges", "p(u_0)", "initial displacement", choices=PRIORS)
    slope: float = parameter(4.0, "s", "power of the random fields falls as |k|^-s", minimum=0)
    kick: float = parameter(0.5, "w", "root mean square of the initial velocity", unit="displacement/time", minimum=0)

    @property
    def shape(self) -> tuple[int, ...]:
        return (2, *[self.size] * self.dimension)

    @property
    def layout(self) -> FieldLayout:
        axes = ("x", "y")[: self.dimension]
        return FieldLayout(("displacement", "velocity"), axes, (grid(self.size),) * self.dimension, "PERIODIC")

    def frequencies(self, like: Float[Tensor, "batch *state"]) -> Float[Tensor, "1 *modes"]:
        """Return ``omega^2 = speed^2 k^2`` of every mode, in 1/time^2, float64 ``(1, *modes)``.

        Args:
            like: States, which give shape, dtype and device.
        """
        return self.speed**2 * squared_wavenumbers(like[:1].double())[:, 0]

    def flow_of(self, dt: Float[Tensor, " times"], like: Float[Tensor, "batch *state"]) -> Block:
        """Return the propagator ``e^{A dt}`` of every mode for durations ``dt``, in float64.

        Args:
            dt: Durations, in units of time.
            like: States, which give shape, dtype and device.
        """
        w2 = self.frequencies(like)
        return propagator(match(dt.double(), w2), w2, self.damping)

    def noise_of(self, dt: Float[Tensor, " times"], like: Float[Tensor, "batch *state"]) -> Block:
        """Return the covariance that unit noise builds up in every mode in durations ``dt > 0``, in float64.

        Args:
            dt: Durations, in units of time.
            like: States, which give shape, dtype and device.
        """
        w2 = self.frequencies(like)
        return noise_block(match(dt.double(), w2), w2, self.damping)

    def filtered(self, x: Float[Tensor, "batch *state"], block: Block) -> Float[Tensor, "batch *state"]:
        """Return states whose (displacement, velocity) is multiplied by a 2 x 2 matrix, mode by mode.

        Args:
            x: States ``(batch, 2, *space)``.
            block: The matrix of every mode.
        """
        u, w = fourier(x).unbind(1)
        a, b, c, d = (entry.to(x.dtype) for entry in block)
        return inverse_fourier(torch.stack([a * u + b * w, c * u + d * w], dim=1), tuple(x.shape[2:]))

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        dt = t1 - t0
        kick = self.noise * self.filtered(dw[0] / match(dt, x).sqrt(), noise_root(self.noise_of(dt, x)))
        return self.drift_flow(x, t0, t1) + kick

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        w2 = self.frequencies(x)
        one = torch.ones_like(w2)
        return self.filtered(x, (0 * one, one, -w2, -self.damping * one))

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """Return ``(batch, 2)``: 0 for the displacement, ``noise`` for the velocity."""
        return torch.stack([torch.zeros_like(t), self.noise * torch.ones_like(t)], dim=1)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        return self.filtered(x, self.flow_of(t1 - t0, x))

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        return self.noise**2 * self.filtered(v, self.noise_of(t1 - t0, v))

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        """Return the gap carried to ``t1``, in units of the exact accumulated noise: of the displacement too."""
        root = noise_root(self.noise_of(t1 - t0, gap))
        unit = torch.as_tensor(self.noise, dtype=gap.dtype, device=gap.device).clamp(min=torch.finfo(gap.dtype).tiny)
        return self.filtered(self.drift_flow(gap, t0, t1), inverse_root(root)) / unit

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        sets = [
            some for n in range(self.dimension + 1) for some in itertools.combinations(range(-self.dimension, 0), n)
        ]
        mirrored = [x.flip(some).roll([1] * len(some), some) if some else x for some in sets]
        return [sign * image for sign in (1, -1) for image in mirrored]

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        w = self.kick * gaussian_field(z[:, 1:], self.slope)
        return torch.cat([scalar_field(self.prior, z[:, :1], self.slope, generator), w], dim=1)

    def exact(self) -> WaveGaussian | None:
        random = self.noise > 0 or self.kick > 0
        return WaveGaussian(self) if self.prior == "gaussian" and random else None


@dataclass(frozen=True)
class WaveGaussian(ExactPosterior):
    """The exact posterior ``p(x_0 | x_T)`` of a :class:`Wave` with Gaussian prior: 2 x 2 matrices, mode by mode.

    With ``F = e^{AT}``, accumulated noise Q and prior covariance P: ``E[x_0 | x_T] = K x_T``,
    ``K = P F^T (F P F^T + Q)^-1``.  A draw is ``x + K (x_T - x')`` with ``x, x'`` start and end of a fresh simulation
    (Matheron's rule).  The flow ``dx/dt = (A + g^2/2 e_w e_w^T S^-1) x``, S the covariance at t, keeps
    ``xi = L^-1 x`` on circles, ``S = L L^T``, ``L = [[a, b], [0, d]]``: it turns by
    ``theta' = -(omega^2 + g^2/2 S_uw / (a d)^2) a / d``, which is summed over ``nodes`` times, dense near 0.

    Args:
        sde: The process.
        nodes: Times of the sum.
    """

    sde: Wave
    nodes: int = 4096

    def _prior(self, like: Tensor) -> Block:
        power = power_law(like[:1, :1].double(), self.sde.slope)
        return power, 0 * power, 0 * power, self.sde.kick**2 * power

    def _law(self, t: Float[Tensor, " time"], like: Tensor) -> tuple[Block, Block]:
        """``P F^T`` and S at times ``t``; S is 1 for modes that neither prior nor noise moves."""
        F, Q = self.sde.flow_of(t, like), self.sde.noise_of(t, like)
        cross = product(self._prior(like), transposed(F))
        a, b, c, d = (s + self.sde.noise**2 * q for s, q in zip(product(F, cross), Q, strict=True))
        still = a * d - b * c <= 0
        return cross, (a.masked_fill(still, 1.0), b * ~still, c * ~still, d.masked_fill(still, 1.0))

    def mean(self, final: States) -> Float[Tensor, "batch *state"]:
        final = check_final(final, self.sde.shape)
        cross, (a, b, c, d) = self._law(final.new_full((1,), float(self.sde.horizon)), final)
        det = a * d - b * c
        return self.sde.filtered(final, product(cross, (d / det, -b / det, -c / det, a / det)))

    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        final = check_final(final, self.sde.shape, n, generator)
        ends = torch.tensor([0.0, float(self.sde.horizon)], dtype=torch.float64)
        fresh = self.sde.simulate(len(final) * n, ends, generator=generator, device=final.device, dtype=final.dtype)
        start, end = fresh.unbind(1)
        drawn = start + self.mean(final.repeat_interleave(n, 0) - end)
        return drawn.reshape(len(final), n, *final.shape[1:])

    def log_prob(self, initial: States, final: States) -> Float[Tensor, " batch"]:
        """Return the log density ``log p(x_0 | x_T)``, of covariance ``C = P - K F P`` in each mode.

        Modes that the prior leaves at 0 are left out (:func:`~physinv.equations.gaussian.gaussian_log_prob`).

        Args:
            initial: Initial states.
            final: Final states, one for each initial one.

        Raises:
            ValueError: If the noise is 0, and the posterior has no density.
        """
        if not self.sde.noise > 0:
            raise ValueError(f"`sde.noise` must be positive for a density, got {self.sde.noise:g}.")
        initial, final = check_ends(initial, final, self.sde.shape)
        cross, (a, b, c, d) = self._law(final.new_full((1,), float(self.sde.horizon)), final)
        det = a * d - b * c
        gained = product(product(cross, (d / det, -b / det, -c / det, a / det)), transposed(cross))
        u, uw, _, w = (p - g for p, g in zip(self._prior(final), gained, strict=True))
        slope = torch.where(u > 0, uw / u, torch.zeros_like(u))
        gap = (initial - self.mean(final)).double()
        y = fourier(gap)
        y = torch.stack([y[:, 0], y[:, 1] - slope * y[:, 0]], dim=1)
        power = torch.stack([u, w - slope * uw], dim=1)
        return gaussian_log_prob(y, power, gap).to(initial)

    def flow(self, final: States) -> Float[Tensor, "batch *state"]:
        final = check_final(final, self.sde.shape)
        like, T = final[:1].double(), float(self.sde.horizon)
        u = (torch.arange(self.nodes, dtype=torch.float64, device=final.device) + 0.5) / self.nodes
        S = self._law(T * u**3, like)[1]
        a, _, _, d = noise_root(S)
        turn = -(self.sde.frequencies(like) + self.sde.noise**2 / 2 * S[1] / (a * d) ** 2) * a / d
        angle = (turn * match(3 * T * u**2 / self.nodes, turn)).sum(0, keepdim=True)
        end = inverse_root(noise_root(self._law(u.new_full((1,), T), like)[1]))
        p = self._prior(like)
        start = (p[0].sqrt(), p[1], p[2], p[3].sqrt())
        rotation = (angle.cos(), angle.sin(), -angle.sin(), angle.cos())
        return self.sde.filtered(final, product(start, product(rotation, end)))
