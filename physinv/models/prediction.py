"""Networks that predict the noise in a state, its start, or the mean of the step before it: scores all the same."""

from __future__ import annotations

__all__ = ["Prediction"]

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.noising import Noising
from physinv.laws.noised import score_from_mean, score_from_noise, score_from_start


class Prediction(nn.Module):
    """A score made of a network's prediction, with or without a learned variance of the steps.

    It is a :data:`~physinv.equations.sde.Score` like any other: ``Reverse``, ``Posterior``, ``ddim`` and ``langevin``
    take it.  The network sees the state over its root mean square (for data of variance 1) and ``t / T``.

    Args:
        network: A module ``(features, tau) -> output`` with as many outputs as inputs; with ``variance`` twice as many.
        process: The noising process.
        times: The times ``0, ..., T`` of the chain; those before and after a step count for ``"mean"``.
        predicts: ``"noise"``, ``"start"`` (``x_0``), or ``"mean"`` (of the state one step before).
        variance: Whether the other half of the outputs says where the variance of a step lies between beta-tilde and
            beta: a sigmoid, which cannot leave the interval.

    Raises:
        ValueError: If ``predicts`` is none of these.

    References:
        Ho et al. (2020), Denoising diffusion probabilistic models, section 3.2;
        Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models, eq. 15.

    Example:
        >>> from physinv.equations.noising import VP, grid
        >>> from physinv.models.networks.mlp import MLP
        >>> model = Prediction(MLP(2, 4), VP(), grid(100), variance=True)
        >>> model(torch.ones(5, 2), torch.ones(5)).shape, model.share(torch.ones(5, 2), torch.ones(5))[0, 0].item()
        (torch.Size([5, 2]), 0.5)
    """

    times: Tensor

    def __init__(
        self,
        network: nn.Module,
        process: Noising,
        times: Float[Tensor, " time"],
        *,
        predicts: str = "noise",
        variance: bool = False,
    ) -> None:
        super().__init__()
        if predicts not in ("noise", "start", "mean"):
            raise ValueError(f"`predicts` must be noise, start or mean, got {predicts!r}.")
        self.network, self.process, self.predicts, self.variance = network, process, predicts, variance
        self.register_buffer("times", times.double())

    def forward(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``grad_x log p_t(x)``.

        Args:
            x: States.
            t: Times, later than 0.
        """
        return self.both(x, t)[0]

    def share(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Return ``c`` in [0, 1] for the variance ``beta^c beta-tilde^(1 - c)`` of the step down from ``t``.

        Args:
            x: States.
            t: Times.

        Raises:
            ValueError: If no variance is learned.
        """
        found = self.both(x, t)[1]
        if found is None:
            raise ValueError("`variance` must be learned to be asked for; give Prediction(..., variance=True).")
        return found

    def both(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> tuple[Tensor, Tensor | None]:
        """Return the score, and the share of the variance or None, from one evaluation of the network.

        Args:
            x: States.
            t: Times, later than 0.
        """
        like, process = x[:1], self.process
        size = (process.decay(0.0, t, like) ** 2 + process.variance(0.0, t, like)).sqrt()
        out = self.network(x / size, (t / process.horizon).to(x.dtype))
        share = None
        if self.variance:
            out, raw = out.chunk(2, dim=1)
            share = raw.sigmoid()
        if self.predicts == "noise":
            return score_from_noise(process, x, out, t), share
        if self.predicts == "start":
            return score_from_start(process, x, out, t), share
        return score_from_mean(process, x, out, self._before(t), t), share

    def _before(self, t: Tensor) -> Tensor:
        """The time of the chain before each time, which may be rounded to float32."""
        step = float(self.times.diff().min())
        nearly = t.double() - min(1e-6 * step + 1.2e-7 * float(self.times[-1]), step / 2)
        return self.times[(torch.searchsorted(self.times, nearly.contiguous()) - 1).clamp(min=0)].to(t)
