"""The size of the noise in the steps of :data:`~physinv.reversal.smoother.smooth`, read off data that were not
trained on."""

from __future__ import annotations

__all__ = ["balance", "calibrate", "missed"]

import math

import torch
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE, Reverse
from physinv.equations.symmetries import Frames, turned
from physinv.models.references.smoother import SmootherReference
from physinv.models.score import ScoreModel
from physinv.reversal.smoother import frames_of, gap_and_size

_NUMBERS = 2**20  # of all members of all ensembles at one time
_MOST = 4.0  # times more, or less, variance than the steps by themselves miss is as far as ensembles may change it


@torch.no_grad()
def calibrate(model: ScoreModel, sde: SDE, data: TrajectoryDataset, *, seed: Seed = 0) -> None:
    """Set ``left`` of the model's reference on ``data`` not trained on: first :func:`missed`, then :func:`balance`.

    One number per interval, channel and shell of wave numbers (or per channel, where modes are components); modes that
    are known exactly, or hold nothing, don't count.
    """
    missed(model, sde, data, seed=seed)
    balance(model, sde, data, seed=seed)


@torch.no_grad()
def missed(model: ScoreModel, sde: SDE, data: TrajectoryDataset, *, few: int = 512, seed: Seed = 0) -> None:
    """``left``: mean square of what single steps from the data's own states miss, over ``C sigma^2``."""
    reference = _reference(model)
    reverse, n = Reverse(sde, model), min(few, data.n_trajectories)
    times = reference.times
    generator = seeds(seed).child("smoother-noise", "steps").generator(times.device)
    later = data.states(0, limit=n).to(times.device)
    for i in range(len(times) - 1):
        earlier, later = later, data.states(i + 1, limit=n).to(times.device)
        total = torch.zeros_like(reference.left[i])
        for start, end in zip(torch.split(earlier, 64), torch.split(later, 64), strict=True):
            t0, t1 = times[i + 1].expand(len(end)), times[i].expand(len(end))
            frames = _frames(model, end, generator)
            end, start = (turned(reference.sde, x, frames.image) for x in (end, start))
            _, gap, size = gap_and_size(reverse, end, start, t0, t1, shift=frames.shift)
            total += reference.modes(gap / size).abs().square().sum(0)
        reference.left[i] = _averaged(total / n, reference.alive(i).to(total), reference, later)


@torch.no_grad()
def balance(
    model: ScoreModel, sde: SDE, data: TrajectoryDataset, *, members: int = 8, few: int = 512, seed: Seed = 0
) -> None:
    """Scale ``left`` so that ensembles, run back from the end, spread as much as their mean errs, at every stored time.

    Errors that a network repeats from step to step add up, noise that is drawn anew does not: steps that are right one
    by one give ensembles that are too sure.  From the last interval to the first: with ``V`` the spread that the step
    hands on (over ``m`` members, without new noise) and ``E`` the squared error of their mean, the new noise has to
    bring ``E - (1 + 1/m) V`` (adaptive inflation, in the sense of Anderson 2009), within a factor of 4 of what it was.
    """
    reference = _reference(model)
    reverse, times, left = Reverse(sde, model), reference.times, reference.left
    n = max(1, min(few, data.n_trajectories, _NUMBERS // (members * math.prod(data.shape))))
    x = data.states(-1, limit=n).to(times.device).repeat_interleave(members, dim=0)
    generator = seeds(seed).child("smoother-noise", "ensembles").generator(times.device)
    for i in reversed(range(len(times) - 1)):
        truth = data.states(i, limit=n).to(times.device)
        root, parts = reference.spread()[i].sqrt(), []
        for end, start in zip(torch.split(x, 64), torch.split(truth.repeat_interleave(members, 0), 64), strict=True):
            t0, t1 = times[i + 1].expand(len(end)), times[i].expand(len(end))
            frames = _frames(model, end, generator)
            end, start = (turned(reference.sde, x, frames.image) for x in (end, start))
            reached, _, size = gap_and_size(reverse, end, start, t0, t1, shift=frames.shift)
            z = torch.randn(end.shape, generator=generator, dtype=end.dtype, device=end.device)
            coloured = reference.unmodes(left[i].sqrt() * reference.modes(z), z)
            parts.append((reached, root * reference.modes(size * coloured), frames.image))
        reached, noise, image = (torch.cat(part) for part in zip(*parts, strict=True))
        means = reference.modes(turned(reference.sde, reached, image))
        means = means.reshape(n, members, *means.shape[1:])
        centre = means.mean(1)
        spread = (means - centre[:, None]).abs().square().sum((0, 1)) / (n * (members - 1))
        error = (reference.modes(truth) - centre).abs().square().mean(0)
        weight, fresh = reference.alive(i).to(error), noise.abs().square().mean(0)
        unit = torch.where(weight > 0, root.square(), 1.0)  # shells count modes in units of C
        wanted, had = (
            _averaged(v / unit, weight, reference, truth) for v in (error - (1 + 1 / members) * spread, fresh)
        )
        factor = (wanted / had.clamp(min=torch.finfo(had.dtype).tiny)).clamp(1 / _MOST, _MOST)
        left[i] *= factor
        y = reference.modes(reached) + factor.sqrt() * noise
        x = turned(reference.sde, reference.unmodes(reference.bounded(y, times[i + 1].expand(len(y))), reached), image)


def _frames(model: ScoreModel, x: Tensor, generator: torch.Generator) -> Frames:
    """As the step that samples sees its states."""
    return frames_of(model, x, torch.randn(len(x), generator=generator, dtype=x.dtype, device=x.device))


def _reference(model: ScoreModel) -> SmootherReference:
    if not isinstance(model.reference, SmootherReference):
        raise ValueError(f"`model` must have SmootherReference as reference, got {type(model.reference).__name__}.")
    return model.reference


def _averaged(values: Tensor, weight: Tensor, reference: SmootherReference, like: Tensor) -> Tensor:
    """Mean over shells ``|k| = 0, 1, 2, ...`` of each channel, or over each channel, of what has ``weight`` 1, not 0.

    0 where nothing has any.
    """
    values = weight * values
    if reference.basis == "identity":
        parts = tuple(range(1, values.ndim))
        mean = values.sum(parts, keepdim=True) / weight.sum(parts, keepdim=True).clamp(min=1)
        return mean.expand_as(values).clone()
    *lead, last = like.shape[2:]
    axes = [torch.fft.fftfreq(n, 1 / n) for n in lead] + [torch.fft.rfftfreq(last, 1 / last)]
    k = sum(a**2 for a in torch.meshgrid(*axes, indexing="ij"))
    shell = torch.as_tensor(k).sqrt().round().long().flatten().to(values.device)
    empty = values.new_zeros(len(values), int(shell.max()) + 1)
    sums, count = (empty.index_add(1, shell, v.flatten(1)) for v in (values, weight))
    out: Tensor = (sums / count.clamp(min=1))[:, shell].reshape(values.shape)
    return out
