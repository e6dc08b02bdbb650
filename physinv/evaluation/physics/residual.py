"""The physics residual: does a reconstructed trajectory obey the equation, up to the noise of the process?"""

from __future__ import annotations

__all__ = ["Diagonal", "normalised_gap", "physics_residual"]

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.inputs import Numbers, Times, as_times, check_instance
from physinv.equations.sde import SDE
from physinv.evaluation.ensembles import numbers
from physinv.processes.given import GivenPhysics
from physinv.processes.simulator import Simulator


@runtime_checkable
class Diagonal(Protocol):
    """An SDE whose accumulated noise is diagonal in an orthonormal basis, such as a Linear one."""

    def modes(self, x: Tensor) -> Tensor:
        """Return the coefficients of states in the basis.

        Args:
            x: States, ``(batch, *state)``.

        Returns:
            Coefficients, ``(batch, *modes)``.
        """

    def unmodes(self, y: Tensor, like: Tensor) -> Tensor:
        """Return the states of coefficients.

        Args:
            y: Coefficients, ``(batch, *modes)``.
            like: States of the shape and dtype wanted.

        Returns:
            States, ``(batch, *state)``.
        """

    def variance(self, t0: Tensor, t1: Tensor, like: Tensor) -> Tensor:
        """Return the variance per mode of the accumulated noise.

        Args:
            t0: Times from which it accumulates, ``(batch,)``.
            t1: Times until which, ``(batch,)``.
            like: States of the shape and dtype wanted.

        Returns:
            Variances, ``(batch or 1, *modes)``.
        """


@torch.no_grad()
def physics_residual(states: Numbers, sde: SDE, times: Times) -> Float[Tensor, ""]:
    """Return the physics residual ``mean_m |q^(-1/2) (x_{m+1} - Phi(x_m))|^2 / rank q``, averaged over the batch.

    ``Phi`` is ``sde.drift_flow`` in as many steps as ``sde.substeps_in`` says for the interval, q the covariance of its
    noise; components (or modes) without noise do not count.  It is exact for linear SDEs; for others up to
    discretisation, and to how far the flow stretches noise within an interval.  It does not see a wrong initial state
    whose trajectory obeys the equation.

    Where q is diagonal in a basis (:class:`Diagonal`: linear SDEs, and coloured noise, which overrides ``sde.diffuse``
    and has no components of its own) the gap is whitened there.  Elsewhere it is whitened by ``sde.whiten``, which
    takes it for a gap at ``t_m``.  Where a process overrides ``whiten`` (oscillators), the gap is carried back before,
    ``Phi^-1(x_{m+1}) - x_m``, since it acts on gaps that have been carried through the flow.

    Physics that was given for recorded data is that of its process.  Points without data are left out, beside which
    the flow sees zeros; the residual is exact for white noise only, then.

    Args:
        states: Trajectories ``(batch, time, *state)``, in increasing order of time: a tensor, an array or lists.
        sde: The process, with noise that does not depend on the state.
        times: One time for each state, strictly increasing: a tensor, an array or a list.

    Returns:
        A scalar: 1 for true trajectories (``1 +- (2/n)^(1/2)`` over n numbers), 0 for a noise-free one, which is wrong
        too; infinite where a state or the flow is not finite.

    Raises:
        ValueError: For other shapes or times, for fewer than 2 states, for states of another process, and for an SDE
            without noise, or with noise that depends on the state.
    """
    check_instance(sde, SDE, "sde", "give physics_residual(states, sde, times)")
    states, times = numbers(states, "states"), as_times(times).cpu()
    if states.ndim < 3 or states.shape[1] < 2 or states.shape[1] != len(times) or len(states) == 0:
        raise ValueError(
            f"`states` must have shape (batch, time, *state) with 2 or more states, one for each of the {len(times)} "
            f"`times`, got {tuple(states.shape)}."
        )
    as_times(times, increasing=True)
    if isinstance(sde, Simulator) and states.shape[2:] != sde.shape:
        raise ValueError(
            f"`states` must be of shape {(*states.shape[:2], *sde.shape)} for this process, got {tuple(states.shape)}; "
            "are they of another one?"
        )

    # Given physics in the units of its process; points without data do not count.
    process, stretch = (sde.inner, sde.stretch) if isinstance(sde, GivenPhysics) else (sde, 1.0)
    valid = sde.layout.valid if isinstance(sde, Simulator) else None
    if isinstance(sde, Simulator):
        states = sde.layout.emptied(states)

    # Whitened gaps and the number of noisy components, summed over the intervals.
    square, count = torch.zeros((2,), dtype=torch.float64, device=states.device)
    finite = states.isfinite().all()
    for m in range(len(times) - 1):
        t0, t1 = (times[i].to(states).expand(len(states)) for i in (m, m + 1))
        x, y = stretch * states[:, m], stretch * states[:, m + 1]
        gap, noisy, reached = normalised_gap(process, x, y, t0, t1, valid)
        finite = finite & reached.isfinite().all()
        square, count = square + gap.double().square().sum(), count + noisy.square().sum()
    if not bool(count > 0):
        raise ValueError("`sde` must have noise, the unit of the residual; compare with a noise-free run instead.")
    return torch.where(finite & square.isfinite(), square / count, torch.inf).to(states.dtype)


