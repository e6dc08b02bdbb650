"""``fit``: train a score model on trajectory windows, for a number of steps or a time, resumably."""

from __future__ import annotations

__all__ = ["History", "Record", "check_budget", "fit"]

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.references.smoother import SmootherReference
from physinv.models.score import ScoreModel
from physinv.reversal.smoother import smoother_loss
from physinv.reversal.smoother_noise import calibrate_noise
from physinv.training.carrying import Carrying
from physinv.training.checkpoint import (
    Checkpoint,
    append_log,
    load_checkpoint,
    save_checkpoint,
    save_model,
    trained_part,
    trim_log,
)
from physinv.training.objectives.choose import curriculum, objective
from physinv.training.objectives.trajectory import Loss
from physinv.training.rewind import rewind

Windows = tuple[Tensor, Tensor]

_SHARE = 0.1  # of a budget: what rewinding all states at once may take of it


@dataclass(frozen=True)
class Record:
    """One line of the log: losses are per component, 1 is the size of the noise in the targets."""

    step: int
    seconds: float
    window: int
    rate: float
    loss: float
    valid: float
    best: float


@dataclass
class History:
    """What training leaves behind: its log, and the step whose averaged weights were kept."""

    records: list[Record] = field(default_factory=list)
    best_step: int = 0


def fit(
    model: nn.Module,
    sde: SDE,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    settings: Settings,
    steps: int | None = None,
    budget: float | None = None,
    loss: Loss | None = None,
    companions: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
    run: Path | None = None,
    resume: bool = False,
    progress: Callable[[float, Record], None] | None = None,
) -> History:
    """Minimise ``loss`` over all windows of ``train``, shuffled; leave the best averaged weights in ``model``.

    Give ``steps`` (reproducible to the byte on one device) or ``budget`` in seconds.  AdamW, gradient clipping, warm-up
    and cosine decay; an exponential moving average of the weights is validated every ``settings.validate_every``
    updates on a fixed subset of ``valid``, and the last one is kept that is not clearly worse than the best: training
    never ends clearly worse than its reference.
    Symmetries of the process (``sde.images``) are used to multiply the data.
    Windows follow ``settings.windows`` in equal shares.  ``loss`` defaults to what ``settings.loss`` names (see
    :mod:`~physinv.training.objectives.choose`); a ``loss`` given here gets windows of 2 unless ``settings.windows``
    says otherwise. ``companions`` of the stored states of ``train`` and ``valid`` ride along with the windows (see
    :class:`~physinv.training.carrying.Carrying`) to a ``loss`` that knows what they are.
    With ``run`` a folder, every validation writes a log line and a checkpoint there, and ``resume`` goes on from it
    exactly as if nothing had happened.  ``progress(done, record)`` hears of it twice a second and at every validation.
    ``model`` and datasets must be on one device; ``model`` is a :class:`~physinv.models.score.ScoreModel`, or any
    module that ``loss`` accepts as its first argument and whose attribute ``network`` holds what is trained.
    """
    check_budget(steps, budget)
    windows = settings.windows or ((2,) if loss else curriculum(settings, sde, len(train.times)))
    loss = loss or objective(settings, sde, model)
    device, layout = next(model.parameters()).device, train.layout
    size, rate = settings.batch or layout.default_batch, settings.rate or layout.default_rate
    average = copy.deepcopy(model).requires_grad_(False)
    trainable = [p for p in model.parameters() if p.requires_grad]
    averaged: list[Tensor] = [
        a for a, p in zip(average.parameters(), model.parameters(), strict=True) if p.requires_grad
    ]
    fused = device.type in ("cpu", "cuda") and all(p.is_floating_point() for p in trainable)  # complex ones can't be
    optimiser = torch.optim.AdamW(trainable, lr=rate, weight_decay=settings.weight_decay, fused=fused)
    state = Checkpoint(model, average, copy.deepcopy(trained_part(model).state_dict()), optimiser)
    history = History()
    if resume and run is not None and load_checkpoint(run, state):
        history.records = [Record(**r) for r in trim_log(run, state.step)]
        history.best_step = state.best_step

    begun, mean_loss = time.perf_counter() - state.seconds, torch.zeros((), device=device)
    more, more_valid = companions or (None, None)
    if loss is smoother_loss and train.in_memory:
        often = (steps or 0) * size >= train.n_trajectories * (len(train.times) - 1)  # than once through them
        more = rewind(sde, train, _SHARE * budget if budget else math.inf if often else 0.0)
        more_valid = rewind(sde, valid, _SHARE * budget if budget else math.inf) if valid.in_memory else None
    few = settings.validate_windows or layout.default_validation_windows
    check = _subset(sde, _with(valid.with_window(windows[-1]), more_valid), few, seed, max(size, 64), device)
    noise = torch.Generator(device)

    def progress_now() -> float:
        return state.step / steps if steps else (time.perf_counter() - begun) / (budget or math.inf)

    def take_stock(window: int, training: float) -> None:
        values = _validate(average, sde, check, loss, noise.manual_seed(_mix(seed, -1)))
        state.judge(values)
        state.seconds = time.perf_counter() - begun
        now = float(optimiser.param_groups[0]["lr"])
        record = Record(state.step, round(state.seconds, 3), window, now, training, fmean(values), state.best)
        history.records.append(record)
        history.best_step = state.best_step
        if run is not None:
            append_log(run, record)
            save_checkpoint(run, state)
        if progress is not None:
            progress(min(progress_now(), 1.0), record)

    source: Iterator[Windows] = iter(())
    stage, done, since, shown = -1, progress_now(), 0, time.perf_counter()
    while True:
        now = min(int(done * len(windows)), len(windows) - 1)
        if now != stage:
            stage = now
            data = _with(train.with_window(windows[stage]), more)
            source = _batches(data, size, seed, state.step, settings.workers)
        due = state.step % settings.validate_every == 0 or done >= 1
        if due and state.last_validated != state.step:
            take_stock(windows[stage], float(mean_loss) / max(since, 1))
            mean_loss, since = torch.zeros((), device=device), 0
        if done >= 1:
            break
        states, times = _to(next(source), device)
        states = _image(sde, states, seed, state.step)
        noise.manual_seed(_mix(seed, state.step))
        for group in optimiser.param_groups:
            group["lr"] = rate * _schedule(done)
        optimiser.zero_grad(set_to_none=True)
        value = loss(model, sde, states, times, generator=noise)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trainable, settings.clip)
        optimiser.step()
        state.step += 1
        since += 1
        mean_loss += value.detach()
        decay = min(settings.ema, (1 + state.step) / (10 + state.step))
        torch._foreach_lerp_(averaged, [p.detach() for p in trainable], 1 - decay)
        done = progress_now()
        if progress is not None and history.records and time.perf_counter() - shown > 0.5:
            shown = time.perf_counter()
            progress(min(done, 1.0), history.records[-1])
    trained_part(model).load_state_dict(state.best_weights)
    if isinstance(model, ScoreModel) and SmootherReference.of(model) is not None:
        calibrate_noise(model, sde, valid)
    if run is not None:
        save_model(run, model)
    return history


