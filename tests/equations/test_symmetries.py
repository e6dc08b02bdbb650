"""Views: every one is as likely, there and back is the identity, what a network gets wrong from one averages out."""

import itertools

import pytest
import torch
from smoother_cases import General, exact_model, per_mode, stored

from physinv.equations.broadcast import match
from physinv.equations.sde import Reverse
from physinv.equations.symmetries import choose_views, reflected, shifted
from physinv.models.networks import UNet
from physinv.reversal.smoother import frames_of, smooth
from physinv.reversal.smoother_noise import match_ensembles, match_single_steps
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky

HEAT = Heat(size=8, dimension=1, steps=2, noise=0.3, horizon=0.3)


class Mirrored(General):
    def images(self, x):
        return [x, -x]


class Pattern(torch.nn.Module):
    """A network that is wrong: it adds the same field to every mean."""

    def __init__(self, field):
        super().__init__()
        self.field = torch.nn.Parameter(field)

    def forward(self, features, tau):
        added = self.field.expand(len(features), -1, -1)
        return torch.cat([added, torch.zeros_like(added)], dim=1)


def every(sde, x, step):
    """Numbers ``z`` of which each chooses another view, and how many views there are."""
    count = len(sde.images(x[:1])) * step ** (x.ndim - 2)
    return torch.special.ndtri(((torch.arange(count, dtype=torch.float64) + 0.5) / count + 0.5) % 1), count


@pytest.mark.parametrize(
    ("sde", "step", "images"),
    [(KuramotoSivashinsky(size=16), 4, 2), (AllenCahn(size=8), 2, 10), (Burgers(dimension=2, size=8), 3, 5)],
)
def test_every_view_is_as_likely_and_zero_is_the_state_as_it_is(sde, step, images):
    x = torch.zeros(1, *sde.shape)
    z, count = every(sde, x, step)
    found = choose_views(sde, x.expand(count, *sde.shape), step, z)
    chosen = {(int(i), *map(int, s)) for i, s in zip(found.image, found.shift, strict=True)}
    assert chosen == set(itertools.product(range(images), *[range(step)] * (x.ndim - 2)))
    still = choose_views(sde, x, step, torch.zeros(1))
    assert int(still.image) == 0
    assert not bool(still.shift.any())
    far = choose_views(sde, x.expand(3, *sde.shape), step, torch.tensor([-40.0, 40.0, 0.0]))
    assert bool((far.image < images).all())
    assert bool((far.shift < step).all())


def test_states_are_turned_and_shifted_each_by_its_own(generator):
    sde = Burgers(dimension=2, size=8)
    x = torch.randn(5, *sde.shape, generator=generator)
    number = torch.tensor([4, 0, 3, 1, 2])
    there = reflected(sde, x, number)
    for i, image in enumerate(number.tolist()):
        assert torch.equal(there[i], sde.images(x[i : i + 1])[image][0])
    assert torch.equal(reflected(sde, there, number), x)
    shift = torch.tensor([[0, 0], [1, 0], [0, -3], [2, 7], [-1, 9]])
    by_hand = torch.stack([one.roll(tuple(s.tolist()), (1, 2)) for one, s in zip(x, shift, strict=True)])
    assert torch.equal(shifted(x, shift), by_hand)


def test_the_steps_from_all_views_have_the_symmetries_of_the_process(generator):
    """A network with neither symmetry, drawn at random: alone its steps don't commute with a reflection, nor with a
    shift by one point; from all views they do, as a set."""
    network = UNet(3, 2, dimension=1, width=4, levels=2)
    torch.nn.init.normal_(network.last.weight, generator=generator)
    model = exact_model(HEAT, network).requires_grad_(False)
    model.reference.sde = Mirrored(HEAT)
    reverse = Reverse(model.reference.sde, model)
    x = HEAT.simulate(1, dtype=torch.float64, generator=generator)[:, 2]
    z, count = every(model.reference.sde, x, network.stride)
    assert count == 8

    def steps(x, z):
        x = x.expand(len(z), -1, -1)
        t0, t1 = HEAT.times[2].expand(len(z)), HEAT.times[1].expand(len(z))
        dw = torch.stack([torch.zeros_like(x), torch.zeros_like(x) + match(z, x)]) * match((t0 - t1).sqrt(), x)
        return smooth(reverse, x, t0, t1, dw)

    for symmetry in (torch.neg, lambda y: y.roll(1, -1)):
        one, other = symmetry(steps(x, z)), steps(symmetry(x), z)
        gaps = torch.cdist(one.flatten(1), other.flatten(1))
        assert sorted(gaps.argmin(1).tolist()) == list(range(count))
        assert float(gaps.min(1).values.max()) < 1e-9 < 1e-3 < float(gaps[0].max())
        alone = torch.zeros(1, dtype=torch.float64)
        assert not torch.allclose(symmetry(steps(x, alone)), steps(symmetry(x), alone), atol=1e-3)


