"""Where chains of paths begin: around minima, or at samples of another method; and which processes have records."""

from __future__ import annotations

__all__ = ["HIGH", "around_minima", "around_samples", "observable", "rescued", "seen_process", "starts"]

from collections.abc import Sequence
from dataclasses import fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord, as_record
from physinv.methods.classical.monte_carlo.laplace import Laplace, descend, integrate_late, linearise, newton
from physinv.methods.classical.monte_carlo.path import PathModel, PathObjective, values
from physinv.methods.classical.monte_carlo.unknown.bent import bent
from physinv.methods.problem import NotApplicableError
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying, with_observed_noise

HIGH = 15.0
"""Nats above the best minimum at which another one counts for nothing."""

_WIDER = 1.2  # how much wider than Laplace's approximation the chains begin
_DESCENTS = 3  # Gauss-Newton steps from each start
_CENTRING = 5  # such steps from the mean of samples
_TOLD = 0.1  # variance of the prior over that of the noise, in directions of which an observation tells something


def observable(
    simulator: Simulator, observed: ObservationRecord | Observation, *, joint: bool = False
) -> ObservationRecord:
    """Return the record of what is observed of a process, or refuse it.

    Args:
        simulator: The process.
        observed: A record, or one observation of the final state.
        joint: Whether the method draws unknown parameters and an unknown level of the noise together with the state.

    Returns:
        The record, whose operators take states of the process; where parameters are unknown, without these.

    Raises:
        ValueError: If an operator fails for such states.
        NotApplicableError: For processes with static channels, which noisy numbers do not tell, and for unknowns that
            the method does not draw.
    """
    record = as_record(observed, float(simulator.horizon))
    if simulator.unknown and not joint:
        told = ", ".join(simulator.unknown)
        raise NotApplicableError(f"the parameters must be known, {told} is not; take mcmc.")
    if record.level is not None and not joint:
        raise NotApplicableError("the noise must be known; take mcmc, importance or exact, which draw its level.")
    inner = simulator.inner if isinstance(simulator, Varying) else simulator
    if inner.layout.static:
        raise NotApplicableError("the static channels must be seen; give the whole final state.")
    record.sizes(torch.zeros(1, *inner.shape))
    return record.through(simulator.state) if isinstance(simulator, Varying) else record


def seen_process(simulator: Simulator, record: ObservationRecord | None) -> Simulator:
    """Return the process whose states are drawn: given a record of unknown noise, with its level as a static part.

    Args:
        simulator: The process.
        record: What is seen of it; None: whole final states.
    """
    return simulator if record is None or record.level is None else with_observed_noise(simulator, record.level)


def starts(
    model: PathModel, like: Float[Tensor, "batch *state"], generator: torch.Generator | None = None
) -> list[Float[Tensor, "batch *state"]]:
    """Return initial states from which minima are sought: the mean of the prior, and a draw from it.

    Args:
        model: Coordinates of the paths.
        like: States of the batch, precision and device in question.
        generator: Source of the draw.

    Returns:
        Two states for each row.
    """
    drawn = model.law.draw(model.simulator, len(like), generator=generator, device=like.device, dtype=like.dtype)
    return [model.initial(like.new_zeros((len(like), model.law.numbers)), like), drawn]


def around_minima(
    objective: PathObjective,
    candidates: Sequence[Float[Tensor, "batch *state"]],
    chains: int,
    late: float,
    *,
    generator: torch.Generator | None = None,
) -> tuple[PathObjective, Laplace, Float[Tensor, "batch chains D"]]:
    """Return chains that begin around minima, wider apart than the posterior.

    Args:
        objective: Minus the log density of paths, one row for each observation.
        candidates: Initial states from which minima are sought.
        chains: Chains for each observation.
        late: Share of the steps, the last ones, whose noise is integrated out.
        generator: Source of randomness.

    Returns:
        The objective without that noise, Laplace's approximation at the better minimum, and where chains begin in its
        coordinates.
    """
    law, minima = objective.model.law, []
    for start in candidates:
        u = law.standardise(start)
        rest = u.new_zeros((len(u), objective.numbers - u.shape[1]))
        minima.append(descend(objective, torch.cat([u, rest], 1), _DESCENTS))
    heights = torch.stack([values(objective, m.centre) + (1 + m.squares).log().sum(1) / 2 for m in minima])
    reference = _better(minima, heights.argmin(0))

    # Chains begin around the minima in turn, wider than the approximation in x_0, with noise that fits; not around a
    # minimum so high that next to nothing of the posterior is there.
    paths = []
    for i in range(chains):
        k = i % len(minima)
        low = (heights[k] < heights.amin(0) + HIGH).long()
        near = _better([reference, minima[k]], low)
        c = near.centre
        z = torch.randn(c.shape, generator=generator, dtype=c.dtype, device=c.device)
        u = c + _WIDER * near.power(z[:, None], 0.5)[:, 0]
        paths.append(near.given(u[:, None, : near.first], generator=generator)[:, 0])
    return _chains(objective, reference, torch.stack(paths, 1), late)


