"""Small recordings as datasets, for the tests of what is done with them."""

import json

import numpy as np
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.writer import TrajectoryWriter
from physinv.processes.parameters import describe
from physinv.processes.recorded import Recorded


def recorded(folder, layout, times, splits, **about):
    """Write trajectories ``{split: (n, time, *state)}`` as ``physinv import`` does, and open the splits.

    Args:
        folder: Where to write.
        layout: Layout of the states.
        times: Stored times.
        splits: The trajectories.
        **about: What else the configuration says, such as how windows were cut.

    Returns:
        One dataset in memory for each split, by name.
    """
    times = np.asarray(times, dtype=float)
    config = {
        "simulator": "recorded",
        "parameters": json.loads(json.dumps(describe(Recorded.of(layout, times)))),
        **about,
    }
    found = {}
    for split, states in splits.items():
        (folder / "data" / split).mkdir(parents=True)
        path = folder / "data" / split / "recorded_000.hdf5"
        with TrajectoryWriter(
            path,
            name="recorded",
            layout=layout,
            shape=layout.shape,
            times=torch.from_numpy(times),
            count=len(states),
            config={**config, "split": split},
        ) as writer:
            writer.write(torch.as_tensor(np.asarray(states), dtype=torch.float32))
        found[split] = TrajectoryDataset(folder / "data" / split).load()
    return found
