"""The forward misfit: does a reconstructed initial state, run forward, reach what was observed, up to the noise?

    chi^2 = r^T Q^-1 r,    r = x_T - F(x_0),    Q = E[(x_T' - F(x_0)) (x_T' - F(x_0))^T | x_0]

``F`` is a run without noise, ``x_T'`` a run with new noise from the same ``x_0``.  A sample of the exact posterior and
its observation have the joint law of a true initial state and its final state.  So chi^2 of exact samples has the law
that it has for the truths, and its mean is the number d of observed components, up to how well Q is known.  Far above,
the samples do not lead to what was observed; far below, they reproduce the noise of the observation as well.

Q comes from the simulator:

- a :class:`~physinv.equations.sde.Linear` process has it in closed form;
- of vectors it is estimated from noisy runs from each sample: the whole matrix up to 16 components, variances beyond;
- of periodic fields it is one matrix of the channels for each Fourier mode (the covariance pooled over shifts), of
  fields with walls one for each point, of particles one for all particles, each estimated from noisy runs from
  ``starts`` and pooled over them.  The mean over that law is d, single states may have more or less.

An estimated matrix of N deviations is inverted with the factor ``(N - c - 1) / N`` for c components, by which the
inverse of a Wishart matrix is too large on average (Muirhead 1982, section 3.2).
"""

from __future__ import annotations

__all__ = ["Misfit", "Whitener", "end_noise", "forward_misfit", "pooled_noise"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.fourier import fourier, multiplicity
from physinv.equations.sde import Linear
from physinv.laws.observation import Observation
from physinv.processes.layout import ParticleLayout, StateLayout
from physinv.processes.simulator import Simulator

_WHOLE = 16  # components of a vector up to which the whole covariance of its noise is estimated
_OWN_RUNS, _OWN_VARIANCES = 64, 24  # noisy runs from each vector, for a matrix and for variances
_STARTS, _RUNS = 32, 8  # initial states, and noisy runs from each, that a pooled covariance is estimated from
_CHUNK = 2**22  # numbers that are run forward at once
_ROUNDING = 2e-6  # of the size of final states: noise below it cannot be told from rounding in float32

Whitener = Callable[[Float[Tensor, "batch *state"], Tensor], tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]]
"""Initial states and their ``r`` to chi^2, and the number of components that have noise."""

_Coordinates = Callable[[Tensor], Tensor]
"""``r`` to ``(batch, blocks, c)``: c correlated numbers in each of many independent blocks."""


@dataclass(frozen=True)
class Misfit:
    """The forward misfits of samples.

    Args:
        per_number: ``chi^2 / d``, 1 on average for exact samples; infinite where the forward run is not finite.
        numbers: The number d of observed components that have noise, at most.
    """

    per_number: Float[Tensor, "n members"]
    numbers: int

    def quantile(self, level: float) -> float:
        """Return a quantile of ``chi^2 / d`` over all samples.

        Args:
            level: A probability, .5 for the median.
        """
        # By order: interpolation between infinities is not a number.
        ordered = self.per_number.flatten().sort().values
        return float(ordered[round(level * (len(ordered) - 1))])


@torch.no_grad()
def forward_misfit(
    samples: Float[Tensor, "n members *state"],
    final: Float[Tensor, "n *seen"],
    simulator: Simulator,
    whiten: Whitener,
    *,
    observation: Observation | None = None,
) -> Misfit:
    """Return ``chi^2 / d`` of the forward run of each sample.

    Args:
        samples: Reconstructed initial states; for the value that exact samples have, the truths with an axis of 1.
        final: Final states, or the observed numbers.
        simulator: The process.
        whiten: Its noise at the end, from :func:`end_noise`.
        observation: Partial observation of the final states; None: they were observed whole.

    Returns:
        The misfits.

    Example:
        >>> from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
        >>> process, draw = OrnsteinUhlenbeck(), torch.Generator().manual_seed(0)
        >>> truth, final = process.simulate(4000, process.times[[0, -1]], generator=draw).unbind(1)
        >>> unit = end_noise(process, truth, generator=draw)
        >>> misfit = forward_misfit(truth[:, None], final, process, unit)
        >>> round(float(misfit.per_number.mean()), 1)
        1.0
    """
    n, members = samples.shape[:2]
    x = samples.flatten(0, 1)
    seen = simulator.layout.moving(final) if observation is None else final
    gap = seen.repeat_interleave(members, 0) - _seen(simulator, _final(simulator, x), observation)
    chi2, numbers = whiten(x, gap)
    per_number = torch.where(chi2.isfinite(), chi2 / numbers, torch.inf)
    return Misfit(per_number.reshape(n, members), round(float(numbers.max())))


