"""The law of unknown parameters given a final state: what it sees, and that training finds the exact one."""

import math

import pytest
import torch

from physinv.config.files import load_tensors
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods.parameters import fit_parameters, joint_samples
from physinv.methods.problem import Problem
from physinv.models.jumps.parameters import empty_parameter_kernel, fit_parameter_kernel, summary
from physinv.processes.parameters import build
from physinv.training.budget import Budget
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_walls import HeatWalls
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = {"dim": 1, "components": 1, "spread": 0.0, "width": 1.0, "steps": 2, "rate": {"log_uniform": [0.1, 2.0]}}


def data_of(process, folder, **splits):
    out = generate(DatasetPlan(process, splits), folder)
    return [TrajectoryDataset(out / "data" / split).load() for split in splits]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    process = build(OrnsteinUhlenbeck, OU)
    train, valid = data_of(process, tmp_path_factory.mktemp("ou"), train=1000, valid=200)
    return fit_parameters(Problem(process, train, valid, budget=Budget(steps=400)))


def test_training_finds_the_exact_law(trained):
    """Mean relative entropy to the law by quadrature, in nats, over fresh observations: below a hundredth."""
    process = trained.process
    x = process.simulate(400, generator=torch.Generator().manual_seed(7))[:, -1]
    p = process.exact().probabilities(x)
    cells = p.shape[1]
    shares = (torch.arange(cells) + 0.5) / cells
    value = process.priors[0][1].quantile(shares)
    ours = torch.stack(
        [trained.log_prob(process.joined(process.state(x), v.expand(len(x), 1)), trained.prepare(x, 0)) for v in value],
        1,
    )
    z = process.priors[0][1].normal(value)
    density = ours + z.square() / 2 + math.log(2 * math.pi) / 2 - math.log(cells)  # in shares of the prior
    entropy = (p * (p.log() - density.detach())).sum(1).mean()
    known = (p * (p * cells).log()).sum(1).mean()  # what the observation tells: .13 nats
    assert float(entropy) < 0.02
    assert float(known) > 5 * float(entropy)


def test_draws_follow_the_density_and_ignore_the_parameters_of_their_input(trained):
    process, g = trained.process, torch.Generator
    x = process.joined(torch.tensor([[1.5]]), torch.tensor([[0.3]]))
    other = process.joined(torch.tensor([[1.5]]), torch.tensor([[1.9]]))
    n = 20_000
    one, two = (process.values(trained.draw(s.expand(n, -1), generator=g().manual_seed(0)))[:, 0] for s in (x, other))
    assert torch.equal(one, two)
    assert torch.equal(trained.process.hidden(x), trained.process.hidden(other))
    assert float(process.values(trained.process.hidden(x))) == pytest.approx(math.sqrt(0.1 * 2.0), rel=1e-5)
    grid = torch.linspace(-4, 4, 801)
    prior = process.priors[0][1]
    states = process.joined(torch.full((801, 1), 1.5), prior.value(grid)[:, None])
    mass = trained.log_prob(states, trained.prepare(states, 0)).detach().exp() * 0.01
    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-2)
    want = float((mass * prior.value(grid)).sum() / mass.sum())
    assert float(one.mean()) == pytest.approx(want, abs=5 * float(one.std()) / math.sqrt(n) + 2e-3)
    assert float(process.values(trained.mean(x))) == pytest.approx(want, abs=5 * float(one.std()) / math.sqrt(256))


def test_samples_are_of_parameter_and_state_together(trained):
    """The state that is drawn is that of the parameter that was drawn: here a state that tells its parameter."""
    process = trained.process
    x = trained.process.hidden(torch.tensor([[0.5], [2.0]]))

    def tells(seen):
        return process.joined(10 * process.values(seen), torch.zeros(len(seen), 1))

    drawn = joint_samples(trained, tells, x, 5, generator=torch.Generator().manual_seed(1))
    assert drawn.shape == (2, 5, 2)
    assert torch.equal(drawn[..., 0], 10 * drawn[..., 1])
    assert len(drawn[..., 1].unique()) == 10


def test_validation_states_correct_the_width_where_they_disagree(trained, tmp_path):
    """Laws whose errors are scaled down by 2 are half as wide as they should be, and are widened by 2."""
    (valid,) = data_of(trained.process, tmp_path, train=1000)
    kernel = empty_parameter_kernel(trained.process, seed=seeds(0))
    kernel.load_state_dict(trained.state_dict())
    kernel.eval()
    kernel.finish(valid)
    assert float(kernel.width) == pytest.approx(1.0, abs=0.11)
    with torch.no_grad():
        kernel.network.layers[-1].bias[8:12] -= math.log(2.0)  # of four components: logits, means, then log deviations
        kernel.finish(valid)
    assert float(kernel.width) > 1.3


def test_new_states_correct_the_width_where_few_are_stored(trained, tmp_path):
    """Four validation states can't tell that laws are half as wide as they should be; a thousand new ones can."""
    (valid,) = data_of(trained.process, tmp_path, train=4)
    kernel = empty_parameter_kernel(trained.process, seed=seeds(0))
    kernel.load_state_dict(trained.state_dict())
    with torch.no_grad():
        kernel.network.layers[-1].bias[8:12] -= math.log(2.0)  # of four components: logits, means, then log deviations
    new = trained.process.simulate(1000, generator=torch.Generator().manual_seed(3))[:, -1]
    kernel.finish(valid, more=new)
    assert float(kernel.width) > 1.3


