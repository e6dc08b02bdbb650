"""Every learned baseline serves every layout, or says where it has no meaning."""

import dataclasses
import sys

import pytest
import torch
from learned_cases import NETWORKS, RING, pair

from physinv.equations.multiplicative import Multiplicative
from physinv.methods.learned.conditional import fit_conditional_diffusion, fit_flow_matching
from physinv.methods.learned.coordinates import conditional_coordinates, prior_coordinates
from physinv.methods.learned.deep_ensemble import fit_deep_ensemble
from physinv.methods.learned.diffusion_prior import fit_diffusion_prior
from physinv.methods.learned.operator import fit_fno
from physinv.methods.learned.regression import fit_regression
from physinv.methods.learned.score_only import fit_score_only
from physinv.methods.learned.simulation_based import fit_fmpe, fit_npse
from physinv.methods.problem import NotApplicableError
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls
from simulators.fields.wave import Wave
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@dataclasses.dataclass(frozen=True)
class Shaky(Multiplicative, OrnsteinUhlenbeck):
    """Noise in proportion to the state."""

    def amplitude(self, x, t):
        return self.noise * x


SMALL = {
    "vector": OrnsteinUhlenbeck(dim=3, steps=2),
    "static": HeatConductivity(size=8, dimension=1, steps=2),
    "walls": HeatWalls(size=8, dimension=1, steps=2),
    "particles": OverdampedParticles(particles=4, steps=2),
    "underdamped": UnderdampedParticles(particles=4, steps=2),
}


FEW = {"width": 8, "depth": 1, "validate_windows": 64}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("fit", [*NETWORKS, fit_score_only, fit_diffusion_prior], ids=lambda f: f.__name__)
def test_every_layout_is_served_and_what_is_static_is_copied(fit, kind, make):
    simulator = SMALL[kind]
    problem, test = make(simulator, 5, trajectories=64, **FEW)
    if fit is fit_score_only and kind == "underdamped":
        with pytest.raises(NotApplicableError, match="nothing moves what has no noise of its own"):
            fit(problem)
        return
    few = {"steps": 3} if fit in (fit_conditional_diffusion, fit_flow_matching, fit_diffusion_prior) else {}
    few |= {"members": 2} if fit is fit_deep_ensemble else {}
    answer, final = fit(problem, **few), test.states(-1, limit=3)
    draws = [answer.sample(final, 2, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    mean = answer.mean(final.double())
    assert draws[0].shape == (3, 2, *simulator.shape)
    assert draws[0].dtype == torch.float32
    assert mean.shape == final.shape
    assert mean.dtype == torch.float64
    assert bool(draws[0].isfinite().all())
    assert torch.equal(draws[0], draws[1])
    if fit is not fit_regression:
        assert not torch.equal(*problem.train.layout.moving(draws[0]).unbind(1))
    for name, place in test.layout.parts():
        if name in test.layout.static:
            known = final[(..., *place)]
            assert all(torch.equal(draw[(..., *place)], known) for draw in draws[0].unbind(1))
            assert torch.equal(mean.float()[(..., *place)], known)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("build", [conditional_coordinates, prior_coordinates])
def test_coordinates_are_of_order_one_and_invertible(build, kind, make):
    problem, _ = make(SMALL[kind], 5, trajectories=64)
    x0, xT = pair(problem.train)
    coordinates = build(problem)
    context = coordinates.context(xT)
    z = coordinates.target(x0, context)
    assert torch.allclose(coordinates.restore(z, context, xT), x0, atol=1e-5)
    assert 0.2 < float(z.square().mean()) < 2  # fitted on 64 states, it misses less here than elsewhere
    assert float(coordinates.features(context, z).square().mean()) < 30


def test_methods_say_where_they_have_no_meaning(make, monkeypatch):
    vector, field = (make(SMALL[kind], 5, trajectories=64)[0] for kind in ("vector", "walls"))
    for problem in (vector, field):
        with pytest.raises(NotApplicableError, match="a Fourier neural operator needs periodic fields"):
            fit_fno(problem)
    for fit, name in ((fit_npse, "NPSE"), (fit_fmpe, "FMPE")):
        with pytest.raises(NotApplicableError, match=f"{name} is made for vectors, these are states of shape"):
            fit(field)
    wave, _ = make(Wave(size=8, dimension=1, steps=2), 5, trajectories=64)
    with pytest.raises(NotApplicableError, match="nothing moves what has no noise of its own"):
        fit_score_only(wave)
    with pytest.raises(NotApplicableError, match="needs noise that does not depend on the state"):
        fit_score_only(dataclasses.replace(vector, simulator=Shaky(dim=3, steps=2)))
    for fit in (fit_conditional_diffusion, fit_diffusion_prior):
        with pytest.raises(ValueError, match="`steps` must be at least 2, got 1"):
            fit(vector, steps=1)
    with pytest.raises(ValueError, match="`members` must be at least 1, got 0"):
        fit_deep_ensemble(vector, members=0)
    ring, _ = make(RING, 5)
    monkeypatch.setitem(sys.modules, "neuralop.models", None)
    with pytest.raises(ValueError, match=r"needs neuraloperator; install it with pip install 'physinv\[baselines\]'"):
        fit_fno(ring)
    monkeypatch.setitem(sys.modules, "sbi", None)
    with pytest.raises(ValueError, match=r"needs sbi; install it with pip install 'physinv\[baselines\]'"):
        fit_npse(vector)
