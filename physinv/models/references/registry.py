"""Choose, fit and load reference laws by name."""

from __future__ import annotations

__all__ = ["REFERENCES", "check_reference", "fit_reference", "load_reference"]

from collections.abc import Mapping

from torch import Tensor

from physinv.config.registry import Registry
from physinv.config.seeds import Seed
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.check_law import fitted

REFERENCES: Registry[type[ReferenceLaw]] = Registry(
    "reference law",
    "physinv.references",
    lambda part: isinstance(part, type) and issubclass(part, ReferenceLaw),
    "a subclass of ReferenceLaw",
    {
        "linear": "physinv.models.references.linear:LinearReference",
        "smoother": "physinv.models.references.smoother:SmootherReference",
        "mixture": "physinv.models.references.mixture:MixtureReference",
        "low-rank": "physinv.models.references.low_rank:LowRankReference",
        "particles": "physinv.models.references.particles:ParticleReference",
    },
)
"""Reference laws by name; the name is what run files hold."""


def check_reference(settings: Settings) -> None:
    """Check that ``settings.reference`` names a reference law, whatever a method makes of it.

    Args:
        settings: Training settings.

    Raises:
        ValueError: If there is no law of that name; one line names the nearest one.
    """
    if settings.reference:
        REFERENCES.find(settings.reference)


def fit_reference(
    sde: SDE, data: TrajectoryDataset, settings: Settings | None = None, *, seed: Seed = 0
) -> ReferenceLaw:
    """Fit the reference law that suits the state, or the one that ``settings.reference`` names.

    The default is an exchangeable Gaussian for particles, a spectrum carried through time for fields under linear
    physics, a smoother for other fields, a mixture for vectors of up to 16 numbers, low rank plus diagonal beyond.

    Args:
        sde: The physics, or what was learned of it.
        data: Training trajectories.
        settings: Training settings; ``reference`` and ``components`` are read.
        seed: Seed of whatever the fit draws.

    Returns:
        The law, with float32 buffers.

    Raises:
        ValueError: If no law of that name is known, or it does not fit this state and SDE.
    """
    settings = settings or Settings()
    if settings.reference:
        law = REFERENCES.find(settings.reference)
        if not law.suits(sde, data.layout):
            raise ValueError(
                f"reference law `{settings.reference}` does not fit these states under this SDE; leave "
                "`reference` out to have one chosen."
            )
        return fitted(settings.reference, law, sde, data, settings, seed)
    law = next(law for name in data.layout.references if (law := REFERENCES.find(name)).suits(sde, data.layout))
    return law.fit(sde, data, settings, seed=seed)


def load_reference(name: str, sde: SDE, tensors: Mapping[str, Tensor]) -> ReferenceLaw:
    """Make a reference law again from the tensors of the score model around it.

    Args:
        name: Registered name of the law, or ``module:Class``.
        sde: The physics that the law was fitted under.
        tensors: ``state_dict()`` of the score model.

    Returns:
        The law.

    Raises:
        ValueError: If no law of that name is known.
        KeyError: If a tensor is missing.
    """
    part = {k.removeprefix("reference."): v for k, v in tensors.items() if k.startswith("reference.")}
    own = {k: v for k, v in part.items() if not k.startswith("sde.")}  # learned physics has a file of its own
    return REFERENCES.find(name).from_tensors(sde, own)
