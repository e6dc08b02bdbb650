"""The score of noisy trajectories given any of their entries: that of a Gaussian law, and a network beside it."""

from __future__ import annotations

__all__ = ["WindowScore", "denoised", "masked", "velocity_error", "velocity_score"]

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.noising import Noising
from physinv.equations.sde import Reverse
from physinv.equations.solve import march
from physinv.equations.steps import euler, heun
from physinv.models.windows.law import LEAST, Conditional, WindowLaw
from physinv.models.windows.masks import draw_masks
from physinv.models.windows.trajectories import TrajectoryScore
from physinv.processes.layout import StateLayout

_EXACT = 0.5  # share of the trajectories of a batch whose entries are known without noise
_LOWEST = math.log(1e-2)  # of the noise of the others, in units of the law, up to 1
_WORK = 2e8  # multiplications of an update that go into laws given masks


class WindowScore(TrajectoryScore):
    """The score of ``e_t`` given some entries, ``e_0`` the white coordinates of a trajectory given the same entries.

    ``e_t = a e_0 + s n`` by the variance-preserving process.  For Gaussian data ``e_0`` is white, and the score is
    ``-e_t``.  The network predicts what is missing from it, ``v = a n - s e_0`` of Salimans and Ho (2022), of which
    ``E[v | e_t] = 0`` for Gaussian data.  It sees, in the shape of trajectories: the noisy trajectory without its
    mean, the mean given the entries, which entries are known and how exactly, and their values.

    Where ``useful`` is False, nothing is missing: draws are those of the Gaussian law.

    Args:
        law: The Gaussian law of trajectories.
        network: A network with 4 inputs for each frame and channel, and one output.
        layout: Layout of the states.

    References:
        Tashiro et al. (2021), CSDI: conditional score-based diffusion models for probabilistic time series imputation;
        Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models, section 4.
    """

    def __init__(self, law: WindowLaw, network: nn.Module, layout: StateLayout) -> None:
        super().__init__(law, network, layout)
        flat = law.factor.flatten(0, 1)
        self.reach = math.sqrt(len(flat) * float(flat.square().sum(0).max()))

    def velocity(
        self, e: Float[Tensor, "group row rank"], t: Float[Tensor, " group_row"], known: Conditional
    ) -> Float[Tensor, "group row rank"]:
        """Return the prediction of ``v``.

        Args:
            e: Noisy white coordinates.
            t: Their times.
            known: What is known.
        """
        if not self.useful:
            return torch.zeros_like(e)
        noisy = self.law.lifted(known.deviation(e))
        sure = (known.seen / (1 + known.noise.square()))[:, None].expand_as(noisy)
        features = torch.stack([noisy, self.law.lifted(known.mean).expand_as(noisy), sure, sure * known.y], 2)
        out = self.network(self._shaped(features.flatten(0, 1).float()), (t / self.process.horizon).float())
        entries = out.double().reshape(*e.shape[:2], self.law.frames, self.law.numbers)
        return known.pulled(self.law.against(entries)) / self.reach

    def score(
        self, e: Float[Tensor, "row rank"], t: Float[Tensor, " row"], known: Conditional
    ) -> Float[Tensor, "row rank"]:
        """Return the score of noisy white coordinates.

        Args:
            e: The coordinates, groups one after the other.
            t: Their times, later than 0.
            known: What is known.
        """
        return velocity_score(self.process, self.velocity(e.reshape(known.mean.shape), t, known).reshape(e.shape), e, t)

    def loss(self, states: Float[Tensor, "batch time *state"], generator: torch.Generator | None) -> Float[Tensor, ""]:
        u, y, seen, noise = masked(self.law, self.layout, states, generator)
        known = self.law.given(y, seen, noise)
        e = known.whitened(self.law.coordinates(u))
        return velocity_error(self.process, lambda noisy, t: self.velocity(noisy, t, known), e, generator)

    def _drawn(
        self, y: Tensor, seen: Tensor, noise: Tensor, n: int, steps: int, generator: torch.Generator | None
    ) -> Tensor:
        known = self.law.given(y[None], seen[None], noise[None]).repeated(n)
        like = known.mean[0]
        e = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        if self.useful:
            e = denoised(self.process, lambda x, t: self.score(x, t, known), e, steps)
        u = self.law.completed(known.mean + known.deviation(e[None]), known, generator)
        return u.reshape(len(y), n, *u.shape[2:])

    def _shaped(self, features: Float[Tensor, "row group time number"]) -> Tensor:
        """Features as the network takes them: frames are channels, or numbers of one long vector."""
        space = self.layout.shape[1:] if self.layout.space else ()
        return features.reshape(len(features), -1, *space)


