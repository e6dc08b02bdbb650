"""Regression with a Fourier neural operator (Li et al. 2021) in the place of the U-Net."""

from __future__ import annotations

__all__ = ["Operator", "build_operator", "count_weights", "fit_fno", "load_fno"]

import math
import warnings
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.methods.learned.backbone import build_backbone
from physinv.methods.learned.coordinates import TargetCoordinates, conditional_coordinates
from physinv.methods.learned.regression import Regressed, Regression, squared_error
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.saving import Setup, below, loaded_by

_PROBE = 8  # channels of the operator whose size tells how many may be had


class Operator(nn.Module):
    """A Fourier neural operator behind the signature of the other networks; the time is ignored.

    Args:
        inner: The operator itself.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_state_dict_post_hook(_tensors_only)  # type: ignore[no-untyped-call]

    def forward(
        self, features: Float[Tensor, "batch inputs *space"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs *space"]:
        out: Tensor = self.inner(features)
        return out


def load_fno(setup: Setup, tensors: Mapping[str, Tensor], *, modes: int = 12, width: int = 0) -> Regressed:
    """Load a regression with a Fourier neural operator.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        modes: Wave numbers per axis.
        width: Channels; 0: as many as bring the number of weights closest to that of the U-Net.

    Returns:
        The trained estimate.
    """
    coordinates = TargetCoordinates.from_tensors(setup.layout, below("coordinates", tensors))
    width = width or _width(coordinates, setup.settings, modes)
    network = build_operator(coordinates, modes, width, setup.seed)
    network.load_state_dict(below("network", tensors))
    return Regressed(Regression(coordinates, network).to(setup.device))


@loaded_by(load_fno, partial=True)
def fit_fno(problem: Problem, *, modes: int = 12, width: int = 0) -> Regressed:
    """Train a regression with the Fourier neural operator of the neuraloperator package.

    It has four layers and no coordinates among its inputs, so that it commutes with shifts.

    Args:
        problem: The process and its data.
        modes: Wave numbers per axis.
        width: Channels; 0: as many as bring the number of weights closest to that of the U-Net.

    Returns:
        The trained estimate.

    Raises:
        NotApplicableError: For states that are no periodic fields.
        ValueError: For fewer than 1 mode, a negative width, or if the package is missing.

    References:
        Li et al. (2021), Fourier neural operator for parametric partial differential equations.
    """
    layout = problem.train.layout
    if layout.basis != "fourier":
        raise NotApplicableError("a Fourier neural operator needs periodic fields; take fit_regression.")
    if modes < 1 or width < 0:
        raise ValueError(f"`modes` must be at least 1 and `width` not negative, got {modes} and {width}.")
    coordinates = conditional_coordinates(problem)
    width = width or _width(coordinates, problem.settings, modes)
    model = Regression(coordinates, build_operator(coordinates, modes, width, problem.seed)).to(problem.device)
    problem.minimise(model, squared_error, estimates=coordinates.estimates)
    return Regressed(model)


def build_operator(coordinates: TargetCoordinates, modes: int, width: int, seed: int) -> Operator:
    """Build an untrained Fourier neural operator.

    Args:
        coordinates: The coordinates in which it estimates.
        modes: Wave numbers per axis.
        width: Channels.
        seed: Seed of the weights.

    Returns:
        The untrained operator.

    Raises:
        ValueError: If the package is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies warn while they are imported
        try:
            from neuralop.models import FNO
        except ImportError:
            raise ValueError("this needs neuraloperator; install it with pip install 'physinv[baselines]'.") from None
        make: Any = FNO
        with seeds(seed).child("model", "network").as_global():
            inner: nn.Module = make(
                n_modes=tuple(min(2 * modes, len(axis)) for axis in coordinates.layout.coordinates),
                in_channels=2 * coordinates.components + len(coordinates.fixed),
                out_channels=coordinates.components,
                hidden_channels=width,
                positional_embedding=None,
            )
    return Operator(inner)


def count_weights(network: nn.Module) -> int:
    """Count the trained real numbers of a network; complex weights count twice.

    Args:
        network: Any network.

    Returns:
        The number of real numbers.
    """
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in network.parameters())


def _width(coordinates: TargetCoordinates, settings: Settings, modes: int) -> int:
    """Channels that bring the number of weights closest to that of the U-Net."""
    unet = build_backbone(coordinates, settings, groups=2)
    ratio = count_weights(unet) / count_weights(build_operator(coordinates, modes, _PROBE, 0))
    return max(4, round(_PROBE * math.sqrt(ratio)))


def _tensors_only(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """The package puts its constructor's arguments among the weights."""
    for key in [k for k, v in state.items() if not isinstance(v, Tensor)]:
        del state[key]
