"""Vector processes that physinv does not ship, as a user would write them: on these its posterior is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import physinv as pi


class Stranger(pi.Simulator):
    """A process with constant noise on each component; initial states are Gaussian, around one of some places."""

    amplitudes: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    places: tuple[tuple[float, ...], ...]
    lag: float

    def diffusion(self, t):
        return torch.tensor(self.amplitudes).to(t).expand(len(t), -1)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        shape = (batch, len(self.mean))
        z = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        mean = torch.tensor(self.mean).to(z)
        if self.places:
            mean = torch.tensor(self.places).to(z)[
                torch.randint(len(self.places), (batch,), generator=generator, device=device)
            ]
        return mean + torch.tensor(self.deviation).to(z) * z


def stranger(
    name: str,
    drift: Callable[..., tuple[Tensor, ...]],
    *,
    noise: tuple[float, ...],
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    horizon: float,
    longest: float,
    lag: float,
    places: tuple[tuple[float, ...], ...] = (),
) -> type[Stranger]:
    """Make a process of the components of its drift; `lag` is for the exact answer (see strangers.py)."""
    end = horizon

    @dataclass(frozen=True)
    class Process(Stranger):
        title = name
        equation = "dx = f(x) dt + g dW"
        layout = pi.VectorLayout("x", len(noise))
        horizon: float = pi.parameter(end, "T", "final time", unit="time", above=0)

        @property
        def longest_step(self):
            return longest

        def drift(self, x, t):
            return torch.stack(drift(*x.unbind(1)), dim=1)

    Process.amplitudes, Process.mean, Process.deviation, Process.lag = noise, mean, deviation, lag
    Process.places = places
    Process.__name__ = Process.__qualname__ = name
    return Process


FitzHughNagumo = stranger(
    "FitzHughNagumo",
    lambda v, w: (v - v**3 / 3 - w + 0.5, 0.08 * (v + 0.7 - 0.8 * w)),
    noise=(0.15, 0.05),
    mean=(0.0, 0.5),
    deviation=(1.0, 0.5),
    horizon=6.0,
    longest=0.05,
    lag=0.1,
)
VanDerPol = stranger(
    "VanDerPol",
    lambda x, p: (p, 2 * (1 - x**2) * p - x),
    noise=(0.1, 0.2),
    mean=(0.0, 0.0),
    deviation=(1.0, 1.0),
    horizon=3.0,
    longest=0.01,
    lag=0.05,
)
Lorenz63 = stranger(
    "Lorenz63",
    lambda x, y, z: (10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z),
    noise=(1.0, 1.0, 1.0),
    mean=(0.0, 0.0, 25.0),
    deviation=(6.0, 6.0, 6.0),
    horizon=0.8,
    longest=0.005,
    lag=0.04,
)
Duffing = stranger(
    "Duffing",
    lambda x, p: (p, x - x**3 - 0.3 * p),
    noise=(0.0, 0.4),
    mean=(0.0, 0.0),
    deviation=(1.0, 1.0),
    horizon=4.0,
    longest=0.02,
    lag=0.25,
)
Pendulum = stranger(
    "Pendulum",
    lambda q, p: (p, -torch.sin(q) - 0.3 * p),
    noise=(0.0, 0.3),
    mean=(0.0, 0.0),
    deviation=(1.0, 1.0),
    horizon=3.0,
    longest=0.02,
    lag=0.25,
)
Hopf = stranger(
    "Hopf",
    lambda x, y: (x - 2 * y - x * (x**2 + y**2), 2 * x + y - y * (x**2 + y**2)),
    noise=(0.2, 0.2),
    mean=(0.0, 0.0),
    deviation=(1.0, 1.0),
    horizon=2.0,
    longest=0.02,
    lag=0.06,
)
Toggle = stranger(
    "Toggle",
    lambda a, b: (2 / (1 + b**4) - a, 2 / (1 + a**4) - b),
    noise=(0.15, 0.15),
    mean=(1.0, 1.0),
    deviation=(0.5, 0.5),
    horizon=3.0,
    longest=0.02,
    lag=0.06,
)
ThreeWells = stranger(
    "ThreeWells",
    lambda x: (-x * (x**2 - 1) * (x**2 - 4) / 2,),
    noise=(0.6,),
    mean=(0.0,),
    deviation=(1.0,),
    horizon=2.0,
    longest=0.002,
    lag=0.02,
)
CoupledWells = stranger(
    "CoupledWells",
    lambda a, b, c, d: (
        a - a**3 + 0.4 * (b - a),
        b - b**3 + 0.4 * (a + c - 2 * b),
        c - c**3 + 0.4 * (b + d - 2 * c),
        d - d**3 + 0.4 * (c - d),
    ),
    noise=(0.5, 0.5, 0.5, 0.5),
    mean=(0.0, 0.0, 0.0, 0.0),
    deviation=(1.0, 1.0, 1.0, 1.0),
    horizon=1.0,
    longest=0.02,
    lag=0.1,
)


def lorenz_96(x: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Drift of Lorenz (1996): every site is driven by a product of its neighbours, damped and forced by 8."""
    u = torch.stack(x)
    return ((u.roll(-1, 0) - u.roll(2, 0)) * u.roll(1, 0) - u + 8).unbind(0)


