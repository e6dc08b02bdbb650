"""Noise levels: annealed Langevin finds the weights of far modes, plain Langevin does not; and predictor-correctors.

The experiments of Song and Ermon (2019, sections 3.1 and 3.2) with known laws."""

import itertools
import math

import pytest
import torch

from physinv.equations.noising import VE, VP, geometric_levels, grid, levels
from physinv.equations.sde import Reverse
from physinv.equations.solve import Step, solve
from physinv.laws.covariance import isotropic
from physinv.reversal.ancestral import ddim
from physinv.reversal.langevin import annealed, corrected, langevin
from physinv.training.objectives.base import Batch
from physinv.training.objectives.implicit import implicit_loss
from tests.noising_cases import F64, MEAN, VARIANCE, gaussian, moments


def mixture_score(x, v=0.0):
    """Score of .2 N(-m, (1 + v) I) + .8 N(m, (1 + v) I), m = (5, 5)."""
    logit = 2 * x.sum(1, keepdim=True) * 5 / (1 + v) + math.log(4)
    return (5 * torch.tanh(logit / 2) - x) / (1 + v)


def test_annealing_finds_the_weights_of_far_modes(generator):
    """A fifth of the data is in the small mode; plain Langevin leaves half of the states where they were put."""
    n = 2000
    start = 16 * torch.rand(n, 2, generator=generator, dtype=F64) - 8
    still = torch.zeros(n, dtype=F64)
    plain = langevin(
        lambda x, t: mixture_score(x), start, still, isotropic(1.0), size=0.05, sweeps=1000, generator=generator
    )

    process = VE(levels(geometric_levels(10, 1.0, 20.0)))
    found = annealed(
        lambda x, t: mixture_score(x, float(process.variance(0.0, t[:1], x[:1]).max())),
        start,
        process,
        grid(10)[1:],
        size=0.05,
        generator=generator,
    )
    small, annealed_small = (float((x.sum(1) < 0).double().mean()) for x in (plain, found))
    assert small - 0.2 > 0.2
    assert annealed_small == pytest.approx(0.2, abs=0.03)  # 3.4 standard errors


def test_annealing_leaves_a_gaussian_at_its_smallest_level(generator):
    """N(.7, 1.69) ends as N(.7, 1.69 + sigma_1^2), whatever it started from."""
    process, n = VE(levels(geometric_levels(6, 0.5, 8.0))), 4000
    law = gaussian(process)
    start = torch.full((n, 1), 30.0, dtype=F64)
    x = annealed(law.score, start, process, grid(6)[1:], size=0.1, sweeps=80, generator=generator)
    want = VARIANCE + 0.25
    assert float(x.mean()) == pytest.approx(MEAN, abs=5 * (want / n) ** 0.5)
    assert float(x.var()) == pytest.approx(want, rel=5 * (2 / n) ** 0.5 + 0.01)  # e v/(2 S) < .01: size of moves


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_a_manifold_has_no_score_but_its_noised_data_have_one(sigma, generator):
    """Implicit score matching of s = -P x on a line in the plane: the loss falls for ever without noise.

    Across the line its slope is -1 for each unit of P; with noise the minimum is P = cov^-1, as high as 1 / sigma^2."""
    n, process, rate = 500, VE(levels([1.0])), 0.5
    along = torch.randn(n, 1, generator=generator, dtype=F64)
    x = along * torch.tensor([[0.6, 0.8]], dtype=F64) + sigma * torch.randn(n, 2, generator=generator, dtype=F64)
    data = Batch(torch.stack([x, x], 1), torch.tensor([0.0, 1.0], dtype=F64).expand(n, 2))

    def loss(P):
        return implicit_loss(lambda y, t: -y @ P.T, process, data)

    P, losses = torch.zeros(2, 2, dtype=F64), []
    for step in range(301):
        if step % 100 == 0:
            losses.append(float(loss(P).detach()))
        P = P - rate * torch.autograd.functional.jacobian(loss, P)
    falls = [a - b for a, b in itertools.pairwise(losses)]
    across = torch.tensor([-0.8, 0.6], dtype=F64)
    if sigma == 0:
        assert falls[1:] == pytest.approx([100 * rate] * 2, rel=1e-3)  # 100 steps down a slope of 1
    else:
        assert falls[2] < 0.01 * falls[0]
        assert float(across @ P @ across) == pytest.approx(1 / float((x @ across).square().mean()), rel=0.03)


def test_corrector_with_a_signal_to_noise_ratio(generator):
    """For N(0, S) with C = S the pull C s is as large as the noise: e = 2 r^2."""
    process, n, r = VP(), 20_000, 0.16
    law = gaussian(process, 0.0, 1.0, dim=2)
    x = torch.randn(n, 2, generator=generator, dtype=F64)
    t0, t1 = (torch.full((n,), t, dtype=F64) for t in (0.6, 0.5))
    keep = Step(lambda sde, x, t0, t1, dw: x, weak_order=1.0)
    dw = math.sqrt(0.1) * torch.randn(2, n, 2, generator=generator, dtype=F64)
    reverse, one = Reverse(process, law.score), lambda t: isotropic(1.0)
    found = corrected(keep, ratio=r, covariance=one)(reverse, x, t0, t1, dw)
    want = corrected(keep, size=2 * r**2, covariance=one)(reverse, x, t0, t1, dw)
    assert torch.allclose(found, want, atol=0.02)  # the ratio of two norms, each known to 1/(2 n)^(1/2)
    assert float((found - x).abs().max()) > 0.5
    with pytest.raises(ValueError, match="`ratio`"):
        corrected(ddim, ratio=0.0)


def test_predictor_corrector_mends_what_the_predictor_misses(generator):
    """20 steps of DDIM leave a variance .24 too small; corrector moves bring it back."""
    process, n = VP(), 4000
    law = gaussian(process)
    times = grid(20).flip(0)
    _, alone = moments(ddim, process, times)
    x = law.mean_at(1.0) + law.covariance_at(1.0).root(torch.randn(n, 1, generator=generator, dtype=F64))
    step = corrected(ddim, 2, ratio=0.3, covariance=law.covariance_at)
    both = float(solve(Reverse(process, law.score), x, times, step=step, generator=generator)[:, -1].var())
    assert VARIANCE - both < (VARIANCE - alone) / 2
