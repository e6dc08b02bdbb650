"""physinv: reconstruct initial states of physical processes as samples of a calibrated posterior.

One equation, ``dx = f(x, t) dt + g(t) dW``, is the only mathematical object: a ``Simulator`` is one, with initial
states; its ``Reverse`` is one; ``solve`` solves both.  A ``ScoreModel`` learns what the reversal needs, by ``fit`` and
the ``trajectory_loss`` on a ``TrajectoryDataset``; a ``Posterior`` answers.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from physinv.data.dataset import TrajectoryDataset
    from physinv.equations.sde import SDE, Linear, Reverse
    from physinv.equations.solve import solve
    from physinv.models.score import ScoreModel
    from physinv.posterior.posterior import Posterior
    from physinv.processes.simulator import Simulator
    from physinv.training.loop import fit
    from physinv.training.objectives.trajectory import trajectory_loss

__version__ = "0.1.0"

__all__ = [
    "SDE",
    "Linear",
    "Posterior",
    "Reverse",
    "ScoreModel",
    "Simulator",
    "TrajectoryDataset",
    "fit",
    "solve",
    "trajectory_loss",
]

_HOME = {
    "SDE": "equations.sde",
    "Linear": "equations.sde",
    "Reverse": "equations.sde",
    "Simulator": "processes.simulator",
    "TrajectoryDataset": "data.dataset",
    "ScoreModel": "models.score",
    "trajectory_loss": "training.objectives.trajectory",
    "Posterior": "posterior.posterior",
    "fit": "training.loop",
    "solve": "equations.solve",
}


def __getattr__(name: str) -> object:
    """Import a noun when it is first used: torch takes two seconds, ``physinv --help`` should not."""
    if name not in _HOME:
        raise AttributeError(f"module 'physinv' has no attribute {name!r}")
    return getattr(importlib.import_module(f"physinv.{_HOME[name]}"), name)
