"""The exact answer to a record: against dense algebra, closed forms, and the one of parts of the record."""

import math

import pytest
import torch

from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import coarse, everything, low_pass, random_mask, sensors
from physinv.laws.record import ObservationRecord
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
OU = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=4)
STANDARD = LinearGaussian(OU, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
SENSOR = Observation(everything, 0.3)
SEVERAL = ObservationRecord(*((t, SENSOR) for t in (0.5, 1.0, 1.5, 2.0)))
EXACT = Observation(everything, 1e-5)


def test_four_noisy_sensors_of_an_ornstein_uhlenbeck_process():
    assert float(STANDARD.given(SEVERAL).deviation_at([0.0])) == pytest.approx(0.46369, rel=2e-5)
    final = STANDARD.given(EXACT).deviation_at([0.0])  # by x_T alone
    assert float(final) == pytest.approx(0.784, abs=5e-4)


def test_a_bridge_between_two_known_states():
    law = STANDARD.given(ObservationRecord((0.0, EXACT), (2.0, EXACT)))
    ends = torch.eye(2, dtype=F64)
    assert torch.allclose(law.mean_at(ends, [1.0]).flatten(), torch.full((2,), 0.443409, dtype=F64), atol=1e-6)
    assert float(law.deviation_at([1.0])) == pytest.approx(0.339896, rel=1e-5)


def test_a_forecast_is_the_process_run_on_from_the_end(generator):
    law, n = STANDARD.given(EXACT), 40_000
    drawn = law.sample_at([[1.7]], n, [3.0], generator=generator).double()
    mean, variance = 0.60653 * 1.7, 0.15803
    assert float(law.mean_at([[1.7]], [3.0])) == pytest.approx(mean, rel=1e-5)
    assert float(law.deviation_at([3.0])) ** 2 == pytest.approx(variance, rel=1e-4)
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * math.sqrt(variance / n))  # five standard errors
    assert float(drawn.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / n))


@pytest.fixture(scope="module")
def mixed():
    """A record of a 4 x 4 field of other operators at each time, one of them an average, and its dense law."""
    heat = Heat(size=4, noise=0.5)
    mean0 = torch.randn(heat.shape, generator=torch.Generator().manual_seed(3), dtype=F64)
    law = LinearGaussian(heat, heat.horizon, mean0, heat.exact().power + 0.05)
    mask = random_mask((1, 4, 4), 0.3, generator=torch.Generator().manual_seed(1))
    record = ObservationRecord(
        (0.2, Observation(coarse(2), 0.2)),
        (0.0, Observation(sensors(mask), 0.5)),
        ((0.05, 0.1, 0.3), Observation(low_pass(1), 0.1)),
    )
    return law, record


def dense(law, record, times):
    """Mean and covariance of states at some times and of the record, by a matrix over all times and components."""
    every, heat = sorted({*times, *record.times}), law.sde
    eye = torch.eye(16, dtype=F64).reshape(16, 1, 4, 4)

    def at(t):
        return torch.full((16,), t, dtype=F64)

    # One step after another: P <- A P A^T + V, and Cov(x_s, x_t) = P_s A^T.
    S = heat.unmodes(law.power * heat.modes(eye), eye).flatten(1)
    m, P, before = law.mean0.flatten(), S, 0.0
    means, blocks = [], []
    for t in every:
        A = heat.drift_flow(eye, at(before), at(t)).flatten(1).T
        V = heat.apply_covariance(eye, at(before), at(t)).flatten(1) if t > before else torch.zeros_like(P)
        m, P, before = A @ m, A @ P @ A.T + V, t
        blocks = [[*row, row[-1] @ A.T] for row in blocks] + [[P]]
        means.append(m)
    size = len(every)
    C = torch.cat(
        [
            torch.cat([blocks[min(i, j)][abs(i - j)] if i <= j else blocks[j][i - j].T for j in range(size)], 1)
            for i in range(size)
        ]
    )
    every_unit = torch.eye(16 * size, dtype=F64).reshape(-1, size, 1, 4, 4)
    H = record.clean(every_unit[:, [every.index(t) for t in record.times]]).T
    R = record.deviations(eye[:1]).square().diag()
    rows = torch.cat([torch.arange(16) + 16 * every.index(t) for t in times])
    return torch.cat(means), C, H, R, rows


