"""The exact answer to a record of observations of a linear-Gaussian process: states at any time given all of it.

With the prior ``x_t ~ N(m_t, P_t)``, ``Cov(x_s, x_t) = P_s e^{r (t - s)}`` for ``s <= t`` (mode by mode), and what is
seen, ``y = sum_i H_i x_{t_i} + e``, everything is jointly Gaussian:

    E[x_s | y] = m_s + C_s G^-1 (y - E y),    Cov = P_s - C_s G^-1 C_s^T,    C_s = Cov(x_s, y),  G = Cov(y)

Draws condition prior paths by Matheron's rule.  The matrix ``G`` is as large as the number of observed numbers; no
matrix over times and components is formed, whatever the number of times asked for.
"""

from __future__ import annotations

__all__ = ["SmoothedGaussian"]

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, as_times, check_count, check_generator
from physinv.laws.observation import check_linear, jacobian
from physinv.laws.record import ObservationRecord
from physinv.laws.smoothing.base import Smoothed

if TYPE_CHECKING:
    from physinv.laws.exact import LinearGaussian

_MOST = 10_000  # observed numbers: 800 MB of G
_BLOCK = 2**22  # numbers of directions whose covariance is computed at once


@dataclass(frozen=True)
class SmoothedGaussian(Smoothed):
    """The laws ``p(x_t | y)`` of a linear-Gaussian process given a record ``y``, at any times ``t``.

    Times before the last observation are smoothed, later ones are forecasts, and 0 is that of the initial state.
    Observed numbers are one row for each trajectory, NaN where a number is missing.  Everything is computed in float64,
    on the device of the law.

    Args:
        law: The process with the law of its initial states.
        record: Times, linear operators and noise of the observations.

    Raises:
        ValueError: If an operator is not linear or does not fit the states, or too many numbers are observed.
    """

    law: LinearGaussian
    record: ObservationRecord

    def __post_init__(self) -> None:
        like = self._like
        if (seen := sum(self.record.sizes(like))) > _MOST:
            told = f"at most {_MOST} numbers for dense algebra"
            raise ValueError(f"`record` must hold {told}, got {seen}; leave some out.")
        for i, entry in enumerate(self.record.entries):
            check_linear(entry.observation.operator, like, f"`operator` of entry {i}")

    def mean_at(self, y: Any, times: Times) -> Float[Tensor, "batch time *state"]:
        times, y, dtype = _times(times), *self.accepted(y)
        w = self._solved(y - self._expected)
        found = self._prior_mean(times.tolist()) + self._pulled(w, times.tolist())
        return found.to(dtype)

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        times, n = _times(times), check_count(n, "n")
        check_generator(generator)
        y, dtype = self.accepted(y)

        # Trajectories of the prior, with what would be seen of them.
        every = sorted({*times.tolist(), *self.record.times})
        paths = self._prior_paths(n * len(y), every, generator)
        place = {t: i for i, t in enumerate(every)}
        seen = self.record.observe(paths[:, [place[t] for t in self.record.times]], generator=generator)

        # Each moved by what its own record misses (Matheron's rule).
        w = self._solved(y.repeat_interleave(n, 0) - seen)
        found = paths[:, [place[t] for t in times.tolist()]] + self._pulled(w, times.tolist())
        return found.reshape(len(y), n, *found.shape[1:]).to(dtype)

    def deviation_at(self, times: Times) -> Float[Tensor, "time *state"]:
        """Return the posterior standard deviation of each component, with no number missing.

        Args:
            times: Times, 0 or later.
        """
        shape, parts = self._like.shape[1:], []
        for t in _times(times).tolist():
            hidden = torch.linalg.solve_triangular(self._factor, self._cross(t), upper=False)
            prior = torch.cat([(rows * self._covariance(rows, t, t)).flatten(1).sum(1) for rows in self._units()])
            parts.append((prior - hidden.square().sum(0)).clamp(min=0).sqrt().reshape(shape))
        return torch.stack(parts)

    def covariance_at(self, times: Times) -> Float[Tensor, "numbers numbers"]:
        """Return the posterior covariance of states at several times, with no number missing, for small states.

        Args:
            times: Times, 0 or later.

        Returns:
            A matrix over times and components, the components of the first time first.
        """
        instants = _times(times).tolist()
        units = torch.cat(list(self._units()))
        prior = [torch.cat([self._covariance(units, s, t).flatten(1) for t in instants], 1) for s in instants]
        cross = torch.cat([self._cross(t) for t in instants], 1)
        hidden = torch.linalg.solve_triangular(self._factor, cross, upper=False)
        found: Tensor = torch.cat(prior) - hidden.T @ hidden
        return found

    def scaled(self, level: float) -> SmoothedGaussian:
        found = object.__new__(SmoothedGaussian)  # of the same operators, which are linear: that is not asked again
        kept = {name: getattr(self, name) for name in ("law", "_rows", "_expected", "_clean_gram")}
        found.__dict__.update(kept, record=self.record.known(level))  # where cached properties are
        return found

    def log_evidence(self, y: Any) -> Float[Tensor, " batch"]:
        y, dtype = self.accepted(y)
        gap = y - self._expected
        found: Tensor = y.new_zeros(len(y))
        for rows, kept, factor in self._patterns(gap):
            z = torch.linalg.solve_triangular(factor, gap[rows][:, kept].T, upper=False)
            total = factor.diagonal().log().sum() + len(factor) * math.log(2 * math.pi) / 2
            found[rows] = -z.square().sum(0) / 2 - total
        return found.to(dtype)

    def accepted(self, y: Any) -> tuple[Float[Tensor, "batch seen"], torch.dtype]:
        """Return observed numbers in float64, and the precision they came in.

        Args:
            y: Observed numbers.
        """
        dtype = y.dtype if isinstance(y, Tensor) and y.is_floating_point() else torch.get_default_dtype()
        return self.record.accepted(y, self._like), dtype

    @property
    def _like(self) -> Tensor:
        return self.law.mean0.double()[None]

    @cached_property
    def _rows(self) -> list[Tensor]:
        """The operator of each entry as a matrix."""
        zero = torch.zeros_like(self._like)
        return [jacobian(entry.observation.operator, zero) for entry in self.record.entries]

    @cached_property
    def _expected(self) -> Tensor:
        """``E y``."""
        return self.record.clean(self._prior_mean(list(self.record.times))[None])[0]

    @cached_property
    def _gram(self) -> Tensor:
        """``G``, the covariance of the observed numbers."""
        return self._clean_gram + self.record.deviations(self._like).square().diag()

    @cached_property
    def _clean_gram(self) -> Tensor:
        """The covariance of what is seen without noise."""
        columns = [self.record.clean(self._seen_from(i).movedim(0, 1)) for i in range(len(self._rows))]
        total = torch.cat(columns)
        return (total + total.T) / 2

    @cached_property
    def _factor(self) -> Tensor:
        return _cholesky(self._gram)

    def _seen_from(self, i: int) -> Tensor:
        """Covariances of an entry's numbers with the states at all times of the record, ``(time, seen, *state)``."""
        times = self.record.entries[i].times
        return torch.stack([self._averaged(self._rows[i], t, times) for t in self.record.times])

    def _averaged(self, v: Tensor, t: float, times: tuple[float, ...]) -> Tensor:
        """``Cov(x_t, x_s) v``, averaged over times ``s``."""
        return torch.stack([self._covariance(v, t, s) for s in times]).mean(0)

    def _covariance(self, v: Tensor, s: float, t: float) -> Tensor:
        """``Cov(x_s, x_t) v``: symmetric, since everything is diagonal in the same basis."""
        sde = self.law.sde
        power = self._power(min(s, t)) * sde.decay(min(s, t), v.new_tensor(max(s, t)), v)
        return sde.unmodes(power * sde.modes(v), v)

    def _power(self, t: float) -> Tensor:
        """The variance of each mode at a time."""
        sde, like = self.law.sde, self._like
        at = like.new_tensor(t)
        power: Tensor = sde.decay(0.0, at, like) ** 2 * self.law.power.to(like) + sde.variance(0.0, at, like)
        return power

    def _prior_mean(self, times: list[float]) -> Tensor:
        sde, like = self.law.sde, self._like
        y = sde.modes(like)
        return torch.cat([sde.unmodes(sde.decay(0.0, like.new_tensor(t), like) * y, like) for t in times])

    def _cross(self, t: float) -> Tensor:
        """``Cov(y, x_t)``, one row for each observed number."""
        pairs = zip(self._rows, self.record.entries, strict=True)
        return torch.cat([self._averaged(rows, t, entry.times).flatten(1) for rows, entry in pairs])

    def _pulled(self, w: Tensor, times: list[float]) -> Tensor:
        """``Cov(x_t, y) w`` at each time, without the matrix."""
        shape, sizes = self._like.shape[1:], [len(rows) for rows in self._rows]
        found = w.new_zeros((len(w), len(times), *shape))
        for part, rows, entry in zip(torch.split(w, sizes, 1), self._rows, self.record.entries, strict=True):
            v = (part @ rows.flatten(1)).reshape(-1, *shape)
            found += torch.stack([self._averaged(v, t, entry.times) for t in times], 1)
        return found

    def _prior_paths(self, n: int, times: list[float], generator: torch.Generator | None) -> Tensor:
        """Trajectories of the prior at increasing times."""
        sde, like = self.law.sde, self._like
        shape = (n, *like.shape[1:])

        def noise(power: Tensor) -> Tensor:
            z = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
            return sde.unmodes(power.sqrt() * sde.modes(z), z)

        x, before, parts = like + noise(self.law.power.to(like)), 0.0, []
        for t in times:
            now = like.new_tensor(t)
            if t > before:
                carried = sde.unmodes(sde.decay(before, now, like) * sde.modes(x), x)
                x = carried + noise(sde.variance(before, now, like))
            before = t
            parts.append(x)
        return torch.stack(parts, 1)

    def _solved(self, gap: Tensor) -> Tensor:
        """``G^-1 gap`` row by row; of rows with the same numbers missing, without those."""
        out = torch.zeros_like(gap)
        for rows, kept, factor in self._patterns(gap):
            solved = torch.cholesky_solve(gap[rows][:, kept].T, factor).T
            out[rows[:, None], kept.nonzero()[:, 0][None]] = solved
        return out

    def _patterns(self, gap: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Rows with the same numbers missing, which are there, and the Cholesky factor of the covariance of these."""
        patterns, which = torch.unique(gap.isfinite(), dim=0, return_inverse=True)
        for i, kept in enumerate(patterns):
            factor = self._factor if bool(kept.all()) else _cholesky(self._gram[kept][:, kept])
            yield (which == i).nonzero()[:, 0], kept, factor

    def _units(self) -> Iterator[Tensor]:
        """Unit vectors of the space of states, some at a time."""
        like = self._like
        d = like.numel()
        for at in range(0, d, max(1, _BLOCK // d)):
            rows = torch.arange(at, min(d, at + max(1, _BLOCK // d)), device=like.device)
            yield torch.nn.functional.one_hot(rows, d).to(like).reshape(-1, *like.shape[1:])


def _times(times: Times) -> Tensor:
    found = as_times(times)
    if not len(found) or bool((found < 0).any()):
        raise ValueError(f"`times` must be 0 or later, got {found.tolist()}; processes begin at 0.")
    return found


def _cholesky(matrix: Tensor) -> Tensor:
    """The lower factor; of a matrix that rounding made indefinite, that of the closest one that is not."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not int(failed):
        return factor
    values, vectors = torch.linalg.eigh(matrix)
    least = 2 * len(matrix) * torch.finfo(matrix.dtype).eps * values[-1]
    factor = torch.linalg.cholesky((vectors * values.clamp(min=float(least))) @ vectors.T)
    return factor
