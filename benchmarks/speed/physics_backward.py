"""Physics taken back from all stored states: with coefficients of ETDRK4 that are remembered, and without.

python benchmarks/speed/physics_backward.py     CPU seconds and their ratio for each process.
                                                To show: the same bytes, in half the time

``solved``: every interval of 64 trajectories one after another, as the fit of a smoother, its calibration and its draws
take them back, three times.  One thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, told, write

from physinv.models.references.smoother_tables import physics_backward
from simulators.fields.burgers import Burgers
from simulators.fields.kpz import KPZ
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.fields.navier_stokes import NavierStokes
from simulators.numerics.memo import Memo
from simulators.numerics.semilinear import Semilinear

CASES: dict[str, Semilinear] = {
    "burgers, 128": Burgers(),
    "kpz, 128": KPZ(),
    "kuramoto-sivashinsky, 64": KuramotoSivashinsky(spin_up=0.0),
    "navier-stokes, 32 x 32": NavierStokes(size=32, spin_up=0.0),
}


@torch.no_grad()
def solved(simulator: Semilinear, states: Tensor, passes: int = 3) -> tuple[Tensor, float]:
    """All stored states taken back over the interval before them, and CPU seconds."""
    times, begun = simulator.times.float(), time.process_time()
    for _ in range(passes):
        back = [
            physics_backward(simulator, x, b.expand(len(x)), (b - a).expand(len(x)))
            for a, b, x in zip(times[:-1], times[1:], states[:, 1:].unbind(1), strict=True)
        ]
    return torch.stack(back), time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, list[float]] = {}
    for name, simulator in CASES.items():
        for seed in range(args.repetitions):
            states = simulator.simulate(64, generator=torch.Generator().manual_seed(seed))
            with mock.patch.object(Memo, "__call__", lambda self, key, compute: compute()):
                plain, without = solved(simulator, states)
            remembered, seconds = solved(simulator, states)
            if not torch.equal(plain, remembered):
                raise SystemExit(f"{name}: other states")
            found = {"remembered, seconds": seconds, "computed, seconds": without, "ratio": without / seconds}
            for key, value in found.items():
                figures.setdefault(f"{name}: {key}", []).append(value)
        for key, values in figures.items():
            if key.startswith(name):
                print(f"{key:56s} {told(values)}", flush=True)
    write(args.out / "physics-backward.json", {"benchmark": "physics-backward", "unit": "CPU seconds"}, figures)


if __name__ == "__main__":
    main()
