"""The noise of draws of particles: deviation times exchangeable noise, correlated as the errors that were made.

Particles of a species are exchangeable: one covariance for each of them, and one for each pair.  Errors of a learned
mean share what is not known of a species as a whole, such as its centre, so that draws of independent noise would be
too far from the truth as wholes, although every particle taken alone is right.
"""

from __future__ import annotations

__all__ = ["ParticleNoise"]

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.models.references.particles import fit_tables

_RIDGE = 1e-6  # of the mean variance, so that what all errors share has a root


class ParticleNoise(nn.Module):
    """Noise around learned means of particles, for each jump of a table: ``deviation xi``.

    In units of the deviation errors are ``xi_i = e_i + Y_s`` for particle ``i`` of species ``s``, with deviations
    ``cov(e_i, e_j) = W_s (delta_ij - 1/n_s)`` and shared errors ``Y`` of covariance ``B`` over all species
    (:mod:`physinv.models.references.particles`).

    Args:
        jumps: Number of jumps.
        components: Moving components ``k`` of each particle.
    """

    within: Float[Tensor, "jumps species k k"]
    shared: Float[Tensor, "jumps speciesk speciesk"]

    def __init__(self, jumps: int, components: int) -> None:
        super().__init__()
        self.register_buffer("within", torch.eye(components).repeat(jumps, 2, 1, 1))
        self.register_buffer("shared", torch.zeros(jumps, 2 * components, 2 * components))

    @torch.no_grad()
    def fit(
        self,
        gap: Float[Tensor, "m n k"],
        deviation: Float[Tensor, "m n k"],
        species: Float[Tensor, "m n 1"],
        jump: int,
    ) -> None:
        """Fit the covariances to errors.

        Args:
            gap: Errors of means.
            deviation: Their deviations, as they were predicted.
            species: Species of the particles, +1 or -1, in the same places of all states.
            jump: Number of the jump.
        """
        k = gap.shape[2]
        _, within, shared = fit_tables(torch.cat([gap / deviation, species], dim=-1).double())

        # Roots: with them draws are two products.
        self.within[jump], self.shared[jump] = torch.eye(k).to(gap), 0.0
        members = [i for i, member in enumerate(_members(species[0, :, 0])) if bool(member.any())]
        for place, C in zip(members, within, strict=True):
            self.within[jump, place] = _root(C).to(gap)
        rows = torch.cat([torch.arange(k) + place * k for place in members]).to(gap.device)
        self.shared[jump][rows[:, None], rows] = _root(shared).to(gap)

    @torch.no_grad()
    def draw(
        self,
        deviation: Float[Tensor, "batch n k"],
        species: Float[Tensor, "batch n 1"],
        jump: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n k"]:
        """Draw noise.

        Args:
            deviation: Standard deviation of every component, as it was predicted.
            species: Species of the particles, +1 or -1.
            jump: Number of the jump.
            generator: Source of randomness, on the device of ``deviation``.

        Returns:
            Noise with the covariances that were fitted, in these units.
        """
        k, (dtype, device) = deviation.shape[2], (deviation.dtype, deviation.device)
        z = torch.randn(deviation.shape, generator=generator, dtype=dtype, device=device)
        w = torch.randn((len(z), 2 * k), generator=generator, dtype=dtype, device=device)
        Y = (w @ self.shared[jump]).reshape(len(z), 2, k)
        member = torch.stack(_members(species[..., 0]), dim=-1).to(z)  # (batch, n, species)
        one, two = (z @ W.T for W in self.within[jump])
        e = torch.where(species > 0, one, two)
        mean = member.mT @ e / member.sum(1).clamp(min=1)[..., None]

        # A species of one particle has no deviations from its mean: all of its error is shared.
        return deviation * (e + member @ (Y - mean))


def _members(species: Tensor) -> tuple[Tensor, Tensor]:
    """Which particles are of either species."""
    return species > 0, species <= 0


def _root(C: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """The symmetric root of a covariance."""
    values, vectors = torch.linalg.eigh(C)
    root: Tensor = (vectors * values.clamp(min=_RIDGE * float(values.mean())).sqrt()) @ vectors.T
    return root
