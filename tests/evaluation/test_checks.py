"""Checks pass exact samples and name what is wrong with others, in the function, in files and in the terminal."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from physinv.cli.terminal import console
from physinv.evaluation.checks import FEWEST, Check, check_samples, warnings
from physinv.evaluation.evaluate import check, evaluate, to_json
from physinv.evaluation.roughness import total_variation
from physinv.posterior.reconstruction import Reconstruction
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.processes.recorded import Recorded
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

NAMES = ["misfit_median", "misfit_90", "outside", "total_variation", "zigzags"]
NAMES += ["power_low", "power_middle", "power_high", "patch_c2st"]


@pytest.fixture(scope="module")
def heat():
    """A process, truths, observations and exact samples of them."""
    draw = torch.Generator().manual_seed(3)
    process = Heat(size=16, steps=2)
    truth, final = process.simulate(120, process.times[[0, -1]], generator=draw).unbind(1)
    return process, truth, final, process.exact().sample(final, 6, generator=draw)


def found(heat, samples):
    process, truth, final, _ = heat
    checks = check_samples(samples, truth, final, process, generator=torch.Generator().manual_seed(0))
    return {c.name: c for c in checks}


def test_exact_samples_pass(heat):
    checks = found(heat, heat[3])
    assert list(checks) == NAMES
    for name, c in checks.items():
        assert c.warning is None, name
        # nine checks of one set of samples: five standard errors, and a little for ratios of few fields
        assert abs(c.value - c.expected) < 5 * c.error + 0.01, name
    assert checks["misfit_median"].expected == pytest.approx(1.0, abs=0.05)
    assert "64" not in checks["misfit_median"].about
    assert "chi^2 / 256" in checks["misfit_median"].about


WRONG = {
    "speckled": (lambda x, draw: x + 0.2 * torch.randn(x.shape, generator=draw), "speckled"),
    "smoothed": (lambda x, draw: (x + x.roll(1, -1) + x.roll(1, -2) + x.roll((1, 1), (-2, -1))) / 4, "too smooth"),
    "shifted": (lambda x, draw: x + 3.0, "do not lead to what was observed"),
    "blown up": (lambda x, draw: 3 * x, "outside all data"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_samples_are_told(heat, name):
    change, words = WRONG[name]
    said = warnings(list(found(heat, change(heat[3], torch.Generator().manual_seed(1))).values()))
    assert any(words in sentence for sentence in said), said
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in said)


def slow_fields(generator, count, side, r):
    """Fields of unit variance that are smooth in space, each alike to the one before."""
    waves = torch.fft.fftfreq(side) * side
    power = (1 + waves[:, None].square() + waves.square()) ** -1.5
    x = torch.fft.ifft2(torch.fft.fft2(torch.randn(count, side, side, generator=generator)) * power.sqrt()).real
    for i in range(1, count):
        x[i] = r * x[i - 1] + (1 - r * r) ** 0.5 * x[i]
    return x[:, None]


@pytest.mark.parametrize(("side", "repeats"), [(16, 12), (128, 1)])
def test_exact_samples_of_a_slow_recording_are_in_range(side, repeats, generator):
    """x_T = x_0 + noise of the same spectrum, so that x_0 ~ N(x_T / 2, S / 2): neighbours in time are alike.

    Of 60 known states worth some 5 a third of exact samples may lie outside; counted as 60 they raised an alarm in
    every fourth recording.  One number of 16,384 more or less does not matter.
    """
    layout = FieldLayout(["u"], ["y", "x"], [list(map(float, range(side)))] * 2, "PERIODIC")
    process = Recorded.of(layout, np.array([0.0, 1.0]))
    for _ in range(repeats):
        truth, known = (slow_fields(generator, n, side, 0.95) for n in (20, 40))
        final = truth + slow_fields(generator, 20, side, 0.0)
        spread = slow_fields(generator, 80, side, 0.0).reshape(20, 4, 1, side, side)
        samples = final[:, None] / 2 + spread / 2**0.5
        checks = check_samples(samples, truth, final, process, known=known, generator=generator)
        assert next(c for c in checks if c.name == "outside").warning is None
    if side == 16:
        wide = check_samples(3 * samples, truth, final, process, known=known, generator=generator)
        assert any("of their numbers, by up to" in line for line in warnings(wide))


def test_values_are_those_of_the_metrics(heat):
    """Twice the field has twice its total variation and four times its power, and the same zigzags."""
    checks, exact = found(heat, 2 * heat[3]), found(heat, heat[3])
    assert checks["total_variation"].value == pytest.approx(2 * exact["total_variation"].value, rel=1e-5)
    assert checks["power_high"].value == pytest.approx(4 * exact["power_high"].value, rel=1e-4)
    assert checks["zigzags"].value == pytest.approx(exact["zigzags"].value, abs=0.01)
    assert checks["outside"].value > 0.5 > exact["outside"].value


def test_vectors_have_misfit_and_range_only_and_few_observations_nothing(generator):
    process = OrnsteinUhlenbeck()
    truth, final = process.simulate(60, process.times[[0, -1]], generator=generator).unbind(1)
    samples = process.exact().sample(final, 4, generator=generator)
    names = [c.name for c in check_samples(samples, truth, final, process, generator=generator)]
    assert names == ["misfit_median", "misfit_90", "outside"]
    few = FEWEST - 1
    assert check_samples(samples[:few], truth[:few], final[:few], process, generator=generator) == []


def test_the_error_of_a_check_is_that_of_its_mean(heat):
    """By bootstrap over the observations, against the standard error of a mean of ratios to a fixed total."""
    truth, samples = heat[1], heat[3]
    error = found(heat, samples)["total_variation"].error
    real = total_variation(truth)[:, 0].double()
    ours = total_variation(samples.flatten(0, 1)).reshape(len(truth), -1).mean(1).double()
    by_hand = float((ours / real.mean() - real * ours.mean() / real.mean() ** 2).std()) / len(truth) ** 0.5
    assert error == pytest.approx(by_hand, rel=0.35)  # 100 bootstrap samples: 7 %, five times that


def reconstruction(heat, samples):
    process, truth, final, _ = heat
    info = {"method": "physinv", "answer": "samples", "observe": None, "seed": 0, "simulator": "heat", "steps": 2}
    return Reconstruction(process, truth, final, samples, info)


def test_checks_of_a_reconstruction_are_written_and_printed(heat, capsys):
    exact = heat[3]
    assert warnings(check(reconstruction(heat, exact))) == []
    recon = reconstruction(heat, 3 * exact)
    checks = check(recon)
    assert check(recon, seed=1) != checks, "the seed is used"
    text = to_json(evaluate(recon), recon, [*checks, Check("x", float("inf"), 1.0, 0.1, "runs away")])
    written = json.loads(text)
    assert [c["name"] for c in written["checks"]] == [*NAMES, "x"]
    assert written["checks"][-1]["value"] is None
    assert written["checks"][2]["value"] == checks[2].value
    assert written["warnings"] == warnings(checks)
    console.checks(checks)
    out = capsys.readouterr().out
    assert all(sentence in out for sentence in warnings(checks))
    assert "expected" in out


def test_one_block_of_a_recording_is_not_all_data(generator):
    """Overlapping windows of one block of time hardly vary: only samples beyond all data are strangers.

    Truths are 3 within a hundredth, samples 3 with a deviation of 1, as they would be without any observation.
    """
    process = Recorded.of(VectorLayout("x", 1), np.array([0.0, 1.0]))
    truth = 3 + 0.01 * torch.randn((60, 1), generator=generator)
    samples, training = 3 + torch.randn((60, 8, 1), generator=generator), 3 * torch.randn((500, 1), generator=generator)
    info = {"method": "increments", "answer": "samples", "observe": None, "seed": 0, "simulator": "recorded"}
    alone = Reconstruction(process, truth, truth, samples, info)
    assert any("outside all data" in line for line in warnings(check(alone)))
    whole = dataclasses.replace(alone, climatology=training)
    assert warnings(check(whole)) == []
    assert "of 560 known initial states" in check(whole)[0].about
    far = dataclasses.replace(whole, samples=40 * samples)
    assert any("outside all data" in line for line in warnings(check(far)))


def bounded(name, n, generator):
    """States of a prior with bounds: several decades, counts, and an angle."""
    normal, uniform = torch.randn((n, 1), generator=generator), torch.rand((n, 1), generator=generator)
    return {"decades": (2.5 * normal).exp(), "counts": (9 * uniform.square()).floor(), "angle": 6.28 * (uniform - 0.5)}[
        name
    ]


@pytest.mark.parametrize(
    ("name", "spread", "side"), [("decades", 0.3, "below 0"), ("counts", 0.8, "below 0"), ("angle", 0.8, "above 3.1")]
)
def test_samples_beyond_the_bounds_of_a_quantity_are_told_with_the_bound(name, spread, side, generator):
    """A Gaussian about each truth passes the bounds now and then, draws of the prior never do.

    The upper end of decades holds all of the range: a hundredth of it is more than most of the numbers.
    """
    process = Recorded.of(VectorLayout("x", 1), np.array([0.0, 1.0]))
    for _ in range(20):
        truth, known = bounded(name, 200, generator), bounded(name, 500, generator)
        draws = bounded(name, 200 * 16, generator).reshape(200, 16, 1)
        assert warnings(check_samples(draws, truth, truth, process, known=known)) == []
    beyond = truth[:, None] + spread * torch.randn((200, 16, 1), generator=generator)
    if name == "angle":
        beyond = beyond.clamp(min=-3.1)  # so that one end is passed
    (said,) = warnings(check_samples(beyond, truth, truth, process, known=known, names=["theta"]))
    assert f"samples have theta {side}" in said
    assert "no number of the data is" in said


def test_single_estimates_are_no_samples(heat):
    assert check(reconstruction(heat, heat[3][:, :1])) == []
