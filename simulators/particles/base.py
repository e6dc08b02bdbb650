"""Interacting particles in one to three dimensions: potential energy, neighbours and initial states."""

from __future__ import annotations

__all__ = ["STARTS", "Particles"]

import itertools
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.processes.layout import ParticleLayout
from physinv.processes.parameters import number, parameter
from physinv.processes.potential import check_above_0
from physinv.processes.simulator import Simulator
from simulators.particles.neighbours import Pairs, all_pairs, cell_pairs, cells_per_side
from simulators.particles.potentials import (
    EXTERNAL,
    PAIRS,
    PairLaw,
    double_well,
    harmonic,
    mueller_brown,
    mueller_brown_curvature,
    pair_law,
)

_MANY = 256  # particles from which on the cell list is the faster one (benchmarks/speed/neighbours.py)
STARTS = ("cloud", "separated", "droplet", "corner")


@dataclass(frozen=True)
class Particles(Simulator):
    """Interacting particles: the potential energy, neighbours and initial states that both dynamics share.

    A state ``(particles, components)`` holds each particle's position, then (underdamped) its momentum, then its
    species: +1 for the first half of the particles, -1 for the others, which never changes.  Like species repel (or
    attract) each other with ``strength``, unlike ones with ``unlike`` times as much.

    Positions are unwrapped: in a periodic ``box``, ``[-box/2, box/2]`` along each axis, they live in R^n, forces are
    those of the nearest images, and a displacement by ``box`` is seen.  ``box = 0`` is open space.

    Initial positions, with an independent Gaussian ``c`` of standard deviation ``width`` for each particle:

    =============  ================================================================================================
    ``cloud``      all around the origin: ``c``
    ``separated``  the species on opposite sides, ``species offset e + c`` with a random direction ``e`` per state
    ``droplet``    all in one ball of radius ``width sqrt(d + 2)`` (standard deviation ``width``), evenly, around a
                   centre whose components are Gaussian of standard deviation ``offset``
    ``corner``     as ``droplet``, in a cube around one of the ``2^d`` points ``(+-offset, ...)``
    =============  ================================================================================================

    Initial positions are independent of each other: particles whose hard cores overlap fly apart.
    """

    particles: int = parameter(20, "N", "number of particles", minimum=1)
    dimension: int = parameter(2, "d", "space dimensions (1, 2 or 3)", minimum=1, maximum=3)
    box: float = parameter(0.0, "L", "side of the periodic box; 0: open space", unit="length", minimum=0)
    pair: str = parameter("soft", "u", "pair potential", choices=PAIRS)
    strength: float = parameter(1.0, "epsilon", "its strength", unit="energy", minimum=0)
    diameter: float = parameter(1.0, "sigma", "its length", unit="length", above=0)
    unlike: float = parameter(1.0, "chi", "strength between unlike species, relative", minimum=0)
    cutoff: float = parameter(2.5, "r_c", "cut-off (lennard-jones, yukawa)", unit="diameter", minimum=1.0)
    screening: float = parameter(1.0, "lambda", "screening length (yukawa)", unit="diameter", minimum=1e-3)
    external: str = parameter("harmonic", "V", "external potential", choices=EXTERNAL)
    stiffness: float = parameter(1.0, "k", "of harmonic, double-well (q_2, ...)", unit="energy/length^2", minimum=0)
    barrier: float = parameter(1.0, "B", "of double-well, mueller-brown", unit="energy", minimum=0)
    temperature: float = parameter(1.0, "kT", "thermal energy", unit="energy", minimum=0)
    start: str = parameter("separated", "p(x_0)", "initial positions", choices=STARTS)
    offset: float = parameter(1.0, "c", "distance of starts from the origin", unit="length", minimum=0)
    width: float = parameter(0.5, "w", "extent of the clouds", unit="length", above=0)
    neighbours: str = parameter("auto", "", "neighbour search", choices=("auto", "dense", "cells"))
    capacity: int = parameter(16, "", "particles that a cell of the cell list has room for", minimum=1)
    inner: int = parameter(4, "m", "least number of solver steps between stored times", minimum=1)

    names: ClassVar[tuple[str, ...]] = ("position",)

    def __post_init__(self) -> None:
        super().__post_init__()
        owner, box = type(self).__name__, float(self.box)
        if self.external == "mueller-brown" and self.dimension != 2:
            raise ValueError(f"`external` 'mueller-brown' of {owner} needs `dimension` = 2, got {self.dimension}.")
        if box > 0 and self.external != "none":
            raise ValueError(f"`external` of {owner} must be 'none' in a periodic `box`, got {self.external!r}.")
        if self.pair != "none" and 0 < box < 2 * self._reach:
            raise ValueError(
                f"`box` of {owner} must be 0 or twice the range of the pair force, {2 * self._reach:.4g}, got {box:g}."
            )
        if self.neighbours == "cells" and self.pair != "none" and self.side < 3:
            raise ValueError(f"`neighbours` 'cells' of {owner} needs a `box` of three cells, {3 * self._reach:.4g}.")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layout.shape

    @property
    def layout(self) -> ParticleLayout:
        round_trap = self.box == 0 and self.external in ("none", "harmonic") and self.start != "corner"
        return ParticleLayout(
            self.particles, self.dimension, self.names, box=float(self.box), isotropic=bool(round_trap)
        )

    @property
    def substeps(self) -> int:
        return max(self.inner, super().substeps)

    @property
    def contact(self) -> float:
        """Scale of the curvature of the pair energy, ``strength / diameter^2`` of the stronger species pairs."""
        strength = number(self.strength) * max(1.0, number(self.unlike))
        return strength / number(self.diameter) ** 2 if self.pair != "none" else 0.0

    @property
    def trap(self) -> float:
        """The largest curvature of the external potential where particles are, in energy/length^2."""
        barrier, stiffness = number(self.barrier), number(self.stiffness)
        match self.external:
            case "harmonic":
                return stiffness
            case "double-well":  # as far out as the energy 20 kT, or the starts
                climbed = 1 + math.sqrt(20 * number(self.temperature) / barrier) if barrier > 0 else 0.0
                start = (number(self.offset) + 5 * number(self.width)) ** 2
                return max(stiffness, 4 * barrier * (3 * max(climbed, start) - 1))
            case "mueller-brown":
                farthest = number(self.offset) + 3 * number(self.width)
                climb = 20 * number(self.temperature) / barrier if barrier > 0 else math.inf
                return barrier * mueller_brown_curvature(farthest, climb)
        return 0.0

    @property
    def _law(self) -> PairLaw:
        return pair_law(self.pair, self.cutoff, self.screening)

    @property
    def _reach(self) -> float:
        return float(self._law.reach) * float(self.diameter)

    @property
    def side(self) -> int:
        """Cells along one side of the cell list."""
        box = float(self.box) if self.box > 0 else None
        return cells_per_side(self._reach, box, self.particles, self.dimension)

    def pairs(self, q: Float[Tensor, "batch n d"]) -> Pairs:
        """Return the candidates for interaction of each particle, for positions ``q``.

        Args:
            q: Positions, in units of length.
        """
        box = self.box if self.box > 0 else None
        many = self.neighbours == "cells" or (self.neighbours == "auto" and self.particles > _MANY and self.side > 3)
        if not many:
            return all_pairs(q, box)
        return cell_pairs(q, box, self._law.reach * self.diameter, side=self.side, capacity=self.capacity)

    def energy_and_force(
        self, q: Float[Tensor, "batch n d"], species: Float[Tensor, "batch n"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch n d"]]:
        """Return ``U = sum_i V(q_i) + sum_{i<j} epsilon_ij u(|q_i - q_j| / sigma)`` and ``F = -grad U``.

        Args:
            q: Positions, ``(batch, n, d)``, in units of length.
            species: +1 or -1 for each particle, ``(batch, n)``.

        Returns:
            The energy, ``(batch,)``, and the forces, ``(batch, n, d)``, in energy/length.
        """
        energy, force = self._external(q)
        total = energy.sum(-1)
        if self.pair == "none":
            return total, force
        pairs = self.pairs(q)
        square = pairs.gaps.square().sum(-1)
        r = square.masked_fill(~pairs.real, 1.0).clamp(min=torch.finfo(q.dtype).tiny).sqrt()
        u, slope = self._law(r / self.diameter)
        like = (1 + species[..., None] * pairs.take(species)) / 2
        epsilon = self.strength * (like + self.unlike * (1 - like)) * pairs.real
        pull = (epsilon * slope / self.diameter / r)[..., None] * pairs.gaps
        return total + (epsilon * u).sum((1, 2)) / 2, force - pull.sum(2)

    def _external(self, q: Float[Tensor, "batch n d"]) -> tuple[Float[Tensor, "batch n"], Float[Tensor, "batch n d"]]:
        match self.external:
            case "harmonic":
                return harmonic(q, self.stiffness)
            case "double-well":
                return double_well(q, self.barrier, self.stiffness)
            case "mueller-brown":
                return mueller_brown(q, self.barrier)
        return torch.zeros_like(q[..., 0]), torch.zeros_like(q)

    def force(self, x: Float[Tensor, "batch n c"]) -> Float[Tensor, "batch n d"]:
        """Return the forces ``-grad U`` at states ``x``, ``(batch, n, d)``.

        Args:
            x: States.
        """
        return self.energy_and_force(x[..., : self.dimension], x[..., -1])[1]

    @property
    def inverse_temperature(self) -> float:
        """``1 / kT``.

        Raises:
            ValueError: If there is no Boltzmann law.
        """
        check_above_0(self, "temperature")
        trapped = {
            "none": (),
            "harmonic": ("stiffness",),
            "double-well": ("barrier", "stiffness")[: self.dimension],
            "mueller-brown": ("barrier",),
        }[self.external]
        for name in trapped or ("external",):
            value = getattr(self, name)
            if name == "external" or not number(value) > 0:
                owner = type(self).__name__
                raise ValueError(f"`{name}` of {owner} must confine the particles for Boltzmann's law, got {value!r}.")
        return 1 / number(self.temperature)

    @abstractmethod
    def potential(self, x: Float[Tensor, "batch n c"]) -> Float[Tensor, " batch"]:
        """Return the energy ``(batch,)`` that the dynamics conserve without heat bath, or descend.

        Args:
            x: States.
        """

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """Solve by a Runge-Kutta step; with the stiff contacts of WCA and Lennard-Jones by ``substeps`` of them."""
        parts = self.substeps if self.pair in ("wca", "lennard-jones") else 1
        for i in range(parts):
            x = super().drift_flow(x, t0 + (t1 - t0) * (i / parts), t0 + (t1 - t0) * ((i + 1) / parts))
        return x

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """Return reflections of the axes, for all particles at once; Mueller and Brown's potential has none."""
        if self.external == "mueller-brown":
            return [x]
        signs = itertools.product((1.0, -1.0), repeat=self.dimension)
        return [x * x.new_tensor([*s * len(self.names), 1.0]) for s in signs]

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        n, d = self.particles, self.dimension

        def gaussian(*shape: int) -> Tensor:
            return torch.randn((batch, *shape), generator=generator, device=device, dtype=dtype)

        def uniform(*shape: int) -> Tensor:
            return torch.rand((batch, *shape), generator=generator, device=device, dtype=dtype)

        species = torch.where(torch.arange(n, device=device) < (n + 1) // 2, 1.0, -1.0).to(dtype)
        species = species[:, None].expand(batch, n, 1)
        if self.start == "droplet":
            ball = torch.nn.functional.normalize(gaussian(n, d), dim=-1) * uniform(n, 1) ** (1 / d)
            q = self.offset * gaussian(1, d) + self.width * math.sqrt(d + 2) * ball
        elif self.start == "corner":
            corner = 2.0 * (uniform(1, d) < 0.5) - 1
            q = self.offset * corner + self.width * math.sqrt(12) * (uniform(n, d) - 0.5)
        else:
            q = self.width * gaussian(n, d)
            if self.start == "separated":
                q = q + self.offset * species * torch.nn.functional.normalize(gaussian(1, d), dim=-1)
        momenta = [self._momentum_scale() * gaussian(n, d) for _ in self.names[1:]]
        return torch.cat([q.to(dtype), *(p.to(dtype) for p in momenta), species], dim=-1)

    def initial_log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"] | None:
        """Return the log density of ``cloud`` and ``separated`` starts, whose direction is integrated out.

        With ``m = offset |sum_i species_i q_i| / width^2`` the average of ``exp(m cos)`` over all directions is ``cosh
        m``, ``I_0(m)`` or ``sinh(m) / m`` in one, two or three dimensions.

        Args:
            x: Initial states.
        """
        if self.start not in ("cloud", "separated"):
            return None
        d, moving = self.dimension, len(self.names) * self.dimension
        total = -x[..., :d].square().sum((1, 2)) / (2 * self.width**2)
        if moving > d:
            momenta: Tensor = x[..., d:moving] / self._momentum_scale()
            total = total - momenta.square().sum((1, 2)) / 2
        if self.start == "cloud":
            return total
        pole = (x[..., -1:] * x[..., :d]).sum(1).square().sum(1)
        m = (self.offset / self.width**2) * pole.sqrt().clamp(min=torch.finfo(x.dtype).eps)
        match d:
            case 1:
                total = total + torch.logaddexp(m, -m)
            case 2:
                total = total + m + torch.special.i0e(m).log()
            case 3:
                total = total + m + (-torch.expm1(-2 * m) / m).log()
        return total

    def _momentum_scale(self) -> float | Tensor:
        """Standard deviation of each component of a momentum in equilibrium (Maxwell and Boltzmann)."""
        return 0.0

    def _amplitude(self, g: float | Tensor, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch 1 c"]:
        """``g`` on the components before the species that have noise, 0 elsewhere."""
        d, moving = self.dimension, len(self.names) * self.dimension
        place = torch.arange(moving + 1, device=t.device)
        noisy = ((place >= moving - d) & (place < moving)).to(t.dtype)
        return g * (torch.ones_like(t)[:, None, None] * noisy)
