"""A trained run: the method that was fitted, with all that drawing from it needs."""

from __future__ import annotations

__all__ = ["Run"]

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import States, as_states, check_count, check_generator
from physinv.equations.sde import SDE
from physinv.evaluation.observed.plausibility import divergence
from physinv.laws.prior import Prior
from physinv.methods.problem import Answer
from physinv.methods.reverse import ReverseAnswer
from physinv.models.jumps.parameters import ParameterKernel
from physinv.models.score import ScoreModel
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying
from physinv.runs.summary import TrainingSummary
from physinv.training.final_estimate import Observer


@dataclass(frozen=True)
class Run:
    """Hold a fitted method with all that a reconstruction needs.

    Args:
        simulator: The process that made the data.
        answer: The posterior of the method, or its approximation.
        times: Stored times, from 0 to T, float64.
        info: What run.json says.
        device: Device of the answer's tensors.
        summary: What is kept of the training data; None for runs of earlier versions.
        parameters: The law of the unknown parameters given a final state; None where none is unknown.
        partial: Estimates of final states from the partial observations that it is trained for; None: it is trained
            for whole final states.
        prior: The law of initial states that it was given; None: that of the process or of its data.
    """

    simulator: Simulator
    answer: Answer
    times: Float[Tensor, " time"]
    info: dict[str, Any]
    device: torch.device
    summary: TrainingSummary | None = None
    parameters: ParameterKernel | None = None
    partial: Observer | None = None
    prior: Prior | None = None

    @property
    def method(self) -> str:
        """Name of the method."""
        return cast(str, self.info["method"])

    @property
    def sde(self) -> SDE:
        """The physics: the simulator, or a drift learned from the data (setting ``physics``)."""
        return self.answer.posterior.sde if isinstance(self.answer, ReverseAnswer) else self.simulator

    @property
    def observed(self) -> StateLayout:
        """The layout of final states that are observed: without parameters that are unknown."""
        return self.simulator.inner.layout if isinstance(self.simulator, Varying) else self.simulator.layout

    @property
    def model(self) -> ScoreModel:
        """The trained score model.

        Raises:
            ValueError: If the method has none.
        """
        if not isinstance(self.answer, ReverseAnswer):
            raise ValueError(f"a run of method `{self.method}` has no score model; take `run.answer`.")
        return self.answer.model

    @torch.no_grad()
    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw initial states given whole final states, by whatever method was fitted.

        Args:
            final: Final states ``x_T``: a tensor, an array or lists, ``(batch, *state)``.
            n: Draws for each of them.
            generator: Source of randomness, on the device of the run.

        Returns:
            Initial states.

        Raises:
            ValueError: If ``final`` are no finite states of this process, ``n`` is smaller than 1, a sample is not
                finite, or the run draws parameters as well or is for partial observations (take
                :func:`~physinv.runs.reconstruct.reconstruct`).
        """
        check_generator(generator)
        final = self.accepted(final)
        return _finite(self.answer.sample(final, check_count(n, "n"), generator=generator), final)

    @torch.no_grad()
    def mean(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the best single estimate of the initial states, by whatever method was fitted.

        Args:
            final: Final states ``x_T``, as for :meth:`sample`.

        Returns:
            Initial states.

        Raises:
            ValueError: As for :meth:`sample`.
        """
        final = self.accepted(final)
        return _finite(self.answer.mean(final)[:, None], final)[:, 0]

    def accepted(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return whole final states in the precision and on the device of the run.

        Args:
            final: Final states: a tensor, an array or lists.

        Returns:
            The states.

        Raises:
            ValueError: If they are no finite states of this process, or the run does not take whole final states.
        """
        if self.parameters is not None or self.partial is not None or self.simulator.unknown:
            raise ValueError("`final` alone does not do for this run; call pi.reconstruct(run, data, out).")
        like, layout = torch.zeros((), device=self.device), self.simulator.layout
        return as_states(final, "final", layout.shape, like=like, finite=not layout.mask)


def _finite(drawn: Tensor, final: Tensor) -> Tensor:
    """Draws ``(batch, k, *state)``, or one line that says why some are not finite."""
    if not bool(drawn.isfinite().all()):
        raise ValueError(divergence(drawn, final))
    return drawn
