"""Refine samples of any method by a few gradients of Monte Carlo, given the final state."""

from __future__ import annotations

__all__ = ["refine"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.monte_carlo.chain import LEAPS, walk
from physinv.methods.classical.monte_carlo.path import PathModel, PathObjective, fit_path_model
from physinv.methods.classical.monte_carlo.starts import around_samples
from physinv.processes.simulator import Simulator

_BEGIN = 0.4  # length of the first steps


@torch.no_grad()
def refine(
    simulator: Simulator | PathModel,
    samples: Float[Tensor, "batch n *state"],
    final: Float[Tensor, "batch *state"],
    n_gradients: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """Move samples of ``x_0`` towards the posterior by Hamiltonian Monte Carlo, each as a chain of its own.

    The noise on the way is integrated out, linearised a few Gauss-Newton steps from the mean of the samples: few
    gradients do, and in the limit of many the samples are exact as far as the noise is small.
    Method ``mcmc`` moves whole paths.

    Args:
        simulator: The process, or the coordinates of its paths where they are known already.
        samples: Samples of any method, n for each observation; those that are not finite begin at the mean.
        final: Observed final states ``x_T``.
        n_gradients: Gradients for each sample, rounded down to a multiple of 4; 0 returns the samples.
        generator: Source of randomness, on the device of ``final``.

    Returns:
        Samples of the same shape.

    Raises:
        ValueError: If ``n_gradients`` is negative.
        NotApplicableError: Where paths have no density
            (:func:`~physinv.methods.classical.monte_carlo.path.fit_path_model`).
    """
    if n_gradients < 0:
        raise ValueError(f"`n_gradients` must be 0 or more, got {n_gradients}.")
    if n_gradients < LEAPS:
        return samples
    if isinstance(simulator, PathModel):
        model = simulator
    else:
        model = fit_path_model(simulator, generator=generator, device=final.device)
    parts = [
        _refined(model, some, x, n_gradients // LEAPS, generator)
        for some, x in zip(*(torch.split(v, model.observations) for v in (samples, final)), strict=True)
    ]
    return torch.cat(parts)


def _refined(
    model: PathModel, samples: Tensor, final: Tensor, iterations: int, generator: torch.Generator | None
) -> Tensor:
    batch, n = samples.shape[:2]
    some, reference, xi = around_samples(PathObjective(model, final), samples, 1.0)
    lengths = xi.new_full((batch,), _BEGIN)
    moved = walk(some, reference, xi, lengths, iterations, adapt=True, generator=generator)
    like = final.repeat_interleave(n, 0)
    return model.initial(moved.firsts[:, :, -1].flatten(0, 1), like).reshape(samples.shape)
