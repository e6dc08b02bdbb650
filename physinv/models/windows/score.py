"""The score of noisy trajectories given any of their entries: that of a Gaussian law, and a network beside it."""

from __future__ import annotations

__all__ = ["WindowScore"]

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.noising import VP, Cosine
from physinv.models.windows.law import LEAST, Conditional, WindowLaw
from physinv.models.windows.masks import draw_masks
from physinv.processes.layout import StateLayout

_EXACT = 0.5  # share of the trajectories of a batch whose entries are known without noise
_LOWEST = math.log(1e-2)  # of the noise of the others, in units of the law, up to 1
_WORK = 2e8  # multiplications of an update that go into laws given masks


class WindowScore(nn.Module):
    """The score of ``e_t`` given some entries, ``e_0`` the white coordinates of a trajectory given the same entries.

    ``e_t = a e_0 + s n`` by the variance-preserving process.  For Gaussian data ``e_0`` is white, and the score is
    ``-e_t``.  The network predicts what is missing from it, ``v = a n - s e_0`` of Salimans and Ho (2022), of which
    ``E[v | e_t] = 0`` for Gaussian data.  It sees, in the shape of trajectories: the noisy trajectory without its
    mean, the mean given the entries, which entries are known and how exactly, and their values.

    Args:
        law: The Gaussian law of trajectories.
        network: A network with 4 inputs for each frame and channel, and one output.
        layout: Layout of the states.

    References:
        Tashiro et al. (2021), CSDI: conditional score-based diffusion models for probabilistic time series imputation;
        Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models, section 4.
    """

    def __init__(self, law: WindowLaw, network: nn.Module, layout: StateLayout) -> None:
        super().__init__()
        self.law, self.network, self.layout = law, network, layout
        self.process = VP(Cosine())
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
        a, s = self._signal(t, e)
        v = self.velocity(e.reshape(known.mean.shape), t, known)
        return -e - a / s * v.reshape(e.shape)

    def loss(self, states: Float[Tensor, "batch time *state"], generator: torch.Generator | None) -> Float[Tensor, ""]:
        """Return the error of the prediction of ``v`` for entries, noise and times that are drawn.

        Args:
            states: Whole trajectories.
            generator: Source of randomness.
        """
        u, device = self.law.units(states), states.device

        # As many masks as can be afforded, each for an equal part of the batch.
        cost = self.law.rank**2 * (self.law.rank + self.law.frames * self.law.numbers)
        groups = math.gcd(len(u), 2 ** int(math.log2(max(1.0, min(len(u), _WORK / cost)))))
        u = u.reshape(groups, -1, *u.shape[1:])
        seen = draw_masks(groups, self.law.frames, self.law.numbers, generator=generator, device=device)
        if (valid := self.layout.valid) is not None:
            seen &= valid.to(device).expand(self.layout.shape).flatten()
        exact, share = (torch.rand((groups, 1, 1), generator=generator, device=device) for _ in range(2))
        noise = torch.where(exact < _EXACT, LEAST, (share * _LOWEST).exp()).double().expand(seen.shape)
        n = torch.randn(u.shape, generator=generator, dtype=u.dtype, device=device)
        known = self.law.given(u + noise[:, None] * n, seen, noise)

        # Noise of the process, and the error.
        e = known.whitened(self.law.coordinates(u))
        t = torch.rand(e.shape[0] * e.shape[1], generator=generator, device=device).double() * self.process.horizon
        z = torch.randn(e.shape, generator=generator, dtype=e.dtype, device=device)
        a, s = (part.reshape(*e.shape[:2], 1) for part in self._signal(t, e.flatten(0, 1)))
        found = self.velocity(a * e + s * z, t, known)
        return (found - (a * z - s * e)).square().mean().float()

    def _signal(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of the start at a time, and the deviation of the noise."""
        return self.process.decay(0.0, t, like), self.process.variance(0.0, t, like).sqrt()

    def _shaped(self, features: Float[Tensor, "row group time number"]) -> Tensor:
        """Features as the network takes them: frames are channels, or numbers of one long vector."""
        space = self.layout.shape[1:] if self.layout.space else ()
        return features.reshape(len(features), -1, *space)
