"""Smoother noise: the variance of the noise in the steps of :data:`~physinv.reversal.smoother.smooth`, fitted to data.

A step adds noise of variance ``L C sigma^2`` (symbols in :mod:`physinv.models.references.smoother`).  The network
learns ``sigma`` in training; the factor ``L``, the reference law's buffer ``noise_scale``, is fitted afterwards on
validation data: one number for each stored interval, channel and shell of wave numbers (for each channel, where modes
are components).  Modes that a step predicts exactly, and modes that hold rounding errors only, are left out.
"""

from __future__ import annotations

__all__ = ["calibrate_noise", "match_ensembles", "match_single_steps"]

import math

import torch
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.fourier import squared_wavenumbers
from physinv.equations.sde import SDE, Reverse
from physinv.equations.symmetries import Views, reflected
from physinv.models.references.smoother import SmootherReference
from physinv.models.score import ScoreModel
from physinv.reversal.smoother import frames_of, gap_and_size

_MAX_NUMBERS, _FEWEST = 2**19, 32  # numbers in the states of all members of all ensembles, and fewest ensembles
_MAX_FACTOR = 4.0  # by which ensembles may raise or lower the variance that single steps need
_CHUNK = 64  # states computed at the same time


@torch.no_grad()
def calibrate_noise(model: ScoreModel, sde: SDE, data: TrajectoryDataset, *, seed: Seed = 0) -> None:
    """Fit the smoother noise on validation data: to single steps first, then to ensembles.

    Args:
        model: Score model around a smoother; its ``noise_scale`` is overwritten.
        sde: The physics.
        data: Trajectories that the model was not trained on.
        seed: Seed of the random symmetries and shifts of the states, or a stream to draw them below.

    Raises:
        ValueError: If the reference law is not the smoother.
    """
    match_single_steps(model, sde, data, seed=seed)
    match_ensembles(model, sde, data, seed=seed)


@torch.no_grad()
def match_single_steps(
    model: ScoreModel, sde: SDE, data: TrajectoryDataset, *, max_trajectories: int = 512, seed: Seed = 0
) -> None:
    """Fit the smoother noise to the errors of single steps that start from states of the data.

    Sets ``L`` to the mean square of the errors over ``C sigma^2``.

    Args:
        model: Score model around a smoother; its ``noise_scale`` is overwritten.
        sde: The physics.
        data: Trajectories that the model was not trained on.
        max_trajectories: Largest number of trajectories used.
        seed: Seed of the random symmetries and shifts of the states, or a stream to draw them below.

    Raises:
        ValueError: If the reference law is not the smoother.
    """
    reference = _reference(model)
    reverse, n = Reverse(sde, model), min(max_trajectories, data.n_trajectories)
    times = reference.times
    generator = seeds(seed).child("smoother-noise", "steps").generator(times.device)
    later = data.states(0, limit=n).to(times.device)
    for i in range(len(times) - 1):
        earlier, later = later, data.states(i + 1, limit=n).to(times.device)
        total = torch.zeros_like(reference.noise_scale[i])

        # Square each mode of the step's error in units of C^(1/2) sigma: for the right noise its mean is L.
        for start, end in zip(torch.split(earlier, _CHUNK), torch.split(later, _CHUNK), strict=True):
            t0, t1 = times[i + 1].expand(len(end)), times[i].expand(len(end))
            frames = _frames(model, end, generator)
            end, start = (reflected(reference.sde, x, frames.image) for x in (end, start))
            _, gap, size = gap_and_size(reverse, end, start, t0, t1, shift=frames.shift)
            total += reference.modes(gap / size).abs().square().sum(0)

        # One mode alone is too noisy an estimate: average over the shell of its wave number.
        reference.noise_scale[i] = _averaged(total / n, reference.uncertain_modes(i).to(total), reference, later)


