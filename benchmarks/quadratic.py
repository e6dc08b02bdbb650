"""Quadratic process, the first experiment of Holzschuh et al. (2023): Q for 2500, 250 and 25 trajectories.

python benchmarks/quadratic.py    every Q >= the published one, and >= .95 for 250 and 2500 trajectories, with hits
                                  counted within 10 % (as published) and within 1 %; the budget is per cell

Q = 2 min(P_-, P_+) of 1000 starts in [-.1, .1]; `sde` is averaged over 10 draws.  Exact: 1.000 (flow), .975 +- .019
(one draw of the sde: a fair coin per start).
"""

from __future__ import annotations

import torch
from common import repeat, trained

from physinv.config.devices import threads_for
from physinv.config.settings import Settings
from physinv.posterior.posterior import Posterior
from simulators.vectors.quadratic import quadratic_q

WINDOWS = {"1-step": (2,), "multi-step": (2, 4, 8)}


def once(seed: int, budget: float) -> dict[str, float]:
    figures: dict[str, float] = {}
    for trajectories in (2500, 250, 25):
        for label, windows in WINDOWS.items():
            run, test, seconds = trained("quadratic", seed, budget, Settings(windows=windows), train=trajectories)
            posterior = Posterior(run.simulator, run.model, run.times)
            generator, starts = torch.Generator().manual_seed(seed), torch.linspace(-0.1, 0.1, 1000)[:, None]
            with threads_for(test.shape):
                drawn, flow = posterior.sample(starts, 10, generator=generator), posterior.flow(starts)
            cell = f"{trajectories} trajectories, {label}"
            figures[f"{cell}: training seconds"] = seconds
            for name, ends in (("flow", flow[:, None]), ("sde", drawn)):
                for within in (0.1, 0.01):
                    q = torch.stack([quadratic_q(ends[:, i], within) for i in range(ends.shape[1])]).mean()
                    figures[f"{cell}: Q {name}, hits within {100 * within:g} %"] = float(q)
            print({k: round(v, 3) for k, v in figures.items() if k.startswith(cell)}, flush=True)
    return figures


if __name__ == "__main__":
    repeat("quadratic", __doc__, once, budget=45.0)
