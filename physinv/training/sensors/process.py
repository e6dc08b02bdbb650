"""A process whose states also say, as static parts, where trajectories are seen, how exactly, and what that tells."""

from __future__ import annotations

__all__ = ["Sensed", "TellsParameters"]

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.exact import ExactPosterior
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying
from physinv.training.sensors.design import SensorDesign


@dataclass(frozen=True)
class Sensed(Varying):
    """A process ``inner`` with the sensors of each trajectory in static parts of its states.

    Of a field these are two channels: 1 where a point is seen and 0 elsewhere, and the level of the noise, the same at
    every point.  Of a vector it is one number for each component, and one for the level.  Where sensors see several
    times, each time has sensors of its own, and before them stand estimates of the states at these times and at 0, from
    all that is seen.  Networks see them, nothing moves them.

    Unknown parameters of ``inner`` are static parts of its states, which sensors do not see; estimates hold them, too.

    Args:
        inner: The process.
        design: The law of the sensors, which initial states are drawn with.
        rows: Numbers of the stored times at which sensors see, increasing; none: the last one alone.
    """

    priors: tuple[tuple[str, Any], ...] = dataclasses.field(default=(), kw_only=True)
    design: SensorDesign = dataclasses.field(kw_only=True)
    rows: tuple[int, ...] = dataclasses.field(default=(), kw_only=True)

    @property
    def unknown(self) -> tuple[str, ...]:
        return self.inner.unknown

    @property
    def plain(self) -> Simulator:
        """The process whose states are seen: ``inner`` without unknown parameters."""
        return self.inner.inner if isinstance(self.inner, Varying) else self.inner

    @property
    def known(self) -> bool:  # type: ignore[override]
        return self.inner.known

    @property
    def startable(self) -> bool:  # type: ignore[override]
        return self.inner.startable

    @property
    def points(self) -> int:
        """Points of a field, or components of a vector."""
        return math.prod(self.plain.shape[1:] or self.plain.shape)

    @property
    def seen_rows(self) -> tuple[int, ...]:
        """Numbers of the stored times at which something is seen."""
        return self.rows or (self.steps,)

    @property
    def estimated_rows(self) -> tuple[int, ...]:
        """Numbers of the stored times whose states are estimated, of which the last one takes the place of ``x_T``."""
        return tuple(sorted({0, *self.rows, self.steps})) if self.rows else (self.steps,)

    @property
    def _split(self) -> tuple[int, int, int, int]:
        """Parts of a state: what moves, estimates, where it is seen, the level of the noise."""
        places = 1 if self.inner.layout.space else self.points
        return self._moving, (len(self.estimated_rows) - 1) * self._moving, len(self.seen_rows) * places, 1

    @property
    def layout(self) -> StateLayout:
        return self._layout_with_sensors

    @property
    def _layout_with_sensors(self) -> StateLayout:
        points = [""] if self.inner.layout.space else [f"_{i}" for i in range(self.points)]
        if not self.rows:
            return self.inner.layout.with_static([*(f"seen{point}" for point in points), "noise_level"])
        told = [f"estimate_{row}_{i}" for row in self.estimated_rows[:-1] for i in range(self._moving)]
        return self.inner.layout.with_static(
            [*told, *(f"seen_{row}{point}" for row in self.rows for point in points), "noise_level"]
        )

    @property
    def _corners(self) -> list[Simulator]:
        return [self.inner]

    def at(self, values: Float[Tensor, "batch parameters"]) -> Simulator:
        """Return the process itself: sensors do not change the physics.

        Args:
            values: Not looked at.
        """
        return self.inner

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        g = super().diffusion(t)
        still = g.new_zeros(len(g), self.shape[0] - self._moving, *g.shape[2:])
        return torch.cat([g, still], dim=1)

    def images(self, x: Float[Tensor, "*lead *state"]) -> list[Float[Tensor, "*lead *state"]]:
        # Estimates go where states go, and sensors where the points go, without a sign.
        axis = -len(self.shape)
        state, told, where, level = torch.split(x, list(self._split), dim=axis)
        places = self._split[2] // len(self.seen_rows)
        space = self.inner.layout.space
        states = [state, *(torch.split(told, self._moving, dim=axis) if told.numel() else ())]
        masks = [
            mask.expand(state.shape) if space else torch.nn.functional.pad(mask, (0, state.shape[-1] - places))
            for mask in torch.split(where, places, dim=axis)
        ]
        moved = [self.inner.images(part) for part in states]
        seen = [[image.abs().narrow(axis, 0, places) for image in self.inner.images(mask)] for mask in masks]
        return [torch.cat([*parts, level], dim=axis) for parts in zip(*moved, *seen, strict=True)]

    def with_sensors(
        self,
        state: Float[Tensor, "batch *inner"],
        mask: Tensor,
        level: Float[Tensor, " batch"],
        estimates: Float[Tensor, "batch estimates *inner"] | None = None,
    ) -> Float[Tensor, "batch *state"]:
        """Return states of this process.

        Args:
            state: States of ``inner``.
            mask: Where each is seen, ``(batch, times points)``.
            level: Level of the noise of each.
            estimates: States at the estimated times but the last one; None: zeros, where nothing is known yet.
        """
        space = self.inner.shape[1:]
        _, told, places, _ = self._split
        where = mask.to(state).reshape(len(state), places, *space)
        still = level.to(state).reshape(len(state), 1, *[1] * len(space)).expand(len(state), 1, *space)
        known = state.new_zeros(len(state), told, *space)
        if estimates is not None:
            known = estimates.to(state).reshape(known.shape)
        return torch.cat([state, known, where, still], dim=1)

    def sensors_of(self, x: Float[Tensor, "batch *state"]) -> tuple[Tensor, Float[Tensor, " batch"]]:
        """Return where states are seen, ``(batch, times points)``, and the level of the noise.

        Args:
            x: States.
        """
        moving, told, places, _ = self._split
        where = x[:, moving + told : moving + told + places].flatten(1) > 0.5
        return where, x[:, -1].flatten(1)[:, 0] if x.ndim > 2 else x[:, -1]

    def sensors(
        self, batch: int, *, generator: torch.Generator | None = None, device: torch.device | str | None
    ) -> tuple[Tensor, Float[Tensor, " batch"]]:
        """Draw sensors of trajectories, at each time others, and one level of the noise for all times.

        Args:
            batch: Number of trajectories.
            generator: Source of randomness, on ``device``.
            device: Where they are made.

        Returns:
            Where each is seen, ``(batch, times points)``, and the level.
        """
        times = len(self.seen_rows)
        mask, level = self.design.draw(batch * times, self.points, generator=generator, device=device)
        return mask.reshape(batch, times * self.points), level.reshape(batch, times)[:, 0]

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        state = self.inner.initial(batch, generator=generator, device=device, dtype=dtype)
        return self.with_sensors(state, *self.sensors(batch, generator=generator, device=device))

    def initial_log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"] | None:
        return self.inner.initial_log_prob(self.state(x))

    def exact(self) -> ExactPosterior | None:
        """Return None: that of ``inner`` is given whole final states."""
        return None


@dataclass(frozen=True)
class TellsParameters(Sensed):
    """The same states, as what the law of unknown parameters is told: all but these are its state.

    Args:
        priors: Those of the unknown parameters of ``inner``.
    """

    def state(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *rest"]:
        own = self.plain.shape[0]
        return torch.cat([x[:, :own], x[:, own + len(self.priors) :]], dim=1)

    def values(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch parameters"]:
        found = x.narrow(1, self.plain.shape[0], len(self.priors))
        return found.flatten(2)[..., 0] if x.ndim > 2 else found

    def joined(
        self, state: Float[Tensor, "batch *rest"], values: Float[Tensor, "batch parameters"]
    ) -> Float[Tensor, "batch *state"]:
        own = self.plain.shape[0]
        still = values.to(state).reshape(*values.shape, *[1] * (state.ndim - 2))
        return torch.cat([state[:, :own], still.expand(*values.shape, *state.shape[2:]), state[:, own:]], dim=1)
