"""Learned physics, for processes without a solver at hand: ``dx = f(x) dt + g dW`` with a network for ``f``.

With the setting ``drift`` = timed the network sees the time as well; static channels of a field, such as a forcing that
is known, it sees in any case.

    f(x) = offset + B z + unit * network([z, asinh z]),    z = (x - centre) / scale.

:mod:`physinv.training.fit_drift` trains it.
"""

from __future__ import annotations

__all__ = ["LearnedDrift", "load_drift", "start_drift"]

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import Seed, Seeds, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.networks import MLP, build_network
from physinv.processes.layout import StateLayout

_WIDTH = 24  # channels of the U-Net of a field's drift
_ROUNDING = 1e-7  # of the mean of a channel: smaller deviations are rounding
_MAX_TRAJECTORIES = 4096  # that suffice for least squares and for the noise
_LEAST = 1e-3  # of the rate of increments: the smallest noise, for data that are nearly deterministic
_RIDGE = 1e-4  # of least squares for the last layer, in units of the noise: allows weights up to 100


class LearnedDrift(nn.Module, SDE):
    """An :class:`~physinv.equations.sde.SDE` whose drift is a network around a linear fit to the data.

    All tensors but ``slope`` hold one number per component of a vector, or per channel of a field: ``(channels, *1)``.

    Args:
        network: The trained part, ``(features (batch, 2 channels, *space), time) -> (batch, channels, *space)``.
        centre: Mean of the states.
        scale: Standard deviation of the states.
        offset: Drift of the linear fit at the mean state.
        slope: Matrix ``B`` of the linear fit, ``(channels, channels)``.
        unit: The size that a drift has if it matters, by which the network's output is multiplied.
        noise: The noise amplitude ``g``.
        clock: Time that the network counts as 1; 0 or None: it sees no time.

    Attributes:
        timed: Whether the drift depends on time.
    """

    centre: Tensor
    scale: Tensor
    offset: Tensor
    slope: Tensor
    unit: Tensor
    noise: Tensor
    clock: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        centre: Float[Tensor, "channels *one"],
        scale: Float[Tensor, "channels *one"],
        offset: Float[Tensor, "channels *one"],
        slope: Float[Tensor, "channels channels"],
        unit: Float[Tensor, "channels *one"],
        noise: Float[Tensor, "channels *one"],
        clock: Float[Tensor, ""] | None = None,
    ) -> None:
        super().__init__()
        clock = torch.zeros(()) if clock is None else clock
        self.timed = bool(clock > 0)
        self.network = network
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)
        self.register_buffer("slope", slope)
        self.register_buffer("unit", unit)
        self.register_buffer("noise", noise)
        self.register_buffer("clock", clock)

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return ``f(x)`` for states ``x``, or ``f(x, t)`` where the network sees the time."""
        z = (x - self.centre) / self.scale
        time = torch.zeros_like(t).to(x.dtype)
        if self.timed:
            time = (t / self.clock).to(x.dtype).expand(len(x))
        out: Tensor = self.network(torch.cat([z, z.asinh()], dim=1), time)
        return self.offset + torch.einsum("ec,bc...->be...", self.slope, z) + self.unit * out

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """Return the noise amplitude ``g``, the same at all times ``t``."""
        return self.noise.expand(len(t), *self.noise.shape)

    def forward(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return :meth:`drift`."""
        return self.drift(x, t)

    @torch.no_grad()
    def fit_noise(self, data: TrajectoryDataset) -> None:
        """Set the noise amplitude ``g`` to the quadratic variation that the drift leaves unexplained.

            g^2 = mean of |phi_{h/2}(x_m) - phi_{-h/2}(x_{m+1})|^2 / h,    phi the flow of the drift.

        It is at least a thousandth of what the increments themselves have: nothing learned from data is more exact.
        Comparing in the middle of the step cancels the factor ``1 + h df/dx`` by which the drift stretches noise
        during a step ``h``.

        Args:
            data: Trajectories, of which the first 4096 count.
        """
        total, moved, count = *(torch.zeros_like(self.noise, dtype=torch.float64) for _ in range(2)), 0
        for x, y, t0, t1 in _steps(data):
            x, y, t0, t1 = (v.to(self.noise) for v in (x, y, t0, t1))
            middle = (t0 + t1) / 2
            gap = self.drift_flow(x, t0, middle) - self.drift_flow(y, t1, middle)
            for change, sum_ in ((gap, total), (y - x, moved)):
                rate = change.double().square().flatten(2) if gap.ndim > 2 else change.double().square()[..., None]
                sum_ += (rate.mean(2) / (t1 - t0)[:, None]).sum(0).reshape(total.shape)
            count += len(x)
        self.noise.copy_(torch.maximum(total, _LEAST**2 * moved).div(count).sqrt())


