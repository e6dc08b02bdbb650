"""Regression with a Fourier neural operator (Li et al. 2021) in the place of the U-Net."""

from __future__ import annotations

__all__ = ["Operator", "fit_fno"]

import warnings
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import seeds
from physinv.methods.learned.backbone import Frame, build_backbone, conditional_frame
from physinv.methods.learned.regression import Regressed, Regression, squared_error
from physinv.methods.problem import NotApplicableError, Problem

_PROBE = 8  # channels of the operator whose size tells how many may be had


class Operator(nn.Module):
    """``(features (batch, inputs, *space), t) -> (batch, outputs, *space)``; ``t`` is ignored."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_state_dict_post_hook(_tensors_only)  # type: ignore[no-untyped-call]

    def forward(
        self, features: Float[Tensor, "batch inputs *space"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs *space"]:
        out: Tensor = self.inner(features)
        return out


def fit_fno(problem: Problem, *, modes: int = 12, width: int = 0) -> Regressed:
    """:func:`~physinv.methods.learned.regression.fit_regression` with the FNO of the neuraloperator package: four
    layers, ``modes`` wave numbers per axis, no coordinates among its inputs, so that it commutes with shifts.

    ``width`` 0: as many channels as bring the number of parameters closest to the U-Net's.  Raises NotApplicableError
    for states that are no periodic fields, ValueError if the package is missing.
    """
    layout = problem.train.layout
    if layout.kind != "field" or layout.boundary != "PERIODIC":
        raise NotApplicableError("a Fourier neural operator needs periodic fields; take fit_regression.")
    if modes < 1 or width < 0:
        raise ValueError(f"`modes` must be at least 1 and `width` not negative, got {modes} and {width}.")
    frame = conditional_frame(problem)
    unet = build_backbone(frame, problem.settings, groups=2)
    if width == 0:
        width = max(4, round(_PROBE * (_size(unet) / _size(_operator(frame, modes, _PROBE, 0))) ** 0.5))
    model = Regression(frame, _operator(frame, modes, width, problem.seed)).to(problem.device)
    problem.minimise(model, squared_error, estimates=frame.estimates)
    return Regressed(model)


def _operator(frame: Frame, modes: int, width: int, seed: int) -> Operator:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies warn while they are imported
        try:
            from neuralop.models import FNO
        except ImportError:
            raise ValueError("this needs neuraloperator; install it with pip install 'physinv[baselines]'.") from None
        make: Any = FNO
        with seeds(seed).child("model", "network").as_global():
            inner: nn.Module = make(
                n_modes=tuple(min(2 * modes, len(axis)) for axis in frame.layout.coordinates),
                in_channels=2 * frame.components + len(frame.fixed),
                out_channels=frame.components,
                hidden_channels=width,
                positional_embedding=None,
            )
    return Operator(inner)


def _size(network: nn.Module) -> int:
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in network.parameters())


def _tensors_only(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """The package puts its constructor's arguments among the weights."""
    for key in [k for k, v in state.items() if not isinstance(v, Tensor)]:
        del state[key]
