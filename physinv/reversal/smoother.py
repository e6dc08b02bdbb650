"""The reverse step of nonlinear physics, ``smooth``: the smoother, what the network adds, and noise of learned size."""

from __future__ import annotations

__all__ = ["check_stored", "frames_of", "gap_and_size", "smooth", "smoother_loss"]

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physinv.equations.sde import SDE, Reverse, Score, match
from physinv.equations.solve import Step
from physinv.equations.symmetries import Views, choose_views, reflected, shifted
from physinv.models.references.smoother import SmootherReference, taken_back
from physinv.models.score import ScoreModel

_CLOSE = 1e-3  # of a stored interval: how far a step may be off it


def _smooth(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """One step of ``Reverse(sde, ScoreModel(SmootherReference, ...), eta)`` over a stored interval, from its end.

        y' = m' + sign(K) (S'/S_b)^(1/2) rho^(eta^2/2) (b - m_b) + (1 + eta^2)/2 C^(1/2) (dt/t)^(1/2) o
             + N(0, S' (1 - rho^(eta^2))) L^(1/2) sigma

    mode by mode, with the network's output ``o`` (see :mod:`~physinv.models.references.smoother` for the other
    letters).  The size of the noise is learned: ``sigma(x)`` by the network, at every point; ``L`` by
    :func:`~physinv.reversal.smoother_noise.calibrate`, on every scale.  So steps may be long and their noise is still
    that of the data (for short ones the variance is known, ``g^2 dt``; cf. Nichol and Dhariwal 2021, section 3.1).

    The network knows the symmetries of the process only as far as it was taught them, and shifts of a grid only by
    multiples of its coarsest cells.  So every state is seen from a frame of its own, chosen anew at every step by a
    second draw (see :mod:`~physinv.equations.symmetries`): what the network gets wrong from one frame then adds to
    the spread of an ensemble, not to the error of its mean.  Where the law of the truth has these symmetries, no
    convex score of the answer's, such as the CRPS, can be the worse for it on average (Jensen's inequality).
    """
    model, reference, eta2 = _parts(sde)
    noise = dw / match((t0 - t1).sqrt(), x)
    frames = frames_of(model, x, noise[1].flatten(1)[:, 0])
    x = reflected(reference.sde, x, frames.image)
    mean, variance, size, i = _network(model, reference, x, t0, t1, eta2, shift=frames.shift)
    coloured = reference.unmodes(reference.left[i].sqrt() * reference.modes(noise[0]), x)
    y = reference.unmodes(reference.bounded(mean + variance.sqrt() * reference.modes(size * coloured), t0), x)
    return reflected(reference.sde, y, frames.image)


smooth = Step(_smooth, weak_order=1.0, draws=2)
"""Over one stored interval, however long; bounded for any physics, exact for Gaussians under linear SDEs."""


def frames_of(model: ScoreModel, x: Float[Tensor, "batch *state"], z: Float[Tensor, " batch"]) -> Views:
    """What the states ``x`` are seen from: images of the physics, and shifts that the network does not see as such."""
    assert isinstance(model.reference, SmootherReference)
    return choose_views(model.reference.sde, x, getattr(model.network, "stride", 1), z)


def smoother_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch states *state"],
    times: Float[Tensor, "batch window"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """``E |r|^2 + E [ r^2 / (2 sigma^2) + log sigma ]``, r the gap of a step without noise in units of ``C^(1/2)``.

    The first term is the trajectory loss (Holzschuh et al. 2023, eq. 7) in the smoother's units; windows of more than
    two states are rolled out.  The second, in which ``r`` is held fixed, fits the size of the noise at every point: the
    likelihood of a Gaussian (Nix and Weigend 1994).  One state more than ``times`` is the last of the window taken
    back by the physics (see :func:`~physinv.training.rewind.rewind`), which saves the physics of the first step.
    Raises ValueError for a ``score`` that is no smoother.
    """
    reverse, last = Reverse(sde, score), times.shape[1] - 1
    _parts(reverse)
    x, back, total = states[:, last], states[:, last + 1] if states.shape[1] > last + 1 else None, states.new_zeros(())
    for m in range(last - 1, -1, -1):
        x, gap, size = gap_and_size(reverse, x, states[:, m], times[:, m + 1], times[:, m], back)
        back = None
        still = gap.detach().square() / (2 * size**2) + size.log()
        total = total + gap.square().mean() + still.mean()
    loss: Tensor = total / last
    return loss


def gap_and_size(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    before: Float[Tensor, "batch *state"],
    t0: Tensor,
    t1: Tensor,
    back: Float[Tensor, "batch *state"] | None = None,
    shift: Int[Tensor, "batch axes"] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The step from ``x`` without noise, what it misses ``before`` by in units of ``C^(1/2)``, and ``sigma(x)``.

    ``back``: ``x`` taken back by the physics, where that is known already.  ``shift``: of what the network sees.
    """
    model, reference, _ = _parts(sde)
    mean, _, size, i = _network(model, reference, x, t0, t1, 1.0, back, shift)
    reached = reference.unmodes(reference.bounded(mean, t0), x)
    return reached, reference.whiten(before - reached, i), size


def _network(
    model: ScoreModel,
    reference: SmootherReference,
    x: Tensor,
    t0: Tensor,
    t1: Tensor,
    eta2: float,
    back: Tensor | None = None,
    shift: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Modes of the mean of the step, the variance of its noise, ``sigma``, and the number of the interval."""
    i = reference.interval(t0)
    dt = reference.times[i + 1] - reference.times[i]
    if x.device.type == "cpu":  # elsewhere looking would mean waiting
        _check_steps(reference, t0, t1)
    if back is None and reference.physical:
        back = taken_back(reference.sde, x, t0, dt)
    smoothed, C = reference.smoothed(x, t0, back=back)
    mean, variance = (smoothed, C) if eta2 == 1 else reference.smoothed(x, t0, eta2, back)
    features = reference.features_of(x, t0, smoothed)
    if shift is None:
        output = model.output(x, t0, features)
    else:
        output = shifted(model.output(x, t0, shifted(features, shift)), -shift)
    out, log_size = output.chunk(2, dim=1)
    weight = (1 + eta2) / 2 * C.sqrt() * match((dt / t0).sqrt(), smoothed)
    return mean + weight * reference.modes(out), variance, log_size.clamp(-4, 2).exp(), i


def check_stored(score: Score, times: Float[Tensor, " time"]) -> None:
    """ValueError unless ``times``, increasing, are neighbours among the stored ones of the smoother in ``score``."""
    t = times.to("cpu", torch.float32)
    if isinstance(score, ScoreModel) and isinstance(score.reference, SmootherReference):
        _check_steps(score.reference, *(part.to(score.reference.times.device) for part in (t[1:], t[:-1])))


def _check_steps(reference: SmootherReference, t0: Tensor, t1: Tensor) -> None:
    times, i = reference.times, reference.interval(t0.to(reference.times))
    dt = times[i + 1] - times[i]
    if bool(((t0 - times[i + 1]).abs() + (t1 - times[i]).abs() > _CLOSE * dt).any()):
        raise ValueError(
            f"`times` must be the {len(times)} stored ones, {len(times) - 1} steps: "
            "the reversal of nonlinear physics was learned from each to the one before."
        )


def _parts(sde: SDE) -> tuple[ScoreModel, SmootherReference, float]:
    if isinstance(sde, Reverse) and isinstance(sde.score, ScoreModel):
        reference = sde.score.reference
        if isinstance(reference, SmootherReference):
            return sde.score, reference, sde.eta**2
    raise ValueError("`smooth` needs Reverse(sde, score) with a ScoreModel around SmootherReference; take `split`.")
