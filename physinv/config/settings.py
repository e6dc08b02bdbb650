"""Settings of training: one strict model, filled from TOML, from ``--set key=value``, or in Python."""

from __future__ import annotations

__all__ = ["Settings", "as_settings"]

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from physinv.config.inputs import describe
from physinv.config.strict import Strict


class Settings(Strict):
    """Settings of the training of a score model, validated.

    Raises:
        ConfigError: For an unknown setting, or a value that its setting can't take; one line says which.

    Example:
        >>> Settings(width=32, windows=[2, 4]).windows
        (2, 4)
    """

    noun: ClassVar[str] = "setting"

    loss: str = Field(
        "auto",
        description="training objective: trajectory, bidirectional, smoother, denoising, implicit, sliced, sliced-vr, "
        "or module:function; auto: the one that suits the reference law",
    )
    physics: Literal["simulator", "learned"] = Field(
        "simulator", description="learned: drift and noise from the data alone, in half of the training time"
    )
    drift: Literal["steady", "timed"] = Field(
        "steady", description="timed: the drift of learned physics may depend on time as well, for forced processes"
    )
    reference: str = Field(
        "", description="reference law that the network improves on, a name or module:Class; none: what suits the state"
    )
    network: str = Field(
        "",
        description="network: mlp, unet, tokens, particles, state-space, or module:Class; none: that of the layout",
    )
    width: int = Field(0, ge=0, description="channels of the network; 0: 64 for vectors, 16 for fields")
    depth: int = Field(
        0, ge=0, le=1000, description="hidden layers (vectors) or halvings of the grid (fields); 0: 3 or 2"
    )
    components: int = Field(6, ge=1, description="most Gaussians in the reference law of a vector process")
    windows: tuple[int, ...] = Field(
        (),
        strict=False,  # TOML and JSON have lists only
        description="curriculum of window lengths, equal shares; 2 is the 1-step loss; none: 2, or whole (denoising)",
    )
    batch: int = Field(
        0, ge=0, description="windows per update; 0: 2048 for vectors, for fields 8 to 128 (about 2^14 numbers)"
    )
    optimiser: Literal["auto", "adamw", "muon"] = Field(
        "auto", description="muon: orthogonal steps for hidden matrices; auto: where the network has any, else adamw"
    )
    rate: float = Field(
        0.0, ge=0, description="peak learning rate (AdamW), then cosine to 0; 0: 1e-3 for vectors, 4e-3 for fields"
    )
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's weight decay")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the moving average of the weights")
    validate_every: int = Field(200, ge=1, description="updates between validations, log lines and checkpoints")
    validate_windows: int = Field(
        0, ge=0, description="validation windows (a fixed subset); 0: 32768, or for fields 1024 (fewer if large)"
    )
    fresh: Literal["auto", "off", "noise", "states"] = Field(
        "auto",
        description="what jump kernels see anew while they train: noise, or initial states as well; auto: states where "
        "the simulator is known, noise where these are dear, off for particles",
    )
    newton: Literal["auto", "off"] = Field(
        "auto",
        description="auto: Gauss-Newton steps with the known physics behind what is learned of fields in the plane or "
        "in space, where they are better on validation observations; off: none, and draws take less time",
    )
    workers: int = Field(0, ge=0, le=256, description="DataLoader workers when the data are streamed")
    memory: float = Field(
        4.0,
        gt=0,
        description="GiB up to which a dataset is kept in memory, not streamed; nonlinear fields take as much again",
    )

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        """Numbers of NumPy, which strict fields refuse, as those of Python."""
        if not isinstance(values, dict):
            return values
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}

    @field_validator("windows")
    @classmethod
    def _long_enough(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        if windows and min(windows) < 2:
            raise ValueError(f"must list window lengths of 2 or more, got {list(windows)}.")
        return windows


def as_settings(given: Settings | Mapping[str, Any] | None) -> Settings:
    """Return settings as they are, or make them from names and values.

    Args:
        given: Settings, their values by name, or None for the defaults.

    Raises:
        ValueError: If it is neither, or a setting is unknown or can't take its value; one line says which.

    Example:
        >>> as_settings({"width": 32}) == Settings(width=32)
        True
    """
    if isinstance(given, Settings):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"`settings` must be Settings or a dict, got {describe(given)}; give Settings(width=32).")
    return Settings(**(given or {}))
