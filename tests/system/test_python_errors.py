# ruff: noqa: E501
"""Likely mistakes of a user in Python: each simply works, or is refused by one line that says what to do.

All snippets run in one plain Python process: under pytest jaxtyping and beartype would catch many of them first.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SETUP = """
import dataclasses, math, tempfile
from pathlib import Path
import numpy as np, torch
import physinv as pi
from physinv.evaluation import calibration, spectra, two_sample
from physinv.evaluation.physics_residual import physics_residual
from physinv.models.references.mixture import MixtureReference
from physinv.posterior.partial import sample_given
from physinv.processes.layout import layout_from
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell

def seed(): return torch.Generator().manual_seed(0)

well, heat = DoubleWell(steps=4, horizon=0.1), Heat(dimension=1, size=8, steps=4)
for process, folder in ((well, "well"), (heat, "heat")):
    pi.generate(pi.DatasetPlan(process, {"train": 24, "valid": 8}, seed=1), folder)
train, valid = (pi.TrajectoryDataset(f"well/data/{split}") for split in ("train", "valid"))
hot = pi.TrajectoryDataset("heat/data/train")
tiny = pi.Settings(width=8, depth=1, components=2)
model, heat_model = pi.build_model(well, train, tiny), pi.build_model(heat, hot, tiny)
times, x, final = well.times, train.states(0, limit=3), train.states(-1, limit=3)
posterior = pi.Posterior(well, model, times)
samples, truth = torch.randn(3, 5, 2, generator=seed()), torch.randn(3, 2, generator=seed())
wrong = torch.full((3, 1), float("nan"))

class Mine(pi.SDE):
    def drift(self, x, t): return -x
    def diffusion(self, t): return 0.5 * torch.ones_like(t)
class Plain(Mine):
    def diffusion(self, t): return 0.5
class Flat(Mine):
    def drift(self, x, t): return -x[:, 0]
class Vague(Mine):
    def diffusion(self, t): return torch.ones(7)

@dataclasses.dataclass(frozen=True)
class Own(pi.Simulator):
    @property
    def layout(self): return pi.VectorLayout("x", 2)
    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.zeros(batch, 2, device=device, dtype=dtype)
    def drift(self, x, t): return -x
    def diffusion(self, t): return torch.ones_like(t)
