"""Noise of fields with the correlations that the physics gives, and the deviations that were learned.

Around a learned mean ``m`` of earlier states let ``F`` be the physics without noise to the later time, ``R`` the power
of what the noise adds until then and ``P`` that of earlier states, mode by mode.  In the uncertain modes ``E``

    H = J^T R^-1 J + P^-1,    J = dF(m + E c) / dc,

is the precision of Laplace's approximation.  Its variances are too large where the physics is not linear over that
width; the learned deviations ``sigma`` are not.  Of all normal laws with variances of at most ``sigma^2`` the one
nearest to Laplace's, by relative entropy, has the covariance

    C = (H + E^T diag(w) E)^-1,    w >= 0,    diag(E C E^T) = sigma^2 wherever w > 0.

To the observation its draws look like the truth: physics forward from them ends where it was observed.
"""

from __future__ import annotations

__all__ = ["PhysicalNoise", "nearest_covariance"]

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.fourier import fourier
from physinv.laws.wiener import mirrored
from physinv.models.jumps.field_noise import filter_modes

_MODES = 128  # uncertain modes up to which the derivative of the physics is taken
_NUMBERS = 1024  # of a state, likewise
_DIFFERENCE = 1e-2  # of the deviation of a mode: the step of a derivative, far above rounding
_LEAST = 1e-4  # of the mean power that the noise adds: least power in a mode
_KNOWN = 1e-10  # of the largest variance of a mode: those with less are known
_ROUNDS = 12  # of the iteration for the weights: deviations are then within 2 %
_AT_ONCE = 16  # observations of which the derivative is taken at the same time

Forward = Callable[[Tensor, Tensor], Tensor]
"""Moving channels of the later states without noise, of those of earlier states and of whole later states."""


