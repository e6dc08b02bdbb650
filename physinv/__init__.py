"""physinv: reconstruct initial states of physical processes as samples of a calibrated posterior.

One equation, ``dx = f(x, t) dt + g(t) dW``, is the only mathematical object: a :class:`Simulator` is one, with initial
states; its :class:`Reverse` is one; :func:`solve` solves both.  A :class:`ScoreModel` learns what the reversal needs,
by :func:`fit` on a :class:`TrajectoryDataset`; a :class:`Posterior` draws initial states given final ones.

``import physinv as pi`` offers the names below, each loaded when it is first used; all others are imported from the
module that the reference names.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from physinv import thermodynamics
    from physinv.config.settings import Settings
    from physinv.data.dataset import TrajectoryDataset
    from physinv.data.final_states import final_states, read_final_states
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan
    from physinv.equations import noising
    from physinv.equations.sde import SDE, Linear, Reverse
    from physinv.equations.solve import solve
    from physinv.evaluation import metrics
    from physinv.evaluation.evaluate import evaluate
    from physinv.laws.observation import Observation
    from physinv.laws.record import ObservationRecord
    from physinv.methods.classical.filtering.filter import filter_record
    from physinv.models.build import build_model
    from physinv.models.score import ScoreModel
    from physinv.posterior.learned_prior import fit_prior
    from physinv.posterior.posterior import Posterior
    from physinv.posterior.weigh import weigh
    from physinv.processes.layout import FieldLayout, ParticleLayout, VectorLayout
    from physinv.processes.parameters import parameter
    from physinv.processes.simulator import Simulator
    from physinv.reports import plots
    from physinv.reports.inference_data import to_arviz
    from physinv.runs.reconstruct import reconstruct
    from physinv.runs.run import load_run, train_run
    from physinv.runs.sampling.plan import SamplingPlan
    from physinv.training.budget import Budget
    from physinv.training.loop import fit

__version__ = "0.1.0"

__all__ = [
    "SDE",
    "Budget",
    "DatasetPlan",
    "FieldLayout",
    "Linear",
    "Observation",
    "ObservationRecord",
    "ParticleLayout",
    "Posterior",
    "Reverse",
    "SamplingPlan",
    "ScoreModel",
    "Settings",
    "Simulator",
    "TrajectoryDataset",
    "VectorLayout",
    "build_model",
    "evaluate",
    "filter_record",
    "final_states",
    "fit",
    "fit_prior",
    "generate",
    "load_run",
    "metrics",
    "noising",
    "parameter",
    "plots",
    "read_final_states",
    "reconstruct",
    "solve",
    "thermodynamics",
    "to_arviz",
    "train_run",
    "weigh",
]

_HOME = {  # module below physinv -> its public names; a module without names is public itself
    "config.settings": ("Settings",),
    "data.dataset": ("TrajectoryDataset",),
    "data.final_states": ("final_states", "read_final_states"),
    "data.generate": ("generate",),
    "data.plan": ("DatasetPlan",),
    "equations.noising": (),
    "equations.sde": ("SDE", "Linear", "Reverse"),
    "equations.solve": ("solve",),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.metrics": (),
    "laws.observation": ("Observation",),
    "laws.record": ("ObservationRecord",),
    "methods.classical.filtering.filter": ("filter_record",),
    "models.build": ("build_model",),
    "models.score": ("ScoreModel",),
    "posterior.learned_prior": ("fit_prior",),
    "posterior.posterior": ("Posterior",),
    "posterior.weigh": ("weigh",),
    "processes.layout": ("FieldLayout", "ParticleLayout", "VectorLayout"),
    "processes.parameters": ("parameter",),
    "processes.simulator": ("Simulator",),
    "reports.inference_data": ("to_arviz",),
    "reports.plots": (),
    "runs.reconstruct": ("reconstruct",),
    "runs.sampling.plan": ("SamplingPlan",),
    "runs.run": ("load_run", "train_run"),
    "thermodynamics": (),
    "training.budget": ("Budget",),
    "training.loop": ("fit",),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: torch takes two seconds, ``physinv --help`` should not."""
    for place, names in _HOME.items():
        if name in names or (not names and name == place.rpartition(".")[2]):
            module = importlib.import_module(f"physinv.{place}")
            found = getattr(module, name) if names else module
            globals()[name] = found  # from now on without this function
            return found
    from physinv.config.suggest import did_you_mean

    near = did_you_mean(name, __all__, owner="`dir(physinv)` lists")
    raise AttributeError(f"module 'physinv' has no attribute {name!r}; {near}")


def __dir__() -> list[str]:
    """List the public names, for completion in notebooks."""
    return sorted([*__all__, "__version__"])
