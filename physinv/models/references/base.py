"""The interface of reference laws ``q_t``, around which a score network learns the remainder.

The score model is ``s(x, t) = grad log q_t(x) + lift(network(features(x, t), t))``.  A reference law supplies three
parts: its own score, features of the state for the network, and the unit in which the network's output counts.  With a
suitable reference the network sees inputs and targets of order one, as the preconditioning of Karras et al. (2022)
provides for noised images, and where the data follow the reference there is nothing left to learn.

``linear``     Gaussian, mean and spectrum of ``x_0`` carried exactly through a linear SDE (fields)
``smoother``   regression of each stored state on the next one, mode by mode (nonlinear fields)
``mixture``    Gaussian mixture, one component for each cluster of initial states (vectors)
``low-rank``   Gaussian, low rank plus diagonal (large vectors)
``particles``  Gaussian, exchangeable within each species (particles)
"""

from __future__ import annotations

__all__ = ["ReferenceLaw", "default_objective", "equilibrium_score", "raised"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.sde import SDE, Linear, Score
from physinv.laws.covariance import Covariance
from physinv.laws.observation import Observation, jacobian
from physinv.models.references.here import Here

if TYPE_CHECKING:
    from typing import Self

    from physinv.config.seeds import Seed
    from physinv.config.settings import Settings
    from physinv.data.dataset import TrajectoryDataset
    from physinv.processes.layout import StateLayout


class ReferenceLaw(nn.Module, ABC):
    """A family of laws ``q_t`` for states of one shape, fitted to data, with what a network needs to improve on it.

    A reference law of your own implements :meth:`suits`, :meth:`fit`, :meth:`score`, :meth:`log_prob`,
    :meth:`features` and :meth:`lift`, and sets ``name``, ``channels_in`` and ``channels_out``.  Its constructor takes
    the SDE and one tensor for each registered buffer, under the buffer's name, or it overrides :meth:`from_tensors`.
    :meth:`mean_at` and :meth:`covariance_at` are needed for partial observations and Langevin moves only.

    Attributes:
        name: Name under which run files hold the law (the name it is registered by).
        channels_in: Channels (components of a vector) of the network's input.
        channels_out: Channels (components) of the network's output.
        is_score: Whether reference plus network is the score of ``p_t`` at every time.  False for laws whose network
            is trained for steps between stored times only.
    """

    name: ClassVar[str]
    is_score: ClassVar[bool] = True

    channels_in: int
    channels_out: int

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Tensor:
            """Buffers of a law are tensors."""

    @classmethod
    @abstractmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        """Tell whether the law can be fitted to states of this layout under this SDE.

        Args:
            sde: The physics.
            layout: Layout of the states.

        Returns:
            Whether :meth:`fit` makes sense.
        """

    @classmethod
    @abstractmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0) -> Self:
        """Fit the law to a trajectory dataset.

        Args:
            sde: The physics; its symmetries (:meth:`~physinv.equations.sde.SDE.images`) multiply the data.
            data: Training trajectories.
            settings: Training settings; laws read those that concern them.
            seed: Seed of whatever the fit draws.

        Returns:
            The law with float32 buffers.
        """

    @property
    def length(self) -> float:
        """Return the unit of length in which the features count positions of particles."""
        return 1.0

    @abstractmethod
    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``grad_x log q_t(x)``.

        Args:
            x: States.
            t: Times.
        """

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the normalised log density ``log q_t(x)``.

        Args:
            x: States.
            t: Times.
        """

    @abstractmethod
    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Return inputs of order one for the network, ``(batch, channels_in, *space)``.

        Args:
            x: States.
            t: Times.
        """

    @abstractmethod
    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Turn the network's output, of order one, into a contribution to the score, ``(batch, *state)``.

        Args:
            out: Output of the network, ``(batch, channels_out, *space)``.
            x: States.
            t: Times.

        Returns:
            A contribution to the score, ``(batch, *state)``.
        """

    def here(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Here:
        """Return the parts above for some states, each computed when it is asked for.

        Args:
            x: States.
            t: Times.
        """
        return Here(self, x, t)

    @classmethod
    def of(cls, score: Score) -> Self | None:
        """Return the reference law of a score model if it is of this class, else None.

        Args:
            score: Any score; only score models (:class:`~physinv.models.score.ScoreModel`) have a reference law.
        """
        reference = getattr(score, "reference", None)
        return reference if isinstance(reference, cls) else None

    @classmethod
    def from_tensors(cls, sde: SDE, tensors: Mapping[str, Tensor]) -> Self:
        """Make the law again from the tensors of its ``state_dict()``.

        Args:
            sde: The physics it was fitted under.
            tensors: Buffers by name.

        Returns:
            The law.

        Raises:
            KeyError: If a tensor is missing.
        """
        return cls(sde, **tensors)

    def mean_at(self, t: float) -> Float[Tensor, "1 *state"]:
        """Return the mean of ``q_t``.

        Args:
            t: Time.

        Raises:
            ValueError: If this law does not know its mean.
        """
        raise ValueError(f"reference law `{self.name}` tells no `mean_at`, which partial observations need.")

    def covariance_at(self, t: float) -> Covariance:
        """Return the covariance of ``q_t``, or for laws that are not Gaussian one that suits Langevin moves.

        For a mixture that is ``v I`` with the smallest variance ``v`` of any component in any direction: the same for
        every state, as Langevin moves need it, and small enough for all of them.

        Args:
            t: Time.

        Raises:
            ValueError: If this law does not know its covariance.
        """
        raise ValueError(f"reference law `{self.name}` tells no `covariance_at`, which Langevin moves need.")

    def sample(self, n: int, t: float, *, generator: torch.Generator | None = None) -> Float[Tensor, "n *state"]:
        """Draw states from ``q_t``.

        The default draws from the Gaussian with :meth:`mean_at` and :meth:`covariance_at`.

        Args:
            n: Number of draws.
            t: Time.
            generator: Source of randomness, on the device of the law.

        Returns:
            States ``(n, *state)``.
        """
        mean = self.mean_at(t)
        z = torch.randn((n, *mean.shape[1:]), generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + self.covariance_at(t).root(z)

    def sample_given(
        self,
        observation: Observation,
        y: Float[Tensor, "batch *seen"],
        n: int,
        t: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n *state"]:
        """Draw ``n`` states from ``q_t`` given each observation ``y = H x + sigma n``, exactly.

        Args:
            observation: Linear operator H and noise sigma.
            y: Observed numbers.
            n: Draws for each observation.
            t: Time of the observation.
            generator: Source of randomness, on the device of ``y``.

        Returns:
            States ``(batch, n, *state)``.
        """
        prior = self.mean_at(t)
        H = jacobian(observation.operator, prior)
        gain, C = self.covariance_at(t).given(H, observation.covariance(H))
        z = torch.randn((n * len(y), *prior.shape[1:]), generator=generator, dtype=y.dtype, device=y.device)
        means = prior + gain(y - observation.operator(prior))
        return means[:, None] + C.root(z).reshape(len(y), n, *prior.shape[1:])

    def precision(
        self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"] | None:
        """Return the diagonal of ``-Hess log q_t``; for a mixture, the mean over its components by responsibility.

        Args:
            x: States.
            t: Times.

        Returns:
            The diagonal, or None if this law does not know it.
        """
        return None

    def limits(self, t: Float[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest states that a reversal may reach, each ``(batch, *state)``.

        Needed only where :meth:`precision` is known.

        Args:
            t: Times.

        Raises:
            ValueError: If this law does not know its limits.
        """
        raise ValueError(f"reference law `{self.name}` tells a precision but no `limits`; override both.")

    def error_size(
        self, error: Float[Tensor, "batch *state"], x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> float:
        """Return the size of an error made at ``t``, in units of the spread of the states there.

        Laws that know how errors grow until ``t = 0`` override this.

        Args:
            error: Errors of states.
            x: The states.
            t: Times.
        """
        spread = (x - x.mean(0)).square().mean().sqrt().clamp(min=torch.finfo(x.dtype).tiny)
        return float(error.square().mean().sqrt() / spread)

    def check_times(self, times: Float[Tensor, " time"]) -> None:
        """Check that :meth:`default_step` can go backward along a time grid; by default any grid will do.

        Args:
            times: Increasing times.

        Raises:
            ValueError: If it cannot.
        """

    def default_step(self, sde: SDE) -> str:
        """Return the name of the reverse step that suits this law (see :mod:`physinv.reversal.choose`).

        Args:
            sde: The physics.
        """
        return "split"

    def objective(self, sde: SDE) -> str:
        """Return the name of the training objective that suits this law.

        Args:
            sde: The physics.
        """
        return default_objective(sde)


def default_objective(sde: SDE) -> str:
    """Return ``"denoising"`` where the transition kernel is known (a linear SDE), else ``"trajectory"``.

    Args:
        sde: The physics.
    """
    return "denoising" if isinstance(sde, Linear) else "trajectory"


def equilibrium_score(drift: Tensor, noise: Tensor) -> Tensor:
    """Return ``2 f / g^2``, the score that the physics has in equilibrium, or 0 where there is no noise.

    Args:
        drift: The drift ``f``, or a difference of two.
        noise: The noise amplitude ``g`` of each component, of the same shape.

    Example:
        >>> equilibrium_score(torch.tensor([2.0, 2.0]), torch.tensor([0.5, 0.0]))
        tensor([16.,  0.])
    """
    noisy = noise > 0
    return torch.where(noisy, 2 * drift / torch.where(noisy, noise, torch.ones_like(noise)).square(), 0.0)


def raised(sizes: Tensor, share: float) -> Tensor:
    """Raise sizes of (nearly) nothing to a share of the largest, so that a scale exists whatever the unit of the data.

    Args:
        sizes: Variances or deviations of one quantity, none negative.
        share: Share of the largest one.

    Returns:
        The sizes, none below the share; where all are 0, as for data that never vary, the share itself.

    Example:
        >>> raised(torch.tensor([4.0, 0.0]), 0.25), raised(torch.zeros(2), 0.25)
        (tensor([4., 1.]), tensor([0.2500, 0.2500]))
    """
    return sizes.clamp(min=share * (float(sizes.max()) or 1.0))
