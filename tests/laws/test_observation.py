"""Operators against their definitions, the law of observations, and conditioning against dense algebra."""

import math
import re

import pytest
import torch

from physinv.laws.observation import Observation, displayed_state, jacobian
from physinv.laws.operators import coarse, every, everything, low_pass, named, random_mask, sensors

MASK = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(1)) < 0.3


@pytest.mark.parametrize(
    ("operator", "shape"),
    [
        (everything, (2, 6, 5)),
        (everything, (4,)),
        (sensors(MASK), (2, 6, 5)),
        (sensors(torch.tensor([True, False, True])), (3,)),
        (coarse(2), (1, 6)),
        (coarse(2), (2, 4, 2, 6)),
        (every(2), (1, 6)),
        (every(2), (2, 4, 2, 6)),
        (low_pass(2), (2, 6, 5)),
        (low_pass(1.5), (1, 8)),
    ],
)
def test_score_is_the_gradient_of_the_log_density(operator, shape, generator):
    observation = Observation(operator, 0.3)
    x = torch.randn(3, *shape, dtype=torch.float64, generator=generator).requires_grad_()
    y = torch.randn_like(operator(x), requires_grad=False)
    want = torch.distributions.Normal(operator(x), 0.3).log_prob(y).flatten(1).sum(1)
    assert torch.allclose(observation.log_prob(y, x), want)
    (gradient,) = torch.autograd.grad(want.sum(), x)
    assert torch.allclose(observation.score(y, x.detach()), gradient)
    H = jacobian(operator, x.detach()[:1]).flatten(1)
    assert torch.allclose(operator(x).flatten(1), x.flatten(1) @ H.T)


def test_observations_have_the_stated_noise(generator):
    observation = Observation(coarse(2), 0.3)
    x = torch.randn(1, 1, 8, generator=generator).expand(10_000, 1, 8)
    gap = observation.observe(x, generator=generator) - coarse(2)(x)
    n = gap.numel()
    # standard errors: sigma/sqrt(n) of the mean, sqrt(2/n) relative of the variance; five of each
    assert float(gap.mean()) == pytest.approx(0, abs=5 * 0.3 / math.sqrt(n))
    assert float(gap.var()) == pytest.approx(0.09, rel=5 * math.sqrt(2 / n))


@pytest.mark.parametrize("shape", [(1, 8), (2, 6, 5), (1, 4, 3, 6)])
def test_low_pass_is_an_orthonormal_basis_of_the_band(shape, generator):
    x = torch.randn(3, *shape, dtype=torch.float64, generator=generator)
    H = jacobian(low_pass(2), x[:1]).flatten(1)
    assert torch.allclose(H @ H.T, torch.eye(len(H), dtype=torch.float64))
    space = tuple(range(2, x.ndim))
    axes = torch.meshgrid(*[torch.fft.fftfreq(n, 1 / n) for n in shape[1:]], indexing="ij")
    band = sum(k**2 for k in axes) <= 4
    assert len(H) == shape[0] * int(band.sum())
    kept = torch.fft.ifftn(torch.fft.fftn(x, dim=space) * band, dim=space).real
    assert torch.allclose((x.flatten(1) @ H.T @ H).reshape(x.shape), kept)


def test_coarse_is_the_mean_over_blocks(generator):
    x = torch.randn(3, 2, 6, 9, dtype=torch.float64, generator=generator)
    assert torch.allclose(coarse(3)(x), torch.nn.functional.avg_pool2d(x, 3))


def test_every_takes_a_regular_grid_of_points(generator):
    """The indices are right, fields constant on blocks are observed as by `coarse`, and an alias of the mean as 1."""
    x = torch.randn(3, 2, 6, 9, dtype=torch.float64, generator=generator)
    seen = every(3)(x)
    assert seen.shape == (3, 2, 2, 3)
    assert all(torch.equal(seen[..., i, j], x[..., 3 * i, 3 * j]) for i in range(2) for j in range(3))
    assert torch.equal(every(1)(x), x)
    steady = seen.repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert torch.equal(every(3)(steady), seen)
    assert torch.allclose(coarse(3)(steady), seen)
    wave = torch.cos(2 * math.pi * torch.arange(12, dtype=torch.float64) / 3).expand(1, 1, 12)
    assert torch.allclose(every(3)(wave), torch.ones(1, 1, 4, dtype=torch.float64))
    H = jacobian(every(3), x[:1]).flatten(1)
    assert torch.equal(H @ H.T, torch.eye(len(H), dtype=torch.float64))  # points of their own: noise stays white


