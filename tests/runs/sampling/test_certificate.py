"""Densities that are stored with samples: of the truth and around the evidence, where both are known exactly."""

import dataclasses
import json
import math
from typing import NamedTuple

import pytest
import torch

from physinv.cli import main
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.verdict.certificate import certificate_rows, certificate_sentences
from physinv.methods.own.score import OwnDensity
from physinv.posterior.posterior import Posterior
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import Run, fit_run
from physinv.runs.sampling.certificate import certify, reversal_behind, truth_density
from physinv.runs.sampling.plan import SamplingPlan
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0, steps=80)
N = 160


class Scored(NamedTuple):
    """An answer of the exact score times a factor."""

    answer: OwnDensity
    data: TrajectoryDataset


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    generate(DatasetPlan(OU, {"train": 50, "valid": 20, "test": N}, 0, "ornstein-uhlenbeck"), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s) for s in ("train", "valid", "test")}


class Scaled(OwnDensity):
    """The answer of a score, with the exact density in the place of that of a trained model."""

    def log_prob(self, initial, final):
        return OU.exact().log_prob(initial, final)


def variance(t):
    """Of each component of ``x_t``, with ``x_0`` from N(0, 1)."""
    gone = torch.exp(-2 * OU.rate * t)
    return gone + OU.noise**2 * (1 - gone) / (2 * OU.rate)


def scaled(factor):
    return Scaled(Posterior(OU, lambda x, t: -factor * x / variance(t)[:, None], OU.times))


def test_the_bracket_of_a_wrong_score_is_as_wide_as_girsanov_says(data):
    """Each divergence is (1 - c)^2 / 2 int g^2 E|s|^2 dt, over true paths and over drawn ones."""
    final, widths = data["test"].states(-1), {}
    for factor in (1.0, 0.7):
        generator = torch.Generator().manual_seed(0)
        found = certify(scaled(factor), OU, data["test"], final, whole=True, generator=generator)
        widths[factor] = found["width"], found["width_error"]
        assert found["upper"] - found["lower"] == pytest.approx(found["width"], abs=1e-6)
        assert found["width_per_number"] == pytest.approx(found["width"] / 2)
        assert found["truths"] == N
        assert found["told"] == []
        truth = OU.exact().log_prob(data["test"].states(0).double(), final.double()) / 2
        assert found["log_prob"] == pytest.approx(float(truth.mean()), abs=1e-5)
        assert found["log_prob_error"] == pytest.approx(float(truth.std()) / N**0.5, rel=1e-4)

    # of true paths E|s_t|^2 = 2 / v_t; of drawn ones 2 m / v_t^2 with the second moment m of a linear equation
    t = torch.linspace(0, OU.horizon, 2001, dtype=torch.float64)
    v, dt = variance(t), float(t[1])
    m = v.clone()
    for i in range(len(t) - 1, 0, -1):
        m[i - 1] = m[i] + dt * (2 * (OU.rate - 0.7 * OU.noise**2 / v[i]) * m[i] + OU.noise**2)
    expected = 0.3**2 / 2 * float(torch.trapezoid(OU.noise**2 * 2 * (1 / v + m / v**2), t))
    width, error = widths[0.7]
    assert width == pytest.approx(expected, abs=3 * error)
    assert expected > 4 * error
    assert abs(widths[1.0][0]) < 3 * widths[1.0][1] + 0.1 * expected


def test_samples_and_densities_stand_in_one_file_and_are_shown(data, tmp_path, capsys):
    run = fit_run(data["train"], data["valid"], method="exact")
    assert isinstance(run, Run)
    out = tmp_path / "exact.hdf5"
    reconstruct(run, data["test"], out, SamplingPlan(samples=4, certify=16))
    found = read_reconstruction(out)
    rows = {row.name: row for row in certificate_rows(found)}
    # the exact method is beside itself
    assert rows["log_prob"].value == pytest.approx(rows["log_prob"].exact, abs=1e-5)
    assert found.info["certificate"]["truths"] == 16
    main(["evaluate", str(out), "--json", str(tmp_path / "table.json")])
    shown, told = capsys.readouterr().out, json.loads((tmp_path / "table.json").read_text())
    assert "No bracket of log p(x_T): this method has no reversal in steps." in " ".join(shown.split())
    assert told["certificate"]["sentences"] == certificate_sentences(found.info)
    assert "log_prob" in [row["metric"] for row in told["metrics"]]


def test_the_sentence_has_the_figures():
    figures = {"lower": -2.5, "upper": -2.25, "width": 0.25, "width_error": 0.01, "width_per_number": 0.125}
    (said,) = certificate_sentences({"certificate": {"told": [], "truths": 8, **figures}})
    assert "between -2.5 and -2.25 nats" in said
    assert "0.25 +- 0.01 nats (0.12 per number)" in said
    assert certificate_sentences({}) == []


def test_what_has_no_density_is_told_and_no_error(data, tmp_path):
    run = fit_run(data["train"], data["valid"], method="physics")
    for plan, words in (
        (SamplingPlan(samples=2, limit=3, certify=3), ("No log density of the truth", "No bracket")),
        (SamplingPlan(samples=2, limit=3), ()),  # nobody asked
        (SamplingPlan(samples=2, limit=3, certify=0), ()),
    ):
        reconstruct(run, data["test"], tmp_path / "x.hdf5", plan, overwrite=True)
        told = certificate_sentences(read_reconstruction(tmp_path / "x.hdf5").info)
        assert len(told) == len(words)
        assert all(line.startswith(word) for line, word in zip(told, words, strict=True))
    with pytest.raises(ValueError, match="has no density"):
        truth_density(run.answer, data["test"].states(0), data["test"].states(-1))
    with pytest.raises(ValueError, match="no reversal"):
        reversal_behind(run.answer)
    with pytest.raises(ValueError, match="`certify` must be 0 or more"):
        SamplingPlan(certify=-1)


def test_densities_that_are_not_finite_are_left_out(data):
    class Nowhere(Scaled):
        def log_prob(self, initial, final):
            return torch.full((len(initial),), -math.inf)

    answer = Nowhere(scaled(1.0).posterior)
    found = certify(answer, dataclasses.replace(OU), data["test"], data["test"].states(-1, limit=2), whole=True)
    assert found["log_prob"] is None
    assert found["width"] is not None
