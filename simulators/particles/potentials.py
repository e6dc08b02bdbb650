"""Pair and external potentials of particles, with their exact forces; lengths in the pair laws are in diameters."""

from __future__ import annotations

__all__ = [
    "EXTERNAL",
    "PAIRS",
    "PairLaw",
    "double_well",
    "harmonic",
    "mueller_brown",
    "mueller_brown_curvature",
    "pair_law",
]

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

PAIRS = ("none", "soft", "wca", "lennard-jones", "yukawa")
EXTERNAL = ("none", "harmonic", "double-well", "mueller-brown")

Number = float | Tensor
Law = Callable[[Tensor], tuple[Tensor, Tensor]]
"""``s -> u(s), u'(s)``."""


@dataclass(frozen=True)
class PairLaw:
    """A pair energy ``u(s)`` in units of its strength, ``s`` the distance in diameters; it ends at ``reach``.

    Below ``closest`` the energy goes on as a straight line: the force is capped there, which keeps explicit steps
    finite where particles start at the same place.  Energy and force stay consistent.

    Args:
        law: Energy and slope as functions of the distance in diameters.
        reach: Distance from which on both are 0, in diameters.
        closest: Distance below which the energy is straight, in diameters.
    """

    law: Law
    reach: Number
    closest: float = 0.0

    def __call__(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return energy and slope, ``u(s)`` and ``u'(s)``; both are 0 from ``reach`` on.

        Args:
            s: Distances in units of the diameter.
        """
        inside = s.clamp(min=self.closest).clamp(max=self.reach)
        u, slope = self.law(inside)
        return u + slope * (s - inside), slope


def pair_law(name: str, cutoff: Number, screening: Number) -> PairLaw:
    """Choose a pair potential by name.

    ``soft``           ``(1 - s)^2 / 2`` up to contact (harmonic spheres: O'Hern et al. 2003, eq. 1)
    ``wca``            ``4 (s^-12 - s^-6) + 1`` up to ``2^(1/6)`` (Weeks, Chandler and Andersen 1971, eq. 4)
    ``lennard-jones``  ``4 (s^-12 - s^-6)``, force-shifted at ``cutoff``
    ``yukawa``         ``exp(-s / screening) / s``, force-shifted at ``cutoff``

    Force-shifted: ``u(s) - u(c) - (s - c) u'(c)``, so that energy and force go to 0 (Toxvaerd and Dyre 2011, eq. 3).
    The force is capped below 0.8 diameters (WCA, Lennard-Jones) and 0.2 (Yukawa).

    Args:
        name: One of :data:`PAIRS` other than ``none``.
        cutoff: Distance from which ``lennard-jones`` and ``yukawa`` are 0, in diameters.
        screening: Range of ``yukawa``, in diameters.

    Returns:
        Energy and slope as functions of the distance in diameters.
    """
    if name == "soft":
        return PairLaw(lambda s: ((1 - s) ** 2 / 2, s - 1), 1.0)
    if name == "wca":
        return PairLaw(lambda s: (_lennard_jones(s)[0] + 1, _lennard_jones(s)[1]), 2 ** (1 / 6), 0.8)
    if name == "lennard-jones":
        return PairLaw(_force_shifted(_lennard_jones, cutoff), cutoff, 0.8)
    return PairLaw(_force_shifted(lambda s: _yukawa(s, screening), cutoff), cutoff, 0.2)


def _lennard_jones(s: Tensor) -> tuple[Tensor, Tensor]:
    six = s**-6
    return 4 * (six**2 - six), -24 * (2 * six**2 - six) / s


def _yukawa(s: Tensor, screening: Number) -> tuple[Tensor, Tensor]:
    u = torch.exp(-s / screening) / s
    return u, -u * (1 / s + 1 / screening)


def _force_shifted(law: Law, cutoff: Number) -> Law:
    def shifted(s: Tensor) -> tuple[Tensor, Tensor]:
        end, last = law(torch.ones_like(s[:1, :1, :1]) * cutoff)
        u, slope = law(s)
        return u - end - (s - cutoff) * last, slope - last

    return shifted


def harmonic(
    q: Float[Tensor, "batch n d"], stiffness: Number
) -> tuple[Float[Tensor, "batch n"], Float[Tensor, "batch n d"]]:
    """Return the energy ``stiffness/2 |q|^2`` of each particle, and its force.

    Args:
        q: Positions.
        stiffness: Spring constant, in energy/length^2.
    """
    return stiffness / 2 * q.square().sum(-1), -stiffness * q


def double_well(
    q: Float[Tensor, "batch n d"], barrier: Number, stiffness: Number
) -> tuple[Float[Tensor, "batch n"], Float[Tensor, "batch n d"]]:
    """Return the energy ``barrier (q_1^2 - 1)^2 + stiffness/2 (q_2^2 + ...)`` of each particle, and its force.

    Args:
        q: Positions; the minima are at ``q_1 = +-1``.
        barrier: Height of the barrier, in units of energy.
        stiffness: Spring constant of the other components, in energy/length^2.
    """
    first, others = q[..., :1], q[..., 1:]
    energy = barrier * (first.squeeze(-1) ** 2 - 1) ** 2 + stiffness / 2 * others.square().sum(-1)
    return energy, torch.cat([-4 * barrier * first * (first**2 - 1), -stiffness * others], dim=-1)


# Mueller and Brown (1979), table 1: A, a, b, c, x_0, y_0 of the four Gaussians.
_MUELLER_BROWN = (
    (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
    (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
    (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
    (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
)


def mueller_brown(
    q: Float[Tensor, "batch n 2"], barrier: Number
) -> tuple[Float[Tensor, "batch n"], Float[Tensor, "batch n 2"]]:
    """Return the energy ``barrier/100 sum_k A_k exp(a_k x^2 + b_k x y + c_k y^2)`` of each particle, and its force.

    ``x, y`` are counted from the centre of each term.

    The three minima lie at (-0.558, 1.442), (0.623, 0.028) and (-0.050, 0.467); the highest pass between them is about
    ``1.06 barrier`` above the deepest.

    Args:
        q: Positions in the plane.
        barrier: Scale of the energy.
    """
    x, y = q[..., 0], q[..., 1]
    energy, fx, fy = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for A, a, b, c, x0, y0 in _MUELLER_BROWN:
        u, v = x - x0, y - y0
        term = A / 100 * torch.exp(a * u**2 + b * u * v + c * v**2)
        energy = energy + term
        fx, fy = fx - term * (2 * a * u + b * v), fy - term * (b * u + 2 * c * v)
    return barrier * energy, barrier * torch.stack([fx, fy], dim=-1)


@functools.lru_cache(maxsize=16)
def mueller_brown_curvature(reach: float, climb: float) -> float:
    """Return the largest curvature of Mueller and Brown's potential of barrier 1 where particles are.

    Args:
        reach: Half of the side of the square around the origin in which particles start, in units of length.
        climb: Energy above the deepest minimum to which particles get, in units of the barrier.

    Returns:
        The largest second derivative along a line, over a grid of spacing .05, in energy/length^2.
    """
    side = torch.arange(-max(reach, 2.5), max(reach, 2.5), 0.05, dtype=torch.float64)
    q = torch.cartesian_prod(side, side)[None]
    energy = mueller_brown(q, 1.0)[0][0]
    seen = (q[0].abs().amax(1) <= reach) | (energy <= energy.min() + climb)
    shift = 1e-4 * torch.eye(2, dtype=torch.float64)
    rows = [(mueller_brown(q - s, 1.0)[1] - mueller_brown(q + s, 1.0)[1])[0] / 2e-4 for s in shift]
    return float(torch.linalg.eigvalsh(torch.stack(rows, dim=1)[seen])[:, -1].max())
