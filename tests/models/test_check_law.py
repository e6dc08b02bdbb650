"""A reference law of a user is tried before anything is trained on top of it; one line names the part that is wrong."""

import math

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.build import build_model
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.registry import REFERENCES
from physinv.processes.layout import VectorLayout
from simulators.vectors.double_well import DoubleWell

WELL = DoubleWell(steps=4, horizon=0.1, dimension=2)


class Still(ReferenceLaw):
    """Independent Gaussians that stay what they are at the end."""

    def __init__(self, sde, mean, deviation):
        super().__init__()
        self.channels_in = self.channels_out = len(mean)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    @classmethod
    def suits(cls, sde, layout):
        return isinstance(layout, VectorLayout)

    @classmethod
    def fit(cls, sde, data, settings, *, seed=0):
        x = data.states(-1)
        return cls(sde, x.mean(0), x.std(0))

    def score(self, x, t):
        return -(x - self.mean) / self.deviation**2

    def log_prob(self, x, t):
        z = (x - self.mean) / self.deviation
        return -(z.square() / 2 + (math.sqrt(2 * math.pi) * self.deviation).log()).sum(1)

    def features(self, x, t):
        return (x - self.mean) / self.deviation

    def lift(self, out, x, t):
        return out / self.deviation


def nothing(*given, **named):
    return None


CASES = {
    "the sign": ({"score": lambda self, x, t: (x - self.mean) / self.deviation**2}, "`score` .* must be the gradient"),
    "a factor": ({"score": lambda self, x, t: 1.1 * Still.score(self, x, t)}, "`score` .* must be the gradient"),
    "swapped": ({"score": lambda self, t, x: t + x.mean(1)}, r"fails in `score\(x, t\)`: IndexError"),
    "one number": (
        {"log_prob": lambda self, x, t: x.sum()},
        r"`log_prob` .* of shape \(8,\), got Tensor of shape \(\)",
    ),
    "features": ({"features": lambda self, x, t: x[:, :1]}, r"`features` .* of shape \(8, 2\), got .* \(8, 1\)"),
    "lift": ({"lift": lambda self, out, x, t: out[0]}, r"`lift` .* of shape \(8, 2\), got .* \(2,\)"),
    "not finite": ({"lift": lambda self, out, x, t: out / 0}, "`lift` .* got numbers that are not finite"),
    "fit": ({"fit": nothing}, "`fit` .* must return the law, got None"),
    "fit of three": (
        {"fit": classmethod(lambda cls, sde, data: None)},
        r"fails in `fit\(sde, data, settings, \*, seed\)`",
    ),
    "objective": ({"objective": lambda self: "denoising"}, r"fails in `objective\(sde\)`: TypeError"),
    "objective of none": ({"objective": nothing}, "`objective` .* must return the name of one, got None"),
    "made again": (
        {"from_tensors": classmethod(lambda cls, sde, tensors: cls(sde, tensors["mean"], 2 * tensors["deviation"]))},
        "`from_tensors` .* must make the same law",
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "d"
    generate(DatasetPlan(WELL, {"train": 32}, 0, "double-well"), folder)
    return TrajectoryDataset(folder / "data" / "train")


def law(name, parts):
    """Settings that name a law of this module by its place."""
    globals()[name] = type(name, (Still,), {**parts, "name": f"{__name__}:{name}", "__module__": __name__})
    return Settings(reference=f"{__name__}:{name}", width=8, depth=1)


def test_a_right_law_is_taken(data):
    model = build_model(WELL, data, law("Right", {}))
    assert REFERENCES.name_of(type(model.reference)) == f"{__name__}:Right"


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_part_is_named(data, case):
    parts, told = CASES[case]
    with pytest.raises(ValueError, match=told) as found:
        build_model(WELL, data, law("Wrong", parts))
    assert "\n" not in str(found.value)
    assert f"`{__name__}:Wrong`" in str(found.value)


def test_channels_must_be_set(data):
    def made(self, sde, mean, deviation):
        Still.__init__(self, sde, mean, deviation)
        del self.channels_in

    with pytest.raises(ValueError, match=r"`channels_in` .* must be a whole number, got None; set it"):
        build_model(WELL, data, law("Wrong", {"__init__": made}))


@pytest.mark.parametrize("name", ["mixture", "low-rank"])
def test_our_own_laws_pass(data, name):
    build_model(WELL, data, Settings(reference=name, width=8, depth=1))


def test_torch_is_left_as_it_was(data):
    before = torch.get_rng_state()
    build_model(WELL, data, law("Right", {}), seed=3)
    assert torch.equal(torch.get_rng_state(), before)
