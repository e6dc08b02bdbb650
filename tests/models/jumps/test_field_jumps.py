"""Jumps of fields: what they start from, symmetries, statics, the law of draws, what they learn, and files."""

from dataclasses import dataclass

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.jumps.base import Jump
from physinv.models.jumps.crps import gaussian_crps
from physinv.models.jumps.field import empty_field_jumps, field_jumps, fit_field_jumps
from physinv.models.jumps.physics import flow
from physinv.processes.layout import FieldLayout
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls
from simulators.numerics.stepped import Stepped

SETTINGS = Settings(network="tokens", width=16, depth=2)
SIMULATORS = {
    "periodic": Burgers(size=24, steps=2, horizon=0.5, viscosity=0.1, inner=4),
    "walls": HeatWalls(size=8, dimension=2, steps=2),
    "static": HeatConductivity(size=8, steps=2),
}
JUMPS = [Jump(0, 2), Jump(0, 1), Jump(1, 2)]


@pytest.fixture(scope="module", params=list(SIMULATORS))
def case(request, tmp_path_factory):
    sim = SIMULATORS[request.param]
    return sim, made(sim, tmp_path_factory.mktemp(request.param))


def made(sim, folder, train=200):
    generate(DatasetPlan(sim, {"train": train, "valid": 50, "test": 20}, 0), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s).load() for s in ("train", "valid", "test")}


def built(sim, data, *, awake=None):
    """Jumps of a process; with a generator the last layer of the network is not zero."""
    kernel = fit_field_jumps(sim, data["train"], SETTINGS, jumps=JUMPS, seed=0)
    if awake is not None:
        torch.nn.init.normal_(kernel.network.last.weight, std=0.1, generator=awake)
    return kernel


def loss_of(kernel, earlier, later, jump, generator):
    number = torch.full((len(later),), jump, dtype=torch.int64)
    return float(kernel.loss(earlier, later, kernel.prepare(later, jump), number, generator=generator).detach())


def test_untrained_jumps_are_the_linear_estimate_with_the_size_of_its_errors(case, generator):
    sim, data = case
    kernel, earlier, later = built(sim, data), data["valid"].states(0), data["valid"].states(-1)
    mean, deviation = kernel.moments(later, 0)
    moving = sim.layout.moving
    gap = moving(earlier - mean)
    assert float(gap.square().mean()) < 0.95 * float(moving(earlier - earlier.mean(0)).square().mean())
    # the errors on 50 fields are as large as those on the trajectories that were held out
    assert torch.allclose(gap.square().mean().sqrt(), deviation.square().mean().sqrt(), rtol=0.25)
    want = gaussian_crps(gap / deviation, 0 * gap, torch.ones_like(gap)).mean()
    assert loss_of(kernel, earlier, later, 0, generator) == pytest.approx(float(want), rel=0.02)


def test_the_loss_shows_the_network_every_symmetry(generator, tmp_path):
    """Half of the pairs are mirrored, earlier, later and prepared states alike: the target goes with them."""
    sim = SIMULATORS["periodic"]
    data = made(sim, tmp_path, train=20)
    kernel, seen = built(sim, data), []
    kernel.network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    x = data["test"].states(-1)[:1]
    loss_of(kernel, data["test"].states(0)[:1].expand(64, -1, -1), x.expand(64, -1, -1), 0, generator)
    (features,) = seen
    estimate, unit = kernel.prepare(x, 0)[:, 0], torch.stack([kernel.scale[2], kernel.scale[0]])[:, 0]
    whole = torch.cat(sim.images(torch.cat([x, estimate]))).reshape(2, 1, 2, -1) / unit
    views = torch.cat([whole.roll(by, -1) for by in range(kernel.network.stride)], 1)  # (image, shift, group, x)
    same = (features[:, None, None, :2] - views).abs().amax((-2, -1)) < 1e-5
    which = same.any(2).T
    assert torch.equal(which.sum(0), torch.ones(64, dtype=torch.int64))
    assert 16 < int(which[1].sum()) < 48  # 4 standard deviations of 64 coins


