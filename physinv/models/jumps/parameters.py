"""The law of the unknown parameters of a process given a later state: a mixture whose numbers a network gives.

    z = Phi^-1(share of theta in its prior),    z = b(x_t) + s r,    r | x_t ~ sum_k w_k N(m_k, S_k),

where ``b`` is a regression, ``s`` the deviation of its errors, and a network gives the numbers of the mixture.  Under
the prior ``z`` is standard normal, whatever the prior.  Regression and network see the state or, of a field, what is
known to tell parameters: power by wave number, moments of values and of differences between neighbours.  Fields in one
dimension of nonlinear processes are read whole as well (:mod:`physinv.models.networks.reader`); of linear ones with
Gaussian data power tells all.
"""

from __future__ import annotations

__all__ = ["ParameterKernel", "empty_parameter_kernel", "fit_parameter_kernel", "summary"]

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from physinv.config.seeds import Seed, seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.fourier import fourier, multiplicity, squared_wavenumbers
from physinv.equations.sde import Linear
from physinv.laws.wiener import mirrored
from physinv.models.jumps.base import Jump, JumpKernel
from physinv.models.jumps.conditional_mixture import ConditionalMixture, mixture_outputs
from physinv.models.networks.mlp import MLP
from physinv.models.networks.reader import FieldReader
from physinv.processes.varying import Varying

_COMPONENTS, _WIDTH = 4, 96  # of the mixture; units of a layer of the network
_ROWS = 4096  # trajectories that locations and scales are fitted to
_POWERS, _FAR = 3, 4.0  # of regressors, and deviations within which they stay
_HELD_OUT, _PENALTIES, _LEAST = 5, (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), 1e-3
_READABLE = 16  # points of a field from which on it is read whole
_DRAWS = 256  # of each observation, for the mean
_SINGLY = 20  # squared wave numbers up to which each has a bin of its own; beyond, wave numbers are rounded
_FLOOR = 1e-10  # of the power of a channel: below it, power is rounding
_WIDTHS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.0)  # factors of all deviations that are compared
_GAIN = 2.0  # log likelihood of all validation states by which another width than the trained one has to be better