def masked(
    law: WindowLaw,
    layout: StateLayout,
    states: Float[Tensor, "batch time *state"],
    generator: torch.Generator | None,
    *,
    most: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw which entries of a batch are known, and with which noise, as in training.

    Args:
        law: The Gaussian law of trajectories.
        layout: Layout of the states.
        states: Whole trajectories.
        generator: Source of randomness.
        most: Most groups; None: as many as can be afforded.

    Returns:
        In units of the law: trajectories and entries with noise ``(group, row, time, number)``; which entries are
        known, and the deviation of their noise, ``(group, time, number)``.
    """
    u, device = law.units(states), states.device

    # As many masks as can be afforded, each for an equal part of the batch.
    cost = law.rank**2 * (law.rank + law.frames * law.numbers)
    groups = math.gcd(len(u), 2 ** int(math.log2(max(1.0, min(len(u), most or len(u), _WORK / cost)))))
    u = u.reshape(groups, -1, *u.shape[1:])
    seen = draw_masks(groups, law.frames, law.numbers, generator=generator, device=device)
    if (valid := layout.valid) is not None:
        seen &= valid.to(device).expand(layout.shape).flatten()
    exact, share = (torch.rand((groups, 1, 1), generator=generator, device=device) for _ in range(2))
    noise = torch.where(exact < _EXACT, LEAST, (share * _LOWEST).exp()).double().expand(seen.shape)
    n = torch.randn(u.shape, generator=generator, dtype=u.dtype, device=device)
    return u, u + noise[:, None] * n, seen, noise


def velocity_error(
    process: Noising,
    velocity: Callable[[Tensor, Tensor], Tensor],
    e: Float[Tensor, "group row number"],
    generator: torch.Generator | None,
) -> Float[Tensor, ""]:
    """Return the error of a prediction of ``v = a n - s e`` for noise and times that are drawn.

    Args:
        process: The noising process.
        velocity: The prediction for noisy coordinates ``a e + s n`` at times ``(group_row)``.
        e: White coordinates.
        generator: Source of randomness.
    """
    t = torch.rand(e.shape[0] * e.shape[1], generator=generator, device=e.device).double() * process.horizon
    z = torch.randn(e.shape, generator=generator, dtype=e.dtype, device=e.device)
    a, s = (part.reshape(*e.shape[:2], 1) for part in _signal(process, t, e.flatten(0, 1)))
    return (velocity(a * e + s * z, t) - (a * z - s * e)).square().mean().float()


def velocity_score(
    process: Noising, v: Float[Tensor, "row number"], e: Float[Tensor, "row number"], t: Float[Tensor, " row"]
) -> Float[Tensor, "row number"]:
    """Return the score ``-e - a v / s`` of noisy coordinates.

    Args:
        process: The noising process.
        v: The prediction.
        e: Noisy coordinates.
        t: Their times, later than 0.
    """
    a, s = _signal(process, t, e)
    return -e - a / s * v


def denoised(
    process: Noising, score: Callable[[Tensor, Tensor], Tensor], e: Float[Tensor, "row number"], steps: int
) -> Float[Tensor, "row number"]:
    """Lead noise to coordinates along the probability flow, at equal steps.

    Args:
        process: The noising process.
        score: The score of noisy coordinates.
        e: Standard normal numbers.
        steps: Number of steps, of second order but for the last: the score ends where the noise does.

    Returns:
        The coordinates.
    """
    times = torch.linspace(process.horizon, 0, steps + 1, dtype=torch.float64)
    reverse = Reverse(process, score, 0.0)
    if len(times) > 2:
        *_, e = march(reverse, e, times[:-1], step=heun)
    *_, e = march(reverse, e, times[-2:], step=euler)
    return e


def _signal(process: Noising, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of the start at a time, and the deviation of the noise."""
    return process.decay(0.0, t, like), process.variance(0.0, t, like).sqrt()
