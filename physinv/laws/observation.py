"""Partial, noisy observations of the final state, ``y = H x_T + sigma n`` with white noise ``n``.

Observations at several times are records (:mod:`physinv.laws.record`).  ``H`` is any linear function of batched states
(:mod:`physinv.laws.operators` has the usual ones).  Gaussian laws are conditioned on observations by dense algebra in
observation space: matrices of ``seen x seen`` and ``seen x state`` numbers, up to some 2000 observed numbers.
"""

from __future__ import annotations

__all__ = [
    "Observation",
    "Operator",
    "check_finite",
    "check_linear",
    "displayed_state",
    "jacobian",
    "linearised",
    "seen_components",
    "shown",
]

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from physinv.config.failures import blamed_on
from physinv.config.inputs import Numbers, States, as_states, as_tensor, check_function, check_generator, describe
from physinv.equations.broadcast import alike_alone

_HELD = torch.finfo(torch.float32)
_SHOWN_TO, _SHOWN_AFTER = 1e-6, 200  # error of a displayed state, and the most steps to it

Operator = Callable[[Tensor], Tensor]
"""``(batch, *state) -> (batch, *seen)``, on each state of the batch by itself; exact answers need linear ones."""


@dataclass(frozen=True, init=False)
class Observation:
    """An observation with white noise, ``p(y | x) = N(y; H(x), sigma^2 I)``.

    Args:
        operator: ``H``, a function of batched states, or a matrix ``(seen, numbers)`` that acts on flattened states.
            Exact answers, and two-stage draws of a run, need a linear one; Monte Carlo takes any.
        noise: Standard deviation ``sigma``, in the unit of the observed numbers.

    Raises:
        ValueError: If ``noise`` is not positive and finite, or ``operator`` is neither function nor matrix.

    Example:
        >>> first = Observation(lambda x: x[:, :1], noise=0.5)
        >>> first.score(torch.tensor([[1.0]]), torch.tensor([[0.0, 3.0]]))
        tensor([[4., 0.]])
    """

    operator: Operator
    noise: float

    def __init__(self, operator: Operator | Float[Tensor, "seen numbers"] | NDArray[Any], noise: float) -> None:
        if not (isinstance(noise, Real) and _HELD.tiny <= float(noise) <= _HELD.max):
            remedy = "float32 holds 1e-38 to 3e38, for exact data take 1e-3 of their size"
            if not isinstance(noise, Real):
                remedy = "give Observation(operator, noise) with one number for all that is seen"
            got = noise if isinstance(noise, Real) else describe(noise)
            raise ValueError(f"`noise` must be positive and finite, got {got}; {remedy}.")
        if callable(operator):
            check_function(operator, "operator", "(x) -> seen", "give a function of batched states, or a matrix")
        object.__setattr__(self, "operator", operator if callable(operator) else _Matrix(operator))
        object.__setattr__(self, "noise", float(noise))

    def observe(self, x: States, *, generator: torch.Generator | None = None) -> Float[Tensor, "batch *seen"]:
        """Draw an observation ``y = H x + sigma n`` of each state.

        Args:
            x: States.
            generator: Source of randomness, on the device of ``x``.

        Returns:
            Observed numbers ``(batch, *seen)``.

        Raises:
            ValueError: If the operator makes no numbers for each state.
        """
        check_generator(generator)
        x = as_states(x, "x")
        clean = shown(self.operator, x)
        check_finite(clean, x)
        n = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
        return clean + self.noise * n

    def log_prob(self, y: Numbers, x: States) -> Float[Tensor, " batch"]:
        """Return the log-likelihood ``log p(y | x)``.

        Args:
            y: Observed numbers, ``(batch, *seen)``.
            x: One state for each observation.

        Raises:
            ValueError: If there are not as many numbers as the operator makes of the states.
        """
        y, x = as_tensor(y, "y"), as_states(x, "x")
        n = (_gap(y, shown(self.operator, x)) / self.noise).flatten(1)
        return -n.square().sum(1) / 2 - n.shape[1] * math.log(math.sqrt(2 * math.pi) * self.noise)

    def covariance(self, rows: Float[Tensor, "seen *state"]) -> Float[Tensor, "seen seen"]:
        """Return the covariance ``sigma^2 I`` of the noise.

        Args:
            rows: The operator as a matrix (:func:`jacobian`), from which size, dtype and device are taken.
        """
        rows = as_tensor(rows, "rows")
        return self.noise**2 * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)

    def score(self, y: Numbers, x: States) -> Float[Tensor, "batch *state"]:
        """Return the score of the likelihood, ``grad_x log p(y | x) = H^T (y - H x) / sigma^2``.

        Args:
            y: Observed numbers, ``(batch, *seen)``.
            x: One state for each observation.

        Raises:
            ValueError: If there are not as many numbers as the operator makes of the states.
        """
        y, x = as_tensor(y, "y"), as_states(x, "x")
        clean, adjoint = linearised(self.operator, x)
        return adjoint(_gap(y, clean) / self.noise**2)


