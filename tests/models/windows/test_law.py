"""The Gaussian law of trajectories: its conditional is that of the dense covariance, and its fit finds that one."""

import torch

from physinv.models.windows import WindowLaw, fit_window_law
from simulators.fields.heat import Heat

F64 = torch.float64


def dense(law):
    """The covariance of all entries in units of the law, frame after frame."""
    flat = law.factor.flatten(0, 1)
    rest = torch.einsum("ts,pq->tpsq", law.memory, law.rest.diag())
    return flat @ flat.T + rest.reshape(len(flat), len(flat))


def test_the_conditional_is_that_of_the_dense_covariance():
    """Mean and covariance of 20000 draws: six standard errors of the largest of some 200 numbers."""
    g = torch.Generator().manual_seed(0)
    lag = (torch.arange(4)[:, None] - torch.arange(4)).abs().double()
    tables = {
        "mean": torch.zeros(4, 3, dtype=F64),
        "scale": torch.ones(3, dtype=F64),
        "factor": torch.randn(4, 3, 5, generator=g, dtype=F64),
        "rest": torch.tensor([0.3, 0.0, 1.0], dtype=F64),
        "memory": 0.7**lag,
    }
    law, n = WindowLaw(tables), 20000
    seen = torch.rand(1, 4, 3, generator=g) < 0.5
    y, noise = torch.randn(1, 1, 4, 3, generator=g, dtype=F64), torch.full((1, 4, 3), 0.4, dtype=F64)
    known = law.given(y, seen, noise).repeated(n)
    e = torch.randn(1, n, 5, generator=g, dtype=F64)
    draws = law.completed(known.mean + known.deviation(e), known, g).reshape(n, 12)

    covariance, there = dense(law), seen.flatten()
    gain = torch.linalg.solve(covariance[there][:, there] + 0.16 * torch.eye(int(there.sum())), covariance[there]).T
    mean = gain @ y.flatten()[there]
    left = covariance - gain @ covariance[there]
    assert torch.allclose(known.whitened(known.mean + known.deviation(e)), e)
    assert bool(((draws.mean(0) - mean).abs() <= 6 * left.diag().clamp(min=0).sqrt() / n**0.5 + 1e-9).all())
    size = (left.diag()[:, None] * left.diag() + left**2).clamp(min=0).sqrt() / n**0.5
    assert bool(((draws.T.cov() - left).abs() <= 6 * size + 1e-9).all())


def test_the_law_of_a_periodic_field_has_the_covariance_of_its_waves():
    """Of heat in one dimension: with all waves the covariance is that of the shifted samples, with few its diagonal."""
    process, g = Heat(size=8, dimension=1, steps=3), torch.Generator().manual_seed(1)
    x = process.simulate(3000, process.times, generator=g)
    for rank in (512, 6):
        law = fit_window_law(process.layout, x[:2500], x[2500:], rank=rank)
        assert law.rank <= rank
        u = law.units(x[:2500])
        pooled = torch.stack([u.roll(i, -1) for i in range(8)]).flatten(0, 1).flatten(1)
        sample, found = pooled.T @ pooled / len(pooled), dense(law)
        if rank == 512:
            assert torch.allclose(found, sample, atol=1e-9)
        assert torch.allclose(found.diag(), sample.diag(), atol=2e-2)
