"""How much of the time of the pseudo-spectral simulators goes into Fourier transforms.

python benchmarks/speed/fft_share.py    A table per process, at the sizes of the recipes

By torch's profiler, for a batch that is run through some solver steps, noise included, as fractions of the CPU time:
`kernels`, the `aten::_fft_*` operators themselves; `transforms`, all time inside `aten::fft_*`, copies that they make
included; `random`, drawing numbers; `both`, the last two together; `pointwise`, the arithmetic of the integrator, one
number at a time.  `microseconds`: CPU time per trajectory and step.  `at most`: what `transforms` would be of a program
that made the same transforms and draws and, in each of the four stages of a step, one product and one multiply-add.
Medians are printed; all figures go to results/fft_share.json.  One thread unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, write

from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.burgers import Burgers
from simulators.fields.gray_scott import GrayScott
from simulators.fields.kpz import KPZ
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.fields.navier_stokes import NavierStokes
from simulators.numerics.semilinear import Semilinear

POINTWISE = {f"aten::{name}" for name in ("add", "sub", "mul", "mul_", "addcmul", "square", "neg", "pow", "div")}

CASES: dict[str, tuple[Semilinear, int]] = {
    "burgers, 128": (Burgers(), 250),
    "burgers, 32 x 32": (Burgers(dimension=2, size=32), 64),
    "kuramoto-sivashinsky, 64": (KuramotoSivashinsky(spin_up=0.0), 500),
    "navier-stokes, 64 x 64": (NavierStokes(spin_up=0.0), 32),
    "navier-stokes, 128 x 128": (NavierStokes(size=128, spin_up=0.0), 8),
    "allen-cahn, 32 x 32": (AllenCahn(), 128),
    "kpz, 128": (KPZ(), 250),
    "gray-scott, 32 x 32": (GrayScott(spin_up=0.0), 64),
}


def shares(simulator: Semilinear, batch: int, seed: int) -> dict[str, float]:
    """Fractions of the CPU time, profiled; microseconds of CPU time per trajectory and step, not profiled."""
    steps = 80 if len(simulator.space) == 1 else 10  # so that being interrupted does not matter
    few = dataclasses.replace(
        simulator, steps=steps, inner=1, horizon=simulator.horizon / simulator.steps / simulator.inner * steps
    )
    generator = torch.Generator().manual_seed(seed)
    x = few.initial(batch, generator=generator)
    with torch.no_grad():
        few.run(x, generator=generator)
        begun = time.process_time()
        few.run(x, generator=generator)
        cost = time.process_time() - begun
        with profile(activities=[ProfilerActivity.CPU]) as measured:
            few.run(x, generator=generator)
    rows = measured.key_averages()
    whole = sum(row.self_cpu_time_total for row in rows)
    transforms = sum(row.cpu_time_total for row in rows if row.key.startswith("aten::fft_")) / whole
    random = sum(row.self_cpu_time_total for row in rows if row.key == "aten::normal_") / whole
    once = {row.key: row.self_cpu_time_total / row.count for row in rows if row.key in ("aten::pow", "aten::addcmul")}
    least = 4 * steps * sum(once.values()) / whole
    return {
        "kernels": sum(row.self_cpu_time_total for row in rows if row.key.startswith("aten::_fft_")) / whole,
        "transforms": transforms,
        "random": random,
        "both": transforms + random,
        "pointwise": sum(row.self_cpu_time_total for row in rows if row.key in POINTWISE) / whole,
        "at most": transforms / (transforms + random + least),
        "microseconds": 1e6 * cost / batch / steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    parser.add_argument("--repetitions", type=int, default=7, help="medians of these are printed (default %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures: dict[str, list[float]] = {}
    for name, (simulator, batch) in CASES.items():
        found = [shares(simulator, batch, seed) for seed in range(args.repetitions)]
        medians = {key: statistics.median(f[key] for f in found) for key in found[0]}
        print(f"{name:26s}", *(f"{key} {m:.3g}" for key, m in medians.items()), sep="  ", flush=True)
        figures |= {f"{name}: {key}": [f[key] for f in found] for key in found[0]}
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "fft_share.json", {"benchmark": "fft_share"}, figures)


if __name__ == "__main__":
    main()
