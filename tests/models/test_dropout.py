"""Dropout of whole channels, and networks with and without it."""

import math

import pytest
import torch

from physinv.models.networks import MLP, ParticleNet, UNet
from physinv.models.networks.layers import Dropout, dropping


def test_dropout_switches_off_whole_channels_and_keeps_the_mean(generator):
    layer, x = Dropout(0.25), torch.ones(400, 50, 3, 2)
    assert layer(x) is x
    with dropping(layer, generator):
        y = layer(x)
    assert torch.equal(layer(x), x)
    assert torch.equal(y, y[..., :1, :1].expand_as(y))
    assert torch.allclose(y.unique(), torch.tensor([0.0, 4 / 3]))
    # 20000 coins: five standard errors of a share of .25
    assert float((y[..., 0, 0] == 0).double().mean()) == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 20000) ** 0.5)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda p: MLP(4, 2, dropout=p), (5, 4)),
        (lambda p: UNet(2, 1, dimension=2, width=8, levels=1, dropout=p), (5, 2, 8, 8)),
        (lambda p: ParticleNet(2, 2, 1, dropout=p), (5, 3, 7)),
    ],
)
def test_networks_drop_only_when_asked_to(build, shape, generator):
    plain, dropped = build(0.0), build(0.5)
    assert not any("dropout" in name for name in plain.state_dict())
    dropped.load_state_dict(dict(zip(dropped.state_dict(), plain.state_dict().values(), strict=True)))
    for network in (plain, dropped):
        for layer in network.modules():  # the last layers start at 0: nothing would be seen
            for p in layer.parameters(recurse=False):
                torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(p.numel()))
    x, t = torch.randn(shape, generator=generator), torch.rand(shape[0], generator=generator)
    assert torch.equal(plain(x, t), dropped(x, t))
    with dropping(dropped, generator):
        assert not torch.allclose(dropped(x, t), dropped(x, t))
    with dropping(plain, generator):
        assert torch.equal(plain(x, t), plain(x, t))


def test_particle_networks_turn_all_their_vectors_and_keep_their_numbers(generator):
    network = ParticleNet(2, 3, 1, outputs=2, numbers=2)
    for p in network.requires_grad_(False).parameters():
        torch.nn.init.normal_(p, std=0.3, generator=generator)
    q, v, s = (torch.randn(4, 5, n, generator=generator) for n in (2, 6, 1))
    c, w = math.cos(0.7), math.sin(0.7)
    R = torch.tensor([[c, -w], [w, c]])

    def turn(x):
        return (x.unflatten(-1, (-1, 2)) @ R.T).flatten(-2)

    t = torch.full((4,), 0.5)
    out, turned = (network(torch.cat([f(q), f(v), s], dim=-1), t) for f in (lambda x: x, turn))
    assert out.shape == (4, 5, 6)
    assert float(out[..., 4:].std()) > 0.1
    scale = float(out.abs().max())  # float32, some ten layers
    assert torch.allclose(turned[..., :4], turn(out[..., :4]), atol=1e-4 * scale)
    assert torch.allclose(turned[..., 4:], out[..., 4:], atol=1e-4 * scale)
