"""Stochastic PDEs ``u_t = L u + N(u) + noise`` on periodic boxes, solved by an exponential integrator.

``L`` and the covariance of the noise are diagonal in Fourier space.  A process gives ``symbol`` (the rates of ``L``),
``nonlinear`` (from modes to modes) and its initial states; stiffness of ``L`` does not limit the step.  The shares of
the time on one CPU core are .48 to .52 for Fourier transforms, .12 to .20 for drawing noise and .25 to .35 for
pointwise arithmetic in two dimensions; .31 to .32, .21 to .25 and .35 to .39 in one
(``benchmarks/speed/fft_share.py``).
"""

from __future__ import annotations

__all__ = ["Coefficients", "Semilinear"]

import collections
import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physinv.equations.broadcast import by_parts, match
from physinv.equations.fourier import fourier, inverse_fourier
from physinv.equations.solve import check_times, gather
from physinv.processes.parameters import number, parameter
from physinv.processes.simulator import Simulator, every, refine
from physinv.processes.substeps import spin_up_steps, together
from simulators.numerics.check_parts import check_modes
from simulators.numerics.memo import Memo
from simulators.numerics.phi import phi
from simulators.numerics.spectral import normalised, resolved

_MOST = 2.0
"""Logarithm of the largest growth of a decaying mode, backward over a stored interval."""

_KEPT = 2**26  # bytes of coefficients that a process remembers


class Coefficients(NamedTuple):
    """What one step of length ``h`` multiplies modes with, ``z = symbol h``: see :meth:`Semilinear.coefficients`."""

    half: Tensor
    whole: Tensor
    stage: Tensor
    start: Tensor
    middle: Tensor
    end: Tensor
    kick: Tensor


