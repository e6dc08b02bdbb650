"""The linear estimate of ``x_0`` from ``x_T`` (LMMSE): the baseline that every posterior has to beat."""

from __future__ import annotations

__all__ = ["LinearEstimate", "cross_fit", "fit_linear"]

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.fourier import fourier, inverse_fourier
from physinv.equations.sde import SDE
from physinv.laws.gaussian import gaussian_log_prob
from physinv.processes.simulator import Layout

_PENALTIES = tuple(10.0**-p for p in range(8))
_DOUBT = 1.05  # by which a dense map of few trajectories has to beat a filter
_DENSE = 2048  # trajectories, images included, that are fewer than the components and yet worth a dense map: O(n^3)


@dataclass(frozen=True)
class LinearEstimate:
    """``x_0 ~ N(m_0 + G (x_T - m_T), D)``: a linear map, and the variance of what it misses, per component.

    The map is either a dense matrix, as ``weights (n, *state)`` of the inner products with ``anchors (n, d)``, or a
    factor per Fourier mode, ``weights (channels, channels, *modes)``.  What is static in ``layout`` is copied from
    ``x_T``.
    """

    layout: Layout
    mean_initial: Float[Tensor, "*state"]
    mean_final: Float[Tensor, "*state"]
    weights: Tensor
    anchors: Float[Tensor, "n d"] | None
    deviation: Float[Tensor, "*state"]

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """The estimate for each of the observations."""
        out = self.mean_initial + self._mapped(final - self.mean_final)
        return self.layout.set_moving(self.layout.moving(out), final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """``n`` draws for each of the observations."""
        mean = self.mean(final)[:, None]
        shape = (len(final), n, *final.shape[1:])
        z = torch.randn(shape, generator=generator, dtype=final.dtype, device=final.device)
        return mean + self.deviation * z

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """``log N(x_0; mean(x_T), deviation^2)`` of one ``x_0`` for each ``x_T``; components without deviation (static
        ones) are left out."""
        return gaussian_log_prob(initial - self.mean(final), self.deviation.square(), initial)

    def _mapped(self, gap: Tensor) -> Tensor:
        if self.anchors is not None:
            out: Tensor = torch.tensordot(gap.flatten(1) @ self.anchors.T, self.weights, dims=1)
            return out
        return inverse_fourier(torch.einsum("io...,bi...->bo...", self.weights, fourier(gap)), tuple(gap.shape[2:]))


@torch.no_grad()
def fit_linear(sde: SDE, train: TrajectoryDataset, valid: TrajectoryDataset) -> LinearEstimate:
    """The best of ridge regressions of ``x_0`` on ``x_T``, judged on ``valid``, which also gives the missed variance.

    Dense (Hoerl and Kennard 1970; solved in the span of the trajectories if they are few) for every state; for periodic
    fields also mode by mode with all channels (Wiener's filter): many points and few trajectories call for that.
    With fewer trajectories than components the dense map has to be better by 5 %: networks that learn what it misses
    are misled by how little it misses on the data that it was fitted to.  Symmetries of
    the process (``sde.images``) multiply the training data.
    """
    return _best(sde, train, valid)[0]


@torch.no_grad()
def cross_fit(
    sde: SDE, train: TrajectoryDataset, valid: TrajectoryDataset, folds: int = 5
) -> tuple[LinearEstimate, Float[Tensor, "n *state"]]:
    """:func:`fit_linear`, and for every trajectory of ``train`` what the same regression says that was fitted without
    its fold.

    What those miss is of the size that the estimate misses on new data, which networks that are to correct it have to
    learn from (cross-fitting; Chernozhukov et al. 2018).  A single trajectory is told by the estimate itself.
    """
    best, kind, penalty = _best(sde, train, valid)
    x0, xT = train.states(0), train.states(-1)
    fold = torch.arange(len(x0), device=x0.device) % folds
    out = best.mean(xT)
    for k in range(min(folds, len(x0)) if len(x0) > 1 else 0):
        rest = (torch.cat(sde.images(x[fold != k])) for x in (x0, xT))
        out[fold == k] = kind(train.layout, *rest, (penalty,))[0].mean(xT[fold == k])
    return best, out


def _best(
    sde: SDE, train: TrajectoryDataset, valid: TrajectoryDataset
) -> tuple[LinearEstimate, Callable[..., list[LinearEstimate]], float]:
    """The estimate, the kind of regression and the penalty that it came from."""
    layout, y0, yT = train.layout, valid.states(0), valid.states(-1)
    x0, xT = (torch.cat(sde.images(train.states(i))) for i in (0, -1))
    grids = {_dense: _PENALTIES}
    if layout.kind == "field" and layout.boundary == "PERIODIC":
        grids[_wiener] = _PENALTIES[2:]
    few = len(x0) <= x0[0].numel()

    def error(candidate: LinearEstimate) -> float:
        doubt = _DOUBT if few and candidate.anchors is not None else 1.0
        return doubt * float((candidate.mean(yT) - y0).square().mean())

    found = [
        (e, kind, p) for kind, grid in grids.items() for e, p in zip(kind(layout, x0, xT, grid), grid, strict=True)
    ]
    best, kind, penalty = min(found, key=lambda item: error(item[0]))
    miss = (best.mean(yT) - y0).square().mean(0)
    if layout.kind == "field":  # few trajectories, many points: one variance per channel
        miss = miss.mean(dim=tuple(range(1, miss.ndim)), keepdim=True).expand_as(miss)
    return replace(best, deviation=miss.sqrt()), kind, penalty


def _dense(layout: Layout, x0: Tensor, xT: Tensor, penalties: tuple[float, ...]) -> list[LinearEstimate]:
    mean0, meanT = x0.mean(0), xT.mean(0)
    target, anchors = (x0 - mean0).flatten(1).double(), (xT - meanT).flatten(1)
    if len(target) <= target.shape[1]:
        target, anchors = target[:_DENSE], anchors[:_DENSE]
    n, d = anchors.shape
    A = anchors.double()
    values, vectors = torch.linalg.eigh(A @ A.T if n <= d else A.T @ A)
    projected = vectors.T @ target if n <= d else vectors.T @ (A.T @ target)
    found = []
    for penalty in penalties:
        solved = vectors @ (projected / (values + penalty * values.max()).clamp(min=1e-300)[:, None])
        weights = solved.float().reshape(-1, *x0.shape[1:])
        rows = anchors if n <= d else torch.eye(d, dtype=anchors.dtype, device=anchors.device)
        found.append(LinearEstimate(layout, mean0, meanT, weights, rows, torch.zeros_like(mean0)))
    return found


def _wiener(layout: Layout, x0: Tensor, xT: Tensor, penalties: tuple[float, ...]) -> list[LinearEstimate]:
    mean0, meanT = x0.mean(0), xT.mean(0)
    a, b = (fourier(x).movedim(1, -1) for x in (xT - meanT, x0 - mean0))
    power = torch.einsum("n...i,n...j->...ij", a.conj(), a) / len(a)
    cross = torch.einsum("n...i,n...o->...io", a.conj(), b) / len(a)
    eye = torch.eye(a.shape[-1], dtype=power.dtype, device=power.device)
    largest = power.diagonal(dim1=-2, dim2=-1).real.amax()
    found = []
    for penalty in penalties:
        solved = torch.linalg.solve(power + penalty * largest * eye, cross).movedim((-2, -1), (0, 1))
        found.append(LinearEstimate(layout, mean0, meanT, solved, None, torch.zeros_like(mean0)))
    return found
