"""The prior of the classical methods, ``x_0 ~ N(m, S)``, and covariances fitted to samples.

Standard normal coordinates ``u`` stand for ``x_0 = m + S^(1/2) u`` (the control variable transform of variational
assimilation: Lorenc 1988; Bannister 2008).  In them the prior is white, whatever the scales of the state.
"""

from __future__ import annotations

__all__ = [
    "FittedCovariance",
    "GaussianPrior",
    "fit_covariance",
    "fit_gaussian_prior",
    "gaussian_prior_of",
    "load_gaussian_prior",
]

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import home_of
from physinv.equations.fourier import fourier, inverse_fourier
from physinv.laws.covariance import Covariance, diagonal
from physinv.laws.exact import LinearGaussian
from physinv.laws.prior import Prior
from physinv.methods.problem import Problem
from physinv.methods.saving import Setup, below, prefixed
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator

_DENSE = 2048  # components up to which a covariance between all of them is estimated
_NOTHING = 1e-12  # of the largest variance: below it a direction does not vary (float32 data round at 1e-14)


@dataclass(frozen=True)
class FittedCovariance(Covariance):
    """A covariance that was fitted to samples, with the tensors that it is made of.

    Args:
        apply: See :class:`~physinv.laws.covariance.Covariance`.
        root: Likewise.
        inverse_root: Likewise.
        parts: Variances ``variance`` along eigenvectors ``vectors``: complex ones between the channels of each Fourier
            mode, real ones between all components, none where components are independent.  Directions outside real
            vectors have the variance ``rest``, if that is given.
    """

    parts: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def from_tensors(parts: Mapping[str, Tensor]) -> FittedCovariance:
        """Make the covariance of these parts.

        Args:
            parts: Variances and eigenvectors.

        Returns:
            The covariance, with its inverse root.
        """
        vectors = parts.get("vectors")
        if vectors is None:
            made = diagonal(lambda z: z, lambda y, like: y, parts["variance"])
        elif vectors.is_complex():
            made = _fourier(vectors, parts["variance"])
        else:
            made = _dense(vectors, parts["variance"], parts.get("rest"))
        return FittedCovariance(made.apply, made.root, made.inverse_root, dict(parts))


