"""Batches: every window once an epoch, one image of each window for training, all images for validation."""

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.training.batches import Windows, images_of, shuffled, training_batches, validation_batches
from physinv.training.objectives.base import Batch
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.particles.langevin import OverdampedParticles
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def well(tmp_path_factory):
    """Physics with a mirror symmetry, and windows of its trajectories."""
    folder, sim = tmp_path_factory.mktemp("well"), DoubleWell(steps=4)
    generate(DatasetPlan(sim, {"train": 25}, 0, "double-well"), folder / "d")
    return sim, Windows(TrajectoryDataset(folder / "d" / "data" / "train").load())


def training(sim, windows, *, seed=0, start=0, size=10):
    return training_batches(windows, sim, size=size, seeds=seeds(seed), start=start, workers=0, device=CPU)


def test_every_number_is_seen_once_an_epoch():
    order = shuffled(100, 10, seeds=seeds(0))
    first = torch.cat([next(order) for _ in range(10)])
    assert torch.equal(first.sort().values, torch.arange(100))
    late, again = shuffled(100, 10, seeds=seeds(0), start=7), shuffled(100, 10, seeds=seeds(0))
    for _ in range(7):
        next(again)
    assert all(torch.equal(next(late), next(again)) for _ in range(10))


@pytest.mark.parametrize(
    "sim",
    [
        OrnsteinUhlenbeck(),
        DoubleWell(),
        Heat(size=8),
        HeatConductivity(size=8),
        Burgers(size=8),
        Burgers(size=8, dimension=2),
        OverdampedParticles(particles=4),
    ],
    ids=lambda sim: f"{type(sim).__name__}{sim.shape}",
)
def test_images_of_windows_are_those_of_each_state(sim, generator):
    shape = (5, 3, *sim.shape)
    windows, backward, estimate = (torch.randn(shape, generator=generator) for _ in range(3))
    batch = Batch(windows, torch.rand(5, 3), backward=backward[:, 0], estimate=estimate[:, 0])
    found = images_of(sim, batch)
    assert torch.equal(found[0].states, windows)
    for m in range(3):
        for whole, one in zip(found, sim.images(windows[:, m]), strict=True):
            assert torch.equal(whole.states[:, m], one)
    for whole, b, e in zip(found, sim.images(backward[:, 0]), sim.images(estimate[:, 0]), strict=True):
        assert torch.equal(whole.backward, b)
        assert torch.equal(whole.estimate, e)
        assert torch.equal(whole.times, batch.times)


def test_training_sees_one_image_of_every_window(well):
    """The first state times its own estimate is a square where both are mirrored alike, or both are not."""
    sim, windows = well
    first = windows.data.states(0)
    marked = Windows(windows.data, estimates=first)
    batches = training(sim, marked)
    seen = [next(batches) for _ in range(10)]  # one epoch of 100 windows
    states = torch.cat([batch.states for batch in seen])
    stored = windows.batch(torch.arange(100)).states
    assert torch.allclose(states.abs().sort(0).values, stored.abs().sort(0).values)
    index = {float(x.abs().sum()): i for i, x in enumerate(stored)}
    own = [index[float(x.abs().sum())] for x in states]
    mirrored = [not torch.equal(x, stored[i]) for x, i in zip(states, own, strict=True)]
    assert 25 < sum(mirrored) < 75  # half of 100, five standard deviations of 5
    estimates = torch.cat([batch.estimate for batch in seen])
    for i, estimate, turned in zip(own, estimates, mirrored, strict=True):
        assert torch.equal(estimate, -first[i // 4] if turned else first[i // 4])


def test_a_resumed_training_sees_what_it_would_have_seen(well):
    sim, windows = well
    whole, late = training(sim, windows), training(sim, windows, start=13)
    for _ in range(13):
        next(whole)
    for _ in range(10):
        one, two = next(whole), next(late)
        assert torch.equal(one.states, two.states)
        assert torch.equal(torch.rand(3, generator=one.generator), torch.rand(3, generator=two.generator))


def test_validation_sees_all_images_in_equal_batches(well):
    sim, windows = well
    batches = validation_batches(windows, sim, count=60, size=20, seeds=seeds(0), device=CPU)
    assert [len(batch.states) for batch in batches] == [20, 20, 20]
    for batch in batches:
        assert torch.equal(batch.states[:10], -batch.states[10:])
        assert torch.equal(batch.times[:10], batch.times[10:])
    again = validation_batches(windows, sim, count=60, size=20, seeds=seeds(0), device=CPU)
    other = validation_batches(windows, sim, count=60, size=20, seeds=seeds(1), device=CPU)
    assert all(torch.equal(a.states, b.states) for a, b in zip(batches, again, strict=True))
    assert not torch.equal(batches[0].states, other[0].states)
    # few windows are gone through again; there are two batches at least
    assert len(validation_batches(windows, sim, count=1000, size=500, seeds=seeds(0), device=CPU)) == 2
    assert len(validation_batches(windows, sim, count=10, size=500, seeds=seeds(0), device=CPU)) == 2


def test_tensors_of_another_shape_are_refused(well):
    _, windows = well
    for name, wrong in (("backward", torch.zeros(25, 3, 1)), ("estimates", torch.zeros(24, 1))):
        with pytest.raises(ValueError, match=rf"`{name}` must have shape \(25, .*got"):
            Windows(windows.data, **{name: wrong})
