"""Build the network for a state layout: ours by default, or a user's own by name.

A network is any ``torch.nn.Module`` that maps features and a time in [0, 1] to as many numbers as asked for,

    network(features (batch, inputs, ...), t (batch,)) -> (batch, outputs, ...),

where ``...`` are the axes of space of a field, and for particles the axis of the particles comes before the channels:
``(batch, n, inputs) -> (batch, n, outputs)``. It is made by calling a class (or function) with the numbers of channels:

    # mynet.py
    class MyNet(torch.nn.Module):
        def __init__(self, inputs: int, outputs: int, *, width: int = 32):
            super().__init__()
            self.first = torch.nn.Linear(inputs + 1, width)
            self.last = torch.nn.Linear(width, outputs)

        def forward(self, x, t):
            return self.last(torch.relu(self.first(torch.cat([x, t[:, None]], dim=1))))

``physinv train ... --set network=mynet:MyNet`` trains it, and the run stores that name: loading the run imports the
module ``mynet``, which may lie in the working directory, and no other code. Beside ``inputs`` and ``outputs`` a network
may name any of these arguments and gets what it names:

``layout``    the :class:`~physinv.processes.layout.StateLayout` of the states
``settings``  the :class:`~physinv.config.settings.Settings` of the training
``width``     setting ``width``, if it is given (the default of the network holds otherwise)
``depth``     setting ``depth``, likewise
``dropout``   probability of dropping a channel, if it is not 0
``numbers``   how many of the outputs of each particle are scalars, which rotations leave as they are
``unit``      unit of length in which features count positions of particles
"""

from __future__ import annotations

__all__ = ["NETWORKS", "build_network", "check_network"]

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from physinv.config.devices import check_memory
from physinv.config.failures import in_one_line
from physinv.config.registry import Registry
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.equations.broadcast import alike_alone
from physinv.processes.layout import StateLayout

_COPIES = 6  # of each weight: itself, its average, the best, its gradient, and two moments of the optimiser

NETWORKS: Registry[Callable[..., nn.Module]] = Registry(
    "network",
    "physinv.networks",
    callable,
    "a class or function that makes a torch.nn.Module of (inputs, outputs)",
    {
        "mlp": "physinv.models.networks.mlp:MLP",
        "unet": "physinv.models.networks.unet:unet",
        "tokens": "physinv.models.networks.tokens:token_net",
        "particles": "physinv.models.networks.particles:particle_net",
        "state-space": "physinv.models.networks.state_space:state_space_net",
    },
)
"""Networks by name; those of other packages register under the entry points ``physinv.networks``."""


def check_network(settings: Settings) -> None:
    """Raise ValueError if the settings name a network that is not there, before anything is spent on training.

    Args:
        settings: Of which ``network`` counts.
    """
    if settings.network:
        NETWORKS.find(settings.network)


