"""How much of the time of the pseudo-spectral simulators goes into Fourier transforms.

python benchmarks/speed/fft_share.py    A table per process, at the sizes of the recipes

By torch's profiler, for a batch that is run through some solver steps, noise included: `kernels`, the CPU self time of
the `aten::_fft_*` operators over that of all operators; `transforms`, all time inside `aten::fft_*`, copies that they
make included; `random`, the share of drawing numbers.  One thread unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses

import torch
from torch.profiler import ProfilerActivity, profile

from simulators.allen_cahn import AllenCahn
from simulators.burgers import Burgers
from simulators.gray_scott import GrayScott
from simulators.kpz import KPZ
from simulators.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.navier_stokes import NavierStokes
from simulators.semilinear import Semilinear

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


def shares(simulator: Semilinear, batch: int, *, steps: int = 10) -> tuple[float, float, float, float]:
    """Fractions of the CPU time in kernels, transforms, random numbers; milliseconds per trajectory and step."""
    few = dataclasses.replace(
        simulator, steps=steps, inner=1, horizon=simulator.horizon / simulator.steps / simulator.inner * steps
    )
    generator = torch.Generator().manual_seed(0)
    x = few.initial(batch, generator=generator)
    with torch.no_grad():
        few.run(x, generator=generator)
        with profile(activities=[ProfilerActivity.CPU]) as measured:
            few.run(x, generator=generator)
    rows = measured.key_averages()
    whole = sum(row.self_cpu_time_total for row in rows)
    kernels = sum(row.self_cpu_time_total for row in rows if row.key.startswith("aten::_fft_"))
    transforms = sum(row.cpu_time_total for row in rows if row.key.startswith("aten::fft_"))
    drawing = sum(row.self_cpu_time_total for row in rows if row.key == "aten::normal_")
    return kernels / whole, transforms / whole, drawing / whole, whole / 1e3 / batch / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    torch.set_num_threads(parser.parse_args().threads)
    print(f"{'process':26s} {'kernels':>10s} {'transforms':>12s} {'random':>8s} {'ms per trajectory and step':>28s}")
    for name, (simulator, batch) in CASES.items():
        kernels, transforms, drawing, cost = shares(simulator, batch)
        print(f"{name:26s} {kernels:10.0%} {transforms:12.0%} {drawing:8.0%} {cost:28.3f}", flush=True)


if __name__ == "__main__":
    main()
