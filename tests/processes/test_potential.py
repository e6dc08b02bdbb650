import pytest
import torch

from physinv.processes.potential import Potential, check_potential
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.heat import Heat
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from simulators.vectors.quadratic import Quadratic


@pytest.mark.parametrize(
    "process",
    [
        DoubleWell(temperature=0.3),
        DoubleWell(dimension=2),
        OrnsteinUhlenbeck(noise=0.7),
        Quadratic(noise=0.4),
        AllenCahn(size=8, noise=0.3, tilt=0.4),
        AllenCahn(size=16, dimension=1),
        OverdampedParticles(particles=4, mobility=0.5, temperature=0.4),
    ],
    ids=lambda p: type(p).__name__,
)
def test_the_drift_is_that_of_the_potential(process):
    """``f = -g^2/2 grad(beta U)``: sign, factor and temperature, by central differences along random directions."""
    assert isinstance(process, Potential)
    generator = torch.Generator().manual_seed(0)
    x = process.initial(20, generator=generator, dtype=torch.float64)
    v = process.layout.set_moving(
        torch.randn(process.layout.moving(x).shape, generator=generator, dtype=torch.float64), torch.zeros_like(x)
    )
    slope = (process.potential(x + 1e-5 * v) - process.potential(x - 1e-5 * v)) / 2e-5
    g = process.diffusion(torch.zeros(1, dtype=torch.float64)).amax()
    force = (process.drift(x, torch.zeros(20, dtype=torch.float64)) * v).flatten(1).sum(1)
    torch.testing.assert_close(force, -(g**2) / 2 * process.inverse_temperature * slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("process", "told"),
    [
        (Heat(), "Heat has no potential; take a process in one"),
        (DoubleWell, "the class DoubleWell has no potential"),
        (DoubleWell(temperature=0.0), "`temperature` of DoubleWell must be above 0 for Boltzmann's law, got 0.0"),
        (DoubleWell(barrier=0.0), "`barrier` of DoubleWell must be above 0 .*: nothing else confines the particle"),
        (DoubleWell(dimension=2, stiffness=0.0), "`stiffness` of DoubleWell must be above 0"),
        (OrnsteinUhlenbeck(noise=0.0), "`noise` of OrnsteinUhlenbeck must be above 0"),
        (Quadratic(rate=0.0), "`rate` of Quadratic must be above 0"),
        (AllenCahn(noise=0.0), "`noise` of AllenCahn must be above 0"),
        (OverdampedParticles(external="none"), "`external` of OverdampedParticles must confine the particles"),
        (UnderdampedParticles(stiffness=0.0), "`stiffness` of UnderdampedParticles must confine the particles"),
        (UnderdampedParticles(temperature=0.0), "`temperature` of UnderdampedParticles must be above 0"),
    ],
    ids=lambda p: getattr(type(p), "__name__", ""),
)
def test_what_has_no_boltzmann_law_is_refused_in_one_line(process, told):
    with pytest.raises(ValueError, match=told) as caught:
        check_potential(process)
    assert "\n" not in str(caught.value)
