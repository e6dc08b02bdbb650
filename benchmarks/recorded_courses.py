"""Single courses of fields, nearly deterministic: do intervals hold what comes after all that was trained on?

    python benchmarks/recorded_courses.py                    # regressions alone: growth of errors, seen and said
    python benchmarks/recorded_courses.py --train --seeds 0  # the law of increments, too

Each course is one run of an equation from one initial state: shocks (Burgers), fronts (Allen-Cahn), waves of Korteweg
and de Vries, a complex field (nonlinear Schroedinger), two species, heat that is measured with noise, chaos
(Kuramoto-Sivashinsky), pulses (FitzHugh-Nagumo), damped waves; and two stationary ones with noise, whose errors do not
grow.  It is imported in windows of 8 of 200 states, which overlap, and split in one block each for training, validation
and tests.  One line is printed for each: by which factor the errors of ridge regression on tests are larger than those
on validation data, and what `growth_beyond` says of that from training and validation data alone; with `--train`
coverage of intervals of 90 % and CRPS over that of the linear estimate.  The last lines have the slope of the logarithm
of the one on that of the other, and the means.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from common import write
from numpy.typing import NDArray
from recording_spread import judged

from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import Choices, import_trajectories
from physinv.data.process import process_of
from physinv.methods.classical import later_times
from physinv.methods.classical.linear_estimate import fit_linear

Series = NDArray[np.float64]
TIMES, POINTS, WINDOW, STEPS = 200, 96, 8, 200


def space(length: float) -> tuple[Series, Series]:
    """Positions and wave numbers of a periodic box."""
    return np.arange(POINTS) * length / POINTS, 2 * np.pi / length * np.fft.fftfreq(POINTS, 1 / POINTS)


def smooth(rng: np.random.Generator, x: Series, length: float, waves: int) -> Series:
    """A sum of a few waves with random amplitudes and phases."""
    found = [
        rng.normal() / j * np.cos(2 * np.pi * j * x / length + rng.uniform(0, 2 * np.pi)) for j in range(1, waves + 1)
    ]
    return np.sum(found, 0)


def run(L: Series, rate: Callable[[Series], Series], u: Series, k: Series, dt: float, every: int) -> Series:
    """States of ``u' = L u + rate(u)`` by an integrating factor and Runge-Kutta, without the shortest waves."""
    kept, E, v, out = np.abs(k) < 2 / 3 * np.abs(k).max(), np.exp(L * dt / 2), np.fft.fft(u), []

    def N(v: Series) -> Series:
        return kept * np.fft.fft(rate(np.fft.ifft(v)))

    for i in range(TIMES * every):
        if i % every == 0:
            out.append(np.fft.ifft(v))
        a = dt * N(v)
        b = dt * N(E * (v + a / 2))
        c = dt * N(E * v + b / 2)
        d = dt * N(E * E * v + E * c)
        v = E * E * v + (E * E * a + 2 * E * (b + c) + d) / 6
    return np.array(out)


def steepening(k: Series) -> Callable[[Series], Series]:
    """The term ``-u u_x``."""
    return lambda u: -0.5 * np.fft.ifft(1j * k * np.fft.fft(u.real**2))


def shock(rng: np.random.Generator) -> Series:
    """Burgers with viscosity .01."""
    x, k = space(2.0)
    u = smooth(rng, x, 2.0, 2)
    return run(-0.01 * k**2, steepening(k), u / np.abs(u).max(), k, 5e-4, 10).real[:, None]


def front(rng: np.random.Generator) -> Series:
    """Allen-Cahn."""
    x, k = space(2.0)
    return run(-1e-3 * k**2, lambda u: 3 * (u - u**3), smooth(rng, x, 2.0, 3), k, 5e-3, 1).real[:, None]


def solitons(rng: np.random.Generator) -> Series:
    """Korteweg and de Vries."""
    x, k = space(2.0)
    u = smooth(rng, x, 2.0, 2)
    return run(1j * 0.022**2 * k**3, steepening(k), u / np.abs(u).max(), k, 5e-4, 10).real[:, None]


def complex_field(rng: np.random.Generator) -> Series:
    """Nonlinear Schroedinger, as real and imaginary part."""
    x, k = space(10.0)
    u = 2 / np.cosh(x - 5) * (1 + 0.2 * rng.normal()) + 0.1 * (smooth(rng, x, 10, 3) + 1j * smooth(rng, x, 10, 3))
    found = run(-0.5j * k**2, lambda u: 1j * np.abs(u) ** 2 * u, u, k, 5e-4, 16)
    return np.stack([found.real, found.imag], 1)


def species(rng: np.random.Generator) -> Series:
    """Two species that diffuse, and react as ``a b^2``."""
    x, k = space(2.0)
    a = np.exp(-20 * (x - 1) ** 2) * (1 + 0.3 * rng.normal())
    both, out, E = np.stack([a, 1 - 0.5 * a + 0.2 * smooth(rng, x, 2.0, 3)]), [], np.exp(-1e-5 * k**2)
    for i in range(10 * TIMES):
        if i % 10 == 0:
            out.append(both)
        both = np.fft.ifft(E * np.fft.fft(both - 0.003 * both[0] * both[1] ** 2)).real
    return np.array(out)


