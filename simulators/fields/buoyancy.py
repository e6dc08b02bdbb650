"""Smoke that rises around obstacles in a closed box: advection by PhiFlow (extra ``flow``)."""

from __future__ import annotations

__all__ = ["Buoyancy", "compiled_advection", "random_obstacles", "stream_velocity"]

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import number, parameter
from physinv.processes.substeps import spin_up_steps
from simulators.numerics.projection import project
from simulators.numerics.stepped import Stepped


@dataclass(frozen=True)
class Buoyancy(Stepped):
    """Smoke ``s`` that rises around obstacles in a closed box, in air of velocity ``u``:

        s_t + u . grad s = g xi,    u_t + u . grad u = -grad p + buoyancy s e_y + g xi,    div u = 0.

    Third experiment of Holzschuh, Vegetti and Thuerey (2023), in the unit square with walls all round.  Time 0 of the
    trajectories is ``start`` after the beginning; until ``inflow_end`` a disc (radius .07, y = .12) gave off smoke.
    Here the disc lies anywhere along x and the air is stirred at first; in the original all randomness but the noise
    is in the obstacles, which are known.

    One step of ``dt``: MacCormack advection of the smoke (Selle et al. 2008) and semi-Lagrangian advection of the
    velocity (Stam 1999), both by PhiFlow; buoyancy; projection.  The advection does not conserve smoke exactly.

    State ``(4, n, n)``, axes x and y (up): smoke in the cells; velocity through the right and through the upper face of
    each cell (last column and last row are wall: 0); obstacle cells (1 or 0, static).  Inside obstacles and on their
    faces the state rests, the physics does not read it, and there is no noise.

    Limits: derivatives with respect to the state hold for fixed obstacles and are as exact as ``tolerance``.  All
    methods that make solver steps raise ValueError if PhiFlow is not installed.

    Good values: the defaults; in one solver step smoke moves by about a cell.
    """

    title: ClassVar[str] = "Buoyancy-driven smoke with obstacles (needs physinv[flow])"
    equation: ClassVar[str] = (
        "s_t + u.grad s = noise xi,  u_t + u.grad u = -grad p + buoyancy s e_y + noise xi,  div u = 0"
    )

    horizon: float = parameter(0.45, "T", "final time, from `start`", unit="time", above=0)
    steps: int = parameter(45, "M", "stored time steps", minimum=1)
    inner: int = parameter(1, "m", "least number of solver steps between stored times", minimum=1)
    size: int = parameter(64, "n", "cells per axis", minimum=4)
    noise: float = parameter(0.1, "g", "noise per cell and face", unit="state/time^1/2", minimum=0)
    buoyancy: float = parameter(20.0, "b", "acceleration by smoke of density 1", unit="1/time^2", minimum=0)
    inflow: float = parameter(10.0, "q", "smoke given off", unit="1/time", minimum=0)
    inflow_end: float = parameter(0.2, "t_q", "end of the inflow", unit="time", minimum=0)
    start: float = parameter(0.2, "t_0", "age of x_0", unit="time", minimum=0)
    spread: float = parameter(0.2, "a", "the disc lies within .5 +- a along x", unit="length", minimum=0)
    stir: float = parameter(0.3, "v", "rms velocity of the air in the beginning", unit="length/time", minimum=0)
    obstacles: bool = parameter(True, "O", "one or two boxes and one or two discs at random places")
    tolerance: float = parameter(1e-5, "eps", "divergence left by the pressure solve, relative", minimum=1e-14)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start < self.inflow_end:
            raise ValueError(
                f"`start` of Buoyancy must be at least `inflow_end` = {self.inflow_end}, got {self.start}."
            )
        if self.spread > 0.4:
            raise ValueError(f"`spread` of Buoyancy must be at most 0.4, got {self.spread}: the disc must stay inside.")

    @property
    def shape(self) -> tuple[int, ...]:
        return (4, self.size, self.size)

    @property
    def layout(self) -> FieldLayout:
        centres = tuple((i + 0.5) / self.size for i in range(self.size))
        names = ("smoke", "velocity_x", "velocity_y", "obstacle")
        return FieldLayout(names, ("x", "y"), (centres,) * 2, "WALL", static=("obstacle",))

    @property
    def longest_step(self) -> float:
        """0.64 cells at the unit speed, to which smoke accelerates within the box: .01 on 64 cells."""
        return 0.64 / self.size

    @property
    def substeps(self) -> int:
        return max(self.inner, super().substeps)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        noisy = _free(torch.ones((1, self.size, self.size), dtype=torch.bool, device=t.device)).to(t.dtype)
        return self.noise * torch.ones_like(t)[:, None, None, None] * noisy

    def free(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        return _free(x[:, 3] < 0.5).to(x.dtype)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        smoke, vx, vy, mask = x.flip(-2).unbind(-3)
        return [x, torch.stack([smoke, -vx.roll(-1, dims=-2), vy, mask], dim=-3)]  # face i goes to n - 2 - i

    def propagated(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self._flow(x, self.dt, None)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """Return the states after one solver step of ``t1 - t0``; a negative one moves smoke and air back.

        Raises:
            ValueError: For steps of different lengths in one batch (on a CPU; elsewhere looking would mean waiting).
        """
        gap = t1 - t0
        if gap.device.type == "cpu" and bool(((gap - gap[0]).abs() > 1e-3 * gap[0].abs()).any()):
            raise ValueError(
                f"the steps of Buoyancy in one batch must be of one length, got {float(gap.min()):.6g} to "
                f"{float(gap.max()):.6g}; take them apart."
            )
        return self._flow(x, gap[0], None)

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        draw = torch.rand((batch, 21), generator=generator, device=device, dtype=dtype)
        swirl = torch.randn((batch, 4, 4), generator=generator, device=device, dtype=dtype)
        centre = (torch.arange(self.size, device=device, dtype=dtype) + 0.5) / self.size
        mask = (
            random_obstacles(draw[:, 1:], centre) if self.obstacles else draw.new_zeros((batch, self.size, self.size))
        )
        radius = 0.07
        place = 0.5 + self.spread * (2 * draw[:, :1, None] - 1)
        gap = ((centre[:, None] - place) ** 2 + (centre - 0.12) ** 2).sqrt()
        source = self.inflow * ((radius - gap) * self.size + 0.5).clamp(0, 1)
        x = torch.stack([torch.zeros_like(mask), *stream_velocity(swirl, self.size, self.stir), mask], dim=1)
        free, t = self.free(x), x.new_zeros(batch)
        x = self._project(torch.cat([free[:, :3] * x[:, :3], x[:, 3:]], dim=1))
        dt = torch.as_tensor(self.dt, device=device, dtype=dtype)
        age = spin_up_steps(self, "start", number(self.start), number(self.start / self.dt))
        end = round(number(self.inflow_end / self.dt))
        for i in range(age):
            dw = dt.sqrt() * torch.randn(x.shape, generator=generator, device=device, dtype=dtype)
            x = self._flow(x, self.dt, source if i < end else None)
            x = x + free * self.diffuse(dw, t)
        return x

    def _flow(self, x: Tensor, dt: Tensor | float, source: Tensor | None) -> Tensor:
        """One solver step, ``source`` (smoke per time and cell) included; what is not free stays as it is."""
        free, fluid, dt = self.free(x), x[:, 3:] < 0.5, torch.as_tensor(dt, dtype=x.dtype, device=x.device)
        live = free * x
        smoke, vx, vy = _advect(_fill(live[:, :1], fluid)[:, 0], live[:, 1], live[:, 2], dt)
        if source is not None:
            smoke = smoke + source * dt
        lift = pad((smoke[:, :, 1:] + smoke[:, :, :-1]) / 2, (0, 1))
        new = torch.stack([smoke, vx, vy + self.buoyancy * dt * lift, x[:, 3]], dim=1)
        return self._project(torch.where(free > 0, new, x))

    def _project(self, x: Tensor) -> Tensor:
        free = self.free(x)
        vx, vy = project(x[:, 1], x[:, 2], free[:, 1], free[:, 2], number(self.tolerance))
        return torch.stack([x[:, 0], vx, vy, x[:, 3]], dim=1)


def _free(fluid: Bool[Tensor, "batch x y"]) -> Bool[Tensor, "batch 4 x y"]:
    """Where each channel is free: in fluid cells (smoke), on faces between two of them (velocity), nowhere (mask)."""
    right = pad(fluid[:, 1:] & fluid[:, :-1], (0, 0, 0, 1))
    upper = pad(fluid[:, :, 1:] & fluid[:, :, :-1], (0, 1))
    return torch.stack([fluid, right, upper, torch.zeros_like(fluid)], dim=1)


def _fill(smoke: Float[Tensor, "batch 1 x y"], fluid: Bool[Tensor, "batch 1 x y"]) -> Float[Tensor, "batch 1 x y"]:
    """Give obstacle cells the mean of their fluid neighbours, so that interpolation at a wall sees no jump."""
    share = avg_pool2d(fluid.to(smoke.dtype), 3, 1, 1)
    return torch.where(fluid, smoke, avg_pool2d(smoke, 3, 1, 1) / share.clamp(min=0.01))


def stream_velocity(z: Float[Tensor, "batch k l"], n: int, stir: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return the face velocities of a stream function in sine modes, free of divergence.

    Args:
        z: Amplitudes of the modes, standard normal for a random flow.
        n: Cells per axis.
        stir: Expected rms speed, in length/time.

    Returns:
        Velocities through right and upper faces, ``(batch, n, n)`` each.
    """
    k = torch.arange(1, z.shape[1] + 1, device=z.device, dtype=z.dtype)
    k2 = math.pi**2 * (k[:, None] ** 2 + k**2)
    wave = torch.sin(math.pi * k[:, None] * torch.arange(n + 1, device=z.device, dtype=z.dtype) / n)
    energy = (k2**-1 / 4).sum()  # mean |grad psi|^2 of amplitudes z / k2
    psi = n * stir / energy.sqrt() * (wave.T @ (z / k2) @ wave)
    return psi[:, 1:].diff(dim=2), -psi[:, :, 1:].diff(dim=1)


def random_obstacles(draw: Float[Tensor, "batch 20"], centre: Float[Tensor, " n"]) -> Float[Tensor, "batch n n"]:
    """Return one or two boxes and one or two discs (the second of each with probability 1/2), none below y = .25.

    Args:
        draw: Numbers, uniform on [0, 1], that decide on number, places and sizes.
        centre: Cell centres along each axis.

    Returns:
        1 in obstacle cells, else 0.
    """
    boxes, discs = (d[..., None, None] for d in (draw[:, :12].reshape(-1, 2, 6), draw[:, 12:].reshape(-1, 2, 4)))
    always = torch.tensor([[[1.0]], [[0.0]]], device=draw.device, dtype=draw.dtype)

    def gaps(d: Tensor) -> tuple[Tensor, Tensor]:
        return (centre[:, None] - 0.1 - 0.8 * d[:, :, 1]).abs(), (centre - 0.35 - 0.55 * d[:, :, 2]).abs()

    (x, y), thick, length = gaps(boxes), 0.025 + 0.025 * boxes[:, :, 3], 0.06 + 0.12 * boxes[:, :, 4]
    lies = boxes[:, :, 5] < 0.5
    box = (x <= torch.where(lies, length, thick)) & (y <= torch.where(lies, thick, length))
    x, y = gaps(discs)
    disc = x**2 + y**2 <= (0.05 + 0.06 * discs[:, :, 3]) ** 2
    solid = (box & (boxes[:, :, 0] < 0.5 + always)) | (disc & (discs[:, :, 0] < 0.5 + always))
    return (solid.any(1) & (centre > 0.25)).to(draw.dtype)


def _advect(smoke: Tensor, vx: Tensor, vy: Tensor, dt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Advect smoke (MacCormack) and velocity (semi-Lagrangian) by the velocity; all ``(batch, n, n)``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PhiFlow calls deprecated parts of itself and of torch
        phi, compiled = compiled_advection(smoke.shape[-1], smoke.dtype, smoke.device)
        b, xy, wrap = phi.math.batch("b"), phi.math.spatial("x,y"), phi.math.wrap
        before = phi.torch.TORCH.get_default_device()
        phi.torch.TORCH.set_default_device(phi.torch.TORCH.get_device(smoke))
        try:
            with phi.math.precision(torch.finfo(smoke.dtype).bits), phi.torch.TORCH:
                moved = compiled(wrap(smoke, b, xy), wrap(vx[:, :-1], b, xy), wrap(vy[:, :, :-1], b, xy), wrap(dt))
                smoke, vx, vy = (m.native("b,x,y") for m in moved)
        finally:
            phi.torch.TORCH.set_default_device(before)
    return smoke, pad(vx, (0, 0, 0, 1)), pad(vy, (0, 1))


@lru_cache(maxsize=16)
def compiled_advection(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    """Return PhiFlow and its advection on n x n cells, traced: PhiFlow's own bookkeeping takes 100 times as long.

    Args:
        n: Cells per axis.
        dtype: Of the states that are advected.
        device: Where they are.

    Returns:
        The module ``phi`` and the traced function.

    Raises:
        ValueError: If PhiFlow is not installed.
    """
    try:
        import phi.field
        import phi.physics.advect
        import phi.torch
    except ImportError:
        text = 'the simulator `buoyancy` needs phiflow; install it with pip install "physinv[flow]"'
        raise ValueError(text) from None
    grid = {"x": n, "y": n, "bounds": phi.geom.Box(x=1, y=1)}

    def advect(smoke: Any, vx: Any, vy: Any, dt: Any) -> tuple[Any, Any, Any]:
        density = phi.field.CenteredGrid(smoke, phi.math.extrapolation.BOUNDARY, **grid)
        velocity = phi.field.StaggeredGrid(phi.math.stack([vx, vy], phi.math.dual(vector="x,y")), 0, **grid)
        density = phi.physics.advect.mac_cormack(density, velocity, dt)
        velocity = phi.physics.advect.semi_lagrangian(velocity, velocity, dt)
        return density.values, velocity.vector["x"].values, velocity.vector["y"].values

    return phi, phi.math.jit_compile(advect)
