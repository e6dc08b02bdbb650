"""The law of a vector around a linear estimate: Gaussian mixtures."""

from __future__ import annotations

__all__ = ["VectorIncrements"]

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.models.increments.base import LEAST, IncrementLaw
from physinv.models.jumps.conditional_mixture import ConditionalMixture, mixture_outputs
from physinv.processes.layout import StateLayout

_COMPONENTS = 4  # Gaussians of the mixture
_DEGREES, _WEIGHINGS = 2.0, 30  # of the law of errors, and iterations of its fit
_FAULTS = 0.01  # share of validation data that may be faults, such as those of a sensor
_MOST = 0.75  # share of validation data that are no faults, whatever training has not seen of them
_APART = 3.0  # times as far from what other components say as any in training: a sensor that fails


class VectorIncrements(IncrementLaw):
    """Mixtures of Gaussians ``x_0 = m(x_T) + U r`` around a linear estimate ``m`` of a vector.

    ``U`` is the Cholesky factor of the scatter of its errors.  The network sees ``x_T`` in principal coordinates,
    each clamped to the range of training, the estimated increment ``m - x_T`` in units of its errors, and the numbers
    that are known (static ones), standardised.  On validation data the likelihood allows one trajectory of a hundred
    any error, so that a fault does not say when training was best.

    Args:
        network: ``(features, 1) ->`` the numbers of a mixture.
        layout: Layout of the states.
    """

    centre: Float[Tensor, " d"]
    whitener: Float[Tensor, "d d"]
    dresser: Float[Tensor, "d d"]
    first: Float[Tensor, " d"]
    last: Float[Tensor, " d"]
    oddest: Float[Tensor, " d"]
    drift: Float[Tensor, " d"]
    factor: Float[Tensor, "d d"]
    inverse: Float[Tensor, "d d"]
    beyond: Float[Tensor, "d d"]
    known: Float[Tensor, "2 s"]

    def __init__(self, network: nn.Module, layout: StateLayout) -> None:
        super().__init__(network, layout)
        d, s = _counts(layout)
        for name in ("centre", "first", "last", "oddest", "drift"):
            self.register_buffer(name, torch.zeros(d))
        for name in ("whitener", "dresser", "factor", "inverse"):
            self.register_buffer(name, torch.eye(d))
        self.register_buffer("beyond", torch.zeros(d, d))
        if s:  # mean and deviation of what is static
            self.register_buffer("known", torch.stack([torch.zeros(s), torch.ones(s)]))

    @staticmethod
    def sizes(layout: StateLayout) -> tuple[int, int]:
        """Return the numbers of inputs and outputs of the network.

        Args:
            layout: Layout of the states.
        """
        d, s = _counts(layout)
        return 2 * d + s, mixture_outputs(d, _COMPONENTS)

    def seen(self, final: Float[Tensor, "batch c"]) -> Float[Tensor, "batch c"]:
        """Return observations as the law takes them: without sensors that fail, and not far from all of training.

        A component that lies three times as far from what the others say of it as any in training is replaced by what
        they say (of three components or more, up to half of them), unless most of validation data differ so, too.  Then
        every principal coordinate is brought within three times its range in training, and further where validation
        data are: a trend leads slowly out of that range.

        Args:
            final: Final states ``x_T``.
        """
        gap, rows = self.layout.moving(final) - self.centre, torch.arange(len(final), device=final.device)
        for _ in range(gap.shape[1] // 2 if gap.shape[1] > 2 else 0):
            odd, precise = self._odd(gap)
            at = (odd.abs() * precise.sqrt()).argmax(1)
            failed = odd[rows, at].abs() > _APART * self.oddest[at]
            gap = gap.index_put((rows[failed], at[failed]), gap[rows, at][failed] - odd[rows, at][failed])
        z, wide = gap @ self.whitener, self.last - self.first + self.drift
        bounded = z.clamp(self.first - wide, self.last + wide)
        near = self.centre + torch.where((z == bounded).all(1, keepdim=True), gap, bounded @ self.dresser)
        return self.layout.set_moving(near, final)

    @torch.no_grad()
    def adapt(self, initial: Float[Tensor, "n c"], final: Float[Tensor, "n c"], estimate: Float[Tensor, "n c"]) -> None:
        """Fit coordinates, and the scatter of the errors of cross-fitted estimates.

        Args:
            initial: Initial states.
            final: Final states.
            estimate: Estimates of the initial states.
        """
        self.bound(torch.cat([initial, final]))
        if self.layout.static:
            fixed = self._fixed(final)
            deviation = fixed.std(0, correction=0)
            self.known.copy_(torch.stack([fixed.mean(0), torch.where(deviation > 0, deviation, 1.0)]))
        initial, final, estimate = (self.layout.moving(x) for x in (initial, final, estimate))
        self.centre.copy_(final.mean(0))
        gap = (final - self.centre).double()
        values, vectors = torch.linalg.eigh(gap.T @ gap / len(gap))
        deviation = values.clamp(min=0).sqrt()
        deviation = torch.where(deviation > LEAST * deviation.amax(), deviation, deviation.amax())
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        self.whitener.copy_(vectors / deviation)
        self.dresser.copy_((vectors * deviation).T)
        z = (final - self.centre) @ self.whitener
        self.first.copy_(z.amin(0))
        self.last.copy_(z.amax(0))
        self.oddest.copy_(self._odd(final - self.centre)[0].abs().amax(0))

        covariance = _scatter((initial - estimate).double())
        floor = LEAST**2 * gap.square().mean(0).amax().clamp(min=torch.finfo(torch.float32).tiny)
        covariance += floor * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        factor = torch.linalg.cholesky(covariance)
        self.factor.copy_(factor)
        self.inverse.copy_(torch.linalg.inv(factor))

    @torch.no_grad()
    def believe(self, final: Float[Tensor, "n c"]) -> None:
        gap = self.layout.moving(final) - self.centre
        odd, z = self._odd(gap)[0].abs().quantile(_MOST, 0), gap @ self.whitener
        self.oddest.copy_(torch.where(odd > self.oddest, torch.inf, self.oddest))
        beyond = torch.maximum(self.first - z, z - self.last).quantile(_MOST, 0)
        self.drift.copy_(_APART * beyond.clamp(min=0))

    def loss(
        self,
        initial: Float[Tensor, "batch c"],
        final: Float[Tensor, "batch c"],
        estimate: Float[Tensor, "batch c"],
        generator: torch.Generator | None,
        *,
        judged: bool = False,
    ) -> Float[Tensor, ""]:
        r = self.layout.moving(initial - estimate) @ self.inverse.T
        logs = self._mixture(final, estimate).log_prob(r)
        if judged:  # in training it would leave rare and fast changes unlearned, which begin far away
            logs = torch.logaddexp(logs + math.log(1 - _FAULTS), _broad(r) + math.log(_FAULTS))
        return -logs.mean() / r.shape[1]

    @torch.no_grad()
    def draw(
        self,
        final: Float[Tensor, "batch c"],
        estimate: Float[Tensor, "batch c"],
        n: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n c"]:
        many, whole = (x.repeat_interleave(n, 0) for x in (estimate, final))
        drawn = self.layout.moving(many) + self._mixture(whole, many).draw(generator=generator) @ self.factor.T
        if self.beyond.any():
            z = torch.randn(drawn.shape, generator=generator, dtype=drawn.dtype, device=drawn.device)
            drawn = drawn + z @ self.beyond
        return self.within(self.layout.set_moving(drawn, whole), whole).reshape(len(final), n, -1)

    @torch.no_grad()
    def mean(self, final: Float[Tensor, "batch c"], estimate: Float[Tensor, "batch c"]) -> Float[Tensor, "batch c"]:
        mean = self.layout.moving(estimate) + self._mixture(final, estimate).mean() @ self.factor.T
        return self.within(self.layout.set_moving(mean, final), final)

    @torch.no_grad()
    def widen(self, gap: Float[Tensor, "n c"], times: float) -> None:
        moved = self.layout.moving(gap).double()
        unit = moved.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
        values, vectors = torch.linalg.eigh((moved / unit).T @ (moved / unit) / len(moved))
        normal = math.sqrt(math.pi / 2) * moved.abs().mean() / moved.square().mean().sqrt().clamp(min=unit * 1e-12)
        self.beyond.copy_(times * normal * unit * values.clamp(min=0).sqrt()[:, None] * vectors.T)

    def _mixture(self, final: Tensor, estimate: Tensor) -> ConditionalMixture:
        seen, guessed = self.layout.moving(final), self.layout.moving(estimate)
        z = ((seen - self.centre) @ self.whitener).clamp(self.first, self.last)
        moved = ((guessed - seen) @ self.inverse.T).asinh()
        more = [(self._fixed(final) - self.known[0]) / self.known[1]] if self.layout.static else []
        numbers = self.network(torch.cat([z, moved, *more], 1), final.new_ones(len(final)))
        return ConditionalMixture.of(numbers, seen.shape[1], _COMPONENTS)

    def _odd(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """How far each component is from what the others say, ``x_j - E[x_j | all others]``, and its precision."""
        precise = self.whitener @ self.whitener.T
        return gap @ precise / precise.diagonal(), precise.diagonal()

    def _fixed(self, states: Tensor) -> Tensor:
        """What is static, which stands behind what moves."""
        return states[:, len(self.centre) :]


def _counts(layout: StateLayout) -> tuple[int, int]:
    """How many numbers of a state move, and how many are static."""
    moving = layout.moving(torch.zeros(layout.shape)).shape[0]
    return moving, layout.shape[0] - moving


def _broad(r: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Log density of the t law whose scatter is the unit of ``r``: of an error that no law of the others explains.

    Without it one failed sensor costs more on validation data than all that can be learned.
    """
    d = r.shape[1]
    power = (_DEGREES + d) / 2
    unit = math.lgamma(power) - math.lgamma(_DEGREES / 2) - d / 2 * math.log(_DEGREES * math.pi)
    return unit - power * torch.log1p(r.square().sum(1) / _DEGREES)


def _scatter(errors: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """The scatter matrix of a multivariate t law with two degrees of freedom: single large errors do not inflate it.

    Its likelihood is maximised by iterated weights (Lange, Little and Taylor 1989).
    """
    n, d = errors.shape
    found = errors.T @ errors / n
    tiny = torch.finfo(torch.float32).tiny + 1e-10 * found.diagonal().mean()
    eye = torch.eye(d, dtype=errors.dtype, device=errors.device)
    for _ in range(_WEIGHINGS):
        square = (errors @ torch.linalg.inv(found + tiny * eye) * errors).sum(1)
        weights = (_DEGREES + d) / (_DEGREES + square)
        found = (weights[:, None] * errors).T @ errors / n
    return found
