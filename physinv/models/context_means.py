"""Means of states given what is known of a trajectory, such as the season in which it begins."""

from __future__ import annotations

__all__ = ["ContextMeans", "context_of", "persisting"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.processes.layout import StateLayout

_ROWS = 10  # trajectories for each coefficient of a point, at least
_PENALTY = 1e-3  # of the coefficients, in units of the variance of a standardised number


@dataclass(frozen=True)
class ContextMeans:
    """The means of ``x_0`` and ``x_T`` as polynomials in the static numbers of a trajectory.

    Where there are ten trajectories or more for each coefficient the polynomials are quadratic: of the phase of a cycle
    they hold its second harmonic then, without which spring and autumn are mirror images.  Numbers beyond those of
    training count as the nearest of these, since polynomials lead nowhere there.

    Args:
        layout: Layout of the states.
        numbers: Mean, deviation, least and largest value of each static number.
        offset: Means of the terms, which are subtracted.
        initial: Coefficients of ``x_0``.
        final: Coefficients of ``x_T``.
    """

    layout: StateLayout
    numbers: Float[Tensor, "4 s"]
    offset: Float[Tensor, " f"]
    initial: Float[Tensor, "f *state"]
    final: Float[Tensor, "f *state"]

    @staticmethod
    def fit(
        layout: StateLayout, initial: Float[Tensor, "n *state"], final: Float[Tensor, "n *state"]
    ) -> ContextMeans | None:
        """Fit the coefficients by least squares.

        Args:
            layout: Layout of the states.
            initial: Initial states.
            final: Final states.

        Returns:
            The means; None where nothing is known that differs, or trajectories are too few.
        """
        known = context_of(layout, final)
        if not known.shape[1] or len(known) < 2:
            return None
        deviation = known.std(0, correction=0)
        if not bool((deviation > 0).any()) or len(known) < _ROWS * known.shape[1]:
            return None
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        numbers = torch.stack([known.mean(0), deviation, known.amin(0), known.amax(0)])
        quadratic = len(known) >= _ROWS * _count(known.shape[1], quadratic=True)
        terms = _terms(known, numbers, quadratic=quadratic).double()
        offset = terms.mean(0)
        terms = terms - offset
        normal = terms.T @ terms + _PENALTY * len(terms) * torch.eye(terms.shape[1]).to(terms)
        found = []
        for states in (initial, final):
            gap = (states - states.mean(0)).flatten(1).double()
            found.append(torch.linalg.solve(normal, terms.T @ gap).to(states).reshape(-1, *states.shape[1:]))
        return ContextMeans(layout, numbers, offset.to(known), *found)

    def shifts(self, states: Float[Tensor, "n *state"]) -> tuple[Float[Tensor, "n *state"], Float[Tensor, "n *state"]]:
        """Return by how much the means of ``x_0`` and of ``x_T`` differ from those of all trajectories.

        Args:
            states: States with the static numbers.
        """
        known, linear = context_of(self.layout, states), self.numbers.shape[1]
        terms = _terms(known, self.numbers, quadratic=len(self.offset) > linear) - self.offset
        first, last = (torch.tensordot(terms, x, dims=1) for x in (self.initial, self.final))
        return first, last

    def tensors(self) -> dict[str, Tensor]:
        """Return all that was fitted."""
        return {name: getattr(self, name) for name in ("numbers", "offset", "initial", "final")}

    @staticmethod
    def from_tensors(layout: StateLayout, tensors: Mapping[str, Tensor]) -> ContextMeans:
        """Make the means again.

        Args:
            layout: Layout of the states.
            tensors: What :meth:`tensors` returned.

        Returns:
            The means.
        """
        return ContextMeans(layout, **{name: tensors[name] for name in ("numbers", "offset", "initial", "final")})


def context_of(layout: StateLayout, states: Float[Tensor, "n *state"]) -> Float[Tensor, "n s"]:
    """Return the static numbers of trajectories: of a static channel its mean over the points with data.

    Args:
        layout: Layout of the states.
        states: States at any time.
    """
    found = []
    for name, place in layout.parts():
        if name in layout.static:
            part = states[(slice(None), *place)].reshape(len(states), -1)
            valid = layout.valid
            found.append((part if valid is None else part[:, valid.flatten().to(part.device)]).mean(1))
    return torch.stack(found, 1) if found else states.new_zeros(len(states), 0)


def persisting(
    layout: StateLayout, initial: Float[Tensor, "n *state"], final: Float[Tensor, "n *state"]
) -> Float[Tensor, "*one_state"]:
    """Return the share of the deviation of ``x_T`` from its mean that ``x_0`` has too, for each channel.

    Args:
        layout: Layout of the states.
        initial: Initial states.
        final: Final states.

    Returns:
        The coefficients of a regression, the same at all points; 0 where ``x_T`` is always the same.
    """
    start, gap = (x.double() - x.double().mean(0) for x in (initial, final))
    size = layout.channel_mean(gap.square())  # in float64 squares of small units do not underflow
    share = layout.channel_mean(start * gap) / torch.where(size > 0, size, torch.ones_like(size))
    return share.to(initial)


def _count(numbers: int, *, quadratic: bool) -> int:
    """Terms of a polynomial without its constant."""
    return numbers + (numbers * (numbers + 1) // 2 if quadratic else 0)


def _terms(known: Tensor, numbers: Tensor, *, quadratic: bool) -> Tensor:
    """Standardised numbers, and their products."""
    centre, deviation, low, high = numbers
    z: Tensor = (known.clamp(low, high) - centre) / deviation
    if not quadratic:
        return z
    i, j = torch.triu_indices(z.shape[1], z.shape[1], device=z.device)
    return torch.cat([z, z[:, i] * z[:, j]], 1)
