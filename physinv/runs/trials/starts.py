"""Where the new trajectories of a trial begin: by the process, by a prior that is given, or at kept states of data."""

from __future__ import annotations

__all__ = ["DrawStarts", "Starts", "starts_of", "starts_of_process"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.processes.simulator import Simulator
from physinv.runs.run import Run

_FEWEST = 32  # kept initial states, half of which are truths of a trial

DrawStarts = Callable[[int, torch.Generator], Tensor]
"""Draws initial states, ``(n, *state)``, on the device of a generator: ``(n, generator)``."""


@dataclass(frozen=True)
class Starts:
    """Initial states of new trajectories, and those that stand for knowing nothing.

    Args:
        truth: Draws those of trajectories that are answered; fewer than asked for where there are no more.
        prior: Draws those of the prior, none of which are among ``truth``.
        count: Number of different states of ``prior``; None: there is no end of them.
    """

    truth: DrawStarts
    prior: DrawStarts
    count: int | None = None


def starts_of_process(process: Simulator) -> Starts | None:
    """Return the initial states of a process.

    Args:
        process: The process.

    Returns:
        Both by the same law; None for data of which no new initial states can be made.
    """
    if not process.startable:
        return None

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return process.initial(n, generator=generator, device=generator.device)

    return Starts(draw, draw)


def starts_of(run: Run) -> Starts | None:
    """Return the initial states that new trajectories of a run begin at.

    They are those of its process.  Where none can be drawn, or a prior that may not be their law was learned from data,
    they are states of its training data, one half as truths and the other as the prior; where few are kept, draws of
    the prior that the run was given.

    Args:
        run: The run.

    Returns:
        The initial states; None where there are none or few.
    """
    if run.prior is None and run.simulator.startable:
        return starts_of_process(run.simulator)
    kept = None if run.summary is None else run.summary.initial
    if kept is not None and len(kept) >= _FEWEST:
        return Starts(_of(kept[::2], again=False), _of(kept[1::2], again=True), len(kept) // 2)
    given = run.prior
    if given is None:
        return None

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return given.draw(n, generator=generator)

    return Starts(draw, draw)


def _of(kept: Float[Tensor, "m *state"], *, again: bool) -> DrawStarts:
    """Different ones of some states; where there are no more, each once more, or none."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        order = torch.randperm(len(kept), generator=generator, device=generator.device)
        return kept.to(generator.device)[order.repeat(-(-n // len(kept)) if again else 1)[:n]]

    return draw