@dataclass(frozen=True)
class GaussianPrior(Prior):
    """The Gaussian prior ``x_0 ~ N(m, S)`` of the moving channels; static channels are those of ``x_T``.

    Args:
        mean: The mean ``m``, ``(*moving)``.
        covariance: The covariance ``S``, with its inverse root.
        layout: Which channels of a state move.
    """

    mean: Float[Tensor, "*moving"]
    covariance: Covariance
    layout: StateLayout

    def tensors(self) -> dict[str, Tensor]:
        """Return mean and covariance; nothing where the simulator knows them."""
        if not isinstance(self.covariance, FittedCovariance):
            return {}
        return {"mean": self.mean} | prefixed("covariance", self.covariance.parts)

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the state ``m + S^(1/2) u``.

        Args:
            u: Standard normal coordinates; ``d`` counts the moving components.
            final: Final states ``x_T``, whose static channels are copied.

        Returns:
            States of the shape of ``final``.
        """
        return self.layout.set_moving(self.decode(u.to(final)), final)

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return the shortest ``u`` whose :meth:`root` is closest to a state.

        Args:
            initial: Initial states ``x_0``.

        Returns:
            Standard normal coordinates; components that the prior cannot reach are left out.
        """
        return self.encode(self.layout.moving(initial))

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n *moving"]:
        device = home_of(generator, self.mean)
        z = torch.randn((n, self.mean.numel()), generator=generator, device=device)
        return self.decode(z.to(self.mean.device))

    def log_prob(self, x: Float[Tensor, "batch *moving"]) -> Float[Tensor, " batch"]:
        """Return log densities in nats, in the directions that vary."""
        white = self.encode(x)
        unit = torch.eye(self.mean.numel(), dtype=torch.float64, device=self.mean.device)
        scales = torch.linalg.svdvals(self.covariance.whiten(unit.reshape(-1, *self.mean.shape)).flatten(1))
        scales = scales[scales > 0]
        density: Tensor = scales.log().sum() - (white.square().sum(1) + len(scales) * math.log(2 * math.pi)) / 2
        return density

    def score(self, x: Float[Tensor, "batch *moving"]) -> Float[Tensor, "batch *moving"]:
        return -self.covariance.whiten(self.covariance.whiten(x - self.mean.to(x)))  # the roots are symmetric

    def decode(self, u: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch *moving"]:
        return self.mean.to(u) + self.covariance.root(u.reshape(len(u), *self.mean.shape))

    def encode(self, x: Float[Tensor, "batch *moving"]) -> Float[Tensor, "batch numbers"]:
        return self.covariance.whiten(x - self.mean.to(x)).flatten(1)


def fit_gaussian_prior(problem: Problem) -> GaussianPrior:
    """Return the simulator's own prior where it is Gaussian and known, else that of the training states.

    Symmetries of the process (``images``) multiply the training states.

    Args:
        problem: The process and its training data.

    Returns:
        The prior of the moving channels.
    """
    return gaussian_prior_of(problem.simulator, problem.train.states(0))


@torch.no_grad()
def gaussian_prior_of(simulator: Simulator, initial: Float[Tensor, "n *state"], *, known: bool = True) -> GaussianPrior:
    """Return the simulator's own prior where it is Gaussian and known, else that of given initial states.

    Args:
        simulator: The process; its symmetries (``images``) multiply the states.
        initial: Initial states.
        known: Whether the simulator's own prior is looked for; False where the states are of a later time.

    Returns:
        The prior of the moving channels.
    """
    if known and (own := _known_prior(simulator, initial.device)) is not None:
        return own
    x = simulator.layout.moving(torch.cat(simulator.images(initial))).double()
    mean = x.mean(0)
    return GaussianPrior(mean, fit_covariance(x - mean, simulator.layout, still=_NOTHING), simulator.layout)


def load_gaussian_prior(setup: Setup, tensors: Mapping[str, Tensor]) -> GaussianPrior:
    """Make a prior again.

    Args:
        setup: What the run knows.
        tensors: What :meth:`GaussianPrior.tensors` returned.

    Returns:
        The prior of the moving channels.
    """
    if (known := _known_prior(setup.simulator, setup.device)) is not None:
        return known
    covariance = FittedCovariance.from_tensors(below("covariance", tensors))
    return GaussianPrior(tensors["mean"], covariance, setup.layout)


def fit_covariance(
    x: Float[Tensor, "n *state"], layout: StateLayout, *, floor: float = 0.0, still: float = 0.0
) -> FittedCovariance:
    """Estimate the covariance of centred samples of the moving part of states.

    - Periodic fields: invariant under translations, hence a matrix between channels for each Fourier mode.
    - Everything else up to 2048 components: dense, shrunk towards a multiple of the identity.
    - Otherwise one variance per component.

    Args:
        x: Samples of mean zero.
        layout: Kind and boundary of the states.
        floor: Smallest variance allowed, as a share of the mean variance: what the data show as certain becomes nearly
            so.
        still: Variances below this share of the largest one count as 0.

    Returns:
        The covariance, with its inverse root.

    References:
        Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    """
    if layout.basis == "fourier":
        parts = _spectrum(x)
    elif x[0].numel() <= _DENSE:
        parts = _shrunk(x)
    else:
        parts = {"variance": x.double().square().mean(0)}

    # The two thresholds.
    v, least = parts["variance"], floor * parts["variance"].mean()
    parts["variance"] = torch.where(v > still * v.amax(), v, torch.zeros_like(v)) if still else v.clamp(min=least)
    if "rest" in parts:
        parts["rest"] = torch.maximum(parts["rest"], least)
    return FittedCovariance.from_tensors({name: tensor.contiguous() for name, tensor in parts.items()})


def _known_prior(simulator: Simulator, device: torch.device) -> GaussianPrior | None:
    """The simulator's own prior where it is Gaussian and known."""
    exact = simulator.exact()
    if not isinstance(exact, LinearGaussian):
        return None
    covariance = diagonal(exact.sde.modes, exact.sde.unmodes, exact.power.to(device))
    return GaussianPrior(exact.mean0, covariance, simulator.layout)


def _spectrum(x: Tensor) -> dict[str, Tensor]:
    """Eigenvalues and eigenvectors between the channels of each Fourier mode."""
    y = fourier(x.double()).movedim(1, -1)
    values, vectors = torch.linalg.eigh(torch.einsum("n...i,n...j->...ij", y, y.conj()) / len(y))
    return {"vectors": vectors, "variance": values.clamp(min=0).movedim(-1, 0)}


def _fourier(vectors: Tensor, variance: Tensor) -> Covariance:
    """The covariance of eigenvectors between the channels of each Fourier mode."""

    def modes(z: Tensor) -> Tensor:
        y = fourier(z)
        return torch.einsum("...ij,bi...->bj...", vectors.conj().to(y), y)

    def unmodes(y: Tensor, like: Tensor) -> Tensor:
        return inverse_fourier(torch.einsum("...ij,bj...->bi...", vectors.to(y), y), tuple(like.shape[2:]))

    return diagonal(modes, unmodes, variance)


def _dense(vectors: Tensor, variance: Tensor, rest: Tensor | None) -> Covariance:
    """The covariance of eigenvectors between all components, ``(components, vectors)``."""

    def unmodes(y: Tensor, like: Tensor) -> Tensor:
        z: Tensor = (y @ vectors.to(y).T).reshape(like.shape)
        return z

    outside = None if rest is None else float(rest)
    return diagonal(lambda z: z.flatten(1) @ vectors.to(z), unmodes, variance, rest=outside)


def _shrunk(x: Tensor) -> dict[str, Tensor]:
    """``(1 - rho) C + rho mu I`` with ``C = A^T A / n``, ``mu = tr C / d`` (Ledoit and Wolf 2004, eq. 14).

    ``rho = min(b^2, delta^2) / delta^2``: ``delta^2 = |C - mu I|^2``, ``b^2 = (sum |a_i|^4 / n - |C|^2) / n``.
    With fewer samples than components everything is computed in their span.
    """
    A = x.double().flatten(1)
    n, d = A.shape
    gram = A @ A.T / n if n <= d else A.T @ A / n
    mu, squared = gram.trace() / d, gram.square().sum()

    # How far to shrink: the error of C over its distance from a multiple of the identity.
    distance = squared - d * mu**2
    error = ((A.square().sum(1).square().mean() - squared) / n).clamp(min=0)
    rho = float((error / distance).clamp(max=1)) if float(distance) > 0 else 0.0

    # Eigenvectors of C; from those of the smaller Gram matrix where there are few samples.
    values, vectors = torch.linalg.eigh(gram)
    if n > d:
        return {"vectors": vectors, "variance": (1 - rho) * values.clamp(min=0) + rho * mu}
    kept = values > _NOTHING * values.amax()
    values, vectors = values[kept], A.T @ vectors[:, kept] / (n * values[kept]).sqrt()
    return {"vectors": vectors, "variance": (1 - rho) * values.clamp(min=0) + rho * mu, "rest": rho * mu}
