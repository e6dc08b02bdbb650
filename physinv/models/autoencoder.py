"""A variational autoencoder of fields: fewer points, from which the field comes back up to what they cannot tell.

Along every axis a field of ``n`` points keeps its ``m`` smoothest waves, as a field of ``m`` points:

    z = E u,    u ~ D z,    E = (m/n)^(1/2) B'^T B,    D = (n/m) E^T,

``B`` and ``B'`` the first ``m`` orthonormal waves on ``n`` and on ``m`` points, those of Fourier where the axis wraps
around and cosines elsewhere.  ``D E`` is a projection: what is lost is the power of the other waves, and where
variances fall with the wave number no linear code of as many numbers loses less (principal components).  Networks on
the coarse grid correct both ways.  They maximise the bound of Kingma and Welling (2014),

    log p(u) >= E_q [log p(u | z) + log p(z) - log q(z | u)],    q = N(enc(u), s^2 c),    p(u | z) = N(dec(z), s^2),

``s^2`` the mean variance of the waves that the linear code loses, ``c`` the share of the points that are left, by which
white noise shrinks in a code, and ``p(z)`` Gaussian with the spectrum of the linear codes.
"""

from __future__ import annotations

__all__ = ["Autoencoder", "axis_code", "build_code", "coarse_layout", "fit_code"]

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.inputs import home_of
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.noising import VE
from physinv.models.networks.build import build_network
from physinv.models.references.linear import power_spectrum
from physinv.processes.layout import FieldLayout

_LEAST = 1e-3  # of the standardised fields: the smallest deviation of what a code cannot tell
_ROWS = 4096  # states that scales and spectra are measured on, at most
_AT_ONCE = 2**19  # numbers in the states that are coded at the same time