def test_answers_obey_the_symmetries(case, generator):
    """Up to the mean fields of finitely many trajectories, which are set to what they are estimates of."""
    sim, data = case
    kernel = built(sim, data, awake=generator)
    later = data["test"].states(-1)[:4]
    if sim.layout.periodic:
        kernel.centre.copy_(kernel.centre.flatten(2).mean(-1).reshape(kernel.scale.shape).expand_as(kernel.centre))
    mean, deviation = kernel.moments(later, 0)
    assert float(mean.abs().max()) > 0.1
    for i, image in enumerate(sim.images(later)):
        found, spread = kernel.moments(image, 0)
        assert torch.allclose(found, sim.images(mean)[i], atol=2e-3)
        assert float(spread.mean()) == pytest.approx(float(deviation.mean()), rel=1e-3)
    if sim.layout.periodic and len(sim.layout.space) == 1:  # in more dimensions shifts are averaged along the diagonal
        shifted = kernel.moments(later.roll(3, -1), 0)
        assert torch.allclose(shifted[0], mean.roll(3, -1), atol=2e-3)
        assert torch.allclose(shifted[1], deviation.roll(3, -1), atol=2e-3)


def test_the_loss_is_the_score_of_what_is_drawn(tmp_path, generator):
    """Without views, as between walls with one image, loss and moments are the same numbers."""

    class Bare(HeatWalls):
        """A process that declares no symmetry."""

        def images(self, x):
            return [x]

    size = {"size": 8, "dimension": 1, "steps": 2}
    data = made(HeatWalls(**size), tmp_path)
    kernel = built(Bare(**size), data, awake=generator)
    earlier, later = data["test"].states(0), data["test"].states(-1)
    kernel.free.fill_(1.0)
    mean, deviation = kernel.moments(later, 0)
    score = gaussian_crps(earlier, mean, deviation) / kernel.unit[0]
    assert loss_of(kernel, earlier, later, 0, generator) == pytest.approx(float(score.mean()), rel=1e-4)


def test_static_channels_are_those_of_the_later_state(tmp_path, generator):
    sim = SIMULATORS["static"]
    kernel = built(sim, made(sim, tmp_path), awake=generator)
    later = sim.initial(3, generator=generator)
    drawn = kernel.draw(later, 2, generator=generator)
    channel = sim.layout.names.index(sim.layout.static[0])
    assert torch.equal(drawn[:, channel], later[:, channel])
    assert not torch.allclose(drawn[:, 1 - channel], later[:, 1 - channel], atol=1e-3)


def test_draws_have_the_mean_and_the_deviation_of_the_law(case, generator):
    sim, data = case
    kernel = built(sim, data, awake=generator)
    kernel.free.fill_(1.0)
    kernel.noise.factor.fill_(1.5)
    later = data["test"].states(-1)[:2]
    mean, deviation = kernel.moments(later, 1)
    draws = kernel.draw(later.repeat_interleave(2000, 0), 1, generator=generator).reshape(2, 2000, *sim.shape)
    moving = sim.layout.moving
    # 5 standard errors of means and deviations of 2000 draws
    assert bool((moving(draws.mean(1) - mean).abs() < 5 * 1.5 * deviation / 2000**0.5 + 1e-5).all())
    assert torch.allclose(moving(draws).std(1) / (1.5 * deviation), torch.ones_like(deviation), atol=0.08)
    assert torch.equal(kernel.mean(later, 1), mean)


def test_conserved_modes_are_not_drawn(tmp_path, generator):
    """The mean velocity of the Burgers equation stays 0, and fields start without short waves."""
    sim = SIMULATORS["periodic"]
    data = made(sim, tmp_path)
    kernel = built(sim, data, awake=generator)
    assert float(kernel.free[0, 0, 0]) == 0.0
    assert float(kernel.free[0, 0, 1]) == 1.0
    drawn = kernel.draw(data["test"].states(-1), 0, generator=generator)
    assert float(drawn.mean(-1).abs().max()) < 1e-3
    assert float(drawn.std()) > 0.5


