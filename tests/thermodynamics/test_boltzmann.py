import math

import pytest
import torch
from trap_cases import F64, Trap, grid_log_z, normal, source

from physinv.thermodynamics import equilibrium, reduced
from physinv.thermodynamics.boltzmann import check_overdamped, step_of
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.heat import Heat
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


class TiltedWell(DoubleWell):
    """A double well whose right minimum is lower, though all particles start from both sides alike."""

    def potential(self, x):
        return super().potential(x) - 0.3 * x[:, 0]


def test_wells_have_their_shares_whatever_the_barrier():
    """A barrier of 10 kT, and wells that hold shares of 1 and 3: no chain crosses, the weights do it."""
    well = TiltedWell(barrier=5.0)
    law = equilibrium(well, 4000, generator=source())
    x = torch.linspace(-3, 3, 60_001, dtype=F64)
    p = (-law.energy(x[:, None])).softmax(0)
    share = float(p[x > 0].sum())
    found = float((law.samples > 0).double().mean())
    assert 0.7 < share < 0.8
    # Resampling makes twins: the error is that of the weights, ten levels of half an effective share each.
    assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / 4000 * 10)
    assert abs(law.log_z - grid_log_z(law.energy, reach=3)) < 4 * law.log_z_error
    assert law.log_z_error < 0.08


def test_density_and_score_are_those_of_the_law():
    law = equilibrium(OrnsteinUhlenbeck(dim=2, rate=3.0, noise=1.0), 1000, generator=source())
    x = normal(20, 2)
    exact = torch.distributions.Normal(0.0, (1 / 6) ** 0.5).log_prob(x).sum(1)
    assert float((law.log_prob(x) - exact).abs().max()) < 4 * law.log_z_error
    torch.testing.assert_close(law.score(x), -6 * x)
    assert abs(float(law.samples.var()) - 1 / 6) < 4 / 6 * (2 / 2000) ** 0.5


def test_particles_keep_their_species_and_momenta_are_those_of_maxwell():
    law = equilibrium(
        UnderdampedParticles(particles=2, mass=3.0, temperature=0.5, pair="none"), 1500, generator=source()
    )
    x = law.samples
    assert x[:, :, -1].unique(dim=0).tolist() == [[1.0, -1.0]]
    for part, variance in ((x[..., :2], 0.5), (x[..., 2:4], 1.5)):
        assert abs(float(part.var()) - variance) < 4 * variance * (2 / part.numel()) ** 0.5
    exact = 4 * math.log(2 * math.pi * 0.5) + 2 * math.log(3.0)
    assert abs(law.log_z - exact) < 4 * law.log_z_error


def test_steps_are_those_of_the_process():
    """Small steps are almost always accepted, and relax as the process: E[x] falls as exp(-t)."""
    trap, x = Trap(), torch.full((20_000, 1), 1.0, dtype=F64)
    step, energy, generator = step_of(trap, x, 0.02), reduced(trap), source()
    for _ in range(25):
        x = step(energy, x, generator=generator).x
    assert abs(float(x.mean()) - math.exp(-0.5)) < 4 / 20_000**0.5 + 0.005


class Rotating(Trap):
    """The same stationary law with a drift that turns: no detailed balance."""

    def drift(self, x, t):
        return super().drift(x, t) + 1


@pytest.mark.parametrize(
    ("process", "told"),
    [
        (Rotating(), r"the drift of Rotating is not -g\^2/2 grad\(beta U\)"),
        (UnderdampedParticles(particles=2), r"the drift of UnderdampedParticles is not .*; take an overdamped process"),
    ],
    ids=["rotation", "momenta"],
)
def test_a_process_that_relaxes_otherwise_is_refused(process, told):
    with pytest.raises(ValueError, match=told):
        check_overdamped(process, process.initial(50, generator=source(), dtype=F64))


@pytest.mark.parametrize(
    "process",
    [DoubleWell(dimension=2), OrnsteinUhlenbeck(), AllenCahn(size=8), OverdampedParticles(particles=4), Trap()],
    ids=lambda p: type(p).__name__,
)
def test_our_processes_relax_in_their_potential(process):
    check_overdamped(process, process.initial(50, generator=source(), dtype=F64))


def test_a_process_without_a_potential_is_refused():
    with pytest.raises(ValueError, match=r"Heat has no potential; take a process in one, such as double-well"):
        equilibrium(Heat(), 100)
    with pytest.raises(ValueError, match=r"`n` must be at least 100, got 5"):
        equilibrium(Trap(), 5)
