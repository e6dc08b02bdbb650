"""The Gaussian law of whole trajectories, fitted to data, given any of their entries with noise.

In units ``u = (x - mean) / scale`` a trajectory of ``W`` frames with ``p`` numbers each is

    u = P w + r,    w ~ N(0, I),    r_i ~ N(0, D_i R) at each number i of a state, independent of the others,

a part of low rank ``P (W, p, rank)`` and a rest that is correlated in time alone, ``R (W, W)``.  Given entries of a
mask, ``y = u + sigma n``, with ``G_i = H^T (H D_i R H^T + sigma^2)^(-1) H`` at each number,

    w | y ~ N(M^(-1) P^T G y, M^(-1)),    M = I + P^T G P = K K^T,    e = K^T (w - E w) ~ N(0, I).
"""

from __future__ import annotations

__all__ = ["LEAST", "Conditional", "WindowLaw", "fit_window_law"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from physinv.equations.fourier import full_fourier
from physinv.processes.layout import StateLayout

LEAST = 1e-5
"""Smallest deviation of the noise of an entry, in units of the law: entries that are known exactly have it."""

_SMALL = 1e-14  # of the largest variance: directions that are left out
_ENOUGH = 4  # training trajectories for each number, with which their sample covariance tells variances


@dataclass(frozen=True, eq=False)
class Conditional:
    """The law of trajectories given some of their entries, in groups that see the same entries.

    Args:
        seen: Which entries are known.
        y: Their values in units of the law, 0 elsewhere.
        noise: Standard deviation of their noise, in units of the law.
        weight: ``G`` at each number of a state.
        root: ``K``.
        mean: ``E w``.
    """

    seen: Bool[Tensor, "group time number"]
    y: Float[Tensor, "group row time number"]
    noise: Float[Tensor, "group time number"]
    weight: Float[Tensor, "group number time time"]
    root: Float[Tensor, "group rank rank"]
    mean: Float[Tensor, "group row rank"]

    def repeated(self, n: int) -> Conditional:
        """Return the law with each row ``n`` times, one after the other.

        Args:
            n: Copies.
        """
        y, mean = (x.repeat_interleave(n, dim=1) for x in (self.y, self.mean))
        return Conditional(self.seen, y, self.noise, self.weight, self.root, mean)

    def whitened(self, w: Float[Tensor, "group row rank"]) -> Float[Tensor, "group row rank"]:
        """Return ``e = K^T (w - E w)``.

        Args:
            w: Coordinates of the part of low rank.
        """
        return (w - self.mean) @ self.root

    def deviation(self, e: Float[Tensor, "group row rank"]) -> Float[Tensor, "group row rank"]:
        """Return ``w - E w = K^(-T) e``.

        Args:
            e: White coordinates.
        """
        found: Tensor = torch.linalg.solve_triangular(self.root.mT, e.mT, upper=True).mT
        return found

    def pulled(self, g: Float[Tensor, "group row rank"]) -> Float[Tensor, "group row rank"]:
        """Return ``K^(-1) g``, the gradient by ``e`` of what has the gradient ``g`` by ``w``.

        Args:
            g: Gradients.
        """
        found: Tensor = torch.linalg.solve_triangular(self.root, g.mT, upper=False).mT
        return found


class WindowLaw(nn.Module):
    """The Gaussian law of trajectories.

    Args:
        tables: ``mean (time, number)``, ``scale (number)``, ``factor (time, number, rank)``, ``rest (number)`` and
            ``memory (time, time)``, float64.
    """

    mean: Tensor
    scale: Tensor
    factor: Tensor
    rest: Tensor
    memory: Tensor

    def __init__(self, tables: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in ("mean", "scale", "factor", "rest", "memory"):
            self.register_buffer(name, tables[name].double())

    @property
    def frames(self) -> int:
        """Number of frames ``W``."""
        return self.mean.shape[0]

    @property
    def numbers(self) -> int:
        """Numbers of one state."""
        return self.mean.shape[1]

    @property
    def rank(self) -> int:
        """Columns of ``P``."""
        return self.factor.shape[2]

    def units(self, x: Float[Tensor, "*batch time *state"]) -> Float[Tensor, "*batch time number"]:
        """Return trajectories in units of the law, states as rows of numbers.

        Args:
            x: Trajectories.
        """
        return (x.double().reshape(*self._lead(x), *self.mean.shape) - self.mean) / self.scale

    def states(
        self, u: Float[Tensor, "*batch time number"], shape: tuple[int, ...]
    ) -> Float[Tensor, "*batch time *state"]:
        """Return trajectories from units of the law.

        Args:
            u: Trajectories in units of the law.
            shape: Shape of a state.
        """
        return (u * self.scale + self.mean).reshape(*u.shape[:-1], *shape)

    def coordinates(self, u: Float[Tensor, "*batch time number"]) -> Float[Tensor, "*batch rank"]:
        """Return ``w``, by projection onto the columns of ``P``.

        Args:
            u: Trajectories in units of the law.
        """
        flat = self.factor.flatten(0, 1)
        return u.flatten(-2) @ (flat / flat.square().sum(0))

    def lifted(self, w: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch time number"]:
        """Return ``P w``.

        Args:
            w: Coordinates.
        """
        return (w @ self.factor.flatten(0, 1).T).reshape(*w.shape[:-1], *self.mean.shape)

    def against(self, u: Float[Tensor, "*batch time number"]) -> Float[Tensor, "*batch rank"]:
        """Return ``P^T u``.

        Args:
            u: Trajectories in units of the law.
        """
        return u.flatten(-2) @ self.factor.flatten(0, 1)

    def given(
        self,
        y: Float[Tensor, "group row time number"],
        seen: Bool[Tensor, "group time number"],
        noise: Float[Tensor, "group time number"],
    ) -> Conditional:
        """Return the law given entries with noise.

        Args:
            y: Values of the entries in units of the law; what stands at others does not matter.
            seen: Which entries are known, the same ones for all rows of a group.
            noise: Standard deviation of their noise, in units of the law.
        """
        y, noise = torch.where(seen[:, None], y, 0.0), noise.clamp(min=LEAST)

        # At each number of a state the inverse among the frames where it is seen; a unit matrix at the others.
        there = seen.mT.double()
        both = there[..., None] * there[..., None, :]
        added = torch.where(seen.mT, noise.mT.square(), 1.0)
        covariance = both * (self.rest[:, None, None] * self.memory) + torch.diag_embed(added)
        weight = torch.linalg.inv(covariance) * both

        # The part of low rank.
        flat = self.factor.flatten(0, 1)
        weighted = torch.einsum("gpts,spr->gtpr", weight, self.factor).flatten(1, 2)
        gram = flat.T @ weighted + torch.eye(self.rank, dtype=flat.dtype, device=flat.device)
        root = torch.linalg.cholesky((gram + gram.mT) / 2)
        mean = torch.cholesky_solve((y.flatten(2) @ weighted).mT, root).mT
        return Conditional(seen, y, noise, weight, root, mean)

    def completed(
        self, w: Float[Tensor, "group row rank"], known: Conditional, generator: torch.Generator | None
    ) -> Float[Tensor, "group row time number"]:
        """Return trajectories of given coordinates, with a draw of the rest given what is known.

        Args:
            w: Coordinates.
            known: What is known.
            generator: Source of randomness.
        """
        u = self.lifted(w)
        if not bool((self.rest > 0).any()):
            return u
        root, noise = torch.linalg.cholesky(self.memory), known.noise[:, None]
        z, n = (torch.randn(u.shape, generator=generator, dtype=u.dtype, device=u.device) for _ in range(2))
        drawn = torch.einsum("ts,gqsp->gqtp", root, z) * self.rest.sqrt()
        gap = torch.where(known.seen[:, None], known.y - u - drawn - noise * n, 0.0)
        pulled = torch.einsum("gpts,gqsp->gqtp", known.weight, gap)
        return u + drawn + torch.einsum("ts,gqsp->gqtp", self.memory, pulled) * self.rest

    def _lead(self, x: Tensor) -> tuple[int, ...]:
        """The axes before those of a trajectory."""
        total, lead = 1, x.ndim
        while total < self.mean.numel():
            lead -= 1
            total *= x.shape[lead]
        return tuple(x.shape[:lead])


def fit_window_law(
    layout: StateLayout, train: Float[Tensor, "n time *state"], valid: Float[Tensor, "m time *state"], *, rank: int
) -> WindowLaw:
    """Fit the Gaussian law of trajectories.

    The part of low rank is that of the largest variances: of periodic fields by wavenumber, with frames and channels
    correlated, and by principal components otherwise.  Of few trajectories the variances along principal components,
    which are too large there, are measured on validation data, as is the rest.

    Args:
        layout: Layout of the states.
        train: Trajectories.
        valid: Trajectories that no principal component was chosen by.
        rank: Largest rank.

    Returns:
        The law.
    """
    x, judge = train.double(), valid.double()
    channels = layout.channel_mean(x.flatten(0, 1)).expand(layout.shape)
    scale = layout.channel_mean((x.flatten(0, 1) - channels).square()).expand(layout.shape).flatten().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    stationary = layout.basis == "fourier" and not layout.mask and not layout.static
    axes = tuple(range(-len(layout.space), 0))
    mean = x.mean((0, *axes), keepdim=True)[0].expand(x.shape[1:]) if stationary else x.mean(0)
    mean = mean.flatten(1)
    u, v = ((part.flatten(2) - mean) / scale for part in (x, judge))

    # Directions and variances; then what they leave.
    few = not stationary and len(u) < _ENOUGH * u[0].numel()
    columns = _waves(u.reshape(x.shape), axes, rank) if stationary else _components(u, rank)
    if few and len(v) > 1:
        unit = columns / columns.square().sum(0).sqrt().clamp(min=1e-150)
        columns = unit * (v.flatten(1) @ unit).square().mean(0).sqrt()
    sizes = columns.square().sum(0)
    columns = columns[:, sizes > _SMALL * sizes.max()]
    judged = v if few and len(v) > 1 else u
    unit = columns / columns.square().sum(0).sqrt()
    left = judged - ((judged.flatten(1) @ unit) @ unit.T).reshape(judged.shape)
    rest = left.square().mean((0, 1))
    rest = torch.where(rest > _SMALL, rest, 0.0)
    whole = left[..., rest > 0] / rest[rest > 0].sqrt()
    frames = u.shape[1]
    memory = torch.eye(frames, dtype=u.dtype, device=u.device)
    if whole.numel():
        found = torch.einsum("ntp,nsp->ts", whole, whole) / (len(whole) * whole.shape[-1])
        memory = found + 1e-6 * memory
    factor = columns.reshape(frames, -1, columns.shape[1])
    return WindowLaw({"mean": mean, "scale": scale, "factor": factor, "rest": rest, "memory": memory})


def _components(u: Float[Tensor, "n time number"], rank: int) -> Float[Tensor, "entry rank"]:
    """Principal components, each as long as its standard deviation."""
    _, s, vh = torch.linalg.svd(u.flatten(1), full_matrices=False)
    kept = min(rank, len(u) - 1, len(s)) if len(u) > 1 else 1
    found: Tensor = vh[:kept].T * (s[:kept] / math.sqrt(len(u)))
    return found


def _waves(u: Float[Tensor, "n time *state"], axes: tuple[int, ...], rank: int) -> Float[Tensor, "entry rank"]:
    """Waves with the frames and channels of each, of the largest variances, each as long as its standard deviation."""
    space, lead = u.shape[len(u.shape) - len(axes) :], u.shape[1:3]
    spectrum = full_fourier(u.flatten(0, 1)).reshape(len(u), math.prod(lead), -1)  # (n, entry, wave)
    grids = torch.meshgrid(*(torch.arange(n, device=u.device) for n in space), indexing="ij")
    number = torch.arange(math.prod(space), device=u.device).reshape(space)
    opposite = number[tuple((-g) % n for g, n in zip(grids, space, strict=True))].flatten()
    half = (number.flatten() <= opposite).nonzero()[:, 0]

    # The covariance of frames and channels at each wave, and the largest of all its variances.
    part = spectrum[:, :, half]
    variances, vectors = torch.linalg.eigh(torch.einsum("nak,nbk->kab", part, part.conj()) / len(u))
    alone = half == opposite[half]
    ranked = variances.flatten().argsort(descending=True)
    columns = torch.where(alone, 1, 2).repeat_interleave(variances.shape[1])[ranked].cumsum(0)
    ranked = ranked[columns <= rank]
    wave, which = ranked // variances.shape[1], ranked % variances.shape[1]
    positions = torch.stack([g.flatten() for g in grids])
    sides = positions.new_tensor(space)[:, None, None].to(u)
    turns = (positions[:, half[wave], None] * positions[:, None] / sides).sum(0)
    phase = torch.polar(torch.ones_like(turns), 2 * math.pi * turns) / math.sqrt(math.prod(space))
    field = vectors[wave, :, which][:, :, None] * phase[:, None, :]  # (rank, entry, space)
    field = field * variances[wave, which].clamp(min=0).sqrt()[:, None, None]
    twice = ~alone[wave]
    real = torch.where(twice, math.sqrt(2), 1.0).to(u)[:, None, None] * field.real
    found = torch.cat([real, math.sqrt(2) * field.imag[twice]])
    return found.reshape(len(found), *lead, -1).flatten(1).T
