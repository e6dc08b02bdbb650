"""Which metric sees which defect of fields, and of paths that lead to them?"""

import math

import pytest
import torch
from detection_cases import DEFECTS, SHIFT, in_blocks, seeded, t_value

from physinv.evaluation import metrics
from physinv.evaluation.calibration import sbc, tarp
from physinv.evaluation.physics.residual import physics_residual
from physinv.evaluation.spectra import ensemble_spectra
from simulators.fields.heat import Heat

FIELDS = 2000


@pytest.fixture(scope="module")
def field():
    heat = Heat(size=16, dimension=1, steps=8, noise=0.5)
    g = seeded(1)
    x = heat.simulate(FIELDS, generator=g, dtype=torch.float64)
    exact = heat.exact()
    return heat, x, exact.mean(x[:, -1]), exact.sample(x[:, -1], 16, generator=g)


def _posterior_power(heat, t):
    """Posterior variance per mode of x_t given x_T: of ``N(0, a_t^2 S + v_t)`` seen through the rest of the way."""
    like = torch.zeros(1, *heat.shape, dtype=torch.float64)
    past, rest = (torch.tensor([u], dtype=torch.float64) for u in (t, heat.horizon - t))
    now = heat.decay(0.0, past, like) ** 2 * heat.exact().power + heat.variance(0.0, past, like)
    a, v = heat.decay(0.0, rest, like), heat.variance(0.0, rest, like)
    return (now * v / (a**2 * now + v))[0, 0]


def test_the_spectrum_of_the_spread_is_that_of_the_error(field):
    heat, x, mean, samples = field
    k, found = ensemble_spectra(samples, x[:, 0])
    want = _posterior_power(heat, 0.0)[1:] / 16  # |u_k|^2 with u_k = 1/N sum: 1/N of the orthonormal power
    prior = heat.exact().power[0, 1:] / 16
    assert torch.equal(k, torch.arange(9.0).double())
    # per shell a pair of modes, two numbers of each field (one at Nyquist, hence the factor): relative
    # standard error (2 / (2 n))^(1/2), with 15 degrees of freedom per field for the spread
    twice = torch.tensor([1.0] * 7 + [2.0**0.5])
    for name, target, draws in (
        ("error", want, FIELDS),
        ("spread", want, FIELDS * 15),
        ("truth", prior, FIELDS),
        ("samples", prior, FIELDS),
        ("mean", prior - want * 15 / 16, FIELDS),
    ):
        gap = (getattr(found, name)[0, 1:] / target - 1).abs()
        assert bool((gap < 5 * twice / math.sqrt(draws)).all()), name
    for name, (s, b) in DEFECTS.items():
        wrong = mean[:, None] + s * (samples - mean[:, None])
        wrong = wrong + b * (16 * want[0]).sqrt() * _wave(heat)  # half a standard deviation of both its numbers
        _, spoilt_spectra = ensemble_spectra(wrong, x[:, 0])
        ratio = spoilt_spectra.spread[0, 1:] / spoilt_spectra.error[0, 1:]
        seen = (ratio - 1).abs() > 5 * twice / math.sqrt(FIELDS)
        assert bool(seen[0] if b else seen.all()), name
        assert bool(((ratio < 1) == (s < 1 or b > 0))[0]), name


def test_sbc_tarp_and_coverage_of_fields(field):
    _, x, mean, samples = field
    truth, sigma = x[:, 0], (samples - mean[:, None]).std()
    assert sbc(samples, truth, generator=seeded()) > 1e-3
    assert tarp(samples, truth, generator=seeded()).p_value > 1e-3
    parts = torch.stack([metrics.coverage(a, b, 0.5) for a, b in in_blocks(samples, truth)])
    assert abs(t_value(parts - 0.5)) < 5
    for name, (s, b) in DEFECTS.items():
        wrong = mean[:, None] + s * (samples - mean[:, None]) + b * sigma
        parts = torch.stack([metrics.coverage(x, y, 0.5) for x, y in in_blocks(wrong, truth)])
        assert abs(t_value(parts - 0.5)) > 5, name
        # 16 components: each is a summary; ranks in 17 bins
        assert sbc(wrong, truth, generator=seeded()) < 1e-4, name


