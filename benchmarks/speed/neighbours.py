"""Time of one force evaluation against the number of particles: all pairs beside the cell list, and how it grows.

python benchmarks/speed/neighbours.py [--device cuda]     at constant density; prints a table and fitted exponents.
                                                          To show: the cell list is linear in N
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time

import torch

from physinv.config.devices import pick_device
from simulators.particles.langevin import OverdampedParticles

DENSITY = 0.6  # particles per diameter^d
COUNTS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
DENSE = 2048  # the most that all pairs are tried with
LINEAR = 1024  # the exponents are fitted from here (dense: the last three) on, where the overhead of calls is small


def seconds(sim: OverdampedParticles, batch: int, device: torch.device) -> float:
    """Median of five force evaluations per state of a batch, after one to warm up."""
    generator = torch.Generator(device).manual_seed(0)
    x = sim.initial(batch, generator=generator, device=device)
    box = float(sim.box)
    x[..., :2] = box * torch.rand(x[..., :2].shape, generator=generator, device=device)
    taken = []
    for _ in range(6):
        begun = time.perf_counter()
        force = sim.force(x)
        if not bool(force.isfinite().all()):
            raise ValueError("a cell overflowed; raise `capacity`.")
        taken.append(time.perf_counter() - begun)
    return sorted(taken[1:])[2] / batch


def exponent(counts: list[int], times: list[float]) -> float:
    """Slope of log time against log N, by least squares."""
    x, y = torch.tensor(counts).double().log(), torch.tensor(times).double().log()
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    device = pick_device(parser.parse_args().device)
    times: dict[str, list[float]] = {"dense": [], "cells": []}
    print(f"{'N':>6} {'all pairs':>12} {'cells':>12}   ms per force evaluation and trajectory, {device}")
    for n in COUNTS:
        base = OverdampedParticles(particles=n, box=math.sqrt(n / DENSITY), external="none", neighbours="dense")
        row = []
        for name, found in times.items():
            if name == "dense" and n > DENSE:
                row.append("-")
                continue
            found.append(seconds(dataclasses.replace(base, neighbours=name), max(1, 4096 // n), device))
            row.append(f"{1e3 * found[-1]:.3f}")
        print(f"{n:6d} {row[0]:>12} {row[1]:>12}", flush=True)
    dense, cells = times["dense"], times["cells"]
    large = [(n, t) for n, t in zip(COUNTS, cells, strict=True) if n >= LINEAR]
    tried = list(COUNTS[: len(dense)])
    print(f"exponent of all pairs, N = {tried[-3]} ... {tried[-1]}: {exponent(tried[-3:], dense[-3:]):.2f}")
    print(f"exponent of cells, N = {LINEAR} ... {COUNTS[-1]}: {exponent(*map(list, zip(*large, strict=True))):.2f}")


if __name__ == "__main__":
    main()
