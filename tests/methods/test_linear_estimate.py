"""The linear estimate: for linear-Gaussian processes it is the exact posterior."""

import dataclasses

import numpy as np
import pytest
import torch

import physinv.methods.classical.linear_estimate as module
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.process import process_of
from physinv.methods.classical.linear_estimate import LinearEstimate, cross_fit, fit_linear
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.processes.parameters import build
from physinv.processes.recorded import Recorded
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from tests.recorded_cases import recorded

N = 2000
YEARS = {"train": 6, "valid": 2, "test": 5}


def ends_of(data):
    """Initial and final states."""
    return data.states(0), data.states(-1)


def splits(simulator, name, folder, n=N):
    generate(DatasetPlan(simulator, {"train": n, "valid": 500, "test": 500}, 0, name), folder)
    return (TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test"))


@pytest.mark.parametrize(
    ("name", "simulator"),
    [
        ("heat", Heat(size=8, dimension=1, steps=2, noise=0.5)),
        ("ornstein-uhlenbeck", OrnsteinUhlenbeck(dim=3, components=1, spread=0.0, steps=2)),
    ],
)
def test_it_is_the_exact_posterior_of_a_linear_gaussian_process(name, simulator, tmp_path):
    train, valid, test = splits(simulator, name, tmp_path / "d")
    found, truth, final = fit_linear(simulator, train, valid), test.states(0), test.states(-1)
    mean = simulator.exact().mean(final)
    missed = float((mean - truth).square().mean())
    # ordinary least squares with d inputs: the excess of the squared error is d/N of what is missed; five times that
    d = truth[0].numel()
    assert float((found.mean(final) - mean).square().mean()) < 5 * d / N * missed
    assert float((final - truth).square().mean()) > 1.3 * missed  # the observation itself is no such estimate
    draws = found.sample(final, 50, generator=torch.Generator().manual_seed(0))
    spread = float((draws - draws.mean(1, keepdim=True)).square().mean()) * 50 / 49
    assert spread == pytest.approx(missed, rel=5 * (2 / 500) ** 0.5)  # 500 residuals, independent in time only
    assert torch.allclose(draws.mean(1), found.mean(final), atol=6 * (spread / 50) ** 0.5 * 1.5)


def test_what_is_static_is_copied_and_symmetries_are_kept(tmp_path):
    simulator = HeatConductivity(size=8, dimension=1, steps=2)
    train, valid, test = splits(simulator, "conductivity", tmp_path / "d", n=100)
    found, truth, final = fit_linear(simulator, train, valid), test.states(0), test.states(-1)
    draws = found.sample(final, 3, generator=torch.Generator().manual_seed(0))
    known = simulator.layout.names.index(simulator.layout.static[0])
    assert torch.equal(found.mean(final)[:, known], final[:, known])
    assert torch.equal(draws[:, :, known], final[:, None, known].expand(-1, 3, -1))
    # the density is over what moves: that of its Gaussian
    moving = simulator.layout.moving
    law = torch.distributions.Normal(moving(found.mean(final)), moving(found.deviation[None]))
    want = law.log_prob(moving(truth)).flatten(1).sum(1)
    assert torch.allclose(found.log_prob(truth, final), want, atol=1e-4)
    for image, mirrored in zip(simulator.images(final), simulator.images(found.mean(final)), strict=True):
        assert torch.allclose(found.mean(image), mirrored, atol=1e-4)


@pytest.mark.parametrize("n", [40, 3, 1])
def test_cross_fitted_estimates_miss_what_new_data_would(n, tmp_path):
    """Of 16 components from few trajectories: a regression misses too little on the data that it was fitted to."""
    simulator = OrnsteinUhlenbeck(dim=16, components=1, spread=0.0, steps=2)
    train, valid, test = splits(simulator, "ornstein-uhlenbeck", tmp_path / "d", n=n)
    found, honest = cross_fit(simulator, train, valid)
    x0, xT = train.states(0), train.states(-1)
    plain = fit_linear(simulator, train, valid)
    assert torch.equal(found.mean(xT), plain.mean(xT))
    if n == 1:
        assert torch.equal(honest, found.mean(xT))
        return
    inside, outside = (float((found.mean(t.states(-1)) - t.states(0)).square().mean()) for t in (train, test))
    crossed = float((honest - x0).square().mean())
    if n == 40:
        # 640 and 8000 squares: standard errors of sqrt(2/640) = 6 % and 2 %; fitted to 32 instead of 40 trajectories,
        # the excess 16/40 of what is missed becomes 16/32, 7 % of the whole
        assert crossed == pytest.approx(1.07 * outside, rel=0.2)
        assert inside < 0.85 * outside

    # the same regression, without the fold: ridge by the normal equations, whichever penalty it is
    def ridge(rows, penalty):
        a, b = ((x[rows] - x[rows].mean(0)).double() for x in (xT, x0))
        gram = a.T @ a
        weights = torch.linalg.solve(gram + penalty * torch.linalg.eigvalsh(gram)[-1] * torch.eye(16), a.T @ b)
        return (x0[rows].mean(0) + (xT - xT[rows].mean(0)).double() @ weights).float()

    every = torch.arange(n)
    penalty = min((10.0**-p for p in range(8)), key=lambda p: float((ridge(every >= 0, p) - plain.mean(xT)).norm()))
    assert torch.allclose(ridge(every >= 0, penalty), plain.mean(xT), atol=1e-4)
    for i in range(n):
        assert torch.allclose(honest[i], ridge(every % 5 != i % 5, penalty)[i], atol=1e-4)


@pytest.mark.parametrize(("n", "margin", "dense"), [(20, 0.03, False), (20, 0.08, True), (200, 0.03, True)])
def test_a_dense_map_of_few_trajectories_has_to_be_clearly_better(n, margin, dense, tmp_path, monkeypatch):
    """Its squared error is ``margin`` less than the filter's: not enough at 3 % and fewer trajectories than points."""
    simulator = Heat(size=64, dimension=1, steps=2, noise=0.5)
    train, valid, _ = splits(simulator, "heat", tmp_path / "d", n=n)
    offset = (1 - margin) ** 0.5

    def fixed(kind, error):
        """An estimate that misses every validation start by ``error``."""

        def candidates(layout, x0, xT, penalties):
            found = kind(layout, x0, xT, penalties)[:1] * len(penalties)
            answers = valid.states(0) + error
            return [_Told(**vars(f), answers=answers) for f in found]

        return candidates

    monkeypatch.setattr(module, "dense_maps", fixed(module.dense_maps, offset))
    monkeypatch.setattr(module, "wiener_filters", fixed(module.wiener_filters, 1.0))
    found = fit_linear(simulator, train, valid)
    assert (found.anchors is not None) == dense
    assert float(found.deviation.mean()) == pytest.approx(offset if dense else 1.0, rel=1e-4)


@dataclasses.dataclass(frozen=True)
class _Told(module.LinearEstimate):
    answers: torch.Tensor

    def mean(self, final):
        return self.answers


def test_what_is_rare_in_numbers_that_are_mostly_the_same_is_no_fault(tmp_path):
    """Rain in 3 % of the windows, of which the end tells nothing: the estimate is its mean, and not 0."""
    rng = np.random.default_rng(5)
    splits = {}
    for split, n in (("train", 4000), ("valid", 1000), ("test", 4000)):
        states = rng.normal(size=(n, 3, 2))
        states[:, 0, 0] += 2 * states[:, -1, 0]
        states[..., 1] = 20.0 * (rng.uniform(size=(n, 3)) < 0.03)
        splits[split] = states
    data = recorded(tmp_path, VectorLayout("weather", 2), [0.0, 1.0, 2.0], splits)
    found = fit_linear(process_of(data["train"]), data["train"], data["valid"])
    rain, true = found.mean(data["test"].states(-1))[:, 1], data["test"].states(0)[:, 1]
    doubt = (
        float(true.std()) * (2 / 4000) ** 0.5
    )  # of the difference: truths on one side, those of the fit on the other
    assert abs(float(rain.mean() - true.mean())) < 4 * doubt < 0.8 * float(true.mean())


def test_more_trajectories_than_suffice_take_no_memory():
    """The fit sees the first 4096: what comes after does not matter, what comes before does."""
    sim, generator = OrnsteinUhlenbeck(dim=2, steps=1), torch.Generator().manual_seed(0)
    states = sim.simulate(4200, generator=generator)
    other, early = states.clone(), states.clone()
    other[4100:] += 100
    early[4000:] += 100
    valid = TrajectoryDataset.from_arrays(states[:50], times=sim.times, names=("a", "b"))
    found = [
        fit_linear(sim, TrajectoryDataset.from_arrays(x, times=sim.times, names=("a", "b")), valid).mean(states[:5, -1])
        for x in (states, other, early)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=0.1)


def test_states_whose_means_overflow_are_refused_in_one_line():
    """No regression of them is finite, and none is the best one."""
    process = OrnsteinUhlenbeck(dim=3, steps=2)
    x = 3e37 * process.simulate(60, process.times, generator=torch.Generator().manual_seed(0))
    train, valid = (TrajectoryDataset.from_arrays(part, times=process.times) for part in (x[:40], x[40:]))
    with pytest.raises(ValueError, match=r"no regression of these states is finite in float32: .* in larger units\.$"):
        fit_linear(process, train, valid)


def sea(years, seed):
    """Months of a field of 20 points: a season with two harmonics, and anomalies, of which .6 persist half a year."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(12 * years) / 12
    season = [np.outer(3 * np.sin(a) + 2 * np.cos(2 * a), np.linspace(1, 2, 20)) for a in (angle, angle + np.pi)]
    last = rng.normal(size=(12 * years, 20))
    first = 0.6 * last + 0.8 * rng.normal(size=last.shape)
    still = np.repeat(np.stack([np.sin(angle), np.cos(angle)], 1)[:, :, None], 20, 2)
    ends = [
        np.concatenate([(part + anomaly)[:, None], still], 1)
        for part, anomaly in zip(season, (first, last), strict=True)
    ]
    return np.stack(ends, 1)


def test_recordings_with_a_season_are_estimated_around_it(tmp_path):
    layout = FieldLayout(
        ("T", "phase_sine", "phase_cosine"), "x", [range(20)], "OPEN", static=("phase_sine", "phase_cosine")
    )
    data = recorded(tmp_path, layout, [0.0, 1.0], {s: sea(n, i) for i, (s, n) in enumerate(YEARS.items())})
    simulator = build(Recorded, data["train"].config["parameters"])
    found, (truth, final) = fit_linear(simulator, data["train"], data["valid"]), ends_of(data["test"])
    error = float((found.mean(final) - truth)[:, 0].square().mean())
    # .64 is left of an anomaly; six coefficients of 72 months add 6/72, and damping and the choice of a penalty some
    assert 0.64 * (1 - 5 * (2 / truth[:, 0].numel()) ** 0.5) < error < 0.64 * (1 + 2 * 6 / 72)
    assert found.context is not None
    assert found.persists
    again = LinearEstimate.from_tensors(layout, found.tensors())
    assert torch.equal(again.mean(final), found.mean(final))