class PhysicalNoise(nn.Module):
    """Noise of fields by the physics, for each jump of a table; see the module.

    Args:
        jumps: Number of jumps.
        channels: Moving channels.
        periodic: Whether the box is periodic.
        modes: Shape of the modes of such a box, or of one of twice the size with walls.
        space: Grid points along each axis.
    """

    added: Float[Tensor, "jumps channels *modes"]
    prior: Float[Tensor, "jumps channels *modes"]
    factor: Float[Tensor, "jumps channels *one"]

    def __init__(
        self, jumps: int, channels: int, periodic: bool, modes: tuple[int, ...], space: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.periodic, self.shape = periodic, (channels, *space)
        self.register_buffer("added", torch.zeros(jumps, channels, *modes))
        self.register_buffer("prior", torch.zeros(jumps, channels, *modes))
        self.register_buffer("factor", torch.ones(jumps, channels, *[1] * len(modes)))
        self._bases: dict[int, tuple[Tensor, Tensor]] = {}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take states without such noise as they are: that of runs which were stored before there was any."""
        for name, buffer in self.named_buffers():
            state_dict.setdefault(prefix + name, buffer)
        self._bases.clear()
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def known(self, jump: int) -> bool:
        """Tell whether there is such noise for a jump.

        Args:
            jump: Number of the jump.

        Returns:
            Whether it was fitted.
        """
        return bool(self.added[jump].any())

    def forget(self, jump: int) -> None:
        """Leave a jump without such noise.

        Args:
            jump: Number of the jump.
        """
        self.added[jump] = 0.0

    @torch.no_grad()
    def fit(
        self,
        forward: Forward,
        moving: Callable[[Tensor], Tensor],
        earlier: Float[Tensor, "n *state"],
        later: Float[Tensor, "n *state"],
        mean: Float[Tensor, "n *state"],
        free: Float[Tensor, "channels *modes"],
        jump: int,
    ) -> bool:
        """Fit the powers of earlier states and of what the noise adds to trajectories.

        Where learned means miss the observation by more than the noise, their misfit counts as noise: draws around
        them can't be surer of it.

        Args:
            forward: The physics without noise.
            moving: Takes the moving channels of states.
            earlier: States at the earlier time.
            later: States at the later time.
            mean: Learned means of the earlier states.
            free: 1 in modes that are not known, 0 in those that are.
            jump: Number of the jump.

        Returns:
            Whether there is such noise: the modes that are uncertain are few enough, and the physics does not fail.
        """
        self.forget(jump)
        self._bases.pop(jump, None)
        if math.prod(self.shape) > _NUMBERS:
            return False
        x = moving(earlier)
        gaps = [moving(later) - forward(v, later) for v in (x, moving(mean))]
        if not all(bool(gap.isfinite().all()) for gap in gaps):
            return False
        noise, missed, prior = (self._power(v - v.mean(0)) for v in (*gaps, x))
        added = torch.maximum(noise, missed)
        self.prior[jump] = free * prior
        if len(self._basis(jump)[1]) not in range(1, _MODES + 1):
            return False
        self.added[jump] = added.clamp(min=max(_LEAST * float(added.mean()), torch.finfo(added.dtype).tiny))
        return True

    @torch.no_grad()
    def draw(
        self,
        forward: Forward,
        mean: Float[Tensor, "n channels *space"],
        deviation: Float[Tensor, "n channels *space"],
        later: Float[Tensor, "n *state"],
        row: Tensor,
        jump: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "draws channels *space"]:
        """Draw noise around learned means.

        Args:
            forward: The physics without noise.
            mean: Learned means of the moving channels.
            deviation: Their deviations.
            later: Later states.
            row: For each draw, the number of its mean.
            jump: Number of the jump.
            generator: Source of randomness, on the device of ``mean``.

        Returns:
            Noise for each draw.
        """
        (E, variance), wide = self._basis(jump), (self.factor[jump] * deviation).flatten(1)
        roots = []
        for part in torch.split(torch.arange(len(mean), device=mean.device), _AT_ONCE):
            J = self._derivative(forward, mean[part], later[part], E, variance, jump)
            H = J @ J.mT + torch.diag(1 / variance.double())
            C = nearest_covariance(H, E.flatten(1), wide[part])
            roots.append(torch.linalg.cholesky(C).to(mean))
        z = torch.randn(len(row), len(E), 1, generator=generator, dtype=mean.dtype, device=mean.device)
        c = (torch.cat(roots)[row] @ z).squeeze(-1)
        return (c @ E.flatten(1)).reshape(len(row), *mean.shape[1:])

    def _derivative(
        self, forward: Forward, mean: Tensor, later: Tensor, E: Tensor, variance: Tensor, jump: int
    ) -> Float[Tensor, "n modes points"]:
        """``R^(-1/2) J``, transposed, float64, by differences of runs."""
        step = _DIFFERENCE * variance.sqrt()
        moved = mean[:, None] + step.reshape(-1, *[1] * (E.ndim - 1)) * E
        every, seen = torch.cat([mean[:, None], moved], dim=1), len(E) + 1
        reached = forward(every.flatten(0, 1), later.repeat_interleave(seen, 0)).reshape(
            len(mean), seen, *mean.shape[1:]
        )
        change = (reached[:, 1:] - reached[:, :1]) / step.reshape(-1, *[1] * (E.ndim - 1))
        J = filter_modes(change.flatten(0, 1), self.added[jump].rsqrt(), self.periodic).reshape(len(mean), len(E), -1)
        return torch.where(J.isfinite().flatten(1).all(1)[:, None, None], J, torch.zeros_like(J)).double()

    def _power(self, x: Tensor) -> Tensor:
        """Mean power of every mode."""
        return fourier(mirrored(x, self.periodic)).abs().square().mean(0)

    def _basis(self, jump: int) -> tuple[Float[Tensor, "modes channels *space"], Float[Tensor, " modes"]]:
        """Orthonormal fields of the uncertain modes, and the variance of earlier states along each."""
        if jump not in self._bases:
            eye = torch.eye(math.prod(self.shape), dtype=torch.float64, device=self.prior.device)
            power = self.prior[jump].double()
            covariance = filter_modes(eye.reshape(-1, *self.shape), power, self.periodic).flatten(1)
            variance, fields = torch.linalg.eigh((covariance + covariance.T) / 2)
            kept = variance > _KNOWN * variance.amax()
            fields = fields[:, kept].T.reshape(-1, *self.shape)
            self._bases[jump] = (fields.to(self.prior), variance[kept].to(self.prior))
        return self._bases[jump]


def nearest_covariance(
    precision: Float[Tensor, "n modes modes"],
    basis: Float[Tensor, "modes points"],
    deviation: Float[Tensor, "n points"],
) -> Float[Tensor, "n modes modes"]:
    """Return the covariance nearest to that of a precision whose deviations do not exceed given ones.

    The weights ``w`` of the module are found by ``w <- w v / sigma^2``, ``v`` the variances that they give.

    Args:
        precision: Precisions ``H`` in the coordinates of the basis.
        basis: Orthonormal fields ``E``.
        deviation: Largest deviations ``sigma`` at every point.

    Returns:
        Covariances in the coordinates of the basis, float64.

    Example:
        >>> nearest_covariance(torch.eye(2)[None], torch.eye(2), torch.tensor([[0.5, 2.0]]))[0].diagonal()
        tensor([0.2500, 1.0000], dtype=torch.float64)

    References:
        Kullback (1959), Information theory and statistics, chapter 3, for least relative entropy with given moments.
    """
    E, H = basis.double(), precision.double()
    most = deviation.double().square().clamp(min=torch.finfo(torch.float32).tiny)
    w = len(E) / E.shape[1] / most
    for _ in range(_ROUNDS):
        C = torch.linalg.inv(H + (E * w[:, None]) @ E.T)
        w = w * ((C @ E) * E).sum(1) / most
    covariance: Tensor = torch.linalg.inv(H + (E * w[:, None]) @ E.T)
    return covariance
