"""Neural posterior estimation by score matching and by flow matching, as the sbi package does it."""

from __future__ import annotations

__all__ = ["Inferred", "fit_fmpe", "fit_npse"]

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import home_of
from physinv.config.seeds import seeds
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import unsaved

_BATCH = 200  # its default, in pairs (x_0, x_T)
_SHARE = 0.8  # of the time that is left goes to the next round of epochs, whose speed is known from the last
_DRAWS = 64  # that a mean is taken over
_PICKLED = "sbi stores posteriors by pickle only, which would run code when loaded; compare it by `benchmark`"
_AT_ONCE = 2**15  # draws in work


@dataclass(frozen=True)
class Inferred(Answer):
    """A posterior of the sbi package, with its sampler at default accuracy; its mean is that of 64 draws.

    Args:
        posterior: The package's own object.
    """

    posterior: Any
    seed: int = 0

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        return self.sample(final, _DRAWS, generator=generator).mean(1)

    @torch.no_grad()
    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        home = home_of(generator, final)
        seed = int(torch.randint(2**31, (), generator=generator, device=home))
        parts = []
        with _quietly(seed, final.device):
            for x in torch.split(final.float(), max(1, _AT_ONCE // n)):
                drawn = self.posterior.sample_batched(
                    (n,), x=x, show_progress_bars=False, reject_outside_prior=False, max_sampling_batch_size=n
                )
                parts.append(drawn.movedim(0, 1))
        return torch.cat(parts).to(final)


@unsaved(_PICKLED)
def fit_npse(problem: Problem) -> Inferred:
    """Train neural posterior score estimation.

    Args:
        problem: The process, whose states are vectors, and its data.

    Returns:
        The trained posterior.

    Raises:
        NotApplicableError: For states that are no vectors.
        ValueError: If the package is missing.

    References:
        Geffner et al. (2023), Compositional score modeling for simulation-based inference; Sharrock et al. (2024),
        Sequential neural score estimation.
    """
    return _fit(problem, "NPSE")


@unsaved(_PICKLED)
def fit_fmpe(problem: Problem) -> Inferred:
    """Train flow matching posterior estimation; it refuses what :func:`fit_npse` refuses.

    Args:
        problem: The process, whose states are vectors, and its data.

    Returns:
        The trained posterior.

    References:
        Wildberger et al. (2023), Flow matching for scalable simulation-based inference.
    """
    return _fit(problem, "FMPE")


def _fit(problem: Problem, name: str) -> Inferred:
    """Train in rounds of epochs until the budget is spent or the package's own criterion is met.

    Network, optimiser and standardisation are its defaults.
    """
    if len(problem.train.shape) != 1:
        raise NotApplicableError(f"{name} is made for vectors, these are states of shape {problem.train.shape}.")
    inference = _package()  # its import takes seconds that are not training
    begun = time.perf_counter()
    initial, final = (problem.train.states(i) for i in (0, -1))
    batch = max(1, min(_BATCH, len(initial) // 10))
    updates = max(1, int(0.9 * len(initial)) // batch)  # of an epoch: whole batches of what is not held out
    with _quietly(seeds(problem.seed).child("method", "package").number, problem.device):
        trainer = getattr(inference, name)(
            device=str(problem.device), show_progress_bars=False, tracker=_Silent(), logging_level="ERROR"
        )
        trainer.append_simulations(initial, final)
        done, epochs = 0, 2  # the fewest the package trains for
        while epochs > 0:
            started = time.perf_counter()
            trainer.train(
                training_batch_size=batch,
                max_num_epochs=done + epochs - 1,
                resume_training=done > 0,
            )
            new = trainer.epoch - done
            if new < epochs:
                break  # converged
            done = trainer.epoch
            now = time.perf_counter()
            budget = problem.budget
            epochs = max(0, (budget.steps or 0) // updates - done)
            if budget.seconds is not None:
                left, each = budget.seconds - (now - begun), (now - started) / new
                epochs = int(max(1.0, _SHARE * left / each)) if left > each else 0
        return Inferred(trainer.build_posterior(), problem.seed)


class _Silent:
    """A logger that stores nothing."""

    log_dir = None

    def log_metric(self, *values: object, **named: object) -> None: ...

    def log_metrics(self, *values: object, **named: object) -> None: ...

    def log_params(self, *values: object, **named: object) -> None: ...

    def add_figure(self, *values: object, **named: object) -> None: ...

    def flush(self) -> None: ...


def _package() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from sbi import inference
        except ImportError:
            raise ValueError("this needs sbi; install it with pip install 'physinv[baselines]'.") from None
    module: ModuleType = inference
    return module


@contextmanager
def _quietly(seed: int, device: torch.device) -> Iterator[None]:
    """No warnings, no log lines; torch's global generators, which the package draws from, are seeded and restored."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    cards = [device] if device.type == "cuda" else []
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=cards):
            warnings.simplefilter("ignore")
            torch.default_generator.manual_seed(seed)
            if cards:
                torch.cuda.manual_seed(seed)
            yield
    finally:
        logging.disable(level)
