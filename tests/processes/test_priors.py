"""Priors of parameters: quantiles, shares and normal numbers belong together, and what is wrong is told in one line."""

import math

import pytest
import torch
from scipy import stats

from physinv.processes.priors import PRIORS, LogUniform, Normal, Uniform, prior_from, read_prior

LAWS = [
    (Uniform(2.0, 5.0), stats.uniform(2, 3)),
    (LogUniform(0.01, 2.0), stats.loguniform(0.01, 2.0)),
    (Normal(1.0, 0.2), stats.norm(1, 0.2)),
]


@pytest.mark.parametrize(("law", "theirs"), LAWS, ids=lambda x: getattr(x, "word", ""))
def test_laws_are_scipys(law, theirs):
    u = torch.linspace(0.001, 0.999, 101, dtype=torch.float64)
    values = law.quantile(u)
    assert values.tolist() == pytest.approx(theirs.ppf(u.numpy()).tolist(), rel=1e-9)
    assert torch.allclose(law.share(values), u, atol=1e-9)
    assert torch.allclose(law.value(law.normal(values)), values, rtol=1e-9)
    assert law.normal(values).tolist() == pytest.approx(stats.norm.ppf(u.numpy()).tolist(), abs=1e-7)
    low, high = law.support
    assert theirs.cdf(low) < 1e-6
    assert theirs.sf(high) < 1e-6
    assert prior_from("x", law.described()) == law


def test_values_at_the_ends_have_finite_normal_numbers():
    z = Uniform(0.0, 1.0).normal(torch.tensor([0.0, 1.0]))
    assert bool(z.isfinite().all())
    assert float(z[0]) == pytest.approx(-float(z[1]))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"unifrom": [0, 1]}, "`x` can't have the prior `unifrom`; did you mean `uniform`?"),
        ({"uniform": [1, 0]}, "`uniform` of `x` must go from a lower to a higher number, got 1 to 0."),
        ({"uniform": [0]}, "`uniform` of `x` must be two finite numbers"),
        ({"uniform": [0, math.inf]}, "`uniform` of `x` must be two finite numbers"),
        ({"uniform": [False, True]}, "`uniform` of `x` must be two finite numbers"),
        ({"log_uniform": [0, 1]}, "`log_uniform` of `x` must begin above 0, got 0; take uniform, or raise it."),
        ({"normal": [0, 0]}, "`normal` of `x` must have a deviation above 0, got 0"),
        ({}, "`x` must be a number or one law such as"),
        ({"uniform": [0, 1], "normal": [0, 1]}, "`x` must be a number or one law such as"),
    ],
)
def test_wrong_priors_are_told(told, message):
    with pytest.raises(ValueError, match="`x`") as caught:
        prior_from("x", told)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_has_a_form_of_its_own():
    assert read_prior("normal:1:0.5") == {"normal": [1.0, 0.5]}
    assert set(PRIORS) == {"uniform", "log_uniform", "normal"}
    assert [read_prior(t) for t in ("0.5", "edges", "uniform:a:b", "mymodule:Class", "uniform:1")] == [None] * 5