"""

WORKS = ""

CASES = {
    # The posterior.
    "numpy-float64-final": (
        """
        out = posterior.sample(final.numpy().astype(np.float64), 4, generator=seed())
        assert out.dtype == torch.float32 and torch.equal(out, posterior.sample(final, 4, generator=seed()))
        """,
        WORKS,
    ),
    "float64-final": (
        "assert torch.equal(posterior.sample(final.double(), 4, generator=seed()),"
        " posterior.sample(final, 4, generator=seed()))",
        WORKS,
    ),
    "list-final": ("assert torch.equal(posterior.flow(final.tolist()), posterior.flow(final))", WORKS),
    "numpy-mean-flow": ("assert torch.equal(posterior.mean_flow(final.numpy()), posterior.mean_flow(final))", WORKS),
    "numpy-log-prob": ("assert torch.equal(posterior.log_prob(x.numpy()), posterior.log_prob(x))", WORKS),
    "one-final": ("posterior.sample(final[0], 4)", "`final` must have shape (batch, 1), got (1,); ... final[None]"),
    "no-samples": ("posterior.sample(final, 0)", "`n` must be at least 1, got 0"),
    "half-a-sample": ("posterior.sample(final, 2.5)", "`n` must be a whole number, got float 2.5"),
    "swapped-final": ("posterior.sample(4, final)", "`n` must be a whole number, got Tensor of shape"),
    "int-generator": ("posterior.sample(final, 4, generator=0)", "`generator` must be a torch.Generator, got int 0"),
    "other-final": (
        "posterior.sample(hot.states(-1), 4)",
        "`final` must have shape (batch, 1), got (24, 1, 8); is it of another process",
    ),
    "nan-final": ("posterior.sample(wrong, 4)", "`final` must be finite, got NaN or infinity in state 0"),
    "words-final": ("posterior.flow('final')", "`final` must be a tensor or an array of numbers, got str 'final'"),
    "list-times-posterior": (
        "assert pi.Posterior(well, model, [0, .05, .1]).sample(final, 2).shape == (3, 2, 1)",
        WORKS,
    ),
    "swapped-posterior": (
        "pi.Posterior(model, well, times)",
        "`sde` must be an SDE, got ScoreModel; ... Posterior(sde, score, times)",
    ),
    "class-posterior": ("pi.Posterior(DoubleWell, model, times)", "`sde` must be an SDE, got the class DoubleWell"),
    "class-score": (
        "pi.Posterior(well, pi.ScoreModel, times)",
        "`score` must be a function ... got the class ScoreModel",
    ),
    "decreasing-posterior": (
        "pi.Posterior(well, model, [.1, 0])",
        "`times` must increase strictly, got 0.1 and then 0",
    ),
    "beyond-posterior": (
        "pi.Posterior(well, model, [0, .1, .2])",
        "`times` must end at 0.1 at the latest, ... got 0.2; ",
    ),
    "later-posterior": ("assert pi.Posterior(well, model, [.05, .1]).sample(final, 2).shape == (3, 2, 1)", WORKS),
    "negative-posterior": ("pi.Posterior(well, model, [-1, .1])", "`times` must begin at 0 or later, got -1"),
    "other-model": ("pi.Posterior(heat, model, times)", "`score` is for states of shape (1,), Heat has (1, 8)"),
    "step-posterior": ("pi.Posterior(well, model, times, step='split')", "`step` must be a Step, got str 'split'"),
    "batch-posterior": ("pi.Posterior(well, model, times, batch=0)", "`batch` must be at least 1, got 0"),
    "score-shape": ("pi.Posterior(Mine(), lambda x, t: -x[:, 0], [0, 1]).flow(final)", "`score` ... (batch, 1), got"),
    # Solving.
    "list-times": ("assert torch.equal(pi.solve(well, x, [0, .1, .2], noise=False)[:, 0], x)", WORKS),
    "numpy-states": (
        """
        out = pi.solve(well, x.numpy(), times.numpy(), generator=seed())
        assert torch.equal(out, pi.solve(well, x, times, generator=seed()))
        """,
        WORKS,
    ),
    "double-states": ("assert pi.solve(well, x.double(), times).dtype == torch.float64", WORKS),
    "whole-states": ("assert pi.solve(well, torch.ones(2, 1, dtype=torch.int64), times).dtype == torch.float32", WORKS),
    "one-state": ("pi.solve(well, x[0], times)", "`x` must have shape (batch, 1), got (1,); ... x[None]"),
    "one-state-sde": ("pi.solve(Mine(), x[0], times)", "`x` must have shape (batch, *state), got (1,); ... x[None]"),
    "int-generator-solve": (
        "pi.solve(well, x, times, generator=0)",
        "`generator` must be a torch.Generator, got int 0",
    ),
    "class-solve": (
        "pi.solve(DoubleWell, x, times)",
        "`sde` must be an SDE, got the class DoubleWell; give DoubleWell(",
    ),
    "swapped-solve": ("pi.solve(times, x, well)", "`sde` must be an SDE, got Tensor of shape (5,)"),
    "one-time": ("pi.solve(well, x, [0.])", "`times` must hold two or more numbers"),
    "no-line": ("pi.solve(well, x, .1)", "`times` must be numbers along one axis"),
    "step-solve": ("pi.solve(well, x, times, step='heun')", "`step` must be a Step, got str 'heun'"),
    "flat-drift": (
        "pi.solve(Flat(), x, times)",
        "`drift` of Flat must return (batch, 1), got (batch,); index with x[:, :1]",
    ),
    "flat-drift-square": ("pi.solve(Flat(), torch.ones(4, 4), times)", "`drift` of Flat must return (batch, 4), got"),
    "flat-drift-heun": (
        "from physinv.equations.steps import heun; pi.solve(Flat(), x, times, step=heun)",
        "`drift` of",
    ),
    "flat-drift-reverse": ("pi.Posterior(Flat(), lambda x, t: -x, [0, 1]).flow(final)", "`drift` of Flat must return"),
    "float-diffusion": (
        "assert torch.equal(pi.solve(Plain(), x, times, generator=seed()), pi.solve(Mine(), x, times, generator=seed()))",
        WORKS,
    ),
    "float-diffusion-reverse": (
        """
        score = lambda x, t: -x
        a, b = (pi.Posterior(sde, score, [0, .5, 1]).sample(final, 2, generator=seed()) for sde in (Plain(), Mine()))
        assert torch.equal(a, b)
        """,
        WORKS,
    ),
    "vague-diffusion": ("pi.solve(Vague(), x, times)", "`diffusion` of Vague must return"),
    "run-list": ("assert torch.equal(well.run(x, times=[0, .1], noise=False)[:, 0], x)", WORKS),
    "run-numpy": ("assert torch.equal(well.run(x.numpy(), noise=False), well.run(x, noise=False))", WORKS),
    "run-other": (
        "well.run(hot.states(0))",
        "`x` must have shape (batch, 1), got (24, 1, 8); is it of another process",
    ),
    "run-one-time": ("well.run(x, [0.])", "`times` must hold two or more numbers"),
    "run-tensor-derivative": (
        """
        noise = torch.tensor(0.5, requires_grad=True)
        dataclasses.replace(well, temperature=noise).run(x).sum().backward()
        assert noise.grad is not None
        """,
        WORKS,
    ),
    "simulate-text": ("well.simulate('5')", "`batch` must be a whole number, got str '5'"),
    "simulate-0": ("well.simulate(0)", "`batch` must be at least 1, got 0"),
    "simulate-negative": ("well.simulate(-1)", "`batch` must be at least 1, got -1"),
    "simulate-numpy": ("assert well.simulate(np.int64(2)).shape == (2, 5, 1)", WORKS),
    "simulate-generator": ("well.simulate(2, generator=0)", "`generator` must be a torch.Generator"),
    # The reversal.
    "word-score": ("pi.Reverse(well, 'score')", "`score` must be a function (x, t) -> score, got str 'score'"),
    "swapped-reverse": ("pi.Reverse(model, well)", "`sde` must be an SDE, got ScoreModel"),
    "function-reverse": ("pi.Reverse(lambda x, t: x, well)", "`sde` must be an SDE, got function"),
    "negative-eta": ("pi.Reverse(well, model, eta=-1)", "`eta` must be a finite number >= 0"),
    "word-eta": ("pi.Reverse(well, model, eta='1')", "`eta` must be a finite number >= 0"),
    "float-time": ("assert torch.equal(model(x, 0.05), model(x, torch.full((3,), 0.05)))", WORKS),
    "numpy-model": ("assert torch.equal(model(x.numpy(), 0.05), model(x, 0.05))", WORKS),
    "double-model": ("assert torch.equal(model(x.double(), 0.05), model(x, 0.05))", WORKS),
    "model-time-shape": (
        "model(x, torch.zeros(7))",
        "`t` must be one number or one for each of 3 states, got shape (7,)",
    ),
    "model-other": ("model(hot.states(0), 0.05)", "`x` must have shape (batch, 1), got (24, 1, 8)"),
    # Observations.
    "matrix-observation": (
        """
        H = np.array([[1.0, 0, 0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0, 0, 0]])
        a, b = pi.Observation(H, 0.1), pi.Observation(lambda x: x.flatten(1)[:, :2], 0.1)
        u = hot.states(-1)
        assert torch.equal(a.observe(u, generator=seed()), b.observe(u, generator=seed()))
        """,
        WORKS,
    ),
    "matrix-size": (
        "pi.Observation(torch.ones(2, 3), 0.1).observe(final)",
        "`operator` must have as many columns as a state has numbers, 1, got a matrix of shape (2, 3)",
    ),
    "no-matrix": ("pi.Observation(torch.ones(3), 0.1)", "`operator` must be a function of states or a matrix"),
    "word-operator": ("pi.Observation('coarse:2', 0.1)", "`operator` must be a function ... named("),
    "no-noise": ("pi.Observation(lambda x: x, noise=0)", "`noise` must be positive and finite, got 0"),
    "word-noise": ("pi.Observation(lambda x: x, noise='small')", "`noise` must be positive and finite, got"),
    "numpy-y": (
        """
        seen = pi.Observation(lambda x: x, 0.1)
        law, y = pi.Posterior(heat, heat_model, heat.times), hot.states(-1, limit=2)
        a, b = (sample_given(law, seen, z, 2, sweeps=2, generator=seed()) for z in (y, y.double().numpy()))
        assert torch.equal(a, b)
        """,
        WORKS,
    ),
    "given-swapped": ("sample_given(pi.Observation(lambda x: x, 0.1), posterior, final, 2)", "`posterior` must be a"),
    "given-one": (
        "sample_given(posterior, pi.Observation(lambda x: x, 0.1), final[0], 2)",
        "`y` must have shape (batch, *state), got (1,); for one state give y[None]",
    ),
    # The exact posterior.
    "exact-numpy": (
        """
        exact = well.exact()
        assert torch.equal(exact.mean(final.numpy()), exact.mean(final))
        assert torch.equal(exact.flow(final.numpy()), exact.flow(final))
        a, b = (exact.sample(z, 3, generator=seed()) for z in (final.numpy(), final))
        assert torch.equal(a, b)
        """,
        WORKS,
    ),
    "exact-heat-numpy": (
        "assert torch.equal(heat.exact().mean(hot.states(-1).numpy()), heat.exact().mean(hot.states(-1)))",
        WORKS,
    ),
    "exact-none": ("well.exact().sample(final, 0)", "`n` must be at least 1, got 0"),
    "exact-one": ("heat.exact().sample(hot.states(-1)[0], 2)", "`final` must have shape (batch, 1, 8), got (1, 8)"),
    "exact-one-scalar": ("well.exact().mean(final[0])", "`final` must have shape (batch, 1), got (1,)"),
    "exact-generator": ("well.exact().sample(final, 2, generator=1)", "`generator` must be a torch.Generator"),
    # Training.
    "dict-settings": (
        "assert len(pi.fit(model, well, train, valid, settings={'width': 8}, budget=pi.Budget(steps=1)).records)",
        WORKS,
    ),
    "no-settings": ("assert pi.build_model(well, train) is not None", WORKS),
    "misspelt-settings": (
        "pi.fit(model, well, train, valid, settings={'widht': 8}, budget=pi.Budget(steps=1))",
        "unknown setting `widht`; did you mean `width`?",
    ),
    "swapped-fit": (
        "pi.fit(model, train, well, valid, settings=tiny, budget=pi.Budget(steps=1))",
        "`sde` must be an SDE, got TrajectoryDataset; ... fit(model, sde, train, valid",
    ),
    "path-fit": (
        "pi.fit(model, well, 'well/data/train', valid, settings=tiny, budget=pi.Budget(steps=1))",
        "`train` must be a TrajectoryDataset, got str 'well/data/train'; ... TrajectoryDataset(",
    ),
    "other-data-fit": (
        "pi.fit(model, well, hot, hot, settings=tiny, budget=pi.Budget(steps=1))",
        "`train` has states of shape (1, 8), ... (1,)",
    ),
    "no-budget": (
        "pi.fit(model, well, train, valid, settings=tiny)",
        "TypeError: fit() missing 1 required keyword-only argument: 'budget'",
    ),
    "int-budget": (
        "pi.fit(model, well, train, valid, settings=tiny, budget=60)",
        "`budget` must be ... Budget(seconds=60)",
    ),
    "both-budgets": ("pi.Budget(steps=5, seconds=2)", "give exactly one of `steps` and `seconds`"),
    "half-a-step": ("pi.Budget(steps=1.5)", "`steps` of a Budget must be a whole number"),
    "train-run-dict": (
        "assert len(pi.train_run('run', train, valid, settings={'width': 8}, budget=pi.Budget(steps=1)).records)",
        WORKS,
    ),
    "train-run-path": (
        "pi.train_run('r', 'a', valid, settings=tiny, budget=pi.Budget(steps=1))",
        "`train` must be a T",
    ),
    "misspelt-setting": ("pi.Settings(widht=8)", "unknown setting `widht`; did you mean `width`?"),
    "word-setting": ("pi.Settings(width='a')", "`width` must be a valid integer, got 'a'"),
    "negative-setting": ("pi.Settings(width=-1)", "`width` must be greater than or equal to 0, got -1"),
    "build-class": ("pi.build_model(DoubleWell, train, tiny)", "`sde` must be an SDE, got the class DoubleWell; give"),
    "build-path": ("pi.build_model(well, 'well/data/train', tiny)", "`data` must be a TrajectoryDataset, got str"),
    "build-swapped": ("pi.build_model(train, well, tiny)", "`sde` must be an SDE, got TrajectoryDataset"),
    "build-other": ("pi.build_model(heat, train, tiny)", "`data` has states of shape (1,), ... Heat (1, 8)"),
    # Runs and data.
    "run-path": ("assert pi.load_run('run').simulator == well", WORKS),
    "no-run": ("pi.load_run('nowhere')", "nowhere is not a run: there is no nowhere/run.json; make one with"),
    "run-type": ("pi.load_run(3)", "`run` must be a folder, got int 3"),
    "reconstruct-path": (
        """
        pi.reconstruct(pi.load_run('run'), valid, 'a.hdf5', pi.SamplingPlan(samples=2))
        pi.reconstruct('run', 'well/data/valid', 'b.hdf5', pi.SamplingPlan(samples=2))
        import h5py
        assert (h5py.File('a.hdf5')['samples'][...] == h5py.File('b.hdf5')['samples'][...]).all()
        """,
        WORKS,
    ),
    "reconstruct-swapped": ("pi.reconstruct(valid, pi.load_run('run'), 'a.hdf5')", "`run` must be a Run, got Traj"),
    "evaluate-path": ("from physinv.reports import plots; assert pi.evaluate('a.hdf5')", WORKS),
    "evaluate-type": ("pi.evaluate(samples)", "`recon` must be a Reconstruction, got Tensor"),
    "no-data": ("pi.TrajectoryDataset('nowhere')", "there is no file or folder nowhere; make it with `physinv gen"),
    "whole-data": ("pi.TrajectoryDataset('well')", "well holds no .hdf5 files; did you mean well/data/train?"),
    "no-path": ("pi.TrajectoryDataset(well)", "`source` must be a path or several, got DoubleWell"),
    # Processes and plans.
    "int-for-float": (
        """
        a, b = DoubleWell(temperature=1), DoubleWell(temperature=1.0)
        assert a == b and type(a.temperature) is float and repr(a) == repr(b)
        assert pi.DatasetPlan(a, {'train': 2}).config == pi.DatasetPlan(b, {'train': 2}).config
        """,
        WORKS,
    ),
    "numpy-for-float": ("assert type(DoubleWell(temperature=np.float32(1), steps=np.int64(3)).steps) is int", WORKS),
    "word-for-float": ("DoubleWell(temperature='hot')", "`temperature` of DoubleWell must be of type float, got 'hot'"),
    "nan-for-float": ("DoubleWell(temperature=float('nan'))", "`temperature` of DoubleWell must be finite, got nan"),
    "float-for-int": ("DoubleWell(steps=2.0)", "`steps` of DoubleWell must be of type int, got 2.0"),
    "class-plan": (
        "pi.DatasetPlan(DoubleWell, {'train': 2})",
        "`simulator` must be a Simulator, got the class DoubleWell",
    ),
    "misspelt-split": ("pi.DatasetPlan(well, {'trian': 5})", "got `trian`; did you mean `train`?"),
    "no-train-split": ("pi.DatasetPlan(well, {'valid': 5})", "`splits` must name train"),
    "number-splits": (
        "pi.DatasetPlan(well, 5)",
        "`splits` must map names to numbers, such as {'train': 100}, got int 5",
    ),
    "no-trajectories": (
        "pi.DatasetPlan(well, {'train': 0})",
        "`splits.train` must be at least 1, got 0",
    ),
    "negative-seed": (
        "pi.DatasetPlan(well, {'train': 2}, seed=-1)",
        "`seed` must be between 0 and 2^63 - 1, got -1",
    ),
    "half-a-seed": ("pi.DatasetPlan(well, {'train': 2}, seed=1.5)", "`seed` must be a whole number ... got float 1.5"),
    "no-plan": ("pi.generate(well, 'out')", "`plan` must be a DatasetPlan, got DoubleWell; ... DatasetPlan(DoubleWell"),
    "swapped-layout": ("pi.VectorLayout(3, 'x')", "`name` of a vector must be a word, got int 3"),
    "float-layout": (
        "pi.VectorLayout('x', 3.0)",
        "`size` of a vector must be a whole number, got float 3.0",
    ),
    "axes-layout": (
        "pi.FieldLayout('u', ('x', 'y'), [range(4)])",
        "`coordinates` must hold one list for each of ('x', 'y'), got 1",
    ),
    "flat-layout": (
        "pi.FieldLayout('u', 'x', range(4))",
        "`coordinates` must hold one list for each of ('x',), got range",
    ),
    "swapped-particles": ("pi.ParticleLayout('position', 4, 2)", "`count` of particles must be a whole number"),
    # A process of one's own.
    "no-layout": (
        """
        @dataclasses.dataclass(frozen=True)
        class Bare(pi.Simulator):
            def drift(self, x, t): return -x
            def diffusion(self, t): return torch.ones_like(t)
        Bare()
        """,
        "TypeError: Can't instantiate abstract class Bare ... initial ... layout",
    ),
    "other-layout": (
        """
        class Three(Own):
            layout = property(lambda self: pi.VectorLayout("x", 3))
        pi.generate(pi.DatasetPlan(Three(), {"train": 2}, name="three"), "three")
        """,
        "`initial` of Three must return (batch, 3), as `layout` says, got (2048, 2)",
    ),
    "other-layout-simulate": (
        """
        class Three(Own):
            layout = property(lambda self: pi.VectorLayout("x", 3))
        Three().simulate(5)
        """,
        "`initial` of Three must return (batch, 3), as `layout` says, got (5, 2)",
    ),
    "deaf-initial": (
        """
        class Deaf(Own):
            def initial(self, batch, **rest): return torch.zeros(1, 2)
        Deaf().simulate(5)
        """,
        "`initial` of Deaf must return 5 states, as many as `batch` says, got 1",
    ),
    "float-own": (
        """
        class Calm(Own):
            def diffusion(self, t): return 0.5
        pi.generate(pi.DatasetPlan(Calm(), {"train": 20}, name="calm"), "calm")
        data = pi.TrajectoryDataset("calm/data/train")
        fresh = pi.build_model(Calm(), data, tiny)
        pi.fit(fresh, Calm(), data, data, settings=tiny, budget=pi.Budget(steps=1))
        assert pi.Posterior(Calm(), fresh, Calm().times).sample(data.states(-1), 2).isfinite().all()
        """,
        WORKS,
    ),
    # Metrics.
    "swapped-crps": ("pi.metrics.crps(truth, samples)", "`samples` must have shape (batch, members, *state) ... swap"),
    "numpy-crps": (
        "assert torch.equal(pi.metrics.crps(samples.numpy(), truth.numpy()), pi.metrics.crps(samples, truth))",
        WORKS,
    ),
    "mixed-crps": (
        "assert torch.equal(pi.metrics.crps(samples, truth.double()).float(), pi.metrics.crps(samples, truth))",
        WORKS,
    ),
    "numpy-metrics": (
        """
        s, t = samples.numpy(), truth.numpy()
        for name in ("energy_score", "spread_skill", "coverage", "variogram_score", "sample_relative_l2",
                     "crps_map", "rank_histogram"):
            a, b = (getattr(pi.metrics, name)(*pair) for pair in ((s, t), (samples, truth)))
            assert torch.equal(a, b), name
        assert torch.equal(pi.metrics.relative_l2(t, t + 1), pi.metrics.relative_l2(truth, truth + 1))
        assert torch.equal(two_sample.wasserstein(t, t + 1), two_sample.wasserstein(truth, truth + 1))
        assert torch.equal(calibration.calibration_error(s, t), calibration.calibration_error(samples, truth))
        """,
        WORKS,
    ),
    "batch-crps": (
        "pi.metrics.crps(samples, truth[:2])",
        "`samples` must have shape ... (2, 2), got (3, 5, 2); give one truth for each ensemble",
    ),
    "swapped-residual": (
        "physics_residual(train.trajectories(), times, well)",
        "`sde` must be an SDE, got Tensor of shape (5,); give physics_residual(states, sde, times)",
    ),
    "array-residual": (
        "assert physics_residual(train.trajectories().numpy(), well, times.tolist()) > 0",
        WORKS,
    ),
    "word-spectrum": ("spectra.radial_spectrum('u')", "`field` must be a tensor or an array of numbers, got str 'u'"),
    "nan-spectrum": ("spectra.radial_spectrum(wrong[:, None])", "`field` must be finite, got NaN or infinity"),
    "word-crps": ("pi.metrics.crps('samples', truth)", "`samples` must be a tensor or an array of numbers, got str"),
    "shape-l2": (
        "pi.metrics.relative_l2(truth, truth[:2])",
        "`estimate` must have the shape (2, 2) of `truth`, got (3, 2)",
    ),
    "pair-wasserstein": ("two_sample.wasserstein(truth, truth[:2])", "`b` must have the shape (3, 2) of `a`"),
}

RUNNER = """
import json, sys, textwrap
setup, snippets = json.load(sys.stdin)
names = {}
exec(setup, names)
outcomes = {}
for case, snippet in snippets.items():
    try:
        exec(textwrap.dedent(snippet), dict(names))
        outcomes[case] = ("", "")
    except Exception as error:
        outcomes[case] = (type(error).__name__, str(error), isinstance(error, (ValueError, FileNotFoundError)))
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of each snippet: name of the error and message, both empty where there was none."""
    text = json.dumps([SETUP, {case: snippet for case, (snippet, _) in CASES.items()}])
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNNER],
        input=text,
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("errors"),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("case", CASES)
def test_mistakes_work_or_are_refused_in_one_line(outcomes, case):
    kind, message, *refused = outcomes[case]
    wanted = CASES[case][1]
    if not wanted:
        assert not kind, f"{kind}: {message}"
        return
    assert refused, f"worked, but should be refused: {wanted}"
    if wanted.startswith("TypeError: "):
        assert kind == "TypeError"
        wanted = wanted.removeprefix("TypeError: ")
    else:
        assert refused[0], f"{kind}: {message}"
    assert len(message.splitlines()) == 1
    at = 0
    for part in wanted.split(" ... "):
        assert part.strip() in message[at:], message
        at = message.index(part.strip(), at) + len(part.strip())
