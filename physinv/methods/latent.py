"""Posteriors of large fields by codes of fewer points: other methods work on the codes, at their size and price."""

from __future__ import annotations

__all__ = ["Latent", "fit_latent", "load_latent"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import home_of
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations.sde import SDE, Score
from physinv.methods.learned.backbone import chunked
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.registry import METHODS, fit_method, load_method, method_names
from physinv.methods.saving import Setup, below, loaded_by, loading_of, notes_of, prefixed, tensors_of
from physinv.models.autoencoder import Autoencoder, build_code, coarse_layout, fit_code
from physinv.processes.layout import FieldLayout
from physinv.processes.recorded import Recorded
from physinv.training.objectives.base import Batch

_ROWS = 2048  # of the initial and of the final states each, that units and spectra of codes are measured on


@dataclass(frozen=True)
class Latent(Answer):
    """The posterior of codes, and the fields of its draws.

    Args:
        code: The autoencoder.
        answer: The posterior of the codes of initial states given those of final ones.
        method: Name of its method.
    """

    code: Autoencoder
    answer: Answer
    method: str

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        drawn = self.answer.sample(chunked(self.code.encode, final), n, generator=generator)
        fields = chunked(lambda z: self.code.draw(z, generator=generator), drawn.flatten(0, 1))
        return fields.reshape(len(final), n, *final.shape[1:])

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the field of the mean code, which is the mean of fields where the code is linear.

        Args:
            final: Observed final states ``x_T``.
        """
        return chunked(self.code.decode, self.answer.mean(chunked(self.code.encode, final)))

    def tensors(self) -> dict[str, Tensor]:
        """Return the autoencoder, and what the method fitted to its codes."""
        return prefixed("code", dict(self.code.state_dict())) | prefixed("answer", tensors_of(self.method, self.answer))

    def notes(self) -> dict[str, Any]:
        """Return what the answer of the codes says of itself."""
        return {"answer": notes_of(self.answer)}


def load_latent(
    setup: Setup,
    tensors: Mapping[str, Tensor],
    *,
    method: str = "conditional-diffusion",
    factor: int = 4,
    share: float = 0.3,
) -> Latent:
    """Load what :func:`fit_latent` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        method: Method of the codes.
        factor: By how much the points of each axis are divided.
        share: Share of the budget of the autoencoder.

    Returns:
        The posterior.
    """
    layout = setup.layout
    assert isinstance(layout, FieldLayout)
    own = below("code", tensors)
    code = build_code(layout, own, setup.settings, factor=factor, seed=setup.seed)
    code.load_state_dict(own)
    times = setup.times[[0, -1]]
    inner = replace(
        setup, simulator=Recorded.of(code.latent, times.numpy()), times=times, notes=setup.notes.get("answer", {})
    )
    answer = load_method(method, inner, below("answer", tensors))
    return Latent(code.to(setup.device).eval(), answer, method)


@loaded_by(load_latent)
def fit_latent(
    problem: Problem, *, method: str = "conditional-diffusion", factor: int = 4, share: float = 0.3
) -> Latent:
    """Learn a code of fields, then the posterior of the codes of ``x_0`` given those of ``x_T``.

    Args:
        problem: The process and its data; physics is not used.
        method: Method of the codes, any that takes final states and nothing else.
        factor: By how much the points of each axis are divided: 4 makes 64 x 64 of 256 x 256.
        share: Share of the budget that the autoencoder gets.

    Returns:
        The posterior.

    Raises:
        NotApplicableError: For states that are no fields, masks, static channels and unknown parameters.
        ValueError: If the method takes something else, the share is not between 0 and 1, or fields can't be divided so.

    References:
        Rombach et al. (2022), High-resolution image synthesis with latent diffusion models.
    """
    layout = problem.train.layout
    if not isinstance(layout, FieldLayout):
        raise NotApplicableError("a latent space is for fields; take the method of the codes itself.")
    if layout.mask or layout.static:
        raise NotApplicableError(
            "a latent space has no masks and static channels; take the method of the codes itself."
        )
    if problem.simulator.unknown:
        raise NotApplicableError("a latent space knows no unknown parameters; take physinv.")
    if not loading_of(METHODS.find(method)).partial:
        able = ", ".join(name for name in method_names() if loading_of(METHODS.find(name)).partial)
        raise ValueError(f"`method` of a latent space must take final states alone, one of {able}, got {method!r}.")
    if not 0 < share < 1:
        raise ValueError(f"`share` must be between 0 and 1, got {share}.")

    # The code, trained on both ends, and what it cannot tell of initial states.
    ends = torch.cat([problem.train.states(i, limit=_ROWS) for i in (0, -1)])
    code = fit_code(layout, ends, problem.settings, factor=factor, seed=problem.seed)
    part, batch = problem.part("autoencoder", share=share), problem.settings.batch or layout.default_batch
    # Two networks on half of the windows: time and memory of one.
    half = part.settings.model_copy(update={"batch": -(-batch // 2)})
    replace(part, settings=half).minimise(code, _bound)
    code.eval().measure(problem.valid.states(0))

    # The posterior of the codes.
    times = problem.train.times[[0, -1]]
    train, valid = (_coded(code, data, times) for data in (problem.train, problem.valid))
    part = problem.part(method, share=1 - share, begun=share)
    process = Recorded.of(coarse_layout(layout, factor), times.cpu().numpy())
    return Latent(code, fit_method(method, replace(part, simulator=process, train=train, valid=valid)), method)


def _bound(score: Score, sde: SDE, batch: Batch) -> Tensor:
    """The loss of an autoencoder, of one end of each window, drawn anew: both would take twice the memory."""
    assert isinstance(score, Autoencoder)
    n, ends = batch.states.shape[:2]
    some, home = torch.arange(n, device=batch.states.device), home_of(batch.generator, batch.states)
    end = torch.randint(ends, (n,), generator=batch.generator, device=home).to(some.device)
    return score.loss(batch.states[some, end], batch.generator)


def _coded(code: Autoencoder, data: TrajectoryDataset, times: Float[Tensor, " time"]) -> TrajectoryDataset:
    """The codes of the first and last states of a dataset."""
    ends = torch.stack([chunked(code.encode, data.states(i)) for i in (0, -1)], 1)
    clock = tuple(times.tolist())
    header = Header("codes", code.latent, tuple(ends.shape[2:]), clock, len(ends), {}, {})
    return TrajectoryDataset.of_states(ends, header, Path("codes"))
