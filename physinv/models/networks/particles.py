"""An equivariant network for particles: scalars and vectors per particle, messages between pairs."""

from __future__ import annotations

__all__ = ["ParticleNet", "particle_net"]

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from physinv.models.networks.layers import Dropout, embed
from physinv.processes.layout import StateLayout

_RADIAL = 8  # Gaussian bumps that resolve a distance
_ALL_PAIRS, _NEAREST = 64, 32  # particles up to which each gets messages from every other; else from so many nearest
_FAR = 4.0  # beyond this distance, in units of the features' length, only the direction of a neighbour is an input


class ParticleNet(nn.Module):
    """Map positions, vectors and scalars of particles to vectors and scalars of each, equivariantly.

    The network commutes with permutations of the particles. Positions enter through differences only: a shift of all
    positions (and, with a period ``box``, of any one by ``box``) changes nothing. Rotating or reflecting positions and
    vectors together turns the output vectors with them, unless ``absolute`` is set.

    Each layer passes messages between pairs, made of the scalars of both, their distance and the angles between their
    vectors and the gap, and the mean over all particles. A direct path from the vectors to the output, weighted by
    functions of time, is learned first. The last layers start at zero: an untrained score model equals its reference
    law.

    Args:
        dimension: Components ``d`` of a position and of every vector.
        vectors: Vectors of each particle in the features, its position not among them.
        scalars: Scalars of each particle in the features.
        width: Scalars of each particle in the hidden layers; half as many vectors.
        depth: Number of layers of messages.
        box: Period of the positions in units of the features; 0 without one.
        absolute: Whether components of the vectors, and phases of the positions in a ``box``, are features too, so
            that the output may depend on special places and directions.
        neighbours: Number of nearest particles whose messages each particle gets; None for all. With fewer than all the
            network is piecewise smooth only.
        frequencies: Sines and cosines of the time together, even.
        dropout: Rate of the :class:`~physinv.models.networks.layers.Dropout` on the updates of the scalars.
        outputs: Vectors of each particle in the output.
        numbers: Scalars of each particle in the output.

    Raises:
        ValueError: If ``neighbours`` is below 1.

    References:
        Satorras, Hoogeboom and Welling (2021), E(n) equivariant graph neural networks.
        Schuett, Unke and Gastegger (2021), Equivariant message passing for the prediction of tensorial properties,
        section 3.
    """

    def __init__(
        self,
        dimension: int,
        vectors: int,
        scalars: int,
        *,
        width: int = 32,
        depth: int = 2,
        box: float = 0.0,
        absolute: bool = False,
        neighbours: int | None = None,
        frequencies: int = 8,
        dropout: float = 0.0,
        outputs: int = 1,
        numbers: int = 0,
    ) -> None:
        super().__init__()
        if neighbours is not None and neighbours < 1:
            raise ValueError(f"`neighbours` must be at least 1, or None for all pairs, got {neighbours}.")
        self.dimension, self.vectors, self.box, self.absolute = dimension, vectors, box, absolute
        self.neighbours, self.frequencies, channels = neighbours, frequencies, width // 2
        self.outputs = outputs
        own = scalars + frequencies
        if absolute:
            own += dimension * (vectors + (2 if box else 0))
        self.first = nn.Linear(own, width)
        self.lift = nn.Linear(vectors, channels, bias=False)
        self.layers = nn.ModuleList(_Layer(width, channels, dropout) for _ in range(depth))
        weights = nn.Linear(width, outputs * vectors)
        nn.init.zeros_(weights.weight)
        nn.init.zeros_(weights.bias)
        self.direct = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), weights)
        self.gates = nn.Sequential(nn.SiLU(), nn.Linear(width, channels))
        self.last = nn.Linear(channels, outputs, bias=False)
        nn.init.zeros_(self.last.weight)
        self.free = nn.Linear(width, outputs * dimension) if absolute else None
        if self.free is not None:
            nn.init.zeros_(self.free.weight)
            nn.init.zeros_(self.free.bias)
        self.numbers = nn.Linear(width, numbers) if numbers else None
        if self.numbers is not None:
            nn.init.zeros_(self.numbers.weight)
            nn.init.zeros_(self.numbers.bias)

    def forward(
        self, features: Float[Tensor, "batch n inputs"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch n out"]:
        """Return vectors and scalars ``(batch, n, outputs d + numbers)`` of each particle.

        Args:
            features: ``(batch, n, d + vectors d + scalars)``: position, vectors and scalars of each particle.
            t: Times in [0, 1].
        """
        d = self.dimension
        q, v, s = torch.tensor_split(features, [d, d + self.vectors * d], dim=-1)
        time = embed(t, self.frequencies)[:, None].expand(-1, q.shape[1], -1)
        own = [s, time]
        if self.absolute:
            own.append(v.asinh())
            if self.box:
                phase = 2 * math.pi / self.box * q
                own += [phase.sin(), phase.cos()]
        h = self.first(torch.cat(own, dim=-1))
        given = v.reshape(*v.shape[:-1], self.vectors, d)
        V = self.lift(given.mT).mT  # (batch, n, channels, d)
        pairs = self._pairs(q)
        for layer in self.layers:
            h, V = layer(h, V, pairs)
        moved: Tensor = self.last((self.gates(h)[..., None] * V).mT).mT  # (batch, n, outputs, d)
        weights = self.direct(embed(t, self.frequencies)).reshape(len(t), 1, self.outputs, self.vectors, 1)
        out = (moved + (weights * given[:, :, None]).sum(-2)).flatten(2)
        if self.free is not None:
            out = out + self.free(functional.silu(h))
        return out if self.numbers is None else torch.cat([out, self.numbers(functional.silu(h))], dim=-1)

    def _pairs(self, q: Float[Tensor, "batch n d"]) -> _Pairs:
        """Unit vectors along the gaps and the radial features of their lengths."""
        gaps = q[:, :, None] - q[:, None]
        if self.box:
            gaps = gaps - self.box * (gaps.detach() / self.box).round()
        index = None
        n, k = q.shape[1], self.neighbours
        if k is not None and k < n - 1:
            index = gaps.detach().square().sum(-1).topk(k + 1, dim=-1, largest=False).indices
            gaps = gaps.gather(2, index[..., None].expand(-1, -1, -1, gaps.shape[-1]))
        # Differentiable where particles coincide. Constants count in the length of the features, not in that of data.
        r = (gaps.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        centres = torch.arange(_RADIAL, device=q.device, dtype=q.dtype) * (_FAR / (_RADIAL - 1))
        bumps = torch.exp(-(((r - centres) * ((_RADIAL - 1) / _FAR)) ** 2) / 2)
        return _Pairs(index, gaps / (r + 0.1), bumps)


def particle_net(
    inputs: int,
    outputs: int,
    *,
    layout: StateLayout,
    width: int = 32,
    depth: int = 2,
    dropout: float = 0.0,
    numbers: int = 0,
    unit: float = 1.0,
) -> ParticleNet:
    """Make the equivariant network for the particles of a layout.

    Features are the position, vectors and the static scalars of each particle. Where the law of the states has special
    directions (``layout.isotropic`` is not set) the network sees components of the vectors too. Beyond 64 particles
    each gets messages from its 32 nearest ones.

    Args:
        inputs: Components of the features of each particle.
        outputs: Components of the output of each particle, ``numbers`` included.
        layout: Layout of the particles.
        width: Scalars of each particle in the hidden layers.
        depth: Number of layers of messages.
        dropout: Rate of the dropout layers.
        numbers: How many of the outputs are scalars.
        unit: Unit of length in which the features count positions.

    Returns:
        The network.

    Raises:
        ValueError: If the states are no particles.
    """
    d, scalars = layout.positions, len(layout.static)
    if d == 0:
        raise ValueError(
            f"network `particles` is for particles, got states of shape {layout.shape}; leave `network` out."
        )
    return ParticleNet(
        d,
        (inputs - d - scalars) // d,
        scalars,
        width=width,
        depth=depth,
        box=float(torch.tensor(layout.box) / torch.tensor(unit)),
        absolute=not layout.isotropic,
        neighbours=None if layout.shape[0] <= _ALL_PAIRS else _NEAREST,
        dropout=dropout,
        outputs=(outputs - numbers) // d,
        numbers=numbers,
    )


class _Pairs(NamedTuple):
    """Neighbours of each particle (None: all), softened unit vectors from them, radial features of the distance."""

    who: Tensor | None
    unit: Float[Tensor, "batch n m d"]
    radial: Float[Tensor, "batch n m radial"]

    def of(self, x: Float[Tensor, "batch n *rest"]) -> Float[Tensor, "batch #n m *rest"]:
        """``x`` of the neighbours."""
        if self.who is None:
            return x[:, None]
        batch = torch.arange(len(x), device=x.device)[:, None, None]
        return x[batch, self.who]


class _Layer(nn.Module):
    """Messages from neighbours and from the mean over all particles, into scalars and vectors."""

    def __init__(self, width: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.dropout = channels, Dropout(dropout, axis=-1)
        self.mix = nn.Linear(channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(width)
        self.here, self.there = nn.Linear(width + channels, width), nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(_RADIAL + 2, width, bias=False)
        self.aim = nn.Linear(channels, 1, bias=False)
        self.message = nn.Linear(width, width + 2 * channels)
        self.pooled = nn.Linear(width, width + channels)
        self.update = nn.Sequential(nn.Linear(3 * width + 2 * channels, width), nn.SiLU(), nn.Linear(width, width))
        self.turn = nn.Linear(width, channels)

    def forward(
        self, h: Float[Tensor, "batch n width"], V: Float[Tensor, "batch n channels d"], pairs: _Pairs
    ) -> tuple[Float[Tensor, "batch n width"], Float[Tensor, "batch n channels d"]]:
        width, channels, h0 = h.shape[-1], self.channels, self.norm(h)
        A, B = self.mix(V.mT).mT.split(channels, dim=-2)
        size = (A * B).sum(-1).asinh()
        aim = self.aim(V.mT).squeeze(-1)  # one vector of each particle, compared with the gap
        angles = [(aim[:, :, None] * pairs.unit).sum(-1), (pairs.of(aim) * pairs.unit).sum(-1)]
        edge = torch.cat([pairs.radial, torch.stack(angles, dim=-1).asinh()], dim=-1)
        m = self.here(torch.cat([h0, size], dim=-1))[:, :, None] + pairs.of(self.there(h0)) + self.edge(edge)
        scalar, along, copy = self.message(functional.silu(m)).split([width, channels, channels], dim=-1)
        near = torch.einsum("bijc,bijd->bicd", along, pairs.unit)
        if pairs.who is None:
            near = near + torch.einsum("bijc,bjcd->bicd", copy, V)
        else:
            near = near + (copy[..., None] * pairs.of(V)).sum(2)
        all_scalar, all_gate = self.pooled(functional.silu(h0)).split([width, channels], dim=-1)
        every = (all_gate[..., None] * V).mean(1, keepdim=True).expand_as(V)
        V = V + near / math.sqrt(m.shape[2]) + every
        mean = all_scalar.mean(1, keepdim=True).expand_as(h)
        together = (every * V).sum(-1).asinh()
        h = h + self.dropout(self.update(torch.cat([h0, scalar.mean(2), mean, size, together], dim=-1)))
        return h, V * (1 + self.turn(functional.silu(h)))[..., None]
