"""The law of the initial states in whitened coordinates: ``x_0 = m + S^(1/2) u``, with the density of ``u``.

Where the process starts from a Gaussian, ``u`` is standard normal.  Otherwise mean and covariance only give the
coordinates, and the density is that of the process (``initial_log_prob``).  ``m`` and ``S`` come from draws of the
process itself, 2^16 of small states: standard errors of a variance of half a per cent.
"""

from __future__ import annotations

__all__ = ["InitialLaw", "JointLaw", "LawWithNoise", "fit_initial_law"]

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.exact import LinearGaussian
from physinv.laws.record import Level
from physinv.methods.classical.coordinates import Coordinates, PriorCoordinates, given_prior
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.problem import NotApplicableError
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying

_DRAWS, _NUMBERS = 2**16, 2**24  # most draws, and most numbers of all of them
_FEW = 2**12  # of them, which are looked at first where a process knows no density: a spin-up is slow
_COLUMNS = 128  # components whose third and fourth moments are looked at
_ERRORS = 7.0  # standard errors by which a moment of a Gaussian may be off: once in 10^11
_SLACK = 0.02  # and what is left of a Gaussian in float32


@dataclass(frozen=True)
class InitialLaw:
    """The law of ``x_0`` in coordinates ``u``.

    Args:
        gaussian: Mean and covariance of the moving channels, which define the coordinates; or those of a given prior.
        log_prob: The log density of states, up to a constant; None where coordinates are standard normal.
    """

    gaussian: Coordinates
    log_prob: Callable[[Tensor], Tensor] | None = None

    @property
    def numbers(self) -> int:
        """Length of ``u``: the number of moving components."""
        return self.gaussian.mean.numel()

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the states ``m + S^(1/2) u``.

        Args:
            u: Whitened coordinates.
            final: Final states, whose static channels are copied.

        Returns:
            States of the shape of ``final``.
        """
        return self.gaussian.root(u, final)

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return the coordinates of states.

        Args:
            initial: Initial states.

        Returns:
            Whitened coordinates.
        """
        return self.gaussian.standardise(initial)

    def draw(
        self,
        simulator: Simulator,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "n *state"]:
        """Draw initial states: of a given prior, else of the process.

        Args:
            simulator: The process.
            n: Number of states.
            generator: Source of the draws, on ``device``.
            device: Where the states are made.
            dtype: Their precision.

        Returns:
            The draws.
        """
        if given_prior(self.gaussian) is None:
            return simulator.initial(n, generator=generator, device=device, dtype=dtype)
        u = torch.randn((n, self.numbers), generator=generator, device=device, dtype=dtype)
        return self.root(u, u.new_zeros((n, *simulator.shape)))

    def coordinates(
        self, simulator: Simulator, like: Float[Tensor, "n *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        """Draw whitened coordinates from the law.

        Args:
            simulator: The process.
            like: States of the number, precision and device in question.
            generator: Source of the draws.

        Returns:
            One row for each state.
        """
        start = self.draw(simulator, len(like), generator=generator, device=like.device, dtype=like.dtype)
        return self.standardise(start).to(like)

    def level(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"] | None:
        """Return the levels of the noise of observations; None where they are no unknowns.

        Args:
            u: Whitened coordinates.

        Returns:
            One level for each row.
        """
        return None

    def penalty(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return minus the log density of ``u`` up to a constant, in float64.

        Args:
            u: Whitened coordinates.
            final: Final states, whose static channels are copied.

        Returns:
            One value for each row; ``|u|^2 / 2`` for Gaussian laws.
        """
        if self.log_prob is None:
            return u.double().square().sum(1) / 2
        return -self.log_prob(self.root(u, final)).double()


@dataclass(frozen=True)
class JointLaw(InitialLaw):
    """The law of ``x_0`` and of unknown parameters: ``u``, then a standard normal number for each parameter.

    Args:
        gaussian: Mean and covariance of the moving channels, which define the first coordinates.
        log_prob: The log density of states, up to a constant; None where their law is the Gaussian itself.
        process: The process, whose static parts the parameters are.
    """

    process: Varying = field(kw_only=True)

    @property
    def numbers(self) -> int:
        return super().numbers + len(self.process.priors)

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        d = super().numbers
        x = self.gaussian.root(u[:, :d], final)
        return self.process.joined(self.process.state(x), self.process.from_normal(u[:, d:]))

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        u = self.gaussian.standardise(initial)
        return torch.cat([u, self.process.normal(initial).to(u)], 1)

    def penalty(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        if self.log_prob is None:
            return u.double().square().sum(1) / 2
        return -self.log_prob(self.root(u, final)).double() + u[:, super().numbers :].double().square().sum(1) / 2


@dataclass(frozen=True)
class LawWithNoise(InitialLaw):
    """The law of ``x_0`` and of the level of the noise: the coordinates of ``x_0``, then a standard normal number.

    Args:
        gaussian: Mean and covariance of the moving channels, which define the first coordinates.
        log_prob: Unused: ``law`` has it.
        law: The law of ``x_0``.
        prior: The law of the level.
    """

    law: InitialLaw = field(kw_only=True)
    prior: Level = field(kw_only=True)

    @property
    def numbers(self) -> int:
        return self.law.numbers + 1

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.law.root(u[:, :-1], final)

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return the coordinates of states, with the level in the middle of its law.

        Args:
            initial: Initial states.
        """
        u = self.law.standardise(initial)
        return torch.cat([u, u.new_zeros(len(u), 1)], 1)

    def draw(
        self,
        simulator: Simulator,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "n *state"]:
        return self.law.draw(simulator, n, generator=generator, device=device, dtype=dtype)

    def coordinates(
        self, simulator: Simulator, like: Float[Tensor, "n *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        u = self.law.coordinates(simulator, like, generator=generator)
        return torch.cat([u, torch.randn((len(u), 1), generator=generator, dtype=u.dtype, device=u.device)], 1)

    def level(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"] | None:
        return self.prior.value(u[:, -1])

    def penalty(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        return self.law.penalty(u[:, :-1], final) + u[:, -1].double().square() / 2


@torch.no_grad()
def fit_initial_law(
    simulator: Simulator,
    *,
    prior: PriorCoordinates | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> InitialLaw:
    """Fit the coordinates to draws of the process, and look whether its initial states are Gaussian.

    The test compares third and fourth moments of components and of whitened coordinates with those of a Gaussian.

    Args:
        simulator: The process.
        prior: A prior that is given, whose coordinates are the law's; None: the law is that of the process.
        generator: Source of the draws, on ``device``.
        device: Where the states are made.

    Returns:
        The law.

    Raises:
        NotApplicableError: If the initial states are not Gaussian, and the process does not know their density.
    """
    if prior is not None:
        return InitialLaw(prior)
    n = max(1000, min(_DRAWS, _NUMBERS // math.prod(simulator.shape)))
    linear = isinstance(simulator.exact(), LinearGaussian)
    try:
        few = simulator.initial(min(n, _FEW), generator=_copy(generator, device), device=device)
        known = linear or simulator.initial_log_prob(few[:1]) is not None
        plain = known or _normal(simulator.layout.moving(few).flatten(1).double())
        initial = simulator.initial(n, generator=generator, device=device) if plain else few
    except (NotImplementedError, ValueError) as error:
        raise NotApplicableError(f"the process must be able to draw initial states: {error}") from None
    if not plain:
        raise _unknown(simulator)
    gaussian = gaussian_prior_of(simulator, initial)
    if linear or _is_gaussian(gaussian, simulator.layout, initial):
        return _law(simulator, gaussian)
    if not known:
        raise _unknown(simulator)

    def log_prob(x: Tensor) -> Tensor:
        found = simulator.initial_log_prob(x)
        assert found is not None  # asked above
        return found

    return _law(simulator, gaussian, log_prob)


def _law(simulator: Simulator, gaussian: Coordinates, log_prob: Callable[[Tensor], Tensor] | None = None) -> InitialLaw:
    """The law of states, and of parameters where some are unknown."""
    if isinstance(simulator, Varying):
        return JointLaw(gaussian, log_prob, process=simulator)
    return InitialLaw(gaussian, log_prob)


def _copy(generator: torch.Generator | None, device: torch.device | str | None) -> torch.Generator:
    """A source in the same state, whose draws move nothing on."""
    if generator is None:
        return torch.Generator(device or "cpu").manual_seed(0)
    return torch.Generator(generator.device).set_state(generator.get_state())


def _unknown(simulator: Simulator) -> NotApplicableError:
    """The error of initial states without a density."""
    return NotApplicableError(
        f"the initial states of {type(simulator.inner if isinstance(simulator, Varying) else simulator).__name__} are "
        "not Gaussian, and their density is not known; give the class a method `log_prior` (or `initial_log_prob`, "
        "up to a constant)."
    )


def _is_gaussian(gaussian: Coordinates, layout: StateLayout, initial: Tensor) -> bool:
    """Whether third and fourth moments of components and whitened coordinates are those of a Gaussian."""
    x = layout.moving(initial)
    return _normal(x.flatten(1).double()) and _normal(gaussian.standardise(initial).double())


def _normal(y: Float[Tensor, "n d"]) -> bool:
    """Whether third and fourth moments of components are those of a Gaussian."""
    spread = y.std(0)
    kept = (spread > 1e-3 * spread.max()).nonzero()[:, 0]
    kept = kept[torch.linspace(0, len(kept) - 1, min(len(kept), _COLUMNS), device=kept.device).long()]
    z = (y[:, kept] - y[:, kept].mean(0)) / spread[kept]
    for power, moment, variance in ((3, 0.0, 6.0), (4, 3.0, 24.0)):
        allowed = _ERRORS * math.sqrt(variance / len(z)) + _SLACK
        if float((z**power).mean(0).sub(moment).abs().max()) > allowed:
            return False
    return True
