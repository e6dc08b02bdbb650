"""Priors of unknown parameters: the law that each trajectory draws its own value of a physical parameter from."""

from __future__ import annotations

__all__ = ["OBSERVED_NOISE", "PRIORS", "LogUniform", "Normal", "ParameterPrior", "Uniform", "prior_from", "read_prior"]

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import describe
from physinv.config.suggest import did_you_mean

OBSERVED_NOISE = "observed_noise"
"""The unknown that belongs to what is observed and not to the physics: the deviation of the noise of an observation."""

_EDGE = 1e-9  # of probability: how near to the ends of a prior standard normal numbers go


@dataclass(frozen=True)
class ParameterPrior(ABC):
    """The law of one parameter, given by its quantile function.

    Args:
        first: First number of the law.
        second: Second number of the law.

    Attributes:
        word: Name of the law, in recipes and on the command line.
    """

    word: ClassVar[str]

    first: float
    second: float

    @abstractmethod
    def quantile(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the values below which a share ``u`` of all values lies.

        Args:
            u: Shares, from 0 to 1.
        """

    @abstractmethod
    def share(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the share of values below given ones: the distribution function.

        Args:
            value: Values of the parameter.
        """

    @property
    def support(self) -> tuple[float, float]:
        """Smallest and largest value, or those beyond which one in 1e6 lies."""
        return self.first, self.second

    def normal(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the standard normal numbers that stand for values: ``Phi^-1`` of their shares.

        Args:
            value: Values of the parameter.
        """
        z: Tensor = torch.special.ndtri(self.share(value.double()).clamp(_EDGE, 1 - _EDGE))
        return z.to(value.dtype)

    def value(self, z: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the values that standard normal numbers stand for: the inverse of :meth:`normal`.

        Args:
            z: Standard normal numbers, under the prior.
        """
        return self.quantile(torch.special.ndtr(z.double())).to(z.dtype)

    def described(self) -> dict[str, list[float]]:
        """Return the law as recipes have it, such as ``{"uniform": [0.0, 1.0]}``."""
        return {self.word: [self.first, self.second]}


@dataclass(frozen=True)
class Uniform(ParameterPrior):
    """The uniform law between two numbers.

    Args:
        first: Lower end.
        second: Upper end.

    Example:
        >>> Uniform(2.0, 4.0).quantile(torch.tensor([0.25]))
        tensor([2.5000])
    """

    word: ClassVar[str] = "uniform"

    def quantile(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.first + (self.second - self.first) * u

    def share(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return ((value - self.first) / (self.second - self.first)).clamp(0, 1)


@dataclass(frozen=True)
class LogUniform(ParameterPrior):
    """The law of a number whose logarithm is uniform between those of two positive numbers.

    Args:
        first: Lower end, above 0.
        second: Upper end.

    Example:
        >>> LogUniform(0.01, 1.0).quantile(torch.tensor([0.5]))
        tensor([0.1000])
    """

    word: ClassVar[str] = "log_uniform"

    def quantile(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.exp(math.log(self.first) + math.log(self.second / self.first) * u)

    def share(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return ((value / self.first).log() / math.log(self.second / self.first)).clamp(0, 1)


@dataclass(frozen=True)
class Normal(ParameterPrior):
    """The normal law.

    Args:
        first: Mean.
        second: Standard deviation, above 0.

    Example:
        >>> Normal(1.0, 0.5).quantile(torch.tensor([0.5]))
        tensor([1.])
    """

    word: ClassVar[str] = "normal"

    @property
    def support(self) -> tuple[float, float]:
        far = 5 * self.second
        return self.first - far, self.first + far

    def quantile(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        value: Tensor = self.first + self.second * torch.special.ndtri(u)
        return value

    def share(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        share: Tensor = torch.special.ndtr((value - self.first) / self.second)
        return share


PRIORS: dict[str, type[ParameterPrior]] = {law.word: law for law in (Uniform, LogUniform, Normal)}
"""Laws by the word that recipes have for them."""


def prior_from(name: str, told: Mapping[str, Any]) -> ParameterPrior:
    """Make a prior from what a recipe says.

    Args:
        name: The parameter, for messages.
        told: The word of the law and its two numbers, such as ``{"log_uniform": [0.005, 0.05]}``.

    Returns:
        The prior.

    Raises:
        ValueError: If there is no such law, or its numbers do not fit; one line says which.

    Example:
        >>> prior_from("viscosity", {"log_uniform": [0.005, 0.05]})
        LogUniform(first=0.005, second=0.05)
    """
    form = f"`{name}` must be a number or one law such as {{log_uniform = [0.005, 0.05]}}"
    if len(told) != 1:
        raise ValueError(f"{form}, got {describe(dict(told))}; take one of {', '.join(PRIORS)}.")
    ((word, numbers),) = told.items()
    if word not in PRIORS:
        raise ValueError(f"`{name}` can't have the prior `{word}`; {did_you_mean(str(word), PRIORS)}")
    if not isinstance(numbers, (list, tuple)) or len(numbers) != 2 or not all(map(_number, numbers)):
        raise ValueError(f"`{word}` of `{name}` must be two finite numbers, got {describe(numbers)}; give [a, b].")
    a, b = map(float, numbers)
    if word == Normal.word:
        if not b > 0:
            raise ValueError(f"`{word}` of `{name}` must have a deviation above 0, got {b:g}; give [mean, deviation].")
    elif not a < b:
        raise ValueError(f"`{word}` of `{name}` must go from a lower to a higher number, got {a:g} to {b:g}.")
    elif word == LogUniform.word and not a > 0:
        raise ValueError(f"`{word}` of `{name}` must begin above 0, got {a:g}; take uniform, or raise it.")
    return PRIORS[word](a, b)


def read_prior(text: str) -> dict[str, list[float]] | None:
    """Read a prior as the command line has it.

    Args:
        text: Such as ``log_uniform:0.005:0.05``.

    Returns:
        The same as recipes have it; None if the text has another form.

    Example:
        >>> read_prior("log_uniform:0.005:0.05")
        {'log_uniform': [0.005, 0.05]}
        >>> read_prior("edges") is None
        True
    """
    found = re.fullmatch(r"([a-z_]+):([^:]+):([^:]+)", text.strip())
    try:
        return None if found is None else {found[1]: [float(found[2]), float(found[3])]}
    except ValueError:
        return None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
