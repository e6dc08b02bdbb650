"""Train a score model on windows of trajectories, for a number of updates or a time, resumably."""

from __future__ import annotations

__all__ = ["fit"]

import copy
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.checksums import of_json
from physinv.config.devices import check_memory
from physinv.config.inputs import as_path, check_instance, describe
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings, as_settings
from physinv.data.checks import check_trajectories, fingerprint
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.score import ScoreModel
from physinv.training.backward_cache import cached_windows
from physinv.training.batches import Windows, training_batches, validation_batches
from physinv.training.budget import Budget, check_budget
from physinv.training.checkpoint import Checkpoint, load_checkpoint, trained_part, trim_log
from physinv.training.jump_pairs import JumpPairs
from physinv.training.objectives.base import Batch, Loss, Objective
from physinv.training.objectives.choose import choose_objective
from physinv.training.updates import Updates
from physinv.training.validation import (
    Announce,
    History,
    Log,
    Progress,
    as_record,
    check_listeners,
    check_loss,
    validate,
)

# Layers of torch that draw from its global generator, which is seeded for every update where there are any.
_CHANCY = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)


def fit(
    model: nn.Module,
    sde: SDE,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    budget: Budget,
    loss: Objective | Loss | str | None = None,
    estimates: tuple[Float[Tensor, "n *state"], Float[Tensor, "m *state"]] | None = None,
    pairs: JumpPairs | None = None,
    seed: Seed = 0,
    run: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> History:
    """Minimise an objective over all windows of a dataset, and leave the best averaged weights in ``model``.

    AdamW with gradient clipping, warm-up and cosine decay. An exponential moving average of the weights is validated
    every ``settings.validate_every`` updates on a fixed subset of ``valid``, and the last one is kept that is not
    clearly worse than the best: training never ends clearly worse than its reference law. Symmetries of the process
    (``sde.images``) multiply the data. The window lengths of ``settings.windows`` follow each other in equal shares.

    Args:
        model: A :class:`~physinv.models.score.ScoreModel`, or any module that ``loss`` accepts as its first argument
            and whose attribute ``network`` holds what is trained. It must be on the device of data in memory.
        sde: The physics.
        train: Trajectories to train on.
        valid: Trajectories to validate on, and to calibrate the model on where its reference law asks for it.
        settings: Training settings, or their values by name.
        budget: Number of updates (reproducible to the byte on one device), or a time.
        loss: An objective, its name, or a function ``(score, sde, batch) -> loss``; None: the one that
            ``settings.loss`` names (see :mod:`~physinv.training.objectives.choose`).
        estimates: Estimates of the first states of the trajectories of ``train`` and of ``valid``, for an objective
            that makes use of :attr:`~physinv.training.objectives.base.Batch.estimate`.
        pairs: Where batches come from instead of the windows of ``train`` and ``valid``, for jump kernels.
        seed: Seed of the order of windows, of their images, and of the noise that the objective draws.
        run: Folder into which every validation writes a line of the log and a checkpoint.
        resume: Whether to go on from the checkpoint in ``run``, exactly as if there had been no interruption.
        progress: Hears of every validation, and twice a second of the share that is done.
        announce: Hears when training begins, and when it ends and the model is calibrated.

    Returns:
        The log, and the step whose averaged weights were kept.

    Raises:
        ValueError: If a validation loss is not finite, there is no such objective, or an argument is of another kind;
            one line says what to give.
    """
    check_instance(model, nn.Module, "model", "make one with build_model(sde, train, settings)")
    trained_part(model)
    check_instance(sde, SDE, "sde", "give fit(model, sde, train, valid, ...)")
    check_trajectories(train, "train", sde)
    if isinstance(model, ScoreModel) and model.shape not in (None, tuple(train.shape)):
        raise ValueError(
            f"`model` is for states of shape {model.shape}, got data of {tuple(train.shape)}; build another."
        )
    check_trajectories(valid, "valid", sde)
    check_budget(budget)
    check_listeners(progress, announce)
    if pairs is not None:
        check_instance(pairs, JumpPairs, "pairs")
    if estimates is not None and (not isinstance(estimates, tuple) or len(estimates) != 2):
        raise ValueError(f"`estimates` must be two tensors, of `train` and of `valid`, got {describe(estimates)}.")
    if resume and run is None:
        raise ValueError("`resume` goes on from the checkpoint of a folder; give its `run`, or leave `resume` out.")
    if other := {p.dtype for p in model.parameters() if p.is_floating_point()} - {torch.float32}:
        raise ValueError(f"`model` must have weights in float32, as data are, got {other.pop()}; call model.float().")
    settings, run = as_settings(settings), None if run is None else as_path(run, "run", "give a folder")
    if run is not None:
        run.mkdir(parents=True, exist_ok=True)
    told = announce or (lambda phase: None)
    told("training")

    # What is trained, on which windows, and by which updates.
    objective = choose_objective(settings, sde, model, loss)
    lengths = settings.windows or (objective.window or len(train.times),)
    size = settings.batch or train.layout.default_batch
    states = size * (2 if pairs is not None else max(lengths))
    check_memory(4.0 * states * math.prod(train.shape), f"an update of `batch` = {size}", "take a smaller `batch`")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    updates = Updates(model, settings, settings.rate or train.layout.default_rate)
    streams = seeds(seed).child("training")
    state = Checkpoint(model, updates.average, copy.deepcopy(trained_part(model).state_dict()), updates.optimiser)
    state.origin = of_json({"data": fingerprint(train, (0,)), "stream": list(streams.path)})
    log = Log(History(), run, progress)
    if resume and run is not None and load_checkpoint(run, state):
        log.history.records = [as_record(r, run / "log.jsonl") for r in trim_log(run, state.step)]
        log.history.best_step = state.best_step

    # The clock includes what is computed about the data before the first update.
    begun = time.perf_counter() - state.seconds
    windows, check = (Windows(d, estimates=e) for d, e in zip((train, valid), estimates or (None, None), strict=True))
    if objective.backward_cache:
        windows, check = cached_windows(sde, windows, check, budget=budget, batch=size)
    count = settings.validate_windows or valid.layout.default_validation_windows
    check = check.with_window(lengths[-1])
    apart = streams.child("validation")
    if pairs is None:
        checks = validation_batches(check, sde, count=count, size=max(size, 64), seeds=apart, device=device)
    else:
        checks = pairs.validation(count=count, size=max(size, 64), seeds=apart)

    chancy = any(isinstance(layer, _CHANCY) for layer in model.modules())
    tried = copy.deepcopy(model).eval() if chancy else updates.average
    check_loss(tried, sde, checks[0], objective.loss, seed=apart.child("trial").number)

    def used() -> float:
        return budget.used(state.step, time.perf_counter() - begun)

    batches: Iterator[Batch] = iter(())
    stage, total, since = -1, torch.zeros((), device=device), 0
    while True:
        # Each part of the curriculum begins with batches of its own window length.
        done = used()
        now = min(int(done * len(lengths)), len(lengths) - 1)
        if now != stage:
            stage, part = now, windows.with_window(lengths[now])
            if pairs is None:
                batches = training_batches(
                    part, sde, size=size, seeds=streams, start=state.step, workers=settings.workers, device=device
                )
            else:
                batches = pairs.training(size=size, seeds=streams, start=state.step)

        # Validate before the first update, at regular intervals, and after the last update.
        due = state.step % settings.validate_every == 0 or done >= 1
        if due and state.last_validated != state.step:
            noise = streams.child("validation", "noise").generator(device)
            with streams.child("validation", "layers").as_global() if chancy else nullcontext():
                values = validate(updates.average, sde, checks, objective.loss, generator=noise)
            state.seconds = time.perf_counter() - begun
            log.add(state, values, window=lengths[stage], rate=updates.rate, loss=float(total) / max(since, 1))
            log.report(used(), now=True)
            total, since = torch.zeros((), device=device), 0
        if done >= 1:
            break

        # One update; the sum of losses stays on the device, since reading it would wait for a GPU.
        batch = next(batches)
        with streams.child("layers", state.step).as_global() if chancy else nullcontext():
            value = objective.loss(model, sde, batch)
        state.step, since = state.step + 1, since + 1
        updates.step(value, progress=done, count=state.step)
        total += value.detach().reshape(())
        log.report(done)

    # Keep the best averaged weights, and finish the model on data that it was not trained on.
    trained_part(model).load_state_dict(state.best_weights)
    told("calibration")
    if objective.finish is not None and isinstance(model, ScoreModel):
        objective.finish(model, sde, valid, seed=streams)
    return log.history