def start_drift(data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0) -> LearnedDrift:
    """Fit the drift before training, ``dx = f dt`` by least squares over all stored steps, and its noise amplitude.

    The fit is linear in the weights, hence solved at once: first ``offset`` and ``B``, then, for vectors, the last
    layer of the network on top of random hidden layers (Huang, Zhu and Siew 2006). For fields the network starts at 0.

    Args:
        data: Trajectories, of which the first 4096 count.
        settings: Training settings, of which ``width`` and ``depth`` size the network.
        seed: Seed of the random hidden layers.

    Returns:
        The learned physics, not trained yet, on the CPU.

    References:
        Huang, Zhu and Siew (2006), Extreme learning machine: theory and applications.
    """
    # Least squares for the increments dx = (offset + B z) dt + g dW of every component, or of every point of a field.
    channels, ones = data.shape[0], [1] * (len(data.shape) - 1)
    centre, scale = _location(data)
    gram = torch.zeros(channels + 1, channels + 1, dtype=torch.float64)
    moment = torch.zeros(channels + 1, channels, dtype=torch.float64)
    for x, y, t0, t1 in _steps(data):
        dt = (t1 - t0).double().repeat_interleave(x[0, 0].numel())[:, None]
        z = (_rows(x) - centre) / scale
        a = torch.cat([torch.ones_like(z[:, :1]), z], dim=1)
        gram += a.T @ (dt * a)
        moment += a.T @ _rows(y - x)
    fitted = torch.linalg.solve(gram + 1e-9 * gram[0, 0] * torch.eye(channels + 1, dtype=torch.float64), moment)

    # The same as physics, with a network that is added in the unit of ``scale`` for now.
    table = {"centre": centre, "scale": scale, "offset": fitted[0], "unit": scale, "noise": scale}
    drift = LearnedDrift(
        _network(data.layout, settings, seeds(seed).child("physics", "network")),
        slope=fitted[1:].T.float(),
        clock=torch.tensor(float(data.times[-1]) if settings.drift == "timed" else 0.0),
        **{k: v.float().reshape(channels, *ones).clone() for k, v in table.items()},
    )
    drift.fit_noise(data)

    # A drift matters if it is as large as the linear one, or as one that moves states as far as the noise does.
    explained = fitted[0].square() + torch.einsum("ce,cd,de->e", fitted[1:], gram[1:, 1:], fitted[1:]) / gram[0, 0]
    horizon = float(data.times[-1] - data.times[0])
    drift.unit.copy_((explained.reshape(drift.unit.shape) + drift.noise.double() ** 2 / horizon).sqrt())

    # The last layer of a vector's network; less is then left for the noise.
    if isinstance(drift.network, MLP):
        _solve_last_layer(drift, drift.network, data)
        drift.fit_noise(data)
    return drift


