"""Gaussian mixtures whose parameters are numbers of a network: densities, draws, means and a loss."""

from __future__ import annotations

__all__ = ["ConditionalMixture", "mixture_loss", "mixture_outputs", "mixture_slope"]

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

_WIDEST, _NARROWEST = 4.0, -9.0  # logarithms of the deviations of a component
_FAINT = -75.0  # logarithm of the least share of a component: below any rounding, and above what is slow as subnormal
_APART = 0.5  # distance between the means of an untrained mixture, which start its components differently


def mixture_outputs(dimension: int, components: int) -> int:
    """Count the numbers that determine a mixture.

    Args:
        dimension: Components ``d`` of a state.
        components: Gaussians ``k`` of the mixture.

    Returns:
        ``k`` logits, ``k d`` means, ``k d`` logarithms of deviations and ``d (d - 1) / 2`` correlations.
    """
    return components * (1 + 2 * dimension) + dimension * (dimension - 1) // 2


@dataclass(frozen=True)
class ConditionalMixture:
    """A mixture ``sum_k w_k N(m_k, L^-1 D_k^2 L^-T)`` for each member of a batch, ``L`` a unit triangle for all k.

    Args:
        logits: Logarithms of the weights up to a constant.
        means: Means ``m_k``.
        scales: Logarithms of the diagonals of ``D_k``.
        triangle: The lower triangle ``L`` with ones on its diagonal, which makes the components of ``L (x - m_k)``
            independent.
    """

    logits: Float[Tensor, "batch k"]
    means: Float[Tensor, "batch k d"]
    scales: Float[Tensor, "batch k d"]
    triangle: Float[Tensor, "batch d d"]

    @classmethod
    def of(cls, numbers: Float[Tensor, "batch outputs"], dimension: int, components: int) -> ConditionalMixture:
        """Read a mixture from the output of a network.

        Args:
            numbers: Output of the network, see :func:`mixture_outputs`.
            dimension: Components of a state.
            components: Gaussians of the mixture.

        Returns:
            One mixture for each row of ``numbers``.
        """
        d, k = dimension, components
        logits, means, scales, below = torch.split(numbers, [k, k * d, k * d, d * (d - 1) // 2], dim=1)
        triangle = torch.eye(d, dtype=numbers.dtype, device=numbers.device).expand(len(numbers), d, d)
        if d > 1:
            triangle = triangle.clone()
            rows, columns = torch.tril_indices(d, d, -1, device=numbers.device)
            triangle[:, rows, columns] = below
        means = means.reshape(-1, k, d) + _starts(k, d).to(means)
        return cls(logits, means, scales.reshape(-1, k, d).clamp(_NARROWEST, _WIDEST), triangle)

    def rows(self, index: Int64[Tensor, " rows"]) -> ConditionalMixture:
        """Return the mixtures of some members of the batch.

        Args:
            index: Which, some of them several times.
        """
        parts = (self.logits, self.means, self.scales, self.triangle)
        return ConditionalMixture(*(part.index_select(0, index) for part in parts))  # indexing takes longer

    def log_prob(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        """Return the log density.

        Args:
            x: One state for each mixture.
        """
        gap = x[:, None] - self.means
        if x.shape[1] > 1:  # one component needs no turning
            gap = (self.triangle @ gap.mT).mT
        square = (gap * torch.exp(-self.scales)).square().sum(-1)
        logs = self.logits - self.scales.sum(-1) - square / 2
        return logs.logsumexp(-1) - self.logits.logsumexp(-1) - x.shape[1] / 2 * math.log(2 * math.pi)

    def draw(self, *, generator: torch.Generator | None = None) -> Float[Tensor, "batch d"]:
        """Draw one state from each mixture.

        Args:
            generator: Source of randomness.

        Returns:
            States, ``(batch, d)``.
        """
        # The component by its distribution function, from one uniform number: a tenth of the time of torch.multinomial.
        sums = (self.logits - self.logits.amax(-1, keepdim=True)).exp().cumsum(-1)
        u = torch.rand((len(sums), 1), generator=generator, dtype=sums.dtype, device=sums.device)
        place = (sums <= u * sums[:, -1:]).sum(-1).clamp_(max=sums.shape[1] - 1)
        chosen = place[:, None, None].expand(-1, 1, self.means.shape[2])
        mean, scale = (v.gather(1, chosen)[:, 0] for v in (self.means, self.scales))
        z = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        spread = scale.exp() * z
        if spread.shape[1] > 1:
            turned = torch.linalg.solve_triangular(self.triangle, spread[..., None], upper=False, unitriangular=True)
            spread = turned[..., 0]
        return mean + spread

    def mean(self) -> Float[Tensor, "batch d"]:
        """Return the mean of each mixture."""
        mean: Tensor = (self.logits.softmax(-1)[..., None] * self.means).sum(1)
        return mean


def mixture_loss(
    numbers: Float[Tensor, "batch outputs"], x: Float[Tensor, "batch d"], components: int
) -> Float[Tensor, ""]:
    """Return the mean of ``-log p(x)`` per component of the state, for the mixtures of a network's output.

    It is that of :meth:`ConditionalMixture.log_prob`, in half of the time, and can be differentiated once, with respect
    to ``numbers``.

    Args:
        numbers: Output of the network, see :func:`mixture_outputs`.
        x: One state for each mixture.
        components: Gaussians of the mixture.
    """
    loss: Tensor = _Loss.apply(numbers, x, components)  # type: ignore[no-untyped-call]
    return loss


def mixture_slope(
    numbers: Float[Tensor, "batch outputs"], x: Float[Tensor, "batch d"], k: int
) -> tuple[Float[Tensor, ""], Float[Tensor, "batch outputs"]]:
    """Return the loss ``-log p / d`` of :func:`mixture_loss`, and its gradient by hand.

        -log p = logsumexp_k logits_k - logsumexp_k l_k + d/2 log 2 pi,    z_k = D_k^-1 L (m_k - x),
        l_k = logits_k - sum log D_k - |z_k|^2 / 2,    r = softmax l,    w = softmax logits,

        d/d logits_k = w_k - r_k,    d/d log D_k = r_k (1 - z_k^2),    d/d m_k = L^T D_k^-1 r_k z_k,
        d/d L = sum_k D_k^-1 r_k z_k (m_k - x)^T.

    The batch stands last inside: operations along short last axes take up to ten times longer.

    Args:
        numbers: Output of the network, see :func:`mixture_outputs`.
        x: One state for each mixture.
        k: Gaussians of the mixture.

    Returns:
        The loss, and its gradient with respect to ``numbers``.
    """
    (n, d), numbers = x.shape, numbers.T.contiguous()
    logits, means, logs, below = torch.split(numbers, [k, k * d, k * d, d * (d - 1) // 2])
    gap = means.view(k, d, n) - (x.T - _starts(k, d).to(x)[..., None])
    scales = logs.clamp(_NARROWEST, _WIDEST)
    inverse = torch.exp(-scales).view(k, d, n)
    z = _turned(below, gap).mul(inverse)
    minus = torch.addcmul(scales.view(k, d, n), z, z, value=0.5)

    # Softmax and logarithm of the sum of exponentials, of both at once, by one exponential.
    both = torch.stack([logits - (minus[:, 0] if d == 1 else minus.sum(1)), logits])
    top = both.amax(1, keepdim=True)
    share = both.sub_(top).clamp_(min=_FAINT).exp_()
    total = share.sum(1, keepdim=True)

    r, w = share.div_(total * (n * d))  # of the mean over the batch and the components of a state
    pulled = r[:, None] * z
    turned = pulled * inverse
    narrow = torch.addcmul(r[:, None], pulled, z, value=-1).view(k * d, n)
    narrow = torch.ops.aten.hardtanh_backward(narrow, logs, _NARROWEST, _WIDEST)  # none where it was cut off
    back = _turned_back(below, turned).view(k * d, n)
    triangle = [(turned[:, i, None] * gap[:, :i]).sum(0) for i in range(1, d)]
    slope = torch.cat([w - r, back, narrow, *triangle]).T
    inside, norm = total.log_().add_(top)
    loss: Tensor = (norm - inside).mean().div_(d).add_(math.log(2 * math.pi) / 2)
    return loss, slope


class _Loss(torch.autograd.Function):
    """The loss with the gradient of :func:`mixture_slope`."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, x: Tensor, k: int) -> Tensor:
        loss, slope = mixture_slope(numbers, x, k)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * above, None, None


def _turned(below: Float[Tensor, "pairs batch"], gap: Float[Tensor, "k d batch"]) -> Float[Tensor, "k d batch"]:
    """``L gap``, for the rows of ``L`` left of its diagonal of ones."""
    if gap.shape[1] == 1:
        return gap
    turned = gap.clone()
    for i, row in enumerate(_rows(below, gap.shape[1]), 1):
        turned[:, i] += (row * gap[:, :i]).sum(1)
    return turned


def _turned_back(below: Float[Tensor, "pairs batch"], gap: Float[Tensor, "k d batch"]) -> Float[Tensor, "k d batch"]:
    """``L^T gap``, likewise."""
    if gap.shape[1] == 1:
        return gap
    turned = gap.clone()
    for i, row in enumerate(_rows(below, gap.shape[1]), 1):
        turned[:, :i] += row * gap[:, i, None]
    return turned


def _rows(below: Float[Tensor, "pairs batch"], d: int) -> tuple[Tensor, ...]:
    """What stands left of the diagonal in each row of a triangle but the first, which is empty."""
    return torch.split(below, list(range(1, d)))


@functools.cache
def _starts(k: int, d: int) -> Float[Tensor, "k d"]:
    """Different means for the components of an untrained mixture, spread by the golden ratio's multiples."""
    powers = torch.arange(1, d + 1) * ((5**0.5 - 1) / 2)
    u = (torch.arange(k)[:, None] * powers + 0.5 / k) % 1
    return _APART * (2 * u - 1) * (k > 1)
