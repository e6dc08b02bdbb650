"""What coordinates of paths owe to their unknown parameters: a shift, and the law of noise that is integrated out.

Where a parameter changes the gain from ``x_0`` to ``x_T``, the paths that fit the final state lie along a curve: thin
across, since the noise is weak, and bent, since gains are exponentials.  In coordinates ``c'`` with ``c = c' + B(z)``,
``z`` the numbers of the parameters in ``c'``, that curve is straight.  ``B`` has no part along ``z``, so that volumes
stay as they are.

Noise of the last steps that is integrated out after linearisation leaves a Gaussian at the end, whose covariance
depends on the parameters, too: it is found at several values, and Cholesky factors are interpolated.
"""

from __future__ import annotations

__all__ = ["Bend", "LateEnd"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Bend:
    """The shift ``B(z) = sum_a sum_k b_ak (z_a - z_a*)^k``, ``k`` from 2 on, with ``z`` kept within bounds.

    Args:
        first: Place of the first parameter among the coordinates.
        centre: ``z*``.
        reach: Largest difference from it that counts.
        terms: ``b``, 0 along the parameters.
    """

    first: int
    centre: Float[Tensor, "batch p"]
    reach: Float[Tensor, "batch p"]
    terms: Float[Tensor, "batch p k D"]

    def shift(self, c: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """Return ``B``, differentiable.

        Args:
            c: Coordinates of paths, or the first of them, with those of the parameters.

        Returns:
            As many of its numbers.
        """
        count = self.centre.shape[1]
        gap = (c[:, self.first : self.first + count] - self.centre).clamp(-self.reach, self.reach)
        powers = torch.stack([gap ** (2 + k) for k in range(self.terms.shape[2])], 2).flatten(1)
        return torch.bmm(powers[:, None], self.terms[..., : c.shape[1]].flatten(1, 2))[:, 0]

    def rows(self, index: Tensor | slice) -> Bend:
        """Return the shifts of some observations.

        Args:
            index: Which.
        """
        return Bend(self.first, self.centre[index], self.reach[index], self.terms[index])


@dataclass(frozen=True)
class LateEnd:
    """The Gaussian law of the end of a path without the noise of its last steps, by one unknown parameter.

    Args:
        place: Place of the parameter among the coordinates.
        nodes: Its values there, increasing, in standard normal numbers.
        factors: Cholesky factors of the covariances at the nodes.
        noise: How many coordinates are integrated out.
    """

    place: int
    nodes: Float[Tensor, "batch k"]
    factors: Float[Tensor, "batch k d d"]
    noise: int

    def factor(self, c: Float[Tensor, "batch D"]) -> Float[Tensor, "batch d d"]:
        """Return the factor for each path, linear between nodes; differentiable.

        Args:
            c: Coordinates of paths.
        """
        z = c[:, self.place].to(self.nodes).clamp(self.nodes[:, 0], self.nodes[:, -1])
        with torch.no_grad():
            right = torch.searchsorted(self.nodes, z[:, None]).clamp(1, self.nodes.shape[1] - 1)
        low, high = (self.nodes.gather(1, right - i)[:, 0] for i in (1, 0))
        row = torch.arange(len(z), device=z.device)
        a, b = (self.factors[row, right[:, 0] - i] for i in (1, 0))
        factor: Tensor = torch.lerp(a, b, ((z - low) / (high - low))[:, None, None])
        return factor

    def whitened(self, gap: Float[Tensor, "batch d"], c: Float[Tensor, "batch D"]) -> Float[Tensor, "batch d"]:
        """Return differences of final states in units of all that noise.

        Args:
            gap: The differences.
            c: Coordinates of the paths.
        """
        turned: Tensor = torch.linalg.solve_triangular(self.factor(c), gap.to(self.factors)[:, :, None], upper=False)
        return turned[:, :, 0].to(gap)

    def log_scale(self, c: Float[Tensor, "batch D"]) -> Float[Tensor, " batch"]:
        """Return half of the log determinant of the covariance.

        Args:
            c: Coordinates of paths.
        """
        total: Tensor = self.factor(c).diagonal(dim1=1, dim2=2).log().sum(1)
        return total

    def rows(self, index: Tensor | slice) -> LateEnd:
        """Return the laws of some observations.

        Args:
            index: Which.
        """
        return LateEnd(self.place, self.nodes[index], self.factors[index], self.noise)
