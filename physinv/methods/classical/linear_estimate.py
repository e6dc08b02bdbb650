"""The linear estimate of ``x_0`` from ``x_T`` (LMMSE, Wiener's filter): a baseline for every posterior."""

from __future__ import annotations

__all__ = [
    "LinearEstimate",
    "cross_fit",
    "dense_maps",
    "fit_linear",
    "wiener_filters",
]

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.data.imports.windows import part_of_each
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE
from physinv.laws.wiener import filter_channels, wiener_gains
from physinv.methods.problem import Answer
from physinv.methods.saving import below, prefixed
from physinv.models.context_means import ContextMeans, persisting
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator

_Kind = Callable[..., "list[LinearEstimate]"]
_PENALTIES = tuple(10.0**-p for p in range(8))
_RECORDED = tuple(10.0**-p for p in range(-3, 10))  # from persistence or the mean alone to no penalty at all
_SHARED = 10  # errors that count for the variance of a channel, beside those at one point of a recorded field
_ALIKE = 1.02  # times the least error of validation data, up to which a regression is about as good
_DOUBT = 1.05  # by which a dense map of few trajectories has to beat a filter
_FAR, _FAULTY, _ROUNDS = 15.0, 0.1, 3  # medians of errors beyond which a recorded vector is a fault; how many may be
_ROWS, _ROWS_PER_NUMBER = 4096, 4  # trajectories that suffice, and those for each number in a state if that is more
_DENSE = 2048  # trajectories, images included, that are fewer than the components and yet worth a dense map: O(n^3)