def build_network(
    layout: StateLayout,
    inputs: int,
    outputs: int,
    settings: Settings,
    *,
    seed: Seed,
    dropout: float = 0.0,
    numbers: int = 0,
    unit: float = 1.0,
    prepare: Callable[[nn.Module], None] | None = None,
) -> nn.Module:
    """Build the network that ``settings.network`` names, or the default one of the layout.

    Args:
        layout: What states consist of.
        inputs: Channels of the features: components of a vector, channels of a field, components of each particle.
        outputs: Channels of the output, ``numbers`` included.
        settings: Of which ``network``, ``width`` and ``depth`` count here.
        seed: Seed, or stream, of the initial weights.
        dropout: Probability of dropping a channel.
        numbers: How many of the outputs of each particle are scalars; the others are components of vectors.
        unit: Unit of length in which the features count positions of particles.
        prepare: Function that changes the initial weights; it is called while torch's global generator is seeded as
            for the layers.

    Returns:
        The network on the CPU, in float32.

    Raises:
        ValueError: If there is no such network, it does not take what is given or does not fit the states; one line
            says which.

    Example:
        >>> from physinv.processes.layout import FieldLayout
        >>> network = build_network(FieldLayout("u", "x", [range(16)]), 2, 1, Settings(width=8), seed=0)
        >>> network(torch.zeros(5, 2, 16), torch.zeros(5)).shape
        torch.Size([5, 1, 16])
    """
    name = settings.network or layout.network
    make = NETWORKS.find(name)
    always = {"layout": layout, "settings": settings, "numbers": numbers, "unit": unit}
    given = {"width": settings.width, "depth": settings.depth, "dropout": dropout}
    arguments = _arguments(name, make, always, {k: v for k, v in given.items() if v})
    if settings.width or settings.depth:
        _check_size(lambda: make(inputs, outputs, **arguments), settings)
    with seeds(seed).as_global():
        try:
            network = make(inputs, outputs, **arguments)
        except (AttributeError, IndexError, NameError, RuntimeError, TypeError) as error:
            if not settings.network:
                raise
            reason = in_one_line(error)
            raise ValueError(
                f"network `{name}` can't be made for {inputs} inputs and {outputs} outputs: {reason}."
            ) from error
        if not isinstance(network, nn.Module):
            raise ValueError(f"network `{name}` must make a torch.nn.Module, got {type(network).__name__}.")
        if settings.network:  # somebody's choice, which may not fit the states
            _try(name, network, layout.with_channels(inputs), layout.with_channels(outputs))
        if prepare is not None:
            prepare(network)
    return network


def _arguments(
    name: str, make: Callable[..., nn.Module], always: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """Those of the arguments on offer that ``make`` names; ``given`` ones have to be named, or there to be read."""
    try:
        first, second, *rest = inspect.signature(make).parameters.values()
    except ValueError:  # no signature, or fewer than two arguments
        raise ValueError(f"network `{name}` must take the arguments (inputs, outputs).") from None
    if any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in (first, second)):
        raise ValueError(f"network `{name}` must take the arguments (inputs, outputs).")
    named = [p for p in rest if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = {p.name for p in named}
    offered = {**always, **given}
    for p in named:
        if p.default is p.empty and p.name not in offered:
            raise ValueError(
                f"network `{name}` asks for `{p.name}`; give it a default, "
                f"or name some of layout, settings, width, depth, dropout, numbers, unit."
            )
    for argument, value in given.items():
        if argument not in known and (argument == "dropout" or "settings" not in known):
            raise ValueError(f"network `{name}` takes no `{argument}`, got {value}; leave it out.")
    return {key: value for key, value in offered.items() if key in known}


def _check_size(make: Callable[[], object], settings: Settings) -> None:
    """Refuse a network that does not fit into memory, before its weights are allocated."""
    try:
        with torch.device("meta"):  # shapes alone
            sketch = make()
    except Exception:  # a network that asks for numbers while it is made, or is none: it is made in earnest next
        return
    if isinstance(sketch, nn.Module):
        numbers = sum(parameter.numel() for parameter in sketch.parameters())
        chosen = ", ".join(f"`{k}` = {v}" for k in ("width", "depth") if (v := getattr(settings, k)))
        what = f"training a network of {numbers:.3g} weights ({chosen})"
        check_memory(_COPIES * 4 * numbers, what, "take a smaller one")


@torch.no_grad()
def _try(name: str, network: nn.Module, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    """Run the network once on zeros; ValueError if it fails or its output has another shape."""
    features, mode = torch.zeros(2, *inputs), network.training
    pair, times = torch.randn(2, *inputs, generator=torch.Generator().manual_seed(0)), torch.tensor([0.0, 1.0])
    try:
        found = network.eval()(features, times)
        alike = alike_alone(lambda some: network(some, times[: len(some)]), pair)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"network `{name}` fails on features of shape {tuple(features.shape)}: {reason}") from error
    network.train(mode)
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if shape != (2, *outputs):
        raise ValueError(
            f"network `{name}` must turn features of shape {tuple(features.shape)} into {(2, *outputs)}, got {shape}."
        )
    if not alike:
        raise ValueError(
            f"network `{name}` must see each state of a batch by itself, and draw no noise in eval(): the first of two "
            "states has another output alone; keep the first axis out of means and sums."
        )
