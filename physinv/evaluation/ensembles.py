"""Check ensembles of states and the truths that they are compared with."""

from __future__ import annotations

__all__ = ["check_finite", "check_pair", "ensemble", "numbers"]

from typing import Any

import numpy as np
import torch
from torch import Tensor

from physinv.config.inputs import Numbers, as_tensor


def ensemble(samples: Numbers, truth: Numbers, *, least: int = 1, finite: bool = True) -> tuple[Tensor, Tensor]:
    """Check an ensemble and its truth, and give scalar states an axis.

    Args:
        samples: Ensemble of states for each truth, ``(batch, members, *state)``.
        truth: True states, ``(batch, *state)``.
        least: Fewest members allowed.
        finite: Whether NaN and infinity are refused: one of them would spoil a mean over everything, unseen.

    Returns:
        ``samples`` and ``truth`` as tensors, or with a last axis of length 1 for states without an axis.

    Raises:
        ValueError: If the shapes do not match, there is no truth, there are fewer than ``least`` members, or a number
            is not finite.

    Example:
        >>> [tuple(x.shape) for x in ensemble(torch.zeros(3, 8), torch.zeros(3))]
        [(3, 8, 1), (3, 1)]
    """
    samples, truth = numbers(samples, "samples"), numbers(truth, "truth")
    if truth.ndim < 1 or samples.ndim != truth.ndim + 1 or samples.shape[:1] + samples.shape[2:] != truth.shape:
        remedy = "put the members on axis 1"
        if truth.ndim == samples.ndim + 1:
            remedy = "samples come first, the truth second: swap them"
        elif samples.ndim == truth.ndim + 1 and samples.shape[2:] == truth.shape[1:]:
            remedy = "give one truth for each ensemble"
        raise ValueError(
            f"`samples` must have shape (batch, members, *state) for a truth of shape {tuple(truth.shape)}, "
            f"got {tuple(samples.shape)}; {remedy}."
        )
    if not len(truth):
        raise ValueError(f"`truth` must hold one state or more, got shape {tuple(truth.shape)}.")
    if samples.shape[1] < least:
        raise ValueError(f"`samples` must hold at least {least} members, got {samples.shape[1]}; draw more.")
    if finite:
        check_finite(samples=samples, truth=truth)
    return (samples[..., None], truth[:, None]) if truth.ndim == 1 else (samples, truth)


def check_pair(estimate: Numbers, truth: Numbers) -> tuple[Tensor, Tensor]:
    """Check that an estimate has the shape of its truth.

    Args:
        estimate: One state for each truth, ``(batch, *state)``.
        truth: The true states, ``(batch, *state)``.

    Returns:
        Both as tensors.

    Raises:
        ValueError: If the shapes differ.
    """
    estimate, truth = numbers(estimate, "estimate"), numbers(truth, "truth")
    if estimate.shape != truth.shape:
        raise ValueError(
            f"`estimate` must have the shape {tuple(truth.shape)} of `truth`, got {tuple(estimate.shape)}; "
            "expand it, nothing is broadcast here."
        )
    return estimate, truth


def check_finite(**states: Tensor) -> None:
    """Check that states are finite.

    Args:
        **states: Tensors by the names that a message shall call them.

    Raises:
        ValueError: If any number is NaN or infinite.
    """
    for name, x in states.items():
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"`{name}` must be finite, got NaN or infinity; remove diverged states.")


def numbers(value: Any, name: str) -> Tensor:
    """Return a tensor, an array or lists as a tensor; of lists in torch's default precision.

    Args:
        value: What was given.
        name: Name of the argument, for messages.

    Raises:
        ValueError: If it holds no numbers.
    """
    x = as_tensor(value, name)
    return x if isinstance(value, (Tensor, np.ndarray)) else x.to(torch.get_default_dtype())
