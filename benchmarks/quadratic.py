"""Quadratic process, 250 trajectories: Q of the reverse SDE, and P(x_0 = +1 | x_T) against Fokker-Planck.

python benchmarks/quadratic.py    trains three minutes; Q >= .95 (hits within 1 %), |P - exact| <= .03
"""

from __future__ import annotations

import torch
from common import arguments, report, trained

from physinv.devices import threads_for
from physinv.metrics import quadratic_q
from physinv.posterior import Posterior
from physinv.settings import Settings


def main() -> None:
    args = arguments(__doc__ or "", 170.0)
    run, test, seconds = trained("quadratic", args.seed, args.budget, Settings())
    posterior = Posterior(run.simulator, run.model, run.times)
    exact = run.simulator.exact()
    assert exact is not None
    generator = torch.Generator().manual_seed(args.seed)
    with threads_for(test.shape):
        starts = torch.linspace(-0.1, 0.1, 1000)[:, None]
        drawn = posterior.sample(starts, 10, generator=generator)
        q = [quadratic_q(drawn[:, i], 0.01) for i in range(10)]
        figures = {
            "training seconds": seconds,
            "Q, sde, hits within 1 %, mean of 10": float(torch.stack(q).mean()),
            "Q, its standard deviation over draws": float(torch.stack(q).std()),
            "Q, sde, hits within 10 %": float(quadratic_q(drawn, 0.1)),
            "hits within 1 %, share": float(((drawn.abs() - 1).abs() < 0.01).float().mean()),
            "Q, flow, hits within 10 %": float(quadratic_q(posterior.flow(starts), 0.1)),
        }
        final = test.states(len(test.times) - 1)[:, 0]
        low, high = float(final.min()), float(final.max())
        grid = torch.linspace(low, high, 13)[:, None]
        n = 10_000  # standard error of a probability near .5: .005
        ours = (posterior.sample(grid, n, generator=generator) > 0).double().mean(1)[:, 0]
        truth = exact.probabilities(grid)[:, 1]
        figures |= {
            "x_T from, to (range of the test data)": f"{low:.4f} ... {high:.4f}",
            "P(x_0 = +1 | x_T), largest error": float((ours - truth).abs().max()),
            "its standard error of sampling": float((0.25 / n) ** 0.5),
            "P, physinv": [round(float(p), 3) for p in ours],
            "P, Fokker-Planck": [round(float(p), 3) for p in truth],
        }
    report("quadratic", figures, args)


if __name__ == "__main__":
    main()
