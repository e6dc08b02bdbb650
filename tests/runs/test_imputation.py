"""What the words of `--hide` hide, frame by frame."""

import pytest
import torch

from physinv.runs.imputation import hidden

TIMES = torch.arange(5.0) / 4


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (["every:2"], [1, 3]),
        (["every:3"], [1, 2, 4]),
        (["after:0"], [1, 2, 3, 4]),
        (["after:0.5"], [3, 4]),
        (["after:0.6"], [3, 4]),
        (["every:4", "after:0.75"], [1, 2, 3, 4]),
        ([], []),
    ],
)
def test_frames_are_hidden_whole(words, frames):
    found = hidden(words, TIMES, (1, 3), 2)
    assert found.shape == (2, 5, 1, 3)
    assert [i for i in range(5) if bool(found[:, i].all())] == frames
    assert int(found.sum()) == 2 * 3 * len(frames)


def test_entries_and_places_are_drawn_by_their_share():
    entries, places = (hidden([f"{kind}:0.3"], TIMES, (40,), 50, seed=1) for kind in ("entries", "places"))
    assert float(entries.double().mean()) == pytest.approx(0.3, abs=0.02)  # 10000 entries: four standard errors
    assert bool((places == places[:1, :1]).all())
    assert 0 < int(places[0, 0].sum()) < 30  # of 40 places: 12 +- 2.9
    assert not torch.equal(entries, hidden(["entries:0.3"], TIMES, (40,), 50, seed=2))
