"""Weights of a reversal: evidence ``log p(x_T)``, and posterior samples that are exact in the limit of many draws.

A reversal draws paths ``x_(M-1), ..., x_0`` from ``q(path | x_T) = prod_m q(x_m | x_(m+1))``, whatever its score.  The
process makes them with the density ``p(x_0) prod_m p(x_(m+1) | x_m)``.  The weight

    w = p(x_0) prod_m p(x_(m+1) | x_m) / prod_m q(x_m | x_(m+1))

has the mean ``E_q[w] = p(x_T)``, the evidence of the observation, and draws taken in proportion to their weights follow
``p(x_0 | x_T)``.  The better the score, the more even the weights; with a perfect one all are ``p(x_T)``.

References:
    Crooks (1998), Nonequilibrium measurements of free energy differences for microscopically reversible Markovian
    systems; Neal (2001), Annealed importance sampling; Sohl-Dickstein et al. (2015), Deep unsupervised learning using
    nonequilibrium thermodynamics, eq. 11.
"""

from __future__ import annotations

__all__ = ["Reversal", "Weighed", "path_log_weight", "prior_for", "weigh"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.devices import check_memory
from physinv.config.inputs import States, check_count, check_function, check_generator, check_instance, one_each
from physinv.equations.broadcast import default_batch
from physinv.equations.sde import SDE
from physinv.models.references.base import ReferenceLaw
from physinv.posterior.chain import Chain, forward_log_prob
from physinv.posterior.prior import PriorDensity, prior_of


@runtime_checkable
class Reversal(Protocol):
    """A posterior that draws along chains of steps whose log densities are known.

    Attributes:
        sde: The physics.
        reference: The reference law of the score; None where there is none.
    """

    @property
    def sde(self) -> SDE: ...

    @property
    def reference(self) -> ReferenceLaw | None: ...

    def chains(self) -> list[Chain]:
        """Return the chains that draws follow, in turn."""

    def accepted(self, final: States, name: str = "final") -> Float[Tensor, "batch *state"]:
        """Return states in the precision and on the device of the posterior.

        Args:
            final: States.
            name: Name of the argument, for messages.
        """


@dataclass(frozen=True)
class Weighed:
    """Weighted draws of a posterior.

    Args:
        samples: Draws of the reversal.
        log_weights: Their log weights in nats, float64; minus infinity where a draw left the range of the data and was
            cut off.
        prior: Where the density of the initial states comes from.
    """

    samples: Float[Tensor, "batch n *state"]
    log_weights: Float[Tensor, "batch n"]
    prior: str

    @property
    def log_evidence(self) -> Float[Tensor, " batch"]:
        """Return ``log p(x_T)`` in nats, the log of the mean weight."""
        return self.log_weights.logsumexp(1) - math.log(self.log_weights.shape[1])

    @property
    def error(self) -> Float[Tensor, " batch"]:
        """Return the standard error of :attr:`log_evidence` in nats, ``std(w) / (mean(w) sqrt(n))``.

        It is too small where few draws carry all weight: look at :attr:`effective`.
        """
        n = self.log_weights.shape[1]
        if n < 2:
            return torch.full_like(self.log_evidence, math.nan)
        return (n * self.shares).std(1) / math.sqrt(n)

    @property
    def shares(self) -> Float[Tensor, "batch n"]:
        """Return the weights divided by their sum."""
        return self.log_weights.softmax(1)

    @property
    def effective(self) -> Float[Tensor, " batch"]:
        """Return the effective share of the draws, ``(sum w)^2 / (n sum w^2)``, between ``1/n`` and 1 (Kish 1965)."""
        return 1 / (self.shares.square().sum(1) * self.log_weights.shape[1])

    @property
    def lower(self) -> Float[Tensor, " batch"]:
        """Return the mean log weight: ``log p(x_T)`` minus the divergence of the paths, so a lower bound on average."""
        return self.log_weights.mean(1)

    def mean(self) -> Float[Tensor, "batch *state"]:
        """Return the weighted mean of the draws, which tends to ``E[x_0 | x_T]`` whatever the score."""
        return torch.einsum("bn,bn...->b...", self.shares.to(self.samples), self.samples)

    def resample(
        self, n: int | None = None, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw samples in proportion to their weights, with replacement, by systematic resampling.

        Args:
            n: Number of samples for each final state; None: as many as there are draws.
            generator: Source of randomness, on the device of the samples.

        Returns:
            Samples of equal weight, in random order; exact in the limit of many draws.

        References:
            Kitagawa (1996), Monte Carlo filter and smoother for non-Gaussian nonlinear state space models.
        """
        rows, drawn = self.log_weights.shape
        n = drawn if n is None else check_count(n, "n")
        check_generator(generator)
        device = self.log_weights.device
        start = torch.rand((rows, 1), generator=generator, dtype=torch.float64, device=device)
        places = (torch.arange(n, device=device) + start) / n
        ladder = self.shares.cumsum(1)
        pick = torch.searchsorted(ladder / ladder[:, -1:], places).clamp(max=drawn - 1)
        order = torch.rand((rows, n), generator=generator, device=device).argsort(1)
        pick = pick.gather(1, order)
        return torch.stack([x[i] for x, i in zip(self.samples, pick, strict=True)])


@torch.no_grad()
def weigh(
    posterior: Reversal,
    final: States,
    n: int,
    *,
    log_prior: Callable[[Tensor], Tensor] | None = None,
    keep_lost: bool = False,
    generator: torch.Generator | None = None,
) -> Weighed:
    """Draw initial states by a reversal, and weigh each by how likely the process is to make its whole path.

    Args:
        posterior: The reversal, such as a :class:`~physinv.posterior.posterior.Posterior`; its step must have a log
            density (``euler``, ``split``, ``transport``).
        final: Final states ``x_T``.
        n: Number of draws for each final state.
        log_prior: Log density of initial states in nats, ``(batch, *state) -> (batch,)``; None: that of the process
            where there is a formula, else that of the score model's reference law.
        keep_lost: Whether a final state none of whose draws has a weight keeps its place, with a log evidence of minus
            infinity and a share that is NaN; otherwise one is refused, and all others with it.
        generator: Source of randomness, on the device of ``final``.

    Returns:
        The draws with their log weights, from which log evidence, effective share and resampled draws follow.

    Raises:
        ValueError: If the step, the forward transition or the prior has no log density, ``n`` is smaller than 1, or
            ``final`` are no finite states of this process.

    Example:
        >>> from physinv.equations.sde import SDE
        >>> from physinv.posterior.posterior import Posterior
        >>> class Brownian(SDE):
        ...     def drift(self, x, t): return 0 * x
        ...     def diffusion(self, t): return torch.ones_like(t)
        >>> law = Posterior(Brownian(), lambda x, t: -x / (1 + t[:, None]), torch.linspace(0, 1, 101))
        >>> normal = torch.distributions.Normal(0.0, 1.0)  # x_0 ~ N(0, 1), so that x_1 ~ N(0, 2)
        >>> generator, log_prior = torch.Generator().manual_seed(0), lambda x: normal.log_prob(x)[:, 0]
        >>> found = weigh(law, torch.zeros(1, 1), 1000, log_prior=log_prior, generator=generator)
        >>> abs(found.log_evidence.item() + 1.2655) < 0.02  # -log(4 pi) / 2, up to .006
        True
    """
    check_instance(posterior, Reversal, "posterior", "give weigh(posterior, final, n)")
    n = check_count(n, "n")
    check_generator(generator)
    final, chains = posterior.accepted(final), posterior.chains()
    prior = prior_for(posterior, chains, log_prior)

    numbers = n * (math.prod(final.shape) * final.element_size() + 8 * len(final))
    check_memory(numbers, f"weighing {n} draws for each of {len(final)} final states", "take fewer draws")

    # Draws are shared among the chains in turn; each draw's weight has the mean p(x_T) whatever its chain.
    samples = final.new_empty((len(final), n, *final.shape[1:]))
    weights = torch.empty((len(final), n), dtype=torch.float64, device=final.device)
    for i, chain in enumerate(chains[:n]):
        place, logs = samples[:, i :: len(chains)], weights[:, i :: len(chains)]
        ended, found = [], []
        for x in torch.split(final.repeat_interleave(place.shape[1], 0), default_batch(final)):
            y, total = _along(posterior.sde, chain, x, generator)
            ended.append(y)
            found.append(total + prior.log_prob(y).double())
        place.copy_(torch.cat(ended).reshape(place.shape))
        logs.copy_(_finite(torch.cat(found)).reshape(logs.shape))
    lost = (weights == -math.inf).all(1)
    if bool(lost.any()) and not keep_lost:
        raise ValueError(
            f"all draws of final state {int(lost.nonzero()[0])} left the range of the data or diverged, and none has a "
            "weight; take more steps or draws, or train on data that look like it."
        )
    return Weighed(samples, weights, prior.source)


@torch.no_grad()
def path_log_weight(
    posterior: Reversal, chain: Chain, path: Float[Tensor, "batch time *state"], prior: PriorDensity
) -> Float[Tensor, " batch"]:
    """Return the log weights that a chain gives to known paths.

    Args:
        posterior: The reversal.
        chain: One of its chains.
        path: States at its times, in increasing order of time.
        prior: Log density of the initial states.

    Returns:
        Nats, float64; infinite where the chain cannot follow the path.
    """
    total = prior.log_prob(path[:, 0]).double()
    states = path.flip(1).unbind(1)
    for link, x, y in zip(chain, states[:-1], states[1:], strict=True):
        total = total + forward_log_prob(posterior.sde, y, x, link.earlier, link.later) - link.log_density(x, y)
    return total


def prior_for(posterior: Reversal, chains: list[Chain], log_prior: Callable[[Tensor], Tensor] | None) -> PriorDensity:
    """Return the log density of the states that chains end in.

    Args:
        posterior: The reversal.
        chains: Its chains.
        log_prior: What was given; None: see :func:`~physinv.posterior.prior.prior_of`.
    """
    if log_prior is not None:
        given = log_prior
        check_function(given, "log_prior", "(x) -> log density")
        return PriorDensity(lambda x: one_each(given, x, "log_prior"), "given")
    return prior_of(posterior.sde, posterior.reference, chains[0][-1].earlier)


def _along(sde: SDE, chain: Chain, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw along a chain: the states at 0, and ``sum log p - sum log q``."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for link in chain:
        y = link.draw(x, generator)
        backward = link.log_density(x, y)
        forward = forward_log_prob(sde, y, x, link.earlier, link.later)
        # Draws that were cut off at a limit lie where q has mass and p has none: they count nothing.
        total = total + torch.where(backward == -math.inf, -math.inf, forward - backward)
        x = y
    return x, total


def _finite(log_weights: Tensor) -> Tensor:
    """Log weights, minus infinity for draws that diverged, or back from which no step of the physics is known."""
    return torch.nan_to_num(log_weights, nan=-math.inf, posinf=math.inf, neginf=-math.inf)
