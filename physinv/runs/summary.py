"""What a run keeps of its training data, for what is said later about observations and posteriors.

    law.*       the law of final states: how far an observation lies from them
    initial     some initial states: what is known without any observation (climatology)
    linear.*    the linear estimate of x_0 from x_T
    forward.*   of recorded data the regression of x_T on x_0, which runs samples forward where there is no physics

Stored as ``summary.safetensors`` beside the model.  Runs of earlier versions have none, and say less.
"""

from __future__ import annotations

__all__ = ["TrainingSummary", "few_windows", "read_summary", "seen_in_training", "summarise", "write_summary"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation.observed.final_law import FinalLaw, fit_final_law
from physinv.methods.classical.later_times import fit_widened
from physinv.methods.classical.linear_estimate import LinearEstimate
from physinv.methods.saving import below, prefixed
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator
from physinv.runs.files import SUMMARY, read_of_run, write_of_run
from physinv.runs.forward_law import ForwardLaw, fit_forward_law

_TYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)  # of what is kept
_FORMAT = "physinv training summary 1"
_INITIAL_NUMBERS, _MOST_INITIAL = 2**22, 512  # numbers in the initial states that are kept, and states
_LAW_ROWS = 4096  # final states that are read for their law, which looks at fewer
_LOOKED_UP = 4096  # initial states that are looked up among those of training, at most
_SAME, _FEWEST_SAME = 0.5, 2  # of those expected to be found there, from which on it is no accident, and how many
_FEW = 8  # independent trajectories from which a spread is known to 1 / (2 n)^(1/2), a quarter
_LINEAR_NUMBERS = 2**24  # numbers in a linear estimate that is kept


@dataclass(frozen=True)
class TrainingSummary:
    """What is kept of the training data of a run.

    Args:
        law: Law of the final states; None where there are too few.
        initial: Some initial states.
        linear: The linear estimate; None where it would be too large to keep.
        forward: Where initial states lead, by regression; None where the process has physics, there are too few
            trajectories, or it would be too large.
    """

    law: FinalLaw | None
    initial: Float[Tensor, "m *state"]
    linear: LinearEstimate | None
    forward: ForwardLaw | None = None


