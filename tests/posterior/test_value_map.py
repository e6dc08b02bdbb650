"""The quantile mapping: the identity for exact samples, quantiles to quantiles for others, atoms to atoms."""

import pytest
import torch

from physinv.posterior.value_map import (
    QUANTILES,
    ValueMap,
    fit_value_map,
    pooled_values,
    smoothed,
    value_distance,
)
from physinv.processes.layout import FieldLayout, ParticleLayout, VectorLayout

FIELD = FieldLayout(("u", "w", "medium"), ("x",), [range(50)], "PERIODIC", static=("medium",))
SCALAR = VectorLayout("x", 1)


def alone(x):
    return [x]


def test_it_moves_quantiles_to_quantiles(generator):
    """Normal values to exponential ones: -log(1 - Phi(v))."""
    n = 200_000
    samples = torch.randn((n, 1), generator=generator)
    known = -torch.rand((n, 1), generator=generator).log()
    value_map = fit_value_map(samples, known, SCALAR, alone)
    v = torch.linspace(-2, 2, 9)[:, None]
    wanted = -torch.special.log_ndtr(-v)
    # the error of an empirical quantile of level p: (p (1 - p) / n)^(1/2) over the density, .02 at p = .977
    assert torch.allclose(value_map(v), wanted, atol=0.03)
    assert torch.allclose(value_map(samples).sort(0).values[:: n // 20], known.sort(0).values[:: n // 20], atol=0.02)


def test_it_is_the_identity_for_exact_samples_within_sampling_error(generator):
    known, samples = torch.randn((2, 1000, 3, 50), generator=generator)
    moved = fit_value_map(samples, known, FIELD, alone)(samples)
    # 50,000 values: quantiles of both sets are off by .0045 / density, 2 of them, density .05 at two deviations
    inner = samples.abs() < 2
    assert float((moved - samples)[inner].abs().max()) < 4 * 2**0.5 * 0.0045 * 0.25 / 0.05
    assert float((moved - samples).square().mean().sqrt()) < 0.02


def test_atoms_come_back(generator):
    """Plateaus at +-1 with noise go to +-1, and samples that are there already stay."""
    known = torch.randn((500, 3, 50), generator=generator).sign()
    noisy = known + 0.2 * torch.randn(known.shape, generator=generator)
    moved = fit_value_map(noisy, known, FIELD, alone)(noisy)
    assert float((moved[:, :2].abs() == 1).double().mean()) > 0.99
    assert torch.equal(moved[:, :2].sign(), known[:, :2]) or float((moved - known)[:, :2].abs().mean()) < 0.01
    assert torch.equal(moved[:, 2], noisy[:, 2])  # the static channel
    fair = torch.tensor([-1.0, 1.0]).repeat(500)[:, None]
    skewed = torch.tensor([-1.0, 1.0, 1.0, 1.0]).repeat(250)[:, None]
    assert torch.equal(fit_value_map(fair, fair, SCALAR, alone)(fair), fair)
    # atoms of other weights: all values of one atom have one image, between those of its quantiles
    assert fit_value_map(skewed, fair, SCALAR, alone)(torch.ones(1, 1)).item() == pytest.approx(1 / 3, abs=0.01)


def test_it_is_monotone_bounded_and_acts_by_channel(generator):
    samples = torch.randn((300, 3, 50), generator=generator)
    known = samples * torch.tensor([2.0, 3.0, 1.0])[:, None]
    value_map = fit_value_map(samples, known, FIELD, alone)
    v = torch.linspace(-9, 9, 150).reshape(3, 50)
    moved = value_map(v[None].expand(1, 3, 50))[0]
    assert (moved[:2].flatten()[:50].diff() >= 0).all()
    assert float(value_map(torch.full((1, 3, 50), 99.0))[0, 0].max()) == float(known[:, 0].max())
    small = 0.1 * torch.ones(1, 3, 50)
    assert value_map(small)[0, :, 0].tolist() == pytest.approx([0.2, 0.3, 0.1], abs=1e-4)
    assert torch.equal(value_map(small.expand(2, 4, 3, 50)), value_map(small).expand(2, 4, 3, 50))


def test_images_of_a_symmetry_make_it_odd(generator):
    samples, known = torch.randn((200, 1), generator=generator), torch.randn((300, 1), generator=generator) + 0.1
    odd = fit_value_map(samples, known, SCALAR, lambda x: [x, -x])
    v = torch.tensor([[0.3], [1.2]])
    assert torch.allclose(odd(-v), -odd(v), atol=1e-5)
    values = pooled_values(torch.arange(6.0).reshape(2, 3), VectorLayout("x", 3), lambda x: [x, x.flip(0), -x])
    assert values.shape == (3, 4)  # the reordered states have the same values


def test_particles_are_mapped_by_component(generator):
    layout = ParticleLayout(4, 2, ("position",))
    samples = torch.randn((300, 4, 3), generator=generator)
    known = samples * torch.tensor([2.0, 3.0, 1.0])
    moved = fit_value_map(samples, known, layout, alone)(samples)
    assert torch.allclose(moved, known, atol=0.05)
    assert torch.equal(moved[..., 2], samples[..., 2])


def test_distances_are_those_of_kolmogorov_and_smirnov(generator):
    from scipy.stats import ks_2samp

    a, b = torch.randn((1, 300), generator=generator), 0.3 + torch.randn((1, 400), generator=generator)
    found = value_distance(a.sort(1).values, b.sort(1).values)
    assert float(found) == pytest.approx(ks_2samp(a[0].numpy(), b[0].numpy()).statistic, abs=1e-6)


def test_it_comes_back_from_its_tensors(generator):
    value_map = fit_value_map(
        torch.randn((50, 1), generator=generator), torch.rand((60, 1), generator=generator), SCALAR, alone
    )
    again = ValueMap.from_tensors(value_map.tensors(), SCALAR)
    x = torch.randn((7, 1), generator=generator)
    assert torch.equal(again(x), value_map(x))
    assert value_map.knots.shape == (1, QUANTILES)
    with pytest.raises(ValueError, match="must hold `knots` and `images` of one shape"):
        ValueMap.from_tensors({"knots": value_map.knots}, SCALAR)


WALLS = FieldLayout(("u", "w"), ("x", "y"), [range(24), range(24)], "WALL")


def plateaus(n, generator, layout):
    """Signs of smooth fields: plateaus at +-1 with long edges."""
    shape = (n, len(layout.names), *layout.shape[1:])
    z = torch.randn(shape, generator=generator)
    return smoothed(z, torch.full((shape[1],), 3.0), layout).sign()


def variation(x):
    return torch.stack([x.diff(dim=axis).abs().mean((0, 2, 3)) for axis in (2, 3)]).mean(0)


def test_rough_samples_get_the_total_variation_of_the_states_and_smooth_ones_stay(generator):
    known, truth = (plateaus(200, generator, WALLS) for _ in range(2))
    samples = truth + torch.tensor([1.0, 0.0]).reshape(2, 1, 1) * torch.randn(truth.shape, generator=generator)
    rough = fit_value_map(samples, known, WALLS, alone, smooth=False)(samples)
    value_map = fit_value_map(samples, known, WALLS, alone)
    moved = value_map(samples)
    assert float(variation(rough)[0] / variation(known)[0]) > 2
    assert torch.allclose(variation(moved), variation(known), rtol=0.08)
    assert float(value_map.widths[0]) > 0.4
    assert float(value_map.widths[1]) < 0.05
    wrong = [float((x != truth)[:, 0].double().mean()) for x in (rough, moved)]
    assert wrong[1] < 0.5 * wrong[0]  # spots of one point are gone, and few edges have moved
    assert fit_value_map(truth, known, WALLS, alone).widths is None


def test_smoothing_is_that_of_a_gaussian_also_next_to_walls():
    """A step next to a wall, against sums over its mirror images."""
    layout = FieldLayout("u", "x", [range(40)], "WALL")
    step = (torch.arange(40) < 10).double()
    places = torch.arange(40)[:, None] - torch.arange(-60, 100)[None]
    kernel = torch.exp(-(places.double() ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum(1, keepdim=True)
    mirrored = torch.cat([step, step.flip(0)]).repeat(4)[20:180]  # points -60 to 99
    wanted = kernel @ mirrored
    found = smoothed(step.reshape(1, 1, -1), torch.tensor([1.5]).double(), layout)[0, 0]
    assert torch.allclose(found, wanted, atol=1e-6)


def test_widths_come_back_and_old_maps_have_none(generator):
    known = plateaus(60, generator, WALLS)
    samples = known + torch.randn(known.shape, generator=generator)
    value_map = fit_value_map(samples, known, WALLS, alone)
    again = ValueMap.from_tensors(value_map.tensors(), WALLS)
    assert torch.equal(again(samples), value_map(samples))
    tensors = {k: v for k, v in value_map.tensors().items() if k != "widths"}
    assert ValueMap.from_tensors(tensors, WALLS).widths is None
