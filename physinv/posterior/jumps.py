"""The posterior by jump kernels: draws along grids of few jumps, pooled."""

from __future__ import annotations

__all__ = ["JumpPosterior"]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import States, as_states, check_count, check_generator
from physinv.equations.broadcast import default_batch
from physinv.equations.sde import SDE, Linear
from physinv.models.jumps.base import Jump, JumpKernel
from physinv.models.references.base import ReferenceLaw
from physinv.posterior.chain import Chain, Link


class JumpPosterior:
    """The posterior ``p(x_0 | x_T)`` by jumps ``x_T -> ... -> x_0`` along one or several grids of stored times.

    The draws of an observation are shared among the grids in equal parts, in turn: draw ``i`` follows grid ``i`` modulo
    their number.  Each grid is a way to the same posterior, and their errors differ.

    Args:
        kernel: The kernels, trained.
        grids: Grids of jumps, each from the last stored time to the first.

    Raises:
        ValueError: If a grid has a jump that the kernel does not know.
    """

    def __init__(self, kernel: JumpKernel, grids: Sequence[Sequence[Jump]]) -> None:
        known = {jump: i for i, jump in enumerate(kernel.jumps)}
        for jump in (j for grid in grids for j in grid):
            if jump not in known:
                raise ValueError(f"`grids` must be made of jumps of the kernel, {sorted(known)}, got {tuple(jump)}.")
        self.kernel = kernel
        self.grids = [[known[jump] for jump in grid] for grid in grids]

    @torch.no_grad()
    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states.

        Args:
            final: Final states ``x_T``: a tensor, or an array or lists, of which one is made.
            n: Number of draws for each final state.
            generator: Source of randomness, on the device of ``final``.

        Returns:
            Initial states ``(batch, n, *state)``.

        Raises:
            ValueError: If ``final`` are no finite states of this process, or ``n`` is smaller than 1.
        """
        final, n = self.accepted(final), check_count(n, "n")
        check_generator(generator)
        out = final.new_empty((len(final), n, *final.shape[1:]))
        for i, grid in enumerate(self.grids[:n]):
            place = out[:, i :: len(self.grids)]
            every = final.repeat_interleave(place.shape[1], dim=0)
            place.copy_(self._along(every, grid, generator).reshape(place.shape))
        return out

    @torch.no_grad()
    def mean(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean by the longest jump.

        Args:
            final: Final states ``x_T``.
        """
        x, grid = self.accepted(final), min(self.grids, key=len)
        for jump in grid:
            x = torch.cat([self.kernel.mean(part, jump) for part in torch.split(x, default_batch(x))])
        return x

    @property
    def sde(self) -> SDE:
        """The physics."""
        return self.kernel.sde

    @property
    def reference(self) -> ReferenceLaw | None:
        """None: jumps have no reference law."""
        return None

    def chains(self) -> list[Chain]:
        """Return each grid as a chain of jumps with log densities, of which weights are made.

        Raises:
            ValueError: If the physics is not linear: how likely it is to make a long jump is not known then.
        """
        if not isinstance(self.sde, Linear):
            raise ValueError(
                f"{type(self.sde).__name__} is not linear, and how likely it is to make a jump is not known; weigh "
                "small steps."
            )
        times = self.kernel.times.tolist()

        def link(i: int) -> Link:
            jump = self.kernel.jumps[i]

            def draw(x: Tensor, generator: torch.Generator | None) -> Tensor:
                return self.kernel.propose(x, i, generator=generator)

            return Link(times[jump.later], times[jump.earlier], draw, lambda x, y: self.kernel.log_density(x, y, i))

        return [[link(i) for i in grid] for grid in self.grids]

    def _along(self, x: Tensor, grid: list[int], generator: torch.Generator | None) -> Tensor:
        """One draw for each state along one grid, some states at a time."""
        parts = []
        for part in torch.split(x, default_batch(x)):
            for jump in grid:
                part = self.kernel.draw(part, jump, generator=generator)
            parts.append(part)
        return torch.cat(parts)

    def accepted(self, final: States, name: str = "final") -> Float[Tensor, "batch *state"]:
        """Return states in the precision and on the device of the network.

        Args:
            final: States: a tensor, or an array or lists, of which one is made.
            name: Name of the argument, for messages.
        """
        return as_states(final, name, None, like=next(self.kernel.parameters(), None), finite=True)