class _Matrix:
    """A matrix as an operator on flattened states."""

    def __init__(self, matrix: Any) -> None:
        if isinstance(matrix, str):
            told = f"got {describe(matrix)}; named({matrix!r}, noise, shape) of physinv.laws.operators makes one"
            raise ValueError(f"`operator` must be a function of states or a matrix, {told}.")
        self.matrix = as_tensor(matrix, "operator")
        if self.matrix.ndim != 2:
            raise ValueError(
                f"`operator` must be a function of states or a matrix (seen, numbers), got {describe(matrix)}; "
                "give it two axes."
            )
        if not len(self.matrix) or not bool(self.matrix.isfinite().all()):
            told = "NaN or infinity" if len(self.matrix) else "none"
            raise ValueError(f"`operator` must be a matrix of one or more rows of finite numbers, got {told}.")

    def __call__(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        if flat.shape[1] != self.matrix.shape[1]:
            raise ValueError(
                f"`operator` must have as many columns as a state has numbers, {flat.shape[1]}, got a matrix of shape "
                f"{tuple(self.matrix.shape)}; is it transposed?"
            )
        return flat @ self.matrix.to(flat).T


def shown(operator: Operator, x: Float[Tensor, "batch *state"], name: str = "`operator`") -> Float[Tensor, "batch ..."]:
    """Return what is seen of states without noise, or say in one line why an operator is not one.

    Args:
        operator: A function of batched states, linear or not.
        x: States.
        name: What to call it in messages.

    Returns:
        ``(batch, *seen)``.

    Raises:
        ValueError: If it fails for such states, does not return numbers for each of them, or mixes states.
    """

    def seen(some: Tensor) -> Tensor:
        with blamed_on(f"{name} must take states of shape {tuple(x.shape[1:])}, and"):
            found: Any = operator(some)
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(some):
            flat = isinstance(found, Tensor) and tuple(found.shape) == (len(some),)
            remedy = "index with x[:, :1], not x[:, 0]" if flat else "let it keep the first axis"
            told = f"must return a tensor ({len(some)}, *seen) for {len(some)} states"
            raise ValueError(f"{name} {told}, got {describe(found)}; {remedy}.")
        if found.dtype != x.dtype:
            told = f"got {describe(found)} of {found.dtype}; add .to(x)"
            raise ValueError(f"{name} must return numbers of the precision of the states, {told}.")
        if not found.numel():
            raise ValueError(f"{name} must see at least one number of each state, got shape {tuple(found.shape)}.")
        return found

    if not len(x):
        raise ValueError(f"{name} needs one state or more to see something of, got none.")
    _check_alone(seen, x[:2].expand(2, *x.shape[1:]), name)
    return seen(x)


@torch.no_grad()
def _check_alone(seen: Operator, pair: Tensor, name: str) -> None:
    """Refuse an operator that changes states, or whose value for one depends on others of a batch, or on chance."""
    given = pair.clone()
    seen(given)
    if not torch.equal(given.nan_to_num(), pair.nan_to_num()):
        raise ValueError(f"{name} must leave the states as they are; compute without `x *=` and such.")
    if not alike_alone(seen, pair):
        raise ValueError(
            f"{name} must see each state of a batch by itself and always in the same way, it sees the first of two "
            "differently alone; keep the first axis out of means and sums, as in x.mean(1, keepdim=True)."
        )


def check_finite(clean: Float[Tensor, "batch *seen"], x: Float[Tensor, "..."], name: str = "`operator`") -> None:
    """Raise ValueError where an operator makes NaN or infinity of states that hold none.

    Args:
        clean: What is seen without noise.
        x: The states.
        name: What to call the operator in messages.

    Raises:
        ValueError: If it does.
    """
    if not bool(clean.isfinite().all()) and bool(x.isfinite().all()):
        raise ValueError(f"{name} must return finite numbers for finite states, got NaN or infinity.")


@torch.no_grad()
def check_linear(operator: Operator, like: Float[Tensor, "1 *state"], name: str = "`operator`") -> None:
    """Raise ValueError unless an operator is linear, and torch can differentiate it: its derivative is then itself.

    Args:
        operator: A function of batched states.
        like: A state of the shape in question.
        name: What to call it in messages.

    Raises:
        ValueError: If it is no operator, is not linear, or is hidden from torch, by ``detach``, ``round`` or NumPy say.
    """
    places = torch.linspace(0.5, 3.0, like.numel(), dtype=like.dtype, device=like.device)
    x = places.sin().reshape(like.shape)  # neither constant nor of one sign nor near 0
    value = shown(operator, x - 0.4, name)
    if not math.isfinite(size := float(value.abs().max())):
        raise ValueError(f"{name} must return finite numbers for finite states, got {size}.")
    if not size:
        raise ValueError(f"{name} must see something of the state, and this one returns 0; leave it out.")
    if not torch.allclose(operator(-2 * (x - 0.4)), -2 * value, rtol=1e-3, atol=1e-4 * size):
        told = "if a constant is added, subtract it from y and from it; else take method mcmc, which needs none"
        raise ValueError(f"{name} must be linear, and this one is not; {told}.")
    w = torch.linspace(0.5, 3.0, value.numel(), dtype=value.dtype, device=value.device).cos().reshape(value.shape)
    told = f"{name} must be differentiable by torch, and its derivative is not what it does"
    remedy = "use torch alone, without detach, round, no_grad or NumPy"
    try:
        slope = linearised(operator, torch.zeros_like(like))[1](w)
    except RuntimeError as error:
        raise ValueError(f"{told}; {remedy}.") from error
    both = float((slope * (x - 0.4)).double().sum()), float((w * value).double().sum())
    if not math.isclose(*both, rel_tol=1e-3, abs_tol=1e-3 * float((w * value).abs().sum())):
        raise ValueError(f"{told}; {remedy}.")


def jacobian(operator: Operator, at: Float[Tensor, "1 *state"]) -> Float[Tensor, "seen *state"]:
    """Return the derivative of an operator at a state; for a linear operator, its matrix.

    Args:
        operator: Observation operator.
        at: The state.

    Returns:
        One row of the shape of a state for each observed number.

    Example:
        >>> jacobian(lambda x: x.sum(1, keepdim=True), torch.zeros(1, 3))
        tensor([[1., 1., 1.]])
    """
    seen = operator(at).shape[1:]
    number = math.prod(seen)
    adjoint = linearised(operator, at.expand(number, *at.shape[1:]))[1]
    return adjoint(torch.eye(number, dtype=at.dtype, device=at.device).reshape(number, *seen))


def linearised(operator: Operator, at: Float[Tensor, "batch *state"]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the value of an operator, and its transposed derivative there.

    Args:
        operator: Observation operator.
        at: States.

    Returns:
        ``(batch, *seen)``, and a function of ``(batch, *seen)`` to ``(batch, *state)``.
    """
    value, adjoint = torch.func.vjp(operator, at)[:2]
    return value, lambda v: adjoint(v)[0]


def seen_components(observation: Observation, like: Float[Tensor, "*state"]) -> Bool[Tensor, "*state"]:
    """Return which components of a state the observed numbers depend on.

    Args:
        observation: Linear operator.
        like: A state of the shape in question.

    Example:
        >>> seen_components(Observation(lambda x: x[:, :1], noise=0.5), torch.zeros(2))
        tensor([ True, False])
    """
    return (jacobian(observation.operator, torch.zeros_like(like)[None]) != 0).flatten(0, -like.ndim - 1).any(0)


def displayed_state(observation: Observation, y: Float[Tensor, "batch *seen"], shape: tuple[int, ...]) -> Tensor:
    """Return the state of least norm that is observed as ``y``, ``H^+ y``, for figures.

    Args:
        observation: Linear operator ``H``; its noise plays no part.
        y: Observed numbers.
        shape: Shape of one state.

    Returns:
        States ``(batch, *shape)``.

    Example:
        >>> first = Observation(lambda x: x[:, :1], noise=0.5)
        >>> displayed_state(first, torch.tensor([[2.0]]), (2,))
        tensor([[2., 0.]])
    """
    # Conjugate gradients from 0 stay among the states that the operator sees, where the least norm is. They need no
    # matrix, which of a field of a hundred points along each axis would take gigabytes and hours.
    nothing, least = y.new_zeros(len(y), *shape), torch.finfo(y.dtype).tiny
    adjoint, offset = linearised(observation.operator, nothing)[1], observation.operator(nothing)

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1)

    def times(size: Tensor, x: Tensor) -> Tensor:
        return size.reshape(-1, *[1] * (x.ndim - 1)) * x

    gap = y.reshape(offset.shape) - offset
    unit = gap.abs().flatten(1).amax(1).clamp(min=least)  # squares are numbers in float32, whatever the unit of y
    state, gap = nothing, times(1 / unit, gap)
    gradient = direction = adjoint(gap)
    left = product(gradient, gradient)
    aim = (left * _SHOWN_TO**2).clamp(min=least)
    for _ in range(min(gap[:1].numel(), _SHOWN_AFTER)):
        if not bool((left > aim).any()):
            break
        seen = observation.operator(direction) - offset
        size = torch.where(left > aim, left / product(seen, seen).clamp(min=least), 0.0)
        state, gap = state + times(size, direction), gap - times(size, seen)
        gradient, before = adjoint(gap), left
        left = product(gradient, gradient)
        direction = gradient + times(left / before.clamp(min=least), direction)
    return times(unit, state)


def _gap(y: Tensor, clean: Tensor) -> Tensor:
    """Observed numbers minus those without noise, where there are as many: nothing is broadcast."""
    if y.shape != clean.shape:
        raise ValueError(
            f"`y` must have shape {tuple(clean.shape)}, what `operator` makes of `x`, got {tuple(y.shape)}; "
            "give one state for each observation."
        )
    return y - clean