class ParameterKernel(JumpKernel):
    """The law ``p(theta | x_T)`` of the parameters that vary, as a jump: draws are final states with other parameters.

    Args:
        network: The network.
        process: The process, whose states hold the parameters in their static parts.
        last: Number of the stored time of the states that tell them.
        reader: What reads whole fields; None: their summary is all that is seen.

    References:
        Papamakarios and Murray (2016), Fast epsilon-free inference of simulation models with Bayesian conditional
        density estimation.
    """

    centre: Float[Tensor, " numbers"]
    unit: Float[Tensor, " numbers"]
    slope: Float[Tensor, "regressors parameters"]
    spread: Float[Tensor, " parameters"]
    width: Float[Tensor, ""]

    def __init__(self, network: nn.Module, process: Varying, last: int = 1, reader: FieldReader | None = None) -> None:
        super().__init__(network, process, [Jump(0, last)])
        self.process, self.reader = process, reader
        if reader is not None:
            self.register_buffer("size", torch.ones(()))
        numbers = summary(process, torch.zeros(1, *process.shape)).shape[1]
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("unit", torch.ones(numbers))
        self.register_buffer("slope", torch.zeros(1 + _POWERS * numbers, len(process.priors)))
        self.register_buffer("spread", torch.ones(len(process.priors)))
        self.register_buffer("width", torch.ones(()))

    @property
    def trained(self) -> nn.Module:
        """What training changes: the network, and the reader beside it."""
        return self.network if self.reader is None else nn.ModuleDict({"network": self.network, "reader": self.reader})

    @torch.no_grad()
    def adapt(self, data: TrajectoryDataset) -> None:
        """Fit locations and scales of what the network sees, and the regression, whose penalty held-out states choose.

        Args:
            data: Training trajectories, of which the first 4096 count.
        """
        x = torch.cat(self.process.images(data.states(-1, limit=_ROWS)))
        seen = summary(self.process, x)
        if self.reader is not None:
            self.size = self.process.state(x).std().clamp(min=torch.finfo(x.dtype).tiny)
        self.centre, spread = seen.mean(0), seen.std(0)
        self.unit = torch.where(spread > 1e-6 * spread.amax(), spread, torch.ones_like(spread))

        inputs, z = self._regressors((seen - self.centre) / self.unit).double(), self.process.normal(x).double()
        held = torch.arange(len(x), device=x.device) % _HELD_OUT == 0
        a, b = inputs[~held], z[~held]
        eye, lowest = torch.eye(a.shape[1], dtype=a.dtype, device=a.device), z[held].square().mean(0)
        for penalty in _PENALTIES:
            slope = torch.linalg.solve(a.T @ a / len(a) + penalty * eye, a.T @ b / len(a))
            error = (z[held] - inputs[held] @ slope).square().mean(0)
            if float(error.sum()) < float(lowest.sum()):
                self.slope, lowest = slope.to(self.slope), error
        self.spread = lowest.sqrt().clamp(min=_LEAST).to(self.spread)

    @torch.no_grad()
    def prepare(self, later: Float[Tensor, "batch *state"], jump: int) -> Float[Tensor, "batch numbers"]:
        numbers = summary(self.process, later)
        return numbers if self.reader is None else torch.cat([numbers, self.process.state(later).flatten(1)], dim=1)

    def mixture(
        self, prepared: Float[Tensor, "batch numbers"]
    ) -> tuple[ConditionalMixture, Float[Tensor, "batch parameters"]]:
        """Return the mixtures of ``r``, and the regression ``b``.

        Args:
            prepared: What :meth:`prepare` says about final states.
        """
        count = len(self.centre)
        numbers = (prepared[:, :count] - self.centre) / self.unit
        origin = self._regressors(numbers) @ self.slope
        seen = [numbers, origin]
        if self.reader is not None:
            field = prepared[:, count:].reshape(len(prepared), self.process.inner.shape[0], -1)
            seen.append(self.reader(field / self.size))
        found = self.network(torch.cat(seen, dim=1), numbers.new_zeros(len(numbers)))
        made = ConditionalMixture.of(found, len(self.process.priors), _COMPONENTS)
        return made if self.training else _widened(made, self.width), origin

    def log_prob(
        self, x: Float[Tensor, "batch *state"], prepared: Float[Tensor, "batch numbers"]
    ) -> Float[Tensor, " batch"]:
        """Return the log density of ``z`` of the parameters that states hold, given the states without them.

        Args:
            x: States with parameters.
            prepared: What :meth:`prepare` says about them.
        """
        mixture, origin = self.mixture(prepared)
        return mixture.log_prob(self._errors(x, origin)) - self.spread.log().sum()

    def loss(
        self,
        earlier: Float[Tensor, "batch *state"],
        later: Float[Tensor, "batch *state"],
        prepared: Float[Tensor, "batch numbers"],
        jump: Int64[Tensor, " batch"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return the negative log density of ``z`` per parameter.

        Args:
            earlier: States at the earlier times, which have the same parameters.
            later: States at the later times.
            prepared: What :meth:`prepare` says about them.
            jump: Numbers of the jumps.
            generator: Source of whatever the loss draws; not used.
        """
        return -self.log_prob(later, prepared).mean() / len(self.process.priors)

    @torch.no_grad()
    def finish(self, data: TrajectoryDataset, *, seed: Seed = 0, more: Float[Tensor, "n *state"] | None = None) -> None:
        """Widen or narrow all laws by one factor, where states that training has not seen are clearly more likely so.

        Args:
            data: Validation trajectories.
            seed: Seed of whatever is drawn: nothing.
            more: Further final states that training has not seen.
        """
        self.eval()
        x = data.states(-1, limit=_ROWS)
        x = x if more is None else torch.cat([x, more])
        self.width = torch.ones_like(self.width)
        mixture, origin = self.mixture(self.prepare(x, 0))
        errors = self._errors(x, origin)
        found = {w: float(_widened(mixture, self.width * w).log_prob(errors).sum()) for w in _WIDTHS}
        best = max(found, key=lambda factor: found[factor])
        best = best if found[best] > found[1.0] + _GAIN else 1.0
        self.width = torch.full_like(self.width, best)

    @torch.no_grad()
    def draw(
        self, later: Float[Tensor, "batch *state"], jump: int = 0, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *state"]:
        """Draw parameters for each later state; the mixtures of equal neighbours are computed once."""
        different, row = torch.unique_consecutive(later, dim=0, return_inverse=True)
        mixture, origin = self.mixture(self.prepare(different, jump))
        z = origin[row] + self.spread * mixture.rows(row).draw(generator=generator)
        return self.process.joined(self.process.state(later), self.process.from_normal(z))

    @torch.no_grad()
    def mean(self, later: Float[Tensor, "batch *state"], jump: int = 0) -> Float[Tensor, "batch *state"]:
        generator = seeds(0).child("method", "mean").generator(later.device)
        many = later.repeat_interleave(_DRAWS, dim=0)
        drawn = self.process.values(self.draw(many, jump, generator=generator))
        mean = drawn.reshape(len(later), _DRAWS, -1).mean(1)
        return self.process.joined(self.process.state(later), mean)

    def _errors(self, x: Tensor, origin: Tensor) -> Tensor:
        """``r`` of states, given the regression."""
        return (self.process.normal(x) - origin) / self.spread

    def _regressors(self, numbers: Tensor) -> Tensor:
        """1, and the first powers of what is seen, within bounds."""
        x = numbers.clamp(-_FAR, _FAR)
        return torch.cat([torch.ones_like(x[:, :1]), *(x**k for k in range(1, _POWERS + 1))], dim=1)


def fit_parameter_kernel(
    process: Varying, data: TrajectoryDataset, *, seed: Seed = 0, last: int = 1
) -> ParameterKernel:
    """Build the kernel of a process with unknown parameters, with scales fitted to data and an untrained network.

    Args:
        process: The process.
        data: Training trajectories.
        seed: Seed of the network's first weights.
        last: Number of the stored time of the states that tell parameters.

    Returns:
        The kernel, before training.
    """
    kernel = empty_parameter_kernel(process, seed=seed, last=last).to(data.device)
    kernel.adapt(data)
    return kernel


def empty_parameter_kernel(
    process: Varying, *, seed: Seed = 0, last: int = 1, reads: bool | None = None
) -> ParameterKernel:
    """Build a kernel that knows no data yet: into it a saved state is loaded.

    Args:
        process: The process.
        seed: Seed of the network's first weights.
        last: Number of the stored time of the states that tell parameters.
        reads: Whether fields are read whole; None: those in one dimension of nonlinear processes.

    Returns:
        The kernel, with empty tables.
    """
    inputs = summary(process, torch.zeros(1, *process.shape)).shape[1] + len(process.priors)
    layout = process.inner.layout
    if reads is None:
        reads = type(process) is Varying and len(process.inner.shape) == 2 and process.inner.shape[1] >= _READABLE
        reads = reads and not layout.static and not isinstance(process.inner, Linear)
    with seeds(seed).child("model", "network").as_global():
        reader = FieldReader(process.inner.shape[0], periodic=layout.periodic) if reads else None
        inputs += 0 if reader is None else reader.numbers
        network = MLP(inputs, mixture_outputs(len(process.priors), _COMPONENTS), width=_WIDTH)
    return ParameterKernel(network, process, last, reader)


def summary(process: Varying, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch numbers"]:
    """Return what is known to tell parameters: the numbers of a vector; power and moments of a field.

    Args:
        process: The process.
        x: States; their static parts of the parameters do not count.

    Returns:
        Of a field, for each channel: mean, log of the variance, log of the power at each wave number, and log mean
        square, skewness and kurtosis of the differences between neighbours along each axis.
    """
    state = process.state(x)
    if state.ndim == 2:
        return state
    space = tuple(range(2, state.ndim))
    spread = state.var(space, unbiased=False)
    tiny = torch.finfo(x.dtype).tiny
    found = [state.mean(space), spread.clamp(min=tiny).log()]

    # Power by wave number, above the rounding of the whole channel.
    continued = mirrored(state, process.layout.periodic)
    modes = fourier(continued)
    power, twins = modes.abs().square().flatten(2), multiplicity(continued).expand(1, 1, *modes.shape[2:]).flatten()
    k2 = squared_wavenumbers(tuple(continued.shape[2:]), device=x.device, dtype=x.dtype).flatten()
    label = torch.where(k2 <= _SINGLY, k2, _SINGLY + k2.sqrt()).round()
    kinds, place = torch.unique(label, return_inverse=True)
    bins = torch.zeros(len(kinds), len(place), dtype=x.dtype, device=x.device)
    bins[place, torch.arange(len(place), device=x.device)] = twins
    pooled = power @ (bins / bins.sum(1, keepdim=True)).T
    found.append((pooled + _FLOOR * power.mean(2, keepdim=True) + tiny).log().flatten(1))

    # Moments of differences between neighbours.
    for axis in space:
        gap = state.roll(-1, axis) - state if process.layout.periodic else state.diff(dim=axis)
        square = gap.square().mean(space).clamp(min=tiny)
        scaled = gap / square.sqrt().reshape(*square.shape, *[1] * len(space))
        found += [square.log(), scaled.pow(3).mean(space), scaled.pow(4).mean(space).clamp(min=tiny).log()]
    return torch.cat(found, dim=1)


def _widened(mixture: ConditionalMixture, width: Float[Tensor, ""]) -> ConditionalMixture:
    """The mixture with all deviations from its mean times ``width``."""
    centre = (mixture.logits.softmax(-1)[..., None] * mixture.means).sum(1, keepdim=True)
    means, scales = centre + width * (mixture.means - centre), mixture.scales + width.log()
    return ConditionalMixture(mixture.logits, means, scales, mixture.triangle)
