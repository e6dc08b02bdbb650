"""The exact posterior of a process in one dimension with any drift, from the Fokker-Planck equation."""

from __future__ import annotations

__all__ = ["ScalarPosterior"]

from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from physinv.config.inputs import States
from physinv.laws.exact import ExactPosterior, check_ends, check_final
from physinv.laws.fokker_planck import FokkerPlanck

Array = NDArray[np.float64]


class ScalarPosterior(ExactPosterior):
    """The posterior ``p(x_0 | x_T)`` of ``dx = f(x) dt + noise dW`` in one dimension, for states of shape ``(1,)``.

    The transition density comes from :class:`~physinv.laws.fokker_planck.FokkerPlanck` for point masses, else, for all
    cells at once, from the matrix exponential of its generator.  In one dimension the probability flow preserves the
    order of states, so it is the quantile map ``F_0^-1(F_T(x_T))``.

    The equation is solved when the first answer is asked for, and once for all posteriors of the same process.

    Args:
        drift: ``f``, from positions to drifts, both ``(points,)``.
        noise: Noise amplitude ``g``, in units of the state per square root of time.
        horizon: Time T of the final states.
        edges: Increasing edges of the cells; walls are at both ends.
        prior: Law of the initial states: point masses ``(locations, weights)``, or a density, a function of the cell
            centres that need not be normalised.

    Raises:
        ValueError: If ``edges`` or ``noise`` do not define a grid (see
            :class:`~physinv.laws.fokker_planck.FokkerPlanck`).

    Example:
        >>> law = ScalarPosterior(lambda x: -x, 0.5, 1.0, np.linspace(-5, 5, 301), lambda x: np.exp(-x**2 / 2))
        >>> round(law.mean(torch.ones(1, 1)).item(), 2)  # x_0 ~ N(0, 1)
        1.51
    """

    def __init__(
        self,
        drift: Callable[[Array], Array],
        noise: float,
        horizon: float,
        edges: Float[Array, " faces"],
        prior: tuple[Array, Array] | Callable[[Array], Array],
    ) -> None:
        grid = FokkerPlanck(lambda x, t: drift(x), noise, edges)
        self.centers, self.edges = grid.centers, np.asarray(edges, dtype=np.float64)
        self.noise, self.horizon = float(noise), float(horizon)
        self.force = np.array(np.broadcast_to(drift(grid.faces), grid.faces.shape), dtype=np.float64)
        self.spread = not isinstance(prior, tuple)
        if isinstance(prior, tuple):
            self.points, weights = np.asarray(prior[0], dtype=np.float64), np.asarray(prior[1])
        else:
            self.points, weights = grid.centers, prior(grid.centers) * grid.widths
        self.weights = weights / weights.sum()

    @property
    def likelihood(self) -> Float[Array, "points cells"]:
        """Return the transition densities ``p(x_T | x_0)`` from each point of the prior to each cell."""
        starts = None if self.spread else self.points.tobytes()
        return _transition(self.edges.tobytes(), self.force.tobytes(), self.noise, self.horizon, starts)

    @cached_property
    def final_cdf(self) -> Float[Array, " faces"]:
        """Return the distribution function of the final state at the edges of the cells."""
        return np.append(0.0, np.cumsum(self.weights @ self.likelihood * np.diff(self.edges)))

    def probabilities(self, final: States) -> Float[Tensor, "batch points"]:
        """Return the posterior probability of each point of the prior, given each final state.

        Args:
            final: Final states ``x_T``.

        Returns:
            Probabilities, float64 on the CPU; the points are the locations of the prior's point masses, or the cells.

        Raises:
            ValueError: If a final state has probability 0.
        """
        x = check_final(final, (1,)).detach().reshape(-1).double().cpu().numpy()
        seen = np.stack([np.interp(x, self.centers, row) for row in self.likelihood], axis=1)
        joint = np.maximum(seen, 0) * self.weights
        total = joint.sum(1, keepdims=True)
        if not np.all(total > 0):
            worst = float(x[int(np.argmin(total))])
            raise ValueError(f"`final` must be a state that the process can reach, got {worst:g}; check its units.")
        return torch.from_numpy(joint / total)

    def mean(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean ``E[x_0 | x_T]``."""
        final = check_final(final, (1,))
        mean = self.probabilities(final) @ torch.from_numpy(self.points)
        return mean.reshape(final.shape).to(final)

    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states: points of the prior, or uniform positions within cells."""
        final = check_final(final, (1,), n, generator)
        p = self.probabilities(final)
        pick = torch.multinomial(p, n, replacement=True, generator=_on_cpu(generator))
        x = torch.from_numpy(self.points)[pick]
        if self.spread:
            jitter = torch.rand(x.shape, generator=_on_cpu(generator), dtype=torch.float64) - 0.5
            x = x + jitter * torch.from_numpy(np.diff(self.edges))[pick]
        return x.reshape(len(final), n, *final.shape[1:]).to(final)

    def flow(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the quantile map ``F_0^-1(F_T(x_T))``, the probability flow in one dimension."""
        final = check_final(final, (1,))
        x = final.detach().reshape(-1).double().cpu().numpy()
        level = np.interp(x, self.edges, self.final_cdf)
        cdf = np.cumsum(self.weights)
        if self.spread:
            back = np.interp(level, np.append(0.0, cdf), self.edges)
        else:
            back = self.points[np.minimum(np.searchsorted(cdf, level), len(cdf) - 1)]
        return torch.from_numpy(back).reshape(final.shape).to(final)

    def log_prob(self, initial: States, final: States) -> Float[Tensor, " batch"]:
        """Return the log density ``log p(x_0 | x_T)``.

        For a prior with a density, its logarithm is interpolated linearly between cell centres (the error is of second
        order in the cell width); beyond the grid it is -inf.  For point masses it is the log *probability* of the one
        that is nearest to ``x_0``.

        Args:
            initial: One initial state for each final state.
            final: Final states ``x_T``.
        """
        initial, final = check_ends(initial, final, (1,))
        p, x = self.probabilities(final), initial.detach().reshape(-1, 1).double().cpu()
        points, edges = (torch.from_numpy(np.ascontiguousarray(a)) for a in (self.points, self.edges))
        if not self.spread:
            nearest = (x - points).abs().argmin(1, keepdim=True)
            return p.gather(1, nearest)[:, 0].log().to(final)
        log = (p / edges.diff()).clamp(min=torch.finfo(p.dtype).tiny).log()
        after = torch.searchsorted(points, x.contiguous()).clamp(1, len(points) - 1)
        weight = ((x - points[after - 1]) / (points[after] - points[after - 1])).clamp(0, 1)
        value = torch.lerp(log.gather(1, after - 1), log.gather(1, after), weight)
        return value.where((x >= edges[0]) & (x <= edges[-1]), -torch.inf)[:, 0].to(final)


@lru_cache(maxsize=4)
def _transition(
    edges: bytes, force: bytes, noise: float, horizon: float, starts: bytes | None
) -> Float[Array, "points cells"]:
    """Transition densities from some positions, or from all cells; arrays come as bytes, so that answers are kept."""
    from scipy.linalg import expm

    drift = np.frombuffer(force)
    grid = FokkerPlanck(lambda x, t: drift, noise, np.frombuffer(edges))
    if starts is not None:
        return grid.transition(np.frombuffer(starts), horizon)
    return np.asarray((expm(grid.generator(0.0).toarray() * horizon) / grid.widths[:, None]).T)


def _on_cpu(generator: torch.Generator | None) -> torch.Generator | None:
    """A CPU generator seeded from ``generator``, since the tables live on the CPU."""
    if generator is None or generator.device.type == "cpu":
        return generator
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed))
