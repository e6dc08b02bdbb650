"""A process whose states also say, as static parts, where their last state is seen and how exactly."""

from __future__ import annotations

__all__ = ["Sensed"]

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
    every point.  Of a vector it is one number for each component, and one for the level.  Networks see them, nothing
    moves them.

    Args:
        inner: The process.
        design: The law of the sensors, which initial states are drawn with.
    """

    priors: tuple[tuple[str, Any], ...] = dataclasses.field(default=(), kw_only=True)
    design: SensorDesign = dataclasses.field(kw_only=True)

    @property
    def unknown(self) -> tuple[str, ...]:
        return ()

    @property
    def known(self) -> bool:  # type: ignore[override]
        return self.inner.known

    @property
    def startable(self) -> bool:  # type: ignore[override]
        return self.inner.startable

    @property
    def points(self) -> int:
        """Points of a field, or components of a vector."""
        return math.prod(self.inner.shape[1:] or self.inner.shape)

    @property
    def _places(self) -> int:
        """Static parts that say where."""
        return 1 if self.inner.layout.space else self.points

    @property
    def layout(self) -> StateLayout:
        return self._layout_with_sensors

    @property
    def _layout_with_sensors(self) -> StateLayout:
        where = ["seen"] if self._places == 1 else [f"seen_{i}" for i in range(self._places)]
        return self.inner.layout.with_static([*where, "noise_level"])

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
        # Sensors go where the points go, without a sign.
        axis = -len(self.shape)
        state, where, level = torch.split(x, [self._moving, self._places, 1], dim=axis)
        spread = where if self._places > 1 or not self.inner.layout.space else where.expand(state.shape)
        masks = [image.abs() for image in self.inner.images(spread)]
        masks = [mask.narrow(axis, 0, self._places) for mask in masks]
        return [
            torch.cat(parts, dim=axis)
            for parts in zip(self.inner.images(state), masks, [level] * len(masks), strict=True)
        ]

    def with_sensors(
        self, state: Float[Tensor, "batch *inner"], mask: Tensor, level: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        """Return states of this process.

        Args:
            state: States of ``inner``.
            mask: Where each is seen, ``(batch, points)``.
            level: Level of the noise of each.
        """
        space = self.inner.shape[1:]
        where = mask.to(state).reshape(len(state), self._places, *space)
        still = level.to(state).reshape(len(state), 1, *[1] * len(space)).expand(len(state), 1, *space)
        return torch.cat([state, where, still], dim=1)

    def sensors_of(self, x: Float[Tensor, "batch *state"]) -> tuple[Tensor, Float[Tensor, " batch"]]:
        """Return where states are seen, ``(batch, points)``, and the level of the noise.

        Args:
            x: States.
        """
        where = x[:, self._moving : self._moving + self._places].flatten(1) > 0.5
        return where, x[:, -1].flatten(1)[:, 0] if x.ndim > 2 else x[:, -1]

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        state = self.inner.initial(batch, generator=generator, device=device, dtype=dtype)
        return self.with_sensors(state, *self.design.draw(batch, self.points, generator=generator, device=device))

    def initial_log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"] | None:
        return self.inner.initial_log_prob(self.state(x))

    def exact(self) -> ExactPosterior | None:
        """Return None: that of ``inner`` is given whole final states."""
        return None
