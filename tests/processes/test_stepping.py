"""A process advances itself: its step, how many of them lie between stored times, and what is refused."""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.sde import SDE
from physinv.equations.solve import solve
from physinv.equations.steps import Step, euler, heun
from physinv.processes import simulator
from physinv.processes.check_steps import check_steps
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import parameter
from physinv.processes.simulator import Simulator, every, refine
from physinv.processes.substeps import parts, together
from simulators.fields.buoyancy import Buoyancy
from simulators.fields.gray_scott import GrayScott
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.numerics import semilinear
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.lorenz import Lorenz63
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@dataclass(frozen=True)
class Well(Simulator):
    """dx = 4 strength (x - x^3) dt + noise dW: a user's process, nothing but drift, diffusion and initial states."""

    title: ClassVar[str] = "well"
    equation: ClassVar[str] = "dx = 4 strength (x - x^3) dt + noise dW"

    steps: int = parameter(50, "M", "stored time steps", minimum=1)
    strength: float = parameter(1.0, "a", "strength of the force", unit="1/time", minimum=0, maximum=9)
    noise: float = parameter(1.0, "g", "noise amplitude", minimum=0)

    @property
    def shape(self):
        return (1,)

    @property
    def layout(self):
        return VectorLayout("position", 1)

    def drift(self, x, t):
        return 4 * self.strength * (x - x**3)

    def diffusion(self, t):
        return self.noise * torch.ones_like(t)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return 0.5 * torch.randn((batch, 1), generator=generator, device=device, dtype=dtype)


class Known(Well):
    """The same with a step that is known to be short enough."""

    scheme: ClassVar[Step] = heun

    @property
    def longest_step(self):
        return 0.05


class Uneven(Well):
    """The same, stored at times of its own."""

    @property
    def times(self):
        return torch.tensor([0.0, 0.1, 0.9], dtype=torch.float64)


class Own(Well):
    """dx = 4 strength (x - x^3) dt with a step of its own, which consumes two draws."""

    weak_order: ClassVar[float] = 1.5
    draws: ClassVar[int] = 2

    def advance(self, x, t0, t1, dw):
        return x + (t1 - t0)[:, None] * self.drift(x, t0) + (dw[0] + dw[1]) / 2**0.5


def test_a_process_takes_eulers_step_the_one_it_names_or_its_own(generator):
    assert Well().step is euler
    assert Known().step is heun
    step = Own().step
    assert (step.weak_order, step.draws) == (1.5, 2)
    x, t = torch.ones(4, 1), torch.zeros(4)
    dw = torch.randn((2, 4, 1), generator=generator)
    sim = Own(strength=2.0)
    assert torch.equal(sim.step(sim, x, t, t + 0.1, dw), sim.advance(x, t, t + 0.1, dw))
    # a step is that of the process which is solved, not of the one that it was taken from
    assert torch.equal(Own().step(sim, x, t, t + 0.1, dw), sim.advance(x, t, t + 0.1, dw))
    times = torch.linspace(0, 1, 9, dtype=torch.float64)
    by_hand, draw = [x], torch.Generator().manual_seed(1)
    for a, b in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        noise = math.sqrt(b - a) * torch.randn((2, 4, 1), generator=draw)
        by_hand.append(sim.advance(by_hand[-1], torch.full((4,), a), torch.full((4,), b), noise))
    solved = solve(sim, x, times, step=sim.step, generator=torch.Generator().manual_seed(1))
    assert torch.equal(solved, torch.stack(by_hand, 1))


def test_the_own_step_of_a_process_solves_processes_only():
    class Bare(SDE):
        def drift(self, x, t):
            return -x

        def diffusion(self, t):
            return torch.ones_like(t)

    with pytest.raises(ValueError, match="the own step of a process can't solve Bare; take euler, heun or split"):
        solve(Bare(), torch.zeros(1, 1), torch.tensor([0.0, 1.0]), step=Own().step)


def test_solver_steps_are_as_short_as_the_process_needs():
    assert Well(steps=1).substeps == 1
    assert [Known(steps=n).substeps for n in (1, 3, 10, 20, 50)] == [20, 7, 2, 1, 1]
    sim = Known(steps=10)  # solver steps of .05
    assert [sim.substeps_in(d) for d in (1.0, -1.0, 0.1, 0.3, 0.05, 0.051, 1e-6)] == [20, 20, 2, 6, 1, 2, 1]
    assert Well(steps=10).substeps_in(1.0) == 10
    exact = OrnsteinUhlenbeck(steps=3)
    assert (exact.longest_step, exact.substeps, exact.substeps_in(99.0)) == (math.inf, 1, 1)
    assert Uneven().intervals()[1] == [1, 1]  # nothing is known: one step between stored times
    assert Uneven().intervals(torch.tensor([0.0, 0.5, 1.5]))[1] == [1, 2]
    with pytest.raises(ValueError, match=r"Known needs 2000000 solver steps between stored times.*raise `steps`"):
        assert Known(horizon=1e5, steps=1).substeps


