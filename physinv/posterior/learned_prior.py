"""A law of states that a diffusion model learned from samples: draws and densities, without any physics."""

from __future__ import annotations

__all__ = ["LearnedPrior", "Untrained", "fit_prior", "principal_axes", "start_prior"]

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import States, as_states, check_count, check_generator
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings, as_settings
from physinv.data.checks import check_splits
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations import time_grids
from physinv.equations.noising import VP, Noising, RotatedVP
from physinv.equations.sde import Reverse
from physinv.equations.solve import march
from physinv.laws.covariance import Covariance, diagonal
from physinv.laws.prior import Prior
from physinv.models.build import score_network
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.flows.straight import undone
from physinv.posterior.likelihood import divergence_for, log_prob
from physinv.processes.layout import FieldLayout, StateLayout, VectorLayout
from physinv.reversal.transport import transport, transport2
from physinv.training.budget import Budget
from physinv.training.loop import fit

_FIRST = 1e-3  # of the horizon: from here on times are as many in each octave, in training and sampling
_DECODING, _CORRECTIONS = 8, 16  # steps of the flow down from noise, and corrections that undo each of them, at most
_OCTAVES, _FINE = 0.5, 2000  # share of the steps down that are equal in log t, the others in the angle; times to see it
_AXES = 1024  # numbers of a state up to which principal axes are sought


