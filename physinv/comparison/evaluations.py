"""Count the network evaluations of any method, by hooks of torch and without code in the method."""

from __future__ import annotations

__all__ = ["Evaluations", "count_evaluations"]

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass
class Evaluations:
    """Count what went through networks.

    Attributes:
        states: States that went through a network.
        weights: Number of weights of each network that was called.
        depth: Modules that are being evaluated inside each other.
        batch: Batch of the outermost of them.
        known: Whether the batch was read from the inputs of the outermost module itself.
    """

    states: int = 0
    weights: dict[int, int] = field(default_factory=dict)
    depth: int = 0
    batch: int = 0
    known: bool = False

    def reset(self) -> None:
        """Start to count again from nothing."""
        self.states, self.weights = 0, {}


@contextmanager
def count_evaluations() -> Iterator[Evaluations]:
    """Count the calls of modules with weights inside the block, other than those that another module makes.

    The batch of a call is that of its first tensor; of a module called by keywords, the largest among the modules
    inside.

    Yields:
        The counter, up to date at any moment.
    """
    count = Evaluations()

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        sizes = [len(x) for x in inputs if isinstance(x, Tensor) and x.ndim]
        if count.depth == 0:
            count.batch, count.known = 0, bool(sizes)
        if sizes and (count.depth == 0 or not count.known):
            count.batch = max(count.batch, sizes[0])
        count.depth += 1

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        count.depth -= 1
        if count.depth == 0 and (parameters := list(module.parameters())):
            count.states += count.batch
            key = id(parameters[0])  # a network alone, and inside a model, is one network
            count.weights[key] = max(count.weights.get(key, 0), sum(p.numel() for p in parameters))

    hooks = nn.modules.module
    handles = hooks.register_module_forward_pre_hook(enter), hooks.register_module_forward_hook(leave, always_call=True)
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()
