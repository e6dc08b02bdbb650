"""Likely mistakes of a user in Python: each simply works, or is refused by one line that says what to do.

All snippets run in one plain Python process: under pytest jaxtyping and beartype would catch many of them first.
"""

import json
from pathlib import Path

import pytest
from command_cases import run_code
from mistakes_in_data import DATA
from mistakes_in_laws import LAWS
from mistakes_in_processes import PROCESSES
from mistakes_in_solving import SOLVING
from mistakes_in_training import TRAINING

ROOT = Path(__file__).parents[2]

SETUP = """
import copy, dataclasses, math, tempfile
from pathlib import Path
import numpy as np, torch
import physinv as pi
from physinv.equations.solve import euler
from physinv.equations.multiplicative import Multiplicative
from physinv.evaluation import calibration, spectra, two_sample
from physinv.evaluation.physics.residual import physics_residual
from physinv.models.references.mixture import MixtureReference
from physinv.posterior.bracket import bracket
from physinv.posterior.flows.prior import fit_flow
from physinv.posterior.partial import sample_given
from physinv.processes.layout import layout_from
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.quadratic import Quadratic

def seed(): return torch.Generator().manual_seed(0)

well, heat = DoubleWell(steps=4, horizon=0.1), Heat(dimension=1, size=8, steps=4)
for process, folder in ((well, "well"), (heat, "heat")):
    pi.generate(pi.DatasetPlan(process, {"train": 24, "valid": 8}, seed=1), folder)
train, valid = (pi.TrajectoryDataset(f"well/data/{split}") for split in ("train", "valid"))
hot = pi.TrajectoryDataset("heat/data/train")
tiny = pi.Settings(width=8, depth=1, components=2)
model, heat_model = pi.build_model(well, train, tiny), pi.build_model(heat, hot, tiny)
times, x, final = well.times, train.states(0, limit=3), train.states(-1, limit=3)
posterior = pi.Posterior(well, model, times)
samples, truth = torch.randn(3, 5, 2, generator=seed()), torch.randn(3, 2, generator=seed())
wrong = torch.full((3, 1), float("nan"))
energy, walk = pi.thermodynamics.reduced(well), pi.thermodynamics.MALA(0.1)
brief = {"settings": tiny, "budget": pi.Budget(steps=1)}

class NotFinite:
    def sample(self, final, n, *, generator=None): return final[:, None].expand(-1, n, -1) * float("inf")
    def mean(self, final): return final / 0

class Mine(pi.SDE):
    def drift(self, x, t): return -x
    def diffusion(self, t): return 0.5 * torch.ones_like(t)
class Plain(Mine):
    def diffusion(self, t): return 0.5
class Flat(Mine):
    def drift(self, x, t): return -x[:, 0]
class Vague(Mine):
    def diffusion(self, t): return torch.ones(7)

@dataclasses.dataclass(frozen=True)
class Own(pi.Simulator):
    @property
    def layout(self): return pi.VectorLayout("x", 2)
    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.zeros(batch, 2, device=device, dtype=dtype)
    def drift(self, x, t): return -x
    def diffusion(self, t): return torch.ones_like(t)
"""

CASES = {**SOLVING, **TRAINING, **DATA, **PROCESSES, **LAWS}

RUNNER = """
import json, sys, textwrap, warnings
warnings.simplefilter("ignore")
setup, snippets = json.loads(sys.argv[1])
names = {}
exec(setup, names)
outcomes = {}
for case, snippet in snippets.items():
    try:
        exec(textwrap.dedent(snippet), dict(names))
        outcomes[case] = ("", "")
    except Exception as error:
        ours = isinstance(error, (ValueError, FileNotFoundError, FileExistsError))
        outcomes[case] = (type(error).__name__, str(error), ours)
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of each snippet: name of the error and message, both empty where there was none."""
    text = json.dumps([SETUP, {case: snippet for case, (snippet, _) in CASES.items()}])
    found = run_code(RUNNER, text, cwd=tmp_path_factory.mktemp("errors"))
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("case", CASES)
def test_mistakes_work_or_are_refused_in_one_line(outcomes, case):
    kind, message, *refused = outcomes[case]
    wanted = CASES[case][1]
    if not wanted:
        assert not kind, f"{kind}: {message}"
        return
    assert refused, f"worked, but should be refused: {wanted}"
    if wanted.startswith("TypeError: "):
        assert kind == "TypeError"
        wanted = wanted.removeprefix("TypeError: ")
    else:
        assert refused[0], f"{kind}: {message}"
    assert len(message.splitlines()) == 1
    at = 0
    for part in wanted.split(" ... "):
        assert part.strip() in message[at:], message
        at = message.index(part.strip(), at) + len(part.strip())
