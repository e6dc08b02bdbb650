"""physinv's own method for nonlinear vectors: near the exact posterior, its choice by scores, saved and resumed."""

from dataclasses import dataclass, replace

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import coverage, crps
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.own.method import kind_of
from physinv.methods.own.training import fit_jumps
from physinv.methods.own.ways import STEPS
from physinv.methods.problem import Problem
from physinv.methods.registry import fit_method
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.burgers import Burgers
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.particles.langevin import OverdampedParticles
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

QUICK = Settings(width=16, depth=2, batch=64, rate=1e-2, validate_every=50, validate_windows=128)

FRESH = [
    (Burgers(size=16, steps=2, inner=2, horizon=0.2), "burgers", True),
    (KuramotoSivashinsky(size=16, steps=2, spin_up=1.0, horizon=1.0), "kuramoto-sivashinsky", False),
    (OverdampedParticles(particles=2, steps=2), "particles", False),
]


def made(simulator, name, folder, train=400, valid=100, test=300):
    generate(DatasetPlan(simulator, {"train": train, "valid": valid, "test": test}, 0, name), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s).load() for s in ("train", "valid", "test")}


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    return made(DoubleWell(dimension=2, steps=8), "double-well", tmp_path_factory.mktemp("wells"))


def test_linear_processes_keep_the_score_and_nonlinear_ones_get_jumps(wells, tmp_path):
    ou = OrnsteinUhlenbeck(dim=2, steps=4)
    lines = made(ou, "ornstein-uhlenbeck", tmp_path, train=20, valid=4, test=1)
    assert kind_of(Problem(ou, lines["train"], lines["valid"])) == "score"
    assert kind_of(Problem(DoubleWell(dimension=2, steps=8), wells["train"], wells["valid"])) == "jumps"
    named = Settings(loss="trajectory")  # an objective is what a score model minimises
    assert kind_of(Problem(DoubleWell(dimension=2, steps=8), wells["train"], wells["valid"], named)) == "score"
    plane = AllenCahn(size=8, dimension=2, steps=2)
    fields = made(plane, "allen-cahn", tmp_path / "plane", train=4, valid=4, test=1)
    assert kind_of(Problem(plane, fields["train"], fields["valid"])) == "jumps"
    pairs = OverdampedParticles(particles=2, steps=2)
    states = made(pairs, "particles", tmp_path / "pairs", train=4, valid=4, test=1)
    assert kind_of(Problem(pairs, states["train"], states["valid"])) == "jumps"


@pytest.mark.filterwarnings("ignore:importance sampling has fewer")
def test_samples_score_nearly_as_those_of_weighted_runs(wells, generator):
    """Importance sampling over forward runs is exact; calibrated, with nothing outside the data."""
    simulator = DoubleWell(dimension=2, steps=8)
    settings = Settings(width=48, depth=2, validate_every=500)
    problem = Problem(simulator, wells["train"], wells["valid"], settings, Budget(steps=600))
    truth, final = (wells["test"].states(i) for i in (0, -1))
    exact = fit_method("importance", problem, {"runs": 20_000}).sample(final, 100, generator=generator)
    answer = fit_jumps(problem)
    ours = answer.sample(final, 100, generator=generator)
    assert float(crps(ours, truth)) < 1.05 * float(crps(exact, truth))
    # of 600 numbers: .012 is the standard error of each
    assert abs(float(coverage(ours, truth)) - float(coverage(exact, truth))) < 3 * 2**0.5 * 0.012
    assert float((answer.mean(final) - exact.mean(1)).square().mean().sqrt()) < 0.25 * float(exact.std(1).mean())
    # records go by small steps: a run that found these much worse says so
    record = ObservationRecord((simulator.horizon, Observation(everything, 0.1)))
    assert replace(answer, found={STEPS: 0.30, "1": 0.29}).given(record).doubt == ""
    told = replace(answer, found={STEPS: 0.52, "1": 0.36}).given(record)
    with pytest.warns(UserWarning, match=r"records are answered by small steps, whose CRPS .* is 1.4 times"):
        replace(told, particles=64).sample(final[:1], 4, generator=generator)
    if STEPS not in answer.ways:
        bound = wells["train"].states(0).abs().amax(0)  # the mirror images count
        assert (ours.abs() <= bound).all()


def test_the_choice_is_the_best_score(wells):
    problem = Problem(DoubleWell(dimension=2, steps=8), wells["train"], wells["valid"], QUICK, Budget(steps=60))
    answer = fit_jumps(problem)
    jumps = {k: v for k, v in answer.found.items() if k != STEPS}
    assert set(answer.found) == {"1", "2", "4", "1+2", "1+4", "2+4", "1+2+4", STEPS}
    assert "+".join(answer.ways) in (min(jumps, key=jumps.get), STEPS)


