"""What is remembered is what would be computed, to the byte, and takes no more memory than allowed."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from simulators.fields.burgers import Burgers
from simulators.numerics.memo import Memo
from simulators.numerics.semilinear import Coefficients


def counted(calls: list[str], key: str) -> list[Tensor]:
    calls.append(key)
    return [torch.full((10,), float(len(calls)))]  # 40 bytes


def test_the_least_recently_used_is_forgotten() -> None:
    memo, calls = Memo[list[Tensor]](most=100), []
    for key in ("a", "b", "a", "c", "a", "b"):  # "c" is one too many, and "b" was used before "a"
        memo(key, lambda key=key: counted(calls, key))
    assert calls == ["a", "b", "c", "b"]
    small = Memo[list[Tensor]](most=30)
    assert [float(small("a", lambda: counted(calls, "a"))[0][0]) for _ in range(2)] == [5, 6]


def test_graphs_and_inference_are_not_kept() -> None:
    memo, x = Memo[list[Tensor]](most=1000), torch.ones(2, requires_grad=True)
    first, second = (memo("x", lambda: [2 * x])[0] for _ in range(2))
    (first.sum() + second.sum()).backward()
    assert first is not second
    with torch.inference_mode():
        memo("y", lambda: [torch.ones(2)])
    y = memo("y", lambda: [torch.ones(2)])[0]
    assert not y.is_inference()
    assert memo("y", lambda: [torch.zeros(2)])[0] is y


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_empty(copied: Any) -> None:
    memo = Memo[list[Tensor]](most=1000)
    memo("a", lambda: [torch.ones(2)])
    assert float(copied(memo)("a", lambda: [torch.zeros(2)])[0].sum()) == 0


def test_a_flow_is_the_same_with_what_it_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of steps of several lengths, precisions, sizes, forward and backward; computed once for each."""
    sim, calls, plain = Burgers(size=32), [], Burgers.coefficients

    def coefficients(self: Burgers, dt: Tensor, like: Tensor) -> Coefficients:
        calls.append(dt)
        return plain(self, dt, like)

    monkeypatch.setattr(Burgers, "coefficients", coefficients)
    generator = torch.Generator().manual_seed(0)
    cases = []
    for dtype in (torch.float32, torch.float64):
        for h in (0.01, 0.0101, -0.01):
            x = sim.initial(3, generator=generator, dtype=dtype)
            t0 = x.new_zeros(3)
            cases += [(x, t0, t0 + h), (x, t0, t0 + h * torch.arange(1.0, 4.0).to(x))]  # one length, or one each
    first = [sim.drift_flow(*case) for case in cases]
    assert len(calls) == 12
    again = [sim.drift_flow(*case) for case in cases]
    fresh = [dataclasses.replace(sim).drift_flow(*case) for case in cases]
    assert len(calls) == 24
    for a, b, c in zip(first, again, fresh, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_parameters_keep_their_gradients() -> None:
    """Physics whose viscosity is a tensor is not remembered, since it may change."""
    viscosity = torch.tensor(0.02, requires_grad=True)
    sim = Burgers(size=32, viscosity=viscosity)  # type: ignore[arg-type]
    x = sim.initial(2, generator=torch.Generator().manual_seed(0)).detach()
    slopes = []
    for _ in range(2):
        (slope,) = torch.autograd.grad(
            sim.drift_flow(x, x.new_zeros(2), x.new_full((2,), 0.01)).square().sum(), viscosity
        )
        slopes.append(float(slope))
    assert slopes[0] == slopes[1] < 0
