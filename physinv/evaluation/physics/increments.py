"""Does a given physics explain the increments of data?  Normalised residuals of every stored step, by channel."""

from __future__ import annotations

__all__ = ["ChannelCheck", "check_physics", "fit_noise", "physics_warnings"]

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation.physics.residual import normalised_gap
from physinv.processes.given import GivenPhysics

_ROWS = 256  # trajectories that suffice
_MEAN, _VARIANCE, _MEMORY, _EXPLAINED = 0.1, (0.5, 2.0), 0.2, 0.5  # what counts as noise, and as explained
_LEAST = 1e-4  # of the rms of the increments: the smallest noise that is fitted


@dataclass(frozen=True)
class ChannelCheck:
    """What a physics leaves unexplained of one channel, or of all components of a vector.

    Args:
        name: Name of the channel.
        mean: Mean of the normalised residuals; 0 for the right physics.
        variance: Their mean square; 1 for the right physics and noise.
        autocorrelation: Their correlation from one stored step to the next; 0 for the right physics.
        explained: Share of the mean square increment that the physics without noise explains, at most 1.
    """

    name: str
    mean: float
    variance: float
    autocorrelation: float
    explained: float


@torch.no_grad()
def check_physics(data: TrajectoryDataset, physics: GivenPhysics) -> list[ChannelCheck]:
    """Compare every stored step of data with the physics.

    Args:
        data: Trajectories, of which the first 256 count.
        physics: The physics.

    Returns:
        One check for each part of the state that moves.
    """
    gaps, noisy, left, moved = _residuals(data, physics)
    found = []
    for name, place in data.layout.parts():
        if name in data.layout.static:
            continue
        z, n, r, d = (x[(..., *place)].double() for x in (gaps, noisy, left, moved))
        count = n.square().sum().clamp(min=1.0)
        mean, square = float(z.sum() / count), float(z.square().sum() / count)
        after, before = z[:, 1:], z[:, :-1]
        both = float((after.square().sum() * before.square().sum()).sqrt())
        together = float((after * before).sum()) / both if both > 0 else 0.0
        whole = float(d.square().sum())
        explained = 1 - float(r.square().sum()) / whole if whole > 0 else math.nan
        found.append(ChannelCheck(name, mean, square, together, explained))
    return found


def fit_noise(data: TrajectoryDataset, physics: GivenPhysics) -> GivenPhysics:
    """Return the physics with the noise amplitude that its residuals have.

    Args:
        data: Trajectories, of which the first 256 count.
        physics: The physics, of a process with the parameter ``noise``.

    Returns:
        The same with another ``noise``; as it is where the process has no such parameter.
    """
    values = {f.name: getattr(physics.inner, f.name) for f in dataclasses.fields(physics.inner)}
    if not isinstance(values.get("noise"), float):
        return physics
    unit = values["noise"] or 1.0
    physics = _with_noise(physics, unit)
    gaps, noisy, left, moved = _residuals(data, physics)
    square = float(gaps.double().square().sum() / noisy.double().square().sum().clamp(min=1.0))
    still = (
        _LEAST * float(moved.double().square().mean().sqrt()) / max(float(left.double().square().mean().sqrt()), 1e-300)
    )
    found = unit * math.sqrt(square) * max(1.0, still)
    return _with_noise(physics, found) if math.isfinite(found) and found > 0 else physics


def physics_warnings(checks: Sequence[ChannelCheck]) -> list[str]:
    """Say in words what a physics does not explain.

    Args:
        checks: The checks of all channels.

    Returns:
        One sentence for each channel with residuals that are no noise of the process.
    """
    said = []
    for check in checks:
        faults = []
        if not check.explained >= _EXPLAINED:
            faults.append(f"explains {check.explained:.0%} of the mean square increment")
        if not abs(check.mean) <= _MEAN:
            faults.append(f"leaves residuals of mean {check.mean:.2g}, not 0")
        if not _VARIANCE[0] <= check.variance <= _VARIANCE[1]:
            faults.append(f"leaves residuals of variance {check.variance:.3g}, not 1")
        if not abs(check.autocorrelation) <= _MEMORY:
            faults.append(f"leaves residuals that remember the last step (correlation {check.autocorrelation:.2f})")
        if faults:
            said.append(f"the physics does not explain `{check.name}`: it {', '.join(faults)}")
    return said


def _residuals(data: TrajectoryDataset, physics: GivenPhysics) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalised residuals, what counts their number, plain residuals and increments, ``(n, step, *state)``."""
    states = physics.stretch * data.trajectories(slice(0, _ROWS))
    times, found = data.times, []
    for m in range(len(times) - 1):
        t0, t1 = (times[i].to(states).expand(len(states)) for i in (m, m + 1))
        x, y = states[:, m], states[:, m + 1]
        gap, noisy, reached = normalised_gap(physics.inner, x, y, t0, t1, physics.layout.valid)
        found.append((gap, noisy, physics.layout.emptied(y - reached), y - x))
    gaps, noisy, left, moved = (torch.stack(parts, 1) for parts in zip(*found, strict=True))
    return gaps, noisy, left, moved


def _with_noise(physics: GivenPhysics, noise: Float[Tensor, ""] | float) -> GivenPhysics:
    values = {**json.loads(physics.values), "noise": float(noise)}
    return dataclasses.replace(physics, values=json.dumps(values))
