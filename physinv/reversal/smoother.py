"""The reverse step of nonlinear physics, ``smooth``: the smoother, the network's correction, and noise of fitted size.

The symbols are those of :mod:`physinv.models.references.smoother`.
"""

from __future__ import annotations

__all__ = ["frames_of", "gap_and_size", "smooth"]

from jaxtyping import Float, Int
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.sde import SDE, Reverse
from physinv.equations.solve import Step
from physinv.equations.symmetries import Views, choose_views, reflected, shifted
from physinv.models.references.smoother import SmootherReference
from physinv.models.references.smoother_tables import physics_backward
from physinv.models.score import ScoreModel


def _smooth(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """Take one step of ``Reverse(sde, ScoreModel(SmootherReference, ...), eta)`` from the end of a stored interval.

        y_s = m_s + sign(K) (S_s/S_b)^(1/2) rho^(eta^2/2) (b - m_b) + (1 + eta^2)/2 C^(1/2) (dt/t)^(1/2) o
              + N(0, S_s (1 - rho^(eta^2))) L^(1/2) sigma

    per mode, with the symbols of :mod:`~physinv.models.references.smoother`.  The variance of the noise is fitted to
    data: ``sigma(x)`` by the network, at every point; ``L`` by
    :func:`~physinv.reversal.smoother_noise.calibrate_noise`, on every scale.  Steps may therefore be long (for short
    steps the variance is known, ``g^2 dt``; cf. Nichol and Dhariwal 2021, section 3.1).

    The network has learned the symmetries of the process from images of the data, so it has them only approximately,
    and it commutes with shifts of a grid only by multiples of its coarsest cells.  So each state is transformed by a
    symmetry and a shift that are drawn anew at every step from the second noise (see
    :mod:`~physinv.equations.symmetries`).  Errors of the network that depend on them then widen an ensemble instead of
    shifting its mean.  Where the law of the truth has these symmetries, convex scoring rules of the answer, such as the
    CRPS, cannot get worse on average (Jensen's inequality).
    """
    model, reference, eta2 = _parts(sde)
    noise = dw / match((t0 - t1).sqrt(), x)
    frames = frames_of(model, x, noise[1].flatten(1)[:, 0])
    x = reflected(reference.sde, x, frames.image)
    mean, variance, size, i = _network(model, reference, x, t0, t1, eta2, shift=frames.shift)
    coloured = reference.unmodes(reference.noise_scale[i].sqrt() * reference.modes(noise[0]), x)
    y = reference.unmodes(reference.bounded(mean + variance.sqrt() * reference.modes(size * coloured), t0), x)
    return reflected(reference.sde, y, frames.image)


smooth = Step(_smooth, weak_order=1.0, draws=2)
"""Step over one stored interval, however long.

Its states stay bounded whatever the physics does; it is exact for Gaussian data of linear processes.  It needs
``Reverse(sde, score)`` with a score model around a :class:`~physinv.models.references.smoother.SmootherReference`.
"""


def frames_of(model: ScoreModel, x: Float[Tensor, "batch *state"], z: Float[Tensor, " batch"]) -> Views:
    """Choose for each state a symmetry of the process, and a shift by less than the coarsest cell of the network.

    Args:
        model: Score model around a smoother.
        x: States.
        z: Standard normal numbers that decide.

    Returns:
        A view of each state, and what undoes it.

    Raises:
        ValueError: If the reference law is not the smoother.
    """
    return choose_views(_smoother(model).sde, x, getattr(model.network, "stride", 1), z)


def gap_and_size(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    before: Float[Tensor, "batch *state"],
    t0: Tensor,
    t1: Tensor,
    back: Float[Tensor, "batch *state"] | None = None,
    shift: Int[Tensor, "batch axes"] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take one reverse step without noise, and compare it with a known state.

    Args:
        sde: The reverse process ``Reverse(sde, ScoreModel(SmootherReference, ...))``.
        x: States ``x_t`` at the end of a stored interval.
        before: Known states ``x_s`` at its start.
        t0: End t of the interval, ``(batch,)``.
        t1: Start s of the interval, ``(batch,)``.
        back: ``x`` taken backward by the physics over the interval, if it was computed before.
        shift: Grid points by which the network's input is shifted; None: not at all.

    Returns:
        The states reached; their difference from ``before`` in units of ``C^(1/2)``; the network's ``sigma`` at every
        point.

    Raises:
        ValueError: If the reference law is not the smoother, or a step is none of the stored intervals.
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
    """Modes of the mean of the step, the variance of its noise, ``sigma``, and the index of the interval."""
    i = reference.interval(t0)
    dt = reference.times[i + 1] - reference.times[i]
    if x.device.type == "cpu":  # on a GPU the check would wait for the device
        reference.check_steps(t0, t1)
    if back is None and reference.physical:
        back = physics_backward(reference.sde, x, t0, dt)
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


def _parts(sde: SDE) -> tuple[ScoreModel, SmootherReference, float]:
    """Model, reference law and ``eta^2`` of a reverse process around a smoother."""
    if isinstance(sde, Reverse) and isinstance(sde.score, ScoreModel):
        return sde.score, _smoother(sde.score), sde.eta**2
    raise ValueError("`smooth` needs Reverse(sde, score) with a ScoreModel around SmootherReference; take `split`.")


def _smoother(model: ScoreModel) -> SmootherReference:
    """The model's reference law, which must be the smoother."""
    reference = SmootherReference.of(model)
    if reference is None:
        raise ValueError("`smooth` needs Reverse(sde, score) with a ScoreModel around SmootherReference; take `split`.")
    return reference
