"""Try a reference law that somebody has chosen, before anything is trained on top of it."""

from __future__ import annotations

__all__ = ["check_law", "fitted"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from physinv.config.failures import in_one_line
from physinv.config.inputs import describe
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.references.base import ReferenceLaw

_STATES = 4  # that the parts of a law are tried on
_SAME = 0.02  # largest error of a gradient, of the largest component
_FORMS = {"score": "(x, t)", "log_prob": "(x, t)", "features": "(x, t)", "lift": "(out, x, t)"}


def fitted(
    name: str, law: type[ReferenceLaw], sde: SDE, data: TrajectoryDataset, settings: Settings, seed: Any
) -> ReferenceLaw:
    """Fit a law that was chosen by name, and check it.

    Args:
        name: The name, for messages.
        law: The class.
        sde: The physics.
        data: Training trajectories.
        settings: Training settings.
        seed: Seed of whatever the fit draws.

    Returns:
        The law.

    Raises:
        ValueError: If the fit fails, or a part of the law is not what it should be; one line names the part.
    """
    made = _called(name, "fit(sde, data, settings, *, seed)", lambda: law.fit(sde, data, settings, seed=seed))
    if not isinstance(made, ReferenceLaw):
        raise ValueError(f"`fit` of reference law `{name}` must return the law, got {describe(made)}.")
    check_law(name, made, sde, data)
    return made


def check_law(name: str, law: ReferenceLaw, sde: SDE, data: TrajectoryDataset) -> None:
    """Check shapes and numbers of all parts of a law, its score against its density, and that it can be made again.

    Args:
        name: The name, for messages.
        law: The law.
        sde: The physics.
        data: Training trajectories, of which some states are taken.

    Raises:
        ValueError: If a part is not what it should be; one line names the part.
    """
    for channels in ("channels_in", "channels_out"):
        if not isinstance(getattr(law, channels, None), int):
            got = describe(getattr(law, channels, None))
            raise ValueError(f"`{channels}` of reference law `{name}` must be a whole number, got {got}; set it.")
    last = len(data.times) - 1
    x = torch.cat([data.states(i, limit=_STATES) for i in (last, last // 2)])
    t = torch.cat([data.times[[i]].float().expand(len(x) // 2) for i in (last, last // 2)])

    def part(method: str, *given: Tensor) -> Tensor:
        found = _called(name, f"{method}{_FORMS[method]}", lambda: getattr(law, method)(*given))
        wanted = {"log_prob": (len(x),), "features": (len(x), *data.layout.with_channels(law.channels_in))}
        shape = wanted.get(method, tuple(x.shape))
        if not isinstance(found, Tensor) or tuple(found.shape) != shape or not bool(found.isfinite().all()):
            got = "numbers that are not finite" if isinstance(found, Tensor) and tuple(found.shape) == shape else None
            raise ValueError(
                f"`{method}` of reference law `{name}` must return finite numbers of shape {shape}, "
                f"got {got or describe(found)}."
            )
        return found

    with torch.no_grad():
        score = part("score", x, t)
        part("features", x, t)
        part("lift", torch.zeros(len(x), *data.layout.with_channels(law.channels_out)), x, t)
    if law.is_score:
        free = x.clone().requires_grad_()
        total = part("log_prob", free, t).sum()
        slope = torch.autograd.grad(total, free, allow_unused=True)[0] if total.requires_grad else None
        moving = data.layout.moving
        ours = moving(score)
        theirs = torch.zeros_like(ours) if slope is None else moving(slope)
        if float((ours - theirs).abs().max()) > _SAME * max(float(ours.abs().max()), float(theirs.abs().max())):
            raise ValueError(
                f"`score` of reference law `{name}` must be the gradient of `log_prob`, got {_some(ours)} for "
                f"{_some(theirs)}; look at signs, units and factors."
            )

    asked = _called(name, "objective(sde)", lambda: law.objective(sde))
    if not isinstance(asked, str):
        raise ValueError(f"`objective` of reference law `{name}` must return the name of one, got {describe(asked)}.")

    own = {key: value for key, value in law.state_dict().items() if not key.startswith("sde.")}
    again = _called(name, "from_tensors(sde, tensors)", lambda: type(law).from_tensors(sde, own))
    with torch.no_grad():
        if not torch.equal(again.score(x, t), score):
            told = "must make the same law from its buffers"
            raise ValueError(f"`from_tensors` of reference law `{name}` {told}; register all tensors that it needs.")


def _called(name: str, form: str, call: Callable[[], Any]) -> Any:
    """What a part returns, or one line that says why it fails."""
    try:
        return call()
    except ValueError:
        raise
    except Exception as error:  # whatever a law does that others wrote
        raise ValueError(f"reference law `{name}` fails in `{form}`: {in_one_line(error)}.") from error


def _some(values: Tensor) -> str:
    return ", ".join(f"{v:.3g}" for v in values.flatten()[:3].tolist())
