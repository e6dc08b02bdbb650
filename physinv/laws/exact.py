"""Exact posteriors ``p(x_0 | x_T)``: the reference values that every reconstruction is compared with."""

from __future__ import annotations

__all__ = [
    "Density",
    "ExactPosterior",
    "LinearGaussian",
    "MixturePosterior",
    "Smoothable",
    "States",
    "check_ends",
    "check_final",
]

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import States, as_states, check_batch, check_count, check_generator
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import Linear
from physinv.laws.mixture import Mixture
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord, as_record
from physinv.laws.smoothing.base import Smoothed
from physinv.laws.smoothing.gaussian import SmoothedGaussian
from physinv.laws.smoothing.mixture import SmoothedMixture


class ExactPosterior(ABC):
    """The exact posterior of the initial state ``x_0`` given a final state ``x_T``.

    It gives three different answers: independent draws (:meth:`sample`), the mean (:meth:`mean`), and the state from
    which the probability flow reaches ``x_T`` (:meth:`flow`).  Posteriors whose density is known have a method
    ``log_prob(initial, final)`` as well.
    """

    @abstractmethod
    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states from ``p(x_0 | x_T)``.

        Args:
            final: Final states ``x_T``.
            n: Number of draws for each final state.
            generator: Source of randomness, on the device of ``final``.

        Returns:
            Initial states ``(batch, n, *state)``.
        """

    @abstractmethod
    def mean(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean ``E[x_0 | x_T]``.

        Args:
            final: Final states ``x_T``.
        """

    @abstractmethod
    def flow(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the initial state from which the probability flow reaches ``x_T``.

        Exact where a formula is known, else accurate to the error of a solver.

        Args:
            final: Final states ``x_T``.
        """

    def tensors(self) -> dict[str, Tensor]:
        """Return what was fitted to data: nothing."""
        return {}


@runtime_checkable
class Density(Protocol):
    """An answer that has a density, exact or not."""

    def log_prob(self, initial: Tensor, final: Tensor) -> Tensor:
        """Return ``log p(x_0 | x_T)``.

        Args:
            initial: Initial states, ``(batch, *state)``.
            final: Final states, ``(batch, *state)``.

        Returns:
            Log densities in nats, ``(batch,)``.
        """


@runtime_checkable
class Smoothable(Protocol):
    """An exact posterior that is known given records of noisy linear observations as well."""

    @property
    def horizon(self) -> float:
        """Time T of the final states."""

    def given(self, observed: ObservationRecord | Observation) -> Smoothed:
        """Return the posterior given a record, or one observation of the final state.

        Args:
            observed: What is observed.
        """


def check_final(
    final: States, shape: Sequence[int], n: int = 1, generator: torch.Generator | None = None
) -> Float[Tensor, "batch *state"]:
    """Return final states as a tensor, after checks of them and of the other arguments of an exact posterior.

    Args:
        final: Final states: a tensor, or an array or lists, of which one is made.
        shape: Shape of one state.
        n: Number of draws for each final state.
        generator: Source of randomness.

    Raises:
        ValueError: If the states have another shape or are not finite, or ``n`` or ``generator`` is of another kind.
    """
    check_count(n, "n")
    check_generator(generator)
    return as_states(final, "final", shape, finite=True)


def check_ends(
    initial: States, final: States, shape: Sequence[int]
) -> tuple[Float[Tensor, "batch *state"], Float[Tensor, "batch *state"]]:
    """Return initial and final states as tensors of one precision, after checks that they belong together.

    Args:
        initial: Initial states.
        final: Final states, one for each initial one.
        shape: Shape of one state.

    Raises:
        ValueError: If they have another shape, are not finite, or are not as many.
    """
    final = check_final(final, shape)
    initial = as_states(initial, "initial", shape, like=final, finite=True)
    check_batch(initial, "initial", final, "final")
    return initial, final


@dataclass(frozen=True)
class LinearGaussian(ExactPosterior):
    """The posterior of a linear process whose initial states are Gaussian and diagonal in the same basis.

    Per mode, with decay ``a = e^{rT}``, accumulated noise variance ``V`` and prior variance ``S``: the posterior has
    gain ``a S / (a^2 S + V)`` and variance ``S V / (a^2 S + V)``; the probability flow multiplies by
    ``sqrt(S / (a^2 S + V))``.

    Args:
        sde: The linear process.
        horizon: Time T of the final states.
        mean0: Mean of the initial states.
        power: Prior variance ``S = E|y - E y|^2`` of each orthonormal mode, ``(*modes)``.
    """

    sde: Linear
    horizon: float
    mean0: Float[Tensor, "*state"]
    power: Tensor

    def _parts(self, final: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Modes of ``x_T`` minus those of its mean, and ``a``, ``V`` and ``S`` of each mode."""
        t = final.new_full((1,), self.horizon)
        a, v = self.sde.decay(0.0, t, final), self.sde.variance(0.0, t, final)
        s = self.power.to(final)
        y = self.sde.modes(final) - a * self.sde.modes(self.mean0.to(final)[None])
        return y, a, v, s

    def _back(self, gained: Tensor, final: Tensor) -> Tensor:
        """The initial state whose modes differ from those of the mean by ``gained``."""
        return self.mean0.to(final) + self.sde.unmodes(gained, final)

    def mean(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean ``E[x_0 | x_T]``, mode by mode."""
        final = check_final(final, self.mean0.shape)
        y, a, v, s = self._parts(final)
        return self._back(a * s / (a**2 * s + v) * y, final)

    def flow(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the initial state from which the probability flow reaches ``x_T``, mode by mode."""
        final = check_final(final, self.mean0.shape)
        y, a, v, s = self._parts(final)
        return self._back((s / (a**2 * s + v)).sqrt() * y, final)

    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states from ``p(x_0 | x_T)``, mode by mode."""
        final = check_final(final, self.mean0.shape, n, generator)
        _, a, v, s = self._parts(final)
        z = torch.randn((n * len(final), *final.shape[1:]), generator=generator, dtype=final.dtype, device=final.device)
        wiggle = self.sde.unmodes((s * v / (a**2 * s + v)).sqrt() * self.sde.modes(z), z)
        return self.mean(final)[:, None] + wiggle.reshape(len(final), n, *final.shape[1:])

    def final_log_prob(self, final: States) -> Float[Tensor, " batch"]:
        """Return the log density ``log p(x_T)`` of final states; modes without variance are left out.

        Args:
            final: Final states ``x_T``.
        """
        final = check_final(final, self.mean0.shape)
        y, a, v, s = self._parts(final)
        return gaussian_log_prob(y, a**2 * s + v, final)

    def log_prob(self, initial: States, final: States) -> Float[Tensor, " batch"]:
        """Return the log density ``log p(x_0 | x_T)``.

        Modes without posterior variance (the prior holds them at its mean) are left out; see
        :func:`~physinv.equations.gaussian.gaussian_log_prob`.

        Args:
            initial: One initial state for each final state.
            final: Final states ``x_T``.

        Raises:
            ValueError: If the process has no noise, so that the posterior has no density.
        """
        if not self.sde.noise > 0:
            raise ValueError(f"`sde.noise` must be positive for a density, got {self.sde.noise:g}.")
        initial, final = check_ends(initial, final, self.mean0.shape)
        _, a, v, s = self._parts(final)
        return gaussian_log_prob(self.sde.modes(initial - self.mean(final)), s * v / (a**2 * s + v), initial)

    def given(self, observed: ObservationRecord | Observation) -> SmoothedGaussian:
        """Return the posterior given noisy observations: of the final state, or a record of several times.

        Args:
            observed: Linear operators, standard deviations of the noise and times; an observation alone is one of the
                final state.
        """
        return SmoothedGaussian(self, as_record(observed, self.horizon))


@dataclass(frozen=True)
class MixturePosterior(ExactPosterior):
    """The posterior of ``dx = -rate x dt + noise dW`` whose initial states follow a Gaussian mixture.

    The transition is ``x_T = a x_0 + N(0, v I)`` with ``a = e^{-rate T}`` and ``v = noise^2 (1 - e^{-2 rate T}) / (2
    rate)``; the posterior is a mixture again.  The probability flow has no formula and is integrated with the exact
    score of ``p_t``.

    Args:
        prior: Law of the initial states.
        rate: Relaxation rate, per time.
        noise: Noise amplitude, in units of the state per square root of time.
        horizon: Time T of the final states.
        flow_steps: Runge-Kutta steps of the probability flow.

    Example:
        >>> prior = Mixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1, 1))  # N(0, 1)
        >>> law = MixturePosterior(prior, rate=0.5, noise=0.3, horizon=2.0)
        >>> final = torch.ones(1, 1, dtype=torch.float64)
        >>> round(law.mean(final).item(), 3), round(law.flow(final).item(), 3)
        (1.726, 2.166)
    """

    prior: Mixture
    rate: float
    noise: float
    horizon: float
    flow_steps: int = 400

    def _law(self, t: float) -> tuple[float, float]:
        """Decay ``a`` and variance ``v`` of the transition from 0 to ``t``."""
        return math.exp(-self.rate * t), self.noise**2 * -math.expm1(-2 * self.rate * t) / (2 * self.rate)

    def _prior(self, like: Tensor) -> Mixture:
        """The prior in the dtype and on the device of ``like``."""
        return Mixture(self.prior.weights.to(like), self.prior.means.to(like), self.prior.covs.to(like))

    def posterior(self, final: States) -> Mixture:
        """Return ``p(x_0 | x_T)`` as one Gaussian mixture for each final state.

        Args:
            final: Final states ``x_T``.
        """
        final = check_final(final, self.prior.means.shape[-1:])
        return self._prior(final).given(final, *self._law(self.horizon))

    def mean(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean ``E[x_0 | x_T]``, that of the mixture."""
        return self.posterior(final).mean()

    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states from the posterior mixture."""
        final = check_final(final, self.prior.means.shape[-1:], n, generator)
        return self.posterior(final).sample(n, generator=generator)

    def final_log_prob(self, final: States) -> Float[Tensor, " batch"]:
        """Return the log density ``log p(x_T)`` of final states.

        Args:
            final: Final states ``x_T``.
        """
        final = check_final(final, self.prior.means.shape[-1:])
        return self._prior(final).through(*self._law(self.horizon)).log_prob(final)

    def given(self, observed: ObservationRecord | Observation) -> SmoothedMixture:
        """Return the posterior given noisy observations: of the final state, or a record of several times.

        Args:
            observed: Linear operators, standard deviations of the noise and times; an observation alone is one of the
                final state.
        """
        record, parts = as_record(observed, self.horizon), []
        for mean, cov in zip(self.prior.means.double(), self.prior.covs.double(), strict=True):
            power, vectors = torch.linalg.eigh(cov)
            alone = LinearGaussian(_Relaxation(self.rate, self.noise, vectors), self.horizon, mean, power.clamp(min=0))
            parts.append(alone.given(record))
        return SmoothedMixture(self.prior.weights.double(), tuple(parts))

    def log_prob(self, initial: States, final: States) -> Float[Tensor, " batch"]:
        """Return the log density ``log p(x_0 | x_T)``.

        Args:
            initial: One initial state for each final state.
            final: Final states ``x_T``.
        """
        initial, final = check_ends(initial, final, self.prior.means.shape[-1:])
        return self.posterior(final).log_prob(initial)

    def flow(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the initial state from which the probability flow reaches ``x_T``, by Runge-Kutta steps."""
        final = check_final(final, self.prior.means.shape[-1:])
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


class _Relaxation(Linear):
    """``dx = -rate x dt + noise dW``, which is diagonal in any orthonormal basis, in the one given."""

    basis = "vectors"

    def __init__(self, rate: float, noise: float, vectors: Float[Tensor, "d d"]) -> None:
        self.rate, self.noise, self.vectors = rate, noise, vectors

    def rates(self, like: Float[Tensor, "batch d"]) -> Tensor:
        return like.new_full((1,), -self.rate)

    def modes(self, x: Float[Tensor, "*batch d"]) -> Tensor:
        return x @ self.vectors.to(x)

    def unmodes(self, y: Float[Tensor, "*batch d"], like: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        return y @ self.vectors.to(y).T
