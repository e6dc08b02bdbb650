# ruff: noqa: E501
"""Likely mistakes with exact laws, layouts, figures and thermodynamics: a snippet, and the message."""

WORKS = ""

LAWS = {
    # Exact laws.
    "exact-density-numpy": (
        """
        for law, a, b in ((well.exact(), x, final), (heat.exact(), hot.states(0), hot.states(-1))):
            assert torch.equal(law.log_prob(a.numpy(), b.numpy()), law.log_prob(a, b))
        """,
        WORKS,
    ),
    "exact-density-unequal": (
        "well.exact().log_prob(x, final[:2])",
        "`initial` must hold one row for each of the 2 of `final`, got 3",
    ),
    "exact-density-unequal-field": (
        "heat.exact().log_prob(hot.states(0)[:1], hot.states(-1))",
        "`initial` must hold one row for each of the 24 of `final`, got 1",
    ),
    "exact-density-other": ("well.exact().log_prob(hot.states(0), final)", "`initial` must have shape (batch, 1)"),
    "exact-density-nan": ("well.exact().log_prob(wrong, final)", "`initial` must be finite"),
    "likelihood-unequal": (
        "pi.Observation(lambda x: x, 0.1).log_prob(final[:2], final)",
        "`y` must have shape (3, 1), what `operator` makes of `x`, got (2, 1)",
    ),
    "likelihood-score-unequal": (
        "pi.Observation(lambda x: x, 0.1).score(final[:1], final)",
        "`y` must have shape (3, 1)",
    ),
    "likelihood-numpy": (
        """
        seen = pi.Observation(lambda x: x, 0.1)
        assert torch.equal(seen.score(x.numpy(), final.numpy()), seen.score(x, final))
        assert torch.equal(seen.log_prob(x.numpy(), final.numpy()), seen.log_prob(x, final))
        """,
        WORKS,
    ),
    "swapped-observation": ("pi.Observation(0.1, lambda x: x)", "`noise` must be ... got function; give Observation("),
    "flat-observation": (
        "pi.Observation(lambda x: x[:, 0], 0.1).observe(final)",
        "`operator` must return a tensor (2, *seen) for 2 states, got Tensor of shape (2,); index with x[:, :1]",
    ),
    "wide-operator": (
        "pi.Observation(lambda x: x @ torch.ones(3, 2), 0.1).observe(final)",
        "`operator` must take states of shape (1,), and ends with RuntimeError: mat1 and mat2",
    ),
    "swapped-record": (
        "pi.ObservationRecord((pi.Observation(lambda x: x, 0.1), 0.05))",
        "`pairs` must be (time, Observation), got (Observation, float 0.05)",
    ),
    "numpy-record": (
        """
        record = pi.ObservationRecord((0.1, pi.Observation(lambda x: x, 0.1)))
        paths, y = final[:, None], final + 0.1
        assert torch.equal(record.log_prob(y.numpy(), paths.numpy()), record.log_prob(y, paths))
        assert torch.equal(record.observe(paths.numpy(), generator=seed()), record.observe(paths, generator=seed()))
        """,
        WORKS,
    ),
    "unequal-record": (
        """
        record = pi.ObservationRecord((0.1, pi.Observation(lambda x: x, 0.1)))
        record.log_prob(final[:2], final[:, None])
        """,
        "`y` must hold one row for each of the 3 of `states`, got 2",
    ),
    "swapped-filter": (
        """
        record = pi.ObservationRecord((0.1, pi.Observation(lambda x: x, 0.1)))
        pi.filter_record(record, well, final, lambda ensemble, observation, seen, generator: None, 8)
        """,
        "`simulator` must be a Simulator, got ObservationRecord; give filter_record(simulator, record",
    ),
    "nothing-filter": (
        "pi.filter_record(well, pi.ObservationRecord((0.1, pi.Observation(lambda x: x, 0.1))), final, lambda e, o, s, g: None, 8)",
        "`analysis` must return two ensembles, corrected and to go on with, got None",
    ),
    "word-filter": (
        "pi.filter_record(well, pi.Observation(lambda x: x, 0.1), final, 'particles', 8)",
        "`analysis` must be a function (ensemble, observation, seen, generator)",
    ),
    # Layouts and noising.
    "empty-layout": ("pi.FieldLayout('u', 'x', [[]])", "`coordinates` must hold one or more positions along each axis"),
    "tensor-parameter": (
        "from physinv.processes.parameters import describe; assert describe(type(well)(barrier=torch.tensor(2.0)))['barrier'] == 2.0",
        WORKS,
    ),
    "nan-layout": ("pi.FieldLayout('u', 'x', [[0, float('nan')]])", "`coordinates` must be finite"),
    "repeated-layout": ("pi.FieldLayout('u', 'x', [[0, 0, 1]])", "`coordinates` must increase or decrease along each"),
    "unsorted-layout": ("pi.FieldLayout('u', 'x', [[0, 2, 1]])", "`coordinates` must increase or decrease along each"),
    "falling-layout": ("assert pi.FieldLayout('u', 'x', [[2, 1, 0]]).shape == (1, 3)", WORKS),
    "words-layout": ("pi.FieldLayout('u', 'x', 'abc')", "`coordinates` must hold one list for each"),
    "box-layout": ("pi.ParticleLayout(4, 2, 'position', box=-1)", "`box` of particles must be 0 or the period"),
    "names-layout": ("pi.ParticleLayout(4, 2, 3)", "the names of a layout must be words, got int 3"),
    "number-schedule": ("pi.noising.VP(0.1)", "`schedule` must be a Schedule, got float 0.1; give LinearRate()"),
    "word-rate": ("pi.noising.LinearRate(first='a')", "`first` of LinearRate must be a number, got str 'a'"),
    "word-chain": ("pi.noising.chain('a')", "`betas` must be a tensor or an array of numbers"),
    "skew-directions": (
        "pi.noising.RotatedVP(directions=torch.ones(3, 3))",
        "`directions` must be square with orthonormal",
    ),
    # Figures.
    "numpy-figure": ("pi.plots.reconstruction(x.numpy(), final.numpy(), x[:, None].numpy(), well.layout)", WORKS),
    "numpy-trajectory": ("pi.plots.trajectory(train.trajectories().numpy(), times.tolist(), well.layout)", WORKS),
    "process-figure": (
        "pi.plots.trajectory(train.trajectories(), times, well)",
        "`layout` must be a StateLayout, got DoubleWell; give that of the process, such as process.layout",
    ),
    "other-figure": (
        "pi.plots.reconstruction(hot.states(0), hot.states(-1), hot.states(0)[:, None], well.layout)",
        "`truth` must have shape (batch, 1), got (24, 1, 8)",
    ),
    "unequal-figure": (
        "pi.plots.reconstruction(x, final[:2], x[:, None], well.layout)",
        "`observation` must hold one row for each of the 3 of `truth`, got 2",
    ),
    "channel-figure": (
        "pi.plots.reconstruction(hot.states(0), hot.states(-1), hot.states(0)[:, None], heat.layout, channel=5)",
        "`channel` must be the number of a channel, 0 ",
    ),
    "rows-figure": ("pi.plots.reconstruction(x, final, x[:, None], well.layout, rows=0)", "`rows` must be at least 1"),
    "path-training-figure": ("pi.plots.training('run')", "`records` must be the log of a training, got str 'run'"),
    "empty-figure": (
        "pi.plots.trajectory(torch.zeros(0, len(times), 1), times, well.layout)",
        "`states` must hold one",
    ),
    "bounds-of-a-parameter": (
        "pi.parameter(1.0, 'a', 'rate', minimum=3, maximum=1)",
        "`maximum` of a parameter must be at least its smallest value, 3, got 1",
    ),
    "word-bound": (
        "pi.parameter(1.0, 'a', 'rate', minimum='0')",
        "`minimum` of a parameter must be a number, got str '0'",
    ),
    "wide-matrix": (
        "pi.Observation(torch.ones(2, 3), 0.1).observe(final)",
        "`operator` must have as many columns as a state has numbers, 1, got a matrix of shape (2, 3); is it transposed?",
    ),
    "list-ranks": ("pi.plots.ranks([3, 2, 4])", WORKS),
    "word-save": ("pi.plots.save(pi.plots.ranks([3, 2, 4]), 'ranks.png'); assert Path('ranks.png').exists()", WORKS),
    "swapped-save": ("pi.plots.save('ranks.png', pi.plots.ranks([3, 2, 4]))", "`figure` must be a Figure, got str"),
    # Thermodynamics.
    "one-energy": ("pi.thermodynamics.drive(energy, x, walk)", "`energies` must be a list of two or more functions"),
    "number-move": ("pi.thermodynamics.drive([energy] * 3, x, 0.1)", "`moves` must be a Move, got float 0.1"),
    "nan-drive": ("pi.thermodynamics.drive([energy] * 2, wrong, walk)", "`x` must be finite"),
    "flat-drive": (
        "pi.thermodynamics.drive([energy] * 2, x[0], walk)",
        "`x` must have shape (batch, *state), got (1,)",
    ),
    "energy-of-components": (
        "pi.thermodynamics.drive([lambda x: x, energy], x, walk)",
        "`energies` must return one number for each state, (3,), got Tensor of shape (3, 1)",
    ),
    "energy-as-path": (
        "pi.thermodynamics.annealed_importance(energy, x, walk)",
        "`path` must give the energy at a share of the way",
    ),
    "number-path": ("pi.thermodynamics.geometric(3, energy)", "`first` must be a function (x) -> u, got int 3"),
    "word-size": ("pi.thermodynamics.MALA('a')", "`size` must be a tensor or an array of numbers"),
    "swapped-tuned": ("pi.thermodynamics.tuned(energy, walk, x)", "`move` must be a Move, got function; give tuned("),
    "one-temperature": (
        "pi.thermodynamics.simulated_annealing(energy, x, walk, 3.0)",
        "`temperatures` must be numbers along one axis",
    ),
    "list-work": (
        "a = [1.0, 2.0, 1.5]; assert pi.thermodynamics.bennett(a, a) == pi.thermodynamics.bennett(torch.tensor(a), torch.tensor(a))",
        WORKS,
    ),
    "no-work": ("pi.thermodynamics.jarzynski(torch.zeros(0))", "`work` must hold the work of two runs or more"),
    "nan-work": ("pi.thermodynamics.jarzynski([1.0, float('nan')])", "`work` must be numbers, got NaN"),
    "wide-work": ("pi.thermodynamics.crooks(torch.ones(3), torch.ones(3, 2))", "`back` must hold the work of two runs"),
    "function-density": (
        "pi.thermodynamics.importance(energy, x, lambda x: x)",
        "`log_prob` must be a tensor or an array of numbers, got function",
    ),
    "short-density": (
        "pi.thermodynamics.importance(energy, x, torch.zeros(2))",
        "`log_prob` must hold one number for each of 3 samples",
    ),
    "swapped-bath": (
        "pi.thermodynamics.bath_entropy(train.trajectories(), well, times)",
        "`sde` must be an SDE, got Tensor ... give bath_entropy(sde, paths, times)",
    ),
    "numpy-bath": (
        """
        paths = train.trajectories()
        found = pi.thermodynamics.bath_entropy(well, paths.numpy(), times.tolist())
        assert torch.equal(found, pi.thermodynamics.bath_entropy(well, paths, times))
        """,
        WORKS,
    ),
    "one-bath": (
        "pi.thermodynamics.bath_entropy(well, train.trajectories()[0], times)",
        "`paths` must have shape (n, time, *state), got (5, 1); for one give paths[None]",
    ),
    "nan-bath": (
        "pi.thermodynamics.bath_entropy(well, float('nan') * train.trajectories(), times)",
        "`paths` must be finite",
    ),
    "density-of-components": (
        "pi.thermodynamics.entropy_production(well, train.trajectories(), times, lambda x: x, lambda x: x)",
        "`first` must return one number for each state",
    ),
    "unequal-information": (
        "pi.thermodynamics.lost_information(heat, hot.states(0)[:3], hot.trajectories(), heat.times, energy, energy)",
        "`start` must hold one row for each of the 24 of `paths`, got 3",
    ),
    "no-energy": ("pi.thermodynamics.variational(3, x)", "`energy` must be a function (x) -> u, got int 3"),
}
