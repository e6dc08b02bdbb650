"""Samples of observations without truth, run forward and stored beside them for the posterior predictive check."""

from __future__ import annotations

__all__ = ["ForwardSamples"]

from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.evaluation.observed.predictive import FEWEST_DRAWS, MOST_DRAWS, predict
from physinv.posterior.stored import DIGEST, digest
from physinv.processes.simulator import Simulator
from physinv.runs.run import Run
from physinv.runs.sampling.store import Store

_TOGETHER = 2000  # samples that are run forward, of all observations together, but for the fewest of each


class ForwardSamples:
    """Run samples forward by the physics of a run, and write the final states.

    Without physics they are predicted by the regression that the run keeps of recorded data
    (:class:`~physinv.runs.forward_law.ForwardLaw`), without either nothing is written.

    Args:
        run: The run that samples are of.
        store: The reconstruction file, open for writing.
        draws: Samples of each observation; the first of them are run forward.
        seed: Seed of the noise on the way.

    Attributes:
        by: How samples are run forward: ``"physics"`` or ``"regression"``, or None.
    """

    def __init__(self, run: Run, store: Store, draws: int, *, seed: Seed) -> None:
        physics = run.sde
        self.physics = None if isinstance(physics, Simulator) and not physics.known else physics
        self.law = None if self.physics is not None or run.summary is None else run.summary.forward
        self.by = "physics" if self.physics is not None else "regression" if self.law is not None else None
        self.times, self.store = run.times, store
        self.generator = seeds(seed).child("reconstruction", "prediction").generator(run.device)
        if self.by is not None:
            self.count = min(draws, MOST_DRAWS, max(FEWEST_DRAWS, _TOGETHER // store.sizes["observation_index"]))
            self.targets = [
                store.states(name, "observation_index", self.count) for name in ("predicted", "predicted_clean")
            ]

    def write(self, at: int, drawn: Float[Tensor, "batch draws *state"]) -> None:
        """Run the samples of some observations forward.

        Args:
            at: Number of the first of these observations.
            drawn: Their samples.
        """
        few = drawn[:, : self.count] if self.by is not None else drawn
        if self.physics is not None:
            found = predict(self.physics, self.times, few, generator=self.generator)
        elif self.law is not None:
            found = self.law.predict(few, generator=self.generator)
        else:
            return
        for target, states in zip(self.targets, (found.noisy, found.clean), strict=True):
            target[at : at + len(drawn)] = self.store.blanked(states)

    def close(self) -> None:
        """Note which samples these are the final states of."""
        if self.by is not None:
            self.targets[0].attrs[DIGEST] = digest(self.store.file["samples"])
