"""Denoising over one fresh step: score matching for any process whose noise does not depend on the state."""

import torch


def fresh_step_loss(score, sde, batch):
    """Return the error of the score at states that one new Euler step reaches from stored ones.

    From a stored state ``x`` the step ``x' = x + f dt + g sqrt(dt) xi`` has the score ``-xi / (g sqrt(dt))``, and its
    mean given ``x'`` is the score of ``x'`` (Vincent 2011, eq. 11, with the kernel of one Euler step). The noise is
    drawn anew at every update, so a stored state serves any number of times.

    Args:
        score: ``(x, t) -> grad log p_t(x)``, shapes ``(n, *state), (n,) -> (n, *state)``.
        sde: The process.
        batch: Windows of trajectories: ``states (n, window, *state)``, ``times (n, window)``, a ``generator``.

    Returns:
        The mean squared error in units of the noise of the step.
    """
    x, t0, t1 = batch.states[:, 0], batch.times[:, 0], batch.times[:, 1]
    root = (t1 - t0).sqrt().reshape(-1, *[1] * (x.ndim - 1))
    xi = torch.randn(x.shape, generator=batch.generator, dtype=x.dtype, device=x.device)
    later = x + root**2 * sde.drift(x, t0) + root * sde.diffuse(xi, t0)
    return (root * sde.diffuse(score(later, t1), t0) + xi).square().mean()
