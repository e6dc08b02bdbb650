"""Trajectories frame by frame: the score of the next frame, given what a recurrent state keeps of those before it.

A frame ``u_k`` is drawn given all entries ``y`` that are known and the frames ``u_<k`` before it, which stand beside
``y`` as exact entries.  Under the Gaussian law of trajectories it has a known law,

    u_k | y, u_<k = P_k w + r_k,    w = E w + K^(-T) e,    e ~ N(0, 1),

of which ``e' = Q^T e`` alone counts, ``P_k K^(-T) = (Q R)^T``.  A diffusion model leads noise to ``e'``.  Its network
sees the mean of that law, the entries of the frame, the frame before, and the state of a recurrent network that read
all frames up to there.  Frames come forward in time where the known entries are early on average, backward else.
"""

from __future__ import annotations

__all__ = ["FrameNetwork", "FrameScore"]

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from physinv.models.windows.law import LEAST, Conditional, WindowLaw
from physinv.models.windows.score import denoised, masked, velocity_error, velocity_score
from physinv.models.windows.trajectories import TrajectoryScore
from physinv.processes.layout import StateLayout

_BLANK = 0.5  # share of the frames of which nothing is known in training
_GROUPS = 8  # of a batch, each with a frame and a mask of its own


class FrameNetwork(nn.Module):
    """A recurrent network that reads frames, and a network that corrects the next one.

    Args:
        step: A network with 5 inputs for each channel of a state and ``memory`` further ones, and one output.
        numbers: Numbers of a state.
        memory: Numbers of the recurrent state.
    """

    def __init__(self, step: nn.Module, numbers: int, memory: int) -> None:
        super().__init__()
        self.step, self.reader = step, nn.GRU(2 * numbers + 1, memory, batch_first=True)


class FrameScore(TrajectoryScore):
    """The score of the next frame of a trajectory, in white coordinates ``e'`` of the module's docstring.

    Where ``useful`` is False, draws are those of the Gaussian law.

    Args:
        law: The Gaussian law of trajectories.
        network: The networks.
        layout: Layout of the states.

    References:
        Rasul et al. (2021), Autoregressive denoising diffusion models for multivariate probabilistic time series
        forecasting.
    """

    network: FrameNetwork

    def __init__(self, law: WindowLaw, network: FrameNetwork, layout: StateLayout) -> None:
        super().__init__(law, network, layout)

    def loss(self, states: Float[Tensor, "batch time *state"], generator: torch.Generator | None) -> Float[Tensor, ""]:
        u, y, seen, noise = masked(self.law, self.layout, states, generator, most=_GROUPS)
        frames, device = self.law.frames, states.device
        draw = torch.rand((2, len(u)), generator=generator, device=device)
        at, errors = (draw[0] * frames).long().clamp(max=frames - 1), []
        for i, k in enumerate(at.tolist()):
            mask, order = seen[i].clone(), _order(seen[i])
            place = order[k]
            mask[place] &= bool(draw[1, i] >= _BLANK)
            before = torch.zeros(frames, dtype=torch.bool, device=device)
            before[order[:k]] = True

            # Those before it are known exactly, as they are when it is drawn.
            given = torch.where(before[:, None], u[i], y[i]), mask | before[:, None], _sure(noise[i], before)
            known = self.law.given(given[0][None], given[1][None], given[2][None])
            basis = self._basis(known, place)
            e = known.whitened(self.law.coordinates(u[i : i + 1])) @ basis
            memory = self._read(u[i], mask, order[:k])
            context = self._context(known, place, order[k - 1] if k else None, u[i], memory)
            errors.append(velocity_error(self.process, _Velocity(self, known, place, basis, context), e, generator))
        return torch.stack(errors).mean()

    def _drawn(
        self, y: Tensor, seen: Tensor, noise: Tensor, n: int, steps: int, generator: torch.Generator | None
    ) -> Tensor:
        order, before = _order(seen), torch.zeros(len(seen), dtype=torch.bool, device=y.device)
        u = torch.where(seen, y, 0.0).repeat_interleave(n, 0)
        for k, place in enumerate(order):
            known = self.law.given(u[None], (seen | before[:, None])[None], _sure(noise, before)[None])
            basis, memory = self._basis(known, place), self._read(u, seen, order[:k])
            context = self._context(known, place, order[k - 1] if k else None, u, memory)
            velocity = _Velocity(self, known, place, basis, context)

            # What the frame does not see of the coordinates stays as the Gaussian law has it.
            like = known.mean[0]
            e = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
            if self.useful:
                inside = e @ basis[0]
                e = e + (denoised(self.process, velocity.score, inside, steps) - inside) @ basis[0].mT
            u[:, place] = self.law.completed(known.mean + known.deviation(e[None]), known, generator)[0, :, place]
            before[place] = True
        return u.reshape(len(y), n, *u.shape[1:])

    def _basis(self, known: Conditional, place: int) -> Float[Tensor, "1 rank inner"]:
        """Orthonormal directions ``Q`` of the coordinates that a frame depends on."""
        found: Tensor = torch.linalg.qr(known.pulled(self.law.factor[place][None]).mT).Q
        return found

    def _read(
        self, u: Float[Tensor, "row time number"], seen: Bool[Tensor, "time number"], order: list[int]
    ) -> Float[Tensor, "row memory"]:
        """The recurrent state after the frames before, 0 at the first."""
        if not order:
            return u.new_zeros((len(u), self.network.reader.hidden_size), dtype=torch.float32)
        when = torch.tensor(order, device=u.device).to(u) / len(seen)
        parts = [u[:, order], seen[order].to(u).expand(len(u), -1, -1), when[:, None].expand(len(u), -1, 1)]
        state: Tensor = self.network.reader(torch.cat(parts, 2).float())[1][0]
        return state

    def _context(
        self, known: Conditional, place: int, last: int | None, u: Tensor, memory: Tensor
    ) -> Float[Tensor, "row channel *space"]:
        """What the network sees beside the noisy frame."""
        sure = (known.seen / (1 + known.noise.square()))[0, place].expand(len(u), -1)
        before = torch.zeros_like(sure) if last is None else u[:, last]
        groups = [self.law.lifted(known.mean)[0, :, place], sure, sure * known.y[0, :, place], before]
        shaped = [g.float().reshape(len(u), *self.layout.shape) for g in groups]
        space = self.layout.shape[1:] if self.layout.space else ()
        spread = memory.reshape(*memory.shape, *[1] * len(space)).expand(*memory.shape, *space)
        return torch.cat([*shaped, spread], 1)


