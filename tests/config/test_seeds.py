"""Streams of random numbers: each its own, the same in every process, whatever is drawn from the others."""

import itertools
import subprocess
import sys

import pytest
import torch

from physinv.config.seeds import Seeds, seeds


def test_names_and_numbers_tell_streams_apart():
    """Also where the joined text of the names is the same, or a number is written as text."""
    root = seeds(1)
    streams = [
        root,
        seeds(0),
        seeds(11),
        root.child("a"),
        root.child("ab"),
        root.child("a", "b"),
        root.child("b", "a"),
        root.child("a b"),
        root.child("a, b"),
        root.child(1),
        root.child("1"),
        root.child(1, 1),
        root.child(11),
        root.child(-1),
    ]
    for one, two in itertools.combinations(streams, 2):
        assert one.number != two.number
        assert not torch.equal(*(torch.rand(2, generator=stream.generator()) for stream in (one, two)))


def test_streams_of_neighbouring_steps_are_independent():
    """Correlation of the first normal numbers of 4000 steps with those of the next step, and of the next seed."""
    draws = torch.stack(
        [torch.randn(2000, generator=seeds(s).child("noise", k).generator()) for s in (0, 1) for k in range(3)]
    )
    corr = torch.corrcoef(draws) - torch.eye(6)
    assert float(corr.abs().max()) < 4.5 / 2000**0.5
    firsts = torch.cat([torch.randn(1, generator=seeds(0).child("noise", k).generator()) for k in range(4000)])
    assert abs(float(firsts.mean())) < 5 / 4000**0.5
    assert float(firsts.var()) == pytest.approx(1.0, abs=5 * (2 / 4000) ** 0.5)
    assert abs(float((firsts[1:] * firsts[:-1]).mean())) < 5 / 4000**0.5


def test_steps_are_spread_over_the_32_bits_that_generators_look_at():
    low = [seeds(0).child("training", "noise", k).number % 2**32 for k in range(2000)]
    assert len(set(low)) == 2000  # a chance of 1 in 2000 that two of them meet
    assert sum(n >= 2**31 for n in low) == pytest.approx(1000, abs=5 * 2000**0.5 / 2)
    assert all(0 <= seeds(0).child("training", "noise", k).number < 2**63 for k in range(2000))


def test_the_same_in_another_process():
    code = "from physinv.config.seeds import seeds; print(seeds(3).child('training', 'images', 7).number)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "1"},  # here hashes are of another seed
    )
    assert int(done.stdout) == seeds(3).child("training", "images", 7).number


def test_the_numbers_are_those_of_stored_files():
    """Seeds stand in the files of a dataset: another hash would be another dataset."""
    assert seeds(0).child("data", "train", 0, 0).number == 1683753536385136286


def test_a_stream_begins_anew_with_every_generator():
    stream = seeds(0).child("a")
    first = stream.generator()
    torch.rand(5, generator=first)
    seeds(0).child("b").generator()
    assert torch.equal(torch.rand(5, generator=stream.generator()), torch.rand(5, generator=stream.generator()))


def test_nested_streams_are_kept():
    stream = seeds(2).child("member", 1)
    assert seeds(stream) is stream
    assert seeds(stream).child("model") == Seeds((2, "member", 1, "model"))


def test_the_global_stream_is_restored():
    before = torch.get_rng_state()
    with seeds(0).child("model", "network").as_global():
        one = torch.nn.Linear(3, 3).weight
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    with seeds(0).child("model", "network").as_global():
        two = torch.nn.Linear(3, 3).weight
    with seeds(1).child("model", "network").as_global():
        other = torch.nn.Linear(3, 3).weight
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
