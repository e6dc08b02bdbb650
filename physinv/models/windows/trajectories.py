"""What the models of whole trajectories have in common: draws given any entries, in units of a Gaussian law."""

from __future__ import annotations

__all__ = ["TrajectoryScore"]

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from physinv.equations.noising import VP, Cosine
from physinv.models.windows.law import WindowLaw
from physinv.processes.layout import StateLayout


class TrajectoryScore(nn.Module):
    """A Gaussian law of trajectories, and a network that corrects its draws.

    Where ``useful`` is False, draws are those of the Gaussian law.

    Args:
        law: The Gaussian law of trajectories.
        network: The network.
        layout: Layout of the states.
    """

    def __init__(self, law: WindowLaw, network: nn.Module, layout: StateLayout) -> None:
        super().__init__()
        self.law, self.network, self.layout = law, network, layout
        self.process, self.useful = VP(Cosine()), True

    @abstractmethod
    def loss(self, states: Float[Tensor, "batch time *state"], generator: torch.Generator | None) -> Float[Tensor, ""]:
        """Return the error of the predictions of the network, for entries, noise and times that are drawn.

        Args:
            states: Whole trajectories.
            generator: Source of randomness.
        """

    @torch.no_grad()
    def drawn(
        self,
        y: Float[Tensor, "row time number"],
        seen: Bool[Tensor, "time number"],
        noise: Float[Tensor, "time number"],
        n: int,
        *,
        steps: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "row n time number"]:
        """Draw trajectories, in units of the law.

        Args:
            y: Entries in units of the law.
            seen: Which of them are known.
            noise: Deviation of their noise, in units of the law.
            n: Draws for each row.
            steps: Sampling steps.
            generator: Source of randomness.

        Returns:
            The trajectories.
        """
        return self._drawn(y, seen, noise, n, steps, generator)

    @abstractmethod
    def _drawn(
        self, y: Tensor, seen: Tensor, noise: Tensor, n: int, steps: int, generator: torch.Generator | None
    ) -> Tensor: ...
