"""The map of values: the identity for exact samples, quantiles to quantiles for others, atoms to atoms."""

import pytest
import torch

from physinv.posterior.value_map import QUANTILES, ValueMap, fit_value_map, pooled_values, value_distance
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
