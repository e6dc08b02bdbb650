"""Stochastic differential equations ``dx = f(x, t) dt + g(t) dW``, and their reversal in time.

A simulator is an :class:`SDE` with initial states; its reversal, which needs a score, is one too.
"""

from __future__ import annotations

__all__ = ["SDE", "Linear", "Reverse", "Score", "check_score"]

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import check_function, check_instance, describe
from physinv.equations.broadcast import expand, match, once
from physinv.equations.fourier import fourier, inverse_fourier

Score = Callable[[Tensor, Tensor], Tensor]
"""``(x, t) -> grad_x log p_t(x)``, shapes ``(batch, *state), (batch,) -> (batch, *state)``; never scaled by g^2."""


class SDE(ABC):
    """An SDE ``dx = f(x, t) dt + g(t) dW`` with a drift, and a diffusion that does not depend on the state.

    A subclass gives :meth:`drift` and :meth:`diffusion`.  All other methods have defaults, which a subclass may replace
    by something exact or faster.  States have shape ``(batch, *state)``, times ``(batch,)``.

    Attributes:
        direction: Which way in time the equation makes sense: +1 forward, -1 backward, 0 both (an ODE).
    """

    direction: int = 1

    @property
    def kinks(self) -> tuple[float, ...]:
        """Times at which drift or diffusion jump: adaptive solvers go from one to the next.  Here none."""
        return ()

    def substeps_in(self, duration: float) -> int:
        """Return how many steps of :meth:`drift_flow`, and of the solver, a duration takes: here always one.

        Args:
            duration: Length of an interval, in units of time, positive or negative.
        """
        return 1

    @abstractmethod
    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the drift ``f(x, t)``.

        Args:
            x: States, ``(batch, *state)``.
            t: Times, ``(batch,)``, in units of time.  In the dtype of ``x``, or in float64 where that is too coarse to
                tell neighbouring times apart (see :func:`~physinv.equations.solve.march`).

        Returns:
            ``(batch, *state)``, in units of the state per time.
        """

    @abstractmethod
    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."] | float:
        """Return the diffusion coefficient ``g(t)``.

        Args:
            t: Times, ``(batch,)``, in units of time; float64 where ``drift`` gets float64.

        Returns:
            ``(batch, ...)``, padded on the right with axes of length 1 until it broadcasts against the states, in units
            of the state per square root of time.  Zero means no noise.  A number stands for the same ``g`` at all
            times.
        """

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return ``g(t) v``: white noise (or a direction) turned into a change of the state.

        Processes whose noise is coloured override this with a symmetric operator ``G``, such as a filter; ``g^2`` is
        then ``G G`` wherever it stands, and ``diffusion`` the root mean square of the noise per component.

        Args:
            v: White noise, ``(batch, *state)``.
            t: Times, ``(batch,)``.

        Returns:
            ``(batch, *state)``.
        """
        return expand(self.diffusion(once(t)), v) * v

    def disturb(
        self, x: Float[Tensor, "batch *state"], v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        """Return ``g v`` at given states; noise that depends on the state overrides this.

        Args:
            x: States, ``(batch, *state)``.
            v: White noise, ``(batch, *state)``.
            t: Times, ``(batch,)``.
        """
        return self.diffuse(v, t)

    def correct(
        self, x: Float[Tensor, "batch *state"], score: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        """Return ``div(g^2 p) / p``, the term of a reversal's drift; ``g^2 s`` for noise without dependence on state.

        Args:
            x: States, ``(batch, *state)``.
            score: ``s = grad log p_t`` at ``x``.
            t: Times, ``(batch,)``.
        """
        return self.diffuse(self.diffuse(score, t), t)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """Return states together with their images under the symmetries of the process.

        A symmetry ``S`` is a reflection (linear, orthogonal, its own inverse), commutes with drift and noise and leaves
        the law of the initial states as it is, so that ``S x`` is as likely as ``x`` at every time.  Training sees all
        images of its data.  By default there are no symmetries.

        Args:
            x: States, ``(batch, *state)``; more leading axes are allowed.

        Returns:
            ``x`` first, then one tensor of its shape for each symmetry.
        """
        return [x]

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """Solve ``dx/dt = f`` from ``t0`` to ``t1`` (either way) by one classical Runge-Kutta step (Kutta 1901).

        Args:
            x: States at ``t0``, ``(batch, *state)``.
            t0: Times at which the flow begins, ``(batch,)``.
            t1: Times at which it ends, ``(batch,)``.

        Returns:
            States at ``t1``, ``(batch, *state)``.
        """
        begun, ended = once(t0), once(t1)
        h, middle = match(ended - begun, x), ((begun + ended) / 2).expand_as(t0)
        k1 = self.drift(x, t0)
        k2 = self.drift(torch.addcmul(x, h, k1, value=1 / 2), middle)
        k3 = self.drift(torch.addcmul(x, h, k2, value=1 / 2), middle)
        k4 = self.drift(torch.addcmul(x, h, k3), t1)
        return torch.addcmul(x, h, torch.add(k1 + k4, k2 + k3, alpha=2), value=1 / 6)

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        """Return ``q v``, with ``q`` the covariance of the noise accumulated from ``t0`` to ``t1``.

        The default is ``q = g^2 (t1 - t0)``.

        Args:
            v: A direction in the space of states, ``(batch, *state)``.
            t0: Earlier times, ``(batch,)``.
            t1: Later times, ``(batch,)``.

        Returns:
            ``(batch, *state)``.
        """
        return match(t1 - t0, v) * self.diffuse(self.diffuse(v, t1), t1)

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        """Return a difference of states at ``t0`` in units of the noise until ``t1``, ``gap / (g sqrt(t1 - t0))``.

        :class:`Linear` uses the exact accumulated noise, mode by mode.

        Args:
            gap: Difference of two states at ``t0``, ``(batch, *state)``.
            t0: Earlier times, ``(batch,)``.
            t1: Later times, ``(batch,)``.

        Returns:
            ``(batch, *state)``, dimensionless; 0 for components without noise.
        """
        g = expand(self.diffusion(t0), gap)
        unit = g * match(t1 - t0, gap).sqrt()
        return torch.where(unit > 0, gap / unit.clamp(min=torch.finfo(gap.dtype).tiny), torch.zeros_like(gap))


class Linear(SDE):
    """An SDE ``dx = A x dt + g dW`` with ``A`` diagonal in an orthonormal basis, and constant isotropic noise ``g``.

    Mode by mode ``y(t1) = a y(t0) + N(0, q)`` with ``a = e^{r u}``, ``q = g^2 (e^{2 r u} - 1) / (2 r)`` and ``u = t1 -
    t0`` holds exactly for any ``u`` (Uhlenbeck and Ornstein 1930).  Subclasses give the basis, the noise and
    :meth:`rates`.  Where rates and noise vary in time, :meth:`elapsed` says how much time ``u`` has passed for the
    process between two times; :mod:`~physinv.equations.noising` has such processes.

    Attributes:
        basis: ``"identity"``, or ``"fourier"`` for the orthonormal real FFT over all axes after the channel
            (:mod:`physinv.equations.fourier`).  Subclasses with another basis override :meth:`modes` and
            :meth:`unmodes`.
        noise: Noise amplitude ``g``, in units of the state per square root of time.
        steady: Whether rates and noise are the same at all times, so that kernels depend on ``t1 - t0`` alone.
    """

    basis: ClassVar[str]
    noise: float
    steady: ClassVar[bool] = True

    @abstractmethod
    def rates(self, like: Float[Tensor, "batch *state"]) -> Tensor:
        """Return the rate ``r`` of every mode, in units of 1/time; negative where the mode decays.

        Args:
            like: States of the shape, device and dtype in question, ``(batch, *state)``.

        Returns:
            Real, broadcastable against ``modes(like)``.
        """

    def modes(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        """Return the coefficients of states in the basis.

        Args:
            x: States, ``(batch, *state)``.

        Returns:
            ``(batch, *modes)``, complex for ``"fourier"``.
        """
        return fourier(x) if self.basis == "fourier" else x

    def unmodes(self, y: Tensor, like: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the states with given coefficients: the inverse of :meth:`modes`.

        Args:
            y: Coefficients, ``(batch, *modes)``.
            like: States of the shape in question, ``(batch, *state)``.
        """
        return inverse_fourier(y, tuple(like.shape[2:])) if self.basis == "fourier" else y

    def elapsed(self, t0: Tensor | float, t1: Tensor) -> Tensor:
        """Return the time ``u`` that passes for the process: here ``t1 - t0``.

        Args:
            t0: Times, ``(batch,)`` or one number.
            t1: Later times, or earlier ones: ``u`` is then negative.
        """
        return t1 - t0

    def decay(self, t0: Tensor | float, t1: Tensor, like: Tensor) -> Tensor:
        """Return the gain ``e^{r u}`` of every mode from ``t0`` to ``t1``.

        Args:
            t0: Times, ``(batch,)``, ``()`` or one number.
            t1: Later times, ``(batch,)`` or ``()``, or earlier ones: the gain is then above 1 where the mode decays.
            like: States of the shape in question, ``(batch, *state)``.

        Returns:
            ``(batch or 1, *modes)``.
        """
        grown: Tensor = torch.exp(self.rates(like) * match(self.elapsed(t0, t1), like))
        return grown

    def variance(self, t0: Tensor | float, t1: Tensor, like: Tensor) -> Tensor:
        """Return the variance ``q`` of the noise that accumulates in every mode from ``t0`` to ``t1``.

        Args:
            t0: Times, ``(batch,)``, ``()`` or one number.
            t1: Later times, ``(batch,)`` or ``()``.
            like: States of the shape in question, ``(batch, *state)``.

        Returns:
            ``(batch or 1, *modes)``.
        """
        r, u = self.rates(like), match(self.elapsed(t0, t1), like)
        flat = r == 0
        grown = torch.expm1(2 * r * u) / torch.where(flat, torch.ones_like(r), 2 * r)
        q: Tensor = self.noise**2 * torch.where(flat, u.expand_as(grown), grown)
        return q

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.decay(t0, t1, x) * self.modes(x), x)

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.variance(t0, t1, v) * self.modes(v), v)

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        scale = self.decay(t0, t1, gap) / self.variance(t0, t1, gap).clamp(min=torch.finfo(gap.dtype).tiny).sqrt()
        return self.unmodes(scale * self.modes(gap), gap)

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.rates(x) * self.modes(x), x)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)


class Reverse(SDE):
    """The reversal of an SDE, ``dx = [f - (1 + eta^2)/2 g^2 s] dt + eta g dW``, to be solved from T to 0.

    All ``eta`` share the marginals ``p_t`` of the forward process: ``eta = 1`` is the reverse SDE of Anderson (1982),
    whose solutions are posterior samples of ``x_0`` given ``x_T``; ``eta = 0`` is the probability-flow ODE
    (Song et al. 2021, eq. 13).

    Noise that depends on the state adds its divergence: ``dx = [f - (1 + eta^2)/2 (div(g^2) + g^2 s)] dt + eta g dW``
    (Haussmann and Pardoux 1986, theorem 2.1), in Ito's sense backward in time: ``g`` is taken at a step's later end.

    Args:
        sde: The forward process.
        score: ``s(x, t) = grad_x log p_t(x)`` of its marginals, not scaled by anything.
        eta: Strength of the noise, 0 (probability flow) or more; 1 gives posterior samples.

    Attributes:
        direction: -1, or 0 for ``eta = 0``: the probability flow may be solved either way.

    Raises:
        ValueError: If ``eta`` is negative or not finite.

    Example:
        The reversal of ``dx = -x dt + 2^(1/2) dW`` in its stationary law, whose score is ``-x``, is the same process:

        >>> class Stationary(SDE):
        ...     def drift(self, x, t):
        ...         return -x
        ...     def diffusion(self, t):
        ...         return 2**0.5 * torch.ones_like(t)
        >>> back = Reverse(Stationary(), lambda x, t: -x)
        >>> back.drift(torch.ones(1, 1), torch.ones(1)).round(decimals=4)  # dt < 0: it decays backward in time
        tensor([[1.]])
    """

    def __init__(self, sde: SDE, score: Score, eta: float = 1.0) -> None:
        check_instance(sde, SDE, "sde", "give Reverse(sde, score)")
        check_score(score)
        if not (isinstance(eta, (int, float)) and math.isfinite(eta) and eta >= 0):
            raise ValueError(f"`eta` must be a finite number >= 0 (0: probability flow, 1: reverse SDE), got {eta!r}.")
        self.sde, self.score, self.eta = sde, score, eta
        self.direction = -1 if eta > 0 else 0

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.sde.drift(x, t) - (1 + self.eta**2) / 2 * self.sde.correct(x, self.score(x, t), t)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."] | float:
        return self.eta * self.sde.diffusion(t)

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.eta * self.sde.diffuse(v, t) if self.eta else torch.zeros_like(v)

    def disturb(
        self, x: Float[Tensor, "batch *state"], v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        return self.eta * self.sde.disturb(x, v, t)


def check_score(score: Score) -> None:
    """Refuse a score that cannot be called as a function of states and times.

    Args:
        score: What was given.

    Raises:
        ValueError: If it cannot be called with both; one line says what to give.
    """
    remedy = "give a trained ScoreModel or a function of your own"
    if isinstance(score, SDE):
        raise ValueError(f"`score` must be a function (x, t) -> score, got {describe(score)}; {remedy}.")
    check_function(score, "score", "(x, t) -> score", remedy)
