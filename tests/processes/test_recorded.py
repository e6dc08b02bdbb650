"""Recorded data in the place of a process: their layout survives names and values, masks and boundaries included."""

import json

import numpy as np
import pytest

from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import build, describe
from physinv.processes.recorded import Recorded, pack_mask, unpack_mask


def test_the_layout_of_a_masked_globe_comes_back() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((37, 49)) < 0.7
    places = [np.linspace(-90, 90, 37), np.linspace(0, 360, 49, endpoint=False)]
    layout = FieldLayout(("sst", "depth"), ("lat", "lon"), places, "WALL,PERIODIC", "depth", mask=mask)
    recorded = Recorded.of(layout, np.arange(5.0))
    again = build(Recorded, json.loads(json.dumps(describe(recorded))))
    assert again == recorded
    assert again.layout.boundaries == ("WALL", "PERIODIC")
    assert np.array_equal(again.layout.valid, mask)
    assert np.allclose(again.layout.coordinates[1], layout.coordinates[1])


def test_a_damaged_mask_is_told_in_one_line() -> None:
    assert unpack_mask(pack_mask([True] * 9 + [False])) == (*[True] * 9, False)
    assert pack_mask(()) == ""
    with pytest.raises(ValueError, match="`mask` must be the text of a mask, got 'nonsense'"):
        unpack_mask("nonsense")
