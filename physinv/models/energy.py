"""A learned energy whose gradient is the score: conservative by construction, with log-density ratios.

    E(x, t) = -log q_t(x) - sum network(features(x, t), tau(t)),    s(x, t) = -grad_x E(x, t)

A network that is trained as a score may have a curl, and then no density belongs to it.  This one is a gradient
whatever its weights are, ``E(y, t) - E(x, t)`` is ``log p_t(x) / p_t(y)``, and Langevin moves can be tested by
Metropolis' rule.

References:
    Salimans and Ho (2021), Should EBMs model the energy or the score?
"""

from __future__ import annotations

__all__ = ["EnergyModel", "build_energy"]

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.inputs import check_instance
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings, as_settings
from physinv.data.checks import check_trajectories
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.build import clock
from physinv.models.networks.build import build_network
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.registry import fit_reference


class EnergyModel(nn.Module):
    """A score that is the gradient of a learned energy; it is trained by the same losses as any score.

    Args:
        reference: Reference law ``q_t``.
        network: Any module ``(features, tau) -> output``, whose outputs are added up to one number for each state.
        clock: First stored time after 0, and last stored time, ``(t_1, T)``.
    """

    def __init__(self, reference: ReferenceLaw, network: nn.Module, clock: tuple[float, float]) -> None:
        super().__init__()
        self.reference, self.network, self.clock = reference, network, clock

    def forward(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``-grad_x E``, which can be differentiated once more, as training needs.

        Args:
            x: States.
            t: Times.
        """
        t, kept = t.to(x.dtype), torch.is_grad_enabled()
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._learned(y, t).sum(), y, create_graph=kept)
        score: Tensor = self.reference.score(x, t) + slope
        return score

    def energy(self, x: Float[Tensor, "batch *state"], t: float | Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return ``E(x, t)``, minus ``log p_t(x)`` up to a constant that may depend on the time.

        Args:
            x: States.
            t: Times, or one time for all: ``lambda x: model.energy(x, 0.1)`` is what moves of
                :mod:`physinv.thermodynamics` take.

        Returns:
            Nats, ``(batch,)``, differentiable.
        """
        t = t.to(x) if isinstance(t, Tensor) else torch.full((len(x),), t, dtype=x.dtype, device=x.device)
        return -self.reference.log_prob(x, t) - self._learned(x, t)

    def _learned(self, x: Tensor, t: Tensor) -> Tensor:
        """What the network adds to the log density of the reference law."""
        first, last = self.clock
        tau = torch.log1p(t / first) / math.log1p(last / first)
        dtype = next(self.network.parameters()).dtype
        out: Tensor = self.network(self.reference.features(x, t).to(dtype), tau.to(dtype))
        return out.to(x.dtype).flatten(1).sum(1)


def build_energy(
    sde: SDE, data: TrajectoryDataset, settings: Settings | Mapping[str, Any] | None = None, *, seed: Seed = 0
) -> EnergyModel:
    """Fit the reference law to data, and build an energy around it.

    Args:
        sde: The physics.
        data: Training trajectories.
        settings: Training settings, or their values by name; those of the reference law and of the network are read.
        seed: Seed of the fit and of the network's initial weights.

    Returns:
        The model, before training: its score is that of the reference law.  ``pi.fit(model, sde, train, valid, ...)``
        trains it.

    Raises:
        ValueError: If data and physics do not fit each other, or a setting is unknown.
    """
    check_instance(sde, SDE, "sde", "give build_energy(sde, data, settings)")
    check_trajectories(data, "data", sde)
    settings, stream = as_settings(settings), seeds(seed).child("model")
    reference = fit_reference(sde, data, settings, seed=stream.child("reference"))
    network = build_network(
        data.layout, reference.channels_in, 1, settings, seed=stream.child("network"), unit=reference.length
    )
    return EnergyModel(reference, network, clock(data.times))
