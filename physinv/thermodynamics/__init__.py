"""Free energies of processes in a potential, from equilibrium and from driven runs.

All energies are reduced, ``u = beta U``, and all free energies are ``-log Z``, in nats; divide by ``beta`` for units of
energy.  ``docs/concepts/thermodynamics`` has the formulas, and says how they are those of diffusion models.
"""

from __future__ import annotations

__all__ = [
    "FAMILIES",
    "HMC",
    "MALA",
    "Boltzmann",
    "DifferenceEstimate",
    "Driven",
    "Energy",
    "FreeEnergy",
    "Metropolis",
    "Move",
    "Path",
    "Sandwich",
    "TrialLaw",
    "Weights",
    "annealed_importance",
    "bath_entropy",
    "bennett",
    "crooks",
    "drive",
    "entropy_production",
    "equilibrium",
    "free_energy",
    "geometric",
    "importance",
    "jarzynski",
    "lost_information",
    "reduced",
    "sandwich",
    "simulated_annealing",
    "tuned",
    "variational",
]

from physinv.thermodynamics.boltzmann import Boltzmann, equilibrium
from physinv.thermodynamics.differences import DifferenceEstimate, bennett, crooks, jarzynski
from physinv.thermodynamics.driving import (
    Driven,
    Sandwich,
    annealed_importance,
    drive,
    sandwich,
    simulated_annealing,
)
from physinv.thermodynamics.energy import Energy, Path, geometric, reduced
from physinv.thermodynamics.entropy import bath_entropy, entropy_production, lost_information
from physinv.thermodynamics.free_energy import FreeEnergy, free_energy
from physinv.thermodynamics.moves import HMC, MALA, Metropolis, Move, tuned
from physinv.thermodynamics.variational import FAMILIES, TrialLaw, variational
from physinv.thermodynamics.weights import Weights, importance


def __dir__() -> list[str]:
    """List the public names, for completion in notebooks."""
    return sorted(__all__)
