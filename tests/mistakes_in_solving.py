# ruff: noqa: E501
"""Likely mistakes with posteriors, solvers and observations: a snippet, and the message or that it works."""

WORKS = ""

SOLVING = {
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
    "no-final": ("posterior.sample(final[:0], 2)", "`final` must hold one state or more, got shape (0, 1)"),
    "numpy-generator": (
        "posterior.sample(final, 2, generator=np.random.default_rng(0))",
        "`generator` must be a torch.Generator, got Generator",
    ),
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
    "finer-posterior": (
        "assert pi.Posterior(DoubleWell(steps=8, horizon=0.1), model, times).sample(final, 2).shape == (3, 2, 1)",
        WORKS,
    ),
    "other-parameters-posterior": (
        "pi.Posterior(DoubleWell(steps=4, horizon=0.1, temperature=0.7), model, times)",
        "`score` was trained on DoubleWell with `temperature` = ... `sde` has 0.7; give the model that was trained on",
    ),
    "other-process-posterior": (
        "pi.Posterior(Quadratic(), model, times)",
        "`score` was trained on DoubleWell, `sde` is Quadratic; give the model that was trained on this process",
    ),
    "later-posterior": ("assert pi.Posterior(well, model, [.05, .1]).sample(final, 2).shape == (3, 2, 1)", WORKS),
    "negative-posterior": ("pi.Posterior(well, model, [-1, .1])", "`times` must begin at 0 or later, got -1"),
    "other-model": ("pi.Posterior(heat, model, times)", "`score` is for states of shape (1,), Heat has (1, 8)"),
    "step-posterior": ("pi.Posterior(well, model, times, step='split')", "`step` must be a Step, got str 'split'"),
    "batch-posterior": ("pi.Posterior(well, model, times, batch=0)", "`batch` must be at least 1, got 0"),
    "score-shape": ("pi.Posterior(Mine(), lambda x, t: -x[:, 0], [0, 1]).flow(final)", "`score` ... (batch, 1), got"),
    "nan-score": (
        "pi.Posterior(well, lambda x, t: x * float('nan'), times).sample(final, 2)",
        "`score` must be finite, got NaN or infinity at t = 0",
    ),
    "nan-score-late": (
        "pi.Posterior(Mine(), lambda x, t: torch.where(t[:, None] > 0.1, x / 0, -x), [0, .1, .2]).flow(final)",
        "`score` must be finite, got NaN or infinity at t = 0.2",
    ),
    "steep-score": (
        "pi.Posterior(Mine(), lambda x, t: -1e30 * x**3, [0, .1, .2, .3]).mean_flow(final)",
        "the states became infinite or NaN backward in time; take more `times`",
    ),
    "layer-score": (
        "pi.Posterior(well, torch.nn.Linear(1, 1), times)",
        "`score` must be a function (x, t) -> score, got one of (input); give a trained ScoreModel",
    ),
    "score-without-time": (
        "pi.Reverse(well, lambda x: -x)",
        "`score` must be a function (x, t) -> score, got one of (x)",
    ),
    "score-of-one-number": (
        "pi.Posterior(Own(), lambda x, t: -x[:, :1], [0, 1]).flow(torch.ones(3, 2))",
        "`score` must return (batch, 2), got (batch, 1)",
    ),
    "base-without-states": ("posterior.log_prob(x, base=3)", "`base` must be a function (x) -> log density, got int 3"),
    "base-of-components": (
        "posterior.log_prob(x, base=lambda x: 0 * x)",
        "`base` must return one number for each state",
    ),
    "unequal-log-prob": (
        "law = pi.Posterior(heat, heat_model, heat.times); law.log_prob(hot.states(0)[:3], hot.states(-1)[:2])",
        "`final` must hold one row for each of the 3 of `initial`, got 2",
    ),
    "number-prior-weigh": (
        "pi.weigh(posterior, final, 2, log_prior=3)",
        "`log_prior` must be a function (x) -> log density",
    ),
    "prior-of-components": (
        "pi.weigh(pi.Posterior(well, model, times, step=euler), final, 2, log_prior=lambda x: x)",
        "`log_prior` must return one number for each state",
    ),
    "number-prior-bracket": (
        "bracket(pi.Posterior(well, model, times, step=euler), train.trajectories(), draws=2, log_prior=3)",
        "`log_prior` must be a function (x) -> log density, got int 3",
    ),
    "word-start": ("posterior.log_prob(x, start='a')", "`start` must be a number, got str 'a'"),
    "word-tolerance": ("posterior.log_prob(x, rtol='a')", "`rtol` must be a number, got str 'a'"),
    "no-probes": ("posterior.log_prob(x, probes='a')", "`probes` must be a whole number, got str 'a'"),
    # Solving.
    "nan-states": ("pi.solve(well, wrong, times)", "`x` must be finite, got NaN or infinity in state 0"),
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
    "numpy-drift": (
        """
        class Array(Mine):
            def drift(self, x, t): return -np.asarray(x)
        pi.solve(Array(), x, times)
        """,
        "`drift` of Array must return a tensor (batch, 1), got ndarray of shape (3, 1); compute with torch",
    ),
    "no-drift": (
        """
        class Mute(Mine):
            def drift(self, x, t): -x
        pi.solve(Mute(), x, times)
        """,
        "`drift` of Mute must return a tensor (batch, 1), got None; ... return the result",
    ),
    "list-drift": (
        """
        class Listed(Mine):
            def drift(self, x, t): return [0.0]
        pi.solve(Listed(), x, times)
        """,
        "`drift` of Listed must return a tensor (batch, 1), got list [0.0]",
    ),
    "no-diffusion": (
        """
        class Mute(Mine):
            def diffusion(self, t): 0.5 * t
        pi.solve(Mute(), x, times)
        """,
        "`diffusion` of Mute must return (batch,), (batch, components) or a float, got None",
    ),
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
    "simulate-device": ("well.simulate(2, device='gpu')", "`device` 'gpu' is not available here"),
    "simulate-dtype": (
        "well.simulate(2, dtype='float64')",
        "`dtype` must be a dtype, got str 'float64'; give torch.float32",
    ),
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
    "model-beyond": ("model(x, 5.0)", "`t` must lie between 0 and 0.1, the last time of the data ... got 5"),
    "model-beyond-of-one": ("model(x, torch.tensor([0.05, 0.2, 0.05]))", "`t` must lie between 0 and 0.1, ... got 0.2"),
    "model-before": ("model(x, [0.05, -0.2, 0.05])", "`t` must lie between 0 and 0.1, ... got -0.2"),
    "model-nan-time": ("model(x, float('nan'))", "`t` must lie between 0 and 0.1, ... got nan"),
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
    "nan-matrix": ("pi.Observation(torch.tensor([[math.nan]]), 0.1)", "`operator` must be a matrix of ... got NaN"),
    "empty-matrix": ("pi.Observation(torch.zeros(0, 2), 0.1)", "`operator` must be a matrix of ... got none"),
    "no-matrix": ("pi.Observation(torch.ones(3), 0.1)", "`operator` must be a function of states or a matrix"),
    "word-operator": ("pi.Observation('coarse:2', 0.1)", "`operator` must be a function ... named("),
    "largest-number": (
        "h = hot.states(-1); seen = pi.Observation(lambda x: x.flatten(1).amax(1, keepdim=True), 0.1);"
        " sample_given(pi.Posterior(heat, heat_model, heat.times), seen, seen.observe(h), 2)",
        "`operator` must be linear, and this one is not",
    ),
    "absolute-slope": (
        "h = hot.states(-1); seen = pi.Observation(lambda x: x.diff(dim=2).abs().mean(2), 0.1);"
        " sample_given(pi.Posterior(heat, heat_model, heat.times), seen, seen.observe(h), 2)",
        "`operator` must be linear, and this one is not",
    ),
    "detached-operator": (
        "h = hot.states(-1); seen = pi.Observation(lambda x: x[..., :1].detach(), 0.1);"
        " sample_given(pi.Posterior(heat, heat_model, heat.times), seen, seen.observe(h), 2)",
        "`operator` must be differentiable by torch, and its derivative is not what it does; use torch alone, without",
    ),
    "operator-without-gradients": (
        "h = hot.states(-1); seen = pi.Observation(torch.no_grad()(lambda x: x[..., :1]), 0.1);"
        " sample_given(pi.Posterior(heat, heat_model, heat.times), seen, seen.observe(h), 2)",
        "`operator` must be differentiable by torch",
    ),
    "double-operator": (
        "pi.Observation(lambda x: x.double(), 0.1).observe(x)",
        "`operator` must return numbers of the precision of the states, got Tensor ... torch.float64; add .to(x)",
    ),
    "nan-operator": (
        "pi.Observation(lambda x: x * math.nan, 0.1).observe(x)",
        "`operator` must return finite numbers for finite states, got NaN or infinity",
    ),
    "logarithm-operator": (
        """
        seen = pi.Observation(torch.log, 0.1)
        positive = x.abs() + 0.1
        seen.observe(positive), seen.observe(positive[:1]), seen.log_prob(positive.log(), positive)
        record = pi.ObservationRecord((0.05, seen), (0.1, seen))
        record.observe(positive[:1, None].expand(1, 2, 1))
        """,
        WORKS,
    ),
    "operator-of-nothing": (
        "pi.Observation(lambda x: x, 0.1).observe(x[:0])",
        "`operator` needs one state or more to see something of, got none",
    ),
    "batch-operator-far-from-0": (
        "pi.Observation(lambda x: x - x.mean(0) + 1000, 0.1).observe(x)",
        "`operator` must see each state of a batch by itself",
    ),
    "blind-operator": (
        "pi.Observation(lambda x: x[:, :0], 0.1).observe(x)",
        "`operator` must see at least one number of each state, got shape (2, 0)",
    ),
    "operator-in-place": (
        "pi.Observation(lambda x: x.mul_(2), 0.1).observe(x)",
        "`operator` must leave the states as they are",
    ),
    "nothing-operator": (
        "sample_given(posterior, pi.Observation(lambda x: 0 * x, 0.1), x, 2)",
        "`operator` must see something of the state, and this one returns 0",
    ),
    "logical-operator": (
        "pi.Observation(lambda x: x > 0, 0.1).observe(x)",
        "`operator` must return numbers of the precision of the states, got Tensor of shape (2, 1) of torch.bool",
    ),
    "mixing-operator": (
        "pi.Observation(lambda x: x - x.mean(0), 0.1).observe(x)",
        "`operator` must see each state of a batch by itself ... x.mean(1, keepdim=True)",
    ),
    "operator-of-chance": (
        "pi.Observation(lambda x: x + torch.randn_like(x), 0.1).observe(x[:1])",
        "`operator` must see each state of a batch by itself and always in the same way",
    ),
    "sum-of-nothing": (
        "h = hot.states(-1); h = h - h.mean((1, 2), keepdim=True); pi.Observation(lambda x: x.sum(2), 0.1).observe(h)",
        WORKS,
    ),
    "flat-operator": (
        "pi.Observation(lambda x: x.flatten(), 0.1).observe(hot.states(-1))",
        "`operator` must return a tensor (2, *seen) for 2 states, got Tensor of shape (16,)",
    ),
    "number-operator": (
        "pi.Observation(lambda x: 3, 0.1).observe(final)",
        "`operator` must return a tensor (2, *seen) for 2 states, got int 3; let it keep the first axis",
    ),
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
    "word-for-noise": (
        "pi.solve(well, x, times, noise='no')",
        "`noise` must be a bool, got str 'no'; give True or False",
    ),
    "negative-ranks": ("pi.plots.ranks([-3, 5, 2])", "`counts` must be whole numbers from 0, got [-3.0, 5.0, 2.0]"),
    "exact-generator": ("well.exact().sample(final, 2, generator=1)", "`generator` must be a torch.Generator"),
}