def test_smoothing_is_dense_conditioning(mixed, generator):
    law, record = mixed
    times = [0.0, 0.15, 0.2, 0.5]
    m, C, H, R, rows = dense(law, record, times)
    y = torch.randn(2, len(H), generator=generator, dtype=F64)
    G = H @ C @ H.T + R
    gain = C @ H.T @ torch.linalg.inv(G)
    want, spread = (m + (y - H @ m) @ gain.T)[:, rows], (C - gain @ H @ C)[rows][:, rows]
    smoothed = law.given(record)
    assert torch.allclose(smoothed.mean_at(y, times).flatten(1), want, atol=1e-10)
    assert torch.allclose(smoothed.covariance_at(times), spread, atol=1e-10)
    assert torch.allclose(smoothed.deviation_at(times).flatten().square(), spread.diagonal(), atol=1e-10)
    density = torch.distributions.MultivariateNormal(H @ m, G).log_prob(y)
    assert torch.allclose(smoothed.log_evidence(y), density, atol=1e-8)

    # Whitened draws are N(0, I): standard errors of means 1/sqrt(n), of (co)variances at most sqrt(2/n); five each.
    n, size = 20_000, len(rows)
    x = smoothed.sample_at(y[:1], n, times, generator=generator)[0].flatten(1)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(spread), (x - want[0]).T, upper=False)
    assert torch.allclose(white.mean(1), torch.zeros(size, dtype=F64), atol=5 / math.sqrt(n))
    assert torch.allclose(white @ white.T / n, torch.eye(size, dtype=F64), atol=5 * math.sqrt(2 / n))


def test_missing_numbers_are_entries_left_out(mixed, generator):
    law, record = mixed
    y = torch.randn(3, sum(record.sizes(law.mean0[None])), generator=generator, dtype=F64)
    y[1, :4] = math.nan
    kept = ObservationRecord(*((entry.times, entry.observation) for entry in record.entries[1:]))
    whole, part = law.given(record), law.given(kept)
    assert torch.allclose(whole.mean(y)[1:2], part.mean(y[1:2, 4:]), atol=1e-10)
    assert torch.allclose(whole.mean(y)[2:], whole.mean(y[2:]), atol=1e-10)
    assert torch.allclose(whole.log_evidence(y)[1:2], part.log_evidence(y[1:2, 4:]), atol=1e-8)
    assert torch.allclose(whole.log_evidence(y)[2:], whole.log_evidence(y[2:]), atol=1e-8)


def test_draws_given_numbers_of_which_some_are_missing(generator):
    """The posterior of OU by the last two sensors: standard deviations of draws are those of a shorter record."""
    y, n = torch.tensor([[math.nan, math.nan, 0.3, -0.2]], dtype=F64), 40_000
    short = STANDARD.given(ObservationRecord((1.5, SENSOR), (2.0, SENSOR)))
    drawn = STANDARD.given(SEVERAL).sample(y, n, generator=generator)
    deviation = float(short.deviation_at([0.0]))
    assert float(drawn.mean()) == pytest.approx(float(short.mean(y[:, 2:])), abs=5 * deviation / math.sqrt(n))
    assert float(drawn.std()) == pytest.approx(deviation, rel=5 / math.sqrt(2 * n))


def test_what_has_no_exact_answer_is_refused():
    with pytest.raises(ValueError, match=r"`operator` of entry 0 must be linear, .* take method mcmc"):
        STANDARD.given(Observation(torch.square, 0.1))
    with pytest.raises(ValueError, match="`times` must be 0 or later"):
        STANDARD.given(SEVERAL).mean_at([[0.0] * 4], [-1.0])
    many = Observation(lambda x: x.expand(-1, 10_001), 0.3)
    with pytest.raises(ValueError, match="`record` must hold at most 10000 numbers"):
        STANDARD.given(many)
