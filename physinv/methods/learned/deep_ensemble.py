"""Deep ensembles: networks that tell mean and variance, each from a start of its own (Lakshminarayanan et al. 2017)."""

from __future__ import annotations

__all__ = ["DeepEnsemble", "Member", "fit_deep_ensemble", "likelihood"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import seeds
from physinv.equations.sde import SDE, Score
from physinv.methods.learned.backbone import Context, Frame, build_backbone, chunked, conditional_frame
from physinv.methods.problem import Problem
from physinv.training.objectives.base import Batch

_BETA = 0.5  # of the weights variance^beta (Seitzer et al. 2022, section 4)
_RANGE = (-12.0, 6.0)  # of log variances, in units of what the linear estimate misses


class Member(nn.Module):
    """``x_0 ~ N(linear(x_T) + unit m, unit^2 exp(s))`` with the outputs ``m, s`` of a network; the components are
    independent."""

    def __init__(self, frame: Frame, network: nn.Module) -> None:
        super().__init__()
        self.frame, self.network = frame, network

    def forward(self, context: Context) -> tuple[Float[Tensor, "batch *moving"], Float[Tensor, "batch *moving"]]:
        """Mean and variance of ``z``."""
        out = self.network(self.frame.features(context), context.centre.new_ones(len(context.centre)))
        mean, log_variance = self.frame.split(out)
        return mean, log_variance.clamp(*_RANGE).exp()


def likelihood(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """``E [ (z - m)^2 / (2 v) + log v / 2 ]`` (Lakshminarayanan et al. 2017, eq. 1); in training each component counts
    ``v^beta`` times, held fixed, lest the mean be neglected where v is large (Seitzer et al. 2022, eq. 5)."""
    member = score
    assert isinstance(member, Member)
    context = member.frame.context_of(batch)
    mean, variance = member(context)
    gap = member.frame.target(batch.states[:, 0], context) - mean
    values = gap.square() / (2 * variance) + variance.log() / 2
    if torch.is_grad_enabled():  # validation compares likelihoods, which weights that move would blur
        values = variance.detach() ** _BETA * values
    loss: Tensor = values.mean()
    return loss


@dataclass(frozen=True)
class DeepEnsemble:
    """The even mixture of its members' Gaussians."""

    members: tuple[Member, ...]

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """The mean of the mixture."""

        def work(x: Tensor) -> Tensor:
            frame, context = self.members[0].frame, self.members[0].frame.context(x)
            return frame.restore(self._laws(context)[0].mean(0), context, x)

        return chunked(work, final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """For each draw a member at random, then its Gaussian."""
        home = final.device if generator is None else generator.device

        def work(x: Tensor) -> Tensor:
            frame, context = self.members[0].frame, self.members[0].frame.context(x)
            means, variances = self._laws(context)
            who = torch.randint(len(means), (n, len(x)), generator=generator, device=home).to(x.device)
            rows = torch.arange(len(x), device=x.device)
            m, v = means[who, rows], variances[who, rows]
            z = m + v.sqrt() * torch.randn(m.shape, generator=generator, dtype=m.dtype, device=home).to(x.device)
            return torch.stack([frame.restore(each, context, x) for each in z], dim=1)

        return chunked(work, final)

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """``log p(x_0 | x_T)`` of the mixture, over all components that move."""

        def work(pair: Tensor) -> Tensor:
            frame, context = self.members[0].frame, self.members[0].frame.context(pair[:, 1])
            means, variances = self._laws(context)
            unit = frame.unit.expand_as(means[0])
            gap = frame.target(pair[:, 0], context) - means
            logs = -(gap.square() / variances + (2 * math.pi * variances * unit**2).log()) / 2
            return logs.flatten(2).sum(2).logsumexp(0) - math.log(len(means))

        return chunked(work, torch.stack([initial, final], dim=1))

    def _laws(self, context: Context) -> tuple[Tensor, Tensor]:
        """Means and variances of ``z``, ``(members, batch, *moving)``."""
        means, variances = zip(*(member(context) for member in self.members), strict=True)
        return torch.stack(means), torch.stack(variances)


def fit_deep_ensemble(problem: Problem, *, members: int = 5) -> DeepEnsemble:
    """``members`` networks with weights and batches of their own, each with an equal share of what may be spent."""
    if members < 1:
        raise ValueError(f"`members` must be at least 1, got {members}.")
    frame, trained = conditional_frame(problem), []
    for i in range(members):
        own = seeds(problem.seed).child("member", i)
        network = build_backbone(frame, problem.settings, groups=2, heads=2, seed=own)
        member = Member(frame, network).to(problem.device)
        problem.minimise(member, likelihood, estimates=frame.estimates, share=1 / members, seed=own)
        trained.append(member)
    return DeepEnsemble(tuple(trained))