@pytest.mark.parametrize(
    ("text", "operator"),
    [("everything", everything), ("every:3", every(3)), ("coarse:3", coarse(3)), ("low-pass:2", low_pass(2))],
)
def test_operators_have_names(text, operator, generator):
    observation = named(text, 0.3, (2, 6, 9))
    x = torch.randn(3, 2, 6, 9, generator=generator)
    assert observation.noise == 0.3
    assert torch.equal(observation.operator(x), operator(x))


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("evry:3", (1, 6, 6), "`observe` must be everything, sensors:FRACTION, every:FACTOR, coarse:FACTOR"),
        ("every", (1, 6, 6), "`observe` must be everything"),
        ("everything:2", (1, 6, 6), "`observe` must be everything"),
        ("every:x", (1, 6, 6), "`observe` must be everything"),
        ("every:1.5", (1, 6, 6), "`observe` every needs a whole number of points, got 1.5"),
        ("coarse:1.5", (1, 6, 6), "`observe` coarse needs a whole number of points, got 1.5"),
        ("every:4", (1, 6, 6), "`factor` must divide the grid (6, 6), got 4"),
        ("every:0", (1, 6, 6), "`factor` must be at least 1, got 0"),
        ("every:2", (4,), "`observe` every needs a field, got vectors of 4"),
        ("math:floor", (4,), "operator `math:floor` must take states of shape (4,), and ends with ValueError"),
        ("math:pi", (4,), "observation operator `math:pi` must be a function of batched states, got 3.14"),
        ("math:flor", (4,), "observation operator `math:flor` can't be imported"),
        ("torch:isnan", (4,), "operator `torch:isnan` must return numbers"),
        ("torch.nn:Linear", (4,), "got"),
    ],
)
def test_wrong_names_are_refused(text, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        named(text, 0.3, shape)


def test_sensors_are_drawn_without_replacement_and_see_all_channels():
    draw = [random_mask((2, 8, 8), 0.25, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert draw[0].shape == (2, 8, 8)
    assert int(draw[0][0].sum()) == 16
    assert torch.equal(draw[0][0], draw[0][1])
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert int(random_mask((10,), 0.5).sum()) == 5
    x = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(sensors(torch.tensor([True, False, True]))(x), torch.tensor([[0.0, 2.0], [3.0, 5.0]]))


def test_wrong_arguments_are_refused():
    field = torch.zeros(1, 1, 6, 6)
    with pytest.raises(ValueError, match="`noise` must be positive and finite, got 0"):
        Observation(everything, 0.0)
    with pytest.raises(ValueError, match="`mask` must have the shape"):
        sensors(torch.ones(6, 6, dtype=torch.bool))(field)
    with pytest.raises(ValueError, match="`mask` must be true somewhere"):
        sensors(torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="`fraction` must lie in"):
        random_mask((4,), 0.0)
    with pytest.raises(ValueError, match="`factor` must divide the grid"):
        coarse(4)(field)
    with pytest.raises(ValueError, match="`factor` must be at least 1"):
        coarse(0)
    with pytest.raises(ValueError, match="`factor` must divide the grid"):
        every(4)(field)
    with pytest.raises(ValueError, match="`factor` must be at least 1"):
        every(0)
    with pytest.raises(ValueError, match="`kmax` must be at least 0"):
        low_pass(-1)


@pytest.mark.parametrize("text", ["everything", "every:2", "sensors:0.25", "coarse:4", "low-pass:3"])
@pytest.mark.parametrize("unit", [1.0, 1e-20, 1e25])
def test_what_is_displayed_is_the_smallest_state_that_is_seen_so(text, unit, generator):
    observation = named(text, 0.1, (1, 8, 8))
    y = unit * observation.operator(torch.randn(3, 1, 8, 8, generator=generator))
    H = jacobian(observation.operator, torch.zeros(1, 1, 8, 8)).flatten(1)
    expected = (y.flatten(1) / unit) @ torch.linalg.pinv(H).T
    torch.testing.assert_close(
        displayed_state(observation, y, (1, 8, 8)).flatten(1) / unit, expected, atol=1e-5, rtol=0
    )


def test_what_is_displayed_of_a_dense_operator_follows_the_pseudoinverse(generator):
    for seen, numbers in ((5, 8), (8, 5)):
        H = torch.randn(seen, numbers, generator=generator, dtype=torch.float64)
        y = torch.randn(4, seen, generator=generator, dtype=torch.float64)
        found = displayed_state(Observation(H, 0.1), y, (numbers,))
        torch.testing.assert_close(found, y @ torch.linalg.pinv(H).T, atol=1e-5, rtol=0)


def test_a_large_field_that_is_seen_whole_is_displayed_without_a_matrix(generator):
    """Of 40,000 numbers a matrix would take 6 GB."""
    y = torch.randn(1, 1, 200, 200, generator=generator)
    torch.testing.assert_close(displayed_state(Observation(everything, 0.1), y, (1, 200, 200)), y)