@pytest.mark.parametrize("stored", [1000, 2000])
def test_short_training_on_fields_spends_no_time_on_simulating_where_data_are_many(stored, tmp_path, monkeypatch):
    """With 2000 stored trajectories none but those for the width are made; with fewer, the first round is simulated."""
    known = {"size": 8, "dimension": 2, "steps": 1, "horizon": 0.1}
    process = build(Burgers, {**known, "viscosity": {"uniform": [0.1, 0.4]}})
    train, valid = data_of(process, tmp_path, train=stored, valid=10)
    initial, made = type(process).initial, []

    def counted(self, batch, **others):
        made.append(batch)
        return initial(self, batch, **others)

    monkeypatch.setattr(type(process), "initial", counted)
    fit_parameters(Problem(process, train, valid, budget=Budget(steps=1)))
    assert made[-1] == 40
    assert (sum(made) == 40) == (stored == 2000)


@pytest.mark.parametrize("kind", [Heat, HeatWalls])
def test_fields_in_one_dimension_are_read_whole(kind):
    """Wherever structures lie, if the field is periodic; two fields of one spectrum are told apart by their phases."""
    process = build(kind, {"size": 16, "dimension": 1, "prior": "gaussian", "diffusivity": {"uniform": [0.5, 2.0]}})
    kernel = empty_parameter_kernel(process, seed=seeds(0), reads=True).double()
    x = process.initial(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    read = kernel.reader(process.state(x))
    assert read.shape == (3, kernel.reader.numbers)
    shifted = kernel.reader(process.state(x).roll(5, 2))
    assert bool(torch.allclose(shifted, read)) == process.inner.layout.periodic
    assert not torch.allclose(kernel.reader(process.state(x).flip(2)), read)
    small = empty_parameter_kernel(process, seed=seeds(0))  # of a linear process power tells all
    assert not any(name.startswith("reader.") for name in small.state_dict())
    bent = build(Burgers, {"size": 16, "dimension": 1, "viscosity": {"uniform": [0.5, 2.0]}})
    assert empty_parameter_kernel(bent, seed=seeds(0)).reader is not None


def test_training_with_a_reader_resumes_exactly_and_keeps_averaged_weights(tmp_path):
    """Checkpoints hold the reader as they hold the network: both are trained, averaged, and kept from one update."""
    process = build(Burgers, {"size": 16, "dimension": 1, "steps": 1, "viscosity": {"log_uniform": [0.1, 1.0]}})
    train, valid = data_of(process, tmp_path / "data", train=64, valid=64)

    def fitted(folder, **others):
        settings = Settings(fresh="off", validate_every=2)
        given = {"budget": Budget(steps=4), "folder": tmp_path / folder, **others}
        return fit_parameters(Problem(process, train, valid, settings, **given)).state_dict()

    def halt(done, record):
        if record.step == 2:
            raise KeyboardInterrupt

    whole = fitted("whole")
    with pytest.raises(KeyboardInterrupt):
        fitted("parts", progress=halt)
    resumed = fitted("parts", resume=True)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    stored = load_tensors(tmp_path / "whole" / "checkpoint.safetensors")[0]
    best = {name.removeprefix("best."): value for name, value in stored.items() if name.startswith("best.")}
    assert any(name.startswith("reader.") for name in best)
    assert all(torch.equal(whole[name], value) for name, value in best.items())


@pytest.mark.parametrize("kind", [Heat, HeatWalls])
@pytest.mark.parametrize("dimension", [1, 2])
def test_what_is_seen_of_a_field(kind, dimension, tmp_path):
    """It does not change with shifts of a periodic field, nor with the parameter; finite, whatever the field."""
    process = build(
        kind, {"size": 8, "dimension": dimension, "prior": "gaussian", "diffusivity": {"uniform": [0.5, 2.0]}}
    )
    x = process.initial(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = summary(process, x)
    assert torch.equal(seen, summary(process, process.joined(process.state(x), torch.ones(4, 1))))
    assert bool(summary(process, torch.zeros_like(x)).isfinite().all())
    moved = summary(process, x.roll(3, -1))
    assert torch.allclose(moved, seen) == (kind is Heat)
    twice = summary(process, torch.cat([2 * process.state(x), x[:, 1:]], 1))
    gap = twice - seen
    assert torch.allclose(gap[:, 1], torch.full((4,), math.log(4.0), dtype=torch.float64))  # the log of the variance
    (data,) = data_of(process, tmp_path, train=400)
    kernel = fit_parameter_kernel(process, data)
    assert float(kernel.spread[0]) < (0.9 if dimension == 2 else 1.1)  # 64 points tell something, 8 hardly
    assert kernel.loss(
        data.states(0), data.states(-1), kernel.prepare(data.states(-1), 0), torch.zeros(400, dtype=torch.int64)
    ).isfinite()
