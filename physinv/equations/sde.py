"""The one equation, ``dx = f(x, t) dt + g(t) dW``, and its reversal in time.

A simulator is an :class:`SDE` (with initial states); its reversal is one too.  Everything else in the
package either solves one of these equations or learns the score that :class:`Reverse` needs.
"""

from __future__ import annotations

__all__ = ["SDE", "Linear", "Multiplicative", "Reverse", "Score", "match"]

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.fourier import fourier, inverse_fourier

Score = Callable[[Tensor, Tensor], Tensor]
"""``(x, t) -> grad_x log p_t(x)``, shapes ``(batch, *state), (batch,) -> (batch, *state)``; never scaled by g^2."""


def match(t: Tensor, x: Tensor) -> Tensor:
    """View a per-sample number ``t`` of shape ``(batch,)`` so that it broadcasts against ``x`` ``(batch, *state)``."""
    return t.reshape(-1, *([1] * (x.ndim - 1)))


class SDE(ABC):
    """``dx = f(x, t) dt + g(t) dW``: a drift, and a diffusion that does not depend on the state.

    ``direction`` says which way in time the equation makes sense: +1 forward, -1 backward, 0 both (an ODE).
    """

    direction: int = 1

    @property
    def substeps(self) -> int:
        """Steps of :meth:`drift_flow`, and of the solver, between two stored times."""
        return 1

    @abstractmethod
    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """``f(x, t)``, in units of the state per time."""

    @abstractmethod
    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """``g(t)``, of shape ``(batch, *#state)``: broadcasts against the state; zero means no noise."""

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """``g(t) v``: white noise (or a direction) turned into a change of the state.

        Processes whose noise is coloured override this with a symmetric operator ``G``, such as a filter; ``g^2`` is
        then ``G G`` wherever it stands, and ``diffusion`` the root mean square of the noise per component.
        """
        return expand(self.diffusion(t), v) * v

    def disturb(
        self, x: Float[Tensor, "batch *state"], v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        """``g v`` at the state ``x``; noise that depends on the state overrides this (:class:`Multiplicative`)."""
        return self.diffuse(v, t)

    def correct(
        self, x: Float[Tensor, "batch *state"], score: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        """``div(g^2 p) / p``, what a reversal corrects the drift by; ``g^2 s`` where ``g`` knows no state."""
        return self.diffuse(self.diffuse(score, t), t)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """``x`` and its images under the symmetries of the process: as likely as ``x`` at every time.

        A symmetry ``S`` is a reflection (linear, orthogonal, its own inverse), commutes with drift and noise and leaves
        the law of the initial states as it is.  Training sees all images of its data.  The default knows of none.
        """
        return [x]

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """``dx/dt = f`` from ``t0`` to ``t1`` (either way), by one classical Runge-Kutta step (Kutta 1901)."""
        h, middle = match(t1 - t0, x), (t0 + t1) / 2
        k1 = self.drift(x, t0)
        k2 = self.drift(x + h / 2 * k1, middle)
        k3 = self.drift(x + h / 2 * k2, middle)
        k4 = self.drift(x + h * k3, t1)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        """``q v`` with ``q = g^2 (t1 - t0)``, the covariance of the noise accumulated from ``t0`` to ``t1 > t0``."""
        return match(t1 - t0, v) * self.diffuse(self.diffuse(v, t1), t1)

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        """``gap / (g sqrt(t1 - t0))``: a difference of states at ``t0`` in units of the noise until ``t1``.

        Components without noise give 0.  :class:`Linear` uses the exact accumulated noise, mode by mode.
        """
        g = expand(self.diffusion(t0), gap)
        unit = g * match(t1 - t0, gap).sqrt()
        return torch.where(unit > 0, gap / unit.clamp(min=torch.finfo(gap.dtype).tiny), torch.zeros_like(gap))


class Multiplicative(SDE):
    """``dx = f(x, t) dt + g(x, t) dW`` in the sense of Ito, with noise that depends on the state, ``g_i(x_i, t)``.

    The noise is diagonal, and each amplitude depends on its own component only.  Euler and Milstein steps are right
    for it, forward and (around :class:`Reverse`) backward.  Whatever takes ``g`` for a function of time, such as
    higher solvers and training, refuses by a ValueError: ``y = int dx / g`` (Lamperti) has constant noise.
    """

    @abstractmethod
    def amplitude(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """``g(x, t)``, in units of the state per square root of time."""

    def spurious(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """``div(g^2)_i = d(g_i^2)/dx_i``; this default differentiates, override it where there is a formula."""
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            total = self.amplitude(y, t).square().sum()
            (slope,) = torch.autograd.grad(total, y, create_graph=True)
        return slope if torch.is_grad_enabled() else slope.detach()

    def disturb(
        self, x: Float[Tensor, "batch *state"], v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        return self.amplitude(x, t) * v

    def correct(
        self, x: Float[Tensor, "batch *state"], score: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        return self.spurious(x, t) + self.amplitude(x, t) ** 2 * score

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        raise ValueError(
            f"the noise of {type(self).__name__} depends on the state, this needs noise that does not; "
            "take `euler` or `milstein`, or the coordinates y = int dx / g."
        )


class Linear(SDE):
    """``dx = A x dt + g dW`` with ``A`` diagonal in an orthonormal basis, and constant isotropic noise ``g``.

    Mode by mode ``y(t + dt) = e^{r dt} y(t) + N(0, q(dt))`` with ``q(dt) = g^2 (e^{2 r dt} - 1) / (2 r)`` holds
    exactly for any ``dt`` (Uhlenbeck and Ornstein 1930).  Subclasses give the basis and the rates ``r``.
    """

    basis: ClassVar[str]
    """``"identity"`` or ``"fourier"`` (real FFT over all axes after the channel, orthonormal)."""

    noise: float
    """g, the noise amplitude."""

    @abstractmethod
    def rates(self, like: Float[Tensor, "batch *state"]) -> Tensor:
        """``r`` of every mode, real, broadcastable against ``modes(like)``, on its device and in its dtype."""

    def modes(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        """Coefficients of ``x`` in the basis (complex for ``"fourier"``)."""
        return fourier(x) if self.basis == "fourier" else x

    def unmodes(self, y: Tensor, like: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Inverse of :meth:`modes`; ``like`` gives the shape of the state."""
        return inverse_fourier(y, tuple(like.shape[2:])) if self.basis == "fourier" else y

    def decay(self, dt: Tensor, like: Tensor) -> Tensor:
        """``e^{r dt}`` per mode, for ``dt`` of shape ``(batch,)`` or ``()`` (negative ones grow what has decayed)."""
        grown: Tensor = torch.exp(self.rates(like) * match(dt, like))
        return grown

    def variance(self, dt: Tensor, like: Tensor) -> Tensor:
        """``q(dt)``: the variance of each mode's accumulated noise, ``(batch or 1, *modes)``."""
        r, dt = self.rates(like), match(dt, like)
        flat = r == 0
        grown = torch.expm1(2 * r * dt) / torch.where(flat, torch.ones_like(r), 2 * r)
        q: Tensor = self.noise**2 * torch.where(flat, dt.expand_as(grown), grown)
        return q

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.decay(t1 - t0, x) * self.modes(x), x)

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.variance(t1 - t0, v) * self.modes(v), v)

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        dt = t1 - t0
        scale = self.decay(dt, gap) / self.variance(dt, gap).clamp(min=torch.finfo(gap.dtype).tiny).sqrt()
        return self.unmodes(scale * self.modes(gap), gap)

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.rates(x) * self.modes(x), x)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)


class Reverse(SDE):
    """The SDE run backward: ``dx = [f - (1 + eta^2)/2 g^2 s] dt + eta g dW``, solved from T to 0.

    All ``eta`` share the marginals ``p_t`` of the forward process: ``eta = 1`` is the reverse SDE of Anderson (1982),
    whose solutions are posterior samples of ``x_0`` given ``x_T``; ``eta = 0`` is the probability-flow ODE
    (Song et al. 2021, eq. 13).  ``score`` is ``s(x, t) = grad_x log p_t(x)``, not scaled by anything.

    Noise that depends on the state adds its divergence: ``dx = [f - (1 + eta^2)/2 (div(g^2) + g^2 s)] dt + eta g dW``
    (Haussmann and Pardoux 1986, theorem 2.1), in Ito's sense backward in time: ``g`` is taken at the later end of a
    step, which is where the step starts.
    """

    def __init__(self, sde: SDE, score: Score, eta: float = 1.0) -> None:
        if not (math.isfinite(eta) and eta >= 0):
            raise ValueError(f"`eta` must be a finite number >= 0 (0: probability flow, 1: reverse SDE), got {eta}.")
        self.sde, self.score, self.eta = sde, score, eta
        self.direction = -1 if eta > 0 else 0

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.sde.drift(x, t) - (1 + self.eta**2) / 2 * self.sde.correct(x, self.score(x, t), t)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.eta * self.sde.diffusion(t)

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.eta * self.sde.diffuse(v, t) if self.eta else torch.zeros_like(v)

    def disturb(
        self, x: Float[Tensor, "batch *state"], v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        return self.eta * self.sde.disturb(x, v, t)


def expand(g: Tensor, x: Tensor) -> Tensor:
    """Right-pad the shape of a diffusion ``(batch, ...)`` with ones until it broadcasts against ``x``."""
    return g.reshape(*g.shape, *([1] * (x.ndim - g.ndim)))
