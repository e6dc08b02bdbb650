"""Noise of particles with the correlations that the physics gives, and the deviations that were learned.

Around learned means ``m`` of earlier states let ``F`` be the physics without noise to the later time, ``R`` the
covariance of what the noise adds to the vectors of one particle until then, and ``P`` the covariance of earlier states.
Then ``H = J^T R^-1 J + P^-1``, ``J = dF/dx`` at ``m``, is the precision of Laplace's approximation.  Draws have the
covariance nearest to ``H^-1`` whose variances do not exceed those that were learned
(:func:`~physinv.models.jumps.physical_noise.nearest_covariance`): particles that pushed each other have errors that
depend on each other.  Without it the errors of all components are independent.
"""

from __future__ import annotations

__all__ = ["ParticleNoise", "exchangeable_covariance"]

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.models.jumps.physical_noise import Forward, nearest_covariance
from physinv.models.references.particles import fit_tables

_NUMBERS = 128  # moving components of a state up to which the derivative of the physics is taken
_DIFFERENCE = 1e-2  # of the deviation of a component: the step of a derivative, far above rounding
_RIDGE = 1e-6  # of the mean variance, so that covariances of what hardly varies have an inverse
_FACTORS = (0.5, 2.0)  # of the learned deviation, at least and at most
_AT_ONCE = 64  # observations of which the derivative is taken at the same time
_MEAN_MODULUS = (2 / torch.pi) ** 0.5  # of a standard normal number


