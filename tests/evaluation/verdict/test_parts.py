"""The channel or component at fault is named, and what the others hold; an exact posterior names none."""

import pytest
import torch

from physinv.evaluation.verdict.parts import judge_parts
from physinv.evaluation.verdict.words import verdict
from physinv.processes.layout import FieldLayout, VectorLayout

VECTOR = VectorLayout("x", 4)
SENSORS = ("inlet", "middle", "wall", "outlet")
N, K = 200, 19


def exact(generator, *shape):
    """Truths and samples of one law."""
    return torch.randn(N, *shape, generator=generator), torch.randn(N, K, *shape, generator=generator)


def test_an_exact_posterior_names_no_part(generator):
    """Of exact posteriors with 20 observations one in a hundred is blamed: of 40, two or more by a chance of 6 %."""
    blamed = 0
    for _ in range(40):
        truth, samples = (x[:20] for x in exact(generator, 4))
        blamed += judge_parts(samples, truth, VECTOR) != ([], [])
    assert blamed <= 1


@pytest.mark.parametrize(("factor", "word", "share"), [(0.25, "narrow", 0.319), (4.0, "wide", 1.0)])
def test_a_component_of_wrong_width_is_named(factor, word, share, generator):
    """Intervals of a quarter of the width hold a normal truth in 2 Phi(1.645 / 4) - 1 of the cases."""
    truth, samples = exact(generator, 4)
    samples[:, :, 2] *= factor
    said, warned = judge_parts(samples, truth, VECTOR, SENSORS)
    assert len(warned) == 1, warned
    assert f"too {word}" in warned[0]
    told = float(warned[0].partition("Intervals of wall (")[2].partition(" %")[0])
    assert told == pytest.approx(100 * share, abs=12)  # 3 standard errors of 200 observations, and of 19 samples
    others = float(said[0].partition("of the other 3 hold the truth in ")[2].partition(" ")[0])
    assert others == pytest.approx(90, abs=4)  # 3 standard errors of 600 numbers


def test_channels_of_a_field_have_the_names_of_the_layout(generator):
    """Half of the points hold no data: there truths far away do not count."""
    mask = [i < 8 for i in range(16)]
    layout = FieldLayout(("u", "v", "land"), "x", [range(16)], "WALL", static="land", mask=mask)
    truth, samples = exact(generator, 3, 16)
    samples[:, :, 1] *= 0.3
    truth[..., 8:] = 100.0
    said, warned = judge_parts(samples, truth, layout)
    assert [w for w in warned if w.startswith("Intervals of v (")] == warned
    assert said[0].startswith("Without it, those of u hold the truth in ")


def test_a_sensor_that_fails_for_a_moment_is_told(generator):
    truth, samples = exact(generator, 4)
    truth[17:20, 1] = 60.0
    found = verdict(samples, truth, VECTOR, [], {}, names=SENSORS)
    (line,) = [line for line in found.warnings if "fault of a sensor" in line]
    assert "for middle in 3 of 200 observations" in line
    truth[:, 1] = 60.0  # no exception any more, but a coverage of 0
    found = verdict(samples, truth, VECTOR, [], {}, names=SENSORS)
    assert not any("fault of a sensor" in line for line in found.warnings)
    assert any(line.startswith("Intervals of middle (0 %) are too narrow") for line in found.warnings)


def test_many_parts_are_counted_and_a_single_one_is_not_told_apart(generator):
    truth, samples = exact(generator, 9)
    found = judge_parts(0.2 * samples, truth, VectorLayout("x", 9))
    assert "component 0 (" in found[1][0] or "component" in found[1][0]
    assert "and 4 more are too narrow" in found[1][0]
    assert found[0] == []
    assert judge_parts(0.2 * samples[..., :1], truth[:, :1], VectorLayout("x", 1)) == ([], [])


def test_what_neighbours_that_are_alike_cannot_tell_is_said_to_be_doubtful(generator):
    """A sensor off in one stretch of a recording: a fifth of the observations, and yet a single event."""
    truth, samples = exact(generator, 4)
    truth[: N // 5, 3] += 6.0
    said, warned = judge_parts(samples, truth, VECTOR, SENSORS)
    assert warned == []
    assert said[0].startswith("Intervals of outlet (7")  # 90 % of four fifths
    assert "may be too narrow: neighbouring observations are too much alike" in said[0]
    assert said[1].startswith("Without it, those of the other 3 hold the truth in ")

    # The same misses here and there are no chance.
    mixed = torch.randperm(N, generator=generator)
    said, warned = judge_parts(samples[mixed], truth[mixed], VECTOR, SENSORS)
    assert [w for w in warned if w.startswith("Intervals of outlet (7")] == warned != []
