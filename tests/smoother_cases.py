"""Smoothers in closed form and small networks, shared by the tests of the reversal of nonlinear fields."""

import math

import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.broadcast import match
from physinv.equations.sde import SDE
from physinv.models.references.smoother import SmootherReference
from physinv.models.references.smoother_tables import Tables, fit_smoother_tables
from physinv.models.score import ScoreModel
from physinv.processes.layout import FieldLayout
from physinv.processes.simulator import Simulator
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.numerics.spectral import grid

FAR = 1e30  # a reach that limits nothing
MOST = math.exp(4)


class General(SDE):
    """A linear SDE that does not say so: drift, noise and flow are forwarded, the transition kernel is not.

    Backward no mode grows by more than ``MOST``: otherwise rounding errors of large modes would drown the others.
    """

    def __init__(self, linear):
        self.linear = linear

    def drift(self, x, t):
        return self.linear.drift(x, t)

    def diffusion(self, t):
        return self.linear.diffusion(t)

    def drift_flow(self, x, t0, t1):
        grown = self.linear.decay(t0, t1, x).clamp(max=MOST)
        return self.linear.unmodes(grown * self.linear.modes(x), x)


class Fixed(torch.nn.Module):
    """A network that says ``out`` about the mean and ``log_size`` about the size of the noise, everywhere."""

    def __init__(self, out=0.0, log_size=0.0):
        super().__init__()
        self.out, self.log_size = (torch.nn.Parameter(torch.tensor(float(v))) for v in (out, log_size))

    def forward(self, features, tau):
        half = torch.ones_like(features[:, : features.shape[1] // 3])
        return torch.cat([self.out * half, self.log_size * half], dim=1)


class Loud(torch.nn.Module):
    """Some smooth function of features and time whose output is far larger than that of a trained network."""

    def __init__(self, channels, size=5.0):
        super().__init__()
        draw = torch.randn(2 * channels, 3 * channels, generator=torch.Generator().manual_seed(1))
        self.mixing = torch.nn.Parameter(size * draw)

    def forward(self, features, tau):
        return torch.einsum("oi,bi...->bo...", self.mixing, features.tanh()) + match(tau, features)


def exact_tables(heat, *, trusted):
    """The smoother of a Gaussian heat equation in closed form; where ``trusted``, seen from the physics run backward.

    With decay a, noise q, powers S, S' = a^2 S + q and b = c y, c = min(1/a, MOST) or 1:  S_b = c^2 S', K = a S/(c S').
    """
    like = torch.zeros((1, *heat.shape), dtype=torch.float64)
    times, prior = heat.times, heat.exact().power.double()
    power = torch.stack([heat.decay(0.0, t, like)[0] ** 2 * prior + heat.variance(0.0, t, like)[0] for t in times])
    power = power.clamp(min=1e-9 * float(power.mean()))  # the mean of the start is 0: the floor of a fit
    a = torch.stack([heat.decay(0.0, dt, like)[0] for dt in times.diff()])
    use = torch.as_tensor(trusted) & torch.ones_like(a, dtype=torch.bool)
    c = torch.where(use, (1 / a).clamp(max=MOST), torch.ones_like(a))
    back_power = c**2 * power[1:]
    gain = a / c * power[:-1] / power[1:]
    mean = torch.zeros(len(times), *heat.shape, dtype=torch.float64)
    far = torch.full_like(power, FAR)
    return Tables(
        times, mean, power, far, mean[1:], back_power, far[1:], no_box(mean[1:]), gain, use, torch.ones_like(gain)
    )


def no_box(means):
    """Limits for each of the fields ``means (interval, channels, *space)`` that cut nothing."""
    far = means.new_full((*means.shape[:2], *[1] * (means.ndim - 2)), FAR)
    return torch.stack([-far, far], dim=1)


def exact_model(heat, network=None, *, trusted=True, **changes):
    tables = exact_tables(heat, trusted=trusted)._replace(**changes)
    reference = SmootherReference(General(heat), "fourier", tables)
    return ScoreModel(reference, network or Fixed(), (float(heat.times[1]), float(heat.times[-1]))).double()


def stored(simulator, folder, *, name="heat", **splits):
    generate(DatasetPlan(simulator, {"train": 1, **splits}, 0, name, dtype="float64"), folder)
    return {split: TrajectoryDataset(folder / "data" / split).load() for split in splits}


def per_mode(heat, x):
    """Mean square of each mode over the batch, without the mean mode."""
    return heat.modes(x).abs().square().mean(0)[..., 1:]


def fit_smoother(sde, data, basis):
    """The smoother fitted to ``data`` in a given basis, whatever the boundary of the field says."""
    return SmootherReference(sde, basis, fit_smoother_tables(sde, data, basis))


# Stored steps that forget little, few long ones, and some after which modes have decayed by e^-20 and more.
REGIMES = {
    "fine": Heat(size=8, dimension=1, steps=20, horizon=0.3, noise=0.3),
    "long": Heat(size=12, dimension=1, steps=4, horizon=0.4, noise=0.3),
    "stiff": Heat(size=16, dimension=1, steps=4, horizon=2.0, noise=0.3),
}


class Cubic(Simulator):
    """``dx = -x^3 dt + g dW`` at every point: backward it is infinite after a time 1/(2 x^2)."""

    title = "cubic"
    equation = "dx = -x^3 dt + g dW"

    @property
    def shape(self):
        return (1, 8)

    @property
    def layout(self):
        return FieldLayout(("x",), ("x",), (grid(8),), "PERIODIC")

    @property
    def substeps(self):
        return 8

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return 2 * torch.randn((batch, 1, 8), generator=generator, device=device, dtype=dtype)

    def drift(self, x, t):
        return -(x**3)

    def diffusion(self, t):
        return 0.3 * torch.ones_like(t)


BLOWING_UP = {
    "burgers": (Burgers(size=32, steps=3, horizon=3.0, viscosity=0.1, inner=6), "fourier"),
    "kuramoto-sivashinsky": (KuramotoSivashinsky(size=32, steps=2, horizon=8.0, spin_up=12.0, inner=16), "fourier"),
    "cubic": (Cubic(horizon=0.5, steps=4), "fourier"),
    "cubic, walls": (Cubic(horizon=0.5, steps=4), "identity"),
}
