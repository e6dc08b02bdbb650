"""Training settings: one validated model, filled from TOML and from ``key=value`` words."""

from __future__ import annotations

__all__ = ["Settings", "assign", "read_toml", "settings_from"]

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Settings(BaseModel):
    """How a score model is trained.  Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: str = Field(
        "auto",
        description="training objective: trajectory, bidirectional, smoother, denoising, implicit, sliced, sliced-vr, "
        "or module:function; auto: the one that suits the reference law",
    )
    physics: Literal["simulator", "learned"] = Field(
        "simulator", description="learned: drift and noise from the data alone, in half of the training time"
    )
    width: int = Field(0, ge=0, description="channels of the network; 0: 64 for vectors, 16 for fields")
    depth: int = Field(0, ge=0, description="hidden layers (vectors) or halvings of the grid (fields); 0: 3 or 2")
    components: int = Field(6, ge=1, description="most Gaussians in the reference law of a vector process")
    windows: tuple[int, ...] = Field(
        (),
        description="curriculum of window lengths, equal shares; 2 is the 1-step loss; none: 2, or whole (denoising)",
    )
    batch: int = Field(
        0, ge=0, description="windows per update; 0: 2048 for vectors, for fields 8 to 128 (about 2^14 numbers)"
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
    workers: int = Field(0, ge=0, description="DataLoader workers when the data are streamed")
    memory: float = Field(
        4.0,
        gt=0,
        description="GiB up to which a dataset is kept in memory, not streamed; nonlinear fields take as much again",
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The contents of a TOML file; ValueError in one line if it can't be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; give the path of a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None


def assign(words: Iterable[str]) -> dict[str, Any]:
    """``["rate=1e-3", "prior=edges"]`` -> ``{"rate": 0.001, "prior": "edges"}``; values as in TOML, else text."""
    out: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"`--set` takes key=value, got {word!r}.")
        try:
            out[key.strip()] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            out[key.strip()] = value.strip()
    return out


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Validate; ValueError names the key, the rule and the nearest key for an unknown one, in one line."""
    for key in values:
        if key not in Settings.model_fields:
            near = difflib.get_close_matches(key, Settings.model_fields, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(Settings.model_fields)}."
            raise ValueError(f"there is no setting `{key}`; {hint}")
    try:
        settings = Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(p) for p in first["loc"])
        raise ValueError(f"setting `{name}`: {first['msg'].lower()}, got {first['input']!r}.") from None
    if settings.windows and min(settings.windows) < 2:
        raise ValueError(f"setting `windows` must list window lengths of 2 or more, got {list(settings.windows)}.")
    return settings