def chain(state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Drift of damped anharmonic oscillators in a chain between walls; positions first, then momenta."""
    q, p = torch.stack(state).chunk(2)
    bent = torch.nn.functional.pad(q, (0, 0, 1, 1)).diff(n=2, dim=0)
    return (*p.unbind(0), *(-q - q**3 + 0.5 * bent - 0.3 * p).unbind(0))


def repressilator(x: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Drift of three genes that repress each other in a ring: messengers first, then proteins."""
    m, p = x[:3], x[3:]
    made = (6 / (1 + p[i - 1].clamp(min=0) ** 3) - m[i] for i in range(3))
    return (*made, *(m[i] - p[i] for i in range(3)))


def cells(x: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Drift of two coupled cells of FitzHugh and Nagumo and a slow current that both feed."""
    v, w, u, z, s = x
    fast = (v - v**3 / 3 - w + 0.3 * (u - v) - s, u - u**3 / 3 - z + 0.3 * (v - u) - s)
    return fast[0], 0.2 * (v + 0.7 - 0.8 * w), fast[1], 0.2 * (u + 0.7 - 0.8 * z), 0.3 * (v + u - s)


Lorenz96Sites5, Lorenz96Sites12, Lorenz96Sites40 = (
    stranger(
        f"Lorenz96Sites{n}",
        lambda *x: lorenz_96(x),
        noise=(1.0,) * n,
        mean=(2.5,) * n,
        deviation=(3.0,) * n,
        horizon=0.3,
        longest=0.01,
        lag=0.04,
    )
    for n in (5, 12, 40)
)
Repressilator = stranger(
    "Repressilator",
    lambda *x: repressilator(x),
    noise=(0.3,) * 6,
    mean=(2.0,) * 6,
    deviation=(0.7,) * 6,
    horizon=2.0,
    longest=0.02,
    lag=0.1,
)
Cells = stranger(
    "Cells",
    lambda *x: cells(x),
    noise=(0.2, 0.05, 0.2, 0.05, 0.05),
    mean=(0.0, 0.5, 0.0, 0.5, 0.0),
    deviation=(1.0, 0.5, 1.0, 0.5, 0.5),
    horizon=3.0,
    longest=0.02,
    lag=0.1,
)
TenOscillators = stranger(
    "TenOscillators",
    lambda *x: chain(x),
    noise=(0.0,) * 10 + (0.4,) * 10,
    mean=(0.0,) * 20,
    deviation=(1.0,) * 20,
    horizon=2.0,
    longest=0.02,
    lag=0.1,
)
Selkov = stranger(
    "Selkov",
    lambda x, y: (-x + 0.08 * y + x * x * y, 0.6 - 0.08 * y - x * x * y),
    noise=(0.06, 0.06),
    mean=(1.0, 1.2),
    deviation=(0.4, 0.4),
    horizon=6.0,
    longest=0.02,
    lag=0.1,
)
MaierStein = stranger(
    "MaierStein",
    lambda x, y: (x - x**3 - 5 * x * y**2, -(1 + x * x) * y),
    noise=(0.3, 0.3),
    mean=(0.0, 0.3),
    deviation=(0.8, 0.5),
    horizon=2.0,
    longest=0.02,
    lag=0.1,
)
HindmarshRose = stranger(
    "HindmarshRose",
    lambda x, y, z: (y - x**3 + 3 * x * x - z + 2.0, 1 - 5 * x * x - y, 0.05 * (4 * (x + 1.6) - z)),
    noise=(0.2, 0.2, 0.05),
    mean=(-1.0, -4.0, 2.0),
    deviation=(0.5, 1.5, 0.4),
    horizon=3.0,
    longest=0.005,
    lag=0.05,
)
FromRest = stranger(
    "FromRest",  # a damped pendulum that is let go
    lambda a, w: (w, -torch.sin(a) - 0.2 * w),
    noise=(0.1, 0.3),
    mean=(0.0, 0.0),
    deviation=(1.5, 0.0),
    horizon=3.0,
    longest=0.02,
    lag=0.1,
)
SixSites = stranger(
    "SixSites",  # sources in a double well
    lambda a, b: (a - a**3, -b),
    noise=(0.5, 0.5),
    mean=(0.0, 0.0),
    deviation=(0.0, 0.0),
    places=((-1.0, 0.0), (-0.5, 1.0), (0.2, -1.0), (0.6, 0.5), (1.2, 0.0), (1.2, 1.0)),
    horizon=1.0,
    longest=0.02,
    lag=0.1,
)

STRANGERS = {
    "fitzhugh-nagumo": FitzHughNagumo,
    "van-der-pol": VanDerPol,
    "lorenz-63": Lorenz63,
    "duffing": Duffing,
    "pendulum": Pendulum,
    "hopf": Hopf,
    "selkov": Selkov,
    "maier-stein": MaierStein,
    "hindmarsh-rose": HindmarshRose,
    "from-rest": FromRest,
    "six-sites": SixSites,
    "toggle": Toggle,
    "three-wells": ThreeWells,
    "coupled-wells": CoupledWells,
    "lorenz-96-5": Lorenz96Sites5,
    "cells": Cells,
    "repressilator": Repressilator,
    "lorenz-96-12": Lorenz96Sites12,
    "lorenz-96-40": Lorenz96Sites40,
    "ten-oscillators": TenOscillators,
}