def heat(rng: np.random.Generator) -> Series:
    """Heat, measured with a small error."""
    x, k = space(2.0)
    decay = np.exp(-0.03 * k**2 * np.linspace(0, 1, TIMES)[:, None])
    found = np.fft.ifft(decay * np.fft.fft(smooth(rng, x, 2.0, 6))).real
    return (found + 1e-3 * rng.normal(size=found.shape))[:, None]


def chaos(rng: np.random.Generator) -> Series:
    """Kuramoto-Sivashinsky, from a small state on."""
    x, k = space(60.0)
    return run(k**2 - k**4, steepening(k), 0.3 * smooth(rng, x, 60.0, 4), k, 0.05, 8).real[:, None]


def pulses(rng: np.random.Generator) -> Series:
    """FitzHugh-Nagumo."""
    x, k = space(60.0)
    v, w, out, E = smooth(rng, x, 60.0, 4), np.zeros_like(x), [], np.exp(-0.05 * k**2)
    for i in range(8 * TIMES):
        if i % 8 == 0:
            out.append([v, w])
        v, w = np.fft.ifft(E * np.fft.fft(v + 0.05 * (v - v**3 / 3 - w))).real, w + 0.004 * (v + 0.7 - 0.8 * w)
    return np.array(out)


def waves(rng: np.random.Generator) -> Series:
    """Damped waves with dispersion."""
    x, k = space(2.0)
    t, omega = np.linspace(0, 3, TIMES)[:, None], np.sqrt(np.maximum(k**2 * (1 + 0.01 * k**2) - 0.04, 0))
    u, v = (np.fft.fft(smooth(rng, x, 2.0, 4)) for _ in range(2))
    return np.fft.ifft(np.exp(-0.2 * t) * (u * np.cos(omega * t) + v * np.sin(omega * t))).real[:, None]


def noise(rng: np.random.Generator) -> Series:
    """Diffusion with noise that is alike at neighbours; stationary."""
    x, k = space(24.0)
    root, u, out = np.exp(-0.5 * k**2), np.zeros_like(x), []
    for i in range(TIMES + 100):
        u = np.fft.ifft(0.95 * np.exp(-0.5 * k**2) * np.fft.fft(u) + root * np.fft.fft(rng.normal(size=POINTS))).real
        out += [u] if i >= 100 else []
    return np.array(out)[:, None]


def wells(rng: np.random.Generator) -> Series:
    """Allen-Cahn with white noise; stationary."""
    x, out = rng.normal(size=POINTS), []
    for i in range(5 * TIMES + 200):
        x = x + 0.04 * (x - x**3 + 0.8 * (np.roll(x, 1) - 2 * x + np.roll(x, -1))) + 0.12 * rng.normal(size=POINTS)
        out += [x] if i >= 200 and i % 5 == 0 else []
    return np.array(out)[:, None]


COURSES = (shock, front, solitons, complex_field, species, heat, chaos, pulses, waves, noise, wells)


def imported(series: Series, folder: Path) -> dict[str, TrajectoryDataset]:
    """Import a course in windows that overlap: the splits."""
    names, n = [f"c{i}" for i in range(series.shape[1])], len(series)
    where = {"time": np.arange(float(n)), "x": np.arange(float(series.shape[2]))}
    data = xr.Dataset({name: (("time", "x"), series[:, i]) for i, name in enumerate(names)}, where)
    import_trajectories([data], folder, Choices(window=WINDOW, variable=",".join(names), boundary="periodic"))
    return {split: TrajectoryDataset(folder / "data" / split).load() for split in ("train", "valid", "test")}


def once(course: Callable[[np.random.Generator], Series], seed: int, train: bool) -> dict[str, float]:
    """Figures of one course."""
    series = course(np.random.default_rng([seed, COURSES.index(course)]))
    with tempfile.TemporaryDirectory() as tmp, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = imported(series, Path(tmp) / "data")
        sde = process_of(data["train"])
        linear = fit_linear(sde, data["train"], data["valid"])
        near, far = (
            float((linear.mean(d.states(-1)) - d.states(0)).abs().mean()) for d in (data["valid"], data["test"])
        )
        row = {"growth": far / near, "said": later_times.growth_beyond(sde, data["train"], data["valid"])}
        return row | (judged(data, STEPS, seed) if train else {})


def main() -> None:
    """Read the command line, print a line for each course, the slope, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="train the law of increments, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of initial states and training")
    parser.add_argument("--only", nargs="+", default=[], help="names of courses")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    every: dict[str, list[float]] = {}
    for seed in args.seeds:
        for course in [c for c in COURSES if not args.only or c.__name__ in args.only]:
            row = once(course, seed, args.train)
            told = ", ".join(f"{name} {value:.3f}" for name, value in row.items())
            print(f"{course.__name__}, seed {seed}: {told}", flush=True)
            for name, value in row.items():
                every.setdefault(name, []).append(value)
    seen, said = (np.log(every[name]) for name in ("growth", "said"))
    print(f"slope of the logarithms {float(seen @ said / max(said @ said, 1e-30)):.3f}", flush=True)
    print("means: " + ", ".join(f"{k} {math.fsum(v) / len(v):.3f}" for k, v in every.items()), flush=True)
    if args.out:
        write(args.out, {"benchmark": "recorded-courses", "seeds": args.seeds}, every)


if __name__ == "__main__":
    main()