def check_budget(steps: int | None, budget: float | None) -> None:
    """Exactly one of ``steps`` and ``budget`` (seconds), and positive; else ValueError."""
    if (steps is None) == (budget is None):
        raise ValueError("give exactly one of `steps` and `budget` (seconds).")
    if (steps or budget or 0) <= 0:
        raise ValueError(f"the training budget must be positive, got {steps if budget is None else budget}.")


def _schedule(progress: float, warmup: float = 0.02) -> float:
    """Linear warm-up, then half a cosine to 0."""
    if progress < warmup:
        return max(progress, 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0)))


def _with(data: TrajectoryDataset, companions: Tensor | None) -> TrajectoryDataset | Carrying:
    return data if companions is None else Carrying(data, companions)


def _batches(data: TrajectoryDataset | Carrying, size: int, seed: int, start: int, workers: int) -> Iterator[Windows]:
    """Batches from step ``start`` on; which windows a step sees depends on the seed and the step alone."""
    order = _order(len(data), min(size, len(data)), seed, start)
    if isinstance(data, Carrying) or data.in_memory:
        return (data.__getitems__(indices) for indices in order)
    collate: Callable[..., Windows] = TrajectoryDataset.collate
    loader = torch.utils.data.DataLoader(data, batch_sampler=_Endless(order), num_workers=workers, collate_fn=collate)
    return iter(loader)


def _order(n: int, size: int, seed: int, start: int) -> Iterator[Tensor]:
    per_epoch = n // size
    for epoch in itertools.count(start // per_epoch):
        generator = torch.Generator().manual_seed(_mix(seed, epoch))
        shuffled = torch.randperm(n, generator=generator)
        for i in range(start % per_epoch if epoch == start // per_epoch else 0, per_epoch):
            yield shuffled[i * size : (i + 1) * size]


class _Endless(torch.utils.data.Sampler[list[int]]):
    def __init__(self, order: Iterator[Tensor]) -> None:
        self.order = order

    def __iter__(self) -> Iterator[list[int]]:
        return (indices.tolist() for indices in self.order)


def _subset(
    sde: SDE, data: TrajectoryDataset | Carrying, n: int, seed: int, size: int, device: torch.device
) -> list[Windows]:
    """About ``n`` windows in equal batches, all images under symmetries included: no accident of a subset counts.

    A dataset of fewer windows is gone through again, for objectives that draw noise; at least two batches.
    """
    kinds = len(_images(sde, data.__getitems__(torch.arange(1))[0]))
    part = max(1, min(size, n) // kinds)
    whole = part * max(2, n // kinds // part)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed + 1))
    chosen = order.repeat(math.ceil(whole / len(order)))[:whole]
    batches = []
    for indices in torch.split(chosen, part):
        states, times = _to(data.__getitems__(indices), device)
        batches.append((torch.cat(_images(sde, states)), times.repeat(kinds, 1)))
    return batches


def _image(sde: SDE, states: Tensor, seed: int, step: int) -> Tensor:
    """Each window replaced by one of its images under the symmetries of the process, chosen at random."""
    images = _images(sde, states)
    if len(images) == 1:
        return states
    generator = torch.Generator().manual_seed(_mix(seed, step))
    chosen = torch.randint(len(images), (len(states),), generator=generator).to(states.device, non_blocking=True)
    return torch.stack(images)[chosen, torch.arange(len(states), device=states.device)]


def _images(sde: SDE, states: Float[Tensor, "batch window *state"]) -> list[Tensor]:
    """``sde.images`` of windows: of each of their states."""
    return [x.reshape(states.shape) for x in sde.images(states.flatten(0, 1))]


def _mix(seed: int, step: int) -> int:
    """A seed for each step (or epoch, or -1 for validation), so that a resumed run sees what it would have seen."""
    return (seed * 1_000_003 + step) % 2**63


def _to(windows: Windows, device: torch.device) -> Windows:
    return windows[0].to(device, non_blocking=True), windows[1].to(device, non_blocking=True)


@torch.no_grad()
def _validate(model: nn.Module, sde: SDE, batches: list[Windows], loss: Loss, noise: torch.Generator) -> list[float]:
    """The loss of each of the batches, which are of one size."""
    return torch.stack([loss(model, sde, states, times, generator=noise) for states, times in batches]).tolist()
