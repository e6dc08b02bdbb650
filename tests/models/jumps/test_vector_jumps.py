"""Jump kernels of vector processes: the backward solution, the regression, and the law of the draws after training."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import crps
from physinv.models.jumps.backward import backward_solution
from physinv.models.jumps.base import Jump, jump_grids
from physinv.models.jumps.vector import empty_vector_jumps, fit_vector_jumps
from physinv.posterior.jumps import JumpPosterior
from physinv.training.budget import Budget
from physinv.training.jump_pairs import JumpPairs
from physinv.training.loop import fit
from physinv.training.objectives.jumps import JUMPS
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

SETTINGS = Settings(width=64, depth=2, batch=512, rate=1e-2)


@pytest.fixture(scope="module")
def process():
    return OrnsteinUhlenbeck(dim=2, steps=8)  # starts from several Gaussians, so that posteriors are mixtures


@pytest.fixture(scope="module")
def data(process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jumps")
    generate(DatasetPlan(process, {"train": 1000, "valid": 100, "test": 300}, 0, "ornstein-uhlenbeck"), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s).load() for s in ("train", "valid", "test")}


@pytest.fixture(scope="module")
def kernel(process, data):
    kernel = fit_vector_jumps(process, data["train"], SETTINGS)
    pairs = JumpPairs(kernel, process, data["train"], data["valid"], fresh="states")
    fit(
        kernel,
        process,
        data["train"],
        data["valid"],
        settings=SETTINGS,
        budget=Budget(steps=800),
        loss=JUMPS,
        pairs=pairs,
    )
    return kernel


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_draws_along_every_grid_score_as_exact_ones(parts, kernel, process, data, generator):
    truth, final = data["test"].states(0), data["test"].states(-1)
    grid = next(g for g in jump_grids(8) if len(g) == parts)
    ours = JumpPosterior(kernel, [grid]).sample(final, 64, generator=generator)
    exact = process.exact().sample(final, 64, generator=generator)
    assert float(crps(ours, truth)) < 1.04 * float(crps(exact, truth))
    assert 0.9 < float(ours.var(1).mean() / exact.var(1).mean()) < 1.1


def test_the_mean_of_one_jump_is_the_posterior_mean(kernel, process, data):
    final = data["test"].states(-1)
    ours, exact = JumpPosterior(kernel, jump_grids(8)).mean(final), process.exact().mean(final)
    assert float((ours - exact).square().mean().sqrt()) < 0.15 * float(exact.std())


def test_the_density_is_near_that_of_the_exact_posterior(kernel, process, data):
    truth, final = data["test"].states(0), data["test"].states(-1)
    first = torch.zeros(len(final), dtype=torch.int64)
    ours = kernel.log_prob(truth, final, kernel.prepare(final, 0), first).mean().detach()
    exact = process.exact().log_prob(truth, final).mean()
    assert abs(float(ours - exact)) < 0.06  # nats, of two numbers


def test_draws_stay_within_the_range_of_the_data(kernel, data, generator):
    far = 100 * data["test"].states(-1)
    drawn = JumpPosterior(kernel, jump_grids(8)).sample(far, 6, generator=generator)
    assert (drawn >= kernel.low[0]).all()
    assert (drawn <= kernel.high[0]).all()


def test_hard_edges_of_initial_states_collect_no_draws(process, data, generator):
    kernel = fit_vector_jumps(process, data["train"], SETTINGS)  # untrained: wide around the regression
    kernel.low[0], kernel.high[0] = -0.5, 0.5
    final, longest = data["test"].states(-1), 0
    drawn, proposed = kernel.draw(final, longest, generator=generator), kernel.propose(final, longest)
    shares = [float(((x == -0.5) | (x == 0.5)).any(1).double().mean()) for x in (drawn, proposed)]
    assert shares[0] < shares[1] / 2
    far = kernel.draw(100 * final, longest, generator=generator)  # and what the data cannot explain stays visible there
    assert float(((far.abs() == 0.5).any(1)).double().mean()) > 0.8


def test_a_saved_state_gives_the_same_draws(kernel, process, data):
    final = data["test"].states(-1, limit=5)
    again = empty_vector_jumps(process, data["train"].times, data["train"].layout, SETTINGS, seed=9)
    again.load_state_dict(kernel.state_dict())
    one, two = (
        JumpPosterior(k, jump_grids(8)).sample(final, 6, generator=torch.Generator().manual_seed(4))
        for k in (kernel, again)
    )
    assert torch.equal(one, two)


def test_the_backward_undoes_the_physics_and_stays_in_its_box():
    process = DoubleWell(temperature=1e-4, steps=8)
    x = torch.tensor([[-0.3], [0.2], [0.6]])
    forward = process.run(x, noise=False)
    n = len(process.times)
    low, high = torch.full((n, 1), -3.0), torch.full((n, 1), 3.0)
    back = backward_solution(process, forward[:, 2], Jump(0, 2), process.times, low, high)
    assert torch.allclose(back, x, atol=0.05)
    tight = backward_solution(process, 50 * forward[:, -1], Jump(0, n - 1), process.times, low / 3, high / 3)
    assert tight.isfinite().all()
    assert (tight.abs() <= 1).all()


def test_corrections_undo_the_step_of_the_solver_and_are_taken_where_noise_is_less_than_its_error():
    quiet, noisy = DoubleWell(temperature=1e-9, steps=8), DoubleWell(temperature=0.3, steps=8)
    x = torch.linspace(-1.5, 1.5, 300)[:, None]
    errors, counts = [], []
    for process in (quiet, noisy):
        path = process.run(x, generator=torch.Generator().manual_seed(0))
        kernel = empty_vector_jumps(process, process.times, process.layout, SETTINGS)
        kernel.adapt(path)
        counts.append(kernel.built_with["corrections"])
        if process is quiet:
            n, low, high = len(process.times), torch.full((9, 1), -3.0), torch.full((9, 1), 3.0)
            for corrections in (0, 2):
                back = backward_solution(
                    process, path[:, -1], Jump(0, n - 1), process.times, low, high, corrections=corrections
                )
                errors.append(float((back - x).abs().median()))
    assert counts[0] > 0
    assert counts[1] == 0
    assert errors[1] < 0.1 * errors[0]


def test_jumps_prepared_together_are_as_each_alone(data):
    process = OrnsteinUhlenbeck(dim=2, steps=8)
    kernel = fit_vector_jumps(process, data["train"], SETTINGS)
    states, calls = data["test"].trajectories(slice(0, 7)), []
    object.__setattr__(process, "drift_flow", lambda *a: calls.append(a) or type(process).drift_flow(process, *a))
    together = kernel.prepare_all(states)
    shared = len(calls)
    alone = [kernel.prepare(states[:, jump.later], i) for i, jump in enumerate(kernel.jumps)]
    assert torch.equal(together[..., :-2], torch.stack(alone, 1))
    number = torch.arange(len(kernel.jumps)).repeat(7)
    pairs = [states[:, kernel.table[:, i]].flatten(0, 1) for i in (0, 1)]
    with torch.no_grad():  # the loss finds the earlier states there, or brings them into local units itself
        ready, own = (kernel.loss(*pairs, p.flatten(0, 1), number) for p in (together, together[..., :-2]))
        other = kernel.loss(pairs[1], pairs[1], together[..., :-2].flatten(0, 1), number)
    assert torch.equal(ready, own)
    assert not torch.equal(own, other)
    # From 8 to 0, from 4 to 0, from 6 to 4 and from 2 to 0 alone: 16 intervals of the 24 of all jumps.
    assert 3 * shared == 2 * (len(calls) - shared)


@pytest.mark.parametrize("network", ["mlp", "another"])
def test_the_gradient_of_the_loss_is_that_of_the_log_density(network, data, generator):
    """Per component, in local units: their logarithm is a constant of each jump."""
    process = OrnsteinUhlenbeck(dim=2, steps=8)
    kernel = fit_vector_jumps(process, data["train"], SETTINGS)
    if network != "mlp":
        kernel.network = Halved(kernel.network)
    for p in kernel.network.parameters():
        torch.nn.init.normal_(p, std=0.2, generator=generator)
    x, jump = data["test"].trajectories(slice(0, 70)), torch.arange(70) % len(kernel.jumps)
    ends = kernel.table[jump]
    earlier, later = (x[torch.arange(70), i] for i in ends.unbind(1))
    prepared = kernel.prepare_all(x)[torch.arange(70), jump]
    losses = kernel.loss(earlier, later, prepared, jump), -kernel.log_prob(earlier, later, prepared, jump).mean() / 2
    weights = list(kernel.network.parameters())
    for a, b in zip(*(torch.autograd.grad(v, weights) for v in losses), strict=True):
        assert torch.allclose(a, b, atol=1e-5 * float(b.abs().max()) + 1e-6)


class Halved(torch.nn.Module):
    """Another network around one, called with the same arguments."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x, t):
        return 0.5 * self.inside(x, t)
