"""The content of a reconstruction file, and how it is read."""

from __future__ import annotations

__all__ = ["Reconstruction", "read_reconstruction"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from physinv.laws.described import EntryText, record_of
from physinv.laws.observation import Observation
from physinv.laws.operators import named
from physinv.laws.record import ObservationRecord
from physinv.posterior.stored import read_stored
from physinv.processes.priors import OBSERVED_NOISE, prior_from
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying


@dataclass(frozen=True)
class Reconstruction:
    """The content of a reconstruction file.

    Args:
        simulator: The process, with the parameters that the run was trained with.
        truth: True initial states; None for observations alone.
        observation: Final states; for partial observations the smallest states that explain the observed numbers.
        samples: Reconstructed initial states.
        info: How they were made: method, answer, steps, seed, versions and what the run says of itself.
        seen: Observed numbers, for partial observations only (see :attr:`operator`).
        predicted: Final states that samples lead to, with noise; of observations without truth.
        predicted_clean: The same without noise.
        climatology: Some initial states of the training data, where the run kept them.
        linear: The linear estimate of each initial state, where the run kept it.
        linear_deviation: Standard deviation of its errors.
        frames: Trajectories at the times of ``time``, of records of several observations; each begins at its sample.
        frames_truth: True states at these times, NaN where they are not known.
        time: The times of the frames.
        stale: Whether the file held predictions of other samples than it holds now; they are left out.
    """

    simulator: Simulator
    truth: Float[Tensor, "n *state"] | None
    observation: Float[Tensor, "n *state"]
    samples: Float[Tensor, "n k *state"]
    info: dict[str, Any]
    seen: Float[Tensor, "n *seen"] | None = None
    predicted: Float[Tensor, "n m *state"] | None = None
    predicted_clean: Float[Tensor, "n m *state"] | None = None
    climatology: Float[Tensor, "c *state"] | None = None
    linear: Float[Tensor, "n *state"] | None = None
    linear_deviation: Float[Tensor, "*state"] | None = None
    frames: Float[Tensor, "n k time *state"] | None = None
    frames_truth: Float[Tensor, "n time *state"] | None = None
    time: Float[Tensor, " time"] | None = None
    stale: bool = False

    @property
    def known_truth(self) -> Float[Tensor, "n *state"]:
        """Return the true initial states.

        Raises:
            ValueError: If they are not known.
        """
        if self.truth is None:
            raise ValueError(
                "`recon` holds observations without true initial states, to which nothing can be compared; "
                "give check_predictive(recon)."
            )
        return self.truth

    @property
    def called(self) -> str:
        """Return the name of the method, with the one that it chose: ``auto (increments)``."""
        chosen = self.info.get("run", {}).get("notes", {}).get("chosen")
        return str(self.info["method"]) if chosen is None else f"{self.info['method']} ({chosen})"

    @property
    def operator(self) -> Observation | None:
        """Return the partial observation of the final states, or None if they were observed whole, without noise.

        Of a record it is the entry of the last time, which :attr:`observation` shows.
        """
        if (record := self.record) is not None:
            return max(record.entries, key=lambda entry: max(entry.times)).observation
        if self.info["observe"] is None:
            return None
        shape = self.simulator.inner.shape if isinstance(self.simulator, Varying) else tuple(self.observation.shape[1:])
        # Sensors of a run that is trained for them are where its seed put them.
        trained = self.info.get("run", {}).get("observation")
        own = trained is not None and trained["observe"].partition(":")[0] != "random"
        seed = trained["seed"] if own else self.info["seed"]
        found = named(self.info["observe"], self.info["observed_noise"], shape, seed=seed)
        if shape == tuple(self.observation.shape[1:]):
            return found
        return Observation(lambda x: found.operator(x[:, : shape[0]]), found.noise)  # unknown parameters are not seen

    @property
    def record(self) -> ObservationRecord | None:
        """Return the record of several times that was observed, whose numbers are :attr:`seen`; None without one."""
        if (entries := self.info.get("record")) is None:
            return None
        process, level = self.simulator, self.info.get("level")
        law = None if level is None else prior_from(OBSERVED_NOISE, level)
        shape = process.inner.shape if isinstance(process, Varying) else process.shape
        record = record_of([EntryText(**entry) for entry in entries], shape, seed=self.info["seed"], level=law)
        return record.through(process.state) if isinstance(process, Varying) else record


def read_reconstruction(path: Path | str) -> Reconstruction:
    """Read a file that :func:`~physinv.runs.reconstruct.reconstruct` wrote.

    Args:
        path: The HDF5 file.

    Returns:
        Its content, on the CPU.

    Raises:
        ValueError: If there is no such file, it is no complete reconstruction, it has another schema, it does not have
            the checksums that it was written with (files of earlier versions have none), or it holds values that are
            not finite.
    """
    if (folder := Path(path)).is_dir():
        what = "a run" if (folder / "run.json").exists() else "a dataset" if (folder / "data").is_dir() else "a folder"
        raise ValueError(f"{path} is {what}, not a reconstruction; give the file that `physinv reconstruct` wrote.")
    stored = read_stored(Path(path))
    simulator, info, stale = stored.simulator, stored.info, stored.stale
    emptied = simulator.layout.emptied  # NaN where there are no data
    arrays = {k: x if k in ("seen", "time") else emptied(x) for k, x in stored.arrays.items()}
    shown, samples, truth = arrays.pop("observation"), arrays.pop("samples"), arrays.pop("truth", None)
    if stale:
        arrays = {k: x for k, x in arrays.items() if k not in ("predicted", "predicted_clean")}
    if truth is None and "observations" not in info:
        raise ValueError(f"{path} is not a whole reconstruction file: it holds no `truth`; reconstruct again.")
    for name, values in {"truth": truth, "observation": shown, "samples": samples, "seen": arrays.get("seen")}.items():
        missing = name == "seen" and "record" in info  # NaN stands for a number that is missing
        if values is not None and not bool(values.isfinite().all()) and not missing:
            raise ValueError(f"{path} holds values in `{name}` that are not finite; reconstruct again.")
    return Reconstruction(simulator, truth, shown, samples, info, **arrays, stale=stale)
