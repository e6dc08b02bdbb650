"""Draws of Laplace's Gaussian given sharp sensors, after few and many iterations, beside dense algebra.

python benchmarks/sharp_draws.py    heat on 16 x 16 points without noise, every second point seen at two times; the mean
                                    variance of draws over exact, in the coordinates of the prior, and the ratio that a
                                    twentieth of the directions of the exact covariance lies below, and above (1: right)
"""

from __future__ import annotations

import functools

import torch

from physinv.laws.covariance import isotropic
from physinv.laws.operators import named
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.forward import Forward
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.classical.minimise import lbfgs
from physinv.methods.classical.record_objective import states_at
from physinv.methods.classical.strong_constraint import strong_constraint
from simulators.fields.heat import Heat

DRAWS = 300


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    heat = Heat(size=16, steps=2, noise=0.0)
    generator = torch.Generator().manual_seed(0)
    prior = gaussian_prior_of(heat, heat.initial(400, generator=generator))
    forward = Forward(heat, torch.zeros(heat.shape), isotropic(1.0))
    truth = heat.initial(1, generator=generator)
    eye = torch.eye(prior.mean.numel(), dtype=torch.float64)
    like = torch.zeros(len(eye), *heat.shape, dtype=torch.float64)
    print("noise of sensors   iterations   variance / exact     5 %   95 %")
    for sigma in (0.01, 0.001, 0.0001):
        sensor = named("every:2", sigma, heat.shape)
        record = ObservationRecord((0.5 * heat.horizon, sensor), (heat.horizon, sensor))
        y = record.observe(states_at(heat, truth, record.times), generator=generator)
        K = record.clean(states_at(heat, prior.root(eye, like), record.times)).T
        K = (K - record.clean(states_at(heat, prior.mean[None].to(like), record.times)).T) / sigma
        values, vectors = torch.linalg.eigh(torch.linalg.inv(torch.eye(len(eye)).double() + K.T @ K))
        for iterations in (10, 30, 100):
            answer = strong_constraint(forward, prior, record, functools.partial(lbfgs, iterations=30), iterations)
            drawn = prior.standardise(answer.sample(y, DRAWS, generator=generator)[0]).double()
            along = (drawn - drawn.mean(0)) @ vectors
            ratio = along.square().sum(0) / (DRAWS - 1) / values
            low, high = ratio.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
            whole = float(along.square().sum() / (DRAWS - 1) / values.sum())
            print(f"{sigma:16g}   {iterations:10d}   {whole:16.3f}   {low:5.2f}   {high:4.2f}", flush=True)


if __name__ == "__main__":
    main()
