"""Distances from the training data: their law for Gaussian states, and that chance is hardly ever taken for more."""

import pytest
import torch
from scipy.stats import kstest

from physinv.evaluation.observed.familiarity import Familiarity, familiarity
from physinv.evaluation.observed.final_law import FinalLaw, fit_final_law
from physinv.processes.layout import FieldLayout, ParticleLayout, VectorLayout

LINE = FieldLayout("u", "x", [range(32)], "PERIODIC")


def smooth(n, generator, layout=LINE, power=-2.0):
    """Gaussian fields of spectrum |k|^power, with a mean of order 1."""
    y = torch.randn(n, len(layout.names), 17, generator=generator, dtype=torch.complex128)
    y[..., 0] = y[..., 0].real
    return torch.fft.irfft(y * (1 + torch.arange(17.0)) ** power, n=32, norm="forward").float()


def heavy(n, generator):
    """Fields of random amplitude: far from Gaussian, with heavy tails."""
    return smooth(n, generator) * torch.randn(n, 1, 1, generator=generator).exp()


def vector(n, generator):
    """Two modes, far apart."""
    x = torch.randn(n, 3, generator=generator) @ torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 5.0]])
    return x + 20 * torch.randint(2, (n, 1), generator=generator)


CASES = {
    "smooth": (smooth, LINE),
    "heavy": (heavy, LINE),
    "walls": (smooth, FieldLayout("u", "x", [range(32)], "WALL")),
    "vector": (vector, VectorLayout("x", 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_new_states_of_the_same_law_are_hardly_ever_far(case, generator):
    """At most 1 % of false alarms: of 3000 states at most 30, and 4 standard deviations of counting that more."""
    draw, layout = CASES[case]
    law = fit_final_law(layout, draw(400, generator), draw(100, generator))
    far = law.distance(draw(3000, generator)) > law.limit
    assert int(far.sum()) <= 30


def test_gaussian_states_have_the_exact_law(generator):
    """The cube root of D^2 / d of states outside a large fit is normal, with mean and variance of no fit."""
    layout = VectorLayout("x", 6)
    mix = torch.randn(6, 6, generator=generator)
    law = fit_final_law(
        layout, torch.randn(2000, 6, generator=generator) @ mix, torch.randn(400, 6, generator=generator) @ mix
    )
    assert law.gaussian
    distance = law.distance(torch.randn(2000, 6, generator=generator) @ mix)
    assert kstest(distance.numpy(), "halfnorm").pvalue > 1e-3
    assert not fit_final_law(LINE, heavy(1000, generator), heavy(300, generator)).gaussian


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("factor", [1000.0, 1e-3])
def test_other_units_are_named(case, factor, generator):
    draw, layout = CASES[case]
    law = fit_final_law(layout, draw(400, generator), draw(100, generator))
    found = familiarity(law, factor * draw(3, generator))
    if factor < 1 and case in ("vector", "heavy"):
        return  # states near 0 are usual there: between two modes, or of a small amplitude
    assert min(found.distance) > law.limit
    side = "large" if factor > 1 else "small"
    exactly = case in ("smooth", "walls")  # the size of the others varies by much itself
    assert all((f"1000 times too {side}" if exactly else f"times too {side}") in cause for cause in found.causes)
    assert len(found.warnings) >= 1
    assert "standard deviations" in found.warnings[0]


def test_offsets_rough_fields_and_single_channels_are_named(generator):
    two = FieldLayout(("u", "v"), "x", [range(32)], "PERIODIC")
    law = fit_final_law(two, smooth(400, generator, two), smooth(100, generator, two))
    x = smooth(2, generator, two)
    assert familiarity(law, x).warnings == []
    offset = familiarity(law, x + 273.15)
    assert all("a constant of about 273" in cause for cause in offset.causes)
    assert offset.warnings == [offset.warnings[0]], "one sentence for all of them"
    assert offset.warnings[0].startswith("All 2 observations differ")
    one = x.clone()
    one[:, 1] *= 1000
    assert all("`v` would fit if they were not 1000 times" in cause for cause in familiarity(law, one).causes)
    rough = familiarity(law, x + 0.3 * torch.randn(x.shape, generator=generator))
    assert all("most of all at small scales, where the method has to extrapolate" in cause for cause in rough.causes)


def test_an_offset_is_named_where_nearly_all_observations_have_it():
    """Constants that differ, as of a matrix that was transposed, are no offset, whatever the first of them is."""
    clause = "the values would fit without a constant of about {}, which looks like an offset".format
    few = [0.063, -0.31, 0.2, -0.05, 0.4]
    said = Familiarity((9.0,) * 5, 4.5, tuple(map(clause, few))).warnings
    assert len(said) == 1
    assert said[0].startswith("All 5 observations")
    assert said[0].endswith("would fit without constants that differ (-0.31 to 0.4), which is no common offset.")

    # One of ten may be another; of that alone the constant is its own.
    same = [0.5, 0.52, 0.48, 0.51, 0.49, 0.5, 0.5, 0.53, 0.5, 3.0]
    said = Familiarity((9.0,) * 10, 4.5, tuple(map(clause, same))).warnings
    assert said[0].endswith("would fit without a constant of about 0.5, which looks like an offset.")
    alone = Familiarity((9.0, 1.0), 4.5, (clause(0.063), "")).warnings
    assert alone[0].startswith("Observation 0 differs")
    assert "about 0.063" in alone[0]


def test_static_channels_do_not_count_and_particles_have_a_law(generator):
    layout = FieldLayout(("u", "c"), "x", [range(32)], "WALL", "c")
    x = torch.cat([smooth(200, generator), torch.rand(200, 1, 32, generator=generator)], 1)
    law = fit_final_law(layout, x[:100], x[100:])
    other = x[:5].clone()
    other[:, 1] += 100
    assert torch.equal(law.distance(other), law.distance(x[:5]))
    cloud = ParticleLayout(10, 2, "position")
    states = torch.randn(300, 10, 3, generator=generator)
    law = fit_final_law(cloud, states[:200], states[200:])
    assert float(law.distance(torch.randn(500, 10, 3, generator=generator)).max()) < law.limit
    assert float(law.distance(5 + states[:5]).min()) > law.limit


def test_laws_are_stored_and_few_states_have_none(generator):
    law = fit_final_law(LINE, heavy(100, generator), heavy(30, generator))
    again = FinalLaw.from_tensors(LINE, law.tensors())
    x = heavy(10, generator)
    assert torch.equal(again.distance(x), law.distance(x))
    assert (again.limit, again.states, again.gaussian) == (law.limit, 100, law.gaussian)
    assert fit_final_law(LINE, heavy(10, generator), heavy(5, generator)) is None
    broken = x.clone()
    broken[3, 0, 0] = float("nan")
    assert float(law.distance(broken)[3]) == float("inf")


def test_units_do_not_matter(generator):
    train, valid, x = (heavy(n, generator) for n in (200, 50, 20))
    laws = [fit_final_law(LINE, c * train, c * valid) for c in (1.0, 1e-12, 1e12)]
    distances = [law.distance(c * x) for law, c in zip(laws, (1.0, 1e-12, 1e12), strict=True)]
    for found in distances[1:]:
        assert torch.allclose(found, distances[0], rtol=1e-3)
