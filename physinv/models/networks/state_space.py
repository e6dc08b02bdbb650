"""A network of diagonal state-space layers for whole trajectories: frames exchange numbers along all of the time.

Every layer is a linear system with complex states, driven by one channel of the frames ``u_l``,

    s_l = exp(d A) s_(l-1) + (exp(d A) - 1) / A u_l,    y_l = 2 Re(C s_l) + D u_l,    A diagonal, Re A < 0,

once from the first frame on and once from the last.  Its response is a convolution, computed by Fourier transforms in
``W log W`` operations for ``W`` frames; how far it remembers is learned, and it has no weights for single frames.
"""

from __future__ import annotations

__all__ = ["StateSpaceLayer", "StateSpaceNet", "state_space_net"]

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from physinv.models.networks.layers import Dropout, HiddenLinear, embed
from physinv.processes.layout import StateLayout

_SHORT, _LONG = 0.5, 0.01  # of the first steps d: states that remember 4 to 200 frames


class StateSpaceLayer(nn.Module):
    """Convolve every channel with the responses of two diagonal state-space systems, one for each direction of time.

    Args:
        width: Channels.
        states: Complex states of each channel and direction.

    References:
        Gu et al. (2022), On the parameterization and initialization of diagonal state space models, eq. 3 and 4 and
        "S4D-Lin"; Alcaraz and Strodthoff (2022), Diffusion-based time series imputation and forecasting with
        structured state space models, for such layers in a diffusion model.

    Example:
        >>> StateSpaceLayer(3)(torch.zeros(5, 100, 3)).shape
        torch.Size([5, 100, 3])
    """

    def __init__(self, width: int, *, states: int = 16) -> None:
        super().__init__()
        spread = torch.rand(2, width) * math.log(_SHORT / _LONG)
        self.log_step = nn.Parameter(math.log(_LONG) + spread)
        self.log_decay = nn.Parameter(torch.full((2, width, states), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(states).expand(2, width, states).clone())
        self.out = nn.Parameter(torch.randn(2, width, states, 2) / math.sqrt(2 * states))
        self.skip = nn.Parameter(torch.ones(width))

    def systems(self) -> tuple[Complex[Tensor, "2 width state"], Complex[Tensor, "2 width state"]]:
        """Return the rates ``d A`` at which states fade in a frame, and the gains ``C (exp(d A) - 1) / A``."""
        a = torch.complex(-self.log_decay.exp(), self.frequency)
        rate = self.log_step.exp()[..., None] * a
        return rate, torch.view_as_complex(self.out) * (rate.exp() - 1) / a

    def response(self, frames: int) -> Float[Tensor, "2 width frame"]:
        """Return the responses ``2 Re sum C (exp(d A) - 1) / A exp(l d A)`` of both directions.

        Args:
            frames: How many frames ``l = 0, 1, ...``.
        """
        rate, gain = self.systems()
        powers = (rate[..., None] * torch.arange(frames, device=rate.device)).exp()
        return 2 * torch.einsum("dws,dwsl->dwl", gain, powers).real

    def forward(self, u: Float[Tensor, "batch frame width"]) -> Float[Tensor, "batch frame width"]:
        """Return ``y``; the system that runs backward sees the frames after each one alone."""
        frames = u.shape[1]
        early, late = self.response(frames)
        kernel = torch.cat([early, torch.zeros_like(late[:, :1]), late[:, : frames - 1].flip(1)], 1)
        found = torch.fft.rfft(u.to(kernel), n=2 * frames, dim=1) * torch.fft.rfft(kernel).T
        out: Tensor = torch.fft.irfft(found, n=2 * frames, dim=1)[:, :frames].to(u) + self.skip * u
        return out


class StateSpaceNet(nn.Module):
    """Map trajectories and a time of noise to trajectories; every frame is one vector of its numbers.

    Args:
        inputs: Channels of the input: groups of features, the frames of each one after the other.
        outputs: Channels of the output: frames one after the other.
        shape: Shape of a state.
        width: Numbers that stand for a frame.
        depth: Number of layers.
        frequencies: Sines and cosines of the time together, even.
        dropout: Rate of the dropout of the channels of each layer; 0 for none.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        shape: tuple[int, ...],
        width: int = 64,
        depth: int = 4,
        frequencies: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, self.frames, self.frequencies = shape, outputs // shape[0], frequencies
        numbers = math.prod(shape)
        self.first = nn.Linear(inputs // outputs * numbers + frequencies, width)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, numbers)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, x: Float[Tensor, "batch inputs *space"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs *space"]:
        """Return the output ``(batch, outputs, *space)`` for trajectories at times ``t`` of noise in [0, 1]."""
        tokens = x.reshape(len(x), -1, self.frames, math.prod(self.shape)).transpose(1, 2).flatten(2)
        time = embed(t, self.frequencies)[:, None].expand(-1, self.frames, -1)
        h = self.first(torch.cat([tokens, time], 2))
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.last(self.norm(h)).reshape(len(x), -1, *x.shape[2:])
        return out


def state_space_net(
    inputs: int, outputs: int, *, layout: StateLayout, width: int = 64, depth: int = 4, dropout: float = 0.0
) -> StateSpaceNet:
    """Make the state-space network for trajectories of the states of a layout.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output, those of a state for each frame.
        layout: Layout of the states.
        width: Numbers that stand for a frame.
        depth: Number of layers.
        dropout: Rate of the dropout layers.

    Returns:
        The network.

    Raises:
        ValueError: If what it is to map are no trajectories.
    """
    channels = layout.shape[0]
    if layout.positions or outputs % channels or outputs < 2 * channels or inputs % outputs:
        raise ValueError(
            "network `state-space` is for whole trajectories; take it with method `imputation`, frames together."
        )
    return StateSpaceNet(inputs, outputs, shape=layout.shape, width=width, depth=depth, dropout=dropout)


class _Block(nn.Module):
    """A state-space layer and a matrix product, added to the frames."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.along = nn.LayerNorm(width), StateSpaceLayer(width)
        self.dropout, self.mix = Dropout(dropout, axis=-1), HiddenLinear(width, width)

    def forward(self, h: Float[Tensor, "batch frame width"]) -> Float[Tensor, "batch frame width"]:
        out: Tensor = h + self.mix(self.dropout(functional.silu(self.along(self.norm(h)))))
        return out
