"""Whole trajectories given any of their entries, by a diffusion model: imputation, forecasts, ``x_0`` given ``x_T``."""

from __future__ import annotations

__all__ = ["FRAMES", "GivenEntries", "Imputation", "fit_imputation", "load_imputation"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, as_times
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.config.suggest import did_you_mean
from physinv.equations.sde import SDE, Score
from physinv.laws.record import ObservationRecord
from physinv.methods.problem import Answer, NotApplicableError, Problem, RecordAnswer
from physinv.methods.saving import Setup, below, loaded_by, prefixed
from physinv.models.networks.build import build_network
from physinv.models.windows import LEAST, FrameNetwork, FrameScore, WindowLaw, WindowScore, fit_window_law
from physinv.processes.layout import StateLayout
from physinv.training.objectives.base import Batch

FRAMES = ("together", "in-turn")
"""How the frames of a trajectory are drawn: all at once, or one after the other by a model with a recurrent state."""

_GROUPS, _TURN = 4, 5  # of features for each entry
_MEMORY = 32  # numbers of the recurrent state
_DRAWS = 16  # that a mean is taken over
_JUDGED, _GAIN = 16, 1e-3  # batches that the network is judged by, and the share of the error that it has to find
_AT_ONCE = 2**24  # numbers of the draws that are made together
_NEAR = 1e-6  # of the horizon: times that are the same


@dataclass(frozen=True, eq=False)
class Imputation(Answer):
    """The law of whole trajectories given any of their entries.

    Args:
        model: The trained score.
        times: Stored times, those of the frames.
        steps: Sampling steps.
        seed: Seed of the draws that a mean is taken over.
    """

    model: WindowScore | FrameScore
    times: Float[Tensor, " time"]
    steps: int
    seed: int = 0

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.impute(self._only_last(final), n, generator=generator)[:, :, 0]

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        return self.sample(final, _DRAWS, generator=generator).mean(1)

    def given(self, observed: ObservationRecord) -> GivenEntries:
        """Return the answer to a record of single entries at stored times.

        Args:
            observed: The record.

        Raises:
            ValueError: If it observes averages, or at other times.
        """
        places, noise = _entries_of(observed, self.times, self.model.layout.shape)
        return GivenEntries(self, places, noise)

    def impute(
        self,
        y: Float[Tensor, "batch time *state"],
        n: int,
        *,
        noise: Float[Tensor, "time *state"] | float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n time *state"]:
        """Draw trajectories given those of their entries that are not NaN.

        Args:
            y: Trajectories at all stored times, NaN where an entry is missing.
            n: Draws for each of them.
            noise: Standard deviation of the noise of the entries, in the unit of the state.
            generator: Source of randomness.

        Returns:
            Whole trajectories.  Entries whose noise is below 1e-5 of
            the scale of the data are those that were given.
        """
        law, shape = self.model.law, tuple(y.shape[2:])
        noise = torch.as_tensor(noise, dtype=torch.float64, device=y.device).expand(y.shape[1:])
        units = law.units(y)
        sure = noise.reshape(law.mean.shape) / law.scale
        out = y.new_empty((len(y), n, *y.shape[1:]))

        # Rows with the same entries belong together.
        seen = units.isfinite()
        if (valid := self.model.layout.valid) is not None:
            seen &= valid.to(y.device).expand(shape).flatten()
        patterns, which = torch.unique(seen, dim=0, return_inverse=True)
        for i, pattern in enumerate(patterns):
            rows = (which == i).nonzero()[:, 0]
            for part in torch.split(rows, max(1, _AT_ONCE // (n * units[0].numel()))):
                u = self.model.drawn(units[part], pattern, sure, n, steps=self.steps, generator=generator)
                out[part] = law.states(u, shape).to(out)
        exact = y.isfinite() & (sure < LEAST).reshape(y.shape[1:])
        return torch.where(exact[:, None], y[:, None].to(out), out)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tables of the law, the weights of the network, and whether it counts."""
        found = prefixed("law", dict(self.model.law.state_dict()))
        found |= prefixed("network", dict(self.model.network.state_dict()))
        return found | {"useful": torch.tensor(self.model.useful)}

    def _only_last(self, final: Tensor) -> Tensor:
        """Trajectories of which the last frame alone is known."""
        blank = final.new_full((len(final), len(self.times), *final.shape[1:]), torch.nan)
        blank[:, -1] = final
        return blank


@dataclass(frozen=True, eq=False)
class GivenEntries(RecordAnswer):
    """The law of trajectories given a record of single entries.

    Args:
        imputation: The law given any entries.
        places: The entry that each number of the record is of, counted along a flattened trajectory.
        noise: Standard deviation of the noise of each number.
    """

    imputation: Imputation
    places: Tensor
    noise: Float[Tensor, " seen"]

    def mean(self, final: Float[Tensor, "batch seen"]) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.imputation.seed).child("method", "mean").generator(final.device)
        return self.sample(final, _DRAWS, generator=generator).mean(1)

    def sample_at(
        self, y: Float[Tensor, "batch seen"], n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        known = self.imputation.times
        found = [_stored(known, t) for t in as_times(times).tolist()]
        shape = (len(known), *self.imputation.model.layout.shape)
        x = y.new_full((len(y), *shape), torch.nan)
        x.flatten(1)[:, self.places] = y
        noise = torch.zeros(shape, dtype=torch.float64, device=y.device)
        noise.flatten()[self.places.to(y.device)] = self.noise.to(noise)
        return self.imputation.impute(x, n, noise=noise, generator=generator)[:, :, found]


def load_imputation(
    setup: Setup, tensors: Mapping[str, Tensor], *, rank: int = 512, steps: int = 16, frames: str = "together"
) -> Imputation:
    """Load what :func:`fit_imputation` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        rank: Not used: the tables have it.
        steps: Sampling steps.
        frames: How they are drawn.

    Returns:
        The law of trajectories.
    """
    law = WindowLaw(below("law", tensors))
    model = _model(law, setup.layout, setup.settings, setup.seed, frames)
    model.network.load_state_dict(below("network", tensors))
    model.useful = bool(tensors.get("useful", True))
    return Imputation(model.to(setup.device).eval(), setup.times, steps, setup.seed)


@loaded_by(load_imputation)
def fit_imputation(problem: Problem, *, rank: int = 512, steps: int = 16, frames: str = "together") -> Imputation:
    """Fit the Gaussian law of trajectories, and train a network on what it misses.

    Args:
        problem: The process and its data; physics is neither used nor learned.
        rank: Largest rank of the part of the law that knows correlations between the numbers of a state.
        steps: Sampling steps, of each frame where they are drawn in turn.
        frames: ``"together"``, or ``"in-turn"``: frame by frame, away from the known ones, each given all those before
            it by a recurrent state.

    Returns:
        The law of trajectories given any of their entries.

    Raises:
        NotApplicableError: For particles, and for unknown parameters.
        ValueError: For a rank or steps below 1, and for another word for the frames.

    References:
        Tashiro et al. (2021), CSDI: conditional score-based diffusion models for probabilistic time series imputation;
        Rasul et al. (2021), Autoregressive denoising diffusion models for multivariate probabilistic time series
        forecasting.
    """
    layout = problem.train.layout
    if layout.positions:
        raise NotApplicableError("imputation is for vectors and fields, got particles; take physinv.")
    if problem.simulator.unknown:
        raise NotApplicableError("imputation knows no unknown parameters; take physinv.")
    for name, value in {"rank": rank, "steps": steps}.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if frames not in FRAMES:
        raise ValueError(f"`frames` must be one of {', '.join(FRAMES)}, got {frames!r}; {did_you_mean(frames, FRAMES)}")
    law = fit_window_law(layout, problem.train.trajectories(), problem.valid.trajectories(), rank=rank)
    model = _model(law, layout, problem.settings, problem.seed, frames).to(problem.device)
    problem.minimise_trajectories(model, imputation_loss)
    model.useful = _useful(problem, model.eval())
    return Imputation(model, problem.train.times, steps, problem.seed)


def imputation_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the loss of a model of windows for whole trajectories.

    Args:
        score: The model.
        sde: Not used.
        batch: Whole trajectories.
    """
    assert isinstance(score, WindowScore | FrameScore)
    return score.loss(batch.states, batch.generator)


@torch.no_grad()
def _useful(problem: Problem, model: WindowScore | FrameScore) -> bool:
    """Whether the network lowers the error for validation data by a share that counts, and two standard errors.

    Batches have no trajectory in common: the error of their mean is that of the trajectories, however few these are.
    """
    x, rows = problem.valid.trajectories(), problem.train.layout.default_batch
    parts = torch.arange(min(len(x), _JUDGED * rows)).chunk(_JUDGED)
    if len(parts) < 2:  # of which no error is known
        return False
    gains = []
    for i, part in enumerate(parts):
        stream = seeds(problem.seed).child("method", "network", i)
        batch = x[part.repeat(-(-rows // len(part))).to(x.device)]  # with other entries and noise each time
        model.useful = False
        without = model.loss(batch, stream.generator(x.device))
        model.useful = True
        gains.append(1 - model.loss(batch, stream.generator(x.device)) / without)
    gain = torch.stack(gains)
    return bool(gain.mean() > max(_GAIN, 2 * float(gain.std()) / len(gains) ** 0.5))


def _model(law: WindowLaw, layout: StateLayout, settings: Settings, seed: int, frames: str) -> WindowScore | FrameScore:
    """The untrained model: frames are channels of a field, and of a vector more components, or come one by one."""
    stream, channels = seeds(seed).child("model", "network"), layout.shape[0]
    if frames == "together":
        outputs = law.frames * channels
        return WindowScore(law, build_network(layout, _GROUPS * outputs, outputs, settings, seed=stream), layout)
    step = build_network(layout, _TURN * channels + _MEMORY, channels, settings, seed=stream)
    with stream.child("memory").as_global():
        return FrameScore(law, FrameNetwork(step, law.numbers, _MEMORY), layout)


def _entries_of(
    record: ObservationRecord, times: Tensor, shape: tuple[int, ...]
) -> tuple[Tensor, Float[Tensor, " seen"]]:
    """Which entry of a trajectory each number of a record is."""
    frames = [_stored(times, t) for t in record.times]
    like = torch.zeros((1, len(times), *shape), dtype=torch.float64)
    numbers = torch.arange(1, like.numel() + 1, dtype=torch.float64).reshape(like.shape)
    places = record.clean(numbers[:, frames])[0]
    other = record.clean((-1) ** numbers[:, frames] * numbers[:, frames].square())[0]
    if not torch.equal(places, places.round()) or not torch.equal(other, (-1) ** places * places.square()):
        raise ValueError(
            "`observe` must see single entries for imputation, not averages; take everything, every or sensors."
        )
    if len(set(places.tolist())) < len(places):
        raise ValueError("`observe` must see each number once for imputation; leave the less exact entry out.")
    return places.long() - 1, record.deviations(like[:, 0])


def _stored(times: Tensor, t: float) -> int:
    """The number of the frame of a time."""
    gap = (times - t).abs()
    if float(gap.min()) > _NEAR * float(times[-1]):
        known = f"0 to {float(times[-1]):g} in {len(times) - 1} steps"
        raise ValueError(f"`times` must be stored ones for imputation, {known}, got {t:g}; take the nearest.")
    return int(gap.argmin())
