# ruff: noqa: E501
"""Likely mistakes with training, runs and data: a snippet, and the message or that it works."""

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
    "other-model": (
        "pi.fit(heat_model, well, train, valid, **brief)",
        "`model` is for states of shape (1, 8), got data of (1,)",
    ),
    "one-estimate": (
        "pi.fit(model, well, train, valid, **brief, estimates=train.states(0))",
        "`estimates` must be two tensors, of `train` and of `valid`, got Tensor",
    ),
    "resume-nothing": (
        "pi.fit(model, well, train, valid, **brief, resume=True)",
        "`resume` goes on from the checkpoint",
    ),
    "double-model": (
        "pi.fit(copy.deepcopy(model).double(), well, train, valid, **brief)",
        "`model` must have weights in float32, as data are, got torch.float64; call model.float()",
    ),
    "complex-loss": (
        "pi.fit(copy.deepcopy(model), well, train, valid, **brief, loss=lambda s, d, b: s(b.states[:, 1], b.times[:, 1]).sum() * 1j)",
        "`loss` must return a real number for a batch, got a complex one",
    ),
    "int-pairs": ("pi.fit(model, well, train, valid, **brief, pairs=3)", "`pairs` must be a JumpPairs, got int 3"),
    "new-folder": (
        "pi.fit(copy.deepcopy(model), well, train, valid, **brief, run='deep/er'); assert Path('deep/er/log.jsonl').exists()",
        WORKS,
    ),
    "file-as-run": (
        """
        Path("taken").write_text("")
        try: pi.train_run("taken", train, valid, **brief)
        except NotADirectoryError as error: assert "taken must be a folder, and there is a file" in str(error)
        else: raise AssertionError
        """,
        WORKS,
    ),
    "function-observe": (
        "pi.SamplingPlan(observe=lambda x: x)",
        "`observe` must be a word such as sensors:0.25, got function",
    ),
    "word-observed-noise": ("pi.SamplingPlan(observed_noise='a')", "`observed_noise` must be a number, got str 'a'"),
    "prior-draws": (
        """
        prior, flow = pi.fit_prior(train, valid, **brief), fit_flow(train, valid, **brief)
        for call in (prior.draw, flow.draw):
            try: call(2, generator=0)
            except ValueError as error: assert "`generator` must be a torch.Generator" in str(error)
            else: raise AssertionError
        for call in (prior.log_prob, flow.log_prob):
            try: call(wrong)
            except ValueError as error: assert "`x` must be finite" in str(error)
            else: raise AssertionError
        """,
        WORKS,
    ),
    "loss-name": ("assert len(pi.fit(model, well, train, valid, **brief, loss='trajectory').records) == 2", WORKS),
    "loss-misspelt": (
        "pi.fit(model, well, train, valid, **brief, loss='denoise')",
        "there is no objective `denoise`; did you",
    ),
    "loss-of-torch": (
        "pi.fit(model, well, train, valid, **brief, loss=torch.nn.MSELoss())",
        "`loss` must be a function (score, sde, batch) -> loss, got one of (input, target)",
    ),
    "loss-class": ("pi.fit(model, well, train, valid, **brief, loss=torch.nn.MSELoss)", "got the class MSELoss"),
    "loss-without-batch": ("pi.fit(model, well, train, valid, **brief, loss=lambda s, sde: 0)", "got one of (s, sde)"),
    "loss-detached": (
        "pi.fit(model, well, train, valid, **brief, loss=lambda s, sde, b: trajectory_loss(s, sde, b).detach())",
        "`loss` must depend on the weights of `model`, got one without a gradient",
    ),
    "loss-with-an-axis": (
        "pi.fit(copy.deepcopy(model), well, train, valid, **brief, loss=lambda s, sde, b: trajectory_loss(s, sde, b)[None])",
        WORKS,
    ),
    "frozen-model": (
        "pi.fit(copy.deepcopy(model).requires_grad_(False), well, train, valid, **brief)",
        "`model` must have weights to train, got none; call model.requires_grad_()",
    ),
    "layer-model": (
        "pi.fit(torch.nn.Linear(1, 1), well, train, valid, **brief)",
        "`network` of Linear must be a module, got NoneType; give a ScoreModel of build_model",
    ),
    "class-model": (
        "pi.fit(torch.nn.Linear, well, train, valid, **brief)",
        "`model` must be a Module, got the class Linear",
    ),
    "no-progress": (
        "pi.fit(model, well, train, valid, **brief, progress=True)",
        "`progress` must be a function (done, record)",
    ),
    "states-as-batch": (
        "trajectory_loss(model, well, train.trajectories())",
        "`batch` must be a Batch, got Tensor of shape (24, 5, 1); give Batch(states, times)",
    ),
    "path-prior": (
        "pi.fit_prior('well/data/train', valid, budget=pi.Budget(steps=1))",
        "`train` must be a TrajectoryDataset",
    ),
    "other-prior": (
        "pi.fit_prior(train, hot, budget=pi.Budget(steps=1))",
        "`valid` has states of shape (1, 8), those of `train`",
    ),
    "other-flow": (
        "fit_flow(train, hot, budget=pi.Budget(steps=1))",
        "`valid` has states of shape (1, 8), those of `train`",
    ),
    "int-budget-flow": ("fit_flow(train, valid, budget=5)", "`budget` must be a Budget, got int 5"),
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
    "train-run-method": (
        "pi.train_run('r', train, valid, **brief, method=lambda problem: problem)",
        "method must be a name or module:name, got function; ... register(name, part)",
    ),
    "train-run-device": (
        "pi.train_run('r', train, valid, **brief, device='gpu')",
        "`device` 'gpu' is not available here",
    ),
    "loss-in-place": (
        """
        def loss(score, sde, batch):
            batch.states[:, 0] += 1
            return score(batch.states[:, 0], batch.times[:, 0]).square().mean()
        pi.fit(model, well, train, valid, loss=loss, settings=tiny, budget=pi.Budget(steps=1))
        """,
        "`loss` must not change `batch.states` in place; clone it first",
    ),
    "loss-with-noise-of-its-own": (
        """
        def loss(score, sde, batch):
            x = batch.states[:, 0]
            return (score(x, batch.times[:, 0]) - torch.randn_like(x)).square().mean()
        pi.fit(model, well, train, valid, loss=loss, settings=tiny, budget=pi.Budget(steps=1))
        """,
        "`loss` must draw its noise from `batch.generator`, got",
    ),
    "mistyped-network": (
        """
        told = []
        try: pi.train_run('r', train, valid, settings={'network': 'mpl'}, budget=brief['budget'], announce=told.append)
        finally: assert not told, told  # nothing is fitted before
        """,
        "there is no network `mpl`; did you mean `mlp`",
    ),
    "train-run-words": ("assert pi.train_run('words', train, valid, **brief, device='cpu').records", WORKS),
    "train-run-options": (
        "pi.train_run('r', train, valid, **brief, options='steps')",
        "`options` must be a dict, got str",
    ),
    "train-run-option": (
        "pi.train_run('r', train, valid, **brief, method='conditional-diffusion', options={'steps': 'a'})",
        "option `steps` of method `conditional-diffusion` must be of type int, got str 'a'; its default is 32",
    ),
    "train-run-seed": (
        "pi.train_run('r', train, valid, **brief, seed=seed())",
        "`seed` must be a whole number, got Generator",
    ),
    "train-run-observe": (
        "pi.train_run('r', train, valid, **brief, observe=lambda x: x)",
        "`observe` must be a word such as sensors:0.25, got function",
    ),
    "train-run-physics": ("pi.train_run('r', train, valid, **brief, physics=well)", "`physics` must be a GivenPhysics"),
    "train-run-other": (
        "pi.train_run('r', train, hot, **brief)",
        "`valid` has states of shape (1, 8), those of `train` (1,)",
    ),
    "changed-setting": (
        "tiny.width = 9",
        "`width` of Settings is frozen, and can't be changed; make another one, Settings(",
    ),
    "class-setting": (
        "pi.Settings(network=torch.nn.Linear)",
        "`network` must be a name, got Linear itself; give 'torch.nn.modules.linear:Linear'.",
    ),
    "function-setting": (
        "pi.Settings(loss=trajectory_loss)",
        "`loss` must be a name, got trajectory_loss itself; give 'physinv.training.objectives.trajectory:trajectory_loss'",
    ),
    "number-for-list": ("pi.Settings(windows=4)", "`windows` must be a list, got 4; give [4]."),
    "table-as-array": (
        "import pandas; pi.TrajectoryDataset.from_xarray(pandas.DataFrame({'a': [1]}))",
        "`data` must be a Dataset or DataArray of xarray, got DataFrame",
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
    "run-type": ("pi.load_run(3)", "`run` must be a path, got int 3; give the folder"),
    "run-file": ("pi.load_run('run/run.json')", "run/run.json is not a run: ... give the folder of the run, run."),
    "run-weights": ("pi.load_run('run/model.safetensors')", "give the folder of the run, run."),
    "run-device": ("pi.load_run('run', device='gpu')", "`device` 'gpu' is not available here"),
    "run-module": (
        """
        Path("mynet.py").write_text("")
        pi.build_model(well, train, pi.Settings(network="mynet"))
        """,
        "there is no network `mynet`; mynet.py is a module: give `mynet:NAME`",
    ),
    "run-nan": (
        "dataclasses.replace(pi.load_run('run'), answer=NotFinite()).sample(final, 2)",
        "the reconstruction is not finite in 6 of 6 states",
    ),
    "reconstruct-nowhere": (
        "pi.reconstruct('run', valid, None)",
        "`out` must be a path, got None; give the file to write",
    ),
    "reconstruct-progress": (
        "pi.reconstruct('run', valid, 'c.hdf5', progress=True)",
        "`progress` must be a function (done, all)",
    ),
    "reconstruct-batch": ("pi.SamplingPlan(batch=0)", "`batch` must be at least 1, got 0"),
    "reconstruct-weigh": ("pi.SamplingPlan(weigh='many')", "`weigh` must be a whole number, got str 'many'"),
    "arviz-type": ("pi.to_arviz(samples)", "`recon` must be a Reconstruction, got Tensor"),
    "process-finals": (
        "pi.final_states(final, well)",
        "`layout` must be a StateLayout, got DoubleWell; give that of the process",
    ),
    "swapped-finals": ("pi.final_states(well.layout, final)", "`layout` must be a StateLayout, got Tensor"),
    "path-finals": ("pi.final_states('finals.csv', well.layout)", "`values` must be a tensor or an array of numbers"),
    "one-file-of-finals": (
        """
        Path("finals.csv").write_text("0.5\\n0.6\\n")
        assert len(pi.read_final_states("finals.csv", well.layout, 0.1)) == 2
        """,
        WORKS,
    ),
    "finals-of-states": (
        "pi.read_final_states(final, well.layout, 0.1)",
        "`paths` must be a path or several, got Tensor",
    ),
    "no-finals": ("pi.final_states(final, well.layout).first(0)", "`n` must be at least 1, got 0"),
    "reconstruct-path": (
        """
        pi.reconstruct(pi.load_run('run'), valid, 'a.hdf5', pi.SamplingPlan(samples=2))
        pi.reconstruct('run', 'well/data/valid', 'b.hdf5', pi.SamplingPlan(samples=2))
        import h5py
        assert (h5py.File('a.hdf5')['samples'][...] == h5py.File('b.hdf5')['samples'][...]).all()
        """,
        WORKS,
    ),
    "fit-other-parameters": (
        "pi.fit(model, DoubleWell(steps=4, horizon=0.1, barrier=9.0), train, valid, **brief)",
        "`train` was made with `barrier` = 1.0, `sde` has 9.0; give the process that made the data",
    ),
    "generate-twice": (
        "pi.generate(pi.DatasetPlan(well, {'train': 24, 'valid': 8}, seed=1), 'well')",
        "well holds this dataset already, complete; add `--overwrite` (Python: `overwrite=True`) to make it anew",
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
    "one-trajectory": ("train.trajectories(3)", "`which` must be a slice, such as slice(0, 10), got int 3"),
    "word-window": ("train.with_window('3')", "`window` must be a whole number, got str '3'"),
    "half-a-limit": ("train.states(0, limit=2.5)", "`limit` must be a whole number, got float 2.5"),
    "beyond-the-last": ("train.states(0, first=24)", "`first` must be below 24, the number of trajectories, got 24"),
    "before-the-first": ("train.states(0, first=-2)", "`first` must be at least 0, got -2"),
    "slice-of-windows": ("train[0:3]", "TypeError: `index` must be the number of a window, got slice"),
    "load-device": ("train.load('gpu')", "`device` 'gpu' is not available here"),
    "load-number": ("train.load(0)", "`device` must be a torch.device or a name, got int"),
    "shuffled-seed": ("list(train.shuffled(generator=0))", "`generator` must be a torch.Generator, got int 0"),
    "numbers-as-paths": ("pi.TrajectoryDataset([1, 2])", "`source` must be a path, got int 1"),
    "number-names": (
        "pi.TrajectoryDataset.from_arrays(np.ones((4, 5, 2)), times=range(5), names=3)",
        "`names` must be a word or a list of words, got int 3",
    ),
    "list-units": (
        "pi.TrajectoryDataset.from_arrays(np.ones((4, 5, 2)), times=range(5), units=['m', 's'])",
        "`units` must be a word, or words by name of a channel, got list",
    ),
    "negative-refine": ("pi.SamplingPlan(refine=-1)", "`refine` must be 0 or more, got -1"),
    "double-states": ("assert torch.equal(model(x.double(), torch.zeros(3)), model(x, torch.zeros(3)))", WORKS),
    "negative-weigh": ("pi.SamplingPlan(weigh=-1)", "`weigh` must be 0 or more, got -1"),
    "model-of-other-states": (
        "model(torch.zeros(5, 3), torch.zeros(5))",
        "`x` must have shape (batch, 1), got (5, 3)",
    ),
    "list-coordinates": (
        "pi.TrajectoryDataset.from_arrays(np.ones((4, 5, 1, 8)), times=range(5), coordinates=[range(8)])",
        "`coordinates` must be positions by name of an axis, got list",
    ),
    "nan-arrays": (
        "pi.TrajectoryDataset.from_arrays(np.full((4, 5, 2), np.nan), times=range(5))",
        "`data` holds numbers that are missing (NaN) at all times",
    ),
    "word-seed": ("pi.SamplingPlan(seed='a')", "`seed` must be a whole number, got str 'a'"),
    "half-samples": ("pi.SamplingPlan(samples=2.5)", "`samples` must be a whole number, got float 2.5"),
    "no-path": ("pi.TrajectoryDataset(well)", "`source` must be a path or several, got DoubleWell"),
}
