"""Jumps of fields: what they start from, symmetries, statics, the law of draws, calibration, files, and learning."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.jumps.crps import gaussian_crps
from physinv.models.jumps.field import fit_field_jumps, load_field_jumps
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls

SETTINGS = Settings(width=16, depth=2)
SIMULATORS = {
    "periodic": Burgers(size=24, steps=2, horizon=1.0, viscosity=0.1, inner=4),
    "walls": HeatWalls(size=8, dimension=1, steps=2),
    "static": HeatConductivity(size=8, steps=2),
}


@pytest.fixture(scope="module", params=list(SIMULATORS))
def case(request, tmp_path_factory):
    sim = SIMULATORS[request.param]
    return sim, made(sim, tmp_path_factory.mktemp(request.param))


def made(sim, folder, train=200):
    generate(DatasetPlan(sim, {"train": train, "valid": 50, "test": 20}, 0), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s).load() for s in ("train", "valid", "test")}


def built(sim, data, *, awake=None):
    """Jumps of a process; with a generator the last layer of the network is not zero."""
    jumps = fit_field_jumps(sim, data["train"], SETTINGS, seed=0)
    if awake is not None:
        torch.nn.init.normal_(jumps.network.last.weight, std=0.1, generator=awake)
    return jumps


def times(n, s, t):
    index = torch.zeros(n, dtype=torch.int64)
    return index + s, index + t


def test_untrained_jumps_are_the_linear_estimate_with_the_size_of_its_errors(case, generator):
    sim, data = case
    jumps, earlier, later = built(sim, data), data["valid"].states(0), data["valid"].states(-1)
    s, t = times(len(later), 0, 2)
    mean, deviation = jumps.moments(later, s, t)
    moving = sim.layout.moving
    gap = moving(earlier - mean)
    assert float(gap.square().mean()) < 0.95 * float(moving(earlier - earlier.mean(0)).square().mean())
    # the errors on 50 fields are as large as those on the trajectories that were held out: within 25 %
    assert torch.allclose(gap.square().mean().sqrt(), deviation.square().mean().sqrt(), rtol=0.25)
    loss = jumps.loss(earlier, later, s, t, generator=generator)
    want = gaussian_crps(gap / deviation, 0 * gap, torch.ones_like(gap)).mean()
    assert float(loss) == pytest.approx(float(want), rel=1e-3)  # views change nothing but rounding and the mean field


def test_the_loss_is_the_score_of_what_is_drawn(case, generator):
    """By hand without views: the network's mean and log deviation, in units of the linear estimate's errors."""
    sim, data = case
    jumps = built(sim, data, awake=generator)
    later, earlier = data["test"].states(-1)[:6], data["test"].states(0)[:6]
    s, t = times(6, 0, 2)
    context = jumps.context(later, s, t)
    assert torch.equal(context[:, 0], later)
    jumps.sde = Plain(sim)  # one image; and no shifts
    jumps.network.patch = 1 if sim.layout.periodic else jumps.network.patch
    if sim.layout.periodic:
        pytest.skip("shifts are random")
    loss = jumps.loss(earlier, later, s, t, context=context, generator=generator)
    mean, deviation = jumps.moments(later, s, t)
    score = gaussian_crps(sim.layout.moving(earlier - mean), torch.zeros_like(deviation), deviation)
    assert float(loss) == pytest.approx(float((score / jumps.unit[jumps.pair[0, 2]]).mean()), rel=1e-4)


class Plain:
    """A process without symmetries."""

    def __init__(self, sim):
        self.sim = sim

    def images(self, x):
        return [x]

    def __getattr__(self, name):
        return getattr(self.sim, name)


def test_answers_obey_the_symmetries(case, generator):
    sim, data = case
    jumps = built(sim, data, awake=generator)
    later = data["test"].states(-1)[:4]
    s, t = times(4, 0, 2)
    mean, deviation = jumps.moments(later, s, t)
    if sim.layout.periodic:
        # mean fields of finitely many trajectories are not quite invariant: set them to what they are estimates of
        jumps.mean_state.zero_()
        mean, deviation = jumps.moments(later, s, t)
        shifted = jumps.moments(later.roll(3, -1), s, t)
        assert torch.allclose(shifted[0], mean.roll(3, -1), atol=1e-4)
        assert torch.allclose(shifted[1], deviation.roll(3, -1), atol=1e-4)
    for i, image in enumerate(sim.images(later)):
        found, spread = jumps.moments(image, s, t)
        assert torch.allclose(found, sim.images(mean)[i], atol=1e-4)
        assert float(spread.mean()) == pytest.approx(float(deviation.mean()), rel=1e-4)


def test_static_channels_are_those_of_the_later_state(tmp_path, generator):
    sim = SIMULATORS["static"]
    jumps = built(sim, made(sim, tmp_path), awake=generator)
    later = sim.initial(3, generator=generator)
    drawn = jumps.sample(later, *times(3, 0, 1), generator=generator)
    channel = sim.layout.names.index(sim.layout.static[0])
    assert torch.equal(drawn[:, channel], later[:, channel])
    assert not torch.allclose(drawn[:, 1 - channel], later[:, 1 - channel], atol=1e-3)


def test_draws_have_the_mean_and_the_deviation_of_the_law(case, generator):
    sim, data = case
    jumps = built(sim, data, awake=generator)
    jumps.calibration.fill_(1.5)
    later, (s, t) = data["test"].states(-1)[:2], times(2, 1, 2)
    mean, deviation = jumps.moments(later, s, t)
    draws = jumps.sample(later, s, t, generator=generator, draws=4000).reshape(2, 4000, *sim.shape)
    moving = sim.layout.moving
    # 5 standard errors of means and deviations of 4000 draws
    assert bool((moving(draws.mean(1) - mean).abs() < 5 * 1.5 * deviation / 4000**0.5 + 1e-5).all())
    assert torch.allclose(moving(draws).std(1) / (1.5 * deviation), torch.ones_like(deviation), atol=0.06)
    assert torch.equal(jumps.mean(later, s, t), mean)


def test_finishing_mends_the_deviation_and_finds_the_correlations(case, generator):
    sim, data = case
    jumps = built(sim, data)
    k = int(jumps.pair[0, 2])
    jumps.unit[k] *= 1.25
    jumps.finish(data["valid"], [(0, 2)])
    # the deviation was 1.25 times too large; the factors are .02 apart, the errors of 50 fields known to 15 %
    assert torch.allclose(jumps.calibration[k], torch.full_like(jumps.calibration[k], 0.8), atol=0.15)
    assert float(jumps.spectrum[k].std()) > 0.1  # white noise has 1 everywhere


def test_tensors_make_it_again(case, generator):
    sim, data = case
    jumps = built(sim, data, awake=generator)
    jumps.finish(data["valid"], [(0, 2)])
    again = load_field_jumps(sim, sim.layout, SETTINGS, jumps.state_dict())
    later, (s, t) = data["test"].states(-1), times(20, 0, 2)
    seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
    one, two = (m.sample(later, s, t, generator=g) for m, g in zip((jumps, again), seeds, strict=True))
    assert torch.equal(one, two)


def test_jumps_that_were_not_fitted_are_refused(case):
    sim, data = case
    jumps = fit_field_jumps(sim, data["train"], SETTINGS, seed=0, pairs=[(0, 2)])
    with pytest.raises(ValueError, match="no jump from stored time 2 to 1; give pairs that were fitted"):
        jumps.mean(data["test"].states(-1), *times(20, 1, 2))


def test_a_linear_process_has_nothing_left_to_learn(tmp_path, generator):
    """For Gaussian data of a linear process the linear estimate is the posterior mean: its CRPS is that of the law."""
    sim = Heat(size=16, dimension=1, steps=2)
    data = made(sim, tmp_path, train=2000)
    jumps, x0, xT = built(sim, data), data["test"].states(0), data["test"].states(-1)
    mean = jumps.mean(xT, *times(20, 0, 2))
    exact = sim.exact().mean(xT)
    # a filter of 2000 trajectories and their images misses the exact one by 1 / 4000^(1/2) per mode
    assert float((mean - exact).square().mean().sqrt()) < 0.08 * float((x0 - exact).square().mean().sqrt())
