"""What all learned baselines stand on: states in units of order one, the network that suits them, work in chunks."""

from __future__ import annotations

__all__ = ["Context", "Frame", "build_backbone", "chunked", "conditional_frame", "prior_frame", "source"]

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.methods.classical.linear_estimate import LinearEstimate, cross_fit
from physinv.methods.problem import Problem
from physinv.models.networks import MLP, ParticleNet, UNet
from physinv.models.references.fit_particles import fit_particles
from physinv.posterior.posterior import default_batch
from physinv.processes.simulator import Layout
from physinv.training.objectives.base import Batch

_ALL_PAIRS, _NEAREST = 64, 32  # particles up to which each hears from every other; else from so many nearest ones
_LEAST = 1e-6  # of the largest scale: components that hardly vary are not blown up


class Context(NamedTuple):
    """What is known before a network runs: ``centre (batch, *moving)`` that estimates count from, feature ``groups``
    and ``static`` parts (joined along the channels), for particles the ``places`` that tell who is whose neighbour."""

    centre: Tensor
    groups: Tensor
    static: Tensor
    places: Tensor


class Frame(nn.Module):
    """Estimates ``x_0 = centre(x_T) + unit z`` with ``z`` of order one; static parts are copied from ``x_T``.

    With a ``linear`` estimate ``centre`` is that estimate and ``unit`` the size of what it misses; x_T and the
    estimate, both standardised, are groups of features.  Without, they are mean and deviation of ``x_0``, and
    there are no groups.  ``estimates``: what stands in for the linear one in training, for the trajectories of both
    splits.  Scales are per channel (fields), per component (vectors) or per vector (particles, over all of
    them; the means are 0 where ``layout.isotropic``).
    """

    final: Tensor
    initial: Tensor
    unit: Tensor
    length: Tensor
    kept: Tensor
    fixed: Tensor

    def __init__(
        self, problem: Problem, linear: LinearEstimate | None, estimates: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.estimates = estimates
        layout, x0, xT = problem.train.layout, problem.train.states(0), problem.train.states(-1)
        self.layout, self.linear, self.particles = layout, linear, layout.kind == "particles"
        self.axis = -1 if self.particles else 1
        self.dimension = len(layout.coordinates[1]) if self.particles else 1
        channels = torch.arange(x0.shape[self.axis], device=x0.device)
        numbered = torch.ones_like(x0[:1]).cumsum(self.axis).round() - 1  # each channel holds its own number
        kept = layout.moving(numbered).movedim(self.axis, 0).flatten(1)[:, 0].long()
        self.register_buffer("kept", kept)
        self.register_buffer("fixed", channels[~torch.isin(channels, kept)])
        self.register_buffer("final", torch.stack(_location(layout, xT)))
        self.register_buffer("initial", torch.stack(_location(layout, x0)))
        unit = self.initial[1] if linear is None else _pooled(layout, linear.deviation.square()[None]).sqrt()
        least = _LEAST * self.initial[1].amax()
        self.register_buffer("unit", self._moving(torch.maximum(unit, least)[None])[0])
        length = torch.ones((), device=x0.device)
        if self.particles:
            times = problem.train.times[-1:]
            law = fit_particles(problem.simulator, layout, times, lambda _: problem.train.states(-1, limit=256))
            length = law.unit.to(x0)
        self.register_buffer("length", length)

    @property
    def components(self) -> int:
        """Channels that are estimated (components of each particle)."""
        return len(self.kept)

    def context_of(self, batch: Batch) -> Context:
        """The context of windows ``(x_0, x_T)``, with the estimate of the batch if it has one."""
        return self.context(batch.states[:, 1], batch.estimate)

    def context(
        self, final: Float[Tensor, "batch *state"], estimate: Float[Tensor, "batch *state"] | None = None
    ) -> Context:
        """Everything that depends on the observation alone: computed once for many draws.

        ``estimate`` takes the place of the linear one.
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
        """The network's input: groups, ``more`` of them (of order one), then what is static."""
        groups, places = [context.groups, *more], context.places
        if self.particles and places.shape[-1] == 0:
            y = more[0] * self.unit + self._moving(self.initial[:1])
            places = y[..., : self.dimension] / self.length
        return torch.cat([*([places] if self.particles else []), *groups, context.static], self.axis)

    def target(self, initial: Float[Tensor, "batch *state"], context: Context) -> Float[Tensor, "batch *moving"]:
        """``z`` of a known ``x_0``."""
        return (self._moving(initial) - context.centre) / self.unit

    def restore(
        self, z: Float[Tensor, "batch *moving"], context: Context, final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """``x_0`` of ``z``; differentiable."""
        return final.index_copy(self.axis % final.ndim, self.kept, context.centre + self.unit * z)

    def split(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """A network's output with two heads: an estimate of ``z``, and one number for each part of it."""
        if not self.particles:
            first, second = out.chunk(2, dim=1)
            return first, second
        k = self.components
        return out[..., :k], out[..., k:].repeat_interleave(self.dimension, dim=-1)

    def _moving(self, x: Tensor) -> Tensor:
        return x.index_select(self.axis, self.kept)


def conditional_frame(problem: Problem) -> Frame:
    """Estimates count from the linear estimate of ``x_0`` given ``x_T``; in training from one that was fitted without
    the trajectory in question (:func:`~physinv.methods.classical.linear_estimate.cross_fit`)."""
    linear, estimates = cross_fit(problem.simulator, problem.train, problem.valid)
    return Frame(problem, linear, (estimates, linear.mean(problem.valid.states(-1))))


def prior_frame(problem: Problem) -> Frame:
    """Estimates count from the mean of ``x_0`` and know nothing of ``x_T`` but what is static."""
    return Frame(problem, None)


def build_backbone(
    frame: Frame, settings: Settings, *, groups: int, heads: int = 1, dropout: float = 0.0, seed: Seed = 0
) -> nn.Module:
    """``(features (batch, inputs...), t (batch)) -> (batch, outputs...)``, of the sizes of the score model's network.

    ``groups`` counts those of :meth:`Frame.features`; ``heads`` = 2 adds numbers for :meth:`Frame.split`.
    """
    layout, m, static = frame.layout, frame.components, len(frame.fixed)
    inputs, outputs = groups * m + static, heads * m
    with seeds(seed).child("model", "network").as_global():
        if frame.particles:
            d = frame.dimension
            return ParticleNet(
                d,
                groups * m // d,
                static,
                width=settings.width or 32,
                depth=settings.depth or 2,
                box=layout.box / float(frame.length),
                absolute=not layout.isotropic,
                neighbours=None if layout.shape[0] <= _ALL_PAIRS else _NEAREST,
                dropout=dropout,
                outputs=m // d,
                numbers=(heads - 1) * m // d,
            )
        if layout.kind == "vector":
            return MLP(inputs, outputs, width=settings.width or 64, depth=settings.depth or 3, dropout=dropout)
        return UNet(
            inputs,
            outputs,
            dimension=len(layout.axes),
            width=settings.width or 16,
            levels=settings.depth or 2,
            periodic=layout.boundary == "PERIODIC",
            dropout=dropout,
        )


@torch.no_grad()
def chunked(work: Callable[[Tensor], Tensor], x: Float[Tensor, "batch *state"], at_once: int | None = None) -> Tensor:
    """``work(x)`` for ``at_once`` states at a time (default: what suits the device), in float32, as networks are."""
    parts = [work(part.float()) for part in torch.split(x, at_once or default_batch(x))]
    return torch.cat(parts).to(x.dtype)


def source(generator: torch.Generator | None, device: torch.device) -> torch.Generator:
    """``generator``, or a new one seeded by torch's global state."""
    return generator or torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))


def _location(layout: Layout, x: Float[Tensor, "n *state"]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, broadcastable against a state and of equal shapes."""
    mean = _averaged(layout, x)
    if layout.kind == "particles" and layout.isotropic:
        mean = torch.zeros_like(mean)
    deviation = _pooled(layout, (x - mean).square()).sqrt()
    return mean, torch.maximum(deviation, _LEAST * deviation.amax())


def _averaged(layout: Layout, x: Float[Tensor, "n *state"]) -> Tensor:
    if layout.kind == "vector":
        return x.mean(0)
    if layout.kind == "particles":
        return x.mean((0, 1))[None]
    return x.mean((0, *range(2, x.ndim)), keepdim=True)[0]


def _pooled(layout: Layout, squares: Float[Tensor, "n *state"]) -> Tensor:
    """Mean squares per channel, per component or (particles) per vector."""
    mean = _averaged(layout, squares)
    if layout.kind != "particles":
        return mean
    parts = [mean[:, place[-1]].reshape(1, -1) for _, place in layout.parts()]
    return torch.cat([part.mean().expand_as(part) for part in parts], dim=1)
