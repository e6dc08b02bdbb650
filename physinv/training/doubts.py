"""Say before training what data and physics do not allow: a spread from one trajectory, noise that hides everything."""

from __future__ import annotations

__all__ = ["training_warnings"]

import torch
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.data.checks import few_warnings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import Linear
from physinv.models.references.smoother_tables import physics_backward
from physinv.processes.simulator import Simulator

_LOOKED_AT = 256  # trajectories
_HIDDEN = 100.0  # times the spread of initial states: noise from which nothing of them is left
_LOST = 100.0  # times the spread of a state: error of the physics run backward over one stored interval
_BACKWARD = 16, 8  # states and intervals on which that is measured
_TIMES = 5  # at which the noise is measured


@torch.no_grad()
def training_warnings(simulator: Simulator, train: TrajectoryDataset, valid: TrajectoryDataset) -> list[str]:
    """Say what cannot be learned from these data, or not with this physics.

    Args:
        simulator: The process.
        train: Trajectories to train on, of which the first 256 count.
        valid: Trajectories to validate on.

    Returns:
        A sentence for each doubt, with the quantity, its size, and what to do; none where all is well.
    """
    splits = {"train": range(train.n_trajectories), "valid": range(valid.n_trajectories)}
    found = few_warnings(splits, len(train.times), cut="window" in train.config) + _constant(train)
    if simulator.known:
        found += _noise(simulator, train)
        if not isinstance(simulator, Linear):
            found += _backward(simulator, train)
    return found


def _constant(data: TrajectoryDataset) -> list[str]:
    """Parts of the state that hold one number."""
    names = [(name, place) for name, place in data.layout.parts() if name not in data.layout.static]
    ends: dict[str, tuple[float, float]] = {}
    for block in data.blocks(limit=_LOOKED_AT):
        for name, place in names:
            part = block[(..., *place)]
            low, high = ends.get(name, (float(part.min()), float(part.max())))
            ends[name] = min(low, float(part.min())), max(high, float(part.max()))
    return [
        f"`{name}` is {low:.6g} everywhere, at all times of all trajectories: there is nothing to learn about it; "
        "leave it out of the data."
        for name, (low, high) in ends.items()
        if low == high
    ]


def _noise(simulator: Simulator, data: TrajectoryDataset) -> list[str]:
    """Noise that hides initial states, and noise that float32 loses."""
    x, times = data.states(0, limit=_LOOKED_AT).cpu(), data.times.cpu()
    last = data.states(-1, limit=_LOOKED_AT).cpu()
    generator = seeds(0).child("training", "doubts").generator()
    white = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    at = torch.linspace(float(times[0]), float(times[-1]), _TIMES)
    squares = torch.stack([simulator.disturb(x, white, t.expand(len(x)).to(x)).double().square() for t in at]).mean(0)
    horizon, shortest = float(times[-1] - times[0]), float(times.diff().min())

    found = []
    for name, place in data.layout.parts():
        if name in data.layout.static:
            continue
        amplitude, start = float(squares[(..., *place)].mean().sqrt()), x[(..., *place)].double()
        total, step = amplitude * horizon**0.5, amplitude * shortest**0.5
        prior = float((start - start.mean(0)).square().mean().sqrt())
        size = float(torch.maximum(start.abs().max(), last[(..., *place)].double().abs().max()))
        rounding = torch.finfo(torch.float32).eps * size
        if 0 < prior < total / _HIDDEN:
            found.append(
                f"the noise of `{name}` adds up to a deviation of {total:.3g} until t = {float(times[-1]):.3g}, "
                f"initial states vary by {prior:.3g}: final states tell next to nothing about them, the posterior is "
                "the prior; lower the noise, or end earlier."
            )
        if 0 < step < rounding:
            found.append(
                f"the noise of `{name}` between two stored times is {step:.2g}, and float32 rounds values of "
                f"{size:.3g} to {rounding:.2g}: these data cannot hold it; subtract a constant, raise the noise, or "
                "store fewer times."
            )
    return found


def _backward(simulator: Simulator, data: TrajectoryDataset) -> list[str]:
    """Physics run backward over one stored interval that ends nowhere near where the data were."""
    states, intervals = _BACKWARD
    times, last = data.times.cpu(), len(data.times) - 1
    worst, where = 0.0, 0
    for i in sorted({round(1 + k * (last - 1) / max(1, intervals - 1)) for k in range(intervals)}):
        before, after = (data.states(j, limit=states).cpu() for j in (i - 1, i))
        t, dt = (v.expand(len(after)).to(after) for v in (times[i], times[i] - times[i - 1]))
        reached = physics_backward(simulator, after, t, dt)
        error, spread = _size(reached - before), _size(before - before.mean(0)) if len(before) > 1 else _size(before)
        gone = ((reached == 0) & (after != 0)).flatten(1).any(1)  # what diverges comes back as 0, which is no state
        lost = torch.where(gone, torch.inf, error)
        ratio = float((lost / spread.clamp(min=torch.finfo(spread.dtype).tiny)).median())
        if spread.max() > 0 and ratio > worst:
            worst, where = ratio, i
    if worst <= _LOST:
        return []
    size = f"{worst:.2g}" if worst < torch.inf else "more than 1e+15"
    more = (
        "store more times (`steps`), or end earlier"
        if simulator.startable
        else ("keep more of the stored times (`--every` of `physinv import`)")
    )
    return [
        f"the physics run backward from t = {float(times[where]):.3g} to {float(times[where - 1]):.3g} misses the "
        f"states that the data came from by {size} times their spread: it amplifies noise without bound (the problem "
        "is ill-posed), whether or not it is the right one. Samples by small steps back in time are worth nothing; the "
        f"default learns jumps instead, and keeps what scores best on validation data. To take small steps, {more}."
    ]


def _size(x: Tensor) -> Tensor:
    """Root mean square of each state."""
    return x.double().flatten(1).square().mean(1).sqrt()
