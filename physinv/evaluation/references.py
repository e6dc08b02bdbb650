"""Reference posteriors of nonlinear processes: exact draws that Monte Carlo made once, for a fixed set of observations.

``benchmarks/references.py make NAME`` writes ``benchmarks/results/references/NAME.hdf5``:

    /final /truth     the observations ``(n, *state)`` and the true initial states, float32
    /mean /deviation  moments of all draws, float32
    /draws            a few draws ``(n, k, *state)``, float16
    /crps /energy     scores of all draws against the truth, ``(n,)``
    /r_hat /effective diagnostics ``(n,)``
    info_json         simulator, parameters, seed, command, versions, and the averages of the scores with their errors

An observation is found again by its numbers: solvers round differently on other machines, by much less than noise.
Observations whose chains have not converged (R-hat above 1.1) are kept for what they are, and count as not there.
"""

from __future__ import annotations

__all__ = ["FOLDER", "StoredReference", "read_reference", "reference_for", "scores_of_chains", "write_reference"]

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.files import write_atomically
from physinv.evaluation import metrics
from physinv.processes.parameters import describe
from physinv.processes.registry import name_of
from physinv.processes.simulator import Simulator

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "references"
"""Where the references of a checkout lie; an installed package has none."""

_ALIKE = 1e-2  # of the deviation of all final states: root mean square difference between two runs of one observation
_CONVERGED = 1.1  # largest R-hat of an observation that counts
_PARTS = ("final", "truth", "mean", "deviation", "draws", "crps", "energy", "r_hat", "effective")


@dataclass(frozen=True)
class StoredReference:
    """The content of a reference file.

    Args:
        final: Observed final states.
        truth: True initial states.
        mean: Posterior mean.
        deviation: Posterior standard deviation of each component.
        draws: A few posterior draws.
        crps: CRPS of all draws against each truth, whose spread is that between chains (:func:`scores_of_chains`).
        energy: Their energy score, likewise.
        r_hat: The largest R-hat of each observation; 1 where draws are independent.
        effective: The smallest effective number of draws.
        info: How it was made.
    """

    final: Float[Tensor, "n *state"]
    truth: Float[Tensor, "n *state"]
    mean: Float[Tensor, "n *state"]
    deviation: Float[Tensor, "n *state"]
    draws: Float[Tensor, "n k *state"]
    crps: Float[Tensor, " n"]
    energy: Float[Tensor, " n"]
    r_hat: Float[Tensor, " n"]
    effective: Float[Tensor, " n"]
    info: dict[str, Any]

    @property
    def converged(self) -> Bool[Tensor, " n"]:
        """Which observations count: those of R-hat up to 1.1."""
        return self.r_hat <= _CONVERGED

    def places(self, final: Float[Tensor, "batch *state"]) -> Tensor | None:
        """Return where observations are in the file, or None if one is not there or has not converged.

        Args:
            final: Observed final states.

        Returns:
            Indices ``(batch,)``.
        """
        mine, theirs = self.final.flatten(1).double(), final.detach().cpu().flatten(1).double()
        if mine.shape[1] != theirs.shape[1]:
            return None
        gaps = torch.cdist(theirs, mine) / mine.shape[1] ** 0.5
        least, at = gaps.min(1)
        known = (least <= _ALIKE * mine.std()) & self.converged[at]
        return at if bool(known.all()) else None

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Return stored draws of observations, in random order.

        Args:
            final: Observed final states.
            n: Draws for each of them, at most as many as are stored.
            generator: Source of the order.

        Returns:
            Initial states.

        Raises:
            ValueError: If an observation is not in the file, or more draws are wanted than it holds.
        """
        at, known = self._at(final), self.draws.shape[1]
        if not 1 <= n <= known:
            raise ValueError(f"`n` must be 1 to {known}, the draws that the reference holds, got {n}.")
        keys = torch.rand((len(at), known), generator=generator, device=final.device)
        order = keys.argsort(1)[:, :n].cpu()
        return self.draws[at[:, None], order].to(final)

    def mean_of(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the posterior means of observations.

        Args:
            final: Observed final states.

        Returns:
            Initial states.

        Raises:
            ValueError: If an observation is not in the file.
        """
        return self.mean[self._at(final)].to(final)

    def _at(self, final: Tensor) -> Tensor:
        at = self.places(final)
        if at is None:
            raise ValueError("`final` must be observations of the stored reference, got others; make one for them.")
        return at


