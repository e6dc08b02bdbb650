"""Recorded data with the physics of a process: the same numbers as the process, in the units of the data."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from physinv.evaluation.physics.residual import normalised_gap, physics_residual
from physinv.processes.given import give_physics
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.processes.parameters import build, describe
from physinv.processes.recorded import Recorded
from simulators.fields.burgers import Burgers
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

TURN = 2 * math.pi
TIMES = np.linspace(0, 0.5, 6)


def box(length, size=16):
    """Recorded fields on a periodic box."""
    return Recorded.of(FieldLayout("u", "x", [length * np.arange(size) / size], "PERIODIC"), TIMES)


def test_the_residual_leaves_out_points_without_data(generator):
    sea = np.arange(16) < 12
    layout = FieldLayout("u", "x", [TURN * np.arange(16) / 16], "PERIODIC", mask=sea)
    given = give_physics(Recorded.of(layout, TIMES), "burgers", {"viscosity": 0.01, "noise": 0.02})
    x = layout.emptied(torch.randn(50, 2, 1, 16, generator=generator, dtype=torch.float64))
    want = physics_residual(x, given, TIMES[:2])
    x[:, 1, :, ~torch.from_numpy(sea)] += 5.0
    assert float(physics_residual(x, given, TIMES[:2])) == pytest.approx(float(want))
    t = torch.zeros(50, dtype=torch.float64)
    gap, noisy, _ = normalised_gap(given.inner, x[:, 0], x[:, 1], t, t + TIMES[1], torch.from_numpy(sea))
    assert not gap[..., 12:].any()
    assert float(noisy.square().sum()) == pytest.approx(50 * 10 * 12 / 16)  # modes 0 < |k| <= 16 / 3 have noise
    assert float(want) == pytest.approx(float(gap.square().sum() / noisy.square().sum()))


def test_on_a_box_of_another_length_units_are_converted(generator):
    """u_t + u u_x = nu u_xx on [0, 1]: with y = 2 pi x, v = 2 pi u it is v_t + v v_y = (2 pi)^2 nu v_yy."""
    given = give_physics(box(1.0), "burgers", {"viscosity": 0.01, "noise": 0.02})
    same = Burgers(size=16, horizon=0.5, steps=5, viscosity=0.01 * TURN**2, noise=0.02 * TURN)
    assert given.inner == dataclasses.replace(same, viscosity=given.inner.viscosity, noise=given.inner.noise)
    assert (given.inner.viscosity, given.inner.noise) == pytest.approx((same.viscosity, same.noise), rel=1e-9)
    assert (given.known, given.startable) == (True, False)
    x, t = torch.randn(3, 1, 16, generator=generator, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    h, v = t + 0.1, torch.randn(3, 1, 16, generator=generator, dtype=torch.float64)
    for ours, theirs in (
        (given.drift(x, t), same.drift(TURN * x, t) / TURN),
        (given.drift_flow(x, t, h), same.drift_flow(TURN * x, t, h) / TURN),
        (given.diffuse(v, t), same.diffuse(v, t) / TURN),
        (given.apply_covariance(v, t, h), same.apply_covariance(v, t, h) / TURN**2),
        (given.whiten(v, t, h), same.whiten(TURN * v, t, h)),
    ):
        assert torch.allclose(ours, theirs, rtol=1e-9)
    run, reference = given.run(x, noise=False), same.run(TURN * x, noise=False) / TURN
    assert torch.allclose(run, reference, rtol=1e-9)
    noisy = [s.run(y, generator=torch.Generator().manual_seed(1)) for s, y in ((given, x), (same, TURN * x))]
    assert torch.allclose(noisy[0], noisy[1] / TURN, rtol=1e-9)
    # a drift has the right sign and size: a small wave of length 1 decays at the rate nu (2 pi)^2
    wave = 1e-6 * torch.sin(TURN * torch.arange(16, dtype=torch.float64) / 16)[None, None]
    assert torch.allclose(given.drift(wave, t[:1]), -0.01 * TURN**2 * wave, atol=1e-11)


def test_on_the_box_of_the_process_nothing_is_converted():
    given = give_physics(box(TURN), "burgers", {"viscosity": 0.01})
    assert (given.stretch, given.inner.viscosity) == (1.0, 0.01)
    assert given.recorded == box(TURN)
    assert build(type(given), describe(given)) == given


def test_vectors_and_a_class_of_ones_own(generator):
    recorded = Recorded.of(VectorLayout("q", 2), TIMES)
    given = give_physics(recorded, "simulators.vectors.ornstein_uhlenbeck:OrnsteinUhlenbeck", {"dim": 2, "rate": 3.0})
    x, t = torch.randn(4, 2, generator=generator), torch.zeros(4)
    assert torch.equal(given.drift(x, t), OrnsteinUhlenbeck(dim=2, rate=3.0).drift(x, t))
    assert given.exact() is None  # its initial states are not those of the process
    with pytest.raises(ValueError, match="recorded data come without initial states"):
        given.initial(3)


@pytest.mark.parametrize(
    ("recorded", "name", "values", "message"),
    [
        (box(1.0), "burgers", {"viscosty": 1.0}, "no parameter `viscosty`; did you mean `viscosity`"),
        (box(1.0), "burgers", {"size": 32}, r"a state of `burgers` must be one of the data, .*16.*, got .*32"),
        (box(1.0), "burger", {}, "did you mean `burgers`"),
        (
            Recorded.of(FieldLayout("u", "x", [np.arange(16.0) ** 2], "PERIODIC"), TIMES),
            "burgers",
            {},
            "positions along `x` must be those of `burgers` times one factor",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(recorded, name, values, message):
    with pytest.raises(ValueError, match=message) as caught:
        give_physics(recorded, name, values)
    assert len(str(caught.value).splitlines()) == 1