@dataclass(frozen=True)
class LinearEstimate(Answer):
    """The Gaussian ``x_0 ~ N(m_0 + G (x_T - m_T), D)`` with a linear map ``G`` and a diagonal ``D``.

    Args:
        layout: Which channels move; static ones are copied from ``x_T``.
        mean_initial: The mean ``m_0`` of ``x_0``.
        mean_final: The mean ``m_T`` of ``x_T``.
        weights: ``G`` as a dense matrix, ``(n, *state)``, applied to inner products with ``anchors``, or as a factor
            per Fourier mode, ``(channels, channels, *modes)``.
        anchors: Directions in the space of ``x_T``, ``(n, d)``; None for the factor per mode.
        deviation: Standard deviation ``D^(1/2)`` of the errors of the estimate.
        relative: Whether ``m_0`` and ``G`` are those of ``x_0 - x_T``, to which ``x_T`` is added.
        kept: Share ``a`` of the deviation ``x_T - m_T`` that persists, for each channel, so that ``G + a`` stands for
            ``G``; None: 0.
        context: How far both means depend on what is known of a trajectory; None: not at all.
    """

    layout: StateLayout
    mean_initial: Float[Tensor, "*state"]
    mean_final: Float[Tensor, "*state"]
    weights: Tensor
    anchors: Float[Tensor, "n d"] | None
    deviation: Float[Tensor, "*state"]
    relative: bool = field(default=False, kw_only=True)
    kept: Float[Tensor, "*one_state"] | None = field(default=None, kw_only=True)
    context: ContextMeans | None = field(default=None, kw_only=True)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        start, gap = self.mean_initial, final - self.mean_final
        if self.context is not None:
            first, last = self.context.shifts(final)
            start, gap = start + first, gap - last
        out = start + self._mapped(gap)
        out = out + final if self.relative else out
        out = out if self.kept is None else out + self.kept * gap
        return self.layout.set_moving(self.layout.moving(out), final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        mean = self.mean(final)[:, None]
        shape = (len(final), n, *final.shape[1:])
        z = torch.randn(shape, generator=generator, dtype=final.dtype, device=final.device)
        return mean + self.deviation * z

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """Return ``log N(x_0; mean(x_T), D)`` of one ``x_0`` for each ``x_T``.

        Args:
            initial: Initial states ``x_0``.
            final: Final states ``x_T``.

        Returns:
            Log densities over the components with a deviation; static ones are left out.
        """
        return gaussian_log_prob(initial - self.mean(final), self.deviation.square(), initial)

    @property
    def persists(self) -> bool:
        """Whether what is observed is itself a part of the estimate."""
        return self.relative or self.kept is not None

    def tensors(self) -> dict[str, Tensor]:
        """Return means, map and deviation."""
        names = ("mean_initial", "mean_final", "weights", "deviation")
        anchors = {} if self.anchors is None else {"anchors": self.anchors}
        relative = {"relative": torch.ones(1)} if self.relative else {}
        kept = {} if self.kept is None else {"kept": self.kept}
        context = {} if self.context is None else prefixed("context", self.context.tensors())
        return {name: getattr(self, name) for name in names} | anchors | relative | kept | context

    @staticmethod
    def from_tensors(layout: StateLayout, tensors: Mapping[str, Tensor]) -> LinearEstimate:
        """Make an estimate again.

        Args:
            layout: Layout of the states.
            tensors: What :meth:`tensors` returned.

        Returns:
            The estimate.
        """
        means, maps = (tensors["mean_initial"], tensors["mean_final"]), (tensors["weights"], tensors.get("anchors"))
        context = below("context", tensors)
        known = ContextMeans.from_tensors(layout, context) if context else None
        size, kept = tensors["deviation"], tensors.get("kept")
        return LinearEstimate(layout, *means, *maps, size, relative="relative" in tensors, kept=kept, context=known)

    def _mapped(self, gap: Tensor) -> Tensor:
        if self.anchors is not None:
            out: Tensor = torch.tensordot(gap.flatten(1) @ self.anchors.T, self.weights, dims=1)
            return out
        return filter_channels(self.weights, gap)


@torch.no_grad()
def fit_linear(sde: SDE, train: TrajectoryDataset, valid: TrajectoryDataset) -> LinearEstimate:
    """Fit ridge regressions of ``x_0`` on ``x_T`` and return the best one on the validation data.

    A dense map is fitted for every state (in the span of the trajectories if they are few).  For periodic fields a map
    mode by mode with all channels (Wiener's filter) competes, which suits many points and few trajectories.  With fewer
    trajectories than components the dense map has to be better by 5 %, since networks that learn its errors would learn
    from the too small errors on its own training data.  Errors count by their squares, those of recorded data by their
    moduli, and vectors are also fitted without those that are missed by far, so that a sensor that fails for a while
    does not choose the map.  Symmetries of the process (``sde.images``)
    multiply the training data.

    Args:
        sde: The process, for its symmetries.
        train: Training trajectories.
        valid: Validation trajectories, which choose the map and give the deviation of its errors.

    Returns:
        The estimate, with the deviation of its errors.

    References:
        Hoerl and Kennard (1970), Ridge regression; Wiener (1949) for the filter.
    """
    return _best(sde, train, valid)[0]


def cross_fit(
    sde: SDE,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    folds: int = 5,
    *,
    ends: tuple[int, int] = (0, -1),
    damped: bool = False,
) -> tuple[LinearEstimate, Float[Tensor, "n *state"]]:
    """Fit the linear estimate, and estimate every training trajectory by a fit without its fold.

    The errors of these estimates are as large as on new data, which networks that correct the estimate have to learn
    from.  A single trajectory is estimated by the fit itself.

    Args:
        sde: The process, for its symmetries.
        train: Training trajectories.
        valid: Validation trajectories.
        folds: Number of folds.
        ends: Stored state that is estimated, and the one that it is estimated from: ``(-1, 0)`` regresses ``x_T`` on
            ``x_0``.
        damped: Whether the most damped of the regressions that are about as good as the best one is taken: what the
            data do not show, such as roughness that no state has, then leads nowhere.

    Returns:
        The estimate of :func:`fit_linear`, and the cross-fitted estimates of ``x_0`` of the training trajectories.

    References:
        Chernozhukov et al. (2018), Double/debiased machine learning (cross-fitting).
    """
    best, kind, penalty = _best(sde, train, valid, ends, damped=damped)
    x0, xT = (train.states(i) for i in ends)
    folds, out = min(folds, len(x0)), best.mean(xT)
    fold = torch.arange(len(x0), device=x0.device) % folds
    if _is_recorded(sde):  # windows of one recording overlap their neighbours
        fold = torch.from_numpy(part_of_each(len(x0), folds, train.config)).to(x0.device)
    for k in range(folds if len(x0) > 1 else 0):
        rest = (torch.cat(sde.images(x[fold != k][: _most_rows(train)])) for x in (x0, xT))
        out[fold == k] = kind(train.layout, *rest, (penalty,))[0].mean(xT[fold == k])
    return best, out


def dense_maps(
    layout: StateLayout, x0: Tensor, xT: Tensor, penalties: tuple[float, ...], *, standardise: bool = False
) -> list[LinearEstimate]:
    """Fit dense ridge regressions of ``x_0`` on ``x_T``, in the span of the trajectories if they are few.

    Args:
        layout: StateLayout of the states.
        x0: Initial states, ``(n, *state)``.
        xT: Final states, ``(n, *state)``.
        penalties: Ridge penalties, as shares of the largest eigenvalue of the covariance of ``x_T``.
        standardise: Whether components (channels of fields) of ``x_T`` count in units of their deviation.

    Returns:
        One estimate for each penalty, without the deviation of its errors.
    """
    mean0, meanT = x0.mean(0), xT.mean(0)
    target, anchors = (x0 - mean0).flatten(1).double(), (xT - meanT).flatten(1)
    scale = torch.ones_like(anchors[0])
    if standardise:
        scale = layout.pooled((xT - meanT).square()).sqrt().expand_as(meanT).flatten()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    anchors = anchors / scale
    unit = 2.0 ** math.frexp(float(anchors.abs().amax()))[1]  # inner products of states may underflow, those in it not
    anchors = anchors / unit
    if len(target) <= target.shape[1]:
        target, anchors = target[:_DENSE], anchors[:_DENSE]
    n, d = anchors.shape
    A = anchors.double()
    values, vectors = torch.linalg.eigh(A @ A.T if n <= d else A.T @ A)
    projected = vectors.T @ target if n <= d else vectors.T @ (A.T @ target)
    found = []
    for penalty in penalties:
        damped = (values + penalty * values.max()).clamp(min=torch.finfo(values.dtype).tiny)
        solved = vectors @ (projected / damped[:, None])
        weights = (solved / unit).float().reshape(-1, *x0.shape[1:]).contiguous()
        rows = anchors if n <= d else torch.eye(d, dtype=anchors.dtype, device=anchors.device)
        found.append(LinearEstimate(layout, mean0, meanT, weights, rows / scale, torch.zeros_like(mean0)))
    return found


def wiener_filters(layout: StateLayout, x0: Tensor, xT: Tensor, penalties: tuple[float, ...]) -> list[LinearEstimate]:
    """Fit ridge regressions of periodic fields mode by mode, with all channels (Wiener's filter).

    Args:
        layout: StateLayout of the states.
        x0: Initial fields, ``(n, channels, *space)``.
        xT: Final fields, ``(n, channels, *space)``.
        penalties: Ridge penalties, as shares of the largest power of a mode of ``x_T``.

    Returns:
        One estimate for each penalty, without the deviation of its errors.
    """
    mean0, meanT = x0.mean(0), xT.mean(0)
    found = wiener_gains(xT - meanT, x0 - mean0, penalties)
    return [LinearEstimate(layout, mean0, meanT, gain, None, torch.zeros_like(mean0)) for gain in found]


def _best(
    sde: SDE,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    ends: tuple[int, int] = (0, -1),
    *,
    damped: bool = False,
) -> tuple[LinearEstimate, _Kind, float]:
    """The estimate, the kind of regression and the penalty that it came from."""
    layout, y0, yT = train.layout, valid.states(ends[0]).double(), valid.states(ends[1])
    x0, xT = (torch.cat(sde.images(train.states(i, limit=_most_rows(train)))) for i in ends)
    grids: dict[_Kind, tuple[float, ...]] = {dense_maps: _PENALTIES}
    if layout.basis == "fourier":
        grids[wiener_filters] = _PENALTIES[2:]
    if _is_recorded(sde):
        dense: _Kind = functools.partial(dense_maps, standardise=True)
        kinds: list[_Kind] = [dense, *list(grids)[1:]]
        if not layout.space and not layout.positions:  # numbers side by side, of which one sensor may fail
            kinds.append(functools.partial(_without_faults, dense))
        around = [functools.partial(form, kind) for form in (_of_increments, _of_deviations) for kind in kinds]
        grids = dict.fromkeys([*kinds, *around], _RECORDED)
    few = len(x0) <= x0[0].numel()
    power = 1 if _is_recorded(sde) else 2  # squares of a few faults of a sensor would outweigh all else

    def error(candidate: LinearEstimate) -> float:
        doubt = _DOUBT if few and candidate.anchors is not None else 1.0
        return math.pow(doubt, power / 2) * float((candidate.mean(yT) - y0).abs().pow(power).mean())

    # Every kind of regression with every penalty; the validation data decide.
    found = [
        (e, kind, p) for kind, grid in grids.items() for e, p in zip(kind(layout, x0, xT, grid), grid, strict=True)
    ]
    errors = [e if math.isfinite(e := error(item[0])) else math.inf for item in found]
    if min(errors) == math.inf:
        largest = max(float(x.abs().max()) for x in (x0, xT, y0, yT))
        raise ValueError(
            f"no regression of these states is finite in float32: they have values up to {largest:.3g}; write the data "
            "in larger units."
        )
    alike = [item for item, e in zip(found, errors, strict=True) if e <= (_ALIKE if damped else 1.0) * min(errors)]
    best, kind, penalty = min(alike, key=lambda item: (item[0].persists, -item[2])) if damped else alike[0]

    # Its errors on the validation data, in float64: their squares must not underflow in small units.
    miss = (best.mean(yT) - y0).square().mean(0)
    if layout.space:  # few trajectories, many points: one variance per channel
        channel = layout.channel_mean(miss[None]).expand_as(miss)
        own = len(yT) if _is_recorded(sde) and layout.basis == "identity" else 0
        miss = layout.emptied((own * miss + _SHARED * channel) / (own + _SHARED))
    return replace(best, deviation=miss.sqrt().to(yT).contiguous()), kind, penalty


def _most_rows(train: TrajectoryDataset) -> int:
    """Trajectories that a regression is fitted to, at most, so that it takes no more memory for more of them."""
    return max(_ROWS, _ROWS_PER_NUMBER * math.prod(train.shape))


def _without_faults(
    kind: _Kind, layout: StateLayout, x0: Tensor, xT: Tensor, penalties: tuple[float, ...]
) -> list[LinearEstimate]:
    """Regressions without the trajectories that they miss by far, such as those of a sensor that fails.

    A fault in ``x_T`` draws the map to itself, and shows where ``x_T`` is regressed on ``x_0``.  Numbers that are the
    same most of the time, such as rain, tell nothing of faults: all that is rare in them is far away.
    """
    keep = torch.ones(len(x0), dtype=torch.bool, device=x0.device)
    for _ in range(_ROUNDS):
        near = torch.ones_like(keep)
        for x, y in ((x0, xT), (xT, x0)):
            errors = [(x - estimate.mean(y)).abs() for estimate in kind(layout, x[keep], y[keep], penalties)]
            best = min(errors, key=lambda error: float(error.median(0).values.sum()))
            usual = (x - x.median(0).values).abs().median(0).values == 0
            near &= ((best <= _FAR * best.median(0).values) | usual).all(1)
        if torch.equal(near, keep) or float((~near).double().mean()) > _FAULTY:
            break
        keep = near
    return kind(layout, x0[keep], xT[keep], penalties)


def _of_increments(
    kind: _Kind, layout: StateLayout, x0: Tensor, xT: Tensor, penalties: tuple[float, ...]
) -> list[LinearEstimate]:
    """Regressions of what is to be added to ``x_T``."""
    return [replace(estimate, relative=True) for estimate in kind(layout, x0 - xT, xT, penalties)]


def _of_deviations(
    kind: _Kind, layout: StateLayout, x0: Tensor, xT: Tensor, penalties: tuple[float, ...]
) -> list[LinearEstimate]:
    """Regressions around what persists of a deviation from the mean, which may depend on what is known.

    This is how anomalies from the season are forecast: a regression with one penalty for both shrinks the season, or
    learns what the few years of a recording have in common by chance.
    """
    context = ContextMeans.fit(layout, x0, xT)
    if context is not None:
        first, last = context.shifts(xT)
        x0, xT = x0 - first, layout.set_moving(layout.moving(xT - last), torch.zeros_like(xT))
    kept = persisting(layout, x0, xT)
    found = kind(layout, x0 - kept * (xT - xT.mean(0)), xT, penalties)
    return [replace(estimate, kept=kept, context=context) for estimate in found]


def _is_recorded(sde: SDE) -> bool:
    """Whether the data were measured, or made elsewhere: in windows that may overlap, in any units."""
    return isinstance(sde, Simulator) and not sde.startable
