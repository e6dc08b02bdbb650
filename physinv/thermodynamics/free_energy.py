"""The free-energy difference of a process whose parameter changes in time, by runs in both directions."""

from __future__ import annotations

__all__ = ["FreeEnergy", "free_energy"]

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.devices import check_memory
from physinv.config.inputs import check_count
from physinv.config.seeds import Seed, seeds
from physinv.processes.potential import check_potential
from physinv.processes.simulator import Simulator
from physinv.thermodynamics.boltzmann import Boltzmann, check_overdamped, equilibrium, step_of
from physinv.thermodynamics.differences import DifferenceEstimate, Slope, bennett, crooks, jarzynski
from physinv.thermodynamics.driving import drive
from physinv.thermodynamics.energy import along, reduced

_LEAST, _MOST = 100, 100_000  # steps
_COPIES = 20  # of all states that are held at once, in bytes that grow with the runs (measured)
_ACCEPTED = 0.97  # share of accepted steps at both ends that the number of steps is chosen for
_SLOW = 0.9  # below which the relaxation is slower than that of the process
_LOOK = 1000  # states on which that is measured
_APART = 4.0  # standard errors by which Jarzynski's estimates and Bennett's may differ

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class FreeEnergy:
    """Work in both directions, and what follows for the free energy; everything in units of kT (nats).

    Args:
        work: Work of the runs from the first value to the last.
        back: Work of the runs from the last value to the first.
        steps: Steps of each run.
        accepted: Share of accepted steps, of the worse direction.
        betas: Inverse temperatures at both ends.
        equilibria: Both Boltzmann laws, whose ``log_z`` are another estimate.
    """

    work: Float[Tensor, " n"]
    back: Float[Tensor, " n"]
    steps: int
    accepted: float
    betas: tuple[float, float]
    equilibria: tuple[Boltzmann, Boltzmann]

    @property
    def estimates(self) -> dict[str, DifferenceEstimate]:
        """Return the estimates by name: Bennett's, Jarzynski's forward and backward, and annealing at both ends."""
        reversed_ = jarzynski(self.back, of="Jarzynski's equality backward")
        first, last = self.equilibria
        annealed = DifferenceEstimate(
            first.log_z - last.log_z, math.hypot(first.log_z_error, last.log_z_error), math.nan
        )
        return {
            "bennett": bennett(self.work, self.back),
            "jarzynski": jarzynski(self.work, of="Jarzynski's equality forward"),
            "jarzynski backward": DifferenceEstimate(-reversed_.value, reversed_.error, reversed_.effective),
            "annealing": annealed,
        }

    @property
    def line(self) -> Slope:
        """Return the line of Crooks' theorem."""
        return crooks(self.work, self.back)

    @property
    def warnings(self) -> list[str]:
        """Return what speaks against the numbers, in sentences."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            estimates = self.estimates
        found, best = [str(w.message) for w in told], estimates["bennett"]
        for name, way in (("jarzynski", "forward"), ("jarzynski backward", "backward")):
            other = estimates[name]
            if abs(other.value - best.value) > _APART * math.hypot(other.error, best.error):
                found.append(
                    f"Jarzynski's equality {way} gives {other.value:.3g} +- {other.error:.1g} and Bennett's estimate "
                    f"{best.value:.3g} +- {best.error:.1g}: among {len(self.work)} runs those that decide are missing, "
                    "which the effective share can't tell; raise `duration` or `runs`."
                )
        if self.accepted < _SLOW:
            found.append(
                f"only {self.accepted:.0%} of the steps were accepted, so the states relaxed more slowly than the "
                "process does; the free energy is right, the work is not that of this `duration`: raise `steps`."
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return everything as numbers, for JSON; the free energy also in units of energy where kT is the same."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimates = self.estimates
        best, n, beta = estimates["bennett"], len(self.work), self.betas[0]
        several = math.isfinite(best.value) and float(torch.cat([self.work, -self.back]).std()) > 0
        line = self.line if several else Slope(math.nan, math.nan, math.nan)
        forward, backward = (_mean(w) for w in (self.work, self.back))
        same = self.betas[0] == self.betas[1]
        return {
            "difference": _finite(best.value),
            "error": _finite(best.error),
            "difference_in_energy": _finite(best.value / beta) if same else None,
            "error_in_energy": _finite(best.error / beta) if same else None,
            "estimates": {name: _told(d) for name, d in estimates.items()},
            "work": {"mean": forward[0], "error": forward[1]},
            "work_backward": {"mean": backward[0], "error": backward[1]},
            "dissipated": forward[0] + backward[0],
            "crooks_slope": {"value": _finite(line.slope), "error": _finite(line.error)},
            "runs": n,
            "steps": self.steps,
            "accepted": self.accepted,
            "warnings": self.warnings,
        }


def free_energy(
    process: Simulator,
    name: str,
    first: float,
    last: float,
    *,
    duration: float,
    runs: int = 1000,
    steps: int | None = None,
    seed: Seed = 0,
    progress: Progress | None = None,
) -> FreeEnergy:
    """Change a parameter of a process in time, there and back, and measure the work.

    The parameter changes evenly: half a change, a step, whole changes and steps in turn, half a change.  Steps are
    those of the process, made exact for Boltzmann's law by Metropolis' test, so that the estimates are right for any
    number of them.

    Args:
        process: An overdamped process in a potential.
        name: The parameter, a real number of which the energy depends.
        first: Its first value.
        last: Its last value.
        duration: Time that the change takes, in units of time.
        runs: Runs in each direction, 100 or more.
        steps: Steps of each run; None: as many as are almost always accepted.
        seed: Seed of all randomness.
        progress: Called with the share that is done and what is being done.

    Returns:
        The work in both directions, with all estimates.

    Raises:
        ValueError: If the process has no potential or no such parameter, or a value is not allowed; one line says
            which.
    """
    runs, report = check_count(runs, "runs", 100), progress or (lambda done, text: None)
    if steps is not None and check_count(steps, "steps") > _MOST:
        raise ValueError(f"`steps` must be at most {_MOST}, got {steps}; take fewer, or a shorter `duration`.")
    if not (math.isfinite(duration) and duration > 0):
        raise ValueError(f"`duration` must be above 0, got {duration:g}.")
    at = along(process, name, first, last)
    ends, root = (at(0.0), at(1.0)), seeds(seed).child("free-energy")

    # Whether the parameter does anything, and the process relaxes as its steps will do.
    look = ends[0].initial(_LOOK, generator=root.child("steps").generator(), dtype=torch.float64)
    if first != last and bool((reduced(ends[0])(look) == reduced(ends[1])(look)).all()):
        raise ValueError(
            f"`{name}` of {type(process).__name__} does not change its energy; take a parameter that does."
        )
    for end in ends:
        check_overdamped(end, look)
    check_memory(_COPIES * runs * look[0].numel() * look.element_size(), f"`runs` = {runs}", "take fewer")

    # Both equilibria.
    laws = []
    for i, end in enumerate(ends):
        report(0.1 * i, "equilibrium")
        laws.append(equilibrium(end, runs, generator=root.child("equilibrium", i).generator()))
    count = _steps(ends, laws, duration, root.child("steps").generator()) if steps is None else steps

    # The states relax at the middle of each step; both directions share the values.
    middles = [at((k + 0.5) / count) for k in range(count)]
    levels = [reduced(p) for p in (ends[0], *middles, ends[1])]
    moves = [step_of(p, look, duration / count) for p in middles]
    found = []
    for i, law in enumerate(laws):
        done = _part(report, 0.2 + 0.4 * i, ("forward", "backward")[i])
        order = slice(None, None, 1 - 2 * i)
        generator = root.child("runs", i).generator()
        found.append(drive(levels[order], law.samples, moves[order], progress=done, generator=generator))
        if not bool(found[-1].work.isfinite().all()):
            raise ValueError(f"the energy of {type(process).__name__} became infinite or NaN; change `{name}` less.")
    betas = (check_potential(ends[0]).inverse_temperature, check_potential(ends[1]).inverse_temperature)
    accepted = min(f.accepted for f in found)
    return FreeEnergy(found[0].work, found[1].work, count, accepted, betas, (laws[0], laws[1]))


def _steps(
    ends: tuple[Simulator, Simulator], laws: list[Boltzmann], duration: float, generator: torch.Generator
) -> int:
    """The number of steps, doubled until nearly all are accepted at both ends."""
    count = _LEAST
    while count <= _MOST:
        share = 1.0
        for end, law in zip(ends, laws, strict=True):
            x = law.samples[:_LOOK]
            moved = step_of(end, x, duration / count)(law.energy, x, generator=generator)
            share = min(share, float(moved.accepted.double().mean()))
        if share >= _ACCEPTED:
            return count
        count *= 2
    raise ValueError(
        f"{type(ends[0]).__name__} needs more than {_MOST} steps in a `duration` of {duration:g}; shorten it, or give "
        "`steps`."
    )


def _part(report: Progress, begun: float, text: str) -> Callable[[int, int], None]:
    """Progress of one direction, two fifths of the whole."""
    return lambda done, n: report(begun + 0.4 * done / n, text)


def _mean(work: Tensor) -> tuple[float, float]:
    """Mean work and its standard error."""
    return float(work.mean()), float(work.std()) / math.sqrt(len(work))


def _told(found: DifferenceEstimate) -> dict[str, float | None]:
    """An estimate for JSON."""
    return {"value": _finite(found.value), "error": _finite(found.error), "effective": _finite(found.effective)}


def _finite(value: float) -> float | None:
    """A number that JSON knows, or None."""
    return value if math.isfinite(value) else None
