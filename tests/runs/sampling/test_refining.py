"""What becomes of the noise on the way, when samples are refined: chosen on trajectories of known initial states."""

from dataclasses import dataclass

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.refine import refine
from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator
from physinv.runs.sampling import refining
from physinv.runs.sampling.refining import prepare_refinement
from simulators.fields.burgers import Burgers
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

STREAM = seeds(0).child("reconstruction", "refinement")
PROCESS = OrnsteinUhlenbeck(dim=2)


def exact(final, n, generator):
    return PROCESS.exact().sample(final, n, generator=generator)


@pytest.fixture(scope="module")
def model():
    return fit_path_model(PROCESS, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("narrow", "wanted"), [(1.0, 0.0), (0.0, 1.0)])
def test_what_makes_samples_too_narrow_is_not_taken(model, monkeypatch, narrow, wanted):
    """Samples of a third of the width stand for noise that is not what its linearisation says."""

    def refined(model, samples, final, count, *, late, generator):
        mean = samples.mean(1, keepdim=True)
        return mean + (samples - mean) / 3 if late == narrow else samples

    monkeypatch.setattr(refining, "refine", refined)
    chosen = prepare_refinement(model, exact, 20, STREAM)
    assert (chosen.late, chosen.warnings) == (wanted, ())


def test_samples_that_refinement_makes_worse_are_told(model, monkeypatch):
    monkeypatch.setattr(refining, "refine", lambda model, samples, *given, **named: 3 * samples)
    (told,) = prepare_refinement(model, exact, 20, STREAM).warnings
    assert told.startswith("refined samples are worse than the others, by ")
    assert "leave `--refine` out" in told


@dataclass(frozen=True)
class Damped(Simulator):
    """``dx = -x dt + dW`` from ``N(0, 1)``, which is not known to be linear: paths have the noise of every step."""

    layout = VectorLayout("x", 1)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn(batch, 1, generator=generator, device=device, dtype=dtype)

    def drift(self, x, t):
        return -x

    def diffusion(self, t):
        return torch.ones_like(t)


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_linear_noise_may_be_integrated_out_or_moved(late):
    """From draws of the prior to the closed form of Euler's steps: mean ``k x_T``, variance ``1 - k a``."""
    process, generator = Damped(steps=4), torch.Generator().manual_seed(1)
    model = fit_path_model(process, generator=generator)
    assert model.numbers(whole=False) == 4
    a, v = 0.75**4, 0.25 * sum(0.75 ** (2 * i) for i in range(4))
    gain = a / (a**2 + v)
    final = process.simulate(1000, generator=generator)[:, -1]
    moved = refine(model, process.initial(4000, generator=generator).reshape(1000, 4, 1), final, 60, late=late)
    gap = (moved - gain * final[:, None]).flatten()
    assert float(gap.mean()) == pytest.approx(0, abs=0.05)
    assert float(gap.var()) == pytest.approx(1 - gain * a, rel=0.08)


def test_large_states_take_no_trial():
    field = Burgers(size=64, steps=2)
    model = fit_path_model(field, generator=torch.Generator().manual_seed(0))

    def never(*given):
        raise AssertionError("nothing is to be drawn")

    assert prepare_refinement(model, never, 20, STREAM).late == 1.0


def test_a_share_of_noise_lies_between_none_and_all(model):
    with pytest.raises(ValueError, match="`late` must lie between 0 and 1, got 2"):
        refine(model, torch.zeros(1, 2, 2), torch.zeros(1, 2), 20, late=2)
