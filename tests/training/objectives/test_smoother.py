"""The objective of the smoother is stationary and lowest at conditional mean and size."""

import math

import pytest
import torch
from smoother_cases import (
    REGIMES,
    General,
    Loud,
    exact_model,
    exact_tables,
)

from physinv.equations.sde import Reverse
from physinv.equations.solve import solve
from physinv.posterior.posterior import Posterior
from physinv.reversal.smoother import smooth
from physinv.training.objectives.base import Batch
from physinv.training.objectives.smoother import smoother_loss
from simulators.fields.heat import Heat


class Filter(torch.nn.Module):
    """A network that adds ``weight`` times the whitened state, mode by mode, and ``log_size`` everywhere."""

    def __init__(self, weight, log_size=0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(weight.clone())
        self.log_size = torch.nn.Parameter(torch.tensor(float(log_size), dtype=weight.dtype))

    def forward(self, features, tau):
        whitened = features[:, 1:2]
        out = torch.fft.irfft(self.weight * torch.fft.rfft(whitened, norm="ortho"), n=whitened.shape[-1], norm="ortho")
        return torch.cat([out, self.log_size.expand_as(out)], dim=1)


def untaught(c=0.7):
    """A reference law whose gains are too small by ``c``, the filter that corrects them, and the residual size that
    remains.
    """
    heat = Heat(size=8, dimension=1, steps=1, horizon=0.1, noise=0.3)
    tables = exact_tables(heat, trusted=False)
    S, after, K = tables.power[0], tables.back_power[0], tables.gain[0]
    unit = S - c**2 * K**2 * after
    weight = (1 - c) * K * after.sqrt() / unit.sqrt()  # dt/t = 1
    weight[..., 0] = 0.0  # no energy there
    left = (S - K**2 * after) / unit
    left[..., 0] = 0.0
    twins = torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0], dtype=torch.float64)
    log_size = 0.5 * math.log(float((twins * left).sum() / 8))
    return heat, {"gain": c * tables.gain}, weight, log_size


def gradients(heat, changes, network, generator, batches=40, size=100):
    """The loss's gradient in all parameters, on independent batches: ``(batches, parameters)``."""
    model = exact_model(heat, network, trusted=False, **changes)
    times = heat.times.expand(size, -1)
    rows = []
    for _ in range(batches):
        states = heat.simulate(size, dtype=torch.float64, generator=generator)
        loss = smoother_loss(model, General(heat), Batch(states, times))
        found = torch.autograd.grad(loss, list(network.parameters()))
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


def significance(rows):
    """Each mean in units of its standard error."""
    return rows.mean(0).abs() / (rows.std(0) / len(rows) ** 0.5).clamp(min=1e-300)


def test_loss_is_stationary_at_the_conditional_mean_and_size(generator):
    heat, changes, weight, log_size = untaught()
    at = significance(gradients(heat, changes, Filter(weight, log_size), generator))
    assert float(at[1:].max()) < 5  # four modes and the size; the first mode of the start holds nothing
    off = significance(gradients(heat, changes, Filter(1.5 * weight, log_size), generator))
    assert float(off[1:4].min()) > 5  # every mode of the resolved ones sees its own filter
    assert float(significance(gradients(heat, changes, Filter(weight, log_size + 0.1), generator))[-1]) > 10
    assert float(significance(gradients(heat, changes, Filter(0 * weight, log_size), generator))[1:4].min()) > 10


def test_loss_is_lowest_at_the_conditional_mean(generator):
    """The loss is lowest there, with the value sigma^2 + 1/2 + log sigma, since E |r|^2 = sigma^2."""
    heat, changes, weight, log_size = untaught()
    states = heat.simulate(4000, dtype=torch.float64, generator=generator)
    times = heat.times.expand(4000, -1)

    @torch.no_grad()
    def loss(scale, shift):
        model = exact_model(heat, Filter(scale * weight, log_size + shift), trusted=False, **changes)
        return float(smoother_loss(model, General(heat), Batch(states, times)))

    best = loss(1.0, 0.0)
    s2 = math.exp(2 * log_size)
    # the mean square of 4000 fields of about 7 independent modes
    assert best == pytest.approx(s2 + 0.5 + log_size, abs=5 * (s2 + 0.5) * (2 / 28000) ** 0.5)
    assert min(loss(0.8, 0.0), loss(1.2, 0.0), loss(1.0, 0.2), loss(1.0, -0.2)) > best


