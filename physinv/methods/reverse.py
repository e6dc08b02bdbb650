"""Answers around a :class:`~physinv.posterior.posterior.Posterior`, whose reversal can be solved on any time grid."""

from __future__ import annotations

__all__ = ["ReverseAnswer", "load_score_model"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import check_instance
from physinv.config.seeds import seeds
from physinv.equations.sde import SDE
from physinv.laws.record import ObservationRecord
from physinv.methods.problem import Answer
from physinv.methods.saving import Setup
from physinv.models.build import clock, score_network, symmetries
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.registry import REFERENCES, load_reference
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.posterior.several_times.twisted import TwistedReversal


@dataclass(frozen=True)
class ReverseAnswer(Answer):
    """An answer by a reverse process with a trained score.

    Args:
        posterior: The posterior of the score model.
    """

    posterior: Posterior

    def on(self, times: Float[Tensor, " grid"], *, batch: int | None = None) -> ReverseAnswer:
        """Return the same answer with other solver steps.

        Args:
            times: Increasing times from 0 to T, one solver step between neighbours.
            batch: Largest number of states computed at the same time; None: as suits the device.
        """
        p = self.posterior
        return replace(self, posterior=Posterior(p.sde, p.score, times, batch=batch))

    def given(self, observed: ObservationRecord) -> TwistedReversal:
        """Return the answer to a record, by particles of the reversal with small steps.

        Args:
            observed: The record.
        """
        return TwistedReversal(self.posterior, observed)

    @property
    def learned(self) -> ReverseAnswer:
        """The same answer without what is added behind the networks for final states that are observed whole."""
        return self

    @property
    def steps(self) -> int | None:
        """Number of small steps of each sample; None where samples take none."""
        return len(self.posterior.times) - 1

    @property
    def model(self) -> ScoreModel:
        """The trained score model."""
        score = self.posterior.score
        check_instance(score, ScoreModel, "score", "only score models have tensors")
        assert isinstance(score, ScoreModel)
        return score

    def tensors(self) -> dict[str, Tensor]:
        """Return weights of the network and tables of the reference law."""
        return dict(self.model.state_dict())

    def notes(self) -> dict[str, Any]:
        """Return the name of the reference law."""
        return {"reference": REFERENCES.name_of(type(self.model.reference))}


def load_score_model(setup: Setup, sde: SDE, tensors: Mapping[str, Tensor]) -> ScoreModel:
    """Make a trained score model again.

    Args:
        setup: What the run knows; its notes name the reference law.
        sde: The physics that the model was trained under.
        tensors: Weights of the network and tables of the reference law.

    Returns:
        The model, on the device of the run.

    Raises:
        KeyError: If a tensor is missing.
        RuntimeError: If a tensor is of another shape.
    """
    reference: ReferenceLaw = load_reference(setup.notes["reference"], sde, tensors)
    layout, stream = setup.layout, seeds(setup.seed).child("model", "network")
    network = score_network(reference, layout, setup.settings, seed=stream)
    images = symmetries(sde, layout.shape)
    model = ScoreModel(reference, network, clock(setup.times), images=images, shape=layout.shape, physics=sde)
    model.load_state_dict(dict(tensors))
    return model.to(setup.device).eval()
