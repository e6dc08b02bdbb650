"""What a jump kernel is: a model of ``p(x_s | x_t)`` for pairs of stored times ``s < t``."""

from __future__ import annotations

__all__ = ["Jump", "JumpKernel", "jump_grids", "jumps_of"]

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from physinv.config.seeds import Seed
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE


class Jump(NamedTuple):
    """Name the ends of a jump backward in time by the numbers of their stored times.

    Attributes:
        earlier: Number of the stored time that the jump leads to.
        later: Number of the stored time that it starts from.
    """

    earlier: int
    later: int


def jump_grids(intervals: int, parts: Sequence[int] = (1, 2, 4)) -> list[list[Jump]]:
    """Divide the stored times into equal numbers of jumps.

    Args:
        intervals: Number of intervals between stored times.
        parts: Numbers of jumps; grids with more jumps than there are intervals are left out.

    Returns:
        One list of jumps for each number of parts, from the last stored time back to the first.

    Example:
        >>> jump_grids(3, (1, 2))
        [[Jump(earlier=0, later=3)], [Jump(earlier=2, later=3), Jump(earlier=0, later=2)]]
    """
    grids = []
    for n in dict.fromkeys(p for p in parts if p <= intervals):
        ends = [round(intervals * k / n) for k in range(n, -1, -1)]
        grids.append([Jump(earlier, later) for later, earlier in itertools.pairwise(ends)])
    return grids


def jumps_of(grids: Sequence[Sequence[Jump]]) -> list[Jump]:
    """List the different jumps of all grids.

    Args:
        grids: Grids of jumps, see :func:`jump_grids`.

    Returns:
        Each jump once, in the order in which the grids name them.
    """
    return list(dict.fromkeys(jump for grid in grids for jump in grid))


class JumpKernel(nn.Module):
    """A model of the laws ``p(x_s | x_t)`` of earlier states given later ones, for a table of jumps.

    The physics enters in two ways: :meth:`prepare` takes the later state back through the physics, once for each state
    and without gradients, and training sees trajectories of the physics.

    Args:
        network: What is trained.
        sde: The physics.
        jumps: The table: pairs of numbers of stored times.

    Attributes:
        times: Stored times, float64.
    """

    table: Int64[Tensor, "jumps 2"]
    times: Float[Tensor, " time"]

    def __init__(self, network: nn.Module, sde: SDE, jumps: Sequence[Jump]) -> None:
        super().__init__()
        self.network = network
        self._physics = (sde,)  # in a tuple, so that learned physics is no part of what is trained and stored here
        self.register_buffer("table", torch.tensor([list(jump) for jump in jumps], dtype=torch.int64))
        self._read: tuple[tuple[int, int], tuple[Jump, ...]] = ((0, 0), ())

    @property
    def jumps(self) -> list[Jump]:
        """The table of jumps, read again where it is another one."""
        state = (id(self.table), self.table._version)
        if self._read[0] != state:
            self._read = (state, tuple(Jump(*row) for row in self.table.tolist()))
        return list(self._read[1])

    @property
    def sde(self) -> SDE:
        """The physics."""
        return self._physics[0]

    def known(self, grids: Sequence[Sequence[Jump]]) -> list[Sequence[Jump]]:
        """Return the grids that consist of jumps of the table.

        Args:
            grids: Grids of jumps, see :func:`jump_grids`.
        """
        table = set(self.jumps)
        return [grid for grid in grids if table.issuperset(grid)]

    @property
    def built_with(self) -> dict[str, int]:
        """Arguments, beside the settings, that an empty kernel is built with into which the weights are loaded."""
        return {}

    @abstractmethod
    def prepare(self, later: Float[Tensor, "batch *state"], jump: int) -> Tensor:
        """Return what the kernel has to know about later states besides the states, without gradients.

        Args:
            later: States at the later time of the jump.
            jump: Number of the jump in the table.

        Returns:
            One tensor for each state, ``(batch, ...)``.
        """

    def prepare_all(self, states: Float[Tensor, "n time *state"]) -> Tensor:
        """Return what the loss has to know of each jump of trajectories: here what :meth:`prepare` says.

        Args:
            states: States at all stored times.

        Returns:
            ``(n, jumps, ...)``.
        """
        return torch.stack([self.prepare(states[:, jump.later], i) for i, jump in enumerate(self.jumps)], dim=1)

    @abstractmethod
    def loss(
        self,
        earlier: Float[Tensor, "batch *state"],
        later: Float[Tensor, "batch *state"],
        prepared: Tensor,
        jump: Int64[Tensor, " batch"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean of a proper score of the kernel for pairs of states.

        Args:
            earlier: States at the earlier times of the jumps.
            later: States of the same trajectories at the later times.
            prepared: What :meth:`prepare_all` says about them.
            jump: Numbers of the jumps in the table.
            generator: Source of whatever the loss draws, on the device of ``later``; None: torch's global one.
        """

    def finish(self, data: TrajectoryDataset, *, seed: Seed = 0) -> None:
        """Fit what remains after training to trajectories that the kernel was not trained on; by default nothing.

        Args:
            data: Validation trajectories.
            seed: Seed of whatever is drawn.
        """
        return

    @abstractmethod
    def draw(
        self, later: Float[Tensor, "batch *state"], jump: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *state"]:
        """Draw one earlier state for each later state.

        Args:
            later: States at the later time of the jump.
            jump: Number of the jump in the table.
            generator: Source of randomness, on the device of ``later``.

        Returns:
            States at the earlier time.
        """

    def propose(
        self, later: Float[Tensor, "batch *state"], jump: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *state"]:
        """Draw one earlier state for each later state by the law that :meth:`log_density` is of, for weights.

        Args:
            later: Later states.
            jump: Number of the jump.
            generator: Source of randomness, as of :meth:`draw`.

        Returns:
            Earlier states.
        """
        return self.draw(later, jump, generator=generator)

    @abstractmethod
    def mean(self, later: Float[Tensor, "batch *state"], jump: int) -> Float[Tensor, "batch *state"]:
        """Return the mean of the earlier state given each later state.

        Args:
            later: States at the later time of the jump.
            jump: Number of the jump in the table.
        """

    def log_density(
        self, later: Float[Tensor, "batch *state"], earlier: Float[Tensor, "batch *state"], jump: int
    ) -> Float[Tensor, " batch"]:
        """Return the log density with which :meth:`propose` leads to given states; kernels without one refuse.

        Args:
            later: States at the later time of the jump.
            earlier: States at its earlier time.
            jump: Number of the jump in the table.

        Returns:
            Nats, float64; minus infinity where no draw leads.

        Raises:
            ValueError: If the kernel has no density, or none that is known.
        """
        raise ValueError(
            f"the jumps of {type(self).__name__} have no log density that is known; take a run of a vector process, or "
            "one that draws by small steps."
        )