def around_samples(
    objective: PathObjective,
    samples: Float[Tensor, "batch chains *state"],
    late: float,
    *,
    generator: torch.Generator | None = None,
) -> tuple[PathObjective, Laplace, Float[Tensor, "batch chains D"]]:
    """Return chains that begin at samples of another method.

    Args:
        objective: Minus the log density of paths, one row for each observation.
        samples: Initial states; those that are not finite begin at the mean of the others.
        late: Share of the steps, the last ones, whose noise is integrated out; 1: all noise.
        generator: Source of the noise on the way, where it is not integrated out.

    Returns:
        The objective without that noise, Laplace's approximation a few Gauss-Newton steps from the mean of the samples,
        and where chains begin in its coordinates.
    """
    u = objective.model.law.standardise(samples.flatten(0, 1)).reshape(*samples.shape[:2], -1)
    finite = u.isfinite().all(2, keepdim=True)
    mean = torch.where(finite, u, 0.0).sum(1) / finite.sum(1).clamp(min=1)
    u = torch.where(finite, u, mean[:, None])

    # The centre, all noise on the way integrated out.
    rest = u.new_zeros((len(u), objective.numbers - u.shape[2]))
    for _ in range(_CENTRING):
        near = linearise(objective, torch.cat([mean, rest], 1))
        mean = newton(*integrate_late(objective, near, 1.0))[:, : u.shape[2]]
    reference = linearise(objective, torch.cat([mean, rest], 1))
    if late < 1 or _unknown(objective):  # noise that stays has a minimum, too, and is drawn given each sample
        reference = linearise(objective, newton(objective, reference))
        return _chains(objective, reference, reference.given(u, generator=generator), late)
    some, reference = integrate_late(objective, reference, late)
    return some, reference, _calmed(reference, reference.whiten(u))


def rescued(
    xi: Float[Tensor, "batch chains D"], level: Float[Tensor, "batch chains"], low: Bool[Tensor, "batch chains"]
) -> Float[Tensor, "batch chains D"]:
    """Return chains, those that are not low replaced by the lowest of their observation.

    Args:
        xi: The chains.
        level: How high they are, in nats.
        low: Which are low enough.
    """
    best = xi[torch.arange(len(xi), device=xi.device), level.argmin(1)]
    return torch.where(low[..., None], xi, best[:, None])


def _calmed(reference: Laplace, xi: Tensor) -> Tensor:
    """Chains whose size is at most that of draws in all directions of which the observation tells nothing.

    Samples of a network have a little of everything there, which may be many deviations of a smooth prior.
    """
    seen = (reference.squares > _TOLD).to(xi)
    told = torch.bmm(torch.bmm(xi, reference.rows.mT) * seen[:, None], reference.rows)
    rest, count = xi - told, (xi.shape[2] - seen.sum(1)).clamp(min=1)
    size = rest.square().sum(2).div(count[:, None]).sqrt().clamp(min=1)
    return told + rest / size[..., None]


def _chains(
    objective: PathObjective, reference: Laplace, paths: Tensor, late: float
) -> tuple[PathObjective, Laplace, Tensor]:
    """The noise of the last steps is integrated out, and coordinates follow unknown parameters."""
    if not _unknown(objective):
        some, reference = integrate_late(objective, reference, late)
        return some, reference, reference.whiten(paths[:, :, : some.numbers])
    some, reference = bent(objective, reference, late)
    flat = paths[:, :, : some.numbers]
    shift = some.repeated(paths.shape[1]).shifted(flat.flatten(0, 1)).reshape(flat.shape) - flat
    return some, reference, reference.whiten(flat - shift)


def _unknown(objective: PathObjective) -> bool:
    """Whether paths have unknown parameters, or an unknown noise, among their coordinates."""
    return objective.model.law.numbers > objective.model.law.gaussian.mean.numel()


def _better(found: list[Laplace], best: Tensor) -> Laplace:
    """The approximation of each observation that is called the best."""

    def chosen(name: str) -> Tensor:
        parts = torch.stack([getattr(m, name) for m in found])
        return parts[best, torch.arange(len(best), device=best.device)]

    if len(found) == 1:
        return found[0]
    return Laplace(**{f.name: chosen(f.name) for f in fields(Laplace) if f.name != "first"}, first=found[0].first)
