"""The token network: shifts, walls, reach, sides of any length, an output of zero at the start."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.models.networks import TokenNet, build_network
from physinv.processes.layout import FieldLayout, VectorLayout


def awake(net, generator):
    """The network in float64 with a last layer that is not zero any more, and a time that matters."""
    net = net.double()
    for name, p in net.named_parameters():
        if name.startswith("last") or ".time." in name:
            torch.nn.init.normal_(p, generator=generator)
    return net


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_it_commutes_with_shifts_by_tokens_along_periodic_axes_only(dimension, generator):
    x = torch.randn(2, 2, *[12] * dimension, generator=generator, dtype=torch.float64)
    t, axes = torch.tensor([0.1, 0.9], dtype=torch.float64), list(range(2, 2 + dimension))
    for periodic in (True, False):
        net = TokenNet(2, 3, periodic=[periodic] * dimension, width=8, depth=3).double()
        assert torch.equal(net(x, t), x.new_zeros(2, 3, *[12] * dimension))  # an untrained network changes nothing
        out = awake(net, generator)(x, t)
        shifted, moved = net(x.roll([4] * dimension, axes), t), out.roll([4] * dimension, axes)
        # the same sums in another order, of numbers of order 10
        assert torch.allclose(shifted, moved, atol=1e-10) == periodic
        assert not torch.allclose(net(x, t.flip(0)), out, atol=1e-3)
        assert net.stride == (4 if periodic else 1)


def test_nothing_is_heard_across_a_wall(generator):
    """With blocks at distances 1, 2 and 4 a token hears from 7 tokens to each side, and around the box if it may."""
    x = torch.randn(1, 1, 64, 3, generator=generator, dtype=torch.float64)
    x[:, :, :4] += 1.0
    y = x.clone()
    y[:, :, :4] = -x[:, :, :4]  # the first of 16 tokens along the first axis
    t = torch.zeros(1, dtype=torch.float64)
    for wraps in (True, False):
        net = awake(TokenNet(1, 1, periodic=[wraps, False], width=8, depth=3), generator)
        gap = (net(x, t) - net(y, t)).abs().amax(dim=(0, 1, 3))
        heard = {i // 4 for i in gap.gt(1e-12).nonzero().flatten().tolist()}
        reached = {i % 16 for i in range(-7, 8)} if wraps else set(range(8))
        assert heard == reached


def test_distances_beyond_a_wall_reach_nothing(generator):
    """A grid of two tokens is smaller than the distances 2 and 4."""
    net = awake(TokenNet(1, 1, periodic=[False], width=8, depth=3), generator)
    x = torch.randn(3, 1, 8, generator=generator, dtype=torch.float64)
    assert bool(net(x, torch.zeros(3, dtype=torch.float64)).isfinite().all())


@pytest.mark.parametrize("wraps", [True, False])
def test_sides_that_are_no_multiple_are_continued(wraps, generator):
    """A side of 6 is seen as 8 points: the first two again, or zeros."""
    net = awake(TokenNet(1, 2, periodic=[wraps], width=8, depth=2), generator)
    x, t = torch.randn(2, 1, 6, generator=generator, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    rest = x[..., :2] if wraps else torch.zeros_like(x[..., :2])
    assert torch.allclose(net(x, t), net(torch.cat([x, rest], dim=-1), t)[..., :6], atol=1e-12)
    assert net(x[..., :1], t).shape == (2, 2, 1)


def test_all_weights_get_gradients_and_they_are_right(generator):
    net = awake(TokenNet(1, 1, periodic=[True, False], patch=2, width=4, depth=2), generator)
    x = torch.randn(2, 1, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    net(x, t).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())
    assert torch.autograd.gradcheck(lambda v: net(v, t), x)


def test_a_layout_makes_it_by_name():
    layout = FieldLayout("u", ("x", "y"), [range(8), range(6)], "WALL")
    net = build_network(layout, 2, 1, Settings(network="tokens", width=8, depth=1), seed=0, dropout=0.1)
    assert isinstance(net, TokenNet)
    assert net.periodic == (False, False)
    assert net.blocks[0].dropout.rate == 0.1
    with pytest.raises(ValueError, match="`tokens` is for fields"):
        build_network(VectorLayout("x", 2), 2, 1, Settings(network="tokens"), seed=0)
    with pytest.raises(ValueError, match=r"`depth` of a token network must be 1 or more, got 0"):
        TokenNet(1, 1, periodic=[True], depth=0)