@dataclass(frozen=True)
class FromSites(DoubleWell):
    """A double well whose particles set out from one of two sites of the first axis, at rest on the second."""

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        side = torch.randint(2, (batch, 1), generator=generator, device=device)
        return torch.cat([torch.where(side == 0, -1.0, 0.5), torch.zeros_like(side)], 1).to(dtype)


@pytest.mark.filterwarnings("ignore:importance sampling has fewer")
def test_samples_begin_where_trajectories_can_as_often_as_bayes_has_it(tmp_path, generator):
    """Between two sites the exact posterior is a probability, here from 20,000 weighted runs."""
    simulator = FromSites(dimension=2, steps=4, horizon=0.5)
    data = made(simulator, "sites", tmp_path)
    problem = Problem(simulator, data["train"], data["valid"], QUICK, Budget(steps=300))
    answer, final = fit_jumps(problem), data["test"].states(-1)
    ours = answer.sample(final, 200, generator=generator)
    sites = torch.tensor([[-1.0, 0.0], [0.5, 0.0]])
    assert bool((ours[:, :, None] == sites).all(-1).any(-1).all())
    exact = fit_method("importance", problem, {"runs": 20_000}).sample(final, 200, generator=generator)
    ours, exact = ((x[..., 0] > 0).float().mean(1) for x in (ours, exact))
    # .035 is the error of a share of 200 draws, which both have
    assert float((ours - exact).square().mean().sqrt()) < 0.1
    assert float((exact - 0.5).square().mean().sqrt()) > 0.2  # which is no coin
    assert not hasattr(answer, "log_prob")


def test_a_run_keeps_the_places_that_its_samples_begin_at(tmp_path, generator):
    simulator, name = FromSites(dimension=2, steps=4, horizon=0.5), f"{__name__}:FromSites"
    data = made(simulator, name, tmp_path, train=60, valid=20, test=5)
    settings = QUICK.model_copy(update={"validate_every": 5})
    train_run(tmp_path / "run", data["train"], data["valid"], settings=settings, budget=Budget(steps=20))
    draws = load_run(tmp_path / "run").answer.sample(data["test"].states(-1), 30, generator=generator)
    assert sorted(set(draws[..., 0].flatten().tolist())) == [-1.0, 0.5]
    assert draws[..., 1].unique().tolist() == [0.0]


class StopError(Exception):
    """What ends a training from outside."""


def test_a_run_resumes_and_reconstructs_to_the_same_bytes(tmp_path):
    data = made(DoubleWell(dimension=2, steps=4), "double-well", tmp_path, train=50, valid=20, test=4)
    settings = QUICK.model_copy(update={"validate_every": 5})

    def train(name, **more):
        return train_run(
            tmp_path / name, data["train"], data["valid"], settings=settings, budget=Budget(steps=30), **more
        )

    heard = []

    def stop(done, record):
        heard.append(done)
        if done > 0.7:
            raise StopError

    train("whole")
    with pytest.raises(StopError):
        train("parts", progress=stop)
    train("parts", resume=True)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    final = data["test"].states(-1)
    one, two = (load_run(tmp_path / name).answer for name in ("whole", "parts"))
    assert one.ways == two.ways
    draws = [a.sample(final, 6, generator=torch.Generator().manual_seed(1)) for a in (one, two)]
    assert torch.equal(*draws)
    assert one.posterior.flow(final).shape == final.shape  # the score model is there as well


@dataclass(frozen=True)
class Blind(DoubleWell):
    """A double well whose physics explodes backward in time."""

    def drift(self, x, t):
        return super().drift(x, t) - 40 * x


def test_physics_that_explodes_backward_gives_finite_samples(tmp_path, generator):
    simulator = Blind(dimension=1, steps=8, inner=16)
    data = {s: simulator.simulate(n, generator=generator) for s, n in (("train", 200), ("test", 20))}
    assert data["train"].isfinite().all()
    folder = tmp_path / "d"
    generate(DatasetPlan(simulator, {"train": 200, "valid": 50, "test": 20}, 0, f"{__name__}:Blind"), folder)
    train, valid, test = (TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test"))
    answer = fit_jumps(Problem(simulator, train, valid, QUICK, Budget(steps=60)))
    assert answer.sample(test.states(-1), 8, generator=generator).isfinite().all()


@pytest.mark.parametrize(("simulator", "name", "drawn"), FRESH)
def test_new_initial_states_are_drawn_where_they_cost_nothing(simulator, name, drawn, tmp_path, monkeypatch):
    """One call is that of the observations that ways are compared on; KS has to run before its initial states,
    runs of particles take longer than updates."""
    data = made(simulator, name, tmp_path, train=8, valid=20, test=1)
    kind, calls = type(simulator), []
    plain = kind.initial
    monkeypatch.setattr(kind, "initial", lambda self, n, **rest: calls.append(n) or plain(self, n, **rest))
    settings = Settings(width=8, depth=1, batch=4, validate_every=2, validate_windows=8)
    fit_jumps(Problem(simulator, data["train"], data["valid"], settings, Budget(steps=4)))
    assert (len(calls) > 1) == drawn
