"""The worked examples of docs/extending are complete modules of fewer than 40 lines, and run without touching physinv.

Each is copied into an empty folder, as a user would write it, and run from there.
"""

import importlib
import re
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from command_cases import run_cell

import physinv as pi
from physinv.cli import app as cli
from physinv.comparison.workers import Processes
from physinv.posterior.partial import sample_given
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.registry import find
from physinv.training.objectives.base import Batch
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

pytestmark = pytest.mark.usefixtures("few_judges")

PAGES = Path(__file__).resolve().parents[2] / "docs" / "extending"
EXAMPLES = sorted(path.stem for path in (PAGES / "examples").glob("*.py"))

# a training that is over at once: the trajectories that are there, few validation windows, a plain reference law
SMALL = {"width": 8, "batch": 64, "validate_windows": 64, "components": 1, "fresh": "off"}


@pytest.fixture
def bring(tmp_path, monkeypatch):
    """Return a function that copies an example into the empty working directory and imports it from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    brought = []

    def copy_and_import(name):
        shutil.copy(PAGES / "examples" / f"{name}.py", tmp_path)
        importlib.invalidate_caches()
        brought.append(name)
        return importlib.import_module(name)

    yield copy_and_import
    for name in brought:
        sys.modules.pop(name, None)


def entry_point(folder, name, target):
    """What pip leaves behind for a package with this entry point: its metadata."""
    info = folder / "my_processes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-processes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[physinv.simulators]\n{name} = {target}\n")


def commands(page, first):
    """The console block of a page that starts with the verb ``first``, training cut to a few updates."""
    text = (PAGES / f"{page}.md").read_text("utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    block = next(block for block in blocks if block.startswith(f"$ physinv {first} "))
    quick = "--steps 20 " + " ".join(f"--set {name}={value}" for name, value in SMALL.items())
    lines = [re.sub(r"--budget \S+", quick, line.removeprefix("$ physinv ")) for line in block.splitlines()]
    return [f"{line} --certify 2" if line.startswith("reconstruct ") else line for line in lines]


def well_data(folder, train=200, test=20):
    """A double well, seen at a few times, and its splits in memory."""
    well = DoubleWell(steps=8)
    pi.generate(pi.DatasetPlan(well, {"train": train, "valid": 50, "test": test}, seed=0), folder / "well")
    return well, *(pi.TrajectoryDataset(folder / f"well/data/{s}").load() for s in ("train", "valid", "test"))


def test_every_example_has_a_page_and_every_page_its_example():
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert pages == set(EXAMPLES)
    for name in EXAMPLES:
        assert f"{{literalinclude}} examples/{name}.py" in (PAGES / f"{name}.md").read_text("utf-8")
        assert f"]({name}.md)" in (PAGES / "index.md").read_text("utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_short(name):
    lines = (PAGES / "examples" / f"{name}.py").read_text("utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) < 40


def test_vector_process(bring, capsys):
    bring("vector_process")
    lines = commands("vector_process", "generate")
    assert [line.split()[0] for line in lines] == ["generate", "train", "reconstruct", "evaluate"]
    for line in lines:
        cli.main(line.split())
    table = capsys.readouterr().out
    assert "vector_process:Pendulum, auto (" in table
    assert "reconstruction_mse" in table
    with h5py.File("pendulum.hdf5") as file:
        truth, samples = file["truth"][:], file["samples"][:]
    # the prior's mean alone has relative error 1, linear regression .68, the model trained for 400 updates .60
    assert np.linalg.norm(samples.mean(1) - truth) / np.linalg.norm(truth) < 0.85


def test_vector_process_has_a_short_name_by_an_entry_point(bring, tmp_path):
    bring("vector_process")
    text = (PAGES / "vector_process.md").read_text("utf-8")
    name, target = re.search(r'"physinv\.simulators"\]\n(\S+) = "(.*?)"', text).groups()
    entry_point(tmp_path, name, target)
    assert find(name)().damping == 0.3


def test_pde(bring, tmp_path):
    fisher = bring("pde").FisherKPP()
    generator = torch.Generator().manual_seed(0)
    # a population below 1 grows to 1 and stays there, up to the noise accumulated within a relaxation time 1 / growth
    final = fisher.run(fisher.initial(8, generator=generator), 20 * fisher.times, generator=generator)[:, -1]
    assert (final - 1).abs().mean() < 4 * fisher.noise / fisher.growth**0.5
    # without diffusion and noise every point follows the logistic law u / (u + (1 - u) e^-t)
    x = torch.full((1, 1, 32), 0.2)
    after = fisher.run(x, noise=False)[:, -1]
    torch.testing.assert_close(after, x / (x + (1 - x) * np.exp(-fisher.horizon)), rtol=1e-4, atol=0)
    for line in commands("pde", "generate"):
        line = (
            re.sub(r"--(train|valid|test) \d+", r"--\1 12", line)
            .replace("--steps 20", "--steps 3")
            .replace("--certify 2", "--certify 0")
        )
        cli.main(line.replace("--out datasets", "--out datasets --set steps=8 --set size=16").split())
    with h5py.File("fisher.hdf5") as file:
        assert np.isfinite(file["samples"][:]).all()


def test_network(bring, tmp_path):
    bring("network")
    well, train, valid, test = well_data(tmp_path)
    settings = pi.Settings(**SMALL, validate_every=20, network="network:ResidualNet")
    model = pi.build_model(well, train, settings)
    assert type(model.network).__name__ == "ResidualNet"
    x, t = train.states(3), torch.full((train.n_trajectories,), float(train.times[3]))
    with torch.no_grad():
        assert model.remainder(x, t).abs().max() == 0  # the untrained model is the reference law
    # trained, saved, and loaded again by its name: each time the same bytes
    pi.train_run(tmp_path / "run", train, valid, settings=settings, budget=pi.Budget(steps=40))
    found = []
    for _ in range(2):
        run = pi.load_run(tmp_path / "run")
        posterior = pi.Posterior(run.sde, run.model, run.times)
        found.append(posterior.sample(test.states(-1), 2, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(*found)
    with torch.no_grad():
        assert run.model.remainder(x, t).abs().max() > 1e-3


def test_objective_is_minimised_by_the_score(bring):
    loss = bring("objective").fresh_step_loss
    process = OrnsteinUhlenbeck()
    generator = torch.Generator().manual_seed(0)
    states = process.simulate(4000, generator=generator)[:, 10:12]
    times = process.times[10:12].float().expand(len(states), 2)

    def at(factor):
        batch = Batch(states, times, generator=torch.Generator().manual_seed(1))
        return float(loss(lambda x, t: factor * process.score(x, t), process, batch))

    # the loss is a parabola in the factor: its vertex is the factor that training would find
    low, middle, high = (at(c) for c in (0.0, 1.0, 2.0))
    vertex = 1 + (low - high) / (2 * (low - 2 * middle + high))
    assert abs(vertex - 1) < 0.15  # the noise of 4000 draws; the factors 1/2 and 2 are the mistakes to be seen


def test_objective_is_named_in_the_settings(bring, tmp_path):
    bring("objective")
    _, train, valid, _ = well_data(tmp_path)
    settings = pi.Settings(**SMALL, loss="objective:fresh_step_loss")
    pi.train_run(tmp_path / "run", train, valid, settings=settings, budget=pi.Budget(steps=5))
    assert pi.load_run(tmp_path / "run").info["settings"]["loss"] == "objective:fresh_step_loss"


def test_observation_operator(bring, tmp_path):
    shadows = bring("observation").shadows
    heat = Heat(size=8)
    pi.generate(pi.DatasetPlan(heat, {"train": 400, "valid": 8, "test": 60}, seed=0), tmp_path / "heat")
    train, test = (pi.TrajectoryDataset(tmp_path / f"heat/data/{s}").load() for s in ("train", "test"))
    model = pi.build_model(heat, train, pi.Settings(width=4, depth=1))  # untrained: Gaussian, and so is this process
    seen = pi.Observation(shadows, noise=0.02)
    generator = torch.Generator().manual_seed(0)
    y = seen.observe(test.states(-1), generator=generator)
    assert y.shape == (60, 1, 16)
    posterior = pi.Posterior(heat, model, heat.times)
    samples = sample_given(posterior, seen, y, 32, generator=generator)
    exact = heat.exact().given(seen).sample(y, 32, generator=generator)
    ours, best = (float(pi.metrics.crps(s, test.states(0))) for s in (samples, exact))
    # 60 fields of 64 correlated pixels: both CRPS scatter by some 2 %, but on the same truths
    assert abs(ours / best - 1) < 0.05
    blind = float(pi.metrics.crps(train.states(0)[:32].expand(60, -1, -1, -1, -1), test.states(0)))
    assert ours < 0.95 * blind


def test_observation_operator_is_named_on_the_command_line(bring, tmp_path):
    bring("observation")
    heat = Heat(size=4, steps=2)
    pi.generate(pi.DatasetPlan(heat, {"train": 40, "valid": 8, "test": 6}, seed=0), tmp_path / "heat")
    seen = ["--observe", "observation:shadows", "--observed-noise", "0.02"]
    given = ["reconstruct", "--method", "exact", "--train", "heat", "--data", "heat/data/test", *seen, "--samples", "4"]
    for name, options in (("one", []), ("several", ["--at", "0.1,0.2"])):
        cli.main([*given, "--out", f"{name}.hdf5", *options])
        found = read_reconstruction(tmp_path / f"{name}.hdf5")
        assert found.operator.operator is importlib.import_module("observation").shadows
        assert found.seen.flatten(1).shape == (6, 8 * (1 if name == "one" else 2))
        cli.main(["evaluate", f"{name}.hdf5"])

    # numbers of one's own, by a record
    np.save("early.npy", np.zeros((2, 8)))
    (tmp_path / "own.toml").write_text(
        '[[entry]]\nat = 0.1\nobserve = "observation:shadows"\nnoise = 0.02\ndata = "early.npy"\n'
    )
    cli.main(["reconstruct", *given[1:5], "--record", "own.toml", "--out", "own.hdf5"])
    assert read_reconstruction(tmp_path / "own.hdf5").seen.shape == (2, 8)

    # a run that is trained for it knows it again
    small = [f"--set={key}={value}" for key, value in SMALL.items()]
    trained = ["train", "heat", "--out", "run", "--method", "flow-matching", "--steps", "3", *small, *seen]
    cli.main(trained)
    cli.main(["reconstruct", "run", "--data", "heat/data/test", "--out", "trained.hdf5", "--certify", "0"])
    assert read_reconstruction(tmp_path / "trained.hdf5").seen.flatten(1).shape == (6, 8)


def test_reference_law(bring, tmp_path):
    law = bring("reference_law").DiagonalLaw
    well, train, _, _ = well_data(tmp_path)
    assert law.suits(well, train.layout)
    fitted = law.fit(well, train, pi.Settings())
    x = train.states(5)[:50].requires_grad_()
    t = torch.full((50,), float(train.times[5]))
    (slope,) = torch.autograd.grad(fitted.log_prob(x, t).sum(), x)
    torch.testing.assert_close(fitted.score(x, t), slope)
    grid = torch.linspace(-6, 6, 4001)[:, None]
    density = fitted.log_prob(grid, t[:1].expand(4001)).exp()
    assert abs(float(torch.trapezoid(density, grid[:, 0])) - 1) < 1e-4
    z = fitted.features(x, t).detach()
    assert abs(float(z.mean())) < 0.5
    assert 0.5 < float(z.std()) < 1.5


def test_reference_law_is_stored_by_name_and_loads_again(bring, tmp_path):
    bring("reference_law")
    _, train, valid, test = well_data(tmp_path)
    settings = pi.Settings(**SMALL, reference="reference_law:DiagonalLaw")
    pi.train_run(tmp_path / "run", train, valid, settings=settings, budget=pi.Budget(steps=5))
    run = pi.load_run(tmp_path / "run")
    assert type(run.model.reference).__name__ == "DiagonalLaw"
    samples = pi.Posterior(run.sde, run.model, run.times).sample(test.states(-1), 2)
    assert samples.isfinite().all()


def test_method(bring, tmp_path):
    fit = bring("method").fit_analogues
    from physinv.methods.problem import Problem

    well, train, valid, test = well_data(tmp_path, train=4000, test=200)
    answer = fit(Problem(well, train, valid))
    truth, final = test.states(0), test.states(-1)
    generator = torch.Generator().manual_seed(0)
    samples = answer.sample(final, 16, generator=generator)
    assert samples.shape == (200, 16, 1)
    exact = well.exact().sample(final, 16, generator=generator)
    ours, best = (float(pi.metrics.crps(s, truth)) for s in (samples, exact))
    # 32 neighbours among 4000 are close: what is left is their scatter and that of 200 truths
    assert ours < 1.1 * best
    assert float(pi.metrics.relative_l2(answer.mean(final), truth)) < 1


def test_method_is_saved_and_needs_no_run(bring, capsys):
    bring("method")
    name, data = "--method method:fit_analogues --option neighbours=8", "--data double-well/data/test --samples 4"
    for words in (
        "generate double-well --out . --train 100 --valid 20 --test 20",
        f"train double-well --out run {name} --budget 1s",
        f"reconstruct run {data} --out a.hdf5",
        f"reconstruct {name} --train double-well {data} --out b.hdf5",
    ):
        cli.main(words.split())
    with h5py.File("a.hdf5") as a, h5py.File("b.hdf5") as b:
        assert np.array_equal(a["samples"][:], b["samples"][:])
        assert a.attrs["method"] == "method:fit_analogues"
    assert "nothing to train" in capsys.readouterr().out


def test_method_is_named_on_the_command_line(bring, capsys, monkeypatch):
    bring("method")
    Path("b.toml").write_text(
        'simulator = "ornstein-uhlenbeck"\nmethods = ["linear"]\nbudget = 1.0\nobservations = 10\nsamples = 4\n'
        "[splits]\ntrain = 100\nvalid = 20\ntest = 20\n"
    )
    monkeypatch.setattr(Processes, "run", run_cell)
    cli.main(["benchmark", "b.toml", "--methods", "method:fit_analogues", "--jobs", "1", "--out", "out"])
    assert "analogues" in capsys.readouterr().out


def test_metric_is_proper_and_fair(bring):
    score = bring("metric").brier_score
    generator = torch.Generator().manual_seed(0)
    odds = torch.rand(20000, 1, generator=generator)  # each case has its own

    def draw(p, k):
        return (torch.rand(len(p), k, 1, generator=generator) < p[:, :, None]).float() - 0.5

    truth = draw(odds, 1)[:, 0]

    def event(x):
        return x[:, 0] > 0

    few, many = (float(score(draw(odds, k), truth, event)) for k in (4, 64))
    # E p (1 - p) = 1/6 for uniform p, whatever the number of samples; 20000 cases scatter by .0015
    assert abs(few - 1 / 6) < 0.006
    assert abs(many - 1 / 6) < 0.006
    even = float(score(draw(torch.full_like(odds, 0.5), 64), truth, event))
    assert abs(even - 1 / 4) < 0.006
    sharp = float(score(draw((odds > 0.5).float(), 64), truth, event))
    assert abs(sharp - 1 / 4) < 0.006  # E min(p, 1 - p) = 1/4: overconfident odds lose what they seemed to win
