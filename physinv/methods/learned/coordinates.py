"""Standardised coordinates of ``x_0`` given ``x_T``, in which all learned baselines estimate: numbers of order one."""

from __future__ import annotations

__all__ = ["Context", "TargetCoordinates", "conditional_coordinates", "fit_coordinates", "prior_coordinates"]

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.methods.classical.linear_estimate import LinearEstimate, cross_fit
from physinv.methods.problem import Problem
from physinv.methods.saving import below, prefixed
from physinv.models.references.particles import length_unit
from physinv.processes.layout import StateLayout
from physinv.training.objectives.base import Batch

_SCALES = ("final", "initial", "unit", "length", "kept", "fixed")
_LEAST = 1e-6  # of the largest scale: components that hardly vary are not scaled up


class Context(NamedTuple):
    """What depends on the observation alone, computed once for many draws.

    Attributes:
        centre: Estimates of the moving channels of ``x_0`` at which ``z`` is 0, ``(batch, *moving)``.
        groups: Features of order one, joined along the channels.
        static: Static channels, joined along the channels.
        places: Positions of particles, which decide the neighbours of each of them.
    """

    centre: Tensor
    groups: Tensor
    static: Tensor
    places: Tensor


class TargetCoordinates(nn.Module):
    """Standardised coordinates ``z`` of order one: ``x_0 = centre(x_T) + unit z``, with the static channels of ``x_T``.

    With a linear estimate, ``centre`` is that estimate, ``unit`` the size of its errors, and the features of a network
    are two groups, ``x_T`` and the estimate, both standardised.  Without one, ``centre`` and ``unit`` are mean and
    deviation of ``x_0``, and there are no such groups.  Scales are per channel (fields), per component (vectors) or per
    vector (particles, over all of them; their means are 0 where the law has no preferred direction).

    Args:
        layout: Layout of the states.
        linear: The linear estimate of ``x_0`` given ``x_T``, or None.
        scales: Locations, scales and numbers of channels, by the names of the buffers (:func:`fit_coordinates`).
        estimates: Cross-fitted estimates that replace the linear one in training, for the training and the validation
            trajectories.
    """

    final: Tensor
    initial: Tensor
    unit: Tensor
    length: Tensor
    kept: Tensor
    fixed: Tensor

    def __init__(
        self,
        layout: StateLayout,
        linear: LinearEstimate | None,
        scales: Mapping[str, Tensor],
        estimates: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.estimates = estimates
        self.layout, self.linear, self.particles = layout, linear, layout.positions > 0
        self.axis, self.dimension = layout.channel_axis, layout.positions or 1
        for name in _SCALES:
            self.register_buffer(name, scales[name])

    def tensors(self) -> dict[str, Tensor]:
        """Return locations and scales, and the linear estimate where there is one."""
        linear = {} if self.linear is None else prefixed("linear", self.linear.tensors())
        return {name: getattr(self, name) for name in _SCALES} | linear

    @staticmethod
    def from_tensors(layout: StateLayout, tensors: Mapping[str, Tensor]) -> TargetCoordinates:
        """Make coordinates again.

        Args:
            layout: Layout of the states.
            tensors: What :meth:`tensors` returned.

        Returns:
            The coordinates, without estimates for training.
        """
        linear = below("linear", tensors)
        return TargetCoordinates(layout, LinearEstimate.from_tensors(layout, linear) if linear else None, tensors)

    @property
    def components(self) -> int:
        """Count the channels that are estimated (components of each particle)."""
        return len(self.kept)

    def context_of(self, batch: Batch) -> Context:
        """Return the context of a training batch.

        Args:
            batch: Windows ``(x_0, x_T)``, with or without estimates.

        Returns:
            The context, with the estimate of each window where it has one.
        """
        return self.context(batch.states[:, 1], batch.estimate)

    def context(
        self, final: Float[Tensor, "batch *state"], estimate: Float[Tensor, "batch *state"] | None = None
    ) -> Context:
        """Return all that depends on the observation alone.

        Args:
            final: Observed final states ``x_T``.
            estimate: Estimates that replace the linear one.

        Returns:
            The context of each observation.
        """
        standard = (final - self.final[0]) / self.final[1]
        static, places = standard.index_select(self.axis, self.fixed), final[..., : self.dimension] / self.length
        if self.particles:
            static = final.index_select(self.axis, self.fixed)
        if self.linear is None:
            centre = self._moving(self.initial[:1]).expand_as(self._moving(final))
            return Context(centre, centre.narrow(self.axis, 0, 0), static, places[..., :0])
        estimate = self.linear.mean(final) if estimate is None else estimate
        groups = [self._moving(standard), self._moving((estimate - self.initial[0]) / self.initial[1])]
        return Context(self._moving(estimate), torch.cat(groups, self.axis), static, places)

    def features(self, context: Context, *more: Float[Tensor, "batch *moving"]) -> Tensor:
        """Return the input of the network: the groups of the context, further ones, and the static channels.

        Args:
            context: What depends on the observation.
            *more: Further groups of features, of order one.

        Returns:
            Features, joined along the channels.
        """
        groups, places = [context.groups, *more], context.places
        if self.particles and places.shape[-1] == 0:
            y = more[0] * self.unit + self._moving(self.initial[:1])
            places = y[..., : self.dimension] / self.length
        return torch.cat([*([places] if self.particles else []), *groups, context.static], self.axis)

    def target(self, initial: Float[Tensor, "batch *state"], context: Context) -> Float[Tensor, "batch *moving"]:
        """Return the coordinates ``z`` of known initial states.

        Args:
            initial: Initial states ``x_0``.
            context: What depends on the observation.

        Returns:
            Coordinates of the moving channels.
        """
        return (self._moving(initial) - context.centre) / self.unit

    def restore(
        self, z: Float[Tensor, "batch *moving"], context: Context, final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """Return the initial states of coordinates; differentiable.

        Args:
            z: Standardised coordinates.
            context: What depends on the observation.
            final: Final states ``x_T``, whose static channels are copied.

        Returns:
            States of the shape of ``final``.
        """
        return final.index_copy(self.axis % final.ndim, self.kept, context.centre + self.unit * z)

    def split_heads(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Split the output of a network with two heads.

        Args:
            out: Output of :func:`~physinv.methods.learned.backbone.build_backbone` with ``heads=2``.

        Returns:
            An estimate of ``z``, and a second number for each of its components (one for each vector of a particle).
        """
        if not self.particles:
            first, second = out.chunk(2, dim=1)
            return first, second
        k = self.components
        return out[..., :k], out[..., k:].repeat_interleave(self.dimension, dim=-1)

    def _moving(self, x: Tensor) -> Tensor:
        return x.index_select(self.axis, self.kept)


@torch.no_grad()
def fit_coordinates(
    problem: Problem, linear: LinearEstimate | None, estimates: tuple[Tensor, Tensor] | None = None
) -> TargetCoordinates:
    """Fit locations and scales to the training data.

    Args:
        problem: The process and its training data.
        linear: The linear estimate of ``x_0`` given ``x_T``, or None.
        estimates: Cross-fitted estimates that replace the linear one in training.

    Returns:
        The coordinates.
    """
    layout, x0, xT = problem.train.layout, problem.train.states(0), problem.train.states(-1)
    axis = layout.channel_axis

    # Which channels move.  Each channel of a numbered state holds its own number.
    channels = torch.arange(x0.shape[axis], device=x0.device)
    numbered = torch.ones_like(x0[:1]).cumsum(axis).round() - 1
    kept = layout.moving(numbered).movedim(axis, 0).flatten(1)[:, 0].long()

    # Locations and scales.
    final, initial = (torch.stack(_location(layout, x)) for x in (xT, x0))
    unit = initial[1] if linear is None else layout.pooled(linear.deviation.square()[None]).sqrt()
    unit = torch.maximum(unit, _LEAST * initial[1].amax())[None].index_select(axis, kept)[0].contiguous()
    length = torch.ones((), device=x0.device)
    if layout.positions:
        length = length_unit(layout, problem.train.states(-1, limit=256).cpu()).to(x0)
    fixed = channels[~torch.isin(channels, kept)]
    scales = dict(zip(_SCALES, (final, initial, unit, length, kept, fixed), strict=True))
    return TargetCoordinates(layout, linear, scales, estimates)


def conditional_coordinates(problem: Problem) -> TargetCoordinates:
    """Return coordinates around the linear estimate of ``x_0`` given ``x_T``.

    In training the estimate of each trajectory is fitted without it
    (:func:`~physinv.methods.classical.linear_estimate.cross_fit`).

    Args:
        problem: The process and its data.

    Returns:
        The coordinates, with cross-fitted estimates for training.
    """
    linear, estimates = cross_fit(problem.simulator, problem.train, problem.valid)
    return fit_coordinates(problem, linear, (estimates, linear.mean(problem.valid.states(-1))))


def prior_coordinates(problem: Problem) -> TargetCoordinates:
    """Return coordinates around the mean of ``x_0``, which depend on the static channels of ``x_T`` only.

    Args:
        problem: The process and its data.

    Returns:
        The coordinates, without a linear estimate.
    """
    return fit_coordinates(problem, None)


def _location(layout: StateLayout, x: Float[Tensor, "n *state"]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, broadcastable against a state and of equal shapes."""
    mean = layout.centre(x)
    deviation = layout.pooled((x - mean).square()).sqrt()
    return mean, torch.maximum(deviation, _LEAST * deviation.amax())