def test_longer_windows_are_rolled_out(generator):
    """Windows of three equal a roll-out by hand with the solver's own step; gradients flow through both steps."""
    heat = Heat(size=8, dimension=1, steps=3, horizon=0.3, noise=0.3)
    model = exact_model(heat, Loud(1, 0.5), trusted=False)
    sde, n = General(heat), 50
    states = heat.simulate(n, dtype=torch.float64, generator=generator)[:, 1:]
    times = heat.times[1:].expand(n, -1)
    reverse, reference = Reverse(sde, model), model.reference

    def by_hand(cut):
        x, total = states[:, 2], 0.0
        for m in (1, 0):
            t0, t1 = times[:, m + 1], times[:, m]
            # the network's second half, and the step of the solver itself
            size = model.output(x, t0)[:, 1:].clamp(-4, 2).exp()
            x = smooth(reverse, x, t0, t1, torch.zeros((2, *x.shape), dtype=x.dtype))
            C = reference.power[m + 1] - reference.gain[m + 1] ** 2 * reference.back_power[m + 1]
            r = torch.fft.irfft(torch.fft.rfft(states[:, m] - x, norm="ortho") / C.sqrt(), n=8, norm="ortho")
            total = total + (r**2).mean() + (r.detach() ** 2 / (2 * size**2) + size.log()).mean()
            x = x.detach() if cut else x
        return total / 2

    loss = smoother_loss(model, sde, Batch(states, times))
    assert float(loss.detach()) == pytest.approx(float(by_hand(False).detach()), rel=1e-9)
    whole, cut, given = (torch.autograd.grad(v, model.network.mixing)[0] for v in (by_hand(False), by_hand(True), loss))
    assert torch.allclose(given, whole, rtol=1e-9, atol=1e-12)
    assert float((given - cut).norm()) > 0.05 * float(given.norm())


def test_what_does_not_fit_is_refused(generator):
    heat = REGIMES["long"]
    model, sde = exact_model(heat), General(heat)
    states = heat.simulate(4, dtype=torch.float64, generator=generator)
    with pytest.raises(ValueError, match=r"`smooth` needs Reverse\(sde, score\) with a ScoreModel"):
        smoother_loss(lambda x, t: -x, sde, Batch(states[:, :2], heat.times[:2].expand(4, -1)))
    with pytest.raises(ValueError, match=r"`smooth` needs Reverse\(sde, score\) with a ScoreModel"):
        smooth(sde, states[:, 1], heat.times[1:2].expand(4), heat.times[:1].expand(4), states[None, :, 0])
    stored_only = r"`times` must be the 5 stored ones, 4 steps"
    with pytest.raises(ValueError, match=stored_only):
        smoother_loss(model, sde, Batch(states[:, ::2], heat.times[::2].expand(4, -1)))
    # too long, too short, and of the right length in the wrong place
    for times in (heat.times[::2], torch.linspace(0, heat.horizon, 9, dtype=torch.float64), heat.times + 0.05):
        beyond = r"`times` must end at 0\.4 at the latest"
        with pytest.raises(ValueError, match=stored_only if float(times[-1]) <= heat.horizon else beyond):
            Posterior(sde, model, times)
        with pytest.raises(ValueError, match=stored_only):
            solve(Reverse(sde, model), states[:, -1], times.flip(0), step=smooth, generator=generator)
    assert Posterior(sde, model, heat.times[:3]).mean_flow(states[:, 2]).shape == states[:, 0].shape