def test_trajectories_at_other_times_are_of_the_same_law():
    sim = Known(steps=10)
    times = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    few, usual = (
        sim.simulate(20_000, t, generator=torch.Generator().manual_seed(i)) for i, t in enumerate((times, None))
    )
    assert few.shape == (20_000, 3, 1)
    for i, j in ((1, 3), (2, 10)):
        # standard deviations over 2e4 samples differ by sqrt(2 / 4e4) = .7 %; four of these
        assert float(few[:, i].std() / usual[:, j].std()) == pytest.approx(1, abs=4 * 0.007)
    # on the stored times and with times that are float32 or lie elsewhere the same path is followed
    again = sim.simulate(20_000, sim.times.float(), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(again, usual, atol=1e-4)


def test_refined_times_and_the_states_that_are_kept():
    times = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    assert torch.equal(refine(times, 2), torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0], dtype=torch.float64))
    assert torch.equal(refine(times, [1, 4]), torch.tensor([0.0, 1.0, 1.5, 2.0, 2.5, 3.0], dtype=torch.float64))
    numbered = (torch.tensor(float(i)) for i in range(6))
    assert [float(x) for x in every(numbered, [1, 4])] == [0.0, 1.0, 5.0]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_a_process_of_which_nothing_is_known_is_refused_where_its_steps_are_too_long(steps, tmp_path):
    with pytest.raises(ValueError, match=r"the solver step of Well, .* is too long: at t = .* raise `steps`"):
        check_steps(Well(steps=steps))
    with pytest.raises(ValueError, match=r"the solver step of Well"):
        generate(DatasetPlan(Well(steps=steps), {"train": 4}, 0, "well"), tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_short_steps_and_known_ones_pass(tmp_path):
    check_steps(Well())
    check_steps(Well(noise=0.0, strength=0.0))  # nothing happens
    check_steps(Well(noise=0.0), generator=torch.Generator().manual_seed(1))
    check_steps(Known(steps=1))
    check_steps(OrnsteinUhlenbeck(steps=1, rate=100.0))
    check_steps(Own())
    generate(DatasetPlan(Well(), {"train": 4}, 0, "well"), tmp_path / "d")


def test_what_becomes_infinite_is_refused():
    with pytest.raises(ValueError, match=r"the states of Well became infinite or NaN until t = \d.*; raise `steps`"):
        Well(steps=10, horizon=100.0).simulate(10, generator=torch.Generator().manual_seed(0))


def test_a_drift_that_is_infinite_at_the_beginning_is_named():
    class Sudden(Well):
        def drift(self, x, t):
            return -x / (2 * t.view(-1, 1))

    with pytest.raises(ValueError, match=r"`drift` of Sudden must be finite at t = 0 .*; no step is short enough"):
        Sudden().simulate(3, generator=torch.Generator().manual_seed(0))


def test_parameters_are_documented_and_bounded():
    doc = Well.__doc__
    assert doc.startswith("dx = 4 strength")
    assert "    strength: Strength of the force ``a``, in 1/time.  Default 1.0.\n" in doc
    assert "    horizon: Final time ``T``, in time.  Default 1.0.\n" in doc
    assert Known.__doc__.count("Attributes:") == 1
    with pytest.raises(ValueError, match="`strength` of Well must be between 0 and 9, got 10"):
        Well(strength=10.0)
    assert dataclasses.replace(Well(), strength=9.0).strength == 9


@pytest.mark.parametrize("process", [KuramotoSivashinsky(size=64, steps=2), DoubleWell(steps=2)], ids=repr)
def test_states_are_advanced_in_parts_that_fit_a_cache_and_come_out_the_same(process, monkeypatch):
    x = process.initial(5, generator=torch.Generator().manual_seed(0))
    whole = process.run(x, generator=torch.Generator().manual_seed(1))
    for module in (simulator, semilinear):
        monkeypatch.setattr(module, "together", lambda process, x: 2)
    assert torch.equal(process.run(x, generator=torch.Generator().manual_seed(1)), whole)


def test_states_whose_parameters_are_tensors_are_not_divided():
    x = torch.zeros(5, 1)
    assert together(DoubleWell(), x) == 2**16
    assert together(dataclasses.replace(DoubleWell(), barrier=torch.tensor(1.0)), x) is None  # as `Varying` gives them


def test_a_process_that_no_number_of_steps_solves_is_refused():
    for longest in (0.0, math.nan, 1e-320):
        assert parts(1.0, longest) == 2**53
    with pytest.raises(ValueError, match=r"needs 9007199254740992 solver steps .*; raise `steps`"):
        _ = DoubleWell(barrier=1e38).substeps


@pytest.mark.parametrize(("make", "name"), [(Lorenz63, "spin_up"), (GrayScott, "spin_up"), (Buoyancy, "start")])
def test_a_spin_up_that_never_ends_is_refused(make, name):
    with pytest.raises(ValueError, match=rf"`{name}` = 1e\+15 of {make.__name__} takes .* solver steps"):
        make(**{name: 1e15}).initial(1)


def test_times_that_are_never_reached_are_refused():
    with pytest.raises(ValueError, match=r"`times` up to 1e\+30 take .* solver steps of DoubleWell"):
        DoubleWell().run(torch.zeros(1, 1), [0.0, 1.0, 1e30])
