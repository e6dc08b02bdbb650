"""Exact posteriors ``p(x_0 | x_T)``: the yardstick that every reconstruction is held against."""

from __future__ import annotations

__all__ = ["ExactPosterior", "LinearGaussian", "MixturePosterior", "ObservedGaussian"]

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Linear
from physinv.laws.covariance import Covariance
from physinv.laws.gaussian import gaussian_log_prob
from physinv.laws.mixture import Mixture
from physinv.laws.observation import Observation, jacobian


class ExactPosterior(ABC):
    """The three answers to "where did ``x_T`` come from?"; see ``docs`` of each for what they are good for.

    Those whose density is known have ``log_prob(initial, final)`` as well, ``log p(x_0 | x_T)`` of one ``x_0`` for
    each ``x_T``.
    """

    @abstractmethod
    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Independent draws from ``p(x_0 | x_T)``."""

    @abstractmethod
    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """``E[x_0 | x_T]``."""

    @abstractmethod
    def flow(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """The probability-flow ODE's pre-image of ``x_T`` (exact, or to solver accuracy where no formula is known)."""


@dataclass(frozen=True)
class LinearGaussian(ExactPosterior):
    """A :class:`Linear` process over ``[0, horizon]`` started from a Gaussian that is diagonal in the same basis.

    Mode by mode, with ``a = e^{rT}``, accumulated noise ``V`` and prior variance ``S``: posterior gain
    ``aS / (a^2 S + V)`` and variance ``SV / (a^2 S + V)``; the flow maps by ``sqrt(S / (a^2 S + V))``.
    ``mean0 (*state)``, ``power (*modes)``: the prior's mean and ``E|y - E y|^2`` per orthonormal mode.
    """

    sde: Linear
    horizon: float
    mean0: Float[Tensor, "*state"]
    power: Tensor

    def _parts(self, final: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        t = final.new_full((1,), self.horizon)
        a, v = self.sde.decay(t, final), self.sde.variance(t, final)
        s = self.power.to(final)
        y = self.sde.modes(final) - a * self.sde.modes(self.mean0.to(final)[None])
        return y, a, v, s

    def _back(self, gained: Tensor, final: Tensor) -> Tensor:
        return self.mean0.to(final) + self.sde.unmodes(gained, final)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        y, a, v, s = self._parts(final)
        return self._back(a * s / (a**2 * s + v) * y, final)

    def flow(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        y, a, v, s = self._parts(final)
        return self._back((s / (a**2 * s + v)).sqrt() * y, final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        _, a, v, s = self._parts(final)
        z = torch.randn((n * len(final), *final.shape[1:]), generator=generator, dtype=final.dtype, device=final.device)
        wiggle = self.sde.unmodes((s * v / (a**2 * s + v)).sqrt() * self.sde.modes(z), z)
        return self.mean(final)[:, None] + wiggle.reshape(len(final), n, *final.shape[1:])

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """``log p(x_0 | x_T)``; modes that the prior leaves at its mean are left out
        (:func:`~physinv.laws.gaussian.gaussian_log_prob`)."""
        if not self.sde.noise > 0:
            raise ValueError(f"`sde.noise` must be positive for a density, got {self.sde.noise:g}.")
        _, a, v, s = self._parts(final)
        return gaussian_log_prob(self.sde.modes(initial - self.mean(final)), s * v / (a**2 * s + v), initial)

    def given(self, observation: Observation) -> ObservedGaussian:
        """The posterior where not ``x_T`` itself but ``y = H x_T + sigma n`` was observed."""
        return ObservedGaussian(self, observation)


@dataclass(frozen=True)
class ObservedGaussian:
    """``p(x_T | y)`` and ``p(x_0 | y)`` of a :class:`LinearGaussian` for ``y = H x_T + sigma n``.

    ``x_T ~ N(a m, a^2 S + V)`` is conditioned in observation space
    (:meth:`~physinv.laws.covariance.Covariance.given`). As ``y`` tells nothing about ``x_0`` that ``x_T`` does not,
    a draw from ``p(x_0 | x_T)`` of a draw from ``p(x_T | y)`` is one from ``p(x_0 | y)``; and ``E[x_0 | x_T]`` is
    affine in ``x_T``, so means compose as well. Each call factorises a matrix of the size of ``y``.
    """

    law: LinearGaussian
    observation: Observation

    def final_mean(self, y: Float[Tensor, "batch *seen"]) -> Float[Tensor, "batch *state"]:
        """``E[x_T | y]``."""
        return self._update(y)[0]

    def final_sample(
        self, y: Float[Tensor, "batch *seen"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Independent draws from ``p(x_T | y)``."""
        mean, covariance = self._update(y)
        z = torch.randn((n * len(y), *mean.shape[1:]), generator=generator, dtype=y.dtype, device=y.device)
        return mean[:, None] + covariance.root(z).reshape(len(y), n, *mean.shape[1:])

    def mean(self, y: Float[Tensor, "batch *seen"]) -> Float[Tensor, "batch *state"]:
        """``E[x_0 | y]``."""
        return self.law.mean(self.final_mean(y))

    def sample(
        self, y: Float[Tensor, "batch *seen"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Independent draws from ``p(x_0 | y)``."""
        final = self.final_sample(y, n, generator=generator)
        return self.law.sample(final.flatten(0, 1), 1, generator=generator).reshape(final.shape)

    def _update(self, y: Tensor) -> tuple[Tensor, Covariance]:
        sde, like, H = self.law.sde, self.law.mean0.to(y)[None], self.observation.operator
        a, v = (f(like.new_full((1,), self.law.horizon), like) for f in (sde.decay, sde.variance))
        mean, power = sde.unmodes(a * sde.modes(like), like), a**2 * self.law.power.to(y) + v
        prior = Covariance(
            lambda u: sde.unmodes(power * sde.modes(u), u), lambda z: sde.unmodes(power.sqrt() * sde.modes(z), z)
        )
        rows = jacobian(H, like)
        noise = self.observation.noise**2 * torch.eye(len(rows), dtype=torch.float64, device=y.device)
        gain, covariance = prior.given(rows, noise)
        return mean + gain(y - H(mean)), covariance


@dataclass(frozen=True)
class MixturePosterior(ExactPosterior):
    """``x_T = a x_0 + N(0, v I)`` with a Gaussian-mixture prior; the flow is integrated with the closed-form score.

    ``gain(t)`` and ``variance(t)`` come from the process ``dx = -rate x dt + noise dW``.
    """

    prior: Mixture
    rate: float
    noise: float
    horizon: float
    flow_steps: int = 400

    def _law(self, t: float) -> tuple[float, float]:
        return math.exp(-self.rate * t), self.noise**2 * -math.expm1(-2 * self.rate * t) / (2 * self.rate)

    def _prior(self, like: Tensor) -> Mixture:
        return Mixture(self.prior.weights.to(like), self.prior.means.to(like), self.prior.covs.to(like))

    def posterior(self, final: Float[Tensor, "batch d"]) -> Mixture:
        """``p(x_0 | x_T)`` as a mixture per observation."""
        return self._prior(final).given(final, *self._law(self.horizon))

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.posterior(final).mean()

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.posterior(final).sample(n, generator=generator)

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """``log p(x_0 | x_T)``."""
        return self.posterior(final).log_prob(initial)

    def flow(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        prior, x = self._prior(final), final

        def slope(x: Tensor, t: float) -> Tensor:
            return -self.rate * x - self.noise**2 / 2 * prior.through(*self._law(max(t, 0.0))).score(x)

        h = self.horizon / self.flow_steps
        for i in range(self.flow_steps, 0, -1):  # classical Runge-Kutta, backward
            t = i * h
            k1 = slope(x, t)
            k2 = slope(x - h / 2 * k1, t - h / 2)
            k3 = slope(x - h / 2 * k2, t - h / 2)
            k4 = slope(x - h * k3, t - h)
            x = x - h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return x