def summarise(simulator: Simulator, train: TrajectoryDataset, valid: TrajectoryDataset) -> TrainingSummary:
    """Compute what is kept of training data.

    Args:
        simulator: The process, for its symmetries.
        train: Training trajectories.
        valid: Validation trajectories.

    Returns:
        The summary, on the CPU.
    """
    law = fit_final_law(train.layout, *(_some(simulator, data, -1, _LAW_ROWS).cpu() for data in (train, valid)))
    numbers = math.prod(train.shape)
    initial = _some(simulator, train, 0, max(2, min(_MOST_INITIAL, _INITIAL_NUMBERS // numbers)))
    dense = 2 * min(train.n_trajectories, numbers) * numbers  # numbers in a map of all components
    small = dense <= _LINEAR_NUMBERS or train.layout.basis == "fourier"
    linear = fit_widened(simulator, train, valid) if small else None
    forward = fit_forward_law(simulator, train, valid) if small and not simulator.known else None
    if linear is not None and _numbers(linear.tensors()) > _LINEAR_NUMBERS:
        linear = None
    if forward is not None and _numbers(forward.map.tensors()) > _LINEAR_NUMBERS:
        forward = None
    return TrainingSummary(law, initial.cpu(), linear, forward)


def seen_in_training(
    summary: TrainingSummary | None, truth: Float[Tensor, "n *state"], trained: int | None = None
) -> list[str]:
    """Return the warning of a reconstruction of the data that its run was trained on.

    Args:
        summary: What the run kept.
        truth: True initial states; the first ones are looked up, number for number, among those that it kept.
        trained: Number of trajectories that it was trained on; None: as many as it kept.

    Returns:
        One sentence where there are half as many of them or more as there would be; none where initial states repeat
        anyway.
    """
    known = set() if summary is None else {x.numpy().tobytes() for x in summary.initial}
    if summary is None or len(known) < len(summary.initial):
        return []
    asked = [x.numpy().tobytes() for x in truth[:_LOOKED_UP].cpu()]
    same, kept = sum(x in known for x in asked), len(known) / max(trained or 0, len(known))
    if same < min(max(_FEWEST_SAME, _SAME * kept * len(asked)), len(asked), len(known)):
        return []
    return [
        f"{same} of the first {len(asked)} initial states are among those that the run was trained on, of which it "
        f"kept {len(known)}: figures of them say nothing about new data; give the `test` folder of the dataset."
    ]


def few_windows(info: Mapping[str, Any]) -> list[str]:
    """Return the warning of a run whose validation windows are too few, or too much alike, to check a spread.

    Args:
        info: What run.json says; that of earlier versions does not know.

    Returns:
        One sentence where fewer than eight of them are independent of each other.
    """
    count = info.get("independent", math.inf)
    if count >= _FEW:
        return []
    return [
        f"The validation data of the run are worth {count:.1f} independent trajectories: too few to check how "
        f"wide intervals have to be, for which {_FEW} are needed. They may be too narrow, or too wide; record for "
        "longer, give more trajectories, or import with a shorter `--window` or a larger share `--valid`."
    ]


def write_summary(run: Path, summary: TrainingSummary, info: Mapping[str, Any]) -> None:
    """Write what is kept of the training data.

    Args:
        run: Folder of the run.
        summary: What is kept.
        info: What run.json says, to which the summary is bound.
    """
    tensors = {"initial": summary.initial}
    if summary.law is not None:
        tensors |= prefixed("law", summary.law.tensors())
    if summary.linear is not None:
        tensors |= prefixed("linear", summary.linear.tensors())
    if summary.forward is not None:
        tensors |= prefixed("forward", summary.forward.tensors())
    write_of_run(run / SUMMARY, tensors, _FORMAT, info)


def read_summary(
    run: Path, info: Mapping[str, Any], layout: StateLayout, device: torch.device
) -> TrainingSummary | None:
    """Read what a run kept of its training data.

    Args:
        run: Folder of the run.
        info: What run.json says.
        layout: Layout of the states.
        device: Where the regressions are needed.

    Returns:
        The summary; None for runs of earlier versions, which kept nothing.

    Raises:
        ValueError: If the file is damaged, or of another run.
    """
    path = run / SUMMARY
    if not path.exists():
        return None
    tensors, _ = read_of_run(path, info)
    law = below("law", tensors)
    linear, forward = ({k: v.to(device) for k, v in below(name, tensors).items()} for name in ("linear", "forward"))
    try:
        found = TrainingSummary(
            FinalLaw.from_tensors(layout, law) if law else None,
            tensors["initial"],
            LinearEstimate.from_tensors(layout, linear) if linear else None,
            ForwardLaw.from_tensors(layout, forward) if forward else None,
        )
        _check_shapes(found, layout.shape, device)
        if odd := [name for name, values in tensors.items() if values.dtype not in _TYPES]:
            raise ValueError(f"`{odd[0]}` holds numbers of {tensors[odd[0]].dtype}")
        if lost := [
            k for k, values in tensors.items() if not k.startswith("law.") and not bool(values.isfinite().all())
        ]:
            raise ValueError(f"`{lost[0]}` holds numbers that are not finite")
        return found
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}; train again.") from None


def _check_shapes(found: TrainingSummary, shape: tuple[int, ...], device: torch.device) -> None:
    """Raise ValueError unless each part takes two states and gives what belongs to two states of that shape."""
    x = torch.zeros(2, *shape)
    given = {"initial": found.initial[:1].expand(2, *shape)}
    if found.linear is not None:
        given["linear"] = found.linear.mean(x.to(device)) + found.linear.deviation
    if found.forward is not None:
        given["forward"] = found.forward.map.mean(x.to(device)) + found.forward.misses[:1]
    wrong = [name for name, y in given.items() if y.shape != x.shape]
    if found.law is not None and found.law.distance(x).shape != (2,):
        wrong.append("law")
    if wrong:
        raise ValueError(f"`{wrong[0]}` holds numbers of other shapes than states of {shape} need")


def _some(simulator: Simulator, data: TrajectoryDataset, time_index: int, most: int) -> Tensor:
    """States of some trajectories: of simulated ones the first, of recorded ones evenly over all of the time."""
    n = data.n_trajectories
    if simulator.startable or n <= most:
        return data.states(time_index, limit=most)
    return torch.cat(
        [data.states(time_index, 1, first=i) for i in torch.linspace(0, n - 1, most).round().int().tolist()]
    )


def _numbers(tensors: Mapping[str, Tensor]) -> int:
    return sum(t.numel() for t in tensors.values())