def test_what_the_network_gets_wrong_is_spread_and_calibration_counts_it(tmp_path, generator):
    """A step that adds the same field ``p`` to every mean, of a process in which x and -x are alike: over n draws the
    mean is right, each mode has ``|p|^2`` more variance, and calibration takes away as much of the noise."""
    sde, model = Mirrored(HEAT), exact_model(HEAT, Pattern(torch.randn(1, 8, generator=generator)))
    model.reference.sde = sde
    reference, n = model.reference, 4000
    x = HEAT.simulate(1, dtype=torch.float64, generator=generator)[:, 2].expand(n, -1, -1)
    t0, t1 = HEAT.times[2].expand(n), HEAT.times[1].expand(n)
    C, share = reference.spread()[1], (float(t0[0] - t1[0]) / float(t0[0]))
    p = (C * share).sqrt() * reference.modes(model.network.field.detach()[None])[0]

    def draws():
        dw = torch.randn((2, *x.shape), dtype=torch.float64, generator=generator) * match((t0 - t1).sqrt(), x)
        return smooth(Reverse(sde, model), x, t0, t1, dw).detach()

    drawn, right = draws(), reference.unmodes(reference.smoothed(x[:1], t0[:1])[0], x[:1])
    variance = (C + p.abs().square())[0, 1:].detach()
    off = HEAT.modes(drawn.mean(0, keepdim=True) - right)[0, 0, 1:].abs()
    assert float((off / (variance / n).sqrt()).max()) < 5  # standard errors
    assert float(p[0, 1:].abs().max()) > 10 * float((variance / n).sqrt().max())  # without views it would be off by p
    assert float((per_mode(HEAT, drawn - right)[0] / variance - 1).abs().max()) < 5 * (2 / n) ** 0.5

    few = 2000
    valid = stored(HEAT, tmp_path / "d", valid=few)["valid"]
    match_single_steps(model, sde, valid, max_trajectories=few)
    # 2000 residuals of a real and an imaginary part (the last mode is real): C + |p|^2
    left = reference.noise_scale[1][0, 1:]
    assert float((left * C[0, 1:] / variance - 1).abs().max()) < 5 * (2 / few) ** 0.5
    match_ensembles(model, sde, valid, max_trajectories=few)
    # what the ensemble has already is not drawn again: C - |p|^2, of which the network's share is known
    wanted = ((C - p.abs().square()) / C)[0, 1:].detach().clamp(min=0)
    big = wanted > 0.3
    assert bool(big.any())
    assert float((reference.noise_scale[1][0, 1:] - wanted)[big].abs().max()) < 5 * 2 * (2 / few) ** 0.5


@pytest.mark.parametrize("periodic", [True, False])
def test_a_network_between_walls_is_not_shifted(periodic, generator):
    model = exact_model(HEAT, UNet(3, 2, dimension=1, width=4, levels=2, periodic=periodic))
    x = HEAT.simulate(100, dtype=torch.float64, generator=generator)[:, 2]
    frames = frames_of(model, x, torch.randn(100, dtype=torch.float64, generator=generator))
    # all of four shifts among 100: missed with a chance of 4 (3/4)^100 = 1e-12
    assert set(frames.shift.flatten().tolist()) == (set(range(4)) if periodic else {0})


def test_states_of_no_symmetry_are_left_alone(generator):
    x = torch.randn(3, 1, 8, generator=generator)
    frames = choose_views(General(HEAT), x, 1, torch.randn(3, generator=generator))
    assert not bool(frames.image.any() | frames.shift.any())
    assert reflected(General(HEAT), x, frames.image) is x
