"""Nonlinear processes that physinv does not ship, on which answers to records are judged (`own_records.py`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import physinv as pi


@dataclass(frozen=True)
class Spiral(pi.Simulator):
    """A damped rotation in the plane, whose speed depends on the radius."""

    title, equation = "Spiral", "dx = -x (|x|^2 - 1) / 2 dt + rotation + noise dW"

    horizon: float = pi.parameter(2.0, "T", "final time", unit="time", above=0)
    steps: int = pi.parameter(20, "M", "stored intervals", minimum=1)
    noise: float = pi.parameter(0.4, "g", "noise", minimum=0)

    @property
    def layout(self) -> pi.VectorLayout:
        return pi.VectorLayout("position", 2)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        square = x.square().sum(1, keepdim=True)
        turned = torch.stack([-x[:, 1], x[:, 0]], 1)
        return -0.5 * x * (square - 1).clamp(-3, 3) + (1 + square / (1 + square)) * turned

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.noise)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):  # type: ignore[no-untyped-def]
        return torch.randn((batch, 2), generator=generator, device=device, dtype=dtype)


@dataclass(frozen=True)
class Wells(pi.Simulator):
    """Overdamped numbers on a ring, each in a double well and drawn towards its neighbours: eight of them, or three."""

    title, equation = "Coupled wells", "dx_i = (x_i - x_i^3 + pull (x_i-1 + x_i+1 - 2 x_i)) dt + noise dW"

    horizon: float = pi.parameter(1.0, "T", "final time", unit="time", above=0)
    steps: int = pi.parameter(20, "M", "stored intervals", minimum=1)
    noise: float = pi.parameter(0.5, "g", "noise", minimum=0)
    numbers: int = pi.parameter(8, "n", "numbers", minimum=2)
    pull: float = pi.parameter(0.3, "c", "pull between neighbours", minimum=0)

    @property
    def layout(self) -> pi.VectorLayout:
        return pi.VectorLayout("x", self.numbers)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return x - x.pow(3).clamp(-30, 30) + self.pull * (x.roll(1, 1) + x.roll(-1, 1) - 2 * x)

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.noise)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):  # type: ignore[no-untyped-def]
        return torch.randn((batch, self.numbers), generator=generator, device=device, dtype=dtype)


@dataclass(frozen=True)
class ThreeWells(Wells):
    """Three of them."""

    numbers: int = pi.parameter(3, "n", "numbers", minimum=2)


@dataclass(frozen=True)
class Fronts(pi.Simulator):
    """A field on a ring of 32 points that is drawn to 1 or -1, with diffusion and noise at every point."""

    title, equation = "Fronts", "u_t = diffusivity u_xx + rate (u - u^3) + noise"

    horizon: float = pi.parameter(0.6, "T", "final time", unit="time", above=0)
    steps: int = pi.parameter(12, "M", "stored intervals", minimum=1)
    noise: float = pi.parameter(0.3, "g", "noise", minimum=0)
    diffusivity: float = pi.parameter(0.1, "D", "diffusivity", minimum=0)
    rate: float = pi.parameter(2.0, "r", "growth rate", minimum=0)
    size: int = pi.parameter(32, "n", "points", minimum=8)

    @property
    def layout(self) -> pi.FieldLayout:
        return pi.FieldLayout("u", "x", [torch.arange(self.size) * 2 * math.pi / self.size])

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        around = x.roll(1, -1) + x.roll(-1, -1) - 2 * x
        bend = self.diffusivity * (self.size / (2 * math.pi)) ** 2
        return bend * around + self.rate * (x - x.pow(3).clamp(-30, 30))

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.noise)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):  # type: ignore[no-untyped-def]
        z = torch.randn((batch, 1, self.size), generator=generator, device=device, dtype=dtype)
        k = torch.fft.rfftfreq(self.size, 1 / self.size, device=device)
        gain = torch.exp(-(k**2) / 18)
        power = (2 * gain.square().sum() - gain[0] ** 2 - gain[-1] ** 2) / self.size
        return torch.fft.irfft(torch.fft.rfft(z) * gain / power.sqrt(), n=self.size)
