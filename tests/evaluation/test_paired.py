"""Two reconstructions of the same observations: differences with their errors, and what they say."""

import math

import pytest
import torch

from physinv.evaluation.metrics import coverage, crps, energy_score, relative_l2
from physinv.evaluation.paired import compare_pairs
from physinv.posterior.reconstruction import Reconstruction
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

N, K = 60, 16


def recon(truth, samples):
    return Reconstruction(OrnsteinUhlenbeck(dim=2), truth, truth, samples, {})


@pytest.fixture
def posterior(generator):
    """Truths and samples of one law, whose centre the observation tells."""
    centre = torch.randn(N, 2, generator=generator)
    truth = centre + torch.randn(N, 2, generator=generator)
    return truth, centre[:, None] + torch.randn(N, K, 2, generator=generator)


def test_the_figures_are_those_of_the_metrics(posterior):
    truth, samples = posterior
    found = {pair.metric: pair for pair in compare_pairs(recon(truth, samples), recon(truth, samples + 3))}
    for name, metric in (("crps", crps), ("energy_score", energy_score), ("coverage_90", coverage)):
        assert found[name].a == pytest.approx(float(metric(samples, truth)), rel=1e-5)
        assert found[name].b == pytest.approx(float(metric(samples + 3, truth)), rel=1e-5)
    assert found["relative_l2_mean"].a == pytest.approx(float(relative_l2(samples.mean(1), truth)), rel=1e-5)


def test_the_error_is_that_of_the_paired_differences(posterior):
    truth, samples = posterior
    found = {p.metric: p for p in compare_pairs(recon(truth, samples), recon(truth, samples + 0.5))}["energy_score"]
    gaps = [
        float(energy_score(s[None] + 0.5, x[None]) - energy_score(s[None], x[None]))
        for s, x in zip(samples, truth, strict=True)
    ]
    mean = sum(gaps) / N
    assert found.difference == pytest.approx(mean, abs=1e-5)
    assert found.error == pytest.approx(math.sqrt(sum((g - mean) ** 2 for g in gaps) / (N - 1) / N), rel=1e-3)


def test_what_is_worse_is_said_and_what_is_chance_is_not(posterior, generator):
    truth, samples = posterior
    verdicts = lambda a, b: {p.metric: p.verdict for p in compare_pairs(recon(truth, a), recon(truth, b))}  # noqa: E731
    assert set(verdicts(samples, samples + 3).values()) == {"A is better"}
    assert set(verdicts(samples + 3, samples).values()) == {"B is better"}
    assert set(verdicts(samples, samples).values()) == {"equal"}
    narrow = samples.mean(1, keepdim=True) + 0.1 * (samples - samples.mean(1, keepdim=True))
    assert verdicts(samples, narrow)["coverage_90"] == "A is better"
    again = samples + 0.01 * torch.randn(samples.shape, generator=generator)
    assert verdicts(samples, again)["crps"] == "no difference beyond chance"


def test_single_estimates_have_one_metric_and_other_observations_are_refused(posterior):
    truth, samples = posterior
    assert [p.metric for p in compare_pairs(recon(truth, samples), recon(truth, samples[:, :1]))] == [
        "relative_l2_mean"
    ]
    with pytest.raises(ValueError, match="of the same observations"):
        compare_pairs(recon(truth, samples), recon(truth.flip(0), samples))
    with pytest.raises(ValueError, match="2 or more observations, got 1"):
        compare_pairs(recon(truth[:1], samples[:1]), recon(truth, samples))