class _Velocity:
    """The prediction of ``v`` for one frame."""

    def __init__(self, model: FrameScore, known: Conditional, place: int, basis: Tensor, context: Tensor) -> None:
        self.model, self.context, self.basis = model, context, basis
        self.lift = basis.mT @ known.pulled(model.law.factor[place][None]).mT  # (1, inner, number)
        self.reach = float(self.lift.square().sum(2).max().sqrt()) or 1.0

    def __call__(self, e: Float[Tensor, "1 row inner"], t: Float[Tensor, " row"]) -> Float[Tensor, "1 row inner"]:
        if not self.model.useful:
            return torch.zeros_like(e)
        noisy = (e @ self.lift)[0].float().reshape(e.shape[1], *self.model.layout.shape)
        features = torch.cat([noisy, self.context], 1)
        out = self.model.network.step(features, (t / self.model.process.horizon).float())
        found: Tensor = out.double().flatten(1)[None] @ self.lift.mT / self.reach
        return found

    def score(self, e: Float[Tensor, "row inner"], t: Float[Tensor, " row"]) -> Float[Tensor, "row inner"]:
        """The score of noisy coordinates."""
        return velocity_score(self.model.process, self(e[None], t)[0], e, t)


def _order(seen: Bool[Tensor, "time number"]) -> list[int]:
    """Frames in the order in which they are drawn: away from the known ones."""
    frames = len(seen)
    weights = seen.double().sum(1)
    middle = float((weights * torch.arange(frames, device=seen.device)).sum() / weights.sum().clamp(min=1))
    forward = list(range(frames))
    return forward if middle <= (frames - 1) / 2 else forward[::-1]


def _sure(noise: Tensor, before: Bool[Tensor, " time"]) -> Tensor:
    """Deviations of noise, none for the frames before."""
    return torch.where(before[:, None], LEAST, noise)
