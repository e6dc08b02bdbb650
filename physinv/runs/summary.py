"""What a run keeps of its training data, for what is said later about observations and posteriors.

    law.*       the law of final states: how far an observation lies from them
    initial     some initial states: what is known without any observation (climatology)
    linear.*    the linear estimate of x_0 from x_T

Stored as ``summary.safetensors`` beside the model.  Runs of earlier versions have none, and say less.
"""

from __future__ import annotations

__all__ = ["TrainingSummary", "read_summary", "summarise", "write_summary"]

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.files import load_tensors, save_tensors
from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation.observed.final_law import FinalLaw, fit_final_law
from physinv.methods.classical.linear_estimate import LinearEstimate, fit_linear
from physinv.methods.saving import below, prefixed
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator
from physinv.runs.files import SUMMARY

_FORMAT = {"format": "physinv training summary 1"}
_INITIAL_NUMBERS, _MOST_INITIAL = 2**20, 512  # numbers in the initial states that are kept, and states
_LINEAR_NUMBERS = 2**24  # numbers in a linear estimate that is kept


@dataclass(frozen=True)
class TrainingSummary:
    """What is kept of the training data of a run.

    Args:
        law: Law of the final states; None where there are too few.
        initial: Some initial states.
        linear: The linear estimate; None where it would be too large to keep.
    """

    law: FinalLaw | None
    initial: Float[Tensor, "m *state"]
    linear: LinearEstimate | None


def summarise(simulator: Simulator, train: TrajectoryDataset, valid: TrajectoryDataset) -> TrainingSummary:
    """Compute what is kept of training data.

    Args:
        simulator: The process, for its symmetries.
        train: Training trajectories.
        valid: Validation trajectories.

    Returns:
        The summary, on the CPU.
    """
    law = fit_final_law(train.layout, train.states(-1).cpu(), valid.states(-1).cpu())
    initial = train.states(0)
    count = max(2, min(_MOST_INITIAL, _INITIAL_NUMBERS // initial[0].numel()))
    dense = 2 * min(initial.shape[0], initial[0].numel()) * initial[0].numel()  # numbers in a map of all components
    small = dense <= _LINEAR_NUMBERS or train.layout.basis == "fourier"
    linear = fit_linear(simulator, train, valid) if small else None
    if linear is not None and sum(t.numel() for t in linear.tensors().values()) > _LINEAR_NUMBERS:
        linear = None
    return TrainingSummary(law, initial[:count].cpu(), linear)


def write_summary(run: Path, summary: TrainingSummary) -> None:
    """Write what is kept of the training data.

    Args:
        run: Folder of the run.
        summary: What is kept.
    """
    tensors = {"initial": summary.initial}
    if summary.law is not None:
        tensors |= prefixed("law", summary.law.tensors())
    if summary.linear is not None:
        tensors |= prefixed("linear", summary.linear.tensors())
    save_tensors(run / SUMMARY, tensors, _FORMAT)


def read_summary(run: Path, layout: StateLayout, device: torch.device) -> TrainingSummary | None:
    """Read what a run kept of its training data.

    Args:
        run: Folder of the run.
        layout: Layout of the states.
        device: Where the linear estimate is needed.

    Returns:
        The summary; None for runs of earlier versions, which kept nothing.

    Raises:
        ValueError: If the file is damaged.
    """
    path = run / SUMMARY
    if not path.exists():
        return None
    tensors, _ = load_tensors(path)
    law, linear = below("law", tensors), {k: v.to(device) for k, v in below("linear", tensors).items()}
    try:
        return TrainingSummary(
            FinalLaw.from_tensors(layout, law) if law else None,
            tensors["initial"],
            LinearEstimate.from_tensors(layout, linear) if linear else None,
        )
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}; train again.") from None