def reference_for(simulator: Simulator, *, folder: Path = FOLDER) -> StoredReference | None:
    """Return the stored reference of a process with exactly these parameters, or None.

    Args:
        simulator: The process.
        folder: Where the files lie.
    """
    for path in sorted(folder.glob("*.hdf5")):
        with h5py.File(path, "r") as file:
            told = json.loads(file["info_json"][()])
        if told["simulator"] == name_of(type(simulator)) and told["parameters"] == _plain(describe(simulator)):
            return read_reference(path)
    return None


def read_reference(path: Path) -> StoredReference:
    """Read a reference file.

    Args:
        path: The HDF5 file.

    Returns:
        Its content, in float32 on the CPU.

    Raises:
        ValueError: If it is no reference file.
    """
    try:
        with h5py.File(path, "r") as file:
            parts = {name: torch.from_numpy(file[name][...]).float() for name in _PARTS}
            return StoredReference(**parts, info=json.loads(file["info_json"][()]))
    except (OSError, KeyError, json.JSONDecodeError) as error:
        told = str(error).splitlines()[0]
        raise ValueError(f"{path} must be a whole reference file, got: {told}; make it again.") from None


def scores_of_chains(
    draws: Float[Tensor, "batch chains n *state"], truth: Float[Tensor, "batch *state"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return CRPS and energy score of draws of several chains, unbiased although the draws of a chain are alike.

    Both are the mean distance to the truth less half of the mean distance between draws.  That is taken between draws
    of different chains here: within one they are closer than independent ones, and the score would come out higher than
    that of the posterior by a share of about 1 over the effective number of draws.

    Args:
        draws: Draws, two chains and two draws of each at least.
        truth: The true states.

    Returns:
        CRPS, averaged over components, and energy score, one of each for each observation.

    References:
        Gneiting and Raftery (2007), Strictly proper scoring rules, eq. 21 and 22.
    """
    chains, n = draws.shape[1:3]
    total = chains * n

    def unbiased(score: Callable[[Tensor], Tensor], far: Callable[[Tensor], Tensor]) -> Tensor:
        def apart(x: Tensor) -> Tensor:  # half of the mean distance between draws
            return far(x - truth[:, None]) - score(x)

        every, own = draws.flatten(1, 2), sum(apart(x) for x in draws.unbind(1))
        across = (total * (total - 1) * apart(every) - n * (n - 1) * own) / (total * (total - n))
        return far(every - truth[:, None]) - across

    def energy(x: Tensor) -> Tensor:
        return torch.stack([metrics.energy_score(a[None], b[None]) for a, b in zip(x, truth, strict=True)])

    return (
        unbiased(lambda x: metrics.crps_map(x, truth).flatten(1).mean(1), lambda gap: gap.abs().flatten(1).mean(1)),
        unbiased(energy, lambda gap: gap.flatten(2).norm(dim=2).mean(1)),
    )


def write_reference(path: Path, reference: StoredReference) -> None:
    """Write a reference file, whole or not at all.

    Args:
        path: The file; its folder must exist.
        reference: The content; draws are stored in float16, the rest in float32.
    """

    def write(tmp: Path) -> None:
        with h5py.File(tmp, "w") as file:
            for name in _PARTS:
                value = getattr(reference, name)
                kept = value.half() if name == "draws" else value.float()
                file.create_dataset(name, data=kept.numpy(), compression="gzip", shuffle=True)
            file.create_dataset("info_json", data=json.dumps(reference.info))

    write_atomically(path, write)


def _plain(values: dict[str, Any]) -> Any:
    """Parameters as JSON returns them."""
    return json.loads(json.dumps(values))
