"""Muon: orthogonal steps for matrices, AdamW's for the rest, and the same after saving and loading."""

import math

import pytest
import torch

from physinv.config.settings import Settings
from physinv.models.networks import MLP, TokenNet
from physinv.models.networks.layers import HiddenLinear
from physinv.training.muon import Muon, hidden_matrices, orthogonalised
from physinv.training.updates import Updates


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_singular_values_end_near_one_and_directions_stay(shape, generator):
    G = torch.randn(2, *shape, generator=generator, dtype=torch.float64) * 1e-3
    found = orthogonalised(G)
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    inside = U.mT @ found @ Vh.mT  # a matrix of the same singular vectors is diagonal there
    values = inside.diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(inside, torch.diag_embed(values), atol=1e-9)
    assert float(S.amax() / S.amin()) > 2
    assert float(values.min()) > 0.65
    assert float(values.max()) < 1.25
    assert torch.equal(orthogonalised(torch.zeros(1, 2, 2)), torch.zeros(1, 2, 2))


def test_two_steps_by_hand():
    """Gradients along one direction: O is that direction times a number near 1, and the rate counts (m/n)^(1/2)."""
    matrix = torch.nn.Parameter(torch.zeros(8, 2))
    bias = torch.nn.Parameter(torch.ones(3))
    optimiser = Muon([bias], [matrix], rate=0.1, matrix_rate=0.02, weight_decay=0.5, momentum=0.9)
    G = torch.zeros(8, 2)
    G[0, 0], G[1, 1] = 3.0, -3.0
    for _ in range(2):
        matrix.grad, bias.grad = G.clone(), torch.ones(3)
        optimiser.step()
        assert matrix.grad is None
    unit = orthogonalised(G[None])[0] * 0.02 * math.sqrt(8 / 2)
    assert torch.allclose(matrix.detach(), -unit * (1 - 0.02 * 0.5) - unit, rtol=1e-5)
    # AdamW with equal gradients moves by the rate, after a decay of rate * .5
    assert torch.allclose(bias.detach(), torch.full((3,), (0.95 - 0.1) * 0.95 - 0.1), rtol=1e-5)


def test_momentum_looks_ahead():
    """After G and then 0: M = mu G and the step is along mu M, so the same direction again."""
    matrix = torch.nn.Parameter(torch.zeros(2, 2))
    optimiser = Muon([], [matrix], rate=0.1, matrix_rate=1.0, weight_decay=0.0)
    G = torch.tensor([[2.0, 0.0], [0.0, -1.0]])
    for gradient in (G, torch.zeros(2, 2)):
        matrix.grad = gradient
        optimiser.step()
    assert torch.allclose(matrix.detach(), -2 * orthogonalised(G[None])[0], atol=1e-5)


def token_net():
    return TokenNet(1, 1, periodic=[True], width=8, depth=2)


def test_matrices_of_hidden_layers_get_it_where_there_are_any():
    net = token_net()
    assert len(hidden_matrices(net)) == 4
    assert all(isinstance(m, HiddenLinear) for b in net.blocks for m in (b.gather, b.back))
    updates = Updates(net, Settings(), 4e-3)
    assert isinstance(updates.optimiser, Muon)
    adamw, muon = updates.optimiser.param_groups
    assert [id(p) for p in muon["params"]] == [id(p) for p in hidden_matrices(net)]
    assert len(adamw["params"]) + 4 == len(list(net.parameters()))
    assert (adamw["lr"], muon["lr"]) == (4e-3, pytest.approx(0.02))
    assert not isinstance(Updates(net, Settings(optimiser="adamw"), 4e-3).optimiser, Muon)
    assert not isinstance(Updates(MLP(2, 2), Settings(), 1e-3).optimiser, Muon)
    with pytest.raises(ValueError, match="`optimiser` = muon needs a network with hidden matrices"):
        Updates(MLP(2, 2), Settings(optimiser="muon"), 1e-3)


def test_both_rates_follow_the_schedule(generator):
    net = token_net()
    updates = Updates(net, Settings(), 4e-3)
    loss = net(torch.randn(2, 1, 8, generator=generator), torch.zeros(2)).sum()
    updates.step(loss, progress=0.51, count=1)
    assert [g["lr"] for g in updates.optimiser.param_groups] == [pytest.approx(2e-3), pytest.approx(0.01)]
    assert updates.rate == pytest.approx(2e-3)


def test_training_goes_on_exactly_from_a_checkpoint(tmp_path, generator):
    """Three updates at once, and two and one with a file in between, give the same weights to the last bit."""
    from physinv.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

    x = torch.randn(4, 1, 8, generator=generator)
    t, weights = torch.linspace(0, 1, 4), token_net().state_dict()

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = token_net()
            self.network.load_state_dict(weights)

    def updated(model, updates, first, last):
        for count in range(first, last):
            loss = (model.network(x, t) - x).square().mean()
            updates.step(loss, progress=count / 10, count=count)

    def begun():
        model = Model()
        updates = Updates(model, Settings(), 4e-3)
        return model, updates, Checkpoint(model, updates.average, {}, updates.optimiser)

    through, updates, _ = begun()
    updated(through, updates, 1, 4)
    first, updates, state = begun()
    updated(first, updates, 1, 3)
    save_checkpoint(tmp_path, state)
    second, updates, state = begun()
    assert load_checkpoint(tmp_path, state)
    updated(second, updates, 3, 4)
    for a, b in zip(through.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
