"""Check that drift, diffusion and score of an equation have the shapes that its solver needs."""

from __future__ import annotations

__all__ = ["check_shapes", "state_shape"]

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.failures import blamed_on
from physinv.config.inputs import check_function, describe, joined
from physinv.equations.broadcast import expand
from physinv.equations.multiplicative import Multiplicative
from physinv.equations.sde import SDE, Linear, Reverse


def state_shape(sde: SDE) -> tuple[int, ...] | None:
    """Return the shape of one state, where an equation has an attribute ``shape`` that says it; else None.

    Args:
        sde: The equation; of a :class:`~physinv.equations.sde.Reverse` the process counts.
    """
    shape = getattr(sde.sde if isinstance(sde, Reverse) else sde, "shape", None)
    return None if shape is None else tuple(shape)


@torch.no_grad()
def check_shapes(sde: SDE, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> None:
    """Evaluate the parts of an equation, and refuse those of another shape than the states.

    Args:
        sde: The equation.
        x: States, ``(batch, *state)``.
        t: Their times.

    Raises:
        ValueError: If ``drift``, ``diffusion``, or the score of a ``Reverse`` takes other arguments or returns another
            shape, ``drift`` changes the states, or a ``Linear`` has no known basis; one line says which.
    """
    physics = sde.sde if isinstance(sde, Reverse) else sde
    owner, wanted, before = type(physics).__name__, f"must return {joined(x.shape[1:])}", x.clone()
    if isinstance(physics, Linear) and type(physics).modes is Linear.modes:
        basis = getattr(physics, "basis", None)  # without one `modes` would be a riddle, with an unknown one nonsense
        if basis not in ("identity", "fourier"):
            raise ValueError(f"`basis` of {owner} must be identity or fourier, got {basis!r}; set the attribute.")
    check_function(physics.drift, f"`drift` of {owner}", "(x, t) -> f", "take both, self first")
    with blamed_on(f"`drift` of {owner}"):
        slope = physics.drift(x, t)
    found = _shape(slope, f"`drift` of {owner}", x)
    if not torch.equal(x.nan_to_num(), before.nan_to_num()):
        raise ValueError(
            f"`drift` of {owner} must leave `x` as it is, got another one; compute without `x *=` and such."
        )
    if found != x.shape:
        remedy = "index with x[:, :1], not x[:, 0]" if len(found) < x.ndim else "return one number per component"
        raise ValueError(f"`drift` of {owner} {wanted}, got {_batched(found, x)}; {remedy}.")
    if isinstance(sde, Reverse):
        found = _shape(sde.score(x, t), "`score`", x)
        if found != x.shape:
            raise ValueError(f"`score` {wanted}, got {_batched(found, x)}; is it of another process?")
    if isinstance(physics, Multiplicative):
        with blamed_on(f"`amplitude` of {owner}"):
            amplitude = physics.amplitude(x, t)
        if not isinstance(amplitude, (int, float)) and not _fits(amplitude, x, padded=False):
            got = _got(amplitude, x)
            raise ValueError(f"`amplitude` of {owner} {wanted}, got {got}; give one number per component.")
        return
    remedy = "take the times alone, self first; for noise that depends on the state see Multiplicative"
    check_function(physics.diffusion, f"`diffusion` of {owner}", "(t) -> g", remedy)
    with blamed_on(f"`diffusion` of {owner}"):
        g = physics.diffusion(t)
    if not _fits(g, x, padded=True):
        got = _got(g, x)
        raise ValueError(
            f"`diffusion` of {owner} must return (batch,), (batch, components) or a float, got {got}; give g for each "
            "time."
        )


def _fits(g: Any, x: Tensor, *, padded: bool) -> bool:
    """Whether an amplitude of noise multiplies states, with axes added on the right or with as many as they have."""
    try:
        return (expand(g, x) * x).shape == x.shape and (padded or g.ndim == x.ndim)
    except (AttributeError, RuntimeError, TypeError):
        return False


def _got(g: Any, x: Tensor) -> str:
    """An amplitude of noise in words."""
    return _batched(tuple(g.shape), x) if isinstance(g, Tensor) else repr(g)


def _shape(value: object, name: str, x: Tensor) -> tuple[int, ...]:
    """The shape of what a part of an equation returns, which must be a tensor."""
    if not isinstance(value, Tensor):
        wanted = f"must return a tensor {joined(x.shape[1:])}"
        raise ValueError(f"{name} {wanted}, got {describe(value)}; compute with torch, and return the result.")
    return tuple(value.shape)


def _batched(shape: tuple[int, ...], x: Tensor) -> str:
    """A shape in words, with the number of states called ``batch`` where it comes first."""
    return joined(shape[1:]) if shape and shape[0] == len(x) else str(shape)
