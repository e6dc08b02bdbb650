"""The content of a reconstruction file, and how it is read."""

from __future__ import annotations

__all__ = ["DIGEST", "SCHEMA", "Reconstruction", "digest", "read_reconstruction"]

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.failures import as_os_error
from physinv.laws.observation import Observation
from physinv.laws.operators import named
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator

SCHEMA = 4
"""Version of the reconstruction file; versions 2 and 3 are read as well, all others are refused."""

DIGEST = "samples_sha256"
"""Attribute of ``/predicted``: the digest of the samples that it was computed from."""

_OPTIONAL = ("truth", "seen", "predicted", "predicted_clean", "climatology", "linear", "linear_deviation")
_ANSWERS_OF_2 = {"sde": "samples", "flow": "flow", "mean-flow": "mean-flow"}  # as version 2 names them, its `method`


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
    def operator(self) -> Observation | None:
        """Return the partial observation of the final states, or None if they were observed whole, without noise."""
        if self.info["observe"] is None:
            return None
        return named(
            self.info["observe"], self.info["observed_noise"], tuple(self.observation.shape[1:]), seed=self.info["seed"]
        )


def digest(samples: h5py.Dataset) -> str:
    """Compute the SHA-256 digest of stored samples, to tell whether they are still those that something came from.

    Args:
        samples: The samples in a file.

    Returns:
        The digest in hexadecimal digits.
    """
    total = hashlib.sha256()
    for i in range(len(samples)):  # one observation at a time, since all of them may not fit into memory
        total.update(samples[i].tobytes())
    return total.hexdigest()


def read_reconstruction(path: Path | str) -> Reconstruction:
    """Read a file that :func:`~physinv.runs.reconstruct.reconstruct` wrote.

    Args:
        path: The HDF5 file.

    Returns:
        Its content, on the CPU.

    Raises:
        ValueError: If there is no such file, it is no complete reconstruction, it has another schema, or it holds
            values that are not finite.
    """
    if (folder := Path(path)).is_dir():
        what = "a run" if (folder / "run.json").exists() else "a dataset" if (folder / "data").is_dir() else "a folder"
        raise ValueError(f"{path} is {what}, not a reconstruction; give the file that `physinv reconstruct` wrote.")
    try:
        with h5py.File(path, "r") as file:
            if "samples" not in file and "t0_fields" in file:
                raise KeyError("it holds trajectories; reconstruct from them with `physinv reconstruct`")
            info = json.loads(file["info_json"][()])
            shown, samples = (torch.from_numpy(file[k][...]) for k in ("observation", "samples"))
            others = {k: torch.from_numpy(file[k][...]) if k in file else None for k in _OPTIONAL}
            told = file["predicted"].attrs.get(DIGEST) if "predicted" in file else None
            stale = told is not None and told != digest(file["samples"])
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; make one with `physinv reconstruct`.") from None
    except (OSError, KeyError, json.JSONDecodeError) as error:
        if (refused := as_os_error(error, path)) is not None:
            raise refused from None
        raise ValueError(f"{path} is not a whole reconstruction file: {str(error).splitlines()[0]}") from None
    if info.get("schema") == 2:
        info |= {"method": "physinv", "answer": _ANSWERS_OF_2[info["method"]]}
    elif info.get("schema") not in (3, SCHEMA):
        raise ValueError(f"{path} has schema {info.get('schema')}, this version of physinv reads 2 to {SCHEMA}.")
    simulator = build(find(info["simulator"]), info["parameters"])
    emptied = simulator.layout.emptied  # NaN where there are no data
    shown, samples = emptied(shown), emptied(samples)
    others = {k: x if x is None or k == "seen" else emptied(x) for k, x in others.items()}
    truth = others.pop("truth")
    if stale:
        others |= {"predicted": None, "predicted_clean": None}
    if truth is None and "observations" not in info:
        raise ValueError(f"{path} is not a whole reconstruction file: it holds no `truth`; reconstruct again.")
    if not bool(samples.isfinite().all() and (truth is None or truth.isfinite().all())):
        raise ValueError(f"{path} holds values that are not finite; reconstruct again.")
    return Reconstruction(simulator, truth, shown, samples, info, **others, stale=stale)