class Autoencoder(nn.Module):
    """A code of fields, and its decoder.

    Args:
        layout: Layout of the fields.
        tables: ``mean`` and ``scale`` of each channel, ``power`` of the modes of linear codes, ``noise``, the ``s`` of
            the module's docstring, and ``tail``, the variance of each mode of what the code cannot tell.
        network: ``encoder`` and ``decoder``, networks on the coarse grid.

    References:
        Kingma and Welling (2014), Auto-encoding variational Bayes; Rombach et al. (2022), High-resolution image
        synthesis with latent diffusion models; Lucas et al. (2019), Don't blame the ELBO, for the linear case.
    """

    mean: Tensor
    scale: Tensor
    power: Tensor
    noise: Tensor
    tail: Tensor

    def __init__(
        self, layout: FieldLayout, latent: FieldLayout, tables: Mapping[str, Tensor], network: nn.ModuleDict
    ) -> None:
        super().__init__()
        self.layout, self.latent, self.network = layout, latent, network
        self.fine, self.coarse = (VE(basis=where.basis) for where in (layout, latent))
        self.share = math.prod(latent.shape) / math.prod(layout.shape)
        for name in ("mean", "scale", "power", "noise", "tail"):
            self.register_buffer(name, tables[name])
        for i, code in enumerate(_codes(layout, latent)):
            self.register_buffer(f"code{i}", code.to(self.mean), persistent=False)

    def encode(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *coarse"]:
        """Return the codes of fields, in units of their standard deviation.

        Args:
            x: Fields.
        """
        u = (x - self.mean) / self.scale
        z = self.compressed(u)
        features = torch.cat([z, self._blocks(u - self.expanded(z)) / self.noise], 1)
        found: Tensor = z + self.noise * self.network["encoder"](features, z.new_zeros(len(z)))
        return found

    def decode(self, z: Float[Tensor, "batch *coarse"]) -> Float[Tensor, "batch *state"]:
        """Return the expected fields of codes, differentiable.

        Args:
            z: Codes.
        """
        return self.mean + self.scale * self._decoded(z)

    def draw(
        self, z: Float[Tensor, "batch *coarse"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *state"]:
        """Return fields of codes, with a draw of what the code cannot tell.

        Args:
            z: Codes.
            generator: Source of randomness.
        """
        x = self.decode(z)
        home = home_of(generator, x)
        white = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=home).to(x.device)
        rest = self.fine.unmodes(self.tail.sqrt() * self.fine.modes(white), x)
        if self.fine.basis == "identity":  # not in the waves that the code has
            rest = (rest - self.expanded(self.compressed(rest))) / math.sqrt(1 - self.share)
        return x + self.scale * rest

    def loss(self, x: Float[Tensor, "batch *state"], generator: torch.Generator | None) -> Float[Tensor, ""]:
        """Return minus the bound of ``log p(u)``, in nats per number of the standardised fields ``u``.

        Args:
            x: Fields.
            generator: Source of the noise of codes.
        """
        u, deviation = (x - self.mean) / self.scale, self.noise * math.sqrt(self.share)
        centre = self.encode(x)
        n = torch.randn(centre.shape, generator=generator, dtype=x.dtype, device=x.device)
        z = centre + deviation * n
        error = (u - self._decoded(z)) / self.noise
        fit = -0.5 * (error.square() + (2 * math.pi * self.noise**2).log()).flatten(1).sum(1)
        prior = gaussian_log_prob(self.coarse.modes(z), self.power, z)
        own = -0.5 * (n.square() + (2 * math.pi * deviation**2).log()).flatten(1).sum(1)
        return -(fit + prior - own).mean() / u[0].numel()

    @torch.no_grad()
    def measure(self, x: Float[Tensor, "n *state"]) -> None:
        """Measure the variance of what codes cannot tell, mode by mode: the power that decoded fields lack.

        Of expected fields given codes it is the power of the errors.  But decoders are trained on codes with noise and
        given codes without, which makes fields smaller than expected ones: errors go with the field then, and as much
        noise as there are errors would leave samples with too little power.

        Args:
            x: Fields that the networks were not trained on.
        """
        lacking: Tensor | float = 0.0
        for part in _split(x[:_ROWS]):
            u, told = (part - self.mean) / self.scale, self._decoded(self.encode(part))
            has, gets = (self.fine.modes(v).abs().square().sum(0) for v in (u, told))
            lacking = lacking + has - gets
        self.tail.copy_((torch.as_tensor(lacking) / len(x[:_ROWS])).clamp(min=0))

    def _decoded(self, z: Tensor) -> Tensor:
        out = self.network["decoder"](z, z.new_zeros(len(z)))
        return self.expanded(z) + self.noise * self._joined(out)

    def compressed(self, u: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *coarse"]:
        """Return the linear code ``E u``.

        Args:
            u: Standardised fields.
        """
        for i in range(len(self.layout.axes)):
            u = (u.movedim(2 + i, -1) @ getattr(self, f"code{i}").T).movedim(-1, 2 + i)
        return u

    def expanded(self, z: Float[Tensor, "batch *coarse"]) -> Float[Tensor, "batch *state"]:
        """Return ``D z``, the smooth fields of linear codes.

        Args:
            z: Codes.
        """
        for i in range(len(self.layout.axes)):
            code = getattr(self, f"code{i}")
            z = (z.movedim(2 + i, -1) @ (code * (code.shape[1] / code.shape[0]))).movedim(-1, 2 + i)
        return z

    def _blocks(self, u: Float[Tensor, "batch channels *space"]) -> Tensor:
        """The points of each cell of the coarse grid as channels."""
        d, coarse = len(self.layout.axes), self.latent.shape[1:]
        cut = u.reshape(*u.shape[:2], *(k for n, m in zip(u.shape[2:], coarse, strict=True) for k in (m, n // m)))
        return cut.permute(0, 1, *range(3, 3 + 2 * d, 2), *range(2, 2 + 2 * d, 2)).reshape(len(u), -1, *coarse)

    def _joined(self, h: Tensor) -> Tensor:
        """The inverse of :meth:`_blocks`."""
        d, shape = len(self.layout.axes), self.layout.shape
        sides = [n // m for n, m in zip(shape[1:], h.shape[2:], strict=True)]
        cut = h.reshape(len(h), shape[0], *sides, *h.shape[2:])
        return cut.permute(0, 1, *(axis for i in range(d) for axis in (2 + d + i, 2 + i))).reshape(len(h), *shape)


def axis_code(n: int, m: int, *, wraps: bool) -> Float[Tensor, "m n"]:
    """Return the linear code ``E`` of one axis, float64.

    Args:
        n: Points of the axis.
        m: Points of the code.
        wraps: Whether the axis wraps around.

    Example:
        A constant stays what it is.

        >>> [round(x, 6) for x in axis_code(8, 2, wraps=False).sum(1).tolist()]
        [1.0, 1.0]
    """
    fine, coarse = (_waves(k, m, wraps=wraps) for k in (n, m))
    return math.sqrt(m / n) * coarse.T @ fine


def coarse_layout(layout: FieldLayout, factor: int) -> FieldLayout:
    """Return the layout of codes: the same axes with fewer points.

    Args:
        layout: Layout of the fields.
        factor: By how much the points of each axis are divided.

    Raises:
        ValueError: If the fields have masks or static channels, or an axis can't be divided so.
    """
    if layout.mask or layout.static:
        raise ValueError("`train` must hold fields without masks and static channels for a latent space.")
    if factor < 2 or any(n % factor or n < 2 * factor for n in layout.shape[1:]):
        sides = " x ".join(str(n) for n in layout.shape[1:])
        raise ValueError(f"`factor` must be 2 or more, and divide {sides} points into 2 or more, got {factor}.")
    places = []
    for along, wraps in zip(layout.coordinates, layout.wraps, strict=True):
        first = range(0, len(along), factor)
        places.append([along[i] if wraps else sum(along[i : i + factor]) / factor for i in first])
    return FieldLayout(layout.names, layout.axes, places, layout.boundary)


def fit_code(
    layout: FieldLayout, x: Float[Tensor, "n *state"], settings: Settings, *, factor: int, seed: Seed = 0
) -> Autoencoder:
    """Fit the linear code, around which networks will learn the rest.

    Args:
        layout: Layout of the fields.
        x: Fields.
        settings: Settings of the networks.
        factor: By how much the points of each axis are divided.
        seed: Seed of the first weights.

    Returns:
        The code before training.

    Raises:
        ValueError: See :func:`coarse_layout`.
    """
    x = x[:_ROWS]
    mean = layout.channel_mean(x)
    scale = layout.channel_mean((x - mean).square()).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    blank = VE(basis=layout.basis).modes(torch.zeros_like(x[:1]))[0].abs()
    tables = {"mean": mean, "scale": scale, "noise": torch.tensor(_LEAST), "power": blank, "tail": blank}
    code = build_code(layout, tables, settings, factor=factor, seed=seed).to(x.device)

    # The spectrum of the codes, and what they lose.
    codes, lost = [], 0.0
    for part in _split((x - mean) / scale):
        codes.append(code.compressed(part))
        lost += float((part - code.expanded(codes[-1])).double().square().sum())
    noise = max(math.sqrt(lost / x.numel() / (1 - code.share)), _LEAST)
    _, power = power_spectrum(code.coarse.modes, code.coarse, torch.cat(codes))
    tables |= {"noise": torch.tensor(noise), "power": power + noise**2 * code.share}
    return build_code(layout, tables, settings, factor=factor, seed=seed).to(x.device)


def build_code(
    layout: FieldLayout, tables: Mapping[str, Tensor], settings: Settings, *, factor: int, seed: Seed = 0
) -> Autoencoder:
    """Return a code with networks that change nothing yet.

    Args:
        layout: Layout of the fields.
        tables: See :class:`Autoencoder`.
        settings: Settings of the networks.
        factor: By how much the points of each axis are divided.
        seed: Seed of the first weights.
    """
    latent, stream = coarse_layout(layout, factor), seeds(seed).child("model", "network")
    channels, cell = layout.shape[0], layout.shape[0] * factor ** len(layout.axes)
    network = nn.ModuleDict(
        {
            "encoder": build_network(latent, channels + cell, channels, settings, seed=stream.child("encoder")),
            "decoder": build_network(latent, channels, cell, settings, seed=stream.child("decoder")),
        }
    )
    return Autoencoder(layout, latent, tables, network)


def _split(x: Tensor) -> tuple[Tensor, ...]:
    """A few states at a time."""
    return torch.split(x, max(1, _AT_ONCE // x[0].numel()))


def _codes(layout: FieldLayout, latent: FieldLayout) -> list[Tensor]:
    """The linear code of every axis."""
    sides = zip(layout.shape[1:], latent.shape[1:], layout.wraps, strict=True)
    return [axis_code(n, m, wraps=wraps) for n, m, wraps in sides]


def _waves(n: int, m: int, *, wraps: bool) -> Float[Tensor, "m n"]:
    """The first ``m`` orthonormal waves on ``n`` points, the smoothest first."""
    k, place = torch.arange(m, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    if not wraps:
        waves = torch.cos(math.pi * k * (place + 0.5) / n)
    else:
        angle = 2 * math.pi * ((k + 1) // 2) * place / n
        waves = torch.where(k % 2 == 1, angle.cos(), angle.sin())
        waves[0] = 1.0
    return waves / waves.square().sum(1, keepdim=True).sqrt()
