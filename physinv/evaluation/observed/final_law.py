"""How far an observation lies from the final states that a method was trained on.

The law of these final states is summarised by a mean and by coordinates in which they are uncorrelated with variance 1:
Fourier modes of fields (of their mirror image where they do not wrap around), principal axes of vectors, components of
particles.  In these the squared Mahalanobis distance is a sum of squares,

    D^2 = sum_i y_i^2,    (D^2 / d)^(1/3) ~ N(1 - 2 / (9 d), 2 / (9 d))    for Gaussian states

(Wilson and Hilferty 1931), so the cube root, standardised, says how many standard deviations of chance a state is away.
The same is done for groups of coordinates (the mean of each channel, its variations, bands of wave numbers), since an
offset of one mode drowns among a thousand others.  The distance of a state is the largest of these numbers, of either
sign.

For data that are Gaussian, as a Kolmogorov-Smirnov test on states outside the fit says, mean and variance of the cube
root are the exact ones; for others they are those of states outside the fit: the validation data, and each half of the
training data under the fit of the other half.  The limit is 4, or a quarter more than the largest distance of them all.
Groups of 8 numbers or more then count by ln D^2, which has a spread on both sides where sizes vary by factors.
"""

from __future__ import annotations

__all__ = ["FinalLaw", "fit_final_law"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.special import chdtrc
from torch import Tensor

from physinv.equations.fourier import fourier, multiplicity
from physinv.evaluation.observed.bands import band_of_modes, bands_of, shells
from physinv.laws.wiener import mirrored
from physinv.processes.layout import StateLayout

FEWEST = 20
"""States outside the fit from which on distances mean anything."""

_SURE = 4.0  # standard deviations below which no state is far
_MARGIN = 1.25  # beyond the largest distance of states outside the fit
_MOST, _NUMBERS = 2000, 2**24  # training states that are used, and numbers in them
_GAUSSIAN = 0.01  # p value of the test below which states count as not Gaussian
_MANY = 8  # numbers from which on a group counts by its logarithm
_SMALLEST = 1e-100  # cube root of a vanishing distance
_ROUNDING = 1e-4  # of the deviation of a channel: smaller differences are none
_PARTS = ("mean", "scale", "size", "expected")
_SHELL = 10.0  # states whose power in a mode counts as much as the mean power of its shell


@dataclass(frozen=True)
class FinalLaw:
    """The law of the final states of training data, as far as distances need it.

    Args:
        layout: Layout of the states.
        mean: Mean of the moving channels.
        scale: Of fields the standard deviation of each mode, of others the matrix that whitens them.
        size: Root mean square of each channel or component, shaped like
            :meth:`~physinv.processes.layout_base.StateLayout.channel_mean`.
        expected: Mean and standard deviation of the cube root of each group, ``(groups, 2)``.
        limit: Distance beyond which a state is not one of the training data's.
        states: Number of training states.
        outside: Number of states outside the fit.
        gaussian: Whether the training data pass for Gaussian.
    """

    layout: StateLayout
    mean: Float[Tensor, "*moving"]
    scale: Tensor
    size: Float[Tensor, "*one_state"]
    expected: Float[Tensor, "groups 2"]
    limit: float
    states: int
    outside: int
    gaussian: bool

    def distance(self, x: Float[Tensor, "n *state"]) -> Float[Tensor, " n"]:
        """Return how far states lie from the training data, in standard deviations of what chance gives.

        Args:
            x: States; their static channels do not count.

        Returns:
            The largest distance over all groups of coordinates, infinite for states that are not finite.
        """
        parts = torch.split(x, max(1, _NUMBERS // x[0].numel()))
        return torch.cat([self._z(part).abs().amax(1) for part in parts]).nan_to_num(nan=torch.inf, posinf=torch.inf)

    def farthest(self, x: Float[Tensor, "n *state"]) -> list[str]:
        """Name the part in which each state is farthest from the training data: a mean, a channel or a scale.

        Args:
            x: States.

        Returns:
            A few words for each state.
        """
        names = _group_names(self.layout, self.mean)
        z = self._z(x).abs()
        if len(names) > 1:
            z[:, 0] = -torch.inf
        return [names[i] for i in z.argmax(1).tolist()]

    def tensors(self) -> dict[str, Tensor]:
        """Return all numbers, by name."""
        told = torch.tensor([self.limit, self.states, self.outside, float(self.gaussian)], dtype=torch.float64)
        parts = {name: getattr(self, name) for name in _PARTS}
        return {**parts, "told": told}

    @staticmethod
    def from_tensors(layout: StateLayout, tensors: Mapping[str, Tensor]) -> FinalLaw:
        """Make a law again.

        Args:
            layout: Layout of the states.
            tensors: What :meth:`tensors` returned.

        Returns:
            The law.
        """
        limit, states, outside, gaussian = tensors["told"].tolist()
        mean, scale, size, expected = (tensors[name] for name in _PARTS)
        counts = int(states), int(outside)
        return FinalLaw(layout, mean, scale, size, expected, limit, *counts, bool(gaussian))

    def _z(self, x: Tensor) -> Tensor:
        """Standardised cube roots of the groups, ``(n, groups)``."""
        roots = _roots(self.layout, self.mean, self.scale, x)
        sizes = roots if self.gaussian else _by_factors(roots, _numbers(self.layout, self.mean))
        return (sizes - self.expected[:, 0]) / self.expected[:, 1]


@torch.no_grad()
def fit_final_law(
    layout: StateLayout, train: Float[Tensor, "n *state"], valid: Float[Tensor, "m *state"]
) -> FinalLaw | None:
    """Summarise the law of final states, and find out what distances chance gives.

    Args:
        layout: Layout of the states.
        train: Final states of the training data, the first 2000 of which count, fewer of large ones.
        valid: Final states of the validation data.

    Returns:
        The law; None where there are too few states for any.

    References:
        Wilson and Hilferty (1931), The distribution of chi-square.
    """
    most = max(2 * FEWEST, min(_MOST, _NUMBERS // train[0].numel()))
    train, valid = train[:most], valid[:most]
    if len(train) < 4 or len(train) + len(valid) < FEWEST:
        return None
    mean, scale = _moments(layout, train)

    # Distances of states outside the fit.
    found = [_roots(layout, mean, scale, valid)] if len(valid) else []
    half = len(train) // 2
    for a, b in ((train[:half], train[half:]), (train[half:], train[:half])):
        found.append(_roots(layout, *_moments(layout, a), b))
    roots = torch.cat(found)
    numbers = _numbers(layout, mean)
    d = int(numbers[0])
    from scipy.stats import kstest  # which takes a second to import

    passed = kstest(chdtrc(d, d * roots[:, 0].cpu().numpy() ** 3), "uniform").pvalue > _GAUSSIAN

    # What chance gives for Gaussian states, or what it gave.
    expected = torch.stack([1 - 2 / (9 * numbers), (2 / (9 * numbers)).sqrt()], 1)
    if not passed:
        least = 0.05 * expected[:, 1]
        roots = _by_factors(roots, numbers)
        expected = torch.stack([roots.mean(0), roots.std(0).maximum(least)], 1)
    largest = float(((roots - expected[:, 0]) / expected[:, 1]).abs().amax())
    limit = max(_SURE, _MARGIN * largest)
    size = layout.channel_mean(layout.moving(train).double().square()).sqrt()
    return FinalLaw(layout, mean, scale, size, expected, limit, len(train), len(roots), bool(passed))


def _moments(layout: StateLayout, states: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the moving channels, and the scale of their coordinates, in float64."""
    x = layout.moving(states).double()
    n = len(x)
    mean = layout.channel_mean(x).expand_as(x[0]).contiguous() if layout.positions else x.mean(0)
    gap = x - mean
    spread = layout.channel_mean(gap.square()).sqrt()
    floor = _ROUNDING * torch.where(spread > 0, spread, torch.ones_like(spread))
    correction = n / max(n - 1, 1)

    # Modes of fields: their own power, drawn a little toward the mean power of their shell.
    if layout.space:
        y = fourier(mirrored(gap, layout.periodic))
        power = correction * y.abs().square().mean(0)
        shell = shells(layout).to(y.device)
        pooled = torch.zeros(len(power), int(shell.max()) + 1, dtype=power.dtype, device=power.device)
        weight = torch.bincount(shell.flatten(), minlength=pooled.shape[1]).clamp(min=1)
        pooled = pooled.index_add_(1, shell.flatten(), power.flatten(1)) / weight
        mixed = (n * power + _SHELL * pooled[:, shell]) / (n + _SHELL)
        return mean, (mixed + floor.square()).sqrt()

    # Particles share the scale of each component; vectors are whitened by their covariance.
    if layout.positions:
        return mean, (spread.square() + floor.square()).sqrt()
    z = gap / (spread + floor)
    covariance = correction * z.T @ z / n
    few = min(1.0, len(mean) / n)
    covariance = (1 - few) * covariance + few * torch.diag(covariance.diagonal())
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors / (values.clamp(min=0) + _ROUNDING**2).sqrt()).T
    return mean, root / (spread + floor)


def _squares(layout: StateLayout, mean: Tensor, scale: Tensor, states: Tensor) -> Tensor:
    """Squares of the uncorrelated coordinates, ``(n, coordinates)``, with two for each complex mode."""
    gap = layout.moving(states).double() - mean
    if layout.space:
        y = fourier(mirrored(gap, layout.periodic))
        return (multiplicity(gap if layout.periodic else mirrored(gap, False)) * (y.abs() / scale).square()).flatten(1)
    if layout.positions:
        return (gap / scale).square().flatten(1)
    return (gap @ scale.T).square()


def _roots(layout: StateLayout, mean: Tensor, scale: Tensor, states: Tensor) -> Tensor:
    """``(D^2 / d)^(1/3)`` of all groups, ``(n, groups)``."""
    squares = _squares(layout, mean, scale, states)
    members, numbers = _members(layout, mean), _numbers(layout, mean)
    return (squares @ members / numbers).pow(1 / 3)


def _by_factors(roots: Tensor, numbers: Tensor) -> Tensor:
    """The logarithm of ``D^2 / d`` of groups of many numbers, the cube root of those of few."""
    logarithm = 3 * roots.clamp(min=_SMALLEST).log()
    return torch.where(numbers >= _MANY, logarithm, roots)


def _numbers(layout: StateLayout, mean: Tensor) -> Tensor:
    """The number of real coordinates in each group."""
    members = _members(layout, mean)
    if not layout.space:
        return members.sum(0)
    like = mirrored(mean[None], layout.periodic)
    weights = multiplicity(like).expand(fourier(like).shape[1:]).flatten().to(members)
    return weights @ members


def _members(layout: StateLayout, mean: Tensor) -> Float[Tensor, "coordinates groups"]:
    """Which coordinates belong to which group: all; of fields also the mean of each channel, bands and channels."""
    if not layout.space:
        count = mean.numel()
        every = torch.ones(count, 1, dtype=torch.float64, device=mean.device)
        if not layout.positions:
            return every
        each = torch.eye(mean.shape[-1], dtype=torch.float64, device=mean.device).repeat(mean.shape[0], 1)
        return torch.cat([every, each], 1)
    y = fourier(mirrored(mean[None], layout.periodic))
    place = band_of_modes(layout).to(y.device)
    columns = [torch.ones(y[0].shape, device=y.device)]
    for channel in range(y.shape[1]):
        one = torch.zeros(y[0].shape, device=y.device)
        one[channel] = 1
        columns += [one * (place == 0), one * (place > 0)]
    columns += [(place == band).expand(y[0].shape).float() for band in bands_of(layout).values()]
    return torch.stack([c.flatten() for c in columns], 1).double()


def _group_names(layout: StateLayout, mean: Tensor) -> list[str]:
    """What the groups are, in words."""
    if not layout.space:
        return ["as a whole", *([f"in component {i}" for i in range(mean.shape[-1])] if layout.positions else [])]
    moving = [name for name in layout.names if name not in layout.static]
    names = ["as a whole"]
    for name in moving:
        names += [f"in the mean of `{name}`", f"in the variations of `{name}`"]
    return names + [f"at {word} scales" for word in bands_of(layout)]
