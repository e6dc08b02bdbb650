import math

import pytest
import torch
from trap_cases import F64, normal, source

import physinv as pi
from physinv.thermodynamics import bath_entropy, entropy_production, lost_information, reduced
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=2, rate=1.0, noise=2**0.5, horizon=1.0)
N = 5000
START = 1.5  # standard deviation of x_0


def law(variance):
    """Log density of a round Gaussian in two dimensions."""
    return lambda x: -x.square().sum(1) / (2 * variance) - math.log(2 * math.pi * variance)


def variance(t):
    """Variance of x_t of the process that starts with START."""
    return START**2 * math.exp(-2 * t) + 1 - math.exp(-2 * t)


def divergence(v):
    """KL(N(0, v) || N(0, 1)) in two dimensions."""
    return v - 1 - math.log(v)


def paths(times, seed=0):
    """Trajectories from N(0, START^2)."""
    return OU.run(START * normal(N, 2, seed=seed), times, generator=source(seed + 1))


def test_the_bath_gets_the_energy_that_is_lost():
    """Exactly, path by path, at times however far apart, since transitions are exact; over kT."""
    times = [0.0, 0.5, 2.0]
    x, u = paths(times), reduced(OU)
    torch.testing.assert_close(bath_entropy(OU, x, times), u(x[:, 0]) - u(x[:, -1]))


def test_euler_steps_of_a_nonlinear_process_come_close():
    well = DoubleWell()
    times = torch.linspace(0, 0.5, 251, dtype=F64)
    x = well.simulate(500, times, generator=source(), dtype=F64)
    u = reduced(well)
    gap = bath_entropy(well, x, times) - (u(x[:, 0]) - u(x[:, -1]))
    assert float(gap.square().mean().sqrt()) < 0.05


def test_the_mean_is_the_loss_of_divergence_and_the_fluctuation_theorem_holds():
    times = [0.0, 0.2, 1.0]
    found = entropy_production(OU, paths(times), times, law(variance(0)), law(variance(1)))
    wanted = divergence(variance(0)) - divergence(variance(1))
    assert abs(float(found.mean()) - wanted) < 4 * float(found.std()) / N**0.5
    w = (-found).exp()
    assert abs(float(w.mean()) - 1) < 4 * float(w.std()) / N**0.5
    assert float(found.std()) / N**0.5 < wanted / 10


def test_in_equilibrium_nothing_is_produced_though_the_start_is_forgotten():
    times, x = [0.0, 1.0], normal(N, 2)
    run = OU.run(x, times, generator=source(1))
    assert float(entropy_production(OU, run, times, law(1.0), law(1.0)).abs().max()) < 1e-12
    # I(x_0; x_t) = -d/2 log(1 - exp(-2 t)), from t = .5 to 1.5 on the same paths.
    later = [0.5, 1.5]
    run = OU.run(x, [0.0, *later], generator=source(1))[:, 1:]
    found = lost_information(OU, x, run, later, law(1.0), law(1.0))
    wanted = math.log(-math.expm1(-3)) - math.log(-math.expm1(-1))
    assert abs(float(found.mean()) - wanted) < 4 * float(found.std()) / N**0.5


def test_what_is_lost_is_that_of_the_parts_minus_that_of_the_whole():
    times = [0.3, 1.0]
    x = START * normal(N, 2)
    run = OU.run(x, [0.0, *times], generator=source(1))[:, 1:]
    found = lost_information(OU, x, run, times, law(variance(0.3)), law(variance(1.0)))

    def information(t):
        """d/2 log(variance / variance given x_0), d = 2."""
        return math.log(variance(t) / -math.expm1(-2 * t))

    wanted = information(0.3) - information(1.0)
    assert abs(float(found.mean()) - wanted) < 4 * float(found.std()) / N**0.5
    whole = entropy_production(OU, run, times, law(variance(0.3)), law(variance(1.0)))
    own = divergence_given(0.3) - divergence_given(1.0)
    assert abs(float(whole.mean()) + wanted - own) < 4 * float((whole + found).std()) / N**0.5


def divergence_given(t):
    """Mean of KL(p(x_t | x_0) || p_eq) over x_0, d = 2."""
    q, m = -math.expm1(-2 * t), START**2 * math.exp(-2 * t)
    return q + m - 1 - math.log(q)


class Turning(pi.SDE):
    """``dx = (-x + 2 J x) dt + sqrt(2) dW``: the stationary law of a trap, without detailed balance."""

    def drift(self, x, t):
        return -x + 2 * torch.stack([-x[:, 1], x[:, 0]], dim=1)

    def diffusion(self, t):
        return 2**0.5 * torch.ones_like(t)


def test_a_stationary_law_is_no_detailed_balance():
    """Turning at the rate w produces E|w J x|^2 = 2 w^2 in each time, for ever."""
    times = torch.linspace(0, 1, 201, dtype=F64)
    run = pi.solve(Turning(), normal(2000, 2), times, generator=source(1))
    states = run.transpose(0, 1) if run.shape[0] == len(times) else run
    found = entropy_production(Turning(), states, times, law(1.0), law(1.0))
    # Euler's steps of .005 widen the law by (1 + w^2) dt / 2 = 1 %, and the rate with it.
    assert abs(float(found.mean()) - 8) < 4 * float(found.std()) / 2000**0.5 + 0.2


def test_times_must_fit():
    with pytest.raises(ValueError, match=r"`times` must hold the 3 times of `paths`, got 2"):
        bath_entropy(OU, torch.zeros(5, 3, 2), [0.0, 1.0])
