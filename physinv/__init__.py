"""physinv: reconstruct initial states of physical processes as samples of a calibrated posterior.

One equation, ``dx = f(x, t) dt + g(t) dW``, is the only mathematical object: a ``Simulator`` is one, with initial
states; its ``Reverse`` is one; ``solve`` solves both.  A ``ScoreModel`` learns what the reversal needs, by ``fit`` and
the ``trajectory_loss`` on a ``TrajectoryDataset``; a ``Posterior`` answers.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from physinv.losses import trajectory_loss
    from physinv.posterior import Posterior
    from physinv.score import ScoreModel
    from physinv.sde import SDE, Linear, Reverse
    from physinv.simulator import Simulator
    from physinv.solvers import solve
    from physinv.train import fit
    from physinv.trajectories import TrajectoryDataset

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
    "SDE": "sde",
    "Linear": "sde",
    "Reverse": "sde",
    "Simulator": "simulator",
    "TrajectoryDataset": "trajectories",
    "ScoreModel": "score",
    "trajectory_loss": "losses",
    "Posterior": "posterior",
    "fit": "train",
    "solve": "solvers",
}


def __getattr__(name: str) -> object:
    """Import a noun when it is first used: torch takes two seconds, ``physinv --help`` should not."""
    if name not in _HOME:
        raise AttributeError(f"module 'physinv' has no attribute {name!r}")
    return getattr(importlib.import_module(f"physinv.{_HOME[name]}"), name)
