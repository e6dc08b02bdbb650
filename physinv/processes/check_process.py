"""Check what the class of a process gives: parameters as fields, and initial states that a generator draws."""

from __future__ import annotations

__all__ = ["check_draws", "check_fields", "check_process", "draw_initial"]

import dataclasses
import inspect
import math
import time
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.failures import blamed_on
from physinv.config.inputs import describe, joined
from physinv.config.suggest import did_you_mean
from physinv.equations.broadcast import alike_alone
from physinv.equations.check_sde import check_shapes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from physinv.processes.simulator import Simulator

_DEAR = 1.0  # seconds for two states, from which on initial states are simulated, and not drawn again
_NUMBERS = 64  # that are drawn again: as many of a law of two values agree by chance once in 2^64 times


def check_fields(cls: type[Any], base: type[Any], given: Iterable[str] = ()) -> None:
    """Refuse a class whose parameters are no fields, and names that are no parameters.

    Args:
        cls: The class of a process.
        base: The class that all processes are derived from.
        given: Names of the arguments that it is called with.

    Raises:
        ValueError: If ``@dataclass(frozen=True)`` is missing above it, or above a class that it is derived from.
        TypeError: If there is no such parameter.
    """
    for part in cls.__mro__[: cls.__mro__.index(base)]:
        if "__dataclass_fields__" in vars(part) or not issubclass(part, base):
            continue
        told = [
            name for name, kind in vars(part).get("__annotations__", {}).items() if _is_field(cls, part, name, kind)
        ]
        if told or "__init__" in vars(part):
            about = f"that `{told[0]}` is a parameter" if told else "that its parameters are fields, without `__init__`"
            raise ValueError(
                f"`{part.__name__}` must be a dataclass; put @dataclass(frozen=True) above it, so {about}."
            )
    known = [field.name for field in dataclasses.fields(cls)]
    for name in given:
        if name not in known and name not in inspect.signature(cls.__init__).parameters:
            raise TypeError(f"{cls.__name__} has no parameter `{name}`; {did_you_mean(name, known, owner='it has')}")


def draw_initial(
    simulator: Simulator,
    batch: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "batch *state"]:
    """Draw initial states, and refuse those that are none.

    Args:
        simulator: The process.
        batch: Number of states.
        generator: Source of the random numbers, on ``device``.
        device: Where the states are made.
        dtype: Precision of the states.

    Returns:
        Initial states.

    Raises:
        ValueError: If ``initial`` takes other arguments, or returns no tensor, or one of another shape than ``layout``
            says.
    """
    owner = type(simulator).__name__
    options: dict[str, Any] = {"generator": generator, "device": device, "dtype": dtype}
    try:
        with blamed_on(f"`initial` of {owner}"):
            x = simulator.initial(batch, **options)
    except ValueError as error:  # of the call, or of something in it
        if not isinstance(error.__cause__, TypeError):
            raise
        taken = inspect.signature(simulator.initial)
        try:
            taken.bind(batch, **options)
        except TypeError:
            got = ", ".join(str(p).partition(":")[0] for p in taken.parameters.values())
            wanted = "(batch, *, generator=None, device=None, dtype=torch.float32)"
            raise ValueError(f"`initial` of {owner} must take {wanted}, got ({got}).") from None
        raise
    wanted = joined(simulator.shape)
    if not isinstance(x, Tensor):
        remedy = "draw with torch, from `generator`, and return the result"
        raise ValueError(f"`initial` of {owner} must return a tensor {wanted}, got {describe(x)}; {remedy}.")
    shape = tuple(x.shape)
    if shape[1:] != simulator.shape:
        raise ValueError(f"`initial` of {owner} must return {wanted}, as `layout` says, got {shape}; change one.")
    if len(x) != batch:
        raise ValueError(f"`initial` of {owner} must return {batch} states, as many as `batch` says, got {len(x)}.")
    return x.to(dtype)


def check_process(simulator: Simulator, x: Float[Tensor, "batch *state"]) -> None:
    """Refuse parts that do not fit the states: drift and diffusion, where the process takes the steps of a solver.

    Args:
        simulator: The process.
        x: Some of its states.

    Raises:
        ValueError: If drift, diffusion or a part of its own kind do not fit, or the drift is infinite where the process
            begins; one line says which.
    """
    simulator.check_parts(x)
    if simulator.step is simulator.scheme:
        start = x.new_zeros(len(x))
        check_shapes(simulator, x, start)
        if bool(x.isfinite().all()) and not bool(simulator.drift(x, start).isfinite().all()):
            owner = type(simulator).__name__
            told = "must be finite at t = 0 in the initial states, got infinity or NaN"
            raise ValueError(
                f"`drift` of {owner} {told}; no step is short enough for it: change a parameter, begin elsewhere, or "
                "bound it."
            )


def check_draws(simulator: Simulator) -> None:
    """Refuse a process whose trajectories do not come from the generator alone, where it costs nothing to draw some.

    A dataset of them could not be made again, or would hold the same states in each of its parts.

    Args:
        simulator: The process.

    Raises:
        ValueError: If one seed gives different states, two seeds the same states that differ among themselves, a state
            is not finite, or ``drift`` depends on chance or on the other states of a batch.
    """
    if simulator.spin_up_time > 0:
        return
    n = max(2, _NUMBERS // math.prod(simulator.shape))
    begun = time.perf_counter()
    first = draw_initial(simulator, n, generator=torch.Generator().manual_seed(0))
    if time.perf_counter() - begun > _DEAR:
        return
    again, other = (draw_initial(simulator, n, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    owner, remedy = type(simulator).__name__, "draw by functions of torch, and give `generator` to each"
    if not bool(first.isfinite().all()):
        raise ValueError(
            f"`initial` of {owner} must draw finite numbers, got NaN or infinity; change a parameter, or mend it."
        )
    if not torch.equal(first, again):
        raise ValueError(f"`initial` of {owner} must draw the same states from the same generator; {remedy}.")
    if torch.equal(first, other) and not torch.equal(first, first[:1].expand_as(first)):
        raise ValueError(
            f"`initial` of {owner} must draw other states from another generator, or training and test data are the "
            f"same; {remedy}."
        )
    if simulator.step is simulator.scheme:
        _check_alone(simulator, first[:2])


@torch.no_grad()
def _check_alone(simulator: Simulator, x: Tensor) -> None:
    """Refuse a drift whose value for a state depends on the other states of a batch, or on chance."""
    if torch.equal(x[0], x[1]):  # all begin alike, and noise takes them apart
        x = simulator.run(x, simulator.times[:2], generator=torch.Generator().manual_seed(0))[:, -1]
    check_shapes(simulator, x, x.new_zeros(len(x)))
    with blamed_on(f"`drift` of {type(simulator).__name__}"):  # alone it may fail, as `x[1]` for `x[:, 1]` does
        alike = alike_alone(lambda some: simulator.drift(some, some.new_zeros(len(some))), x)
    if not alike:
        raise ValueError(
            f"`drift` of {type(simulator).__name__} must see each state of a batch by itself, and draw no noise: the "
            "first of two states has another one alone; keep the first axis out of means and sums."
        )


def _is_field(cls: type, part: type, name: str, kind: Any) -> bool:
    """Whether an annotation was meant as a parameter, in a class that is no dataclass and that another is derived from.

    Without a value it declares what the derived class has.
    """
    if "ClassVar" in str(kind):
        return False
    if name not in vars(part):
        return not hasattr(cls, name) and name not in (field.name for field in dataclasses.fields(cls))
    return isinstance(vars(part)[name], (dataclasses.Field, Real, str))
