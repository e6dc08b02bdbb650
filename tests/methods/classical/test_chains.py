"""How chains of paths move."""

from dataclasses import replace

import pytest
import torch

from physinv.methods.classical.monte_carlo import mcmc
from physinv.methods.classical.monte_carlo.path import fit_path_model
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.mark.filterwarnings("ignore:mcmc has not converged")
def test_an_iteration_turns_by_a_quarter_however_short_its_steps(monkeypatch):
    """Draws an angle a apart are alike by cos(a): with at most ten steps of .05 by .88 from one to the next."""
    walk, turned = mcmc.walk, []

    def short(*args, **options):
        turned.append(0.05 * options.get("leaps", 0))
        found = walk(*args, **options)
        return replace(found, lengths=torch.full_like(found.lengths, 0.05))

    monkeypatch.setattr(mcmc, "walk", short)
    model = fit_path_model(OrnsteinUhlenbeck(dim=1, horizon=1.0, steps=1), generator=torch.Generator().manual_seed(0))
    posterior = mcmc.PathPosterior(model, None, chains=2, iterations=8, warm_up=1, most=1, seed=0)
    posterior.explore(torch.ones(1, 1), generator=torch.Generator().manual_seed(1))
    assert turned[-1] == pytest.approx(1.4)
