"""Refinement is tried on trajectories of known initial states, and left out where it makes samples worse."""

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


def test_what_makes_samples_too_narrow_is_left_out(model, monkeypatch):
    """Samples of half of the width stand for noise that is not what its linearisation says."""

    def refined(model, samples, final, count, *, generator):
        mean = samples.mean(1, keepdim=True)
        return mean + (samples - mean) / 2

    monkeypatch.setattr(refining, "refine", refined)
    chosen = prepare_refinement(model, exact, 20, STREAM)
    assert chosen.gradients == 0
    (told,) = chosen.warnings
    assert told.startswith("refinement is left out: on 48 new trajectories it makes samples worse, by ")


def test_what_mends_samples_is_taken(model):
    def wide(final, n, generator):
        return 2 * exact(final, n, generator)

    chosen = prepare_refinement(model, wide, 20, STREAM)
    assert (chosen.gradients, chosen.warnings) == (20, ())


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


def test_linear_noise_is_integrated_out_exactly():
    """From draws of the prior to the closed form of Euler's steps: mean ``k x_T``, variance ``1 - k a``."""
    process, generator = Damped(steps=4), torch.Generator().manual_seed(1)
    model = fit_path_model(process, generator=generator)
    assert model.numbers(whole=False) == 4
    a, v = 0.75**4, 0.25 * sum(0.75 ** (2 * i) for i in range(4))
    gain = a / (a**2 + v)
    final = process.simulate(1000, generator=generator)[:, -1]
    moved = refine(
        model, process.initial(4000, generator=generator).reshape(1000, 4, 1), final, 60, generator=generator
    )
    gap = (moved - gain * final[:, None]).flatten()
    assert float(gap.mean()) == pytest.approx(0, abs=0.05)
    assert float(gap.var()) == pytest.approx(1 - gain * a, rel=0.08)


def test_large_states_take_no_trial():
    field = Burgers(size=64, steps=2)
    model = fit_path_model(field, generator=torch.Generator().manual_seed(0))

    def never(*given):
        raise AssertionError("nothing is to be drawn")

    assert prepare_refinement(model, never, 20, STREAM).gradients == 20
