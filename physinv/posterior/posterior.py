"""Reconstruct ``x_0`` from ``x_T`` with a trained score: samples, probability flow, noise-free reversal, density."""

from __future__ import annotations

__all__ = ["Posterior"]

from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import (
    States,
    Times,
    as_states,
    as_times,
    check_batch,
    check_count,
    check_function,
    check_generator,
    check_instance,
    describe,
    one_each,
)
from physinv.equations.broadcast import default_batch
from physinv.equations.check_sde import check_shapes, state_shape
from physinv.equations.sde import SDE, Linear, Reverse, Score, check_score
from physinv.equations.solve import Step, march
from physinv.equations.steps import in_parts
from physinv.models.references.base import ReferenceLaw
from physinv.models.score import ScoreModel
from physinv.posterior.chain import Chain, reverse_links
from physinv.posterior.likelihood import Density, exact, hutchinson, log_prob, rademacher, transition_log_prob
from physinv.processes.parameters import differing
from physinv.processes.simulator import Simulator
from physinv.reversal.choose import default_step


class Posterior:
    """The posterior ``p(x_0 | x_T)`` of a process with known or learned physics and a score.

    It gives three answers: :meth:`sample` draws from the posterior (reverse SDE), :meth:`flow` gives the initial state
    of the probability flow (one state, with the right marginal law), and :meth:`mean_flow` the reversal without noise,
    an estimate of the posterior mean.

    Args:
        sde: The physics.
        score: ``grad_x log p_t(x)``, such as a trained :class:`~physinv.models.score.ScoreModel`.
        times: Increasing times from 0 to T, with one solver step between neighbours: a tensor, an array or a list.
            Where the first one is later than 0, the answers are states at that time instead of initial states.
        step: Reverse step.  None: the step that suits the reference law of the score model, with which it was trained
            (:func:`~physinv.reversal.choose.default_step`).
        batch: Largest number of states computed at the same time, where fewer have to be than suits the caches of a
            CPU or the width of a GPU (:func:`default_batch`); None: as many.  Draws do not depend on it.

    Raises:
        ValueError: If an argument is of another kind, ``score`` was trained on another process than ``sde`` or with
            other parameters of it, they are for states of different shapes, ``times`` do not increase or leave the
            interval that the score model was trained on, ``batch`` is smaller than 1, or the default step cannot go
            backward along ``times`` (``smooth`` needs consecutive stored times).

    Example:
        >>> from physinv.equations.sde import SDE
        >>> class Brownian(SDE):
        ...     def drift(self, x, t): return 0 * x
        ...     def diffusion(self, t): return torch.ones_like(t)
        >>> score = lambda x, t: -x / (1 + t[:, None])  # x_0 ~ N(0, 1), so that x_t ~ N(0, 1 + t)
        >>> law = Posterior(Brownian(), score, torch.linspace(0, 1, 101))
        >>> round(law.flow(torch.ones(1, 1)).item(), 1)  # 1 / sqrt(2)
        0.7
    """

    def __init__(
        self,
        sde: SDE,
        score: Score,
        times: Times,
        *,
        step: Step | None = None,
        batch: int | None = None,
    ) -> None:
        check_instance(sde, SDE, "sde", "give Posterior(sde, score, times)")
        check_score(score)
        if step is not None:
            check_instance(
                step,
                Step,
                "step",
                "give one of physinv.reversal.choose.STEPS, or Step(function, weak_order=1)",
            )
        batch = None if batch is None else check_count(batch, "batch")
        times = as_times(times, increasing=True)
        if times[0] < 0:
            raise ValueError(f"`times` must begin at 0 or later, got {float(times[0]):g}; processes begin at 0.")
        self._shape = state_shape(sde)
        if isinstance(score, ScoreModel):
            self._shape = _common_shape(self._shape, score, sde)
            _check_physics(sde, score)
            _check_horizon(times, score)
        self.sde, self.score, self.times, self.batch = sde, score, times, batch
        reference = ReferenceLaw.of(score)
        default = default_step(sde, score)
        self.step = default if step is None else step
        if reference is not None and self.step is default:
            reference.check_times(times)

    def sample(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states from ``p(x_0 | x_T)`` by the reverse SDE.

        Args:
            final: Final states ``x_T``: a tensor, or an array or lists, of which one is made.  They are brought to the
                precision of the score model and to its device.
            n: Number of draws for each final state.
            generator: Source of randomness, on the device of ``final``.

        Returns:
            Initial states ``(batch, n, *state)``.

        Raises:
            ValueError: If ``n`` is smaller than 1, ``final`` are no finite states of this process, or a draw is not
                finite; :meth:`draws` returns all.
        """
        out = self.draws(final, n, generator=generator)
        lost = 1 - float(out.flatten(2).isfinite().all(2).double().mean())
        if lost:
            raise ValueError(
                f"{lost:.1%} of the draws are not finite: the score is not, or states ran away backward in time; look "
                "for NaN in the score and its reference law, train longer, or take what is finite of `draws`."
            )
        return out

    def draws(
        self, final: States, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Return what :meth:`sample` draws, whether it is finite or not.

        Args:
            final: Final states ``x_T``.
            n: Number of draws for each final state.
            generator: Source of randomness.

        Returns:
            Initial states ``(batch, n, *state)``, of which some may be NaN or infinite.
        """
        n = check_count(n, "n")
        check_generator(generator)
        final = self.accepted(final)
        every = final.repeat_interleave(n, dim=0)
        out = self._back(every, eta=1.0, noise=True, generator=generator)
        return out.reshape(len(final), n, *final.shape[1:])

    @property
    def reference(self) -> ReferenceLaw | None:
        """The reference law of the score; None where there is none."""
        return ReferenceLaw.of(self.score)

    def chains(self) -> list[Chain]:
        """Return the reverse SDE as a chain of steps with log densities, of which weights are made."""
        return [reverse_links(Reverse(self.sde, self.score), self.times, in_parts(self.step, self.batch))]

    def accepted(self, final: States, name: str = "final") -> Float[Tensor, "batch *state"]:
        """Return states in the precision and on the device of the score model.

        Args:
            final: States: a tensor, or an array or lists, of which one is made.
            name: Name of the argument, for messages.

        Raises:
            ValueError: If they are no finite states of this process.
        """
        if isinstance(self.score, ScoreModel):
            final = self.score.accepted(final, name)
        return as_states(final, name, self._shape, finite=True)

    def flow(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the initial state of the probability flow, ``dx = [f - 1/2 g^2 s] dt`` solved from ``x_T`` back to 0.

        Args:
            final: Final states ``x_T``.

        References:
            Song et al. (2021), Score-based generative modeling through stochastic differential equations, eq. 13.
        """
        return self._back(self.accepted(final), eta=0.0, noise=False, generator=None)

    def mean_flow(self, final: States) -> Float[Tensor, "batch *state"]:
        """Return the solution at 0 of ``dx = [f - g^2 s] dt`` from ``x_T``.

        It is the posterior mean where process and data are linear-Gaussian, else an estimate of it.

        Args:
            final: Final states ``x_T``.
        """
        return self._back(self.accepted(final), eta=1.0, noise=False, generator=None)

    def log_prob(
        self,
        initial: States,
        final: States | None = None,
        *,
        base: Density | None = None,
        probes: int | None = None,
        generator: torch.Generator | None = None,
        start: float | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
    ) -> Float[Tensor, " batch"]:
        """Return the log density of initial states, ``log p(x_0)`` or ``log p(x_0 | x_T)``.

            log p(x_0)       = base(x_T) + int div [f - g^2/2 s] dt     along the probability flow
            log p(x_0 | x_T) = log p(x_T | x_0) + log p(x_0) - base(x_T)

        Args:
            initial: Initial states.
            final: One final state for each initial state, for linear SDEs only; None: ``log p(x_0)`` is returned.
            base: Log density at T.  None: that of the score model's reference law, which is as good an approximation as
                the law fits the data at T; where ``p_T`` is known, give it.
            probes: Number of random probes of the divergence; None: the exact divergence.
            generator: Source of the probes, on the device of ``initial``.
            start: Time from which the flow is followed; the density is then that of a state at ``start``.  None: a
                thousandth of the first time step, since initial laws with sharp features have no score at 0.
            rtol: Relative tolerance of the flow's solver.
            atol: Its tolerance beside that: of states in units of their root mean square, of densities in nats.

        Raises:
            ValueError: If no base is known, ``final`` is given for an SDE that is not linear, or the flow does not stay
                finite.

        References:
            See :func:`~physinv.posterior.likelihood.log_prob`.
        """
        check_generator(generator)
        for name, value in (("start", 0.0 if start is None else start), ("rtol", rtol), ("atol", atol)):
            if not isinstance(value, Real):
                raise ValueError(f"`{name}` must be a number, got {describe(value)}.")
        probes = None if probes is None else check_count(probes, "probes")
        initial = self.accepted(initial, "initial")
        if final is not None:
            final = self.accepted(final)
            check_batch(final, "final", initial, "initial")
        horizon = float(self.times[-1])
        if base is None:
            reference = ReferenceLaw.of(self.score)
            if reference is None:
                raise ValueError("`base` must be given for a score that is no ScoreModel: the log density at T.")
            law = reference

            def base(x: Tensor) -> Tensor:
                return law.log_prob(x, x.new_full((len(x),), horizon))

        else:
            given = base
            check_function(given, "base", "(x) -> log density")

            def base(x: Tensor) -> Tensor:
                return one_each(given, x, "base")

        if final is not None and not isinstance(self.sde, Linear):
            raise ValueError(
                "`final` needs a Linear SDE, where log p(x_T | x_0) is known; leave it out for log p(x_0)."
            )

        # The divergence takes many products: a part at a time, with probes that do not depend on the size of a part.
        span = (1e-3 * float(self.times[1]) if start is None else start, horizon)
        flow, parts = Reverse(self.sde, self.score, 0.0), []
        for block in torch.split(initial, default_batch(initial)):
            signs = None if probes is None else rademacher(block, probes, generator=generator).transpose(0, 1)
            size = min(self.batch or len(block), len(block))
            for i, x in enumerate(torch.split(block, size)):
                estimate = exact if signs is None else hutchinson(torch.split(signs, size)[i].transpose(0, 1))
                parts.append(log_prob(flow, x, span, base, divergence=estimate, rtol=rtol, atol=atol))
        prior = torch.cat(parts)
        if final is None or not isinstance(self.sde, Linear):
            return prior
        return transition_log_prob(self.sde, initial, final, horizon) + prior - base(final)

    @torch.no_grad()
    def _back(self, x: Tensor, *, eta: float, noise: bool, generator: torch.Generator | None) -> Tensor:
        """Solve the reverse process from T to 0, and return the states at 0.

        Noise is drawn for blocks whose size depends on the states alone, so that draws do not depend on ``batch``.
        """
        reverse, step = Reverse(self.sde, self.score, eta), in_parts(self.step, self.batch)
        if not isinstance(self.score, ScoreModel):
            some = x[: default_batch(x)]
            check_shapes(reverse, some, some.new_full((len(some),), float(self.times[-1])))
        times, parts = self.times.flip(0), []
        for block in torch.split(x, default_batch(x)):
            for state in march(reverse, block, times, step=step, noise=noise, generator=generator):
                last = state
            parts.append(last)
        start = torch.cat(parts)
        if not isinstance(self.score, ScoreModel) and not bool(start.isfinite().all()):
            raise ValueError(self._divergence(x))
        return start

    def _divergence(self, x: Tensor) -> str:
        """Why states of a score of the user's own are not finite: because the score is not, or the steps are long."""
        for t in self.times.tolist():
            if not bool(self.score(x, x.new_full((len(x),), t)).isfinite().all()):
                return f"`score` must be finite, got NaN or infinity at t = {t:g}; keep `times` away from there."
        return "the states became infinite or NaN backward in time; take more `times`, or look for a sign of `score`."


def _common_shape(shape: tuple[int, ...] | None, score: ScoreModel, sde: SDE) -> tuple[int, ...] | None:
    """The shape of the states of physics and score model, which must be the same where both are known."""
    if shape is not None and score.shape is not None and shape != score.shape:
        raise ValueError(
            f"`score` is for states of shape {score.shape}, {type(sde).__name__} has {shape}; "
            "give the model that was trained on this process."
        )
    return score.shape if shape is None else shape


def _check_physics(sde: SDE, score: ScoreModel) -> None:
    """Refuse a score model of another process, or of one with other physical parameters."""
    known = isinstance(sde, Simulator) and isinstance(score.physics, Simulator)
    if known and (told := differing(sde, score.physics)):
        raise ValueError(f"`score` was trained on {told}; give the model that was trained on this process.")


def _check_horizon(times: Tensor, score: ScoreModel) -> None:
    """Refuse times after the last one that a score model was trained on."""
    last = score.clock[1]
    if float(times[-1]) > last * (1 + 1e-6):
        raise ValueError(
            f"`times` must end at {last:g} at the latest, the last time of the data that the model was trained on, "
            f"got {float(times[-1]):g}; train on longer trajectories."
        )
