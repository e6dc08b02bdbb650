"""The state-space network: its convolution is the recurrence, both ways in time, and it is for trajectories alone."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.models.networks import build_network
from physinv.models.networks.state_space import StateSpaceLayer, StateSpaceNet
from physinv.processes.layout import FieldLayout, VectorLayout

F64 = torch.float64


def recurred(layer, u, way):
    """y_l = 2 Re(C s_l), s_l = exp(d A) s_(l-1) + (exp(d A) - 1)/A u_l, frame by frame; the gain has C in it."""
    rate, gain = layer.systems()
    state, found = torch.zeros(len(u), *rate.shape[1:], dtype=torch.complex128), []
    for frame in u.unbind(1):
        state = rate[way].exp() * state + frame[..., None]
        found.append(2 * (gain[way] * state).real.sum(-1))
    return torch.stack(found, 1)


def test_the_convolution_is_the_recurrence_from_both_ends(generator):
    layer, u = StateSpaceLayer(3, states=4).double(), torch.randn(2, 37, 3, dtype=F64, generator=generator)
    early, late = recurred(layer, u, 0), recurred(layer, u.flip(1), 1).flip(1)
    want = early + u  # the skip is 1 at the start; the backward system sees later frames alone
    want[:, :-1] += late[:, 1:]
    assert torch.allclose(layer(u), want, atol=1e-10)


def test_the_response_is_that_of_the_differential_equation():
    """ds/dl = A s + u with a step of u at 0: s = (exp(A t) - 1)/A, so responses sum to 2 Re C (exp(t A) - 1)/A."""
    layer = StateSpaceLayer(2, states=3).double()
    rate, _ = layer.systems()
    a = torch.complex(-layer.log_decay.exp(), layer.frequency)
    for frames in (1, 9):
        want = 2 * (torch.view_as_complex(layer.out) * ((frames * rate).exp() - 1) / a).sum(-1).real
        assert torch.allclose(layer.response(frames).sum(-1), want, atol=1e-12)


def test_frames_far_apart_hear_each_other(generator):
    """The last of 200 frames from the first, and the other way; the weights do not grow with the frames."""
    nets = {n: StateSpaceNet(4 * n, n, shape=(1,), width=8, depth=1) for n in (20, 200)}
    sizes = {sum(p.numel() for p in net.parameters()) for net in nets.values()}
    assert len(sizes) == 1
    net = nets[200].double()
    torch.nn.init.normal_(net.last.weight, generator=generator)
    x = torch.randn(1, 800, dtype=F64, generator=generator, requires_grad=True)
    out = net(x, torch.full((1,), 0.5, dtype=F64))
    for here, there in ((0, 199), (199, 0)):
        (slope,) = torch.autograd.grad(out[0, here], x, retain_graph=True)
        assert abs(float(slope[0, there])) > 1e-6


@pytest.mark.parametrize("layout", [VectorLayout("x", 3), FieldLayout("u", "x", [range(8)])], ids=["vector", "field"])
def test_it_maps_trajectories_of_states_and_nothing_else(layout, generator):
    settings, channels = Settings(network="state-space", width=8, depth=1), layout.shape[0]
    net = build_network(layout, 4 * 5 * channels, 5 * channels, settings, seed=0)
    x = torch.randn(2, 4, 5, *layout.shape, generator=generator)  # 4 groups of features of 5 frames
    features = x.reshape(2, 20 * channels, *layout.shape[1:])
    t = torch.full((2,), 0.5)
    assert torch.equal(net(features, t), torch.zeros(2, 5 * channels, *layout.shape[1:]))
    # a frame is what it says: the first feature of the last frame reaches the last frame most
    torch.nn.init.normal_(net.last.weight, generator=generator)
    net.blocks = torch.nn.ModuleList()
    before, changed = net(features, t), x.clone()
    changed[:, :, -1] += 1.0
    moved = (net(changed.reshape(features.shape), t) - before).reshape(2, 5, -1).abs().amax((0, 2))
    assert torch.equal(moved > 0, torch.tensor([False, False, False, False, True]))
    with pytest.raises(ValueError, match="`state-space` is for whole trajectories"):
        build_network(layout, 3 * channels, channels, settings, seed=0)
