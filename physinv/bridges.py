"""Our equations in other people's solvers: torchsde and torchdiffeq.

torchsde wants states ``(batch, channels)`` and increasing times; :class:`ForTorchsde` flattens the state and runs
a backward equation in ``s = horizon - t``.  torchdiffeq takes any ODE (``eta = 0``) in either direction.
"""

from __future__ import annotations

__all__ = ["ForTorchsde", "flow_field"]

from collections.abc import Callable

import torch
from torch import Tensor

from physinv.sde import SDE, Reverse, expand


class ForTorchsde(torch.nn.Module):
    """``torchsde.sdeint(ForTorchsde(sde, shape), x.flatten(1), s)`` solves ``sde`` for states of ``shape``.

    For a ``Reverse`` give ``horizon = T``: torchsde then integrates in ``s = T - t`` from 0 to T,
    ``dx = -f(x, T - s) ds + g(T - s) dW``.  Attributes ``noise_type``, ``sde_type``, ``f`` and ``g`` are torchsde's.
    """

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, sde: SDE, shape: tuple[int, ...], horizon: float | None = None) -> None:
        super().__init__()
        if sde.direction < 0 and horizon is None:
            raise ValueError("`horizon` must be given for a Reverse SDE: torchsde integrates in s = horizon - t.")
        self.sde, self.shape, self.horizon = sde, tuple(shape), horizon

    def _time(self, s: Tensor | float, y: Tensor) -> Tensor:
        s = torch.as_tensor(s, dtype=y.dtype, device=y.device)
        return (s if self.horizon is None else self.horizon - s).expand(y.shape[0])

    def f(self, s: Tensor, y: Tensor) -> Tensor:
        sign = 1.0 if self.horizon is None else -1.0
        return sign * self.sde.drift(y.reshape(-1, *self.shape), self._time(s, y)).flatten(1)

    def g(self, s: Tensor, y: Tensor) -> Tensor:
        x = y.reshape(-1, *self.shape)
        return expand(self.sde.diffusion(self._time(s, y)), x).expand_as(x).flatten(1)


def flow_field(flow: Reverse) -> Callable[[Tensor, Tensor], Tensor]:
    """The right-hand side ``(t, x) -> dx/dt`` for ``torchdiffeq.odeint``; ``flow`` must have ``eta = 0``."""
    if flow.eta != 0:
        raise ValueError(f"`flow` must be deterministic, Reverse(sde, score, eta=0), got eta = {flow.eta:g}.")
    return lambda t, x: flow.drift(x, t.to(x.dtype).expand(x.shape[0]))
