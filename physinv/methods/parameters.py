"""Unknown parameters before the state: fitted beside any method, drawn first, and handed to it with the observation."""

from __future__ import annotations

__all__ = ["SHARE", "draws_parameters", "fit_parameters", "joint_samples", "load_parameters"]

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seeds, seeds
from physinv.equations.sde import Linear
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup
from physinv.models.jumps.parameters import ParameterKernel, empty_parameter_kernel, fit_parameter_kernel
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying
from physinv.training.jump_pairs import ENOUGH
from physinv.training.sensors.process import Sensed, TellsParameters

SHARE = 0.2
"""Share of a budget of training that the law of the parameters takes."""

_BATCH, _READ, _RATE, _PAIRS = 512, 128, 3e-3, 2**15  # _READ: rows of a batch where whole fields are read
_NUMBERS, _FEWEST, _MOST = 2**23, 512, 2**14  # in the first states of a round, and trajectories in it
_UNSEEN, _TIMES = 2**19, 4  # numbers in states made anew that the width is fitted to, and times the validation states
_STORED = 2000  # trajectories from which on the stored ones are the first round, of nonlinear fields seen in summary


def fit_parameters(problem: Problem) -> ParameterKernel | None:
    """Train the law of the unknown parameters given a final state.

    Args:
        problem: The process, its data, and the budget for this alone.

    Returns:
        The kernel; None where no parameter is unknown.

    Raises:
        NotApplicableError: If the physics is to be learned, so that there are no parameters to find.
    """
    process, told = problem.simulator, _told(problem.simulator)
    if told is None:
        return None
    if problem.settings.physics == "learned":
        raise NotApplicableError("unknown parameters need known physics; leave `physics` = learned out.")
    stream = seeds(problem.seed).child("parameters")
    problem.say("fit of the parameters")
    several = _several(process)  # all stored times are needed then, else the first and the last
    last = len(problem.train.times) - 1 if several else 1
    kernel = fit_parameter_kernel(told, problem.train, seed=stream, last=last).to(problem.device)
    left: dict[str, Any] = {
        "batch": _BATCH if kernel.reader is None else _READ,
        "rate": _RATE,
        "validate_windows": max(64, _PAIRS // math.prod(process.shape)),
    }
    if problem.settings.fresh == "auto":
        left["fresh"] = "states" if process.spin_up_time == 0 else "noise"
    settings = problem.settings.model_copy(update=left | {"windows": (2,)})
    rows, stored = min(max(_NUMBERS // math.prod(process.shape), _FEWEST), _MOST), problem.train.n_trajectories
    single = type(told) is Varying and not isinstance(told.inner, Linear)  # heat became worse by both of what follows
    if single and told.layout.space and stored >= _STORED and kernel.reader is None:  # and Burgers in 1-D by this
        rows = min(rows, int(stored / ENOUGH))
    ends = problem if several else replace(problem, train=problem.train.ends(), valid=problem.valid.ends())
    ends.minimise_jumps(kernel, process, settings, stream=stream, rows=rows)
    if settings.fresh != "states":
        kernel.finish(problem.valid, seed=stream)
    elif single:
        kernel.finish(problem.valid, seed=stream, more=_unseen(problem, stream.child("unseen")))
    return kernel.eval()


@torch.no_grad()
def _unseen(problem: Problem, stream: Seeds) -> Float[Tensor, "n *state"]:
    """Final states made anew: a round is seen about a hundred times, and learned by heart in part."""
    process, times, generator = problem.simulator, problem.train.times[[0, -1]], stream.generator(problem.device)
    count = min(max(_UNSEEN // math.prod(process.shape), 1), _TIMES * problem.valid.n_trajectories)
    states = process.run(process.initial(count, generator=generator, device=problem.device), times, generator=generator)
    states = states[states.isfinite().flatten(1).all(1)]
    if problem.observed is not None:
        states = problem.observed.estimated(states, generator=generator)
    return states[:, -1]


def load_parameters(setup: Setup, tensors: Mapping[str, Tensor]) -> ParameterKernel | None:
    """Load what :func:`fit_parameters` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The kernel; None where no parameter is unknown.
    """
    told = _told(setup.simulator)
    if told is None:
        return None
    last = len(setup.times) - 1 if _several(setup.simulator) else 1
    reads = any(name.startswith("reader.") for name in tensors)  # runs of earlier versions do not
    kernel = empty_parameter_kernel(told, seed=seeds(setup.seed).child("parameters"), last=last, reads=reads)
    kernel.load_state_dict(dict(tensors))
    return kernel.to(setup.device).eval()


def _told(process: Simulator) -> Varying | None:
    """What the law of the unknown parameters looks at; None where none is unknown."""
    if not isinstance(process, Varying) or not process.unknown:
        return None
    if not isinstance(process, Sensed) or not isinstance(process.inner, Varying):
        return process
    own = {f.name: getattr(process, f.name) for f in fields(process)}
    return TellsParameters(**own | {"priors": process.inner.priors})


def _several(process: Simulator) -> bool:
    """Whether parameters are told by sensors, whose times are numbers of stored ones."""
    return isinstance(process, Sensed)


def draws_parameters(answer: Answer) -> bool:
    """Return whether an answer draws unknown parameters together with states, and needs none to be given.

    Args:
        answer: The answer; one that does has an attribute ``joint``.
    """
    return bool(getattr(answer, "joint", False))


def joint_samples(
    kernel: ParameterKernel,
    sample: Callable[[Tensor], Tensor],
    final: Float[Tensor, "batch *state"],
    n: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """Draw parameters given final states, then initial states given both.

    Args:
        kernel: The law of the parameters.
        sample: Draws one initial state for each final state with parameters.
        final: Final states; their static parts of the parameters do not count.
        n: Draws for each of them.
        generator: Source of randomness.

    Returns:
        Initial states, whose static parts are the parameters.
    """
    seen = kernel.draw(final.repeat_interleave(n, dim=0), generator=generator)
    process = kernel.process
    drawn = process.joined(process.state(sample(seen)), process.values(seen))
    return drawn.reshape(len(final), n, *drawn.shape[1:])