@dataclass(frozen=True)
class Semilinear(Simulator):
    """An autonomous stochastic PDE ``u_t = L u + N(u) + noise`` for fields ``(channels, *space)`` on a periodic box.

    A subclass gives :meth:`symbol`, :meth:`nonlinear`, ``longest_step`` and ``initial``.  The noise has the rms
    ``noise`` per pixel and the spectrum :meth:`colour`: white in the modes that ``dealias`` keeps, unless overridden.

    Solver steps are

        x' = Phi_h(x + n_1) + n_2,    n_1, n_2 ~ N(0, sigma_k^2 tanh(r_k h) / (2 r_k)) in every mode, independent.

    ``Phi_h`` is one step of the exponential Runge-Kutta method ETDRK4 (Cox and Matthews 2002, eq. 26-29): order 4
    without noise, weak order 2 with it, exact in law at any step if ``N = 0``.  The two halves of the noise are alike;
    ``e^(2 r h) + 1`` times their variance is what the linear part accumulates in one step.

    ``dealias`` is the fraction of wave numbers along each axis that ``N`` reads and writes: 2/3 for quadratic
    nonlinearities, 1 (all) for reactions, which act point by point.
    """

    weak_order: ClassVar[float] = 2.0
    draws: ClassVar[int] = 2
    dealias: ClassVar[float] = 2 / 3

    horizon: float = parameter(1.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(64, "n", "grid points per axis", minimum=4)
    noise: float = parameter(0.0, "g", "rms noise per pixel", unit="state/time^1/2", minimum=0)
    inner: int = parameter(4, "m", "least number of solver steps between stored times", minimum=1)

    @abstractmethod
    def symbol(self, like: Float[Tensor, "batch channel *space"]) -> Tensor:
        """Return the rates of ``L``, its eigenvalue in every mode, in units of 1/time.

        Args:
            like: States of the shape, device and dtype in question.

        Returns:
            Real or complex, ``(1, channels or 1, *modes)``.
        """

    @abstractmethod
    def nonlinear(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        """Return the modes of ``N(u)``.

        Args:
            y: Modes of the state ``u``; the caller cuts them to the resolved ones, and the result too.
            like: States of the shape in question.

        Returns:
            ``(batch, channel, *modes)``.
        """

    def check_parts(self, x: Float[Tensor, "batch *state"]) -> None:
        check_modes(self, x[:2])

    def colour(self, like: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "one one_or_channel *modes"]:
        """Return the relative noise power of every mode, of any scale.

        Args:
            like: States of the shape in question.

        Returns:
            ``(1, channels or 1, *modes)``.
        """
        return resolved(like, self.dealias)

    @property
    def space(self) -> tuple[int, ...]:
        """Grid points along each axis."""
        return self.shape[1:]

    @property
    def substeps(self) -> int:
        return max(self.inner, super().substeps)

    @property
    def wavenumber_max(self) -> float:
        """The largest wave number that ``N`` reads and writes, in periods per box."""
        return self.dealias * self.size / 2

    def modes(self, x: Float[Tensor, "*lead channel *space"]) -> Complex[Tensor, "*lead channel *modes"]:
        """Return the orthonormal Fourier coefficients of states (:func:`physinv.equations.fourier.fourier`).

        Args:
            x: States, with any number of leading axes.
        """
        return fourier(x, len(self.space))

    def unmodes(
        self, y: Complex[Tensor, "*lead channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "*lead channel *space"]:
        """Return the states of the shape of ``like`` with given coefficients: the inverse of :meth:`modes`.

        Args:
            y: Coefficients.
            like: States, which give shape, dtype and device.
        """
        return inverse_fourier(y, tuple(like.shape[2:]))

    def reaction(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        """Return the modes of ``N``, read from and cut to the resolved modes (see :meth:`nonlinear`).

        Args:
            y: Coefficients of states.
            like: States, which give shape, dtype and device.
        """
        keep = resolved(like, self.dealias)
        return keep * self.nonlinear(keep * y, like)

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        c = self._known_coefficients(t1 - t0, x)
        return self.unmodes(self.noisy_modes(self.modes(x), c, dw, x), x)

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        y = self.modes(x)
        return self.unmodes(self.symbol(x) * y + self.reaction(y, x), x)

    def deviation(self, like: Float[Tensor, "batch *state"]) -> Tensor:
        """Return ``sigma_k``, the noise amplitude of each orthonormal mode, in units of the state per time^1/2.

        Args:
            like: States of the shape in question.

        Returns:
            ``(1, channels or 1, *modes)``.
        """
        return self.noise * normalised(self.colour(like), like).sqrt()

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.deviation(v) * self.modes(v), v)

    def variance(self, t0: Tensor | float, t1: Tensor, like: Float[Tensor, "batch *state"]) -> Tensor:
        """Return the variance ``sigma_k^2 (e^(2 r u) - 1) / (2 r)``, ``u = t1 - t0``, of the noise in each mode.

        Args:
            t0: Times, ``(batch,)``, ``()`` or one number.
            t1: Later times, ``(batch,)`` or ``()``.
            like: States of the shape in question.

        Returns:
            ``(batch or 1, *modes)``.
        """
        dt = _shared(t1 - t0)
        z, h = self._rates(like, dt), match(dt, like)
        return self.deviation(like) ** 2 * h * phi(2 * z)[0]

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.variance(t0, t1, v) * self.modes(v), v)

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        q = self.variance(t0, t1, gap)
        noisy = q > torch.finfo(gap.dtype).tiny
        scale = self._rates(gap, _shared(t1 - t0)).exp() / torch.where(noisy, q, torch.ones_like(q)).sqrt()
        return self.unmodes(torch.where(noisy, scale, torch.zeros_like(scale)) * self.modes(gap), gap)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """Solve ``dx/dt = f`` from ``t0`` to ``t1`` by one step of ETDRK4.

        Backward (``t1 < t0``) no mode grows by more than ``e^2`` in the solver steps of a stored interval (a
        quasi-reversal in the sense of Lattes and Lions 1969): a mode that has decayed by more is not recovered.
        """
        return self.unmodes(self.flow_modes(self.modes(x), self._known_coefficients(t1 - t0, x), x), x)

    def coefficients(self, dt: Float[Tensor, " #batch"] | Float[Tensor, ""], like: Tensor) -> Coefficients:
        """Return the coefficients of ETDRK4 (Cox and Matthews 2002) in terms of phi functions, and of the noise:

            stage  = h/2 phi_1(z/2)         start = h (phi_1 - 3 phi_2 + 4 phi_3)
            middle = h (2 phi_2 - 4 phi_3)  end   = h (4 phi_3 - phi_2)

        Args:
            dt: Lengths ``h`` of steps, ``(batch,)``, ``(1,)`` or ``()``.
            like: States of the shape in question.

        Returns:
            Complex factors per mode.
        """
        h, symbol = match(dt, like), self.symbol(like)
        z, most = symbol * h, _MOST / self.substeps
        z = torch.where((h < 0) & (z.real > most), most + (z - z.real), z)
        f1, f2, f3 = phi(z)
        kick = self.deviation(like) * (_tanhc(self._rates(like, dt)) / 2).sqrt() / math.sqrt(2)
        keep = resolved(like, self.dealias)
        found = Coefficients(
            half=keep * (z / 2).exp(),
            whole=z.exp(),
            stage=keep * h / 2 * phi(z / 2)[0],
            start=keep * h * (f1 - 3 * f2 + 4 * f3),
            middle=keep * h * (2 * f2 - 4 * f3),
            end=keep * h * (4 * f3 - f2),
            kick=kick,
        )
        return Coefficients(*(c.to(torch.promote_types(c.dtype, torch.complex32)) for c in found))

    def flow_modes(
        self,
        y: Complex[Tensor, "batch channel *modes"],
        c: Coefficients,
        like: Float[Tensor, "batch channel *space"],
    ) -> Complex[Tensor, "batch channel *modes"]:
        """Return ``Phi_h`` in Fourier space: one step of ETDRK4 without noise.

        Args:
            y: Modes of the states.
            c: The coefficients of the step.
            like: States of the shape in question.

        Returns:
            Modes at the end of the step.
        """
        n0 = self.nonlinear(y if self.dealias == 1 else resolved(like, self.dealias) * y, like)
        half = c.half * y
        a = torch.addcmul(half, c.stage, n0)
        na = self.nonlinear(a, like)
        nb = self.nonlinear(torch.addcmul(half, c.stage, na), like)
        nc = self.nonlinear(torch.addcmul(c.half * a, c.stage, torch.sub(nb, n0, alpha=0.5), value=2), like)
        y = torch.addcmul(torch.addcmul(c.whole * y, c.start, n0), c.end, nc)
        return torch.addcmul(y, c.middle, na + nb)

    def noisy_modes(
        self,
        y: Complex[Tensor, "batch channel *modes"],
        c: Coefficients,
        dw: Float[Tensor, "two batch channel *space"],
        like: Float[Tensor, "batch channel *space"],
    ) -> Complex[Tensor, "batch channel *modes"]:
        """Return a step with noise in Fourier space, ``Phi_h(y + n_1) + n_2``.

        Args:
            y: Modes of the states.
            c: The coefficients of the step.
            dw: Two independent Brownian increments per state, white on the grid.
            like: States of the shape in question.

        Returns:
            Modes at the end of the step.
        """
        first, second = self.modes(dw)
        y = self.flow_modes(torch.addcmul(y, c.kick, first + second), c, like)
        return torch.addcmul(y, c.kick, first - second)

    def trajectories(
        self,
        x: Float[Tensor, "batch *state"],
        times: Float[Tensor, " time"],
        counts: Sequence[int],
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch time *state"]:
        """Solve from given states (:meth:`physinv.processes.simulator.Simulator.trajectories`).

        Between stored times the state stays in Fourier space.  Coefficients are computed once for each length of step
        that occurs, up to relative differences of 1e-9.
        """
        modes = every(self._march(x, refine(times, counts), noise, generator), counts)
        next(modes)  # x itself is not transformed there and back
        return gather(itertools.chain([x], (self.unmodes(y, x) for y in modes)), len(times))

    @torch.no_grad()
    def spun_up(
        self, x: Float[Tensor, "batch *state"], duration: float, generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        """Return states after a given time, noise included, in solver steps of about the usual length.

        Args:
            x: States, ``(batch, *state)``.
            duration: How long they run, in units of time; 0 returns them as they are.
            generator: Source of the noise.

        Returns:
            ``(batch, *state)``: initial states on or near the attractor.
        """
        steps = duration / number(self.horizon) * self.steps * self.substeps
        count = spin_up_steps(self, "spin_up", duration, steps)
        if count == 0:
            return x
        times = torch.linspace(0, duration, count + 1, dtype=torch.float64)
        (y,) = collections.deque(self._march(x, times, True, generator), maxlen=1)
        return self.unmodes(y, x)

    def _march(
        self, x: Tensor, times: Float[Tensor, " time"], noise: bool, generator: torch.Generator | None
    ) -> Iterator[Tensor]:
        """The modes of ``x``, and after one step after another in Fourier space."""
        grid = times.detach().to("cpu", torch.float64).tolist()
        check_times(self, grid, noise)
        y, size = self.modes(x), together(self, x)
        yield y
        known: dict[str, Coefficients] = {}
        for a, b in itertools.pairwise(grid):
            length = f"{b - a:.9e}"
            if length not in known:
                c = self.coefficients(x.new_tensor(b - a), x)
                known[length] = c._replace(kick=c.kick * math.sqrt(abs(b - a)))  # for draws of unit variance
            c = known[length]
            if noise:
                dw = torch.randn((2, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
                y = by_parts(lambda y, x, *dw, c=c: self.noisy_modes(y, c, torch.stack(dw), x), size, y, x, *dw)
            else:
                y = by_parts(lambda y, x, c=c: self.flow_modes(y, c, x), size, y, x)
            yield y

    @cached_property
    def _memo(self) -> Memo[Coefficients]:
        return Memo(_KEPT)

    def _known_coefficients(self, dt: Float[Tensor, " batch"], like: Tensor) -> Coefficients:
        """The coefficients of a step, remembered for exactly these lengths where looking at them takes no waiting."""
        dt = _shared(dt)
        if dt.device.type != "cpu" or any(isinstance(getattr(self, f.name), Tensor) for f in fields(self)):
            return self.coefficients(dt, like)
        key = (tuple(dt.tolist()), dt.dtype, tuple(like.shape[1:]), like.dtype, like.device)
        return self._memo(key, lambda: self.coefficients(dt, like))

    def _rates(self, like: Tensor, dt: Tensor) -> Tensor:
        symbol = self.symbol(like)
        return (symbol.real if symbol.is_complex() else symbol) * match(dt, like)


def _tanhc(z: Tensor) -> Tensor:
    """``tanh(z) / z``."""
    flat = z == 0
    return torch.where(flat, torch.ones_like(z), torch.tanh(z) / torch.where(flat, torch.ones_like(z), z))


def _shared(dt: Float[Tensor, " batch"]) -> Float[Tensor, " batch_or_one"]:
    """One step for all, where that can be seen without waiting for a device: coefficients are then computed once."""
    alike = dt.device.type == "cpu" and dt.ndim == 1 and bool((dt == dt[0]).all())
    return dt[:1] if alike else dt
