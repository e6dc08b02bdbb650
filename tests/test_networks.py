"""Backbones: shapes, periodicity, zero start; and the optional TensorBoard log."""

import pytest
import torch

from physinv.networks import MLP, UNet
from physinv.networks.embedding import embed


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
    with pytest.raises(ValueError, match="divisible by 4"):
        net(torch.zeros(1, 2, *[6] * dimension, dtype=torch.float64), t[:1])


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
    from physinv.moments import LinearMoments
    from physinv.score import ScoreModel
    from simulators.heat import Heat

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

    moments = LinearMoments(heat, exact.mean0.float(), exact.power.float())
    model = ScoreModel(moments, Spy(), (float(heat.times[1]), heat.horizon), mixed=True)
    x = heat.initial(2, generator=generator)
    assert model(x, torch.full((2,), 0.1)).dtype == torch.float32
    assert seen == [torch.bfloat16]


def test_tensorboard_gets_every_record(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from physinv.tensorboard import event_writer
    from physinv.train import Record

    write = event_writer(tmp_path)
    for step in (0, 10):
        write(Record(step=step, seconds=1.0, window=2, rate=1e-3, loss=0.9, valid=1.0 - step / 100, best=0.9))
    log = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in log.Scalars("valid")] == [0, 10]
    assert log.Scalars("valid")[1].value == pytest.approx(0.9)