def load_drift(tensors: Mapping[str, Tensor], layout: StateLayout, settings: Settings) -> LearnedDrift:
    """Load learned physics; its weights are frozen.

    Args:
        tensors: Its ``state_dict()``.
        layout: Layout of the states.
        settings: The settings that it was trained with, which size the network.

    Returns:
        The learned physics, on the CPU.

    Raises:
        RuntimeError: If the tensors are of a network of another size.
        KeyError: If a tensor is missing.
    """
    names = ("centre", "scale", "offset", "slope", "unit", "noise")
    network = _network(layout, settings, seeds(0).child("physics", "network"))
    clock = tensors.get("clock", torch.zeros(()))  # older runs know no time
    drift = LearnedDrift(network, clock=clock.clone(), **{k: tensors[k].clone() for k in names})
    drift.load_state_dict({**tensors, "clock": clock})
    return drift.requires_grad_(False).eval()


@torch.no_grad()
def _solve_last_layer(drift: LearnedDrift, network: MLP, data: TrajectoryDataset) -> None:
    """Least squares for the remainder of the linear fit, ``(dx - f dt) / unit`` in the middle of each step."""
    last, caught = network.layers[-1], []
    assert isinstance(last, nn.Linear)
    hook = last.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    size = last.in_features + 1
    unit = torch.where(drift.unit > 0, drift.unit, torch.ones_like(drift.unit))  # what is static has neither
    gram = _RIDGE * float((drift.noise / unit).square().mean()) * torch.eye(size, dtype=torch.float64)
    moment = torch.zeros(size, last.out_features, dtype=torch.float64)
    for x, y, t0, t1 in _steps(data):
        middle = (t0 + t1) / 2
        gap = (drift.drift_flow(y, t1, middle) - drift.drift_flow(x, t0, middle)).double() / unit
        caught.clear()
        drift.drift(x, t0)
        h = torch.cat([caught[0].double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
        gram += h.T @ ((t1 - t0).double()[:, None] * h)
        moment += h.T @ gap
    hook.remove()
    solved = torch.linalg.solve(gram, moment).to(last.weight)
    last.weight.copy_(solved[:-1].T)
    last.bias.copy_(solved[-1])


def _network(layout: StateLayout, settings: Settings, stream: Seeds) -> nn.Module:
    if layout.positions:
        raise ValueError("`physics` = learned is for vectors and fields, got particles; take simulator.")
    if layout.space:
        settings = settings.model_copy(update={"width": settings.width or _WIDTH})
    channels = layout.shape[0]
    return build_network(layout, 2 * channels, channels, settings, seed=stream, prepare=_randomise)


def _randomise(network: nn.Module) -> None:
    """Hidden layers of an MLP as random features for least squares, drawn from torch's global generator."""
    if isinstance(network, MLP):
        for layer in list(network.layers)[:-1]:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=2 * layer.in_features**-0.5)
                nn.init.normal_(layer.bias)


def _location(data: TrajectoryDataset) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Mean and standard deviation of each channel over trajectories, times and space."""
    count, total, square = 0, torch.zeros(data.shape[0], dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for x, _, _, _ in _steps(data):
        rows = _rows(x)
        count, total, square = count + len(rows), total + rows.sum(0), square + rows.square().sum(0)
    centre = total / count
    scale = torch.maximum((square / count - centre**2).clamp(min=0).sqrt(), _ROUNDING * centre.abs())
    return centre, torch.where(scale > 0, scale, torch.ones_like(scale))


def _rows(x: Float[Tensor, "n channels *space"]) -> Float[Tensor, "rows channels"]:
    """States, or points of fields, as rows in double precision."""
    return x.double().flatten(2).mT.flatten(0, 1) if x.ndim > 2 else x.double()


def _steps(data: TrajectoryDataset) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """All stored steps of the first trajectories, in blocks, on the CPU: states before and after, their times."""
    times = data.times.float()
    for block in data.blocks(limit=_MAX_TRAJECTORIES):
        x, n = block.cpu(), len(block)
        yield x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1), times[:-1].repeat(n), times[1:].repeat(n)