def test_training_finds_what_the_linear_estimate_misses(tmp_path, generator):
    """100 updates on shocks: the score of the mean of draws falls by a sixth at least, and coverage is right."""
    from physinv.config.seeds import seeds
    from physinv.evaluation import metrics
    from physinv.posterior.jumps import JumpPosterior
    from physinv.training.jump_pairs import JumpPairs
    from physinv.training.objectives.jumps import jump_loss
    from physinv.training.updates import Updates

    sim = Burgers(size=24, steps=2, horizon=1.0, viscosity=0.2, inner=4)
    data = made(sim, tmp_path, train=400)
    kernel = fit_field_jumps(sim, data["train"], SETTINGS, seed=0)
    truth, final = data["valid"].states(0), data["valid"].states(-1)

    def score():
        posterior = JumpPosterior(kernel, [[Jump(0, 2)]])
        draws = posterior.sample(final, 16, generator=torch.Generator().manual_seed(0))
        return float(metrics.crps(draws, truth)), float(metrics.coverage(draws, truth, 0.9))

    before, _ = score()
    updates = Updates(kernel, Settings(), 4e-3)
    pairs = JumpPairs(kernel, sim, data["train"], data["valid"], fresh="noise", rows=400)
    batches = pairs.training(size=32, seeds=seeds(0), start=0)
    for count in range(100):
        updates.step(jump_loss(kernel, sim, next(batches)), progress=count / 100, count=count + 1)
    kernel.finish(data["test"])
    after, coverage = score()
    assert after < before * 5 / 6
    assert coverage == pytest.approx(0.9, abs=0.05)


def test_tensors_make_it_again(case, generator):
    sim, data = case
    kernel = built(sim, data, awake=generator)
    kernel.finish(data["valid"])
    again = empty_field_jumps(sim, data["train"].times, sim.layout, SETTINGS, jumps=JUMPS)
    again.load_state_dict(kernel.state_dict())
    later = data["test"].states(-1)
    one, two = (k.draw(later, 0, generator=torch.Generator().manual_seed(1)) for k in (kernel, again))
    assert torch.equal(one, two)
    assert bool(one.isfinite().all())


def test_a_linear_process_has_nothing_left_to_learn(tmp_path):
    """For Gaussian data of a linear process the linear estimate is the posterior mean."""
    sim = Heat(size=16, dimension=1, steps=2)
    data = made(sim, tmp_path, train=2000)
    kernel, x0, xT = built(sim, data), data["test"].states(0), data["test"].states(-1)
    exact = sim.exact().mean(xT)
    # a filter of 2000 trajectories and their images misses the exact one by 1 / 4000^(1/2) per mode
    gap = (kernel.mean(xT, 0) - exact).square().mean().sqrt()
    assert float(gap) < 0.08 * float((x0 - exact).square().mean().sqrt())

    # Draws with the correlations of the physics end as near the observation as the truth does.
    kernel.finish(data["valid"])
    assert kernel.physical.known(0)
    drawn = kernel.draw(xT.repeat_interleave(16, 0), 0, generator=torch.Generator().manual_seed(0))
    ends, true_ends = (flow(sim, x, [float(data["test"].times[-1])])[0] for x in (drawn, x0))
    misfit = float((ends - xT.repeat_interleave(16, 0)).square().mean())
    # 20 fields of 16 points know the size of the noise to (2 / 320)^(1/2) = 8 %, and as well that of draws
    assert misfit == pytest.approx(float((true_ends - xT).square().mean()), rel=0.25)


@pytest.mark.parametrize(("intervals", "want"), [(1, [(0, 1)]), (4, [(0, 4), (0, 3)]), (24, [(0, 24), (0, 20)])])
def test_two_jumps_lead_to_the_start(intervals, want):
    assert field_jumps(intervals) == [Jump(*ends) for ends in want]


@dataclass(frozen=True)
class Ring(Stepped):
    """Every step shifts a field by one point and damps it; there is no other step."""

    def propagated(self, x, t):
        return 0.9 * x.roll(1, -1)

    def initial(self, n, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((n, 1, 16), generator=generator, device=device, dtype=dtype)

    def diffusion(self, t):
        return torch.full((len(t), 1, 1), 0.1)

    @property
    def layout(self):
        return FieldLayout("u", "x", [range(16)])


@pytest.mark.parametrize(("steps", "parts"), [(6, (2, 3, 6)), (1, (1, 1, 1))])
def test_a_process_that_takes_no_other_step_is_run_in_its_own(steps, parts, tmp_path):
    """A quarter of six steps is two, of one step one."""
    process = Ring(steps=steps, horizon=0.1 * steps)
    generate(DatasetPlan(process, {"train": 20, "valid": 4}, 0, "ring"), tmp_path / "d")
    data = TrajectoryDataset(tmp_path / "d" / "data" / "train").load()
    kernel = fit_field_jumps(process, data, SETTINGS)
    final = data.states(-1)
    for group, count in zip(kernel.prepare(final, 0).unbind(1)[1:], parts, strict=True):
        assert torch.allclose(group, 0.9**count * final.roll(count, -1), atol=1e-5)