@dataclass(frozen=True, eq=False)
class LearnedPrior(Prior):
    """A law ``p(x)`` as the score of its noised, standardised states.

    Args:
        process: The noising process.
        model: Score of ``z = (x - mean) / scale`` noised by it.
        mean: Mean of each channel, or component, shaped to broadcast against one state.
        scale: Standard deviation of each, likewise.
    """

    process: Noising
    model: ScoreModel
    mean: Tensor
    scale: Tensor

    @property
    def reference(self) -> LinearReference:
        """The Gaussian law of noised states, around which a network learned the rest."""
        return cast(LinearReference, self.model.reference)  # start_prior builds no other

    def levels(self, steps: int) -> Float[Tensor, " time"]:
        """Return times of noise from the horizon down to 0, as many in each octave.

        Args:
            steps: Number of steps between them.
        """
        horizon = self.process.horizon
        return time_grids.logarithmic(horizon, steps, _FIRST * horizon).flip(0)

    @cached_property
    def _descent(self) -> Float[Tensor, " time"]:
        """Times of the flow down: equal parts of the angle ``arctan(v^(1/2) / a)``, and as many in equal octaves.

        Along the angle standardised data of one size come out of the noise evenly.  Sharp data, such as of two values,
        come out at the end: with the exact score and a fifth of the steps in octaves, one draw in six is near a value.
        """
        fine, like = self.levels(_FINE)[:-1].flip(0), torch.zeros(1, *[1] * self.reference.mean0.ndim)
        a, v = (part(0.0, fine, like).flatten() for part in (self.process.decay, self.process.variance))
        angle = torch.atan2(v.sqrt(), a)
        turned = torch.gradient(angle, spacing=(fine,))[0] / (angle[-1] - angle[0])
        shares = (1 - _OCTAVES) * turned + _OCTAVES / (fine * (fine[-1] / fine[0]).log())
        found = time_grids.equidistributed(fine, shares, _DECODING - 1)
        return torch.cat([found.new_zeros(1), found]).flip(0)

    @torch.no_grad()
    def draw(self, n: int, *, generator: torch.Generator | None = None, steps: int = 64) -> Float[Tensor, "n *state"]:
        """Draw states by the reverse SDE, from noise.

        Args:
            n: Number of states.
            generator: Source of randomness, on the device of the model.
            steps: Steps of the reversal; for Gaussian data any number is exact.

        Returns:
            The draws.
        """
        check_generator(generator)
        z = self.reference.sample(check_count(n, "n"), self.process.horizon, generator=generator)
        backward = Reverse(self.process, self.model)
        for reached in march(backward, z, self.levels(steps), step=transport, generator=generator):
            z = reached
        return self.mean + self.scale * z

    def log_prob(self, x: States, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """Return log densities by the probability flow, in nats.

        It is the density of states with a thousandth of the noise's time added, which has one where data lie on a
        manifold.  For states of more than 64 numbers one random probe estimates the divergence.

        Args:
            x: States.
            generator: Source of the probe, on the device of the model.
        """
        horizon, reference = self.process.horizon, self.model.reference
        z = (as_states(self.model.accepted(x, "x"), "x", finite=True) - self.mean) / self.scale
        flow, span = Reverse(self.process, self.model, 0.0), (_FIRST * horizon, horizon)
        density = log_prob(
            flow,
            z,
            span,
            lambda y: reference.log_prob(y, y.new_full((len(y),), horizon)),
            divergence=divergence_for(z, generator=generator),
        )
        return density - self.scale.expand(z.shape[1:]).log().sum()

    def score(self, x: States) -> Float[Tensor, "batch *state"]:
        """Return the score of states with a thousandth of the noise's time added, as :meth:`log_prob`.

        Args:
            x: States.
        """
        z = (self.model.accepted(x) - self.mean) / self.scale
        found: Tensor = self.model(z, z.new_full((len(z),), _FIRST * self.process.horizon)) / self.scale
        return found

    def decode(self, u: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch *state"]:
        """Return the states that the probability flow leads to from noise, differentiable.

        Without a network it is the symmetric root of the Gaussian law, whatever the number of steps.
        """
        white = u.to(self.mean).reshape(len(u), *self.reference.mean0.shape)
        horizon = self.process.horizon
        z = self.reference.mean_at(horizon) + self.reference.covariance_at(horizon).root(white)
        for a, b in itertools.pairwise(self._descent.tolist()):
            z = self._flow(z, a, b)
        return self.mean + self.scale * z

    @torch.no_grad()
    def encode(self, x: States) -> Float[Tensor, "batch numbers"]:
        """Return the noise that :meth:`decode` makes states of, nearly where its flow is steep.

        Each of its steps is undone by a few corrections with the derivative of the Gaussian law
        (:func:`~physinv.posterior.flows.straight.undone`).
        """
        z = (self.model.accepted(x) - self.mean) / self.scale
        for b, a in itertools.pairwise(self._descent.flip(0).tolist()):
            early, late = self.reference.covariance_at(b), self.reference.covariance_at(a)

            def moved(gap: Tensor, early: Covariance = early, late: Covariance = late) -> Tensor:
                return late.root(early.whiten(gap))

            guess = self.reference.mean_at(a) + moved(z - self.reference.mean_at(b))
            z = undone(partial(self._flow, a=a, b=b), z, guess, moved=moved, most=_CORRECTIONS)
        horizon = self.process.horizon
        return self.reference.covariance_at(horizon).whiten(z - self.reference.mean_at(horizon)).flatten(1)

    def _flow(self, z: Tensor, a: float, b: float) -> Tensor:
        """One step of the probability flow from a time down to an earlier one."""
        later, earlier = (z.new_full((len(z),), t) for t in (a, b))
        return transport2(Reverse(self.process, self.model, 0.0), z, later, earlier, torch.zeros_like(z)[None])

    @torch.no_grad()
    def start_given(
        self, z: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch *state"], Covariance]:
        """Return mean and covariance of states given noised ones, ``p(x | z_t)``, in the unit of the data.

        The mean is Tweedie's, of the learned score.  The covariance is that of the Gaussian reference law, the same
        for all states: ``S v / (a^2 S + v)`` in each of its modes.  For Gaussian data both are exact.

        Args:
            z: Standardised states, noised until ``t``.
            t: Times, all the same.

        References:
            Robbins (1956), An empirical Bayes approach to statistics; Rozet et al. (2024), Learning diffusion priors
            from observations by expectation maximization, eq. 19, for the covariance in guidance.
        """
        y, s = self.reference.centred(z, t)
        moved = self.reference.sde.unmodes(s.a * s.prior / s.now * y, z)
        learned = self.reference.sde.unmodes(s.v / s.a * self.reference.sde.modes(self.model.remainder(z, t)), z)
        inner = diagonal(self.reference.sde.modes, self.reference.sde.unmodes, (s.prior * s.v / s.now)[0])
        scale = self.scale
        covariance = Covariance(lambda v: scale * inner.apply(scale * v), lambda w: scale * inner.root(w))
        return self.mean + scale * (self.reference.mean0 + moved + learned), covariance

    def tensors(self) -> dict[str, Tensor]:
        """Return all that was fitted: the score model, the units, and principal axes where there are any."""
        found = {"mean": self.mean, "scale": self.scale}
        found |= {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return found | ({"axes": self.process.directions} if isinstance(self.process, RotatedVP) else {})

    @staticmethod
    def from_tensors(
        tensors: Mapping[str, Tensor], layout: StateLayout, settings: Settings, *, device: torch.device | None = None
    ) -> LearnedPrior:
        """Make the law again.

        Args:
            tensors: What :meth:`tensors` returned.
            layout: Layout of the states.
            settings: Settings of the training, of which those of the network are read.
            device: Where the law is needed; None: on the CPU.

        Returns:
            The law.

        Raises:
            KeyError: If a tensor is missing.
            RuntimeError: If one is of another shape.
        """
        moved = {name: tensor.to(device) for name, tensor in tensors.items()}
        weights = {k.removeprefix("model."): v for k, v in moved.items() if k.startswith("model.")}
        process = _process(layout, moved.get("axes"))
        reference = LinearReference(process, weights["reference.mean0"], weights["reference.power0"])
        model = _model(reference, layout, settings, seeds(0)).to(device)
        model.load_state_dict(weights)
        return LearnedPrior(process, model.eval().requires_grad_(False), moved["mean"], moved["scale"])


class Untrained(NamedTuple):
    """A prior before training, and the states that it is to be trained on.

    Attributes:
        prior: The Gaussian law.
        train: Standardised states at the times that training draws from.
        valid: The same to choose the weights by.
    """

    prior: LearnedPrior
    train: TrajectoryDataset
    valid: TrajectoryDataset


def start_prior(train: TrajectoryDataset, valid: TrajectoryDataset, settings: Settings, *, seed: Seed) -> Untrained:
    """Standardise states, and fit the Gaussian law around which a network will learn the rest.

    The Gaussian law has the spectrum of periodic fields; of other states of at most 1024 numbers, from twice as many
    trajectories or more, its principal axes; of larger ones independent components.

    Args:
        train: Trajectories, of which the first states count.
        valid: The same to choose the weights by.
        settings: Training settings; those of the network are read.
        seed: Seed of the first weights.

    Returns:
        The law, and the states to train it on.

    Raises:
        ValueError: For states that are neither vectors nor fields, or have static parts or masks.
    """
    check_splits(train, valid)
    layout = train.layout
    if not isinstance(layout, (VectorLayout, FieldLayout)) or layout.static or layout.valid is not None:
        raise ValueError("`train` must hold vectors or fields without static parts or masks for a learned prior.")

    # Each channel of a field, each component of a vector, gets mean 0 and variance 1.
    x = train.states(0)
    space = [0, *range(2, x.ndim)]
    mean, scale = x.double().mean(space), x.double().std(space)
    shape = (-1, *([1] * (x.ndim - 2)))
    mean, scale = mean.float().reshape(shape), torch.where(scale > 0, scale, 1.0).float().reshape(shape)
    first, other = ((d.states(0) - mean) / scale for d in (train, valid))

    # The same start at the times that training draws from, which the objective noises anew at every update.
    process = _process(layout, principal_axes(layout, first))
    times = (0.0, _FIRST * process.horizon, process.horizon)
    noised = [_still(z, layout, times) for z in (first, other)]
    reference = LinearReference.fit(process, noised[0], settings)
    if isinstance(process, RotatedVP):  # variances along axes are those of states that did not choose the axes
        held = process.modes(first[1::2].double() - first.double().mean(0)).square().mean(0).float()
        reference = LinearReference(process, reference.mean0, held)
    model = _model(reference, layout, settings, seeds(seed)).to(x.device)
    return Untrained(LearnedPrior(process, model, mean, scale), *noised)


def fit_prior(
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    budget: Budget,
    settings: Settings | Mapping[str, Any] | None = None,
    seed: Seed = 0,
) -> LearnedPrior:
    """Learn the law of initial states by denoising score matching under a VP process.

    Around a Gaussian law of the states (:func:`start_prior`) a network learns the rest.

    Args:
        train: Trajectories, of which the first states count.
        valid: Trajectories to choose the weights by.
        budget: Number of updates, or a time.
        settings: Training settings, or their values by name.
        seed: Seed of weights, order and noise.

    Returns:
        The law.

    Raises:
        ValueError: For states that are neither vectors nor fields, or have static parts or masks.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = 3 + 2 * torch.randn(500, 2, 1, generator=generator)  # 500 trajectories of 2 times, one number
        >>> data = TrajectoryDataset.from_arrays(x, times=[0.0, 1.0], names="height")
        >>> prior = fit_prior(data, data, budget=Budget(steps=1))
        >>> drawn = prior.draw(2000, generator=generator)
        >>> abs(drawn.mean().item() - 3) < 0.3, abs(drawn.std().item() - 2) < 0.2
        (True, True)
    """
    settings, stream = as_settings(settings), seeds(seed).child("prior")
    prior, *noised = start_prior(train, valid, settings, seed=stream)
    fit(prior.model, prior.process, *noised, settings=settings, budget=budget, seed=stream)
    return replace(prior, model=prior.model.eval().requires_grad_(False))


def _process(layout: StateLayout, axes: Tensor | None) -> Noising:
    """The noising process, in modes that suit the states."""
    if axes is not None:
        return RotatedVP(directions=axes)
    return VP(basis="fourier" if layout.basis == "fourier" else "identity")


def principal_axes(layout: StateLayout, z: Float[Tensor, "n *state"]) -> Float[Tensor, "numbers numbers"] | None:
    """Return the principal axes of every other state, so that the rest can tell the variances along them.

    Args:
        layout: Layout of the states.
        z: Standardised states.

    Returns:
        Orthonormal columns; None where the modes are known, or states are too few or too large.
    """
    numbers = z[0].numel()
    if layout.basis == "fourier" or numbers > _AXES or len(z) < 2 * numbers or numbers == 1:
        return None
    gap = (z[::2].double() - z.double().mean(0)).flatten(1)
    axes: Tensor = torch.linalg.eigh(gap.T @ gap).eigenvectors.float()
    return axes


def _model(reference: LinearReference, layout: StateLayout, settings: Settings, seed: Seed) -> ScoreModel:
    """The score before training."""
    network = score_network(reference, layout, settings, seed=seeds(seed).child("network"))
    horizon, shape = reference.sde.horizon, tuple(reference.mean0.shape)  # type: ignore[attr-defined]
    return ScoreModel(reference, network, (_FIRST * horizon, horizon), shape=shape)


def _still(z: Tensor, layout: StateLayout, times: tuple[float, ...]) -> TrajectoryDataset:
    """States that stay what they are at all times."""
    header = Header("prior", layout, tuple(z.shape[1:]), times, len(z), {}, {})
    states = z[:, None].expand(-1, len(times), *z.shape[1:]).contiguous()
    return TrajectoryDataset.of_states(states, header, Path("prior"))
