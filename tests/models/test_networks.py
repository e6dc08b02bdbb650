"""Networks: shapes, periodicity, an output of zero at the start, one builder; and the optional TensorBoard log."""

import pytest
import torch

from physinv.models.networks import MLP, UNet
from physinv.models.networks.layers import embed, rimmed, wrap
from physinv.training.budget import Budget


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_unet_is_periodic_and_starts_at_zero(dimension, generator):
    net = UNet(2, 1, dimension=dimension, width=4, levels=2).double()
    x = torch.randn(3, 2, *[8] * dimension, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    assert torch.equal(net(x, t), torch.zeros(3, 1, *[8] * dimension, dtype=torch.float64))
    torch.nn.init.normal_(net.last.weight, generator=generator)
    out = net(x, t)
    assert out.shape == (3, 1, *[8] * dimension)
    shift, axes = [4] * dimension, list(range(2, 2 + dimension))
    # 4 = 2^levels: the coarsest grid moves by one point, so the network commutes with the shift
    assert torch.allclose(net(x.roll(shift, axes), t), out.roll(shift, axes), atol=1e-10)
    assert not torch.allclose(net(x, t.flip(0)), out, atol=1e-3)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_unet_with_walls_sees_zeros_beyond_every_edge(dimension, generator):
    """The first layer acts as on a field padded with zeros, and differs from circular padding at the edges only."""
    walled = UNet(2, 1, dimension=dimension, width=4, levels=1, periodic=False).double()
    around = UNet(2, 1, dimension=dimension, width=4, levels=1).double()
    around.load_state_dict(walled.state_dict())
    x = torch.randn(3, 2, *[8] * dimension, generator=generator, dtype=torch.float64)
    rimmed = torch.nn.functional.pad(x, [1, 1] * dimension)
    plain = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[dimension - 1]
    inner = (..., *[slice(1, -1)] * dimension)
    assert torch.allclose(walled.first(x), plain(rimmed, walled.first.weight, walled.first.bias), atol=1e-12)
    gap = (walled.first(x) - around.first(wrap(x))).abs().detach()
    assert float(gap[inner].max()) < 1e-12 < 1e-2 < float(gap.max())
    torch.nn.init.normal_(walled.last.weight, generator=generator)
    t, axes = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64), list(range(2, 2 + dimension))
    out = walled(x, t)
    # so it does not commute with shifts, however long, in any of its layers
    assert not torch.allclose(walled(x.roll([4] * dimension, axes), t), out.roll([4] * dimension, axes), atol=1e-3)
    convolutions = [m for m in walled.modules() if isinstance(m, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d)]
    assert all(m.padding_mode == "zeros" and 2 * m.padding[0] == m.kernel_size[0] - 1 for m in convolutions)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_gradient_of_an_mlp_by_hand_is_that_of_autograd(depth, generator):
    net = MLP(3, 2, width=8, depth=depth).double()
    torch.nn.init.normal_(net.layers[-1].weight, generator=generator)
    x, t = torch.randn(5, 3, generator=generator).double(), torch.rand(5, generator=generator).double()
    wanted = net(x, t).pow(3).sum()
    found = net.loss(torch.cat([x, embed(t, net.frequencies)], 1), lambda y: (y.pow(3).sum(), 3 * y.square()))
    assert torch.equal(found, wanted)
    for a, b in zip(*(torch.autograd.grad(2 * v, list(net.parameters())) for v in (found, wanted)), strict=True):
        assert torch.allclose(a, b, rtol=1e-12)


def test_networks_with_other_layers_than_an_mlp_has_are_left_to_autograd():
    class Wavy(MLP):
        def forward(self, x, t):
            return super().forward(x, t).sin()

    assert MLP(3, 2).bare
    assert not MLP(3, 2, dropout=0.1).bare
    assert not Wavy(3, 2).bare


SIDES = [(5,), (37,), (37, 49), (1, 6), (6, 1)]


@pytest.mark.parametrize("sides", SIDES)
def test_unet_takes_grids_of_any_size(sides, generator):
    """A side that is no multiple of 4 is continued: the same output as for the longer field, cut."""
    x = torch.randn(2, 2, *sides, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.1, 0.9], dtype=torch.float64)
    for periodic in (True, False):
        net = UNet(2, 3, dimension=len(sides), width=4, levels=2, periodic=periodic).double()
        torch.nn.init.normal_(net.last.weight, generator=generator)
        longer = x
        for axis, n in enumerate(sides, 2):
            beyond = torch.arange(n + -n % 4) % n
            longer = longer.index_select(axis, beyond)
            if not periodic:
                longer.narrow(axis, n, -n % 4).zero_()
        out = net(x, t)
        assert out.shape == (2, 3, *sides)
        assert torch.allclose(out, net(longer, t)[(..., *[slice(n) for n in sides])], atol=1e-12)
        assert bool(out.isfinite().all())
        out.square().sum().backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_unet_wraps_along_periodic_axes_alone(generator):
    """One axis wraps, the other ends at walls: the network commutes with shifts along the first, not the second."""
    net = UNet(2, 1, dimension=2, width=4, levels=2, periodic=[True, False]).double()
    torch.nn.init.normal_(net.last.weight, generator=generator)
    x = torch.randn(2, 2, 8, 12, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.1, 0.9], dtype=torch.float64)
    out = net(x, t)
    assert torch.allclose(net(x.roll(4, 2), t), out.roll(4, 2), atol=1e-10)
    assert not torch.allclose(net(x.roll(4, 3), t), out.roll(4, 3), atol=1e-3)
    # beyond the walls there are zeros, at the ends of the other axis there is its other end
    rim = rimmed(x, [True, False])
    assert torch.equal(rim[:, :, 1:-1, 1:-1], x)
    assert torch.equal(rim[:, :, 0, 1:-1], x[:, :, -1])
    assert torch.equal(rim[:, :, -1, 1:-1], x[:, :, 0])
    assert not rim[..., [0, -1]].any()