@torch.no_grad()
def match_ensembles(
    model: ScoreModel,
    sde: SDE,
    data: TrajectoryDataset,
    *,
    members: int = 8,
    max_trajectories: int = 512,
    seed: Seed = 0,
) -> None:
    """Scale the smoother noise until the spread of ensembles equals the error of their mean at every stored time.

    Errors of a network that are alike in several steps add up coherently, independent noise adds up in variance only.
    So steps whose noise is right one by one give ensembles that are too narrow.  The fit goes from the last interval to
    the first.  An ensemble of ``m`` members takes one step backward without new noise; let ``V`` be its spread (a
    variance) and ``E`` the squared error of its mean after that.  The new noise then has to have the variance
    ``E - (1 + 1/m) V``.  Its factor ``L`` changes by a factor of 4 at most.

    Args:
        model: Score model around a smoother; its ``noise_scale`` is scaled.
        sde: The physics.
        data: Trajectories that the model was not trained on.
        members: Members ``m`` of an ensemble.
        max_trajectories: Largest number of trajectories used.
        seed: Seed of the ensembles' noise, or a stream to draw it below.

    Raises:
        ValueError: If the reference law is not the smoother.

    References:
        Anderson (2009), Spatially and temporally varying adaptive covariance inflation for ensemble filters.
    """
    reference = _reference(model)
    reverse, times, scale = Reverse(sde, model), reference.times, reference.noise_scale
    n = max(_FEWEST, _MAX_NUMBERS // (members * math.prod(data.shape)))
    n = min(n, max_trajectories, data.n_trajectories)
    x = data.states(-1, limit=n).to(times.device).repeat_interleave(members, dim=0)
    generator = seeds(seed).child("smoother-noise", "ensembles").generator(times.device)
    for i in reversed(range(len(times) - 1)):
        truth = data.states(i, limit=n).to(times.device)
        root, parts = reference.spread()[i].sqrt(), []

        # Take every member one step backward, and keep its new noise separate, since only that will be scaled.
        truths = truth.repeat_interleave(members, 0)
        for end, start in zip(torch.split(x, _CHUNK), torch.split(truths, _CHUNK), strict=True):
            t0, t1 = times[i + 1].expand(len(end)), times[i].expand(len(end))
            frames = _frames(model, end, generator)
            end, start = (reflected(reference.sde, x, frames.image) for x in (end, start))
            reached, _, size = gap_and_size(reverse, end, start, t0, t1, shift=frames.shift)
            z = torch.randn(end.shape, generator=generator, dtype=end.dtype, device=end.device)
            coloured = reference.unmodes(scale[i].sqrt() * reference.modes(z), z)
            parts.append((reached, root * reference.modes(size * coloured), frames.image))
        reached, noise, image = (torch.cat(part) for part in zip(*parts, strict=True))

        # V and E, mode by mode: the spread without new noise, and the squared error of the ensemble mean.
        means = reference.modes(reflected(reference.sde, reached, image))
        means = means.reshape(n, members, *means.shape[1:])
        centre = means.mean(1)
        spread = (means - centre[:, None]).abs().square().sum((0, 1)) / (n * (members - 1))
        error = (reference.modes(truth) - centre).abs().square().mean(0)

        # The variance that the new noise should have over that which it has, averaged over shells in units of C.
        weight, fresh = reference.uncertain_modes(i).to(error), noise.abs().square().mean(0)
        unit = torch.where(weight > 0, root.square(), 1.0)
        wanted, had = (
            _averaged(v / unit, weight, reference, truth) for v in (error - (1 + 1 / members) * spread, fresh)
        )
        factor = (wanted / had.clamp(min=torch.finfo(had.dtype).tiny)).clamp(1 / _MAX_FACTOR, _MAX_FACTOR)
        scale[i] *= factor

        # The next interval starts from the ensemble with its noise scaled.
        y = reference.modes(reached) + factor.sqrt() * noise
        x = reflected(
            reference.sde, reference.unmodes(reference.bounded(y, times[i + 1].expand(len(y))), reached), image
        )


def _frames(model: ScoreModel, x: Tensor, generator: torch.Generator) -> Views:
    """Draw symmetries and shifts of the states, as a sampling step does."""
    return frames_of(model, x, torch.randn(len(x), generator=generator, dtype=x.dtype, device=x.device))


def _reference(model: ScoreModel) -> SmootherReference:
    """The model's reference law, which must be the smoother."""
    reference = SmootherReference.of(model)
    if reference is None:
        raise ValueError(f"`model` must have the reference law `smoother`, got `{model.reference.name}`.")
    return reference


def _averaged(values: Tensor, weight: Tensor, reference: SmootherReference, like: Tensor) -> Tensor:
    """Mean over each shell ``|k| = 0, 1, 2, ...`` of a channel (over each channel) of the modes with ``weight`` 1.

    Shells without such a mode give 0.
    """
    values = weight * values
    if reference.basis == "identity":
        parts = tuple(range(1, values.ndim))
        mean = values.sum(parts, keepdim=True) / weight.sum(parts, keepdim=True).clamp(min=1)
        return mean.expand_as(values).clone()
    shell = squared_wavenumbers(tuple(like.shape[2:])).sqrt().round().long().flatten().to(values.device)
    empty = values.new_zeros(len(values), int(shell.max()) + 1)
    sums, count = (empty.index_add(1, shell, v.flatten(1)) for v in (values, weight))
    out: Tensor = (sums / count.clamp(min=1))[:, shell].reshape(values.shape)
    return out