def normalised_gap(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    y: Float[Tensor, "batch *state"],
    t0: Tensor,
    t1: Tensor,
    valid: Bool[Tensor, "*space"] | None = None,
) -> tuple[Tensor, Tensor, Float[Tensor, "batch *state"]]:
    """Return what the physics leaves unexplained of a step, ``q^(-1/2) (y - Phi(x))``, see :func:`physics_residual`.

    Args:
        sde: The process.
        x: States at the earlier times.
        y: States at the later times.
        t0: Earlier times, ``(batch,)``.
        t1: Later times, ``(batch,)``.
        valid: Which points of a field hold data; None: all.  Elsewhere the gap is 0.

    Returns:
        The gap, of variance 1 for each noisy component; a state whose square norm is the number of these; ``Phi(x)``.
    """
    reached = _flow(sde, x, t0, t1)
    if valid is not None:
        y = torch.where(valid.to(y.device), y, reached)
    if isinstance(sde, Diagonal):
        gap, noisy = _diagonal(sde, y - reached, t0, t1)
    else:
        gap, noisy = _componentwise(sde, y, reached, t0, t1)
    if valid is not None:
        gap, noisy = gap * valid.to(gap.device), noisy * float(valid.double().mean()) ** 0.5
    return gap, noisy, reached


def _flow(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
    n = sde.substeps_in(float(t1[0] - t0[0]))
    for i in range(n):
        x = sde.drift_flow(x, torch.lerp(t0, t1, i / n), torch.lerp(t0, t1, (i + 1) / n))
    return x


def _diagonal(sde: Diagonal, gap: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
    """``q^(-1/2) gap``, and a state whose square norm is the number of modes with noise (Parseval), in float64."""
    gap = gap.double()  # variances in small units are no float32 numbers
    y, q = sde.modes(gap), sde.variance(t0.double(), t1.double(), gap)
    noisy = q > 0
    scale = torch.where(noisy, q, torch.ones_like(q)).rsqrt() * noisy
    return sde.unmodes(scale * y, gap), sde.unmodes(noisy * torch.ones_like(y), gap)


def _componentwise(sde: SDE, x: Tensor, reached: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
    """The gap in units of its noise by ``sde.whiten``, and 1 for each component that has noise, else 0."""
    noisy = sde.whiten(torch.ones_like(x), t0, t1) != 0
    if type(sde).whiten is not SDE.whiten:
        x, reached = _flow(sde, x, t1, t0), _flow(sde, reached, t1, t0)
    return sde.whiten(x - reached, t0, t1), noisy.to(x.dtype)
