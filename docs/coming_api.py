"""Stand-ins for public names that are being built on other branches: `import coming_api` puts them into `physinv`.

To be deleted with its uses (a hidden cell of quickstart.md, tests/docs) as soon as `physinv` has all of them itself.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import physinv as pi
from physinv.config.settings import Settings
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.sde import Multiplicative
from physinv.evaluation import metrics
from physinv.evaluation.evaluate import evaluate
from physinv.laws.observation import Covariance, Observation
from physinv.methods import METHODS
from physinv.models.build import build_model
from physinv.models.references.base import ReferenceLaw
from physinv.posterior.reconstruct import reconstruct
from physinv.processes.layout import FieldLayout, ParticleLayout, VectorLayout
from physinv.processes.registry import simulators
from physinv.processes.simulator import parameter
from physinv.reports import plots
from physinv.training.loop import fit
from physinv.training.run import load_run, train_run

try:
    from physinv.training.budget import Budget
    from physinv.training.objectives.base import Batch
except ImportError:
    BUDGETS = False
    Batch = SimpleNamespace

    def Budget(steps: int | None = None, seconds: float | None = None) -> dict[str, Any]:
        return {"steps": steps, "budget": seconds}

    def with_budget(function: Any) -> Any:
        return lambda *given, budget, **more: function(*given, **budget, **more)

    fit, train_run = with_budget(fit), with_budget(train_run)
else:
    BUDGETS = True

NAMES = {
    "Multiplicative": Multiplicative,
    "parameter": parameter,
    "VectorLayout": VectorLayout,
    "FieldLayout": FieldLayout,
    "ParticleLayout": ParticleLayout,
    "simulators": simulators,
    "DatasetPlan": DatasetPlan,
    "generate": generate,
    "Settings": Settings,
    "ReferenceLaw": ReferenceLaw,
    "build_model": build_model,
    "Budget": Budget,
    "fit": fit,
    "train_run": train_run,
    "load_run": load_run,
    "Observation": Observation,
    "Covariance": Covariance,
    "reconstruct": reconstruct,
    "metrics": metrics,
    "evaluate": evaluate,
    "plots": plots,
    "METHODS": METHODS,
}
COMING = "Budget" not in pi.__all__
if COMING:
    for name, stand_in in NAMES.items():
        setattr(pi, name, stand_in)
