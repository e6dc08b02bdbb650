"""Errors in addition: those beyond all that a law was trained on have the size that is asked for, in any unit."""

import pytest
import torch
from torch import nn

from physinv.models.increments import FieldIncrements, VectorIncrements
from physinv.processes.layout import FieldLayout, VectorLayout

LAYOUTS = {
    "vector": VectorLayout("x", 3),
    "periodic field": FieldLayout(("u", "v"), "x", [range(6)], "PERIODIC"),
    "field": FieldLayout("u", "x", [range(6)], "WALL"),
}


class Zeros(nn.Module):
    """A network that says nothing."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, features, t):
        return features.new_zeros(len(features), self.outputs, *features.shape[2:])


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_additional_errors_add_their_squares(layout, unit, generator):
    kind = FieldIncrements if layout.space else VectorIncrements
    law = kind(Zeros(kind.sizes(layout)[1]), layout)
    initial, final = (unit * torch.randn(400, *layout.shape, generator=generator) for _ in range(2))
    estimate = torch.zeros_like(initial)
    law.adapt(initial, final, estimate)
    law.finish(1.5 * initial, final, estimate, generator)

    def squares():
        drawn = law.draw(final[:20], estimate[:20], 400, generator=generator) / unit
        return (drawn - drawn.mean(1, keepdim=True)).square().mean()

    before = squares()
    law.widen(initial - estimate, 2.0)
    gap = ((initial - estimate) / unit).square().mean()
    assert float(squares() - before) == pytest.approx(4 * float(gap), rel=0.1)  # 20 x 400 draws and more: to some 2 %
