"""The content of a reconstruction file, and how it is read."""

from __future__ import annotations

__all__ = ["SCHEMA", "Reconstruction", "read_reconstruction"]

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.observation import Observation
from physinv.laws.operators import named
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator

SCHEMA = 3
"""Version of the reconstruction file; version 2 is read as well, all others are refused."""

_ANSWERS_OF_2 = {"sde": "samples", "flow": "flow", "mean-flow": "mean-flow"}  # as version 2 names them, its `method`


@dataclass(frozen=True)
class Reconstruction:
    """The content of a reconstruction file.

    Args:
        simulator: The process, with the parameters that the run was trained with.
        truth: True initial states.
        observation: Final states; for partial observations the smallest states that explain the observed numbers.
        samples: Reconstructed initial states.
        info: How they were made: method, answer, steps, seed, versions and what the run says of itself.
        seen: Observed numbers, for partial observations only (see :attr:`operator`).
    """

    simulator: Simulator
    truth: Float[Tensor, "n *state"]
    observation: Float[Tensor, "n *state"]
    samples: Float[Tensor, "n k *state"]
    info: dict[str, Any]
    seen: Float[Tensor, "n *seen"] | None = None

    @property
    def operator(self) -> Observation | None:
        """Return the partial observation of the final states, or None if they were observed whole, without noise."""
        if self.info["observe"] is None:
            return None
        return named(
            self.info["observe"], self.info["observed_noise"], tuple(self.truth.shape[1:]), seed=self.info["seed"]
        )


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
    try:
        with h5py.File(path, "r") as file:
            info = json.loads(file["info_json"][()])
            truth, shown, samples = (torch.from_numpy(file[k][...]) for k in ("truth", "observation", "samples"))
            seen = torch.from_numpy(file["seen"][...]) if "seen" in file else None
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; make one with `physinv reconstruct`.") from None
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a whole reconstruction file: {str(error).splitlines()[0]}") from None
    if info.get("schema") == 2:
        info |= {"method": "physinv", "answer": _ANSWERS_OF_2[info["method"]]}
    elif info.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {info.get('schema')}, this version of physinv reads 2 and {SCHEMA}.")
    simulator = build(find(info["simulator"]), info["parameters"])
    truth, shown, samples = (
        simulator.layout.emptied(x) for x in (truth, shown, samples)
    )  # NaN where there are no data
    if not bool(samples.isfinite().all() and truth.isfinite().all()):
        raise ValueError(f"{path} holds values that are not finite; reconstruct again.")
    return Reconstruction(simulator, truth, shown, samples, info, seen)
