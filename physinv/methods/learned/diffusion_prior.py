"""A diffusion model of ``x_0`` as prior, and the physics run forward as likelihood: diffusion posterior sampling.

Chung et al. (2023, eq. 16) replace ``p(x_T | y)``, ``y = z + sigma n``, by the likelihood of the denoised state ``D``.
That is overconfident while the noise is large, for which their step ``zeta / |residual|`` is tuned.  Here, as in Song
et al. (2023) with the denoiser's covariance, the likelihood is widened instead: let ``r`` be the residual
``F(D) + b - x_T`` in units of the noise; then

    grad log p(x_T | y) = -grad sum_k |r_k|^2 / (2 S_k(sigma)),    S_k(sigma) = E |r_k|^2,

mode by mode (Fourier modes of periodic fields, components otherwise).  For linear F the covariance of r is
``1 + R^(-1/2) J Sigma(sigma) J^T R^(-1/2)``; for others there is no formula, but S is measured, once, on validation
data whose ``x_0`` is known, at every noise level of the sampler.  Where all is Gaussian and diagonal in the modes this
is exact, and nothing is tuned.  Elsewhere residuals of different modes are correlated, and their common information on
one direction of ``x_0`` must not be counted many times: the guidance would overshoot.  So all S_k are multiplied by the
largest eigenvalue, not less than 1, of the covariance of ``r_k / S_k^(1/2)``: found on one half of the data and
measured on the other, since the largest eigenvalue of a sample covariance is biased upwards.
"""

from __future__ import annotations

__all__ = ["Guided", "fit_diffusion_prior", "load_diffusion_prior", "residual"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import home_of
from physinv.config.seeds import seeds
from physinv.equations.broadcast import match
from physinv.methods.classical.forward import Forward, fit_forward, load_forward
from physinv.methods.learned.backbone import chunked, load_parts, part_tensors
from physinv.methods.learned.coordinates import Context, prior_coordinates
from physinv.methods.learned.edm import Denoiser, heun, noise_levels, train_denoiser
from physinv.methods.learned.guided import GuidedPrior, guide
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, below, loaded_by, prefixed
from physinv.models.references.smoother_tables import Basis, from_modes, to_modes

_SWEEPS, _INNER = 0, 20  # what is usual for a prior that is given
_DRAWS = 16  # that a mean is taken over
_FEW = 256  # validation trajectories that tell the size of residuals: to 9 % each


@dataclass(frozen=True)
class Guided(Answer):
    """The posterior of a diffusion prior that the physics guides; its mean is that of 16 draws from a fixed seed.

    Args:
        denoiser: The diffusion prior.
        forward: The observation model.
        basis: Basis of the modes in which residuals are weighted.
        levels: Noise levels of the sampler, the last one 0.
        widths: ``S_k^(1/2)``, times the root of the largest eigenvalue, for each noise level but the last.
    """

    denoiser: Denoiser
    forward: Forward
    basis: Basis
    levels: list[float]
    widths: list[Tensor]
    seed: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the prior's network and coordinates, the observation model, and the sizes of residuals."""
        prior = part_tensors(self.denoiser.coordinates, self.denoiser.network)
        return prior | prefixed("forward", self.forward.tensors()) | {"widths": torch.stack(self.widths)}

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        return self.sample(final, _DRAWS, generator=generator).mean(1)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        home = home_of(generator, final)
        width = dict(zip(self.levels, self.widths, strict=False))

        def work(x: Tensor) -> Tensor:
            context = self.denoiser.coordinates.context(x)
            like = context.centre
            noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=home).to(like.device)
            z = heun(lambda y, s: self._pulled(y, s, width[s], context, x), noise, self.levels)
            return self.denoiser.coordinates.restore(z, context, x)

        every = chunked(work, final.repeat_interleave(n, dim=0), self.forward.at_once)
        return every.reshape(len(final), n, *final.shape[1:])

    @torch.enable_grad()
    def _pulled(self, y: Tensor, sigma: float, width: Tensor, context: Context, final: Tensor) -> Tensor:
        """``E[z | y, x_T] = D + sigma^2 grad_y log p(x_T | y)`` (Tweedie)."""
        y = y.detach().requires_grad_()
        clean = self.denoiser(y, y.new_full((len(y),), sigma), context)
        r = residual(self.denoiser, self.forward, clean, context, final)
        scaled = from_modes(self.basis, to_modes(self.basis, r) / width, tuple(r.shape[2:]))
        (pull,) = torch.autograd.grad(scaled.square().sum() / 2, y)
        known = pull.flatten(1).isfinite().all(1)  # where the solver diverges there is no guidance
        pull = torch.where(match(known, pull), pull, 0.0)
        pulled: Tensor = clean.detach() - sigma**2 * pull
        return pulled