@torch.no_grad()
def end_noise(
    simulator: Simulator,
    starts: Float[Tensor, "starts *state"],
    *,
    observation: Observation | None = None,
    generator: torch.Generator | None = None,
) -> Whitener | None:
    """Estimate the noise of final states around the run without noise, as the unit of their misfit.

    Args:
        simulator: The process, with known physics.
        starts: Initial states of the prior, which a pooled covariance is estimated from; the first 32 of them.
        observation: Partial observation of the final states; None: they are observed whole.
        generator: Source of the noise.

    Returns:
        The function that :func:`forward_misfit` needs; None where nothing observed has noise, and so no unit.

    Raises:
        ValueError: If the physics is not known.
    """
    if not simulator.known:
        raise ValueError("`simulator` must have known physics to run samples forward, recorded data have none.")
    if isinstance(simulator, Linear) and observation is None:
        return _closed_form(simulator, starts)

    # Vectors have a noise of their own at each start; its size here says whether there is any.
    seen = _seen(simulator, starts[:1], observation)
    coordinates, weights = _blocks(simulator.layout, seen, observation)
    deviations = _deviations(simulator, starts[:_STARTS], _RUNS, observation, generator)
    if not bool(deviations.abs().amax() > 0):
        return None
    scale = _scale(simulator, starts[:_STARTS], observation)
    if not simulator.layout.space and not isinstance(simulator.layout, ParticleLayout):
        return _own(simulator, coordinates, scale, observation, generator)

    # One noise for all starts.
    squares = _pooled(simulator.layout, coordinates, weights, deviations / scale)
    return lambda x, gap: squares(gap / scale)


