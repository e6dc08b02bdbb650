"""Likely mistakes with plans, layouts, small processes and metrics: a snippet, and the message or that it works."""

WORKS = ""

DATA = {
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
    "nowhere": (
        "pi.generate(pi.DatasetPlan(well, {'train': 2}), None)",
        "`out` must be a path, got None; give the folder",
    ),
    "no-progress-data": (
        "pi.generate(pi.DatasetPlan(well, {'train': 2}), 'more', progress=1)",
        "`progress` must be a function (done, all) -> None, got int 1",
    ),
    "device-plan": (
        "pi.generate(pi.DatasetPlan(well, {'train': 2}, device='gpu'), 'more')",
        "`device` 'gpu' is not available",
    ),
    "number-name": ("pi.DatasetPlan(well, {'train': 2}, name=3)", "`name` must consist of letters"),
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
        "`initial` of Three must return (batch, 3), as `layout` says, got (21, 2)",
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
    "nan-metrics": (
        """
        for name in ("crps", "energy_score", "spread_skill", "coverage", "variogram_score", "sample_relative_l2"):
            try: getattr(pi.metrics, name)(samples / 0, truth)
            except ValueError as error: assert str(error).startswith("`samples` must be finite, got NaN"), error
            else: raise AssertionError(name)
        """,
        WORKS,
    ),
    "list-levels": ("calibration.coverage_curve(samples, truth, levels=[0.5, 0.9])", WORKS),
    "nan-truth": ("pi.metrics.crps(samples, truth / 0)", "`truth` must be finite, got NaN or infinity"),
    "nan-estimate": ("pi.metrics.relative_l2(truth / 0, truth)", "`estimate` must be finite"),
    "nan-map": (
        """
        samples = samples.clone(); samples[1] = float("nan")
        assert pi.metrics.crps_map(samples, truth).isnan().sum(1).tolist() == [0, 2, 0]
        """,
        WORKS,
    ),
    "no-truth": ("pi.metrics.crps(samples[:0], truth[:0])", "`truth` must hold one state or more, got shape (0, 2)"),
    "seed-ranks": (
        "pi.metrics.rank_histogram(samples, truth, generator=0)",
        "`generator` must be a torch.Generator, got int 0",
    ),
    "seed-variogram": (
        "pi.metrics.variogram_score(torch.ones(3, 5, 99), torch.ones(3, 99), generator=0)",
        "`generator` must be a torch.Generator, got int 0",
    ),
    "seed-calibration": (
        "calibration.tarp(torch.ones(99, 5, 2), torch.ones(99, 2), generator=0)",
        "`generator` must be",
    ),
    "word-exponent": (
        "pi.metrics.variogram_score(samples, truth, p='a')",
        "`p` must be a positive number, such as .5, got str",
    ),
    "number-solver": (
        "pi.metrics.reconstruction_error(truth, truth, 3)",
        "`forward` must be a function (x) -> x_T, got int 3",
    ),
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
