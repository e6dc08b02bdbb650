"""A reversal as a chain of links, each with its draws and their log density: what weights of paths are made of."""

from __future__ import annotations

__all__ = ["Chain", "Link", "forward_log_prob", "reverse_links"]

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Linear, Reverse
from physinv.equations.solve import ends, march
from physinv.equations.steps import Step, euler, exponential


class Link(NamedTuple):
    """One step of a reversal, from a later time to an earlier one.

    Attributes:
        later: Time that it starts from.
        earlier: Time that it leads to.
        draw: Draws one earlier state for each later one, ``(later states, generator) -> earlier states``.
        log_density: ``(later states, earlier states) -> log q(earlier | later)``, nats in float64.
    """

    later: float
    earlier: float
    draw: Callable[[Tensor, torch.Generator | None], Tensor]
    log_density: Callable[[Tensor, Tensor], Tensor]


Chain = list[Link]
"""Links from T to 0."""


def reverse_links(reverse: Reverse, times: Float[Tensor, " time"], step: Step) -> Chain:
    """Return the links of a reverse SDE solved by one step between neighbouring times.

    Args:
        reverse: The reversal.
        times: Increasing times.
        step: The reverse step; it must have a log density.
    """

    def link(a: float, b: float) -> Link:
        times = torch.tensor([a, b], dtype=torch.float64)

        def draw(x: Tensor, generator: torch.Generator | None) -> Tensor:
            _, y = march(reverse, x, times, step=step, generator=generator)
            return y

        def log_density(x: Tensor, y: Tensor) -> Tensor:
            return step.log_density(reverse, x, *ends(x, a, b), y)

        return Link(a, b, draw, log_density)

    return [link(a, b) for a, b in itertools.pairwise(times.flip(0).tolist())]


def forward_log_prob(
    sde: SDE, earlier: Float[Tensor, "batch *state"], later: Float[Tensor, "batch *state"], t0: float, t1: float
) -> Float[Tensor, " batch"]:
    """Return ``log p(x_t1 | x_t0)`` of a process: exact where it is linear, else that of one Euler step.

    Args:
        sde: The process.
        earlier: States at ``t0``.
        later: States at ``t1``.
        t0: Earlier time.
        t1: Later time.

    Returns:
        Nats, float64.

    Raises:
        ValueError: If the step has no density, as where noise acts on momenta only.
    """
    step = exponential if isinstance(sde, Linear) else euler
    return step.log_density(sde, earlier, *ends(earlier, t0, t1), later)