def pooled_noise(
    layout: StateLayout, deviations: Float[Tensor, "runs *moving"], scale: Float[Tensor, "*one_state"]
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Estimate the noise of final states from deviations of noisy runs, the same for all of them.

    Args:
        layout: Layout of the states.
        deviations: Ends of noisy runs minus those of runs without noise, moving channels only.
        scale: Size of the states in each channel or component, against which rounding is judged.

    Returns:
        A function of ``r`` that returns ``chi^2`` and the number of components that have noise.
    """
    coordinates, weights = _blocks(layout, deviations[:1], None)
    squares = _pooled(layout, coordinates, weights, deviations.double() / scale)
    return lambda gap: squares(gap.double() / scale)


def _pooled(
    layout: StateLayout, coordinates: _Coordinates, weights: Tensor, deviations: Tensor
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A matrix for each block, for particles one for all of them, from deviations over their scale."""
    y = coordinates(deviations)
    if isinstance(layout, ParticleLayout):
        y = y.flatten(0, 1)[:, None]
    count = len(y) * (2 if y.is_complex() else 1)
    roots, kept = _roots(torch.einsum("nbc,nbd->bcd", y, y.conj()) / len(y))
    shrink = max(count - y.shape[-1] - 1, 1) / count

    def squares(gap: Tensor) -> tuple[Tensor, Tensor]:
        z = coordinates(gap)
        numbers = (weights * kept).expand(z.shape[1]).sum()
        return shrink * (weights * _squares(roots, z)).sum(-1), numbers.expand(len(gap))

    return squares


def _closed_form(simulator: Linear, starts: Tensor) -> Whitener | None:
    """The exact noise of a linear process, mode by mode; in float64, since small units would underflow."""
    like = starts[:1].double()
    q = simulator.variance(0.0, like.new_full((1,), float(simulator.horizon)), like)  # type: ignore[attr-defined]
    if not bool((q > 0).any()):
        return None
    noisy = q > 0
    scale = torch.where(noisy, q, torch.ones_like(q)).rsqrt() * noisy

    def whiten(x: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        y = simulator.modes(gap.double())
        numbers = simulator.unmodes(noisy * torch.ones_like(y[:1]), like).square().sum()
        return simulator.unmodes(scale * y, gap.double()).flatten(1).square().sum(1), numbers.expand(len(x))

    return whiten


def _own(
    simulator: Simulator,
    coordinates: _Coordinates,
    scale: Tensor,
    observation: Observation | None,
    generator: torch.Generator | None,
) -> Whitener:
    """The noise of vectors: a covariance of its own for each initial state, from noisy runs from there."""

    def whiten(x: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        z = coordinates(gap / scale)
        c = z.shape[-1]
        runs = _OWN_RUNS if c > 1 or z.shape[1] == 1 else _OWN_VARIANCES
        y = coordinates(_deviations(simulator, x, runs, observation, generator) / scale)
        y = y.reshape(len(x), runs, *y.shape[1:])
        usable = y.isfinite().flatten(1).all(1) & z.isfinite().flatten(1).all(1)
        y = torch.where(usable[:, None, None, None], y, torch.ones_like(y))
        roots, kept = _roots(torch.einsum("nrbc,nrbd->nbcd", y, y) / runs)
        chi2 = _squares(roots, z).sum(1) * (runs - c - 1) / runs
        return torch.where(usable, chi2, torch.inf), kept.sum(1).to(chi2).clamp(min=1)

    return whiten


def _blocks(
    layout: StateLayout, like: Tensor, observation: Observation | None
) -> tuple[_Coordinates, Float[Tensor, " blocks"]]:
    """Coordinates in which noise has a small covariance in each of many blocks, and the weight of each block."""
    one = torch.ones(1, dtype=torch.float64, device=like.device)
    if isinstance(layout, ParticleLayout):
        return lambda r: r.double(), one
    if not layout.space:
        whole = like.numel() <= _WHOLE
        return lambda r: r.double().flatten(1)[:, None] if whole else r.double().flatten(1)[:, :, None], one
    if observation is not None:
        return lambda r: r.double().flatten(1)[:, :, None], one
    if layout.basis != "fourier":
        return lambda r: r.double().flatten(2).transpose(1, 2), one
    weights = multiplicity(like.double()).expand(fourier(like.double()).shape[2:]).flatten()
    return lambda r: fourier(r.double()).flatten(2).transpose(1, 2), weights


def _roots(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse square roots of covariances ``(..., c, c)``, and how many components of each have noise."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > _ROUNDING**2
    scale = torch.where(kept, values, torch.ones_like(values)).rsqrt() * kept
    return scale[..., None] * vectors.mH, kept.sum(-1)


def _squares(roots: Tensor, z: Tensor) -> Tensor:
    """Squared norm of each block of coordinates ``(batch, blocks, c)`` after whitening: ``(batch, blocks)``."""
    whitened: Tensor = (roots @ z[..., None]).squeeze(-1)
    return whitened.abs().square().sum(-1)


def _scale(simulator: Simulator, starts: Tensor, observation: Observation | None) -> Tensor:
    """Root mean square of final states in each channel or component, or of all observed numbers; 1 where it is 0."""
    layout, ends = simulator.layout, _final(simulator, starts).double()
    if observation is None:
        size = layout.moving(layout.channel_mean(ends.square())).sqrt()
    else:
        size = observation.operator(ends).square().mean().sqrt()
    return torch.where(size > 0, size, torch.ones_like(size))


def _deviations(
    simulator: Simulator, starts: Tensor, runs: int, observation: Observation | None, generator: torch.Generator | None
) -> Tensor:
    """What noisy runs from each start end at, minus where the run without noise ends: ``(starts * runs, *seen)``."""
    clean = _seen(simulator, _final(simulator, starts), observation).repeat_interleave(runs, 0)
    noisy = _final(simulator, starts.repeat_interleave(runs, 0), noise=True, generator=generator)
    if observation is not None:
        return observation.observe(noisy, generator=generator) - clean
    return simulator.layout.moving(noisy) - clean


def _seen(simulator: Simulator, x: Tensor, observation: Observation | None) -> Tensor:
    """The moving channels of final states, or what a partial observation sees of them."""
    return simulator.layout.moving(x) if observation is None else observation.operator(x)


def _final(simulator: Simulator, x: Tensor, *, noise: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Final states of runs; of vectors and particles in float64, whose noise may be tiny."""
    x = x if simulator.layout.space else x.double()
    chunk = max(1, _CHUNK // (x[0].numel() * simulator.layout.copies_per_step))
    ends = simulator.times[[0, -1]]
    parts = [simulator.run(part, ends, noise=noise, generator=generator)[:, -1] for part in torch.split(x, chunk)]
    return torch.cat(parts)
