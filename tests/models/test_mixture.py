"""The mixture reference law: parts that share what they have in common are those that stand alone."""

import pytest
import torch

from physinv.laws.observation import Observation
from physinv.models.references.mixture import MixtureReference
from physinv.models.score import ScoreModel
from simulators.vectors.double_well import DoubleWell

TIMES = torch.tensor([0.0, 0.4, 1.0])


class Counted(DoubleWell):
    """A double well that counts the evaluations of its drift."""

    calls = 0

    def drift(self, x, t):
        Counted.calls += 1
        return super().drift(x, t)


def law(dimension: int, k: int = 3) -> MixtureReference:
    generator = torch.Generator().manual_seed(dimension)
    means = torch.randn(3, k, dimension, generator=generator)
    below = torch.randn(3, k, dimension, dimension, generator=generator).tril(-1)
    factors = below + torch.diag_embed(0.5 + torch.rand(3, k, dimension, generator=generator))
    bounds = torch.tensor([-9.0, 9.0])[None, :, None].expand(3, 2, dimension)
    return MixtureReference(Counted(dimension=dimension), TIMES, torch.tensor([0.2, 0.5, 0.3]), means, factors, bounds)


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("t", [torch.linspace(0.05, 0.95, 7), torch.tensor([0.3]).expand(7)], ids=["own", "common"])
def test_score_is_the_gradient_and_precision_its_curvature_within_a_component(dimension, t):
    reference, x = law(dimension), torch.randn(7, dimension, generator=torch.Generator().manual_seed(5))
    x = x.double().requires_grad_()
    reference, t = reference.double(), t.double()
    (gradient,) = torch.autograd.grad(reference.log_prob(x, t).sum(), x)
    assert torch.allclose(reference.score(x, t), gradient)
    # sum_k r_k C_k^-1, with C_k interpolated as factors are
    share = (t / 0.4).clamp(0, 1) + ((t - 0.4) / 0.6).clamp(0, 1)
    low = share.floor().long().clamp(max=1)
    w = (share - low)[:, None, None, None]
    factor = (1 - w) * reference.factors[low] + w * reference.factors[low + 1]
    mean = (1 - w[..., 0]) * reference.means[low] + w[..., 0] * reference.means[low + 1]
    each = torch.distributions.MultivariateNormal(mean, scale_tril=factor)
    r = (each.log_prob(x[:, None]) + reference.weights.log()).softmax(-1)
    expected = (r[..., None] * torch.linalg.inv(factor @ factor.mT).diagonal(dim1=-2, dim2=-1)).sum(1)
    assert torch.allclose(reference.precision(x, t), expected)


@pytest.mark.parametrize("noise", [1e-7, 1e-5])
def test_what_a_sharp_sensor_leaves_is_drawn(noise):
    """Of two numbers that go along with each other the sum is seen: the difference is as wide as given that."""
    reference = law(2)
    reference.means[:] = reference.means[:, :1]
    reference.factors[:] = torch.tensor([[1.0, 0.0], [0.999, 0.04]])
    y = torch.tensor([[0.3], [-2.0]])
    seen = Observation(lambda x: x.sum(1, keepdim=True), noise)
    drawn = reference.sample_given(seen, y, 4000, 0.0, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.sum(2), y.expand(2, 4000), atol=1e-6 + 6 * noise)
    cov = reference.law(0.0).covs[0].double()
    total, mixed = cov.sum(), cov[0, 0] - cov[1, 1]
    left = cov[0, 0] + cov[1, 1] - 2 * cov[0, 1] - mixed**2 / total
    # the deviation of 4000 draws has a standard error of 1.1 %
    assert torch.allclose((drawn[..., 0] - drawn[..., 1]).std(1).double(), left.sqrt().expand(2), rtol=0.045)


class Twice(torch.nn.Module):
    """A network whose output depends on all features."""

    def forward(self, features, tau):
        return features[:, :2].sin() + features[:, 2:].sum(1, keepdim=True)


def test_a_model_computes_shared_parts_once():
    """The drift at the states and at the means, once each, for score, features, lift and precision."""
    reference = law(1)
    model = ScoreModel(reference, Twice(), (0.1, 1.0), images=reference.sde.images)
    model.register_parameter("weight", torch.nn.Parameter(torch.zeros(())))
    x, t = torch.randn(5, 1, generator=torch.Generator().manual_seed(6)), torch.linspace(0.1, 0.9, 5)
    before = Counted.calls
    score, precision = model.with_precision(x, t)
    assert Counted.calls - before == 2
    assert torch.equal(precision, reference.precision(x, t))
    assert torch.equal(score, model(x, t))

    # the same from parts that stand alone
    def alone(y):
        return reference.score(y, t) + reference.lift(model.output(y, t), y, t)

    assert torch.allclose(score, (alone(x) - alone(-x)) / 2, rtol=1e-5, atol=1e-6)


def test_a_law_that_overrides_a_part_is_taken_at_its_word():
    class Blind(MixtureReference):
        def features(self, x, t):
            return torch.zeros_like(super().features(x, t))

    plain = law(1)
    blind = Blind(plain.sde, plain.times, plain.weights, plain.means, plain.factors, plain.bounds)
    x, t = torch.randn(5, 1, generator=torch.Generator().manual_seed(6)), torch.linspace(0.1, 0.9, 5)
    assert torch.equal(blind.here(x, t).features(), torch.zeros(5, plain.channels_in))
    assert torch.equal(blind.here(x, t).score(), plain.score(x, t))
