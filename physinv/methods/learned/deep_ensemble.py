"""Deep ensembles: networks with outputs for mean and variance, from different initial weights."""

from __future__ import annotations

__all__ = ["DeepEnsemble", "Member", "fit_deep_ensemble", "likelihood", "load_deep_ensemble"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.inputs import home_of
from physinv.config.seeds import Seeds, seeds
from physinv.config.settings import Settings
from physinv.equations.sde import SDE, Score
from physinv.methods.learned.backbone import build_backbone, chunked
from physinv.methods.learned.coordinates import Context, TargetCoordinates, conditional_coordinates
from physinv.methods.problem import Answer, Problem
from physinv.methods.saving import Setup, below, loaded_by, prefixed
from physinv.training.objectives.base import Batch

_BETA = 0.5  # of the weights variance^beta (Seitzer et al. 2022, section 4)
_RANGE = (-12.0, 6.0)  # of log variances, in units of what the linear estimate misses


class Member(nn.Module):
    """The Gaussian ``x_0 ~ N(linear(x_T) + unit m, unit^2 exp(s))`` of one network, with independent components.

    Args:
        coordinates: The standardised coordinates of ``x_0``.
        network: A network with two heads, ``m`` and ``s``.
    """

    def __init__(self, coordinates: TargetCoordinates, network: nn.Module) -> None:
        super().__init__()
        self.coordinates, self.network = coordinates, network

    def forward(self, context: Context) -> tuple[Float[Tensor, "batch *moving"], Float[Tensor, "batch *moving"]]:
        """Return mean and variance of the coordinates ``z``.

        Args:
            context: What depends on the observation.

        Returns:
            Mean and variance, of the shape of ``z``.
        """
        out = self.network(self.coordinates.features(context), context.centre.new_ones(len(context.centre)))
        mean, log_variance = self.coordinates.split_heads(out)
        return mean, log_variance.clamp(*_RANGE).exp()


def likelihood(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the negative log likelihood ``E [ (z - m)^2 / (2 v) + log v / 2 ]``.

    In training each component has the weight ``v^beta``, held fixed, since otherwise the mean is hardly learned where v
    is large.

    Args:
        score: A :class:`Member`.
        sde: Not used.
        batch: Windows ``(x_0, x_T)``, their estimates.

    Returns:
        The mean over batch and components.

    References:
        Lakshminarayanan et al. (2017), Simple and scalable predictive uncertainty estimation, eq. 1;
        Seitzer et al. (2022), On the pitfalls of heteroscedastic uncertainty estimation, eq. 5.
    """
    member = score
    assert isinstance(member, Member)
    context = member.coordinates.context_of(batch)
    mean, variance = member(context)
    gap = member.coordinates.target(batch.states[:, 0], context) - mean
    values = gap.square() / (2 * variance) + variance.log() / 2
    if torch.is_grad_enabled():  # validation compares likelihoods, which weights that move would blur
        values = variance.detach() ** _BETA * values
    loss: Tensor = values.mean()
    return loss


@dataclass(frozen=True)
class DeepEnsemble(Answer):
    """The mixture of the members' Gaussians with equal weights; a sample is one of a member chosen at random.

    Args:
        members: The trained networks.
    """

    members: tuple[Member, ...]

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the networks, and their coordinates."""
        found = prefixed("coordinates", self.members[0].coordinates.tensors())
        for i, member in enumerate(self.members):
            found |= prefixed(_folder(i), member.network.state_dict())
        return found

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:

        def work(x: Tensor) -> Tensor:
            coordinates, context = self.members[0].coordinates, self.members[0].coordinates.context(x)
            return coordinates.restore(self._laws(context)[0].mean(0), context, x)

        return chunked(work, final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        home = home_of(generator, final)

        def work(x: Tensor) -> Tensor:
            coordinates, context = self.members[0].coordinates, self.members[0].coordinates.context(x)
            means, variances = self._laws(context)
            who = torch.randint(len(means), (n, len(x)), generator=generator, device=home).to(x.device)
            rows = torch.arange(len(x), device=x.device)
            m, v = means[who, rows], variances[who, rows]
            z = m + v.sqrt() * torch.randn(m.shape, generator=generator, dtype=m.dtype, device=home).to(x.device)
            return torch.stack([coordinates.restore(each, context, x) for each in z], dim=1)

        return chunked(work, final)

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """Return ``log p(x_0 | x_T)`` of the mixture, over all moving components.

        Args:
            initial: Initial states ``x_0``.
            final: Final states ``x_T``.

        Returns:
            Log densities in nats, ``(batch,)``.
        """

        def work(pair: Tensor) -> Tensor:
            coordinates, context = self.members[0].coordinates, self.members[0].coordinates.context(pair[:, 1])
            means, variances = self._laws(context)
            unit = coordinates.unit.expand_as(means[0])
            gap = coordinates.target(pair[:, 0], context) - means
            logs = -(gap.square() / variances + (2 * math.pi * variances * unit**2).log()) / 2
            return logs.flatten(2).sum(2).logsumexp(0) - math.log(len(means))

        return chunked(work, torch.stack([initial, final], dim=1))

    def _laws(self, context: Context) -> tuple[Tensor, Tensor]:
        """Means and variances of ``z``, ``(members, batch, *moving)``."""
        means, variances = zip(*(member(context) for member in self.members), strict=True)
        return torch.stack(means), torch.stack(variances)


def load_deep_ensemble(setup: Setup, tensors: Mapping[str, Tensor], *, members: int = 5) -> DeepEnsemble:
    """Load a deep ensemble.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        members: Number of networks.

    Returns:
        The trained ensemble.
    """
    coordinates = TargetCoordinates.from_tensors(setup.layout, below("coordinates", tensors)).to(setup.device)
    loaded = []
    for i in range(members):
        network = _network(coordinates, setup.settings, setup.seed, i)
        network.load_state_dict(below(_folder(i), tensors))
        loaded.append(Member(coordinates, network.to(setup.device)))
    return DeepEnsemble(tuple(loaded))


@loaded_by(load_deep_ensemble, partial=True)
def fit_deep_ensemble(problem: Problem, *, members: int = 5) -> DeepEnsemble:
    """Train a deep ensemble; members differ in their initial weights and in the order of their batches.

    Args:
        problem: The process and its data.
        members: Number of networks, each with an equal share of the budget.

    Returns:
        The trained ensemble.

    Raises:
        ValueError: For fewer than 1 member.
    """
    if members < 1:
        raise ValueError(f"`members` must be at least 1, got {members}.")
    coordinates, trained = conditional_coordinates(problem), []
    for i in range(members):
        network = _network(coordinates, problem.settings, problem.seed, i)
        member = Member(coordinates, network).to(problem.device)
        part = problem.part(_folder(i), share=1 / members, begun=i / members)
        part.minimise(member, likelihood, estimates=coordinates.estimates, seed=_seed(problem.seed, i))
        trained.append(member)
    return DeepEnsemble(tuple(trained))


def _folder(i: int) -> str:
    """Name of a member among folders and tensors."""
    return f"member-{i}"


def _seed(seed: int, i: int) -> Seeds:
    """Streams of a member."""
    return seeds(seed).child("member", i)


def _network(coordinates: TargetCoordinates, settings: Settings, seed: int, i: int) -> nn.Module:
    """The untrained network of a member."""
    return build_backbone(coordinates, settings, groups=2, heads=2, seed=_seed(seed, i))