class ParticleNoise(nn.Module):
    """Noise around learned means of particles, for each jump of a table; see the module.

    Args:
        jumps: Number of jumps.
        count: Number of particles.
        vectors: Vectors of each particle.
        dimension: Components of a vector.
    """

    factor: Float[Tensor, "jumps k"]
    added: Float[Tensor, "jumps vectors vectors"]
    prior: Float[Tensor, "jumps numbers numbers"]

    def __init__(self, jumps: int, count: int, vectors: int, dimension: int) -> None:
        super().__init__()
        self.vectors, self.dimension = vectors, dimension
        numbers = count * vectors * dimension
        self.few = numbers <= _NUMBERS
        self.register_buffer("factor", torch.ones(jumps, vectors * dimension))
        self.register_buffer("added", torch.zeros(jumps, vectors, vectors))
        self.register_buffer("prior", torch.zeros(jumps, *[numbers * self.few] * 2))

    def known(self, jump: int) -> bool:
        """Tell whether the correlations of the physics are known for a jump.

        Args:
            jump: Number of the jump.
        """
        return bool(self.added[jump].any())

    def forget(self, jump: int) -> None:
        """Leave a jump without the correlations of the physics.

        Args:
            jump: Number of the jump.
        """
        self.added[jump] = 0.0

    @torch.no_grad()
    def scale(self, drawn: Float[Tensor, "copies m n k"], gap: Float[Tensor, "m n k"], jump: int) -> None:
        """Fit the factor with which noise is as large as errors, by the means of their moduli.

        Args:
            drawn: Draws of the noise with the present factor.
            gap: Errors of means.
            jump: Number of the jump.
        """
        size, noise = (x.abs().flatten(0, -2).mean(0).reshape(-1, self.dimension).mean(1) for x in (gap, drawn))
        factor = size / noise.clamp(min=torch.finfo(noise.dtype).tiny)
        self.factor[jump] = (self.factor[jump] * factor.repeat_interleave(self.dimension)).clamp(*_FACTORS)

    @torch.no_grad()
    def fit(
        self,
        forward: Forward,
        earlier: Float[Tensor, "m n k"],
        later: Float[Tensor, "m n c"],
        mean: Float[Tensor, "m n k"],
        jump: int,
    ) -> bool:
        """Fit the covariances of earlier states and of what the noise adds to trajectories.

        Where learned means miss the observation by more than the noise, their misfit counts as noise: draws around
        them can't be surer of it.

        Args:
            forward: The physics without noise.
            earlier: Moving components at the earlier time.
            later: Whole states at the later time.
            mean: Learned means of the earlier components.
            jump: Number of the jump.

        Returns:
            Whether the correlations are known: a state has few numbers, and the physics does not fail.
        """
        self.forget(jump)
        if not self.few:
            return False
        gaps = [later[..., : earlier.shape[2]] - forward(x, later) for x in (earlier, mean)]
        if not all(bool(gap.isfinite().all()) for gap in gaps):
            return False

        # What the noise adds, and on the diagonal what means miss beyond it.
        noise, missed = (self._of_vectors(gap) for gap in gaps)
        more = (missed - noise).diagonal().clamp(min=0)
        added = noise + torch.diag(more)
        if not float(added.diagonal().amin()) > 0:
            return False
        prior = exchangeable_covariance(torch.cat([earlier, later[..., earlier.shape[2] :]], dim=-1).double())
        self.prior[jump] = (prior + _RIDGE * prior.diagonal().mean() * torch.eye(len(prior)).to(prior)).to(mean)
        self.added[jump] = added
        return True

    @torch.no_grad()
    def draw(
        self,
        forward: Forward,
        mean: Float[Tensor, "m n k"],
        deviation: Float[Tensor, "m n k"],
        later: Float[Tensor, "m n c"],
        row: Tensor,
        jump: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "draws n k"]:
        """Draw noise around learned means.

        Args:
            forward: The physics without noise.
            mean: Learned means of the moving components.
            deviation: Their deviations.
            later: Whole later states.
            row: For each draw, the number of its mean.
            jump: Number of the jump.
            generator: Source of randomness, on the device of ``mean``.

        Returns:
            Noise for each draw.
        """
        wide = self.factor[jump] * deviation
        z = torch.randn((len(row), *mean.shape[1:]), generator=generator, dtype=mean.dtype, device=mean.device)
        if not self.known(jump):
            return wide[row] * z
        roots = []
        for part in torch.split(torch.arange(len(mean), device=mean.device), _AT_ONCE):
            J = self._derivative(forward, mean[part], later[part], jump)
            H = J @ J.mT + torch.linalg.inv(self.prior[jump].double())
            unit = torch.eye(H.shape[1]).to(H)
            C = nearest_covariance(H, unit, wide[part].flatten(1))
            roots.append(torch.linalg.cholesky(C).to(mean))
        return (torch.cat(roots)[row] @ z.flatten(1)[..., None]).reshape(z.shape)

    def _derivative(self, forward: Forward, mean: Tensor, later: Tensor, jump: int) -> Float[Tensor, "m D D"]:
        """``J^T R^(-1/2)``, float64, by differences of runs."""
        D, step = mean[0].numel(), _DIFFERENCE * self.prior[jump].diagonal().sqrt()
        moved = mean.flatten(1)[:, None] + torch.cat([torch.zeros_like(step)[None], torch.diag(step)])
        reached = forward(moved.reshape(-1, *mean.shape[1:]), later.repeat_interleave(D + 1, 0))
        reached = reached.reshape(len(mean), D + 1, -1).double()
        change = (reached[:, 1:] - reached[:, :1]) / step.double()[:, None]

        # Whiten the vectors of each particle.
        white = torch.linalg.inv(torch.linalg.cholesky(self.added[jump].double()))
        vectors = change.reshape(len(mean), D, -1, self.vectors, self.dimension)
        J = torch.einsum("uv,mDnvd->mDnud", white, vectors).flatten(2)
        return torch.where(J.isfinite().flatten(1).all(1)[:, None, None], J, torch.zeros_like(J))

    def _of_vectors(self, x: Float[Tensor, "m n k"]) -> Float[Tensor, "vectors vectors"]:
        """Covariance of the vectors of one particle, pooled over particles and components."""
        y = x.reshape(-1, self.vectors, self.dimension)
        y = y - y.mean(0)
        return torch.einsum("pud,pvd->uv", y, y) / (len(y) * self.dimension)


def exchangeable_covariance(x: Float[Tensor, "m n c"]) -> Float[Tensor, "D D"]:
    """Estimate the covariance of all components, the same for all particles of a species and all pairs of them.

    Args:
        x: States, all with the same species in the same places.

    Returns:
        Covariance of the ``n k`` moving components, flattened.

    Example:
        >>> alike = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[-1.0, 1.0], [-1.0, 1.0]]])  # two that move as one
        >>> exchangeable_covariance(alike)
        tensor([[2., 2.],
                [2., 2.]])
    """
    _, within, centre = fit_tables(x)
    first, k = x[0, :, -1] > 0, x.shape[2] - 1
    groups = torch.stack([g for g in (first, ~first) if bool(g.any())], dim=1).to(x)  # (n, species)
    size = groups.sum(0)

    # Deviations from the mean of the species, and the means of all species.
    alone = torch.diag_embed(groups.T) - torch.einsum("is,js->sij", groups, groups) / size[:, None, None]
    alone = torch.where((size > 1)[:, None, None], alone, torch.zeros_like(alone))
    own = torch.einsum("sij,sab->iajb", alone, within)
    between = torch.einsum("is,satb,jt->iajb", groups, centre.reshape(len(size), k, len(size), k), groups)
    together: Tensor = (own + between).reshape(len(first) * k, -1)
    return together