def load_diffusion_prior(
    setup: Setup, tensors: Mapping[str, Tensor], *, steps: int = 32, sweeps: int = _SWEEPS, inner: int = _INNER
) -> Guided:
    """Load a diffusion prior with its guidance.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        steps: Sampling steps.
        sweeps: Not used by a trained prior.
        inner: Not used by a trained prior.

    Returns:
        The trained prior with its guidance.
    """
    denoiser, forward = Denoiser(*load_parts(setup, tensors, groups=1)), load_forward(setup, below("forward", tensors))
    widths = list(tensors["widths"])
    return Guided(denoiser, forward, setup.layout.basis, noise_levels(steps), widths, setup.seed)


@loaded_by(load_diffusion_prior, prior=True)
def fit_diffusion_prior(
    problem: Problem, *, steps: int = 32, sweeps: int = _SWEEPS, inner: int = _INNER
) -> Guided | GuidedPrior:
    """Train a diffusion prior and measure the residuals of its denoised states; or guide one that is given.

    A prior that is given is not trained again, and its guidance is another one
    (:mod:`~physinv.methods.learned.guided`): exact where prior and observation are Gaussian, and for any record.

    Args:
        problem: The process and its data, and its prior if one is given.
        steps: Sampling steps.
        sweeps: Moves at each step, of a prior that is given.
        inner: Iterations of conjugate gradients for each draw, of a prior that is given.

    Returns:
        The prior with its guidance.

    Raises:
        NotApplicableError: Where the observation model cannot be fitted
            (:func:`~physinv.methods.classical.forward.fit_forward`), or diverges from all denoised states.
        ValueError: For fewer than 2 steps.

    References:
        Chung et al. (2023), Diffusion posterior sampling for general noisy inverse problems;
        Song et al. (2023), Pseudoinverse-guided diffusion models for inverse problems.
    """
    if problem.prior is not None:
        return guide(problem, steps=steps, sweeps=sweeps, inner=inner)
    levels, forward = noise_levels(steps), fit_forward(problem)
    denoiser = train_denoiser(problem, prior_coordinates(problem), groups=1)
    layout = problem.train.layout
    basis: Basis = layout.basis
    widths = _widths(problem, denoiser, forward, basis, levels[:-1])
    return Guided(denoiser, forward, basis, levels, widths, problem.seed)


def residual(
    denoiser: Denoiser, forward: Forward, z: Tensor, context: Context, final: Float[Tensor, "batch *state"]
) -> Float[Tensor, "batch *moving"]:
    """Return ``R^(-1/2) (F(x_0) + b - x_T)`` of a state given in the denoiser's coordinates.

    Args:
        denoiser: The diffusion prior.
        forward: The observation model.
        z: Coordinates of the state.
        context: What depends on the observation.
        final: Observed final states ``x_T``.

    Returns:
        Whitened residuals of the moving channels.
    """
    return forward.misfit(denoiser.coordinates.restore(z, context, final), final).to(z).reshape(z.shape)


@torch.no_grad()
def _widths(problem: Problem, denoiser: Denoiser, forward: Forward, basis: Basis, levels: list[float]) -> list[Tensor]:
    initial, final = (problem.valid.states(i, limit=_FEW) for i in (0, -1))
    coordinates = denoiser.coordinates
    generator = seeds(problem.seed).child("method", "widths").generator(problem.device)
    context, found = coordinates.context(final), []
    target = coordinates.target(initial, context)
    for sigma in levels:
        noise = torch.randn(target.shape, generator=generator, dtype=target.dtype, device=target.device)
        clean = denoiser(target + sigma * noise, target.new_full((len(target),), sigma), context)
        r = to_modes(basis, residual(denoiser, forward, clean, context, final))
        r = r[r.flatten(1).isfinite().all(1)]
        if len(r) < 2:
            raise NotApplicableError("the noise-free solver diverges from all denoised states.")
        width = r.abs().square().mean((0, 1) if coordinates.particles else 0).clamp(min=1.0).sqrt()
        found.append(width * _redundancy(from_modes(basis, r / width, tuple(target.shape[2:])).flatten(1)).sqrt())
    return found


def _redundancy(white: Float[Tensor, "n d"]) -> Tensor:
    """The largest eigenvalue of ``E w w^T`` for samples ``w``, or 1: along the first direction of either half, measured
    on the other half."""
    halves = white[::2], white[1::2]
    first, second = (torch.linalg.svd(half, full_matrices=False).Vh[0] for half in halves)
    found: Tensor = ((halves[0] @ second).square().mean() + (halves[1] @ first).square().mean()) / 2
    return found.clamp(min=1.0)
