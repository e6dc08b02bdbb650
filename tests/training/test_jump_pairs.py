"""Pairs at the ends of jumps: they belong to one trajectory, are new where asked for, and repeat with the seed."""

import itertools
import math

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.jumps.vector import fit_vector_jumps
from physinv.training.jump_pairs import JumpPairs
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

PROCESS = OrnsteinUhlenbeck(dim=1, steps=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    generate(DatasetPlan(PROCESS, {"train": 40, "valid": 20, "test": 5}, 0, "ornstein-uhlenbeck"), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s).load() for s in ("train", "valid")}


def source(data, fresh, rows=16):
    kernel = fit_vector_jumps(PROCESS, data["train"], Settings())
    return JumpPairs(kernel, PROCESS, data["train"], data["valid"], fresh=fresh, rows=rows)


def batches(pairs, n, start=0, seed=0):
    return list(itertools.islice(pairs.training(size=32, seeds=seeds(seed).child("training"), start=start), n))


def contained(x, stored):
    """Whether each number is one of the stored ones."""
    return (x.flatten()[:, None] == stored.flatten()).any(1)


def test_pairs_of_stored_data_are_the_ends_of_jumps_of_one_trajectory(data):
    pairs = source(data, "off", rows=1000)
    (batch,) = batches(pairs, 1)
    x = torch.cat([data["train"].trajectories(), -data["train"].trajectories()])
    ends = pairs.kernel.table[batch.jump]
    assert torch.equal(batch.times.double(), PROCESS.times[ends].float().double())
    for pair, (s, t) in zip(batch.states, ends.tolist(), strict=True):
        assert ((x[:, s] == pair[0]) & (x[:, t] == pair[1])).any()


def test_new_noise_keeps_the_initial_states_and_new_states_do_not(data):
    initial = torch.cat([data["train"].states(0), -data["train"].states(0)])
    final = torch.cat([data["train"].states(-1), -data["train"].states(-1)])
    for fresh, kept in (("noise", True), ("states", False)):
        pairs = source(data, fresh)
        (batch,) = batches(pairs, 1, start=pairs.every)
        whole = batch.jump == 0
        assert contained(batch.states[whole, 0], initial).all() == kept
        assert not contained(batch.states[whole, 1], final).any()


@pytest.mark.parametrize(("rows", "read"), [(160, True), (164, False)])
def test_the_first_round_is_read_where_the_data_are_a_quarter_of_it(data, rows, read):
    initial = torch.cat([data["train"].states(0), -data["train"].states(0)])
    (batch,) = batches(source(data, "states", rows=rows), 1)
    assert contained(batch.states[batch.jump == 0, 0], initial).all() == read


@pytest.mark.parametrize(("rows", "images"), [(40, 1), (79, 1), (80, 2), (4096, 2)])
def test_a_round_holds_as_many_images_as_there_is_room_for(rows, images, tmp_path):
    well = DoubleWell(steps=2)  # symmetric: -x is as likely as x
    generate(DatasetPlan(well, {"train": 40, "valid": 20}, 0, "double-well"), tmp_path / "d")
    train, valid = (TrajectoryDataset(tmp_path / "d" / "data" / s).load() for s in ("train", "valid"))
    pairs = JumpPairs(fit_vector_jumps(well, train, Settings()), well, train, valid, rows=rows)
    many = next(pairs.training(size=4096, seeds=seeds(0).child("training"), start=0))
    first = many.states[many.jump == 0][:, 0]
    assert len(first.unique()) == images * 40
    assert len(first.abs().unique()) == 40


def test_rounds_of_large_states_hold_fewer(data, tmp_path):
    from physinv.models.jumps.field import fit_field_jumps
    from simulators.fields.heat import Heat

    sim = Heat(size=32, dimension=2, steps=1)
    generate(DatasetPlan(sim, {"train": 4, "valid": 2, "test": 1}, 0), tmp_path / "d")
    train, valid = (TrajectoryDataset(tmp_path / "d" / "data" / s).load() for s in ("train", "valid"))
    kernel = fit_field_jumps(sim, train, Settings(width=4, depth=1, network="tokens"))
    assert JumpPairs(kernel, sim, train, valid).most == 512  # of 1024 numbers each
    assert source(data, "off").most == 16


