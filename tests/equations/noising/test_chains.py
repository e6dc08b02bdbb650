"""Chains: discrete schedules are refused where they must be, and have the kernels of their betas and levels."""

import math

import pytest
import torch

from physinv.equations.noising import VE, VP, chain, cosine_betas, geometric_levels, grid, levels, linear_betas

F64 = torch.float64
LIKE = torch.zeros(1, 1, dtype=F64)


def test_a_chain_has_the_kernels_of_its_betas():
    """From 0: alpha-bar; between neighbours: beta; between any two: the product of alphas."""
    betas, process = cosine_betas(60), VP(chain(cosine_betas(60)))
    times, abar = grid(60), torch.cumprod(1 - betas, 0)
    for i in (1, 2, 30, 60):
        assert float(process.decay(0.0, times[i : i + 1], LIKE)) ** 2 == pytest.approx(float(abar[i - 1]), rel=1e-9)
        step = process.variance(times[i - 1 : i], times[i : i + 1], LIKE)
        assert float(step) == pytest.approx(float(betas[i - 1]), rel=1e-9)
    far = process.variance(times[10:11], times[20:21], LIKE)
    assert float(far) == pytest.approx(1 - float((1 - betas[10:20]).prod()), rel=1e-9)
    float32 = process.variance(times[29:30].float(), times[30:31].float(), LIKE.float())
    assert float(float32) == pytest.approx(float(betas[29]), rel=1e-4)  # times rounded to 6e-8 of themselves


def test_smld_has_the_kernels_of_its_levels():
    sigmas = geometric_levels(10, 0.01, 1.0)
    assert float(sigmas[4] / sigmas[3]) == pytest.approx(100 ** (1 / 9))
    process = VE(levels(sigmas))
    for i, t in enumerate(grid(10)[1:]):
        assert float(process.variance(0.0, t[None], LIKE)) == pytest.approx(float(sigmas[i]) ** 2, rel=1e-9)
        assert float(process.decay(0.0, t[None], LIKE)) == 1


def test_published_schedules():
    """1000 steps: 1e-4 to .02 (Ho et al. 2020); the cosine of Nichol and Dhariwal with its clipped end."""
    assert linear_betas(1000)[[0, 999]].tolist() == pytest.approx([1e-4, 0.02])
    betas, start = cosine_betas(1000), math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert float((1 - betas[:500]).prod()) == pytest.approx(math.cos(0.508 / 1.008 * math.pi / 2) ** 2 / start)
    assert float(betas[-1]) == 0.999


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: linear_betas(40, first=-1.0), "`betas` must lie between 0 and 1, got -0.025 at step 1."),
        (lambda: cosine_betas(40, most=2.0), "`betas` must lie between 0 and 1, got 1 at step 40; take more steps"),
        (lambda: chain(linear_betas(20)), r"`betas` must lie between 0 and 1, got 1 at step 20; take more steps"),
        (lambda: chain(cosine_betas(20, most=1.0)), "`betas` must lie between 0 and 1, got 1"),
        (lambda: chain([0.1, -0.1]), "got -0.1 at step 2"),
        (lambda: chain(torch.zeros(2, 2)), "one row"),
        (lambda: levels([0.5, 0.1]), "`sigmas` must increase"),
        (lambda: geometric_levels(3, 1.0, 0.5), "0 < low < high"),
    ],
)
def test_schedules_that_leave_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_times_rounded_to_float32_lie_in_their_own_step():
    schedule = chain(linear_betas(1000))
    times = grid(1000)[1:]
    assert torch.equal(schedule.rate(times.float()), schedule.rate(times).float())


@pytest.mark.parametrize("wrong", [[-0.5, 1.0], [1.0, 0.5], []])
def test_levels_increase_from_above_0(wrong):
    with pytest.raises(ValueError, match="`sigmas` must increase from above 0"):
        levels(wrong)