@pytest.mark.parametrize("walls", [True, False])
def test_a_run_pads_as_the_boundary_of_its_field_asks(walls, tmp_path):
    from physinv.config.settings import Settings
    from physinv.data.dataset import TrajectoryDataset
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan
    from physinv.runs.run import load_run, train_run
    from simulators.fields.heat import Heat
    from simulators.fields.heat_walls import HeatWalls

    sim, name = (HeatWalls(size=8, dimension=1), "heat-walls") if walls else (Heat(size=8, dimension=1), "heat")
    generate(DatasetPlan(sim, {"train": 40, "valid": 10, "test": 4}, 0, name), tmp_path / "d")
    train, valid, test = (TrajectoryDataset(tmp_path / "d" / "data" / s) for s in ("train", "valid", "test"))
    settings = Settings(width=4, depth=1, batch=8, validate_every=2, validate_windows=8)
    train_run(tmp_path / "run", train, valid, settings=settings, budget=Budget(steps=2))
    run = load_run(tmp_path / "run")
    x, t = test.states(-1), torch.full((4,), sim.horizon)
    assert bool(run.model(x, t).isfinite().all())
    net = run.model.network
    torch.nn.init.normal_(net.last.weight, generator=torch.Generator().manual_seed(0))
    features = torch.randn(4, net.first.in_channels, 8, generator=torch.Generator().manual_seed(1))
    shifted = net(features.roll(2, -1), t), net(features, t).roll(2, -1)
    assert torch.allclose(*shifted, atol=1e-5) == (not walls)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 1, 4, 1), (1, 2, 3, 4, 2)])
def test_wrap_is_circular_padding_in_value_and_in_every_derivative(shape, generator):
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    theirs = torch.nn.functional.pad(x, [1, 1] * (len(shape) - 2), mode="circular")
    assert torch.equal(wrap(x), theirs)
    # the gradients are sums of the same few numbers, in another order
    weights = torch.randn(theirs.shape, generator=generator, dtype=torch.float64)
    ours, expected = (torch.autograd.grad((weights * y.square()).sum(), x)[0] for y in (wrap(x), theirs))
    assert torch.allclose(ours, expected, rtol=1e-14)
    assert torch.autograd.gradcheck(wrap, x)
    assert torch.autograd.gradgradcheck(wrap, x)


def test_wrap_batches_like_any_function(generator):
    x = torch.randn(3, 2, 1, 4, 4, generator=generator)
    assert torch.equal(torch.vmap(wrap)(x), torch.stack([wrap(part) for part in x]))
    grads = torch.vmap(torch.func.grad(lambda part: wrap(part).square().sum()))(x)
    assert torch.allclose(grads, 2 * x * _counted(4))


def _counted(n):
    """How often each point of an n x n field occurs in its padded copy."""
    once = torch.ones(n)
    once[[0, -1]] = 2.0
    return once[:, None] * once


def test_mlp_starts_at_zero_and_sees_time(generator):
    net = MLP(3, 2, width=8, depth=2)
    x, t = torch.randn(5, 3, generator=generator), torch.linspace(0, 1, 5)
    assert torch.equal(net(x, t), torch.zeros(5, 2))
    torch.nn.init.normal_(net.layers[-1].weight, generator=generator)
    assert not torch.allclose(net(x, t), net(x, 1 - t))


def test_embedding_separates_times():
    e = embed(torch.linspace(0, 1, 101), 8)
    assert e.shape == (101, 8)
    gaps = (e[:, None] - e[None]).norm(dim=-1) + 10 * torch.eye(101)
    assert float(gaps.min()) > 0.05


def test_mixed_precision_runs_the_network_only(generator):
    from physinv.models.references.linear import LinearReference
    from physinv.models.score import ScoreModel
    from simulators.fields.heat import Heat

    heat = Heat(size=8)
    exact = heat.exact()
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(2, 1, 1)

        def forward(self, x, t):
            out = self.conv(x)
            seen.append(out.dtype)
            return out

    reference = LinearReference(heat, exact.mean0.float(), exact.power.float())
    model = ScoreModel(reference, Spy(), (float(heat.times[1]), heat.horizon), mixed=True)
    x = heat.initial(2, generator=generator)
    assert model(x, torch.full((2,), 0.1)).dtype == torch.float32
    assert seen == [torch.bfloat16]


def test_tensorboard_gets_every_record(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from physinv.training.tensorboard import event_writer
    from physinv.training.validation import ValidationRecord

    write = event_writer(tmp_path)
    for step in (0, 10):
        write(ValidationRecord(step=step, seconds=1.0, window=2, rate=1e-3, loss=0.9, valid=1.0 - step / 100, best=0.9))
    log = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in log.Scalars("valid")] == [0, 10]
    assert log.Scalars("valid")[1].value == pytest.approx(0.9)
