"""Draws near recordings: three times the range of training, and not beyond what is measured can go."""

import numpy as np
import pytest
import torch
from torch import nn

from physinv.models.increments import FieldIncrements, VectorIncrements
from physinv.processes.layout import FieldLayout, VectorLayout

SEA = np.ones((4, 6), dtype=bool)
SEA[0, :2] = False
LAYOUTS = {
    "vector": VectorLayout("rain", 2),
    "field": FieldLayout("rain", "x", [range(8)], "PERIODIC"),
    "masked field": FieldLayout("sst", ("lat", "lon"), [range(4), range(6)], "WALL", mask=SEA),
}


def law_of(layout, states):
    law = (FieldIncrements if layout.space else VectorIncrements)(nn.Identity(), layout)
    law.bound(states)
    return law


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("sign", [1, -1])
def test_what_many_numbers_are_exactly_is_a_bound(layout, sign, generator):
    """A tenth of the numbers is -1.8, as where there is ice: nothing lies below it.  The other end is far away."""
    states = torch.rand((200, *layout.shape), generator=generator) * 10 - 1.8
    ice = torch.rand(states.shape, generator=generator) < 0.1
    states = sign * states.masked_fill(ice, -1.8)
    law, final = law_of(layout, states), states[:3]
    drawn = sign * law.within(torch.stack([final - 50.0, final + 50.0], 1), final[:, None])
    valid = torch.ones(layout.shape[1:], dtype=torch.bool) if layout.valid is None else layout.valid
    bound, free = (drawn[:, 0], drawn[:, 1]) if sign > 0 else (drawn[:, 1], drawn[:, 0])
    assert torch.equal(bound[..., valid], torch.full_like(bound[..., valid], -1.8))
    assert torch.allclose(free[..., valid].amax(), torch.tensor(18.2), atol=0.2)
    assert not drawn[..., ~valid].any()

    # whoever observes less than the bound has shown that it is none
    colder = final - sign * 4.0
    assert float((sign * law.within(colder, colder))[..., valid].amin()) < -2


@pytest.mark.parametrize(
    "states",
    [
        torch.randn((300, 1), generator=torch.Generator().manual_seed(0)),
        torch.randn((300, 1), generator=torch.Generator().manual_seed(0)).round(decimals=1),  # as a sensor rounds
        torch.tensor([[0.0], [1.0]]).repeat(50, 1),  # a switch
        torch.cat([torch.zeros(60), torch.arange(240) // 8]).float()[:, None],  # rests at first, and rises in steps
    ],
    ids=["continuous", "rounded", "switch", "at rest"],
)
def test_least_numbers_that_are_as_frequent_as_others_are_none(states):
    law = law_of(VectorLayout("x", 1), states)
    assert law.floor.item() == -torch.inf
    assert law.ceiling.item() == torch.inf
    low, high = states.amin(), states.amax()
    assert law.within(torch.tensor([[-1e6]]), states[:1]).item() == pytest.approx(float(2 * low - high))