def test_the_residual_of_paths_around_their_mean_given_the_end(field):
    """Deviations from ``E[path | x_T]`` scaled by s: the part of each noise increment that x_T does not tell, too.

    Per mode ``E xi^2 = rho + s^2 (1 - rho)``, where ``rho_m = q e^{2 r (T - t)} / (a^2 S + V)`` is what the end knows
    of the increment that arrives at t; averaged over modes and steps.
    """
    heat, x, _, _ = field
    n = x[:, 1:].numel()
    right = float(physics_residual(x, heat, heat.times))
    assert right == pytest.approx(1, abs=5 * math.sqrt(2 / n))
    like = torch.zeros(1, *heat.shape, dtype=torch.float64)
    t, T, dt = heat.times[1:], heat.horizon, heat.times[1:2]
    a, v = (f(0.0, torch.tensor([T], dtype=torch.float64), like) for f in (heat.decay, heat.variance))
    rho = heat.variance(0.0, dt, like) * heat.decay(0.0, T - t, like) ** 2 / (a**2 * heat.exact().power + v)
    rho = float((rho[:, 0] * torch.tensor([1.0] + [2.0] * 7 + [1.0])).sum(1).mean() / 16)
    middle = _mean_path(heat, x[:, -1])
    for name, s in (("narrow", 0.8), ("wide", 1.2)):
        found = float(physics_residual(middle + s * (x - middle), heat, heat.times))
        assert found == pytest.approx(rho + s**2 * (1 - rho), abs=5 * s**2 * math.sqrt(2 / n)), name
        assert abs(found - 1) > 20 * math.sqrt(2 / n), name


def test_the_residual_sees_a_shift_unless_the_path_follows(field):
    heat, x, _, _ = field
    power = _posterior_power(heat, 0.0)[1]
    shift = SHIFT * power.sqrt() * _wave(heat)
    carried = heat.run(shift[None], noise=False)
    same = physics_residual(x + carried, heat, heat.times)
    assert float(same) == pytest.approx(float(physics_residual(x, heat, heat.times)), rel=1e-9)
    alone = x.clone()
    alone[:, 0] += shift
    found = float(physics_residual(alone, heat, heat.times))
    # e^{-2 dt} |shift|^2 / q in the first of 8 steps, 16 numbers
    at = heat.times[1:2]
    q = float(heat.variance(0.0, at, x[:1, 0])[0, 0, 1])
    more = math.exp(-2 * heat.diffusivity * float(at)) * float(shift.square().sum()) / q / (8 * 16)
    # the cross term of a normal number adds 2 (more / n)^(1/2)
    error = math.sqrt(2 / x[:, 1:].numel()) + 2 * math.sqrt(more / x[:, 1:].numel())
    assert found == pytest.approx(1 + more, abs=5 * error)
    assert more > 5 * error


def _wave(heat):
    """1 for both real numbers, of cosine and sine, of the largest wave in an orthonormal basis; 0 for the others."""
    grid = torch.arange(heat.size, dtype=torch.float64) * 2 * math.pi / heat.size
    return (math.sqrt(2 / heat.size) * (grid.cos() + grid.sin()))[None]


def _mean_path(heat, final):
    """``E[x_t | x_T]`` at the stored times, mode by mode."""
    parts = []
    for t in heat.times:
        past, rest = t[None], heat.horizon - t[None]
        now = heat.decay(0.0, past, final) ** 2 * heat.exact().power + heat.variance(0.0, past, final)
        a, v = heat.decay(0.0, rest, final), heat.variance(0.0, rest, final)
        y = heat.modes(final)
        parts.append(heat.unmodes(a * now / (a**2 * now + v).clamp(min=1e-300) * y, final))
    return torch.stack(parts, 1)
