"""The noise of the last step of a path whose parameters are unknown.

A solver step that damps what is fine damps its own noise as well, the more the larger the viscosity: in such modes the
final state tells the viscosity by its noise alone, and the density of a path needs the right variance, with its
normalisation.
"""

from __future__ import annotations

__all__ = ["EndNoise", "end_noise"]

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.problem import NotApplicableError
from physinv.processes.varying import Varying

_FAR, _OFF = 2.0, 1e-3  # deviations of a parameter at which its noise is looked at, and what counts as another one


@dataclass(frozen=True)
class EndNoise:
    """The noise of the last step of a path, by unknown parameters: ``C = V diag(v) V^T``, of one V for all values.

    Args:
        process: The process.
        last: Begin and end of the step.
        directions: The orthonormal columns of ``V``.
        least: What is added to the variances ``v``.
    """

    process: Varying
    last: tuple[float, float]
    directions: Float[Tensor, "d d"]
    least: Float[Tensor, " d"]

    def variances(self, c: Float[Tensor, "batch D"]) -> Float[Tensor, "batch d"]:
        """Return ``v``, differentiable, in float64.

        Args:
            c: Coordinates of paths: those of ``x_0``, then standard normal numbers of the parameters.
        """
        d, count = len(self.directions), len(self.process.priors)
        values = self.process.from_normal(c[:, d : d + count].double())
        every = self.directions.sum(1).expand(len(c), -1)
        return _applied(self.process, self.last, every, values) @ self.directions + self.least

    def whitened(self, gap: Float[Tensor, "batch d"], c: Float[Tensor, "batch D"]) -> Float[Tensor, "batch d"]:
        """Return differences of final states in units of the noise.

        Args:
            gap: The differences.
            c: Coordinates of the paths.
        """
        return gap @ self.directions.to(gap) * self.variances(c).rsqrt().to(gap)

    def log_scale(self, c: Float[Tensor, "batch D"]) -> Float[Tensor, " batch"]:
        """Return half of the log determinant of the covariance.

        Args:
            c: Coordinates of paths.
        """
        return self.variances(c).log().sum(1) / 2


def end_noise(process: Varying, last: Sequence[float], every: Float[Tensor, "d d"], *, least: float) -> EndNoise | None:
    """Return the noise of the last step by parameters.

    Args:
        process: The process.
        last: Begin and end of the step.
        every: What is added to the covariance; only its diagonal along the directions counts.
        least: The least that is added to every variance.

    Returns:
        The noise; None where it is the same for all values.

    Raises:
        NotApplicableError: If it has other directions for other values.
    """
    unit, p = torch.eye(len(every), dtype=every.dtype, device=every.device), len(process.priors)
    away = _FAR * torch.eye(p, dtype=every.dtype, device=every.device)
    looked = process.from_normal(torch.cat([torch.zeros_like(away[:1]), away, -away]))
    found = torch.stack([_applied(process, last, unit, v.expand(len(unit), p)) for v in looked])
    size = float(found.abs().amax())
    if not float((found - found[0]).abs().amax()) > _OFF * size:
        return None
    _, directions = torch.linalg.eigh(found.sum(0))
    turned = directions.T @ found @ directions
    if float((turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))).abs().amax()) > _OFF * size:
        raise NotApplicableError("the noise of a solver step has other directions for other values of the parameters.")
    added = (directions.T @ every @ directions).diagonal().clamp(min=least)
    return EndNoise(process, (last[0], last[1]), directions, added)


def _applied(
    process: Varying, last: Sequence[float], v: Float[Tensor, "batch d"], values: Float[Tensor, "batch parameters"]
) -> Float[Tensor, "batch d"]:
    """The covariance of the noise of one step, by parameters, applied to directions of the moving components."""
    layout = process.inner.layout
    like = v.new_zeros((len(v), *process.inner.shape))
    state = layout.set_moving(v.reshape(layout.moving(like).shape), like)
    a, b = (v.new_full((len(v),), t) for t in last)
    return layout.moving(process.at(values.to(v)).apply_covariance(state, a, b)).flatten(1)
