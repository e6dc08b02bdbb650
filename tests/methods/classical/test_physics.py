"""The physics alone, run backward."""

import math

import torch
from classical_cases import make

from physinv.evaluation.metrics import relative_l2
from physinv.methods.classical.physics import fit_physics
from physinv.methods.problem import Problem
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell


def test_the_physics_backward_is_the_inverse_of_the_solver(ou, burgers, tmp_path):
    problem, _, final = ou
    assert torch.allclose(fit_physics(problem).mean(final), math.exp(0.5) * final, rtol=1e-5)
    well, _, final = make(DoubleWell(horizon=0.1, steps=4, inner=8), tmp_path / "w")
    final = final.clamp(-0.8, 0.8)
    back = fit_physics(well).mean(final)
    # Heun forward against Runge-Kutta backward: |x'''| h^2 T / 6 with h = .1/32, x''' ~ 4^3
    assert torch.allclose(well.simulator.run(back, noise=False)[:, -1], final, atol=64 * (0.1 / 32) ** 2 * 0.1)
    assert float((back - final).abs().max()) > 0.05
    problem, start, _ = burgers
    early = Problem(
        problem.simulator.__class__(size=32, viscosity=0.1, horizon=0.1, steps=1, inner=4), *[problem.train] * 2
    )
    clean = early.simulator.run(start.double(), noise=False)[:, -1]
    # viscosity k^2 horizon <= .01 k^2 <= 1 for resolved modes k <= 10; the solver is of fourth order
    assert float(relative_l2(fit_physics(early).mean(clean), start.double())) < 1e-3


def test_what_has_been_damped_away_returns_as_noise_without_bound(heat):
    problem, truth, final = heat
    short = Problem(Heat(steps=2, horizon=0.05), problem.train, problem.valid)
    back = fit_physics(short).sample(final, 2)
    assert torch.equal(back[:, 0], back[:, 1])
    assert float(relative_l2(back[:, 0], truth)) > 1e3
    assert not fit_physics(problem).mean(final).isfinite().all()  # e^(512 * .2) is infinite in float32
