"""Classes of processes that are refused, and those that are not."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import physinv as pi
from physinv.processes.registry import find

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


class Shared(pi.Simulator):
    """What two processes have in common; what it declares is a field of one and an attribute of the other."""

    noise: float
    layout = pi.VectorLayout("x", 1)

    def drift(self, x, t):
        return -x

    def diffusion(self, t):
        return torch.full((len(t), 1), self.noise)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 1), generator=generator, device=device, dtype=dtype)


@dataclass(frozen=True)
class Constant(Shared):
    noise = 0.5


@dataclass(frozen=True)
class Chosen(Shared):
    noise: float = pi.parameter(0.5, "s", "noise")


class Forgotten(Shared):
    noise: float = 0.5


class Declared(Shared):
    rate: float


def test_a_class_may_declare_what_derived_classes_have():
    x, times = torch.ones(2, 1), torch.linspace(0.0, 0.1, 3)
    for process in (Constant(), Chosen()):
        found = process.simulate(2, times, generator=torch.Generator().manual_seed(0))
        assert found.shape == (2, 3, 1)
        assert process.diffusion(times[:2]).mul(x).mean() == 0.5


@pytest.mark.parametrize(("made", "parameter"), [(Forgotten, "noise"), (Declared, "rate")])
def test_what_no_class_has_was_meant_as_a_parameter(made, parameter):
    with pytest.raises(ValueError, match=f"must be a dataclass; .* `{parameter}` is a parameter"):
        made()


def test_the_processes_of_the_benchmarks_are_found(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from stranger_processes import STRANGERS

    for kind in STRANGERS.values():
        process = find(f"stranger_processes:{kind.__name__}")()
        x = process.initial(3, generator=torch.Generator().manual_seed(0))
        assert process.drift(x, torch.zeros(3)).shape == x.shape
