"""Likely mistakes with training, runs, data, processes and metrics: a snippet, and the message or that it works."""

WORKS = ""

TRAINING = {
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
    "word-budget": ("pi.Budget(seconds='5m')", "`seconds` of a Budget must be positive and finite, got '5m'"),
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
    "numpy-setting": (
        "assert pi.Settings(width=np.int64(8), rate=np.float64(1e-3)) == pi.Settings(width=8, rate=1e-3)",
        WORKS,
    ),
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
    "folders-of-data": (
        """
        both = pi.TrajectoryDataset(["well/data/train", Path("well/data/train")])
        assert torch.equal(both.states(0), torch.cat([train.states(0), train.states(0)]))
        """,
        WORKS,
    ),
    "folders-of-two-splits": (
        "pi.TrajectoryDataset(['well/data/train', 'well/data/valid'])",
        "differ in `config`; give files of one split of one dataset",
    ),
    "time-for-index": ("train.states(0.1)", "`time_index` must be the number of a time, 0 to 4, got float 0.1"),
    "word-seed": ("pi.SamplingPlan(seed='a')", "`seed` must be a whole number, got str 'a'"),
    "half-samples": ("pi.SamplingPlan(samples=2.5)", "`samples` must be a whole number, got float 2.5"),
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
    "method-layout": (
        """
        class Called(Own):
            def layout(self): return pi.VectorLayout("x", 2)
        Called().simulate(5)
        """,
        "`layout` of Called must be a property; put @property above",
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
    "word-coverage": ("pi.metrics.coverage(samples, truth, '90')", "`level` must be a probability ... got '90'"),
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
