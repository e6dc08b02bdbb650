"""Where flows and bridges between x_T and x_0 lead, with and without x_T as an input: a Gaussian pair in closed form.

python benchmarks/paths.py    the figures of docs/concepts/flows.md
"""

from __future__ import annotations

import math

from common import repeat

from physinv.equations.paths import Arrival, GaussianPair

RATE, NOISE, TIME = 0.5, 0.5, 2.0  # of dx = -rate x dt + noise dW from N(0, 1), whose x_T is the start of the paths


def once(seed: int, budget: float) -> dict[str, float]:
    """Slope of the mean in x_T, deviation about it, and deviation over all x_T; nothing is random."""
    gain = math.exp(-RATE * TIME)
    pair = GaussianPair(gain**2 + NOISE**2 * (1 - gain**2) / (2 * RATE), gain, 1.0)
    rows: dict[str, Arrival] = {"posterior": pair.posterior(), "straight flow without x_T": pair.flow()}
    for noise in (0.25, 1.0, 2.0):
        rows[f"bridge of noise {noise:g} without x_T"] = pair.bridge(noise, given=False)
    for noise in (0.25, 1.0, 2.0):
        rows[f"bridge of noise {noise:g} with x_T"] = pair.bridge(noise, given=True)
    found = {}
    for name, law in rows.items():
        found[f"{name}: slope of the mean"] = law.slope
        found[f"{name}: deviation"] = math.sqrt(law.variance)
        found[f"{name}: deviation of all x_0"] = math.sqrt(law.slope**2 * pair.start + law.variance)
    return found


if __name__ == "__main__":
    repeat("paths", __doc__, once, budget=0.0)