def test_rounds_of_single_numbers_hold_more_trajectories_and_serve_more_updates(data):
    """What an update sees of new trajectories is as much, and simulating 16384 takes hardly longer than 4096."""
    assert source(data, "off", rows=None).most == 16384
    assert source(data, "off", rows=None).every == 4 * source(data, "off", rows=4096).every == 800
    assert source(data, "off").every == 200


def test_rounds_of_large_states_are_replaced_in_parts_and_as_without_interruption(tmp_path):
    from physinv.models.jumps.field import fit_field_jumps
    from simulators.fields.heat import Heat

    sim = Heat(size=64, dimension=1, steps=1)
    generate(DatasetPlan(sim, {"train": 4, "valid": 2, "test": 1}, 0), tmp_path / "d")
    train, valid = (TrajectoryDataset(tmp_path / "d" / "data" / s).load() for s in ("train", "valid"))
    kernel = fit_field_jumps(sim, train, Settings(width=4, depth=1, network="tokens"))
    pairs = JumpPairs(kernel, sim, train, valid, fresh="states")
    assert pairs.parts == 4  # 4096 trajectories of 64 numbers
    assert JumpPairs(kernel, sim, train, valid).parts == 1
    ways = [pairs.training(size=2048, seeds=seeds(0).child("training"), start=pairs.every - i) for i in (1, 0)]
    first, second = (list(itertools.islice(way, n)) for way, n in zip(ways, (2, 1), strict=True))
    assert torch.equal(first[1].states, second[0].states)
    assert torch.equal(first[1].prepared, second[0].prepared)

    # 2048 draws show 1 - e^-1/2 of what stays: 3 of 4 parts, with a standard deviation of 3 % for 1600 trajectories.
    before, after = (set(batch.states[:, 0, 0, 0].tolist()) for batch in first)
    assert len(before & after) / len(before) / (1 - math.exp(-0.5)) == pytest.approx(0.75, abs=0.1)


def test_new_trajectories_have_the_law_of_the_process(data):
    pairs = source(data, "states", rows=4096)
    several = itertools.islice(pairs.training(size=4096, seeds=seeds(1).child("training"), start=0), 8)
    whole = torch.cat([batch.states[batch.jump == 0][:, :, 0] for batch in several])
    wanted = PROCESS.simulate(4096, generator=torch.Generator().manual_seed(8))[:, [0, -1], 0]
    # 4700 pairs of 4096 trajectories: a variance of 1.3 is known to 3 %, its difference from another to .05
    assert torch.allclose(torch.cov(whole.T), torch.cov(wanted.T), atol=0.2)


def test_batches_depend_on_the_seed_and_their_number_alone(data):
    first, second = source(data, "states"), source(data, "states")
    start = first.every - 1  # the next round begins one update later
    straight, resumed = batches(first, start + 3)[start:], batches(second, 3, start=start)
    for a, b in zip(straight, resumed, strict=True):
        assert torch.equal(a.states, b.states)
        assert torch.equal(a.prepared, b.prepared)
    assert not torch.equal(straight[0].states, batches(first, 1, start=start, seed=1)[0].states)
    assert not contained(straight[1].states[:, 0], straight[0].states[:, 0]).all()


def test_prepared_states_belong_to_the_later_states(data):
    pairs = source(data, "noise")
    (batch,) = batches(pairs, 1)
    for i in range(len(pairs.kernel.table)):
        rows = batch.jump == i
        # float32 sums of matrix products depend on the number of rows
        assert torch.allclose(batch.prepared[rows, :-1], pairs.kernel.prepare(batch.states[rows, 1], i), atol=1e-5)


@pytest.mark.parametrize(("rows", "held"), [(16, 16), (40, 40), (4096, 40)])
def test_every_round_of_stored_data_is_full(data, rows, held):
    """With 40 trajectories and rounds of 16 or 4096, no later round shrinks to what is left at the end."""
    pairs = source(data, "off", rows=rows)
    for number in range(4):
        many = next(pairs.training(size=4096, seeds=seeds(0).child("training"), start=number * pairs.every))
        assert len(many.states[many.jump == 0][:, 0].abs().unique()) == held  # images are mirrored
