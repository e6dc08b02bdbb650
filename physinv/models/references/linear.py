"""Gaussian reference law of linear physics: mean and spectrum of the initial states, carried exactly through time."""

from __future__ import annotations

__all__ = ["LinearReference", "Spectrum", "power_spectrum", "root_mean_square"]

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import Seed
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.fourier import multiplicity
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE, Linear
from physinv.laws.covariance import Covariance, diagonal
from physinv.models.references.base import ReferenceLaw
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    from typing import Self

_ROWS = 4096  # trajectories that suffice: each power is then known to 2 %


class Spectrum(NamedTuple):
    """Gains and variances of all modes at one time.

    Args:
        a: Decay: factor by which a mode of the mean has shrunk since t = 0.
        prior: Variance ``S_0`` at t = 0.
        v: Variance of the noise accumulated since t = 0.
        now: Variance ``S = a^2 S_0 + v`` at that time.
    """

    a: Tensor
    prior: Tensor
    v: Tensor
    now: Tensor


class LinearReference(ReferenceLaw):
    """The Gaussian reference law ``N(a mean0, a^2 power0 + v)`` of a linear SDE, mode by mode.

    The network's output counts in units of ``sqrt(a^2 S_0 / (S v))``: by Tweedie's formula this is the size of the
    score's non-Gaussian part where ``E[x_0 | x_t]`` differs from the Wiener estimate by one standard error.  Modes that
    have forgotten the prior therefore stay exactly Gaussian, whatever the network's output.

    Args:
        sde: The linear process.
        mean0: Mean of the initial states.
        power0: Variance ``S_0`` of each orthonormal mode of the initial states, ``(*modes)``.  What is no more than the
            rounding of states counts as 0: such modes do not vary, and densities leave them out.
    """

    name: ClassVar[str] = "linear"

    def __init__(self, sde: Linear, mean0: Float[Tensor, "*state"], power0: Tensor) -> None:
        super().__init__()
        self.sde = sde
        self.channels_in, self.channels_out = 2 * mean0.shape[0], mean0.shape[0]
        self.register_buffer("mean0", mean0)
        self.register_buffer("power0", _varying(power0))
        self.register_load_state_dict_post_hook(_clear_rounding)  # type: ignore[no-untyped-call]  # of earlier versions

    @classmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        """Tell whether the state is a field and the SDE linear, with modes other than the components."""
        return cls.name in layout.references and isinstance(sde, Linear) and sde.basis != "identity"

    @classmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0) -> Self:
        """Fit mean and spectrum of the initial states, of which the first 4096 count.

        Raises:
            ValueError: If the SDE is not linear.
        """
        if not isinstance(sde, Linear):
            raise ValueError(f"reference law `linear` needs a Linear SDE, got {type(sde).__name__}; take `smoother`.")
        return cls(sde, *power_spectrum(sde.modes, sde, data.states(0, limit=_ROWS)))

    def spectrum(self, t: Float[Tensor, " batch"], like: Float[Tensor, "batch *state"]) -> Spectrum:
        """Return gains and variances of all modes.

        Args:
            t: Times.
            like: States of the shape in question.

        Returns:
            Tensors that broadcast against ``(batch, *modes)``.
        """
        a, v = self.sde.decay(0.0, t, like), self.sde.variance(0.0, t, like)
        now = (a**2 * self.power0 + v).clamp(min=torch.finfo(like.dtype).tiny)
        return Spectrum(a, self.power0, v, now)

    def centred(self, x: Tensor, t: Tensor) -> tuple[Tensor, Spectrum]:
        """Return the modes of the states minus those of the mean, and the spectrum.

        Args:
            x: States, ``(batch, *state)``.
            t: Times, ``(batch,)``.
        """
        s = self.spectrum(t, x)
        return self.sde.modes(x) - s.a * self.sde.modes(self.mean0[None]), s

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``-(y - a m_0) / S`` of the reference law, mode by mode; 0 in modes that do not vary."""
        y, s = self.centred(x, t)
        return -self.sde.unmodes(torch.where(s.now > torch.finfo(s.now.dtype).tiny, y / s.now, 0.0), x)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the log density ``log q_t(x)``, mode by mode."""
        y, s = self.centred(x, t)
        return gaussian_log_prob(y, s.now, x)

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Return the centred state and its Wiener estimate ``E_q[x_0 | x_t]``, each over its root mean square."""
        y, s = self.centred(x, t)
        wiener = s.a * s.prior / s.now
        now = self.sde.unmodes(y, x) / root_mean_square(s.now, x, paired=y.is_complex())
        estimate = self.sde.unmodes(wiener * y, x) / root_mean_square(wiener**2 * s.now, x, paired=y.is_complex())
        return torch.cat([now, estimate], dim=1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Multiply each mode of the network's output by ``sqrt(a^2 S_0 / (S v))``."""
        s = self.spectrum(t, x)
        tiny = torch.finfo(x.dtype).tiny
        return self.sde.unmodes((s.a**2 * s.prior / s.now / s.v.clamp(min=tiny)).sqrt() * self.sde.modes(out), x)

    def mean_at(self, t: float) -> Float[Tensor, "1 *state"]:
        """Return the mean ``a mean0``."""
        like = self.mean0[None]
        s = self.spectrum(like.new_full((1,), t), like)
        return self.sde.unmodes(s.a * self.sde.modes(like), like)

    def covariance_at(self, t: float) -> Covariance:
        """Return the covariance, diagonal in the modes of the SDE; 0 in modes that do not vary."""
        like = self.mean0[None]
        now = self.spectrum(like.new_full((1,), t), like).now
        return diagonal(self.sde.modes, self.sde.unmodes, torch.where(now > torch.finfo(now.dtype).tiny, now, 0.0))

    def error_size(
        self, error: Float[Tensor, "batch *state"], x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> float:
        """Return the root mean square of an error at ``t`` once the flow has carried it to ``t = 0``.

        The flow multiplies the error in each mode by ``sqrt(S_0 / S)``.
        """
        s = self.spectrum(t, x)
        carried = self.sde.unmodes((s.prior / s.now).sqrt() * self.sde.modes(error), x)
        return float(carried.square().mean().sqrt())

    def default_step(self, sde: SDE) -> str:
        """Return ``transport``, which is exact for this law, where the SDE is linear."""
        return "transport" if isinstance(sde, Linear) else "split"


def _varying(power: Tensor) -> Tensor:
    """The power without what rounding leaves in modes that do not vary, such as the mean of fields whose mean is 0.

    Channels may be in units of very different size; powers that are no numbers stay, for a failure that is seen.
    """
    if not bool(power.isfinite().all()):
        return power
    most = power.flatten(1).amax(1).reshape(-1, *[1] * (power.ndim - 1)) if power.ndim > 1 else power.amax()
    return torch.where(power > torch.finfo(power.dtype).eps ** 2 * most, power, 0.0)


def _clear_rounding(law: nn.Module, _: object) -> None:
    power = law.get_buffer("power0")
    power.copy_(_varying(power))


def power_spectrum(modes: Callable[[Tensor], Tensor], sde: SDE, x: Float[Tensor, "n *state"]) -> tuple[Tensor, Tensor]:
    """Estimate mean and power ``E|y_k - E y_k|^2`` per orthonormal mode, unbiased, in float32.

    Args:
        modes: Transform of states ``(n, *state)`` to coefficients in an orthonormal basis.
        sde: The process whose symmetries multiply the states.
        x: States.

    Returns:
        Mean ``(*state)`` and power ``(*modes)``.
    """
    x = torch.cat(sde.images(x))
    mean = x.double().mean(0)
    total = torch.zeros((), dtype=torch.float64)
    for part in torch.split(x, 1024):
        y = modes(part.double() - mean)
        total = total + y.abs().square().sum(0)
    return mean.float(), (total / max(len(x) - 1, 1)).float()


def root_mean_square(power: Tensor, like: Tensor, *, paired: bool = True) -> Tensor:
    """Return the root mean square over space of fields with a given power per orthonormal mode.

    Args:
        power: Variance of each mode, ``(batch, channels, *modes)``, or ``(batch, dim)``.
        like: States of the shape in question.
        paired: Whether the modes are those of a real FFT, where most stand for their complex conjugates too.

    Returns:
        ``(batch, channels, *1)``, or ``(batch, 1)`` for vectors.
    """
    if like.ndim > 2:
        power = power * (multiplicity(like) if paired else 1) / like[0, 0].numel()
        power = power.sum(dim=tuple(range(2, power.ndim)), keepdim=True)
    else:
        power = power.mean(dim=1, keepdim=True)
    return power.clamp(min=torch.finfo(power.dtype).tiny).sqrt()
